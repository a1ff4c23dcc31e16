//! What the instrument reports, read back: counts between marks and at probes.
//!
//! The report's format is the instrument's (`bench/plugin`).

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// A parsed report.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    marks: Vec<(Option<u64>, u64)>,
    probes: Vec<(String, Option<Samples>)>,
    masked: Option<u64>,
    stretches: Vec<Stretched>,
    ways: Vec<(u64, Stretched)>,
}

/// A stretch of the hypervisor's execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretched {
    /// Its length.
    pub(crate) length: u64,
    /// Addresses of blocks where it was spent, and how much there.
    pub(crate) places: Vec<(u64, u64)>,
}

impl Stretched {
    fn parse(length: &str, places: &[&str]) -> Option<Self> {
        let place = |text: &&str| {
            let (address, spent) = text.strip_prefix("0x")?.split_once(':')?;
            Some((u64::from_str_radix(address, 16).ok()?, spent.parse().ok()?))
        };
        let places = places.iter().map(place).collect::<Option<_>>()?;
        Some(Self { length: length.parse().ok()?, places })
    }
}

/// The samples of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Samples {
    /// How many.
    pub(crate) number: u64,
    /// The least count.
    pub(crate) least: u64,
    /// The greatest.
    pub(crate) most: u64,
    /// All of them added up.
    pub(crate) sum: u64,
    /// How many of them are more than the least.
    pub(crate) longer: u64,
    /// What half of them do not exceed.
    pub(crate) median: u64,
}

/// A stretch of a run between two marks.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stretch {
    /// The system, `bench/systems/NAME.toml`.
    pub(crate) system: String,
    /// The first mark; none for the machine's start.
    pub(crate) from: Option<u64>,
    /// The last mark.
    pub(crate) to: u64,
    /// Which of several such stretches, from 0.
    #[serde(default)]
    pub(crate) nth: usize,
    /// Operations in it.
    #[serde(default = "one")]
    pub(crate) per: u32,
}

const fn one() -> u32 {
    1
}

impl Report {
    /// Parses the text.
    ///
    /// # Errors
    ///
    /// The line that cannot be parsed.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut report = Self::default();
        for line in text.lines() {
            report.line(line).with_context(|| format!("the instrument reported {line:?}"))?;
        }
        Ok(report)
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let words: Vec<_> = line.split(' ').collect();
        match words.as_slice() {
            ["mark", id, "total", total, ..] => {
                self.marks.push((id.parse().ok(), total.parse().ok()?));
            }
            ["probe", name, "n", "0"] => self.probes.push(((*name).to_owned(), None)),
            [
                "probe",
                name,
                "n",
                number,
                "min",
                least,
                "max",
                most,
                "sum",
                sum,
                ..,
                "longer",
                longer,
                "median",
                median,
            ] => {
                let samples = Samples {
                    number: number.parse().ok()?,
                    least: least.parse().ok()?,
                    most: most.parse().ok()?,
                    sum: sum.parse().ok()?,
                    longer: longer.parse().ok()?,
                    median: median.parse().ok()?,
                };
                self.probes.push(((*name).to_owned(), Some(samples)));
            }
            ["masked", "n", _, "max", most] => self.masked = Some(most.parse().ok()?),
            ["stretch", length, places @ ..] => {
                self.stretches.push(Stretched::parse(length, places)?);
            }
            ["way", length, number, places @ ..] => {
                self.ways.push((number.parse().ok()?, Stretched::parse(length, places)?));
            }
            ["end", ..] => {}
            _ => return None,
        }
        Some(())
    }

    /// Instructions per operation in a stretch.
    ///
    /// # Errors
    ///
    /// When the run did not get that far.
    pub(crate) fn per_operation(&self, stretch: &Stretch) -> Result<f64> {
        let Stretch { from, to, nth, per, .. } = stretch;
        let mut begun = from.is_none().then_some(0);
        let mut seen = 0;
        for (id, total) in &self.marks {
            if from.is_some() && id == from {
                begun = Some(*total);
            }
            if *id == Some(*to)
                && let Some(start) = begun.take()
            {
                if seen == *nth {
                    return Ok(to_float(total - start) / f64::from(*per));
                }
                seen += 1;
            }
        }
        bail!("the run never got from mark {from:?} to mark {to} ({nth} times before)")
    }

    /// The longest stretch of the hypervisor without interrupts.
    ///
    /// # Errors
    ///
    /// When that was not measured.
    pub(crate) fn masked(&self) -> Result<u64> {
        self.masked.context("stretches without interrupts were not measured")
    }

    /// The longest stretch of each kind, longest first.
    pub(crate) fn stretches(&self) -> &[Stretched] {
        &self.stretches
    }

    /// Interrupts that took long, longest first: how many of a length, and the way of the first.
    pub(crate) fn ways(&self) -> &[(u64, Stretched)] {
        &self.ways
    }

    /// The samples of a probe.
    ///
    /// # Errors
    ///
    /// When it never was sampled.
    pub(crate) fn samples(&self, name: &str) -> Result<Samples> {
        let found = self.probes.iter().find(|(known, _)| known == name);
        found.and_then(|(_, samples)| *samples).with_context(|| format!("no sample of {name}"))
    }
}

/// Counts are far below 2^53.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a count of instructions of one run is far below 2^53"
)]
pub(crate) const fn to_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report::parse(
            "mark 1 total 500 inside 0\n\
             mark 1000 total 600 inside 0\nmark 1001 total 700 inside 0\n\
             mark 1000 total 800 inside 0\nmark 1001 total 1000 inside 0\n\
             probe trap n 2 min 3 max 5 sum 8 inside-min 1 inside-max 1 inside-sum 1 longer 1 median 3\n\
             probe never n 0\nend total 2000 inside 0\n",
        )
        .unwrap()
    }

    fn stretch(from: Option<u64>, to: u64, nth: usize, per: u32) -> Stretch {
        Stretch { system: String::new(), from, to, nth, per }
    }

    #[test]
    fn a_stretch_without_a_first_mark_starts_with_the_machine() {
        assert!((report().per_operation(&stretch(None, 1, 0, 1)).unwrap() - 500.0).abs() < 0.1);
    }

    #[test]
    fn repeated_marks_are_told_apart_by_order() {
        let cost = report().per_operation(&stretch(Some(1000), 1001, 1, 10)).unwrap();
        assert!((cost - 20.0).abs() < 0.1);
        assert!(report().per_operation(&stretch(Some(1000), 1001, 2, 10)).is_err());
    }

    #[test]
    fn ways_keep_their_order() {
        let report = Report::parse("way 743 4 0xfff00010:40 0x8000:1\nway 601 1\n").unwrap();
        let lengths: Vec<_> = report.ways().iter().map(|(n, way)| (*n, way.length)).collect();
        assert_eq!(lengths, [(4, 743), (1, 601)]);
        assert_eq!(report.ways().first().unwrap().1.places, [(0xfff0_0010, 40), (0x8000, 1)]);
    }

    #[test]
    fn a_probe_never_reached_is_an_error() {
        assert_eq!(report().samples("trap").unwrap().most, 5);
        assert!(report().samples("never").is_err());
    }
}
