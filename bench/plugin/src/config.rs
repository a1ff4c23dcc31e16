//! What the instrument was asked to measure: its arguments, parsed.
//!
//! Pure, so that it is tested without QEMU. Grammar, arguments separated by commas:
//!
//! ```text
//! out=FILE                 where the report goes (required)
//! window=LO..HI            the hypervisor's addresses, default 0xfff00000..0xffff0000
//! probe=NAME:FROM:TO       a pair of places; may be repeated
//! profile=FILE             executions of each address inside the window
//!
//! place := 0xADDRESS       before the instruction at this virtual address
//!        | LO..HI          when execution enters this range by a jump, a trap or a return
//!        | in | out        the range of the window; everything else
//!        | start           (FROM only) the machine's first instruction
//! ```

use core::ops::Range;

/// The default window: the whole of it, devices included.
const WINDOW: Range<u64> = 0xfff0_0000..0xffff_0000;

/// Where a probe starts or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// One instruction.
    At(u64),
    /// Arrival in a range.
    Within(Range<u64>),
    /// Arrival outside a range.
    Outside(Range<u64>),
    /// The machine's first instruction.
    Start,
}

impl Place {
    /// Whether executing the instruction at `address` is this place.
    ///
    /// `first` says that it starts a translation block, as every target of a jump, trap or
    /// return does. (So may others: a range is a level, not an edge.)
    pub(crate) fn is(&self, address: u64, first: bool) -> bool {
        match self {
            Self::At(place) => *place == address,
            Self::Within(range) => first && range.contains(&address),
            Self::Outside(range) => first && !range.contains(&address),
            Self::Start => false,
        }
    }
}

/// A named pair of places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProbeSpec {
    /// Name in the report.
    pub(crate) name: String,
    /// Where counting starts.
    pub(crate) from: Place,
    /// Where it ends.
    pub(crate) to: Place,
}

/// All arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The report's path.
    pub(crate) out: String,
    /// The profile's path.
    pub(crate) profile: Option<String>,
    /// The hypervisor's addresses.
    pub(crate) window: Range<u64>,
    /// The probes.
    pub(crate) probes: Vec<ProbeSpec>,
}

impl Config {
    /// Parses `key=value` arguments.
    ///
    /// # Errors
    ///
    /// A sentence naming the argument that is wrong.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let pairs = arguments
            .iter()
            .map(|text| text.split_once('=').ok_or(format!("{text}: not key=value")))
            .collect::<Result<Vec<_>, _>>()?;
        let window = match pairs.iter().find(|(key, _)| *key == "window") {
            Some((_, text)) => range(text).ok_or(format!("window={text}: not LO..HI"))?,
            None => WINDOW,
        };
        let mut config = Self { out: String::new(), profile: None, window, probes: Vec::new() };
        for (key, value) in pairs {
            match key {
                "out" => config.out = value.to_owned(),
                "profile" => config.profile = Some(value.to_owned()),
                "probe" => config.probes.push(probe(value, &config.window)?),
                "window" => {}
                _ => return Err(format!("{key}: unknown argument")),
            }
        }
        if config.out.is_empty() {
            return Err("out=FILE is missing".to_owned());
        }
        Ok(config)
    }
}

fn probe(text: &str, window: &Range<u64>) -> Result<ProbeSpec, String> {
    let parts = || {
        let (name, places) = text.split_once(':')?;
        let (from, to) = places.split_once(':')?;
        Some(ProbeSpec {
            name: name.to_owned(),
            from: place(from, window)?,
            to: place(to, window)?,
        })
    };
    parts().ok_or(format!("probe={text}: not NAME:FROM:TO"))
}

fn place(text: &str, window: &Range<u64>) -> Option<Place> {
    match text {
        "in" => Some(Place::Within(window.clone())),
        "out" => Some(Place::Outside(window.clone())),
        "start" => Some(Place::Start),
        _ => number(text).map(Place::At).or_else(|| range(text).map(Place::Within)),
    }
}

fn range(text: &str) -> Option<Range<u64>> {
    let (low, high) = text.split_once("..")?;
    Some(number(low)?..number(high)?)
}

fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[&str]) -> Result<Config, String> {
        Config::parse(&text.iter().map(|&t| t.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn out_means_outside_the_window_wherever_it_is() {
        let config = parse(&["probe=trap:0x8000:out", "out=x", "window=0x10..0x20"]).unwrap();
        let probe = &config.probes[0];
        assert_eq!(probe.from, Place::At(0x8000));
        assert!(probe.to.is(0x20, true) && !probe.to.is(0x10, true));
    }

    #[test]
    fn a_range_is_entered_only_where_a_block_starts() {
        assert!(!Place::Within(0..8).is(4, false));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(parse(&["out=x", "colour=red"]).is_err());
        assert!(parse(&["out=x", "probe=a:b"]).is_err());
        assert!(parse(&[]).is_err());
    }
}
