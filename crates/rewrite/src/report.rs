//! What would be done about every sensitive instruction of a binary, for people.
//!
//! Goes page by page from the given base, each page as the hypervisor would see it,
//! except that the hypervisor knows where a page is entered and a report does not
//! (only the first byte is taken for an entry). So what is only proven by control
//! flow is reported as unproven here more often than it is at run time.

use entresol_isa::op::InstructionSet;
use entresol_isa::{Class, a32 as isa_a32, t32 as isa_t32};

use crate::{Direction, Found, Known, PAGE_WORDS, Page, Reason, a32, t32};

/// What becomes of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// It traps by itself when it is executed.
    Trap,
    /// It is replaced by a trap word.
    Replace,
    /// It stays.
    Leave,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It is code, by the given evidence.
    Code(Reason),
    /// It is loaded as data.
    Literal,
    /// It does the same in user mode.
    Harmless,
    /// Nothing says that it is code.
    Unproven,
    /// It continues in the next page.
    Straddles,
}

/// One sensitive instruction, or what looks like one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where, from the base address given.
    pub address: u32,
    /// What it does.
    pub class: Class,
    /// What becomes of it.
    pub decision: Decision,
    /// Why.
    pub why: Why,
}

/// Reports on a binary that is loaded at `base`.
///
/// `base` need not be page-aligned; bytes after the last whole instruction are ignored.
pub fn report(bytes: &[u8], base: u32, set: InstructionSet) -> impl Iterator<Item = Finding> + '_ {
    let lead = base & 0xfff;
    let first = usize::try_from(4096 - lead).unwrap_or(4096).min(bytes.len());
    let (head, tail) = bytes.split_at_checked(first).unwrap_or((bytes, &[]));
    let head = core::iter::once((head, base));
    let mut next = base.wrapping_add(4096 - lead);
    let tail = tail.chunks(4096).map(move |chunk| {
        let address = next;
        next = next.wrapping_add(4096);
        (chunk, address)
    });
    head.chain(tail).flat_map(move |(chunk, address)| {
        PageReport::new(chunk, address, (address == base).then_some(base), set)
    })
}

/// Reports on the page at `base` of which `known` says what is known, by byte offset: what
/// [`explore`](crate::explore) with the same arguments decides, and about what traps by itself.
pub fn report_page(
    page: &Page,
    base: u32,
    set: InstructionSet,
    known: impl Fn(u16) -> Known,
) -> impl Iterator<Item = Finding> {
    let mut report = PageReport { page: *page, notes: [None; PAGE_WORDS * 2], base, set, next: 0 };
    match set {
        InstructionSet::A32 => report.note_a32(&a32::Scan::knowing(page, known)),
        InstructionSet::T32 => report.note_t32(&t32::Scan::knowing(page, known)),
    }
    report
}

/// The findings of one page.
struct PageReport {
    page: Page,
    notes: [Option<(Decision, Why)>; PAGE_WORDS * 2],
    base: u32,
    set: InstructionSet,
    next: usize,
}

impl PageReport {
    fn new(chunk: &[u8], address: u32, entry: Option<u32>, set: InstructionSet) -> Self {
        let mut this = Self {
            page: [0; PAGE_WORDS],
            notes: [None; PAGE_WORDS * 2],
            base: address & !0xfff,
            set,
            next: 0,
        };
        let lead = usize::try_from(address & 0xffc).unwrap_or(0) / 4;
        for (slot, bytes) in this.page.iter_mut().skip(lead).zip(chunk.chunks(4)) {
            let mut word = [0; 4];
            for (to, from) in word.iter_mut().zip(bytes) {
                *to = *from;
            }
            *slot = u32::from_le_bytes(word);
        }
        let entry = entry.map(|entry| crate::low_half(entry & 0xfff));
        let page = this.page;
        match set {
            InstructionSet::A32 => this.note_a32(&a32::Scan::new(&page, entry, Direction::Trap)),
            InstructionSet::T32 => this.note_t32(&t32::Scan::new(&page, entry, Direction::Trap)),
        }
        this
    }

