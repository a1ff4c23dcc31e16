//! The SDK's C header says what this crate says, and a C compiler reads it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use entresol_abi::{hypercall::Function, lock};
use std::{path::PathBuf, process::Command};

fn header() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../guest/include/entresol.h")
}

#[test]
fn constants_are_the_same() {
    let text = std::fs::read_to_string(header()).unwrap();
    let mut calls = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("#define ENTRESOL_")) {
        let Some((name, value)) = line.split_once(" 0x") else { continue };
        let value = u32::from_str_radix(value.trim_end_matches('u'), 16).unwrap();
        let expected = match name {
            "LOCK_HOLDER" => lock::HOLDER,
            "LOCK_START" => lock::START,
            "LOCK_GENERATIONS" => lock::GENERATIONS,
            "LOCK_WAITERS" => lock::WAITERS,
            "LOCK_AGAIN" => lock::AGAIN,
            "LOCK_TIMED_OUT" => lock::TIMED_OUT,
            call => {
                // LOCK_WAIT is LockWait.
                let words =
                    call.split('_').map(|word| word[..1].to_owned() + &word[1..].to_lowercase());
                let function = format!("{:?}", Function::decode(value).unwrap());
                assert_eq!(function, words.collect::<String>());
                calls += 1;
                value
            }
        };
        assert_eq!(value, expected, "{name}");
    }
    let ours = (0x8600_0000..0x8600_1000).filter(|number| Function::decode(*number).is_some());
    assert_eq!(calls, ours.count(), "a function is missing in the header");
}

#[test]
fn a_compiler_reads_it() {
    // The host has no r0 to name.
    let arguments = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-D__asm__(x)="];
    let done = Command::new("cc").args(arguments).args(["-x", "c"]).arg(header()).status().unwrap();
    assert!(done.success());
}
