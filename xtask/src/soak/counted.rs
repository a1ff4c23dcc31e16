//! Runs that the instrument counts: each passage from one place to another, and stretches of the
//! hypervisor without interrupts.

use super::{LIMIT, last};
use crate::boot_tests;
use crate::measure::{Report, Stretched};
use crate::qemu::Machine;
use crate::symbols::Symbols;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use entresol_abi::window;
use entresol_trace::histogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Between two words on how far it is.
const PROGRESS: Duration = Duration::from_secs(10);
/// Stretches that are explained.
const EXPLAINED: usize = 8;
/// The probe's name.
const PROBE: &str = "soak";
/// Most instructions that the hypervisor may execute without taking an interrupt.
const MASKED: u64 = 500;
/// What is less than this part of a way is not named.
const SHARE: u64 = 50;

/// What the instrument must know to measure stretches without interrupts: where the hypervisor takes an
/// interrupt from a guest, where it asks which it was, and where it loads a guest.
const PLACES: [(&str, &str); 4] = [
    ("poll", "entresol_armv7a::entry::interrupt"),
    (
        "acknowledge",
        "<entresol_kernel::machine::Machine as entresol_hv::platform::Platform>::acknowledge",
    ),
    ("express", "entresol_armv7a::fast::turn::swap"),
    ("load", "entresol_armv7a::hypervisor::Hypervisor::make_current"),
];

/// The instrument's arguments for stretches without interrupts.
pub(crate) fn masked(hypervisor: &Symbols) -> Result<Vec<String>> {
    let mut arguments = vec!["masked=yes".to_owned()];
    for (key, symbol) in PLACES {
        arguments.push(format!("{key}={:#x}", hypervisor.find(symbol)?));
    }
    Ok(arguments)
}

/// One run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Counted {
    pub(super) name: String,
    /// The system, `bench/systems/NAME.toml`.
    system: String,
    machine: String,
    /// Passages.
    samples: u64,
    /// Where one begins.
    #[serde(default = "open")]
    from: String,
    /// Where it ends.
    #[serde(default = "handler")]
    to: String,
    /// Shorter passages are of no interest.
    #[serde(default)]
    above: u64,
    /// Least instructions that any may take.
    #[serde(default)]
    least: u64,
    /// Most instructions that any may take.
    most: u64,
    /// What a console says by then, if there are as many.
    #[serde(default)]
    says: Option<String>,
    /// What none says.
    #[serde(default)]
    never: Vec<String>,
}

fn open() -> String {
    "open".to_owned()
}

fn handler() -> String {
    "tick:tick_handler".to_owned()
}

/// What came of a run.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    name: String,
    samples: u64,
    least: u64,
    median: u64,
    /// What 99.9 % do not exceed.
    high: u64,
    most: u64,
    /// The least and the most that are right.
    allowed: (u64, u64),
    /// The longest stretch without interrupts.
    masked: u64,
    /// The longest of each kind: its length, and the functions where most of it was spent.
    stretches: Vec<(u64, String)>,
    /// Of samples that are more than allowed: the length, how many had it, and the functions that were
    /// executed meanwhile, in their order.
    long: Vec<(u64, u64, String)>,
    /// Where the distribution is drawn.
    plot: String,
}

