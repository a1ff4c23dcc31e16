//! What was measured: marks, and the samples of each probe.
//!
//! Pure: it is told counts and says what the report is. A count is the number of
//! instructions executed before now, in all and inside the window.

use core::fmt;
use std::collections::BTreeMap;

/// Instructions executed before a point of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// All of them.
    pub(crate) total: u64,
    /// Those in the hypervisor's window.
    pub(crate) inside: u64,
}

impl Count {
    /// Those elsewhere.
    pub(crate) const fn outside(self) -> u64 {
        self.total - self.inside
    }
}

/// The samples of one probe.
#[derive(Clone, Debug)]
pub(crate) struct Samples {
    name: String,
    /// Set while between FROM and TO; `None` before the first FROM.
    since: Option<Count>,
    /// Whether the instruction at FROM is part of the cost: the first one in the window
    /// is, the guest's that trapped is not.
    counts_from: bool,
    number: u64,
    total: Extent,
    inside: Extent,
    /// How many samples of each total.
    lengths: BTreeMap<u64, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Extent {
    least: u64,
    most: u64,
    sum: u64,
}

impl Samples {
    /// No sample yet. `from_start` begins one at the machine's first instruction.
    pub(crate) fn new(name: &str, from_start: bool, counts_from: bool) -> Self {
        let none = Extent { least: u64::MAX, most: 0, sum: 0 };
        Self {
            name: name.to_owned(),
            since: from_start.then(Count::default),
            counts_from,
            number: 0,
            total: none,
            inside: none,
            lengths: BTreeMap::new(),
        }
    }

    /// Execution is at FROM. The latest one counts: an instruction may be restarted.
    pub(crate) fn begin(&mut self, now: Count) {
        self.since = Some(now);
    }

    /// Execution is at TO: counts what executed since FROM, without TO, and says how many.
    pub(crate) fn end(&mut self, now: Count) -> Option<u64> {
        let since = self.since.take()?;
        let inside = now.inside.saturating_sub(since.inside);
        let from = u64::from(!self.counts_from);
        self.number += 1;
        let total = now.total.saturating_sub(since.total + from);
        self.total.add(total);
        *self.lengths.entry(total).or_default() += 1;
        self.inside.add(inside);
        Some(total)
    }

    /// The total that half of the samples do not exceed.
    fn median(&self) -> u64 {
        let mut seen = 0;
        let half = self.number.div_ceil(2);
        let reached = self.lengths.iter().find(|(_, times)| {
            seen += **times;
            seen >= half
        });
        reached.map_or(0, |(length, _)| *length)
    }

    /// How many samples were longer than the shortest: interrupted, if nothing else differs.
    fn longer(&self) -> u64 {
        self.number - self.lengths.first_key_value().map_or(0, |(_, times)| *times)
    }

    /// Writes a line for each length: how many samples had it.
    pub(crate) fn histogram(&self, text: &mut String) {
        for (length, times) in &self.lengths {
            text.push_str(&format!("{} {length} {times}\n", self.name));
        }
    }

    /// Number of samples.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Extent {
    fn add(&mut self, value: u64) {
        self.least = self.least.min(value);
        self.most = self.most.max(value);
        self.sum += value;
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, number, total, inside, .. } = self;
        if *number == 0 {
            return write!(f, "probe {name} n 0");
        }
        write!(
            f,
            "probe {name} n {number} min {} max {} sum {} inside-min {} inside-max {} inside-sum {} \
             longer {} median {}",
            total.least,
            total.most,
            total.sum,
            inside.least,
            inside.most,
            inside.sum,
            self.longer(),
            self.median(),
        )
    }
}

/// One mark: its number, if the program told it, and when it executed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// The number loaded by the instruction before.
    pub(crate) id: Option<u64>,
    /// Instructions executed before it.
    pub(crate) at: Count,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "mark {id}")?,
            None => write!(f, "mark ?")?,
        }
        write!(f, " total {} inside {}", self.at.total, self.at.inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(total: u64, inside: u64) -> Count {
        Count { total, inside }
    }

    #[test]
    fn counts_strictly_between_the_two_instructions() {
        let mut samples = Samples::new("trap", false, false);
        samples.begin(at(100, 0));
        samples.end(at(104, 3));
        assert_eq!(
            samples.to_string(),
            "probe trap n 1 min 3 max 3 sum 3 inside-min 3 inside-max 3 inside-sum 3 \
             longer 0 median 3"
        );
    }

    #[test]
    fn boot_counts_from_the_first_instruction() {
        let mut samples = Samples::new("boot", true, true);
        samples.end(at(500, 400));
        assert!(samples.to_string().starts_with("probe boot n 1 min 500 max 500 "));
    }
}