    fn note_a32(&mut self, scan: &a32::Scan<'_>) {
        let page = self.page;
        for (index, (slot, &word)) in (0_u32..).zip(self.notes.iter_mut().step_by(2).zip(&page)) {
            if let Some(class) = isa_a32::classify(word) {
                *slot = Some(assess(
                    class,
                    scan.is_literal(index),
                    class.is_replaced() && a32::is_harmless(word),
                    scan.reason(index),
                ));
            }
        }
        scan.decide(Direction::Trap, &mut |found| self.note(found));
    }

    fn note_t32(&mut self, scan: &t32::Scan<'_>) {
        for (index, slot) in (0_u32..).zip(&mut self.notes) {
            let half = scan.half(index);
            let reason = scan.reason(index);
            let class = classify(half, scan.wide(index));
            // Without a boundary nearly everything looks like something in T32.
            if let (Some(class), Some(_)) = (class, reason) {
                let harmless = isa_t32::is_wide(half) && t32::is_harmless(scan.wide(index));
                *slot = Some(assess(class, scan.is_literal(index), harmless, reason));
            }
        }
        scan.decide(Direction::Trap, &mut |found| self.note(found));
    }

    /// Puts the scanner's own decision over the assessment.
    fn note(&mut self, found: Found) {
        let (offset, note) = match found {
            Found::Replace(site) => (site.offset, (Decision::Replace, Why::Code(site.reason))),
            Found::Leave { offset } => (offset, (Decision::Leave, Why::Unproven)),
            Found::Straddles { offset } => (offset, (Decision::Leave, Why::Straddles)),
        };
        if let Some(slot) = self.notes.get_mut(usize::from(offset >> 1)) {
            *slot = Some(note);
        }
    }

    fn class(&self, half_index: usize) -> Option<Class> {
        let half = |index: usize| {
            let word = self.page.get(index / 2).copied().unwrap_or(0);
            crate::low_half(if index.is_multiple_of(2) { word } else { word >> 16 })
        };
        match self.set {
            InstructionSet::A32 => {
                isa_a32::classify(self.page.get(half_index / 2).copied().unwrap_or(0))
            }
            InstructionSet::T32 => {
                let (first, second) = (half(half_index), half(half_index + 1));
                classify(first, u32::from(first) << 16 | u32::from(second))
            }
        }
    }
}

fn classify(half: u16, wide: u32) -> Option<Class> {
    if isa_t32::is_wide(half) {
        isa_t32::classify_wide(wide)
    } else {
        isa_t32::classify_narrow(half)
    }
}

/// The decision about what the scanner does not decide.
fn assess(class: Class, literal: bool, harmless: bool, reason: Option<Reason>) -> (Decision, Why) {
    if literal {
        return (Decision::Leave, Why::Literal);
    }
    if harmless {
        return (Decision::Leave, Why::Harmless);
    }
    match reason {
        // BXJ is a branch; what is replaced is decided by the scanner.
        Some(reason) if class != Class::Jazelle => (Decision::Trap, Why::Code(reason)),
        Some(_) => (Decision::Leave, Why::Harmless),
        None => (Decision::Leave, Why::Unproven),
    }
}

impl Iterator for PageReport {
    type Item = Finding;

    fn next(&mut self) -> Option<Finding> {
        loop {
            let index = self.next;
            let note = *self.notes.get(index)?;
            self.next += 1;
            if let Some((decision, why)) = note {
                // A straddling instruction has no class yet; its second half is absent.
                let class = self.class(index).unwrap_or(Class::ChangeState);
                let offset = u32::try_from(index * 2).unwrap_or(0);
                return Some(Finding {
                    address: self.base.wrapping_add(offset),
                    class,
                    decision,
                    why,
                });
            }
        }
    }
}
