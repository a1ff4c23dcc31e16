//! Every trap word must be undefined in user mode, on each kind of processor.
//!
//! Needs `arm-none-eabi-as`, `arm-none-eabi-ld` and `qemu-system-arm`, so it runs
//! with `--ignored`. A small program executes the words in user mode and counts the
//! ones that do anything else than trap as undefined.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code outside test functions")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use entresol_isa::{Class, Encoding, a32, t32, trapword};

const WORDS_PER_ROW: u32 = 6000;

const VEXPRESS: &[&str] = &["-M", "vexpress-a9"];
const VIRT: &[&str] = &["-M", "virt", "-cpu", "cortex-a15"];

#[test]
#[ignore = "needs binutils-arm-none-eabi and qemu-system-arm"]
fn every_trap_word_is_undefined_on_cortex_a9() {
    let output = probe("a9", VEXPRESS, "0x60010000", &table());
    assert!(output.status.success(), "(cause, word, cpsr)\n{}", text(&output));
}

#[test]
#[ignore = "needs binutils-arm-none-eabi and qemu-system-arm"]
fn every_trap_word_is_undefined_on_cortex_a15() {
    let output = probe("a15", VIRT, "0x40010000", &table());
    assert!(output.status.success(), "(cause, word, cpsr)\n{}", text(&output));
}

#[test]
#[ignore = "needs binutils-arm-none-eabi and qemu-system-arm"]
fn the_probe_notices_words_that_do_not_trap() {
    // nop; a conditional trap word whose condition fails; T32 nop; udf, which traps.
    let words = [0xe320_f000, 0x10, 0x0e00_0000, 0x10, 0xdf00_bf00, 0x30, 0xe7f0_00f0, 0x10];
    let output = probe("control", VEXPRESS, "0x60010000", &words);
    assert!(!output.status.success());
    assert!(text(&output).ends_with("00000003 \n"), "{}", text(&output));
}

fn probe(name: &str, machine: &[&str], address: &str, words: &[u32]) -> Output {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    fs::write(folder.join("words.bin"), bytes).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/undefined/probe.s");
    let source = source.to_string_lossy();
    let built = [
        run(&folder, "arm-none-eabi-as", &["-march=armv7-a", "-o", "probe.o", &source]),
        run(&folder, "arm-none-eabi-ld", &["-Ttext", address, "-o", "probe.elf", "probe.o"]),
    ];
    for output in built {
        assert!(output.status.success(), "{}", text(&output));
    }
    let limit: &[&str] = &["-s", "KILL", "120", "qemu-system-arm"];
    let quiet: &[&str] = &["-display", "none", "-serial", "none", "-monitor", "none"];
    let load: &[&str] = &["-semihosting-config", "enable=on,target=native", "-kernel", "probe.elf"];
    run(&folder, "timeout", &[limit, machine, quiet, load].concat())
}

fn run(folder: &Path, program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("QEMU_AUDIO_DRV", "none")
        .output()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// Pairs of a word and the CPSR to execute it with.
fn table() -> Vec<u32> {
    let mut random = 0x1234_5678_9abc_def0_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        u32::try_from(random >> 32).unwrap()
    };
    let mut table = Vec::new();
    for row in a32::rows().filter(|row| row.class.is_replaced()) {
        for free in free_bits(&mut next) {
            let mut word = fill(row, free);
            if row.mask >> 28 == 0 && word >> 28 == 15 {
                word &= 0xefff_ffff;
            }
            if let Some(trap) = trapword::encode_a32(word) {
                table.extend([trap, passing_flags(trap >> 28) | 0x10]);
            }
        }
    }
    for row in t32::wide_rows().filter(|row| row.class.is_replaced()) {
        for free in free_bits(&mut next) {
            if let Some(trap) = trapword::encode_wide(fill(row, free)) {
                table.extend([trap.rotate_left(16), 0x30]);
            }
        }
    }
    for half in 0..=u16::MAX {
        if t32::classify_narrow(half).is_some_and(Class::is_replaced) {
            table.extend([u32::from(trapword::encode_narrow(half).unwrap()) | 0xdf00_0000, 0x30]);
        }
    }
    assert!(table.len() > 400_000, "{}", table.len());
    table
}

fn fill(row: Encoding, free: u32) -> u32 {
    row.value | free & !row.mask
}

/// The extremes, every single bit set and clear, and random words.
fn free_bits(next: &mut impl FnMut() -> u32) -> Vec<u32> {
    let mut bits = vec![0, u32::MAX];
    bits.extend((0..32).flat_map(|bit| [1 << bit, !(1 << bit), 0xe000_0000 | 1 << bit]));
    bits.extend((0..WORDS_PER_ROW).map(|_| next()));
    bits
}

/// Flags with which a condition passes (ARM DDI 0406C, A8.3).
fn passing_flags(condition: u32) -> u32 {
    let nzcv = match condition {
        0 => 4,     // eq
        2 | 8 => 2, // cs, hi
        4 => 8,     // mi
        6 => 1,     // vs
        9 => 4,     // ls
        11 => 8,    // lt
        13 => 4,    // le
        _ => 0,
    };
    nzcv << 28
}
