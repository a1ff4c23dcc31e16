//! What takes long: distributions of interrupt latency, and the longest stretches without.
//!
//! `bench/soak.toml` says what runs. The instrument counts from outside, as it does for the
//! bench, which keeps the short form. Not here: what the counts mean (`bench/plugin`).

use crate::boot_tests;
use crate::measure::{Report, Stretched};
use crate::qemu::Machine;
use crate::symbols::Symbols;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Most time for one run.
const LIMIT: Duration = Duration::from_secs(4 * 3600);
/// Between two words on how far it is.
const PROGRESS: Duration = Duration::from_secs(10);
/// Stretches that are explained.
const EXPLAINED: usize = 8;
/// The probe's name.
const PROBE: &str = "irq.latency";

/// Where the hypervisor takes an interrupt from a guest.
pub(crate) const INTERRUPT: &str = "entresol_armv7a::entry::interrupt";

/// `bench/soak.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Soaks {
    run: Vec<Soak>,
}

/// One run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Soak {
    name: String,
    /// The system, `bench/systems/NAME.toml`, with a guest `tick`.
    system: String,
    machine: String,
    /// Interrupts of that guest.
    samples: u64,
    /// Most instructions any of them may wait.
    most: u64,
    /// What a console says by then, if there are as many.
    #[serde(default)]
    says: Option<String>,
    /// What none says.
    #[serde(default)]
    never: Vec<String>,
    /// Whether the machine's second UART sends numbered lines; see the boot tests.
    #[serde(default)]
    numbers: bool,
    /// Numbers that are bounded, if there are as many samples.
    #[serde(default)]
    bound: Vec<boot_tests::Bound>,
}

/// What came of a run.
#[derive(Debug, Serialize)]
struct Outcome {
    name: String,
    samples: u64,
    least: u64,
    median: u64,
    /// What 99.9 % do not exceed.
    high: u64,
    most: u64,
    allowed: u64,
    /// The longest stretch without interrupts.
    masked: u64,
    /// The longest of each kind: its length, and the functions where most of it was spent.
    stretches: Vec<(u64, String)>,
}

/// Runs those named, or all.
///
/// # Errors
///
/// When one cannot be run or its name is unknown.
pub(crate) fn soak(
    workspace: &Workspace,
    names: &[String],
    samples: Option<u64>,
    json: bool,
) -> Result<ExitCode> {
    let path = workspace.path("bench/soak.toml");
    let soaks: Soaks =
        toml::from_str(&fs::read_to_string(&path)?).with_context(|| path.display().to_string())?;
    for name in names {
        ensure!(
            soaks.run.iter().any(|soak| soak.name == *name),
            "no run {name} in bench/soak.toml"
        );
    }
    let mut outcomes = Vec::new();
    for soak in &soaks.run {
        if names.is_empty() || names.contains(&soak.name) {
            let outcome = run(workspace, soak, samples.unwrap_or(soak.samples))?;
            if !json {
                print!("{}", summary(&outcome));
            }
            outcomes.push(outcome);
        }
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&outcomes)?);
    }
    let kept = outcomes.iter().all(|outcome| outcome.most <= outcome.allowed);
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(workspace: &Workspace, soak: &Soak, samples: u64) -> Result<Outcome> {
    let Soak { name, system, machine, most: allowed, .. } = soak;
    let manifest = workspace.path(&format!("bench/systems/{system}.toml"));
    let image = workspace.target(&format!("soak/{name}.elf"));
    boot_tests::build_image(workspace, &manifest, machine, &image)?;
    let hypervisor = Symbols::of(&workspace.hypervisor())?;
    let handler = Symbols::of(&workspace.guest("tick"))?.find("tick_handler")?;
    let out = image.with_extension("counts");
    let histogram = image.with_extension("histogram");
    let arguments = [
        format!("out={}", out.display()),
        format!("histogram={}", histogram.display()),
        format!("samples={samples}"),
        "masked=yes".to_owned(),
        format!("poll={:#x}", hypervisor.find(INTERRUPT)?),
        format!("probe={PROBE}:open:{handler:#x}"),
    ];
    if out.exists() {
        fs::remove_file(&out)?;
    }
    let mut running = Machine::described(&workspace.path("machines"), machine, &image)?
        .with_plugin(&workspace.instrument(), &arguments);
    if soak.numbers {
        running = boot_tests::with_second_uart(running, &image);
    }
    let ended = AtomicBool::new(false);
    let run = thread::scope(|scope| {
        scope.spawn(|| tell_progress(name, &out, samples, &ended));
        let run = running.run(LIMIT, &[]);
        ended.store(true, Ordering::Relaxed);
        run
    })?;
    let console = boot_tests::transcript(&run.serial);
    fs::write(image.with_extension("console"), &console)?;
    if let Some(says) = soak.says.as_ref().filter(|_| samples >= soak.samples) {
        ensure!(console.contains(says), "{name} never said {says:?}\n{}", last(&console));
    }
    for never in &soak.never {
        ensure!(!console.contains(never), "{name} said {never:?}\n{}", last(&console));
    }
    if soak.numbers {
        boot_tests::check_numbers(&image)?;
    }
    for bound in soak.bound.iter().filter(|_| samples >= soak.samples) {
        bound.check(&console)?;
    }
    let report = fs::read_to_string(&out)
        .with_context(|| format!("no report; {}\n{console}", run.errors))?;
    let report = Report::parse(&report)?;
    let found = report.samples(PROBE)?;
    ensure!(found.number >= samples, "{name} ended after {} samples\n{console}", found.number);
    Ok(Outcome {
        name: name.clone(),
        samples: found.number,
        least: found.least,
        median: found.median,
        high: high(&fs::read_to_string(&histogram)?, found.number)?,
        most: found.most,
        allowed: *allowed,
        masked: report.masked()?,
        stretches: explain(report.stretches(), &hypervisor),
    })
}

