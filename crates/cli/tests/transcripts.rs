//! The transcripts in `tests/cli`: what the tool says to each mistake, word for word.
//!
//! Each `<case>.trycmd` runs in a copy of `<case>.in`. After a wanted change of the
//! wording, `TRYCMD=overwrite cargo test -p entresol-cli` writes them anew; read the
//! difference before you commit it. The same writes the smallest hypervisor that the tool
//! accepts, which some cases have as `kernel.elf`, after a change of the ABI.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use entresol_abi::{note::AbiNote, window};
use std::{fs, path::Path};
use zerocopy::IntoBytes;

#[test]
fn the_tool_says_what_its_transcripts_say() {
    hypervisors_are_of_this_version();
    trycmd::TestCases::new()
        .env("NO_COLOR", "1")
        .default_bin_name("entresol")
        .case("../../tests/cli/*.trycmd");
}

fn hypervisors_are_of_this_version() {
    let overwrite = std::env::var("TRYCMD").is_ok_and(|what| what == "overwrite");
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cli");
    let other = AbiNote { abi: 1, ..AbiNote::OURS };
    for case in fs::read_dir(cases).unwrap() {
        let case = case.unwrap().path();
        for (name, note) in [("kernel.elf", AbiNote::OURS), ("other.elf", other)] {
            let path = case.join(name);
            let Ok(file) = fs::read(&path) else { continue };
            if overwrite {
                fs::write(&path, hypervisor(note)).unwrap();
            } else {
                assert!(file == hypervisor(note), "{}: run with TRYCMD=overwrite", path.display());
            }
        }
    }
}

/// An ELF file of eight bytes at the window's start, with this note.
fn hypervisor(note: AbiNote) -> Vec<u8> {
    const HEADERS: u32 = 52 + 2 * 32;
    const NOTE: u32 = 28;
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([2_u16, 40].map(u16::to_le_bytes).concat());
    file.extend([1, window::BASE, 52, 0, 0].map(u32::to_le_bytes).concat());
    file.extend([52_u16, 32, 2, 40, 0, 0].map(u16::to_le_bytes).concat());
    for (kind, offset, at, len, flags) in
        [(4, HEADERS, 0, NOTE, 4), (1, HEADERS + NOTE, window::BASE, 8, 5)]
    {
        file.extend([kind, offset, at, at, len, len, flags, 4].map(u32::to_le_bytes).concat());
    }
    file.extend(note.as_bytes());
    file.extend([0; 8]);
    file
}
