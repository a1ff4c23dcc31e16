//! Where cases write: lines, condensed to one for each group of them.
//!
//! Some thousand lines a run tell what is wrong, but printing them takes longer than all
//! cases together. So the lines of one instruction, from all modes, with all conditions
//! and in all places, are hashed and printed as one:
//!
//! ```text
//! on.a32.cpsie_i: 42 1f3c9a07
//! ```
//!
//! With the feature `full` each line is printed instead.

use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use entresol_guest::println;

/// Longest line; what exceeds it is cut off.
const LINE: usize = 1024;
const GROUP: usize = 64;

struct Transcript {
    line: [u8; LINE],
    len: usize,
    group: [u8; GROUP],
    group_len: usize,
    lines: u32,
    hash: u32,
}

/// FNV-1a.
const BASIS: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

struct Shared(UnsafeCell<Transcript>);

// SAFETY: one processor, and no exception handler prints.
unsafe impl Sync for Shared {}

static TRANSCRIPT: Shared = Shared(UnsafeCell::new(Transcript {
    line: [0; LINE],
    len: 0,
    group: [0; GROUP],
    group_len: 0,
    lines: 0,
    hash: BASIS,
}));

/// Writes to the transcript.
#[macro_export]
macro_rules! put {
    ($($arg:tt)*) => {
        $crate::transcript::put(::core::format_args!($($arg)*))
    };
}

/// Called by [`put!`](crate::put).
pub(crate) fn put(text: fmt::Arguments<'_>) {
    // SAFETY: the one reference, see `Shared`; formatting does not get here again.
    let transcript = unsafe { &mut *TRANSCRIPT.0.get() };
    // What does not fit is cut off.
    let _ = transcript.write_fmt(text);
}

/// Ends a line.
pub(crate) fn end_line() {
    // SAFETY: as in `put`.
    let transcript = unsafe { &mut *TRANSCRIPT.0.get() };
    transcript.end_line();
}

/// Prints what is left.
pub(crate) fn finish() {
    // SAFETY: as in `put`.
    let transcript = unsafe { &mut *TRANSCRIPT.0.get() };
    transcript.end_group();
}

impl Write for Transcript {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if let Some(slot) = self.line.get_mut(self.len) {
                *slot = byte;
                self.len += 1;
            }
        }
        Ok(())
    }
}

impl Transcript {
    fn end_line(&mut self) {
        let line = self.line.get(..self.len).unwrap_or_default();
        if cfg!(feature = "full") {
            println!("{}", str::from_utf8(line).unwrap_or("?"));
            self.len = 0;
            return;
        }
        let mut group = [0; GROUP];
        let group_len = group_of(line, &mut group);
        if group.get(..group_len) != self.group.get(..self.group_len) {
            self.end_group();
            (self.group, self.group_len) = (group, group_len);
        }
        let line = self.line.get(..self.len).unwrap_or_default();
        for byte in line {
            self.hash = (self.hash ^ u32::from(*byte)).wrapping_mul(PRIME);
        }
        self.lines += 1;
        self.len = 0;
    }

    fn end_group(&mut self) {
        let group = self.group.get(..self.group_len).unwrap_or_default();
        if self.lines != 0 {
            let name = str::from_utf8(group).unwrap_or("?");
            println!("{name}: {} {:08x}", self.lines, self.hash);
        }
        self.lines = 0;
        self.hash = BASIS;
    }
}

/// `phase.set.name` of a line named `phase.mode.set.name...`, with `.manual` if it has that;
/// the first two parts of any other name.
fn group_of(line: &[u8], group: &mut [u8; GROUP]) -> usize {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    let is_case = [&b"hot."[..], b"off.", b"on."].iter().any(|phase| name.starts_with(phase));
    let mut len = 0;
    for (number, part) in name.split(|byte| *byte == b'.').enumerate() {
        let kept = match number {
            0 => true,
            1 => !is_case || name.iter().filter(|byte| **byte == b'.').count() == 1,
            2 | 3 => is_case,
            _ => part == b"manual",
        };
        if !kept {
            continue;
        }
        let dot: &[u8] = if len == 0 { b"" } else { b"." };
        for byte in dot.iter().chain(part) {
            if let Some(slot) = group.get_mut(len) {
                *slot = *byte;
                len += 1;
            }
        }
    }
    len
}
