//! One measured cost beside its budget, and the table of them.

use super::budgets::Entry;
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
}

impl Figure {
    /// Judges a count.
    pub(super) fn new(
        entry: &Entry,
        machine: &str,
        count: Option<f64>,
        native: Option<f64>,
    ) -> Self {
        let multiple = entry.ratio.zip(native).map(|(ratio, native)| ratio * native);
        let tenths = |value: f64| (value * 10.0).round() / 10.0;
        Self {
            name: entry.name.clone(),
            machine: machine.to_owned(),
            count: count.map(tenths),
            native,
            ratio: count.zip(native).map(|(count, native)| (count / native * 1e4).round() / 1e4),
            budget: entry.ceiling.or(multiple).map(tenths),
        }
    }

    /// Whether it is within its budget. What is not measured breaks none.
    pub(crate) fn is_kept(&self) -> bool {
        self.count.zip(self.budget).is_none_or(|(count, budget)| count <= budget)
    }

    /// Whether it was measured.
    pub(crate) const fn is_measured(&self) -> bool {
        self.count.is_some()
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
        "{:20} {:15} {:>14} {:>14} {:>7} {:>14}\n",
        "name", "machine", "count", "native", "ratio", "budget"
    );
    let number = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
    };
    for figure in figures {
        let Figure { name, machine, count, native, ratio, budget } = figure;
        let _ = writeln!(
            text,
            "{name:20} {machine:15} {:>14} {:>14} {:>7} {:>14}{}",
            number(*count, 1),
            number(*native, 1),
            number(*ratio, 3),
            number(*budget, 1),
            if figure.is_kept() { "" } else { "  OVER" },
        );
    }
    text
}
