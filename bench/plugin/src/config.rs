//! What the instrument was asked to measure: its arguments, parsed.
//!
//! Pure, so that it is tested without QEMU. Grammar, arguments separated by commas:
//!
//! ```text
//! out=FILE                 where the report goes (required)
//! window=LO..HI            the hypervisor's addresses, default 0xfff00000..0xffff0000
//! probe=NAME:FROM:TO       a pair of places; may be repeated
//! profile=FILE             executions of each address inside the window
//! histogram=FILE           how many samples of each length each probe had
//! samples=N                ends the machine when a probe has so many samples
//! poll=0xADDRESS           interrupts are taken at this instruction of the window; for masked
//! masked=yes               stretches without interrupts in the window, the longest explained
//!
//! place := 0xADDRESS       before the instruction at this virtual address
//!        | in | out        when execution enters the window, or leaves it
//!        | start           (FROM only) the machine's first instruction
//!        | open            (FROM only) since when an interrupt that is taken now may have
//!                          waited; needs masked=yes
//! ```

use core::ops::Range;

/// The default window: the whole of it, devices included.
const WINDOW: Range<u64> = 0xfff0_0000..0xffff_0000;

/// Where a probe starts or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// One instruction.
    At(u64),
    /// Arrival in the window.
    In,
    /// Arrival outside of it.
    Out,
    /// The machine's first instruction.
    Start,
    /// Where interrupts were taken or looked for last.
    Open,
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
    /// The histogram's path.
    pub(crate) histogram: Option<String>,
    /// Instructions at which interrupts are taken.
    pub(crate) polls: Vec<u64>,
    /// Samples of any probe that end the machine.
    pub(crate) samples: Option<u64>,
    /// Whether stretches without interrupts are measured.
    pub(crate) masked: bool,
    /// The hypervisor's addresses.
    pub(crate) window: Range<u64>,
    /// The probes.
    pub(crate) probes: Vec<ProbeSpec>,
}

impl Config {
    /// Whether a probe starts or ends at an edge of the window.
    pub(crate) fn needs_edges(&self) -> bool {
        let edge = |place: &Place| matches!(place, Place::In | Place::Out);
        self.masked || self.probes.iter().any(|probe| edge(&probe.from) || edge(&probe.to))
    }

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
        let mut config = Self {
            out: String::new(),
            profile: None,
            histogram: None,
            polls: Vec::new(),
            samples: None,
            masked: false,
            window,
            probes: Vec::new(),
        };
        for (key, value) in pairs {
            match key {
                "out" => config.out = value.to_owned(),
                "histogram" => config.histogram = Some(value.to_owned()),
                "samples" => {
                    let number =
                        value.parse().map_err(|_| format!("samples={value}: no number"))?;
                    config.samples = Some(number);
                }
                "poll" => {
                    let at = number(value).ok_or(format!("poll={value}: no 0xADDRESS"))?;
                    config.polls.push(at);
                }
                "masked" => config.masked = value == "yes",
                "profile" => config.profile = Some(value.to_owned()),
                "probe" => config.probes.push(probe(value)?),
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

fn probe(text: &str) -> Result<ProbeSpec, String> {
    let parts = || {
        let (name, places) = text.split_once(':')?;
        let (from, to) = places.split_once(':')?;
        Some(ProbeSpec { name: name.to_owned(), from: place(from)?, to: place(to)? })
    };
    parts().ok_or(format!("probe={text}: not NAME:FROM:TO"))
}

fn place(text: &str) -> Option<Place> {
    match text {
        "in" => Some(Place::In),
        "out" => Some(Place::Out),
        "start" => Some(Place::Start),
        "open" => Some(Place::Open),
        _ => number(text).map(Place::At),
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
    fn reads_a_probe() {
        let config = parse(&["probe=trap:0x8000:out", "out=x", "window=0x10..0x20"]).unwrap();
        assert_eq!(config.window, 0x10..0x20);
        let (from, to) = (Place::At(0x8000), Place::Out);
        assert_eq!(config.probes, [ProbeSpec { name: "trap".to_owned(), from, to }]);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(parse(&["out=x", "colour=red"]).is_err());
        assert!(parse(&["out=x", "probe=a:b"]).is_err());
        assert!(parse(&[]).is_err());
    }
}
