//! `entresol run` from a pipe: input reaches the VM it is meant for, when it is up.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

/// Stands in for QEMU: says that VM 2 is up, then what it was sent, in octal.
const MACHINE: &str = "#!/bin/sh
printf '\\0362ready\\n'
head -c 5 | od -An -to1
";

#[test]
fn input_goes_to_the_chosen_vm_once_it_is_ready() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cli/run.in");
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("machine");
    fs::write(&program, MACHINE).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let board = fs::read_to_string(files.join("board.toml")).unwrap();
    let board = board.replace("./machine", &program.display().to_string());
    fs::write(directory.path().join("board.toml"), board).unwrap();

    let mut child = Command::new(env!("CARGO_BIN_EXE_entresol"))
        .arg("run")
        .arg(files.join("system.toml"))
        .arg("--hypervisor")
        .arg(files.join("kernel.elf"))
        .arg("--machine")
        .arg(directory.path().join("board.toml"))
        .args(["--to", "two", "--input-after", "ready", "--timeout", "20"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"ls\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    // Record separator, '2', then "ls\n".
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "two      | ready\ntwo      |  036 062 154 163 012\n"
    );
}
