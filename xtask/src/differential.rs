//! Runs the differential guest over any number of sequences, some at a time.
//!
//! What `tests/boot/differential` does for the first few thousand sequences of each
//! instruction set; see that guest for what a sequence is. Each round builds the guest for its
//! sequences, runs it without Entresol and with it (every instruction trapping, and promoted),
//! and compares. The rounds before are not needed to repeat one: `--first` goes on where a
//! run was stopped, or looks again at what failed.

use crate::boot_tests;
use crate::native::Native;
use crate::process::{self, Step};
use crate::qemu::Machine;
use crate::workspace::{TARGET, Workspace};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

/// Sequences of each instruction set in a line of the guest's output: rounds begin with one.
const LINE: u32 = 250;
/// The same of a round, if there are so many.
const ROUND: u32 = 10_000;
/// One sequence of so many is stopped at each of its instructions, and interrupted.
const STEPPED: u32 = 128;
/// Most time of a run of one round.
const LIMIT: Duration = Duration::from_secs(1800);

/// Runs `sequences` of them, half A32 and half T32, from number `first` of each on; protected by
/// domains if that is wanted.
///
/// # Errors
///
/// When something cannot be built or run. What differs is printed, and fails in the end.
pub(crate) fn run(
    workspace: &Workspace,
    sequences: u32,
    first: u32,
    machine: &str,
    domains: bool,
) -> Result<ExitCode> {
    ensure!(first.is_multiple_of(LINE), "--first {first} is no multiple of {LINE}");
    let end = first.saturating_add((sequences / 2).next_multiple_of(LINE));
    let mut failures = Vec::new();
    for first in (first..end).step_by(usize::try_from(ROUND)?) {
        let number = ROUND.min(end - first);
        let step = Step::new(&format!("{number} sequences in A32 and T32 from {first} on"));
        if let Err(error) = step.end(round(workspace, first, number, machine, domains)) {
            eprintln!("{}", process::explained(&error));
            failures.push(first);
        }
    }
    for first in &failures {
        println!("failed: --first {first} --sequences {}", 2 * ROUND);
    }
    println!("sequences {first} to {end} of A32 and T32: {} rounds failed", failures.len());
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn round(
    workspace: &Workspace,
    first: u32,
    number: u32,
    machine: &str,
    domains: bool,
) -> Result<()> {
    let protection = if domains { "domains" } else { "tables" };
    let folder = workspace.target(&format!("differential/{protection}"));
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--quiet", "--package", "differential"]);
    build.args(["--target", TARGET, "--target-dir"]).arg(&folder);
    build.env("DIFFERENTIAL_FIRST", first.to_string());
    build.env("DIFFERENTIAL_SEQUENCES", number.to_string());
    build.env("DIFFERENTIAL_STEPPED", STEPPED.to_string());
    process::run(build.current_dir(workspace.path("guests")))?;

    let image = folder.join(TARGET).join("release/differential");
    let mut manifest = format!("machine = {machine:?}\n");
    for (name, priority) in [("trap", 2), ("eager", 1)] {
        manifest += &format!(
            "[[vm]]\nname = {name:?}\nimage = {image:?}\nmemory = \"1M\"\n\
             priority = {priority}\nrewrite = {name:?}\nprotection = {protection:?}\n"
        );
    }
    let path = folder.join("system.toml");
    fs::write(&path, manifest).with_context(|| path.display().to_string())?;
    let system = folder.join("system.elf");
    boot_tests::build_image(workspace, &path, machine, &system)?;
    let ended =
        Machine::described(&workspace.path("machines"), machine, &system)?.run(LIMIT, &[])?;
    let console = boot_tests::transcript(&ended.serial);
    fs::write(folder.join("console"), &console)?;
    ensure!(ended.status == Some(0), "ended with {:?}: {}", ended.status, ended.errors);
    let native = Native::of(&image, &[1, 2]);
    native.check(&folder, machine, &console, LIMIT)
}
