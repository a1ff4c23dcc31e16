//! One measured cost beside its budget, and the table of them.

use super::budgets::Entry;
use anyhow::{Result, ensure};
use serde::Serialize;
use std::fmt::Write;

/// A line of the table, an element of the array.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: String,
    machine: String,
    /// Instructions; none if it could not be measured yet.
    count: Option<f64>,
    /// Instructions on bare QEMU.
    native: Option<f64>,
    /// `count` by `native`.
    ratio: Option<f64>,
    /// Most instructions.
    budget: Option<f64>,
    /// Why it could not be measured, if it should have been.
    #[serde(skip)]
    trouble: Option<String>,
}

impl Figure {
    /// Judges a count.
    pub(super) fn new(
        entry: &Entry,
        machine: &str,
        count: Option<f64>,
        native: Option<f64>,
    ) -> Self {
        let tenths = |value: f64| (value * 10.0).round() / 10.0;
        Self {
            name: entry.name.clone(),
            machine: machine.to_owned(),
            count: count.map(tenths),
            native,
            ratio: count.zip(native).map(|(count, native)| (count / native * 1e4).round() / 1e4),
            budget: entry.budget(machine, native).map(tenths),
            trouble: None,
        }
    }

    /// A cost that should have been measured.
    pub(super) fn failed(entry: &Entry, machine: &str, trouble: String) -> Self {
        Self { trouble: Some(trouble), ..Self::new(entry, machine, None, None) }
    }

    /// Whether it was measured and found within its budget; `false` if it is not there to
    /// be measured yet.
    ///
    /// # Errors
    ///
    /// When it is over its budget, or should have been measured and could not.
    pub(crate) fn kept(&self) -> Result<bool> {
        if let Some(trouble) = &self.trouble {
            anyhow::bail!("{}: {trouble}", self.title());
        }
        let Some(count) = self.count else { return Ok(false) };
        ensure!(self.budget.is_none_or(|budget| count <= budget), "over {}", self.title());
        Ok(true)
    }

    /// What it is called in reports.
    pub(crate) fn title(&self) -> String {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| value.to_string());
        let Self { name, machine, count, budget, .. } = self;
        format!("budget {name} on {machine}: {} of {}", number(*count), number(*budget))
    }
}

/// All figures, for people.
pub(super) fn table(figures: &[Figure]) -> String {
    let mut text = format!(
        "{:23} {:15} {:>14} {:>14} {:>7} {:>14}\n",
        "name", "machine", "count", "native", "ratio", "budget"
    );
    let number = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
    };
    for figure in figures {
        let Figure { name, machine, count, native, ratio, budget, .. } = figure;
        let _ = writeln!(
            text,
            "{name:23} {machine:15} {:>14} {:>14} {:>7} {:>14}{}",
            number(*count, 1),
            number(*native, 1),
            number(*ratio, 3),
            number(*budget, 1),
            match (&figure.trouble, figure.kept()) {
                (Some(_), _) => "  FAILED",
                (None, Err(_)) => "  OVER",
                (None, Ok(_)) => "",
            },
        );
    }
    text
}
