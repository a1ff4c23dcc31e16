//! A distribution of lengths, and its picture.
//!
//! Lengths are instructions or any other count. The picture has a bar for each of some equal
//! classes of lengths; heights are logarithmic, because the one sample in a million is what such a
//! picture is looked at for. A line is drawn where the bound is.

use crate::table::grouped;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const WIDTH: u64 = 960;
const HEIGHT: u64 = 360;
/// Room on the left, below, and above.
const LEFT: u64 = 70;
const BELOW: u64 = 50;
const ABOVE: u64 = 50;
/// Bars.
const CLASSES: u64 = 110;
const BAR: u64 = 8;

/// How many samples had each length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    lengths: BTreeMap<u64, u64>,
}

impl Histogram {
    /// Reads lines `NAME LENGTH TIMES`, without lengths below `above`; none if a line is something
    /// else, or there are no samples.
    #[must_use]
    pub fn parse(text: &str, above: u64) -> Option<Self> {
        let mut lengths = BTreeMap::new();
        for line in text.lines() {
            let mut words = line.split(' ').skip(1).map(str::parse::<u64>);
            let (length, times) = (words.next()?.ok()?, words.next()?.ok()?);
            if length >= above {
                *lengths.entry(length).or_default() += times;
            }
        }
        (!lengths.is_empty()).then_some(Self { lengths })
    }

    /// How many samples there are.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.lengths.values().sum()
    }

    /// The shortest.
    #[must_use]
    pub fn least(&self) -> u64 {
        self.lengths.first_key_value().map_or(0, |(length, _)| *length)
    }

    /// The longest.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.lengths.last_key_value().map_or(0, |(length, _)| *length)
    }

    /// What the given parts in a thousand of the samples do not exceed.
    #[must_use]
    pub fn at_most(&self, thousandths: u64) -> u64 {
        let wanted = (self.number() * thousandths).div_ceil(1000);
        let mut seen = 0;
        let reached = self.lengths.iter().find(|(_, times)| {
            seen += **times;
            seen >= wanted
        });
        reached.map_or(0, |(length, _)| *length)
    }

    /// Draws it as SVG, with what it is of, its unit, and the bound that holds.
    #[must_use]
    pub fn draw(&self, title: &str, unit: &str, bound: u64) -> String {
        let low = self.least();
        let end = self.most().max(bound) + 1;
        let class = (end - low).div_ceil(CLASSES).max(1);
        let mut bars: BTreeMap<u64, u64> = BTreeMap::new();
        for (length, times) in &self.lengths {
            *bars.entry((length - low) / class).or_default() += times;
        }
        let mut body = format!(
            "<text x=\"10\" y=\"20\" font-weight=\"bold\">{}</text>\
             <text x=\"10\" y=\"38\">{} samples: least {}, median {}, 99.9 % {}, most {}; \
             bound {} {unit}</text>\n",
            crate::svg::escaped(title),
            grouped(self.number()),
            grouped(low),
            grouped(self.at_most(500)),
            grouped(self.at_most(999)),
            grouped(self.most()),
            grouped(bound),
        );
        let floor = HEIGHT - BELOW;
        // Each power of ten is as high as the others.
        let highest = bars.values().copied().max().unwrap_or(1);
        let decades = u64::from(highest.ilog10()) + 1;
        let decade = (floor - ABOVE) / decades;
        for power in 0..=decades {
            let y = floor - power * decade;
            let number = 10_u64.saturating_pow(u32::try_from(power).unwrap_or(u32::MAX));
            let _ = writeln!(
                body,
                "<line x1=\"{LEFT}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
                LEFT + CLASSES * BAR,
                LEFT - 6,
                y + 4,
                grouped(number),
            );
        }
        for (number, times) in &bars {
            let height = logarithm(*times, decade).max(2);
            let from = low + number * class;
            let _ = writeln!(
                body,
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{height}\" fill=\"#4c78a8\">\
                 <title>{} to {}: {}</title></rect>",
                LEFT + number * BAR,
                floor - height,
                BAR - 1,
                grouped(from),
                grouped(from + class - 1),
                grouped(*times),
            );
        }
        for step in 0..=10 {
            let at = low + (end - low) * step / 10;
            let _ = writeln!(
                body,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                LEFT + (at - low) * BAR / class,
                floor + 18,
                grouped(at)
            );
        }
        if bound >= low {
            let x = LEFT + (bound - low) * BAR / class;
            let _ = writeln!(
                body,
                "<line x1=\"{x}\" y1=\"{ABOVE}\" x2=\"{x}\" y2=\"{floor}\" stroke=\"#e45756\" \
                 stroke-dasharray=\"4\"/>",
            );
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n{body}</svg>\n"
        )
    }
}

/// The height of a number where a power of ten has `decade`: linear between powers.
fn logarithm(number: u64, decade: u64) -> u64 {
    let power = number.max(1).ilog10();
    let unit = 10_u64.pow(power);
    u64::from(power) * decade + (number - unit) * decade / (9 * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_thousand_may_be_longer() {
        let histogram = Histogram::parse("irq 400 1998\nirq 500 1\nirq 900 2\n", 0).unwrap();
        assert_eq!((histogram.number(), histogram.most()), (2001, 900));
        assert_eq!((histogram.at_most(500), histogram.at_most(999)), (400, 500));
    }

    #[test]
    fn short_ones_can_be_left_out() {
        let histogram = Histogram::parse("slot 9 100000\nslot 700 3\n", 100).unwrap();
        assert_eq!((histogram.number(), histogram.least()), (3, 700));
        assert!(Histogram::parse("slot 9 100000\n", 100).is_none());
        assert!(Histogram::parse("slot nine 1\n", 0).is_none());
    }

    #[test]
    fn a_picture_has_a_bar_for_each_class_and_the_bound() {
        let histogram = Histogram::parse("a 100 1000\na 101 1\na 800 1\n", 0).unwrap();
        let picture = histogram.draw("a<b", "instructions", 900);
        assert!(picture.contains("a&lt;b") && picture.ends_with("</svg>\n"));
        assert_eq!(picture.matches("#4c78a8").count(), 2);
        assert_eq!(picture.matches("#e45756").count(), 1);
        assert_eq!((logarithm(1, 50), logarithm(1000, 50), logarithm(5500, 50)), (0, 150, 175));
    }
}
