//! What `entresol rewrite` leaves at the end of a file: which pages need no scan.
//!
//! ```text
//! the binary, its instructions replaced
//! for each run of pages: offset or address, length, linked address, sets   4 words
//! number of runs, checksum of all before, "ENTRSCAN"                        16 bytes
//! ```
//!
//! It is behind everything a loader loads, so the file is still what it was; `build` cuts it
//! off. The checksum is no protection: it finds a binary that was changed since by someone
//! who did not know.

use crate::manifest::Format;

/// The last bytes of a rewritten file.
const MARK: &[u8; 8] = b"ENTRSCAN";
const RUN: usize = 16;
const END: usize = 16;

/// A run of pages in which everything was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its first byte: a guest physical address in an ELF file, else an offset in the file.
    pub at: u32,
    /// Its length, whole pages.
    pub len: u32,
    /// Where it is linked to run.
    pub linked: u32,
    /// Instruction sets in it: 1 for A32, 2 for T32.
    pub sets: u32,
}

/// A file and what was said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewritten<'a> {
    /// It was not rewritten.
    No,
    /// It was, and was changed since.
    Changed,
    /// It was: the binary alone, and the runs.
    Yes(&'a [u8], Vec<Run>),
}

/// Puts the runs behind a binary.
#[must_use]
pub fn append(mut binary: Vec<u8>, runs: &[Run]) -> Vec<u8> {
    for run in runs {
        binary.extend([run.at, run.len, run.linked, run.sets].map(u32::to_le_bytes).concat());
    }
    let sum = checksum(&binary);
    let count = u32::try_from(runs.len()).unwrap_or(u32::MAX);
    binary.extend([count, sum].map(u32::to_le_bytes).concat());
    binary.extend(MARK);
    binary
}

/// Takes them off again.
#[must_use]
pub fn split(file: &[u8]) -> Rewritten<'_> {
    let Some(body) = file.strip_suffix(MARK) else { return Rewritten::No };
    let parts = || {
        let (body, end) = body.split_at_checked(body.len().checked_sub(END - MARK.len())?)?;
        let [count, sum] = words(end)?;
        let runs = usize::try_from(count).ok()?.checked_mul(RUN)?;
        let (binary, runs) = body.split_at_checked(body.len().checked_sub(runs)?)?;
        let runs = runs.chunks(RUN).map(|run| {
            let [at, len, linked, sets] = words(run)?;
            Some(Run { at, len, linked, sets })
        });
        let runs: Option<Vec<_>> = runs.collect();
        (checksum(body) == sum).then_some((binary, runs?))
    };
    parts().map_or(Rewritten::Changed, |(binary, runs)| Rewritten::Yes(binary, runs))
}

impl Run {
    /// Its guest physical address in a binary of a format that is loaded at `to`.
    #[must_use]
    pub const fn loaded(&self, format: Format, to: u32) -> u32 {
        match format {
            Format::Elf => self.at,
            _ => self.at.wrapping_add(to),
        }
    }
}

fn words<const N: usize>(bytes: &[u8]) -> Option<[u32; N]> {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_le_bytes(bytes.try_into().ok()?);
    }
    (bytes.len() == N * 4).then_some(words)
}

/// 32-bit FNV-1a.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNS: [Run; 2] = [
        Run { at: 0, len: 0x1000, linked: 0xc020_8000, sets: 1 },
        Run { at: 0x3000, len: 0x2000, linked: 0xc020_b000, sets: 3 },
    ];

    #[test]
    fn runs_come_back_as_they_were_appended() {
        let file = append(b"a kernel".to_vec(), &RUNS);
        assert_eq!(split(&file), Rewritten::Yes(b"a kernel", RUNS.to_vec()));
        assert_eq!(split(b"a kernel"), Rewritten::No);
    }

    #[test]
    fn a_file_that_was_changed_since_is_told() {
        let mut file = append(b"a kernel".to_vec(), &RUNS);
        file[3] ^= 1;
        assert_eq!(split(&file), Rewritten::Changed);
        assert_eq!(split(MARK), Rewritten::Changed);
    }
}
