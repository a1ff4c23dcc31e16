//! What `entresol inspect` prints: a guest's sensitive instructions by class.
//!
//! The code comes from `entresol-system`, the verdicts from `entresol-rewrite`; this
//! module only sorts and counts them for people and, as JSON, for programs.

use crate::discover::{Judged, machine};
use entresol_isa::Class;
use entresol_rewrite::{Decision, Finding, Reason, Why, report};
use entresol_system::{
    code::{Guest, Set},
    manifest::Format,
    text::Text,
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// Addresses shown per line, and before the rest is only counted.
const PER_LINE: usize = 6;
const SHOWN: usize = 2 * PER_LINE;

/// A guest, inspected.
#[derive(Debug, Serialize)]
pub(crate) struct Inspection {
    format: String,
    entry: u32,
    /// Bytes of code by instruction set.
    a32: usize,
    t32: usize,
    classes: Vec<ClassReport>,
    /// Whether all addresses are printed.
    #[serde(skip)]
    all: bool,
    /// Whether the binary unpacks another one.
    unpacks: bool,
}

/// Sensitive instructions of one class.
#[derive(Debug, Default, Serialize)]
struct ClassReport {
    class: &'static str,
    what: &'static str,
    /// Addresses of those replaced by a word that traps, by the evidence for code.
    replaced: BTreeMap<&'static str, Vec<u32>>,
    /// Addresses of those that trap by themselves.
    traps: Vec<u32>,
    /// Addresses of those that stay, by why.
    left: BTreeMap<&'static str, Vec<u32>>,
}

impl Inspection {
    /// Inspects `guest`; `all` shows every address.
    pub(crate) fn new(guest: &Guest, all: bool) -> Self {
        let bytes = |wanted| {
            guest.code.iter().filter(|code| code.set == wanted).map(|code| code.bytes.len()).sum()
        };
        let findings =
            guest.code.iter().flat_map(|code| report(&code.bytes, code.at, machine(code.set)));
        Self {
            format: guest.format.to_string(),
            entry: guest.entry,
            a32: bytes(Set::A32),
            t32: bytes(Set::T32),
            classes: by_class(findings),
            all,
            unpacks: guest.format == Format::ZImage,
        }
    }

    /// The same of a binary whose pages were judged one by one.
    pub(crate) fn of(text: &Text, judged: &[Judged], all: bool) -> Self {
        let (entry, set) = text.entry;
        let pages = |wanted| {
            judged.iter().filter(|page| page.reached && page.set == wanted).count() * 0x1000
        };
        Self {
            format: text.format.to_string(),
            entry: entry | u32::from(set == Set::T32),
            a32: pages(Set::A32),
            t32: pages(Set::T32),
            classes: by_class(judged.iter().flat_map(|page| page.findings.iter().copied())),
            all,
            unpacks: false,
        }
    }
}

fn by_class(findings: impl Iterator<Item = Finding>) -> Vec<ClassReport> {
    let mut classes: BTreeMap<Class, ClassReport> = BTreeMap::new();
    for finding in findings {
        let (class, what) = describe(finding.class);
        let new = || ClassReport { class, what, ..ClassReport::default() };
        let entry = classes.entry(finding.class).or_insert_with(new);
        let why = why(finding.why);
        match finding.decision {
            Decision::Replace => entry.replaced.entry(why).or_default(),
            Decision::Trap => &mut entry.traps,
            Decision::Leave => entry.left.entry(why).or_default(),
        }
        .push(finding.address);
    }
    classes.into_values().collect()
}

fn describe(class: Class) -> (&'static str, &'static str) {
    match class {
        Class::ChangeState => ("change-state", "changes mode, masks or endianness (cps, setend)"),
        Class::ReadStatus => ("read-status", "reads CPSR or SPSR (mrs)"),
        Class::WriteStatus => ("write-status", "writes CPSR or SPSR (msr)"),
        Class::Banked => ("banked", "accesses another mode's registers (mrs, msr banked)"),
        Class::UserRegisters => ("user-registers", "transfers user registers (ldm ^, stm ^)"),
        Class::Return => ("return", "returns from an exception (subs pc, ldm pc ^, rfe)"),
        Class::StoreReturn => ("store-return", "stores the return state (srs)"),
        Class::Unprivileged => ("unprivileged", "accesses memory as user mode (ldrt, strt)"),
        Class::Call => ("call", "calls a more privileged level (svc, hvc, smc)"),
        Class::Wait => ("wait", "waits (wfi, wfe)"),
        Class::FloatStatus => ("float-status", "accesses floating-point status (vmrs, vmsr)"),
        Class::Coprocessor => ("coprocessor", "accesses the system coprocessors p14, p15"),
        Class::Jazelle => ("jazelle", "enters Jazelle (bxj)"),
    }
}

fn why(why: Why) -> &'static str {
    match why {
        Why::Code(Reason::Reached) => "reached by control flow",
        Why::Code(Reason::Context) => "among code",
        Why::Code(Reason::Strong) => "unmistakable",
        Why::Literal => "loaded as data",
        Why::Harmless => "harmless in user mode",
        Why::Unproven => "not proven to be code before it runs",
        Why::Straddles => "continues in the next page",
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = if self.entry & 1 == 1 { "T32" } else { "A32" };
        writeln!(f, "format {}", self.format)?;
        writeln!(f, "entry {:#010x} ({set})", self.entry & !1)?;
        writeln!(f, "code {} bytes of A32, {} bytes of T32", self.a32, self.t32)?;
        if self.unpacks {
            writeln!(f, "note: self-extracting; what it unpacks is scanned when it runs")?;
        }
        let sum = |groups: &BTreeMap<&str, Vec<u32>>| groups.values().map(Vec::len).sum::<usize>();
        writeln!(f, "\n{:<16}{:>10}{:>10}{:>10}", "class", "replaced", "traps", "left")?;
        let mut totals = [0; 3];
        for class in &self.classes {
            let counts = [sum(&class.replaced), class.traps.len(), sum(&class.left)];
            let [replaced, traps, left] = counts;
            writeln!(f, "{:<16}{replaced:>10}{traps:>10}{left:>10}", class.class)?;
            for (total, count) in totals.iter_mut().zip(counts) {
                *total += count;
            }
        }
        let [replaced, traps, left] = totals;
        write!(f, "{:<16}{replaced:>10}{traps:>10}{left:>10}", "all")?;
        for class in &self.classes {
            write!(f, "\n\n{}: {}", class.class, class.what)?;
            for (why, addresses) in &class.replaced {
                self.addresses(f, &format!("replaced, {why}"), addresses)?;
            }
            self.addresses(f, "traps by itself", &class.traps)?;
            for (why, addresses) in &class.left {
                self.count(f, &format!("left, {why}"), addresses)?;
            }
        }
        Ok(())
    }
}

impl Inspection {
    /// As [`Self::addresses`], but without any unless all are wanted: most of what is
    /// left in a large binary is data.
    fn count(&self, f: &mut fmt::Formatter<'_>, what: &str, at: &[u32]) -> fmt::Result {
        if self.all { self.addresses(f, what, at) } else { write!(f, "\n  {what}: {}", at.len()) }
    }

    fn addresses(&self, f: &mut fmt::Formatter<'_>, what: &str, at: &[u32]) -> fmt::Result {
        if at.is_empty() {
            return Ok(());
        }
        write!(f, "\n  {what}: {}", at.len())?;
        let shown = if self.all { at.len() } else { SHOWN.min(at.len()) };
        for line in at.iter().take(shown).collect::<Vec<_>>().chunks(PER_LINE) {
            write!(f, "\n   ")?;
            for address in line {
                write!(f, " {address:#010x}")?;
            }
        }
        if shown < at.len() {
            write!(f, "\n    and {} more; --all lists them", at.len() - shown)?;
        }
        Ok(())
    }
}
