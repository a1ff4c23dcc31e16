//! Costs in instructions, against their budgets and against bare QEMU.
//!
//! `bench/budgets.toml` says what is measured, how, and what it may cost at most;
//! `bench/systems/NAME.toml` are the systems measured; `bench/native.toml` holds what the
//! same Linux workload costs on bare machines and how that was measured. Every figure comes
//! from the instrument, outside of the code it measures.

mod budgets;
mod figure;
mod native;

use crate::boot_tests;
use crate::measure::Report;
use crate::process::Step;
use crate::qemu::Machine;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use budgets::{Budgets, Entry, How};
use figure::Figure;
use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) use native::measure as measure_native;

/// Most time for one measured run. The Linux workload takes some ten seconds natively.
pub(super) const LIMIT: Duration = Duration::from_secs(300);

/// Measures and prints; fails when something is over its budget.
///
/// # Errors
///
/// When a system cannot be built or run.
pub(crate) fn bench(workspace: &Workspace, json: bool) -> Result<ExitCode> {
    let figures = measure(workspace)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        print!("{}", figure::table(&figures));
    }
    let kept = figures.iter().all(Figure::is_kept);
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures every entry whose system exists.
///
/// # Errors
///
/// When a system cannot be built or run.
pub(crate) fn measure(workspace: &Workspace) -> Result<Vec<Figure>> {
    let budgets = Budgets::read(&workspace.path("bench/budgets.toml"))?;
    let native = native::Native::read(&workspace.path("bench/native.toml"))?;
    let mut reports: BTreeMap<(String, String), Option<Report>> = BTreeMap::new();
    let mut figures = Vec::new();
    for entry in &budgets.entries {
        for machine in &entry.machines {
            let key = (entry.system().to_owned(), machine.clone());
            if !reports.contains_key(&key) {
                let report = run(workspace, &budgets, &key.0, machine)?;
                reports.insert(key.clone(), report);
            }
            let report = reports.get(&key).and_then(Option::as_ref);
            let count = report.map(|report| count(entry, report)).transpose()?;
            figures.push(Figure::new(entry, machine, count, native.get(machine, &entry.name)));
        }
    }
    Ok(figures)
}

fn count(entry: &Entry, report: &Report) -> Result<f64> {
    match &entry.how {
        How::Marks(stretch) => report.per_operation(stretch),
        How::Probe(probe) => Ok(probe.take.of(report.samples(&entry.name)?)),
    }
}

/// Runs a system once with all its probes; `None` if there is no such system (yet).
fn run(
    workspace: &Workspace,
    budgets: &Budgets,
    system: &str,
    machine: &str,
) -> Result<Option<Report>> {
    let manifest = workspace.path(&format!("bench/systems/{system}.toml"));
    if !manifest.exists() {
        eprintln!("  {} is not there: not measured", manifest.display());
        return Ok(None);
    }
    let step = Step::new(&format!("measure {system} on {machine}"));
    let image = workspace.target(&format!("bench/{system}.{machine}.elf"));
    boot_tests::build_image(workspace, &manifest, machine, &image)?;
    let out = workspace.target(&format!("bench/{system}.{machine}.counts"));
    if out.exists() {
        fs::remove_file(&out)?;
    }
    let mut arguments = vec![format!("out={}", out.display())];
    arguments.push(format!("profile={}", out.with_extension("profile").display()));
    for entry in budgets.of_system(system) {
        if let How::Probe(probe) = &entry.how {
            let from = probe.place(workspace, &probe.from)?;
            let to = probe.place(workspace, &probe.to)?;
            arguments.push(format!("probe={}:{from}:{to}", entry.name));
        }
    }
    let ended = Machine::described(&workspace.path("machines"), machine, &image)?
        .with_plugin(&workspace.instrument(), &arguments)
        .run(LIMIT, &[])?;
    step.done(ended.status.map_or("killed at the limit", |_| "ok"));
    fs::write(out.with_extension("console"), boot_tests::transcript(&ended.serial))?;
    let text = fs::read_to_string(&out).with_context(|| {
        format!("{system} on {machine} reached no mark and no probe\n{}", ended.errors)
    })?;
    Ok(Some(Report::parse(&text)?))
}
