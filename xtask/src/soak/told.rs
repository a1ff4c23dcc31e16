//! Runs whose guests tell what is to be known: numbers on their consoles, each with a bound.

use super::{LIMIT, last};
use crate::boot_tests::{self, Bound};
use crate::qemu::Machine;
use crate::workspace::Workspace;
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::fs;
use std::time::{Duration, Instant};

/// Between two words on how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

/// One run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    pub(super) name: String,
    /// The system, `bench/systems/NAME.toml`.
    system: String,
    machine: String,
    /// The run is over when this was said so often.
    until: String,
    times: u64,
    /// What is never said.
    #[serde(default)]
    never: Vec<String>,
    /// Numbers that are said.
    bound: Vec<Bound>,
    /// The machine's second UART sends numbered lines; see the boot tests.
    #[serde(default)]
    numbers: bool,
}

/// What came of a run.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    name: String,
    /// How often the text was said that ends the run.
    times: u64,
    figures: Vec<Figure>,
}

/// A number that was said again and again.
#[derive(Debug, Serialize)]
struct Figure {
    /// What is said before it.
    what: String,
    times: usize,
    most: u64,
    allowed: u64,
}

impl Told {
    /// Runs it, until its text was said other than its own number of times if that is wanted.
    pub(super) fn run(&self, workspace: &Workspace, times: Option<u64>) -> Result<Outcome> {
        let Self { name, system, machine, until, .. } = self;
        let times = times.unwrap_or(self.times);
        let manifest = workspace.path(&format!("bench/systems/{system}.toml"));
        let image = workspace.target(&format!("soak/{name}.elf"));
        boot_tests::build_image(workspace, &manifest, machine, &image)?;
        let told = Cell::new((Instant::now(), 0));
        let enough = |serial: &[u8]| {
            let number = said(&boot_tests::transcript(serial), until);
            let (when, before) = told.get();
            if number > before && when.elapsed() >= PROGRESS {
                eprintln!("  {name}: {number} of {times}");
                told.set((Instant::now(), number));
            }
            number >= times
        };
        let mut running = Machine::described(&workspace.path("machines"), machine, &image)?
            .with_cores_of(&manifest)?;
        if self.numbers {
            running = boot_tests::with_second_uart(running, &image);
        }
        let run = running.run_until(LIMIT, &[], enough)?;
        let console = boot_tests::transcript(&run.serial);
        fs::write(image.with_extension("console"), &console)?;
        for never in &self.never {
            ensure!(!console.contains(never), "{name} said {never:?}\n{}", last(&console));
        }
        if self.numbers {
            boot_tests::check_numbers(&image)?;
        }
        let number = said(&console, until);
        ensure!(number >= times, "{name} ended after {number} times\n{}", last(&console));
        let figure = |bound: &Bound| {
            let numbers = bound.numbers(&console)?;
            let (allowed, what) = (bound.most, bound.after.clone());
            let most = numbers.iter().copied().max().unwrap_or(u64::MAX);
            Ok(Figure { what, times: numbers.len(), most, allowed })
        };
        let figures = self.bound.iter().map(figure).collect::<Result<_>>()?;
        Ok(Outcome { name: name.clone(), times: number, figures })
    }
}

fn said(console: &str, text: &str) -> u64 {
    u64::try_from(console.matches(text).count()).unwrap_or(u64::MAX)
}

impl Outcome {
    /// Whether all numbers are within their bounds.
    pub(super) fn kept(&self) -> bool {
        self.figures.iter().all(|figure| figure.most <= figure.allowed)
    }

    /// For people.
    pub(super) fn summary(&self) -> String {
        let mut text = format!("{}: {} times\n", self.name, self.times);
        for Figure { what, times, most, allowed } in &self.figures {
            text.push_str(&format!("  {what:30} at most {most} of {allowed}, {times} times\n"));
        }
        text
    }
}
