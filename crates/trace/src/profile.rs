//! Traps by VM, by cause and by guest address.
//!
//! Made of two sources that know nothing of each other: the instrument's report, which has
//! every instruction the hypervisor executed (`bench/plugin`, `sites`), and the counters in
//! the machine's memory. Both are in the result, so that one checks the other.
//!
//! # Invariants
//!
//! - The instructions of all VMs' causes, and those of no VM, are the hypervisor's; the sites of
//!   a VM are its causes, interrupts apart, which have no address.

use crate::counters::{self, Counter, HEAD_WORDS, NAMES};
use crate::symbols::Symbols;
use entresol_abi::observe::Observed;
use serde::Serialize;
use std::collections::BTreeMap;

/// A profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// The machine's name.
    pub machine: String,
    /// Instructions that the machine executed.
    pub instructions: u64,
    /// Those of the hypervisor.
    pub hypervisor: u64,
    /// Of these, those that served no VM: starting up, above all.
    pub of_no_vm: u64,
    /// Switches from one VM to another.
    pub vm_switches: u32,
    /// Physical interrupts.
    pub interrupts: u32,
    /// The VMs, in the manifest's order.
    pub vms: Vec<Vm>,
}

/// What one VM cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vm {
    /// Its name.
    pub name: String,
    /// Its traps.
    #[serde(flatten)]
    pub sum: Sum,
    /// What the hypervisor counted for it in its memory.
    pub counters: Vec<Counter>,
    /// By cause, the costliest first.
    pub causes: Vec<ByCause>,
    /// By address and cause, the costliest first.
    pub sites: Vec<Site>,
}

/// Traps, and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// How many.
    pub traps: u64,
    /// Instructions in the hypervisor.
    pub instructions: u64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.traps += other.traps;
        self.instructions += other.instructions;
    }

    /// Instructions of one, on average.
    #[must_use]
    pub fn each(&self) -> u64 {
        self.instructions.checked_div(self.traps).unwrap_or(0)
    }
}

/// The traps of one cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ByCause {
    /// The cause.
    pub cause: Cause,
    /// Its traps.
    #[serde(flatten)]
    pub sum: Sum,
}

/// The traps at one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Site {
    /// The guest's virtual address.
    pub address: u32,
    /// The function it is in, if that is known.
    pub symbol: Option<String>,
    /// Distance from that function's start.
    pub offset: Option<u32>,
    /// Why it trapped.
    pub cause: Cause,
    /// Its traps.
    #[serde(flatten)]
    pub sum: Sum,
}

/// Why a guest was left: what the hypervisor counted meanwhile, else the exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A sensitive instruction was emulated.
    Sensitive,
    /// An access to CP15 was emulated.
    Cp15,
    /// An access to the board was emulated.
    Device,
    /// A shadow entry was filled.
    Fill,
    /// A page was scanned for sensitive instructions.
    Scan,
    /// A page of code was written, and made data.
    CodeWritten,
    /// A hypercall.
    Hypercall,
    /// A system call, given to the guest's kernel.
    SystemCall,
    /// An abort, given to the guest's kernel.
    Abort,
    /// An undefined instruction, given to the guest's kernel.
    Undefined,
    /// An interrupt of the machine.
    Interrupt,
    /// Something that is not counted.
    Other,
}

impl Cause {
    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Sensitive => "sensitive instruction",
            Self::Cp15 => "system register",
            Self::Device => "device access",
            Self::Fill => "mapping filled",
            Self::Scan => "code scanned",
            Self::CodeWritten => "code written",
            Self::Hypercall => "hypercall",
            Self::SystemCall => "system call",
            Self::Abort => "abort reflected",
            Self::Undefined => "undefined reflected",
            Self::Interrupt => "interrupt",
            Self::Other => "other",
        }
    }

    /// By the vector's offset and the counters touched; what costs most comes first.
    fn of(vector: u32, touched: u32) -> Self {
        let counted = |name: &str| {
            NAMES
                .iter()
                .any(|known| known.name == name && touched >> (HEAD_WORDS + known.word) & 1 == 1)
        };
        let causes = [
            ("hypercalls", Self::Hypercall),
            ("mmio", Self::Device),
            ("scanned", Self::Scan),
            ("taken_back", Self::CodeWritten),
            ("fills", Self::Fill),
            ("cp15", Self::Cp15),
            ("sensitive", Self::Sensitive),
        ];
        if vector == 0x18 {
            return Self::Interrupt;
        }
        if let Some((_, cause)) = causes.into_iter().find(|(name, _)| counted(name)) {
            return cause;
        }
        match vector {
            0x04 if counted("reflected") => Self::Undefined,
            0x08 => Self::SystemCall,
            0x0c | 0x10 if counted("reflected") => Self::Abort,
            _ => Self::Other,
        }
    }
}

/// What is known of a VM before it is profiled.
#[derive(Clone, Debug, Default)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Its functions.
    pub symbols: Symbols,
}

/// One line of the instrument's report.
struct Line {
    vm: Option<usize>,
    cause: Cause,
    address: u32,
    sum: Sum,
}

