//! Costs in instructions, against their budgets and against bare QEMU.
//!
//! `bench/budgets.toml` says what is measured, how, and what it may cost at most;
//! `bench/systems/NAME.toml` are the systems measured; `bench/native.toml` holds what the
//! same Linux workload costs on bare machines and how that was measured. Every figure comes
//! from the instrument, outside of the code it measures.

mod budgets;
mod figure;
mod native;
mod sides;

use crate::boot_tests;
use crate::measure::{Report, to_float};
use crate::process::{self, Step};
use crate::qemu::Machine;
use crate::soak;
use crate::symbols::Symbols;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use budgets::{Budgets, Entry, How};
use figure::Figure;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) use native::measure as measure_native;
pub(crate) use sides::write_table;

/// Most time for a measured run of Linux, which takes some ten seconds natively.
pub(super) const LIMIT: Duration = Duration::from_secs(600);
/// Most time for any other.
const SHORT_LIMIT: Duration = Duration::from_secs(30);

/// Measures and prints those of the named systems, or all; fails when something is over its budget.
///
/// # Errors
///
/// When a system cannot be built or run.
pub(crate) fn bench(workspace: &Workspace, systems: &[String], json: bool) -> Result<ExitCode> {
    let figures = measure(workspace, systems)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        print!("{}", figure::table(&figures));
    }
    let troubles: Vec<_> = figures.iter().filter_map(|figure| figure.kept().err()).collect();
    for trouble in &troubles {
        eprintln!("{trouble}");
    }
    let kept = troubles.is_empty();
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures every entry whose system exists, and is named if any is.
///
/// # Errors
///
/// When a system cannot be built or run.
pub(crate) fn measure(workspace: &Workspace, systems: &[String]) -> Result<Vec<Figure>> {
    let budgets = Budgets::read(&workspace.path("bench/budgets.toml"))?;
    let native = native::Native::read(&workspace.path("bench/native.toml"))?;
    let named = |entry: &&Entry| systems.is_empty() || systems.iter().any(|s| s == entry.system());
    let mut places: Vec<(&str, &str)> = Vec::new();
    for entry in budgets.entries.iter().filter(named) {
        for machine in &entry.machines {
            let place = (entry.system(), machine.as_str());
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    let runs = process::at_once(&places, |(system, machine)| {
        measure_system(workspace, &budgets, system, machine)
    });
    let runs: BTreeMap<_, _> = places.iter().zip(runs).collect();
    let mut figures = Vec::new();
    for entry in budgets.entries.iter().filter(named) {
        for machine in &entry.machines {
            let count = match runs.get(&(entry.system(), machine.as_str())) {
                None | Some(Run::NotThere) => Ok(None),
                Some(Run::Failed(trouble)) => Err(trouble.clone()),
                Some(Run::Ended(report)) => {
                    count(entry, report).map(Some).map_err(|error| process::explained(&error))
                }
            };
            figures.push(match count {
                Ok(count) => {
                    Figure::new(entry, machine, count, native.get(machine, entry.native_name()))
                }
                Err(trouble) => Figure::failed(entry, machine, trouble),
            });
        }
    }
    Ok(figures)
}

/// What came of measuring a system.
enum Run {
    /// There is no such system (yet).
    NotThere,
    /// It could not be built or run; said once, at length, when it happened.
    Failed(String),
    /// Counts.
    Ended(Report),
}

fn measure_system(workspace: &Workspace, budgets: &Budgets, system: &str, machine: &str) -> Run {
    let manifest = workspace.path(&format!("bench/systems/{system}.toml"));
    if !manifest.exists() {
        return Run::NotThere;
    }
    let step = Step::beside(&format!("measure {system} on {machine}"));
    match step.end_beside(run(workspace, budgets, system, machine, &manifest)) {
        Ok(report) => Run::Ended(report),
        Err(error) => {
            eprintln!("{}", process::explained(&error));
            Run::Failed(format!("{system} on {machine} could not be measured"))
        }
    }
}

/// What an entry costs by a report.
fn count(entry: &Entry, report: &Report) -> Result<f64> {
    match &entry.how {
        How::Marks(stretch) => report.per_operation(stretch),
        How::Probe(probe) => Ok(probe.take.of(report.samples(&entry.name)?)),
        How::Masked(_) => report.masked().map(to_float),
    }
}

/// Runs a system once with all its probes.
fn run(
    workspace: &Workspace,
    budgets: &Budgets,
    system: &str,
    machine: &str,
    manifest: &Path,
) -> Result<Report> {
    let image = workspace.target(&format!("bench/{system}.{machine}.elf"));
    boot_tests::build_image(workspace, manifest, machine, &image)?;
    let out = workspace.target(&format!("bench/{system}.{machine}.counts"));
    if out.exists() {
        fs::remove_file(&out)?;
    }
    let mut arguments = vec![format!("out={}", out.display())];
    arguments.push(format!("profile={}", out.with_extension("profile").display()));
    arguments.push(format!("histogram={}", out.with_extension("histogram").display()));
    for entry in budgets.of_system(system) {
        match &entry.how {
            How::Probe(probe) => {
                arguments.push(probe.argument(workspace, &entry.name)?);
                arguments.extend(probe.samples.map(|number| format!("samples={number}")));
            }
            How::Masked(masked) => {
                arguments.extend(soak::masked(&Symbols::of(&workspace.hypervisor())?)?);
                arguments.push(format!("samples={}", masked.samples));
            }
            How::Marks(_) => {}
        }
    }
    let limit = if system.starts_with("linux") { LIMIT } else { SHORT_LIMIT };
    let ended = Machine::described(&workspace.path("machines"), machine, &image)?
        .with_cores_of(manifest)?
        .with_plugin(&workspace.instrument(), &arguments)
        .run(limit, &[])?;
    let console = boot_tests::transcript(&ended.serial);
    fs::write(out.with_extension("console"), &console)?;
    let report = fs::read_to_string(&out)
        .with_context(|| format!("no report; {}\n{console}", ended.errors))?;
    if ended.status.is_none() {
        // What was reached is measured all the same; each missing entry is a failure.
        eprint!(
            "killed after {} s; it ends: {}",
            limit.as_secs(),
            console.lines().last().unwrap_or_default()
        );
    }
    Report::parse(&report)
}
