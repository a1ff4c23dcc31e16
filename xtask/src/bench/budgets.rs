//! `bench/budgets.toml`: what is measured, how, and what it may cost.

use crate::measure::{Samples, Stretch, to_float};
use crate::process;
use crate::symbols::Symbols;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Budgets {
    /// In the order of the table.
    #[serde(rename = "entry")]
    pub(super) entries: Vec<Entry>,
    /// Systems that must keep another's budgets.
    #[serde(default)]
    again: Vec<Again>,
}

/// A system that does what another does, and must keep its budgets: its entries have its name
/// where the other's have that one's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Again {
    system: String,
    of: String,
    /// A multiple of these.
    #[serde(default = "same")]
    times: f64,
    /// Instead of that, by what they are of.
    #[serde(default)]
    ratios: BTreeMap<String, f64>,
    /// On these machines only: a run of Linux takes long.
    #[serde(default = "vexpress")]
    machines: Vec<String>,
}

const fn same() -> f64 {
    1.0
}

/// One cost.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Its name.
    pub(super) name: String,
    /// Most instructions.
    pub(super) ceiling: Option<f64>,
    /// Most instructions as a multiple of bare QEMU's.
    pub(super) ratio: Option<f64>,
    /// The same on some machines, where it differs.
    #[serde(default)]
    ratios: BTreeMap<String, f64>,
    /// The entry that it is a multiple of, if another.
    #[serde(skip)]
    native: Option<String>,
    /// Machines it is measured on.
    #[serde(default = "vexpress")]
    pub(super) machines: Vec<String>,
    /// How it is measured: `marks = {...}` or `probe = {...}`.
    #[serde(flatten)]
    pub(super) how: How,
}

/// How a cost is measured.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum How {
    /// Between marks of the guest.
    Marks(Stretch),
    /// Between two places.
    Probe(Probe),
    /// The longest stretch of the hypervisor without interrupts.
    Masked(Masked),
}

/// Where stretches without interrupts are measured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Masked {
    /// The system, `bench/systems/NAME.toml`.
    pub(super) system: String,
    /// The run ends when a probe of the system has so many samples.
    pub(super) samples: u64,
}

/// Two places in a system, and which of the counts between them is the cost.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Probe {
    /// The system, `bench/systems/NAME.toml`.
    pub(super) system: String,
    /// Where it starts: the instrument's places, or `guest:SYMBOL`, `hypervisor:SYMBOL`.
    pub(super) from: String,
    /// Where it ends.
    pub(super) to: String,
    /// Which sample.
    #[serde(default)]
    pub(super) take: Take,
    /// The run ends when there are so many.
    pub(super) samples: Option<u64>,
}

/// Which of many samples is the cost.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Take {
    /// The greatest: a bound.
    #[default]
    Most,
    /// The least: the path itself, without what interrupts it.
    Least,
    /// The mean.
    Mean,
    /// What a sample that was interrupted has more than the least, in the mean.
    Excess,
    /// What half of the samples do not exceed.
    Median,
}

fn vexpress() -> Vec<String> {
    vec!["vexpress-a9".to_owned()]
}

impl Budgets {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        let mut budgets: Self =
            toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
        for again in &budgets.again {
            let entries = budgets.entries.iter().filter(|entry| entry.system() == again.of);
            let entries: Vec<_> = entries.filter_map(|entry| entry.again(again)).collect();
            budgets.entries.extend(entries);
        }
        Ok(budgets)
    }

    /// The entries that a bare machine is measured for.
    pub(super) fn native(&self, machine: &str) -> impl Iterator<Item = &Entry> {
        let measured = move |entry: &&Entry| entry.machines.iter().any(|name| name == machine);
        let ratios = self.entries.iter().filter(|entry| entry.ratio.is_some());
        ratios.filter(|entry| entry.native.is_none()).filter(measured)
    }

    /// The entries measured in one system.
    pub(super) fn of_system(&self, system: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.system() == system)
    }
}

