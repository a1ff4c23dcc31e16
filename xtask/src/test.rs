//! The whole test command: every check, every test, one summary.
//!
//! Goes on after a failure, so that one run tells everything. Counts each check, each
//! host test and each on-target run; closes with `N passed, M failed`.

use crate::boot_tests::{self, BootTest};
use crate::process::{self, Step};
use crate::workspace::{TARGET, Workspace};
use crate::{bench, build, layers, setup};
use anyhow::{Error, Result};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Runs everything.
///
/// # Errors
///
/// When the machine cannot be set up; failures of tests are counted instead.
pub(crate) fn test(workspace: &Workspace) -> Result<ExitCode> {
    setup::setup(workspace)?;
    let mut summary = Summary::default();
    eprintln!("Checks:");
    checks(workspace, &mut summary);
    eprintln!("Tests on the host:");
    host_tests(workspace, &mut summary);
    eprintln!("Build:");
    if summary.check(build::build(workspace)) {
        let size = Step::new("size of the hypervisor's text");
        summary.check(size.end(build::check_text(workspace)));
        eprintln!("Tests on the target:");
        target_tests(workspace, &[], &mut summary);
        eprintln!("Budgets:");
        budgets(workspace, &mut summary);
    }
    summary.close()
}

/// Runs the named on-target tests, or all, without building anything.
///
/// # Errors
///
/// When no summary can be made; failures of tests are counted instead.
pub(crate) fn boot(workspace: &Workspace, names: &[String]) -> Result<ExitCode> {
    let mut summary = Summary::default();
    target_tests(workspace, names, &mut summary);
    summary.close()
}

#[derive(Default)]
struct Summary {
    passed: usize,
    failed: usize,
    failures: Vec<String>,
}

impl Summary {
    fn check(&mut self, result: Result<()>) -> bool {
        match result {
            Ok(()) => {
                self.passed += 1;
                true
            }
            Err(error) => {
                self.fail(&error);
                false
            }
        }
    }

    fn fail(&mut self, error: &Error) {
        self.failed += 1;
        let text = process::explained(error);
        eprintln!("{text}\n");
        self.failures.push(text.lines().next().unwrap_or_default().to_owned());
    }

    fn close(self) -> Result<ExitCode> {
        for failure in &self.failures {
            eprintln!("failed: {failure}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        Ok(if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The workspaces beside the main one that exist: directory and whether for the target.
fn other_workspaces(workspace: &Workspace) -> Vec<(&'static str, PathBuf, bool)> {
    [
        ("guests", true),
        ("bench/plugin", false),
        ("bench/ubench", true),
        ("bench/micro", true),
        ("tests/userland", true),
    ]
    .map(|(name, target)| (name, workspace.path(name), target))
    .into_iter()
    .filter(|(_, path, _)| path.join("Cargo.toml").exists())
    .collect()
}

fn checks(workspace: &Workspace, summary: &mut Summary) {
    let mut step = |what: &str, command: &mut Command| {
        summary.check(Step::new(what).run(command).map(drop));
    };
    step("format", workspace.cargo().args(["fmt", "--all", "--check"]));
    for (name, path, _) in other_workspaces(workspace) {
        let mut command = workspace.cargo();
        command.args(["fmt", "--all", "--check"]).current_dir(path);
        step(&format!("format of {name}"), &mut command);
    }
    let strict = ["--", "--deny", "warnings"];
    step("clippy", workspace.cargo().args(["clippy", "--all-targets"]).args(strict));
    let mut target = workspace.cargo();
    target.args(["clippy", "--package", "entresol-kernel", "--target", TARGET]).args(strict);
    step("clippy for the target", &mut target);
    for (name, path, for_target) in other_workspaces(workspace) {
        let mut command = workspace.cargo();
        command.arg("clippy").current_dir(path);
        if for_target {
            command.args(["--target", TARGET]);
        } else {
            command.arg("--all-targets");
        }
        command.arg("--target-dir").arg(workspace.target(&format!("lint/{name}")));
        step(&format!("clippy of {name}"), command.args(strict));
    }
    // Advisories are published by a service of their own; they are not part of a test.
    let mut deny = workspace.cargo();
    deny.args(["deny", "--all-features", "check", "licenses", "bans", "sources"]);
    step("licences and duplicates", &mut deny);
    let mut doc = workspace.cargo();
    doc.args(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "--deny warnings");
    step("links of the documentation", &mut doc);
    summary.check(Step::new("layers").end(layers::check(workspace)));
}

fn host_tests(workspace: &Workspace, summary: &mut Summary) {
    let mut all = workspace.cargo();
    cargo_test("cargo test", all.args(["test", "--no-fail-fast"]), summary);
    let mut oracles = workspace.cargo();
    oracles.args(["test", "--no-fail-fast", "--package", "entresol-isa", "--", "--ignored"]);
    cargo_test(
        "cargo test of the instruction tables, against objdump and QEMU",
        &mut oracles,
        summary,
    );
    let mut instrument = workspace.cargo();
    instrument.args(["test", "--no-fail-fast", "--manifest-path", "bench/plugin/Cargo.toml"]);
    instrument.arg("--target-dir").arg(workspace.target("instrument"));
    cargo_test("cargo test of the instrument", &mut instrument, summary);
}

fn cargo_test(what: &str, command: &mut Command, summary: &mut Summary) {
    let step = Step::new(what);
    let output = match process::output(command) {
        Ok(output) => output,
        Err(error) => {
            step.done("FAILED");
            return summary.fail(&error);
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let (passed, failed) = text
        .lines()
        .filter_map(result_line)
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    step.done(&format!("{passed} passed, {failed} failed"));
    summary.passed += passed;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let output = format!("{}\n{text}{errors}", process::shown(command));
        summary.fail(&Error::msg(output).context(what.to_owned()));
        summary.failed += usize::max(failed, 1) - 1;
    }
}

/// The two counts of `test result: ok. 3 passed; 0 failed; ...`.
fn result_line(line: &str) -> Option<(usize, usize)> {
    let counts = line.strip_prefix("test result: ")?;
    let number = |what: &str| {
        let before = counts.split(what).next()?.trim_end();
        before.rsplit([' ', ';']).next()?.parse().ok()
    };
    Some((number("passed")?, number("failed")?))
}

fn target_tests(workspace: &Workspace, names: &[String], summary: &mut Summary) {
    let tests = match boot_tests::find(workspace, names) {
        Ok(tests) => tests,
        Err(error) => return summary.fail(&error),
    };
    let check = |test: &BootTest| Step::beside(&test.title()).end_beside(test.check(workspace));
    for result in process::at_once(&tests, check) {
        summary.check(result);
    }
}

fn budgets(workspace: &Workspace, summary: &mut Summary) {
    let figures = match bench::measure(workspace, &[]) {
        Ok(figures) => figures,
        Err(error) => return summary.fail(&error),
    };
    for figure in figures {
        match figure.kept() {
            Ok(true) => {
                eprintln!("  {}", figure.title());
                summary.passed += 1;
            }
            Ok(false) => eprintln!("  {}: not measured", figure.title()),
            Err(error) => summary.fail(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_counts_of_a_test_run() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured";
        assert_eq!(result_line(line), Some((12, 3)));
        assert_eq!(result_line("running 12 tests"), None);
    }
}
