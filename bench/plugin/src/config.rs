//! What the instrument was asked to measure: its arguments, parsed.
//!
//! Pure, so that it is tested without QEMU. Grammar, arguments separated by commas:
//!
//! ```text
//! out=FILE                 where the report goes (required)
//! window=LO..HI            the hypervisor's addresses, default 0xffb00000..0xffc00000
//! probe=NAME:FROM:TO       a pair of places; may be repeated
//! profile=FILE             executions of each address inside the window
//! sites=FILE               guest addresses that trap, see [`sites`](crate::sites)
//! vectors=LO..HI           the hypervisor's exception vectors (for sites)
//! counters=AT:HEAD:EACH:VMS   where the hypervisor counts: address; bytes in front of the
//!                          VMs' counters, bytes for each VM, number of VMs (for sites)
//! histogram=FILE           how many samples of each length each probe had
//! samples=N                ends the machine when a probe has so many samples
//! poll=0xADDRESS           interrupts are taken at this instruction of the window; for masked
//! acknowledge=0xADDRESS    there the hypervisor asks which interrupt it was; for masked
//! load=0xADDRESS           there it loads a guest for such an interrupt; for masked
//! express=0xADDRESS        there for one that it has not asked about; for masked
//! masked=yes               stretches without interrupts in the window, the longest explained
//! long=N                   explains samples from `open` of so many instructions and more
//!
//! place := 0xADDRESS       before the instruction at this virtual address
//!        | in | out        when execution enters the window, or leaves it
//!        | start           (FROM only) the machine's first instruction
//!        | open            (FROM only) since when an interrupt that is taken now may have
//!                          waited; needs masked=yes
//! ```

use core::ops::Range;

/// The default window: the whole of it, devices included.
const WINDOW: Range<u64> = 0xffb0_0000..0xffc0_0000;

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

/// Where the hypervisor counts: words in front, then as many words for each VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counters {
    at: u64,
    head: u64,
    each: u64,
    vms: u64,
}

impl Counters {
    /// The bit of [`Counters::find`] for switches between VMs.
    pub(crate) const SWITCHES: u32 = 1 << 1;

    /// Whose counter is at an address, and its bit: words in front have the low bits, those
    /// of a VM the next ones.
    pub(crate) fn find(&self, address: u64) -> Option<(Option<u32>, u32)> {
        let offset = address.checked_sub(self.at)?;
        if offset < self.head {
            return Some((None, u32::try_from(offset / 4).ok()?));
        }
        let vm = (offset - self.head) / self.each;
        let word = self.head / 4 + (offset - self.head) % self.each / 4;
        let word = u32::try_from(word).ok().filter(|word| *word < 32)?;
        (vm < self.vms).then_some((u32::try_from(vm).ok(), word))
    }
}

/// All arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The report's path.
    pub(crate) out: String,
    /// The profile's path.
    pub(crate) profile: Option<String>,
    /// The path for sites, and where the counters are.
    pub(crate) sites: Option<String>,
    /// The hypervisor's exception vectors.
    pub(crate) vectors: Range<u64>,
    /// Where the hypervisor counts.
    pub(crate) counters: Option<Counters>,
    /// The histogram's path.
    pub(crate) histogram: Option<String>,
    /// Instructions at which interrupts are taken.
    pub(crate) polls: Vec<u64>,
    /// Where the hypervisor asks which interrupt it was.
    pub(crate) acknowledges: Vec<u64>,
    /// Where it loads a guest for that.
    pub(crate) loads: Vec<u64>,
    /// Where it does for one that it did not ask about.
    pub(crate) expresses: Vec<u64>,
    /// Samples of any probe that end the machine.
    pub(crate) samples: Option<u64>,
    /// From how many instructions on samples from `open` are explained.
    pub(crate) long: Option<u64>,
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
            sites: None,
            vectors: 0..0,
            counters: None,
            histogram: None,
            polls: Vec::new(),
            acknowledges: Vec::new(),
            loads: Vec::new(),
            expresses: Vec::new(),
            samples: None,
            long: None,
            masked: false,
            window,
            probes: Vec::new(),
        };
        for (key, value) in pairs {
            match key {
                "out" => config.out = value.to_owned(),
                "histogram" => config.histogram = Some(value.to_owned()),
                "samples" | "long" => {
                    let number = value.parse().map_err(|_| format!("{key}={value}: no number"))?;
                    let asked =
                        if key == "samples" { &mut config.samples } else { &mut config.long };
                    *asked = Some(number);
                }
                "poll" | "acknowledge" | "load" | "express" => {
                    let at = number(value).ok_or(format!("{key}={value}: no 0xADDRESS"))?;
                    let list = match key {
                        "poll" => &mut config.polls,
                        "acknowledge" => &mut config.acknowledges,
                        "load" => &mut config.loads,
                        _ => &mut config.expresses,
                    };
                    list.push(at);
                }
                "masked" => config.masked = value == "yes",
                "profile" => config.profile = Some(value.to_owned()),
                "sites" => config.sites = Some(value.to_owned()),
                "vectors" => {
                    config.vectors = range(value).ok_or(format!("vectors={value}: not LO..HI"))?;
                }
                "counters" => config.counters = Some(counters(value)?),
                "probe" => config.probes.push(probe(value)?),
                "window" => {}
                _ => return Err(format!("{key}: unknown argument")),
            }
        }
        if config.sites.is_some() && (config.counters.is_none() || config.vectors.is_empty()) {
            return Err("sites=FILE needs vectors=LO..HI and counters=AT:HEAD:EACH:VMS".to_owned());
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

fn counters(text: &str) -> Result<Counters, String> {
    let mut parts = text.split(':').map(number);
    let mut next = || parts.next().flatten().filter(|part| *part != 0);
    let counters = || Some(Counters { at: next()?, head: next()?, each: next()?, vms: next()? });
    let mut counters = counters;
    counters().ok_or(format!("counters={text}: not AT:HEAD:EACH:VMS"))
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
    fn finds_whose_counter_is_at_an_address() {
        let config =
            parse(&["out=x", "sites=y", "vectors=0x20..0x60", "counters=0x1000:0x10:0x30:0x2"])
                .unwrap();
        let counters = config.counters.unwrap();
        assert_eq!(counters.find(0x1004), Some((None, 1)));
        assert_eq!(counters.find(0x1010), Some((Some(0), 4)));
        assert_eq!(counters.find(0x1044), Some((Some(1), 5)));
        assert_eq!(counters.find(0x1070), None);
        assert_eq!(counters.find(0xfff), None);
        assert!(parse(&["out=x", "sites=y"]).is_err());
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(parse(&["out=x", "colour=red"]).is_err());
        assert!(parse(&["out=x", "probe=a:b"]).is_err());
        assert!(parse(&[]).is_err());
    }
}
