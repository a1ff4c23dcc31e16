//! `entresol attach` and `entresol order` on a serial line: a pseudo-terminal, with a test at its
//! other end in place of a board.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// A board: what is written to it comes out of the line called so.
fn board() -> (File, String) {
    let board = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&board).unwrap();
    unlockpt(&board).unwrap();
    let name = ptsname(&board, Vec::new()).unwrap().into_string().unwrap();
    (File::from(board), name)
}

fn manifest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cli/run.in/system.toml")
}

fn entresol(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entresol"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// What is ordered, in the order of their numbers, which begin with 1.
const ORDERS: [&str; 5] = ["start", "stop", "restart", "pause", "resume"];

/// Orders something of the second VM; returns the byte that says so, too.
fn order(what: &str) -> (File, Child, u8) {
    let (mut board, line) = board();
    let manifest = manifest().display().to_string();
    let child = entresol(&["order", &line, &manifest, "two", what, "--timeout", "20"]);
    let number = ORDERS.iter().position(|name| *name == what).unwrap() + 1;
    let byte = 0x81 | u8::try_from(number).unwrap() << 3;
    // Channel 0 is selected, whichever was before, and the order follows.
    let mut said = [0; 3];
    board.read_exact(&mut said).unwrap();
    assert_eq!(said, [0x1e, b'0', byte]);
    (board, child, byte)
}

fn explained(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_order_is_given_and_its_answer_awaited() {
    for what in ORDERS {
        let (mut board, child, answer) = order(what);
        // A VM says the same byte, and the hypervisor answers another order, before the answer comes.
        board.write_all(&[0x1e, b'2', answer, 0x1e, b'0', answer ^ 1, answer]).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", explained(&output));
    }
}

#[test]
fn a_refusal_says_what_the_manifest_needs() {
    let (mut board, child, _) = order("stop");
    board.write_all(b"\x1e0entresol\r\n\xd1").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        explained(&output).contains("`console-controls = [\"two\"]`"),
        "{}",
        explained(&output)
    );
}

#[test]
fn silence_is_told() {
    let (_board, line) = board();
    let manifest = manifest().display().to_string();
    let child = entresol(&["order", &line, &manifest, "two", "stop", "--timeout", "0"]);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(explained(&output).contains("no answer on"), "{}", explained(&output));
}

#[test]
fn a_boards_consoles_are_shown_by_name_and_typed_to() {
    let (mut board, line) = board();
    let manifest = manifest().display().to_string();
    let mut child = entresol(&[
        "attach",
        &line,
        &manifest,
        "--to",
        "two",
        "--input-after",
        "ready",
        "--until",
        "bye",
        "--timeout",
        "20",
    ]);
    child.stdin.take().unwrap().write_all(b"ls\n").unwrap();
    // The line is the tool's now: before, it would have echoed.
    let mut reset = [0; 2];
    board.read_exact(&mut reset).unwrap();
    assert_eq!(&reset, b"\x1e0");
    board.write_all(b"\x1e1one\n\x1e0\x91\xd0\x1e2ready\n").unwrap();
    let mut said = [0; 5];
    board.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"\x1e2ls\n");
    board.write_all(b"bye\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", explained(&output));
    let shown = String::from_utf8(output.stdout).unwrap();
    for line in [
        "one      | one\n",
        "two: stopped\n",
        "refused: `console-controls` of the manifest does not name one\n",
        "two      | ready\n",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
}

#[test]
fn what_is_no_line_is_told() {
    for name in ["/nowhere/tty", "/dev/null", "127.0.0.1:1"] {
        let output = entresol(&["attach", name]).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(explained(&output).contains(&format!("cannot use the serial line {name}")));
    }
}
