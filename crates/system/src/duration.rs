//! A length of time as manifests write it: `"200us"`, `"10ms"`, `"1s"`.
//!
//! Whole numbers with a unit; a number without one is refused, because nobody could tell
//! what it means.

use serde::{Deserialize, Deserializer, de};
use std::fmt;

/// A number of nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub u64);

/// Units, the longest first.
const UNITS: [(&str, u64); 4] = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, length): &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*length);
        let (unit, length) = UNITS.iter().find(whole).copied().unwrap_or(("s", 1));
        write!(f, "{} {unit}", self.0 / length)
    }
}

impl std::str::FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("duration: {text:?} is not a duration");
        let text = text.trim();
        let start = text.find(|c: char| !c.is_ascii_digit() && c != '_').ok_or_else(bad)?;
        let (digits, unit) = text.split_at_checked(start).ok_or_else(bad)?;
        let unit = if unit.trim() == "µs" { "us" } else { unit.trim() };
        let number: u64 = digits.replace('_', "").parse().map_err(|_| bad())?;
        let (_, length) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        number.checked_mul(*length).map(Self).ok_or_else(bad)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Duration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"200us\"")
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Duration, E> {
                Err(E::custom(format!("duration: {value} has no unit")))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Duration, E> {
                value.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_with_units() {
        for (text, ns, shown) in [
            ("200us", 200_000, "200 us"),
            ("1500 us", 1_500_000, "1500 us"),
            ("10ms", 10_000_000, "10 ms"),
            ("3 µs", 3_000, "3 us"),
            ("2s", 2_000_000_000, "2 s"),
            ("1_000ns", 1_000, "1 us"),
            ("0ms", 0, "0 s"),
        ] {
            assert_eq!(text.parse(), Ok(Duration(ns)), "{text}");
            assert_eq!(Duration(ns).to_string(), shown);
        }
        for text in ["", "ms", "5", "1.5ms", "-1ms", "3 min", "99999999999999s"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }
}
