//! The demonstration: Linux, real time, and a crash, on one machine.
//!
//! On a terminal it is the user's. Otherwise it types a few commands itself, ends when
//! Linux has turned itself off, and judges what it saw: the same demonstration as a test.
//! Not here: how a system runs, which is `entresol run`'s.

use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{IsTerminal, Write, stdin};
use std::process::{Command, ExitCode, Stdio};

/// Typed when nobody does, once the shell is up.
const SCRIPT: &str = "uname -srm\necho the answer is $((6 * 7))\nsleep 2\ncat /proc/loadavg\n\
                      poweroff -f\n";

/// The shell's prompt.
const PROMPT: &str = "debian# ";

/// The last thing Linux says.
const LAST: &str = "reboot: Power down";

/// Most seconds of the host's time after which it is over.
const LIMIT: &str = "900";

/// Largest distance of the real-time guest's period from 1 ms, in nanoseconds.
const DEVIATION: u64 = 100_000;

/// What must be in the log, each on a line of the VM.
const EXPECTED: &[(&str, &str)] = &[
    ("linux", "Booting Linux on physical CPU"),
    ("linux", "load: 100 programs forked and executed"),
    ("linux", "the answer is 42"),
    ("crash", "crash: start 4"),
    ("entresol", "which is the hypervisor's window: no guest may touch it"),
    ("linux", LAST),
];

/// Runs the demonstration.
///
/// # Errors
///
/// When nobody watched and it did not show what it is to show.
pub(crate) fn demo(workspace: &Workspace) -> Result<ExitCode> {
    let mut command = workspace.entresol();
    command.arg("run").arg(workspace.path("systems/demo.toml"));
    if stdin().is_terminal() {
        return process::hand_over(&mut command);
    }
    let log = workspace.target("demo.log");
    command.args(["--input-after", PROMPT, "--until", LAST, "--timeout", LIMIT, "--log"]).arg(&log);
    play(&mut command)?;
    judge(&fs::read_to_string(&log).with_context(|| format!("{}", log.display()))?)?;
    Ok(ExitCode::SUCCESS)
}

fn play(command: &mut Command) -> Result<()> {
    let shown = process::shown(command);
    let mut child =
        command.stdin(Stdio::piped()).spawn().with_context(|| format!("cannot run {shown}"))?;
    let mut keyboard = child.stdin.take().context("no keyboard")?;
    keyboard.write_all(SCRIPT.as_bytes())?;
    let status = child.wait()?;
    ensure!(status.success(), "{shown} ended with {status}");
    Ok(())
}

/// Says what the log shows, or what it lacks.
fn judge(log: &str) -> Result<()> {
    let said = |name: &str, text: &str| {
        log.lines().any(|line| {
            line.split_once('|').is_some_and(|(vm, said)| vm.trim() == name && said.contains(text))
        })
    };
    for (name, text) in EXPECTED {
        ensure!(said(name, text), "{name} did not say {text:?}");
    }
    let reports: Vec<_> = log.lines().filter(|line| line.contains("rt: periods=")).collect();
    let largest = |what: &str| -> Result<u64> {
        let number = |line: &&str| {
            let (_, rest) = line.split_once(what)?;
            rest.split_whitespace().next()?.parse().ok()
        };
        let numbers: Option<Vec<u64>> = reports.iter().map(number).collect();
        numbers.and_then(|all| all.into_iter().max()).with_context(|| format!("no {what}"))
    };
    let (deviation, missed) = (largest("deviation=")?, largest("missed=")?);
    eprintln!(
        "{} s at 1 kHz beside Linux under load: period off by {deviation} ns at most ({DEVIATION} \
         allowed), {missed} releases missed",
        reports.len()
    );
    ensure!(deviation <= DEVIATION && missed == 0, "the real-time guest did not keep its period");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(report: &str) -> String {
        let lines = EXPECTED.iter().map(|(name, text)| format!("{name:8} | {text}\n"));
        lines.chain([format!("realtime | rt: periods=1000 {report}\n")]).collect()
    }

    #[test]
    fn a_demonstration_shows_everything_and_keeps_the_period() {
        judge(&log("deviation=100 missed=0")).unwrap();
        judge(&log("deviation=100 missed=1")).unwrap_err();
        judge(&log("deviation=999999 missed=0")).unwrap_err();
        judge(&log("deviation=100 missed=0").replace("42", "43")).unwrap_err();
    }
}