impl Profile {
    /// Makes the profile of a run.
    ///
    /// # Errors
    ///
    /// The line of the report that is not one, or that its end is missing.
    pub fn new(
        machine: &str,
        guests: &[Guest],
        report: &str,
        observed: &Observed,
    ) -> Result<Self, String> {
        let mut end = None;
        let mut lines = Vec::new();
        for line in report.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            match words.as_slice() {
                ["end", "total", total, "inside", inside] => {
                    end = total.parse().ok().zip(inside.parse().ok());
                }
                _ => lines.push(trap(&words).ok_or_else(|| line.to_owned())?),
            }
        }
        let (instructions, hypervisor) = end.ok_or("the report has no end")?;
        let vms: Vec<_> = guests
            .iter()
            .enumerate()
            .map(|(index, guest)| Vm::new(guest, counters::of_vm(observed, index), &lines, index))
            .collect();
        let of_vms: u64 = vms.iter().map(|vm| vm.sum.instructions).sum();
        Ok(Self {
            machine: machine.to_owned(),
            instructions,
            hypervisor,
            of_no_vm: hypervisor - of_vms,
            vm_switches: observed.vm_switches,
            interrupts: observed.interrupts,
            vms,
        })
    }
}

impl Vm {
    fn new(guest: &Guest, counters: Vec<Counter>, lines: &[Line], index: usize) -> Self {
        let mut sum = Sum::default();
        let mut causes: BTreeMap<Cause, Sum> = BTreeMap::new();
        let mut sites: BTreeMap<(u32, Cause), Sum> = BTreeMap::new();
        for line in lines.iter().filter(|line| line.vm == Some(index)) {
            sum.add(line.sum);
            causes.entry(line.cause).or_default().add(line.sum);
            if line.cause != Cause::Interrupt {
                sites.entry((line.address, line.cause)).or_default().add(line.sum);
            }
        }
        let mut causes: Vec<_> =
            causes.into_iter().map(|(cause, sum)| ByCause { cause, sum }).collect();
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.sum.instructions));
        let mut sites: Vec<_> = sites
            .into_iter()
            .map(|((address, cause), sum)| {
                let (symbol, offset) = guest.symbols.find(address).unzip();
                Site { address, symbol: symbol.map(str::to_owned), offset, cause, sum }
            })
            .collect();
        sites.sort_by_key(|site| std::cmp::Reverse(site.sum.instructions));
        Self { name: guest.name.clone(), sum, counters, causes, sites }
    }
}

/// `trap vm V vector 0xV counters 0xC address 0xA number N instructions I`.
fn trap(words: &[&str]) -> Option<Line> {
    let hex = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let [
        "trap",
        "vm",
        vm,
        "vector",
        vector,
        "counters",
        touched,
        "address",
        address,
        "number",
        number,
        "instructions",
        instructions,
    ] = words
    else {
        return None;
    };
    Some(Line {
        vm: if *vm == "?" { None } else { Some(vm.parse().ok()?) },
        cause: Cause::of(hex(vector)?, hex(touched)?),
        address: hex(address)?,
        sum: Sum { traps: number.parse().ok()?, instructions: instructions.parse().ok()? },
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two VMs; sensitive is bit 4, cp15 bit 5, reflected bit 8.
    const REPORT: &str = "\
trap vm ? vector 0x20 counters 0x4000 address 0x00000000 number 1 instructions 500
trap vm 0 vector 0x04 counters 0x10 address 0xc0208044 number 10 instructions 400
trap vm 0 vector 0x04 counters 0x20 address 0xc0208044 number 1 instructions 60
trap vm 0 vector 0x18 counters 0x4 address 0x00000000 number 2 instructions 800
trap vm 1 vector 0x08 counters 0x100 address 0x00010000 number 4 instructions 200
end total 9000 inside 1960
";

    pub(crate) fn profile() -> Profile {
        let symbols = Symbols::read(b"c0208040 t start<&>\n");
        let guests = [
            Guest { name: "one".into(), symbols },
            Guest { name: "two".into(), symbols: Symbols::default() },
        ];
        let mut observed = Observed::ZERO;
        observed.vms[0].sensitive = 10;
        Profile::new("board", &guests, REPORT, &observed).unwrap()
    }

    #[test]
    fn every_instruction_of_the_hypervisor_is_accounted_for() {
        let profile = profile();
        assert_eq!((profile.hypervisor, profile.of_no_vm), (1960, 500));
        let [one, two] = profile.vms.as_slice() else { panic!() };
        assert_eq!(one.sum, Sum { traps: 13, instructions: 1260 });
        assert_eq!(one.causes[0].cause, Cause::Interrupt);
        assert_eq!(two.causes[0].cause, Cause::SystemCall);
    }

    #[test]
    fn a_site_is_an_address_with_a_cause_and_a_symbol() {
        let vm = &profile().vms[0];
        let [first, second] = vm.sites.as_slice() else { panic!() };
        assert_eq!((first.symbol.as_deref(), first.offset), (Some("start<&>"), Some(4)));
        assert_eq!((first.cause, first.sum.each()), (Cause::Sensitive, 40));
        assert_eq!((second.cause, second.sum.traps), (Cause::Cp15, 1));
    }

    #[test]
    fn a_report_that_is_cut_off_is_refused() {
        let cut = |report: &str| Profile::new("board", &[], report, &Observed::ZERO);
        assert!(cut("trap vm 0 vector").is_err());
        assert!(cut("").is_err());
    }
}