impl Entry {
    /// The same, of another system.
    fn again(&self, again: &Again) -> Option<Self> {
        let Again { system, times, machines, .. } = again;
        let mut entry = self.clone();
        entry.machines.retain(|machine| machines.contains(machine));
        entry.ceiling = self.ceiling.map(|most| most * times);
        entry.ratio = self.ratio.map(|most| most * times);
        entry.ratios.values_mut().for_each(|most| *most *= times);
        let (_, what) = self.name.split_once('.').unwrap_or_default();
        if let Some(&ratio) = again.ratios.get(what) {
            (entry.ratio, entry.ratios) = (Some(ratio), BTreeMap::new());
        }
        entry.name = format!("{system}.{what}");
        entry.native = Some(self.name.clone());
        match &mut entry.how {
            How::Marks(stretch) => system.clone_into(&mut stretch.system),
            How::Probe(probe) => system.clone_into(&mut probe.system),
            How::Masked(masked) => system.clone_into(&mut masked.system),
        }
        (!entry.machines.is_empty()).then_some(entry)
    }

    /// Most instructions on a machine where the bare one needs `native`.
    pub(super) fn budget(&self, machine: &str, native: Option<f64>) -> Option<f64> {
        let ratio = self.ratios.get(machine).copied().or(self.ratio);
        self.ceiling.or_else(|| Some(ratio? * native?))
    }

    /// The name of what bare machines need for it.
    pub(super) fn native_name(&self) -> &str {
        self.native.as_ref().unwrap_or(&self.name)
    }

    /// The system it is measured in.
    pub(super) fn system(&self) -> &str {
        match &self.how {
            How::Marks(stretch) => &stretch.system,
            How::Probe(probe) => &probe.system,
            How::Masked(masked) => &masked.system,
        }
    }
}

impl Take {
    /// The cost.
    pub(super) fn of(self, samples: Samples) -> f64 {
        match self {
            Self::Most => to_float(samples.most),
            Self::Least => to_float(samples.least),
            Self::Median => to_float(samples.median),
            Self::Mean => to_float(samples.sum) / to_float(samples.number),
            Self::Excess => {
                let uninterrupted = samples.number * samples.least;
                to_float(samples.sum - uninterrupted) / to_float(samples.longer)
            }
        }
    }
}

impl Probe {
    /// The instrument's argument for a probe of this name.
    pub(super) fn argument(&self, workspace: &Workspace, name: &str) -> Result<String> {
        let (from, to) = (place(workspace, &self.from)?, place(workspace, &self.to)?);
        Ok(format!("probe={name}:{from}:{to}"))
    }
}

/// A place as the instrument takes it: symbols looked up in what was built.
fn place(workspace: &Workspace, text: &str) -> Result<String> {
    let Some((program, symbol)) = text.split_once(':') else { return Ok(text.to_owned()) };
    if program == "hypervisor" {
        return Ok(format!("{:#x}", Symbols::of(&workspace.hypervisor())?.find(symbol)?));
    }
    let path = workspace.guest(program);
    let table = process::run(Command::new("arm-none-eabi-nm").arg(&path))?;
    let address = table.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next()?;
        (words.nth(1)? == symbol).then_some(address)
    });
    let address = address.with_context(|| format!("{} has no {symbol}", path.display()))?;
    Ok(format!("0x{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budgets_of_the_bench_are_well_formed() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/budgets.toml");
        let budgets = Budgets::read(&path).unwrap();
        assert!(budgets.entries.iter().any(|entry| entry.name == "linux.boot"));
        let again = budgets.entries.iter().find(|entry| entry.name == "linux-rewritten.boot");
        let again = again.unwrap();
        assert_eq!((again.system(), again.native_name()), ("linux-rewritten", "linux.boot"));
        let judged = |entry: &Entry| entry.ceiling.is_none() || entry.ratio.is_none();
        assert!(budgets.entries.iter().all(judged), "one kind of ceiling each");
    }
}