impl Counted {
    /// Runs it, for other than its own number of samples if that is wanted.
    pub(super) fn run(&self, workspace: &Workspace, samples: Option<u64>) -> Result<Outcome> {
        let Self { name, system, machine, .. } = self;
        let samples = samples.unwrap_or(self.samples);
        let manifest = workspace.path(&format!("bench/systems/{system}.toml"));
        let image = workspace.target(&format!("soak/{name}.elf"));
        boot_tests::build_image(workspace, &manifest, machine, &image)?;
        let hypervisor = Symbols::of(&workspace.hypervisor())?;
        let (from, to) = (place(workspace, &self.from)?, place(workspace, &self.to)?);
        let out = image.with_extension("counts");
        let histogram = image.with_extension("histogram");
        let mut arguments = masked(&hypervisor)?;
        arguments.extend([
            format!("out={}", out.display()),
            format!("histogram={}", histogram.display()),
            format!("samples={samples}"),
            format!("long={}", self.most + 1),
            format!("probe={PROBE}:{from}:{to}"),
        ]);
        if out.exists() {
            fs::remove_file(&out)?;
        }
        let running = Machine::described(&workspace.path("machines"), machine, &image)?
            .with_cores_of(&manifest)?
            .with_plugin(&workspace.instrument(), &arguments);
        let ended = AtomicBool::new(false);
        let run = thread::scope(|scope| {
            scope.spawn(|| tell_progress(name, &out, samples, &ended));
            let run = running.run(LIMIT, &[]);
            ended.store(true, Ordering::Relaxed);
            run
        })?;
        let console = boot_tests::transcript(&run.serial);
        fs::write(image.with_extension("console"), &console)?;
        if let Some(says) = self.says.as_ref().filter(|_| samples >= self.samples) {
            ensure!(console.contains(says), "{name} never said {says:?}\n{}", last(&console));
        }
        for never in &self.never {
            ensure!(!console.contains(never), "{name} said {never:?}\n{}", last(&console));
        }
        let report = fs::read_to_string(&out)
            .with_context(|| format!("no report; {}\n{console}", run.errors))?;
        let report = Report::parse(&report)?;
        let found = report.samples(PROBE)?;
        ensure!(found.number >= samples, "{name} ended after {} samples\n{console}", found.number);
        let lengths = Histogram::parse(&fs::read_to_string(&histogram)?, self.above)
            .with_context(|| format!("{} is malformed or empty", histogram.display()))?;
        let plot = image.with_extension("svg");
        let title = format!("{name}: {system} on {machine}");
        fs::write(&plot, lengths.draw(&title, "instructions", self.most))?;
        Ok(Outcome {
            name: name.clone(),
            samples: lengths.number(),
            least: lengths.least(),
            median: lengths.at_most(500),
            high: lengths.at_most(999),
            most: lengths.most(),
            allowed: (self.least, self.most),
            masked: report.masked()?,
            stretches: explain(report.stretches(), &hypervisor),
            long: report
                .ways()
                .iter()
                .take(EXPLAINED)
                .map(|way| name_way(way, &hypervisor))
                .collect(),
            plot: plot.display().to_string(),
        })
    }
}

impl Outcome {
    /// Whether all samples are as they should be.
    pub(super) fn kept(&self) -> bool {
        self.allowed.0 <= self.least && self.most <= self.allowed.1 && self.masked <= MASKED
    }

    /// For people.
    pub(super) fn summary(&self) -> String {
        let Self { name, samples, least, median, high, most, allowed, masked, plot, .. } = self;
        let mut text = format!(
            "{name}: {samples} samples, in instructions: least {least}, median {median}, \
             99.9 % {high}, most {most}; allowed {} to {}\n  {plot}\n  \
             longest without interrupts: {masked}; allowed 0 to {MASKED}\n",
            allowed.0, allowed.1
        );
        for (length, spent) in &self.stretches {
            text.push_str(&format!("  {length:>6}  {spent}\n"));
        }
        for (length, number, way) in &self.long {
            text.push_str(&format!("  {number} of {length}: {way}\n"));
        }
        text
    }
}

/// A place as the instrument takes it; `GUEST:SYMBOL` is looked up.
fn place(workspace: &Workspace, text: &str) -> Result<String> {
    let Some((guest, symbol)) = text.split_once(':') else { return Ok(text.to_owned()) };
    let path = workspace.guest(guest);
    Ok(format!("{:#x}", Symbols::of(&path)?.find(symbol)?))
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

/// A way with the functions on it in which most was spent, in the order in which they were reached.
fn name_way((number, way): &(u64, Stretched), symbols: &Symbols) -> (u64, u64, String) {
    let mut functions: Vec<(&str, u64)> = Vec::new();
    for (address, count) in &way.places {
        let inside =
            u32::try_from(*address).is_ok_and(|at| (window::BASE..window::END).contains(&at));
        let name = if inside { symbols.at(*address) } else { "a guest" };
        match functions.iter_mut().find(|(known, _)| *known == name) {
            Some((_, spent)) => *spent += count,
            None => functions.push((name, *count)),
        }
    }
    functions.retain(|(_, spent)| *spent >= way.length / SHARE);
    let named: Vec<_> = functions.iter().map(|(name, count)| format!("{name} {count}")).collect();
    (way.length, *number, named.join(", "))
}