/// The last lines of a console.
fn last(console: &str) -> String {
    let lines: Vec<_> = console.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Says now and then how many samples there are.
fn tell_progress(name: &str, out: &Path, samples: u64, ended: &AtomicBool) {
    let mut before = 0;
    while !ended.load(Ordering::Relaxed) {
        thread::park_timeout(Duration::from_millis(200));
        let text = fs::read_to_string(out).unwrap_or_default();
        let number = Report::parse(&text).and_then(|report| report.samples(PROBE));
        let number = number.map_or(0, |found| found.number);
        if number > before {
            eprintln!("  {name}: {number} of {samples} samples");
            before = number;
        }
        for _ in 0..PROGRESS.as_secs() {
            if !ended.load(Ordering::Relaxed) {
                thread::park_timeout(Duration::from_secs(1));
            }
        }
    }
}

/// What 99.9 % of the samples do not exceed.
fn high(histogram: &str, number: u64) -> Result<u64> {
    let mut left = number / 1000;
    for line in histogram.lines().rev() {
        let mut words = line.split(' ').skip(1).map(str::parse::<u64>);
        let (Some(length), Some(times)) = (words.next(), words.next()) else { continue };
        let (length, times) = (length?, times?);
        if times > left {
            return Ok(length);
        }
        left -= times;
    }
    Ok(0)
}

/// Each stretch with the functions in which most of it was spent.
pub(crate) fn explain(stretches: &[Stretched], symbols: &Symbols) -> Vec<(u64, String)> {
    let explain = |stretch: &Stretched| {
        let mut spent: BTreeMap<&str, u64> = BTreeMap::new();
        for (address, count) in &stretch.places {
            *spent.entry(symbols.at(*address)).or_default() += count;
        }
        let mut spent: Vec<_> = spent.into_iter().collect();
        spent.sort_by_key(|(_, count)| core::cmp::Reverse(*count));
        let named: Vec<_> =
            spent.iter().take(3).map(|(name, count)| format!("{name} {count}")).collect();
        (stretch.length, named.join(", "))
    };
    stretches.iter().take(EXPLAINED).map(explain).collect()
}

fn summary(outcome: &Outcome) -> String {
    let Outcome { name, samples, least, median, high, most, allowed, masked, .. } = outcome;
    let mut text = format!(
        "{name}: {samples} interrupts, in instructions: least {least}, median {median}, \
         99.9 % {high}, most {most} of {allowed}\n  longest without interrupts: {masked}\n"
    );
    for (length, spent) in &outcome.stretches {
        text.push_str(&format!("  {length:>6}  {}\n", spent));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::high;

    #[test]
    fn one_in_a_thousand_may_be_longer() {
        let histogram = "irq 400 1998\nirq 500 1\nirq 900 2\n";
        assert_eq!(high(histogram, 2001).unwrap(), 500);
        assert_eq!(high(histogram, 999).unwrap(), 900);
    }
}
