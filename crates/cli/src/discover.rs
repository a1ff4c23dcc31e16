//! What of a whole binary is code: mapping symbols, else control flow from what is known.
//!
//! Each page is judged by `entresol-rewrite`, as the hypervisor would. What is added is what
//! only one who sees the whole binary knows: a branch into another page is an entry there, and
//! so is a function's name; where there are mapping symbols nothing has to be guessed.
//!
//! # Invariants
//!
//! - Addresses are those the binary is linked to run at; a page is one of physical memory.
//! - Every page is judged again until nothing new leads into it; instructions are reached at
//!   most once, so that ends.

use entresol_isa::op::InstructionSet;
use entresol_rewrite::{Finding, Found, Known, PAGE_WORDS, Page, Site, explore, report_page};
use entresol_system::{
    code::Set,
    text::{Mark, Part, Text},
};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

const PAGE: u32 = 0x1000;

/// A page of a binary's text in one instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Index of its part.
    part: usize,
    /// Linked address of the page.
    page: u32,
    set: Set,
}

/// What the rest of the binary says of a place in a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lead {
    /// Code branches there.
    Code,
    /// Code loads from there.
    Data,
}

/// What was decided of one page in one instruction set.
pub(crate) struct Judged {
    /// Index of its part.
    pub(crate) part: usize,
    /// Linked address of the page.
    pub(crate) page: u32,
    /// Its instruction set.
    pub(crate) set: Set,
    /// Instructions to be replaced.
    pub(crate) sites: Vec<Site>,
    /// All sensitive instructions, or what looks like them.
    pub(crate) findings: Vec<Finding>,
    /// How many of these may be instructions to be replaced, but nothing says so.
    pub(crate) undecided: usize,
    /// Whether there is any code: control flow leads there, or a function has a name.
    pub(crate) reached: bool,
}

/// A binary's code as far as it is known.
pub(crate) struct Discovery<'a> {
    bytes: &'a [u8],
    text: &'a Text,
    /// Where instructions begin, in regions that mapping symbols call T32.
    boundaries: BTreeSet<u32>,
    leads: BTreeMap<Place, BTreeMap<u16, Lead>>,
    /// Pages with a function.
    named: BTreeSet<Place>,
    /// Pages with new leads.
    dirty: BTreeSet<Place>,
}

impl<'a> Discovery<'a> {
    /// Follows the code of `bytes` from its entry and its functions.
    pub(crate) fn new(bytes: &'a [u8], text: &'a Text, functions: &[u32]) -> Self {
        let mut this = Self {
            bytes,
            text,
            boundaries: BTreeSet::new(),
            leads: BTreeMap::new(),
            named: BTreeSet::new(),
            dirty: BTreeSet::new(),
        };
        let (entry, set) = text.entry;
        if text.marks.is_empty() && set == Set::A32 {
            this.find_literals();
        }
        this.lead(entry, set, Lead::Code);
        for function in functions {
            let place = this.part_of(*function).filter(|_| this.reads_like_a32(*function, set));
            this.named.extend(place.map(|part| Place { part, page: *function & !(PAGE - 1), set }));
        }
        this.follow_marks();
        while let Some(place) = this.dirty.pop_first() {
            this.follow(place);
        }
        this
    }

    /// What is decided of every page that holds code.
    pub(crate) fn judge(&self) -> Vec<Judged> {
        let places: BTreeSet<Place> = self.leads.keys().chain(&self.named).copied().collect();
        let judged = places.into_iter().map(|place| self.judge_page(place));
        judged.filter(|page| page.reached).collect()
    }

    fn judge_page(&self, place: Place) -> Judged {
        let page = self.page(place);
        let set = machine(place.set);
        let known = |offset| self.known(place, offset);
        let mut judged = Judged {
            part: place.part,
            page: place.page,
            set: place.set,
            sites: Vec::new(),
            findings: report_page(&page, place.page, set, known).collect(),
            undecided: 0,
            reached: false,
        };
        let mut reached = self.named.contains(&place);
        explore(
            &page,
            set,
            known,
            |_| reached = true,
            |found| match found {
                Found::Replace(site) => judged.sites.push(site),
                Found::Leave { .. } | Found::Straddles { .. } => judged.undecided += 1,
            },
        );
        judged.reached = reached;
        judged
    }

    fn part_of(&self, address: u32) -> Option<usize> {
        self.text.parts.iter().position(|part| offset_in(part, address).is_some())
    }

    fn lead(&mut self, address: u32, set: Set, lead: Lead) {
        let Some(part) = self.part_of(address) else { return };
        let place = Place { part, page: address & !(PAGE - 1), set };
        let offset = u16::try_from(address & (PAGE - 1)).unwrap_or(0);
        // What is loaded is never taken for code later.
        if let Entry::Vacant(vacant) = self.leads.entry(place).or_default().entry(offset) {
            vacant.insert(lead);
            self.dirty.insert(place);
        }
    }

    /// Words that A32 code on another page loads relative to pc (ARM DDI 0406C, A8.8.64,
    /// A8.8.73, A8.8.332): what a scan of their own page cannot see. Nothing else in a binary has
    /// these sixteen bits among code.
    fn find_literals(&mut self) {
        for part in &self.text.parts {
            let len = u32::try_from(part.file.len()).unwrap_or(u32::MAX);
            for at in (part.linked..part.linked + len).step_by(4) {
                let word = self.word(at);
                let (offset, words) = if word & 0xff7f_0000 == 0xe51f_0000 {
                    (word & 0xfff, 1)
                } else if word & 0xff7f_00f0 == 0xe14f_00d0 {
                    (word >> 4 & 0xf0 | word & 15, 2)
                } else if word & 0xff3f_0e00 == 0xed1f_0a00 {
                    ((word & 0xff) << 2, 1 + (word >> 8 & 1))
                } else {
                    continue;
                };
                if !self.reads_like_a32(at.saturating_sub(32), Set::A32) {
                    continue;
                }
                let up = word >> 23 & 1 == 1;
                let pc = at.wrapping_add(8);
                let first = if up { pc.wrapping_add(offset) } else { pc.wrapping_sub(offset) };
                for literal in (0..words).map(|word| (first & !3).wrapping_add(word * 4)) {
                    if literal & !(PAGE - 1) != at & !(PAGE - 1) {
                        self.lead(literal, Set::A32, Lead::Data);
                    }
                }
            }
        }
    }

    /// Whether three quarters of the sixteen words from here on are executed always, as nine of
    /// ten A32 instructions are.
    fn reads_like_a32(&self, at: u32, set: Set) -> bool {
        let always = |word: &u32| self.word(at.wrapping_add(word * 4)) >> 28 == 14;
        set != Set::A32 || (0..16).filter(always).count() >= 12
    }

    /// Every instruction of a region that a mapping symbol calls code.
    fn follow_marks(&mut self) {
        let marks = self.text.marks.clone();
        let ends = marks.iter().skip(1).map(|(at, _)| *at).chain([u32::MAX]);
        for ((start, mark), end) in marks.iter().zip(ends) {
            let Mark::Code(set) = mark else { continue };
            let Some(part) = self.part_of(*start).and_then(|part| self.text.parts.get(part)) else {
                continue;
            };
            let len = u32::try_from(part.file.len()).unwrap_or(u32::MAX);
            let end = end.min(part.linked.saturating_add(len));
            let mut at = *start;
            while at < end {
                self.lead(at, *set, Lead::Code);
                self.boundaries.insert(at);
                at += match set {
                    Set::A32 => 4,
                    Set::T32 if is_wide(self.half(at)) => 4,
                    Set::T32 => 2,
                };
            }
        }
    }

    /// Follows the branches that leave a page.
    fn follow(&mut self, place: Place) {
        let page = self.page(place);
        let mut targets = Vec::new();
        explore(
            &page,
            machine(place.set),
            |offset| self.known(place, offset),
            |offset| {
                let at = place.page + u32::from(offset);
                match place.set {
                    Set::A32 => leads_a32(at, self.word(at), &mut targets),
                    Set::T32 => leads_t32(at, self.half(at), self.half(at + 2), &mut targets),
                }
            },
            |_| (),
        );
        for (target, set) in targets {
            // Without mapping symbols a change of the instruction set is more often data that
            // was taken for code. What that misses is scanned when it runs.
            if set != place.set {
                continue;
            }
            if target & !(PAGE - 1) != place.page {
                self.lead(target, set, Lead::Code);
            }
        }
    }

    fn known(&self, place: Place, offset: u16) -> Known {
        let at = place.page + u32::from(offset);
        let marks = &self.text.marks;
        let marked = marks.partition_point(|(start, _)| *start <= at);
        match marked.checked_sub(1).and_then(|last| marks.get(last)) {
            Some((_, Mark::Data)) => return Known::Data,
            Some((_, Mark::Code(set))) if *set != place.set => return Known::Data,
            Some(_) if self.boundaries.contains(&at) => return Known::Code,
            _ => {}
        }
        match self.leads.get(&place).and_then(|leads| leads.get(&offset)) {
            Some(Lead::Code) => Known::Code,
            Some(Lead::Data) => Known::Data,
            None => Known::Nothing,
        }
    }

    fn page(&self, place: Place) -> Page {
        let mut page = [0; PAGE_WORDS];
        for (word, at) in page.iter_mut().zip((place.page..).step_by(4)) {
            let inside = self.text.parts.get(place.part).and_then(|part| offset_in(part, at));
            if inside.is_some() {
                *word = self.word(at);
            }
        }
        page
    }

    fn word(&self, at: u32) -> u32 {
        u32::from(self.half(at)) | u32::from(self.half(at + 2)) << 16
    }

    fn half(&self, at: u32) -> u16 {
        let bytes = || {
            let part = self.text.parts.get(self.part_of(at)?)?;
            let offset = part.file.start + offset_in(part, at)?;
            self.bytes.get(offset..offset + 2)?.try_into().ok()
        };
        bytes().map_or(0, u16::from_le_bytes)
    }
}

/// Where an address is in a part.
pub(crate) fn offset_in(part: &Part, address: u32) -> Option<usize> {
    let offset = usize::try_from(address.checked_sub(part.linked)?).ok()?;
    (offset < part.file.len()).then_some(offset)
}

pub(crate) const fn machine(set: Set) -> InstructionSet {
    match set {
        Set::A32 => InstructionSet::A32,
        Set::T32 => InstructionSet::T32,
    }
}

const fn is_wide(half: u16) -> bool {
    half >= 0xe800
}

/// The low `bits` of a number, with sign, as an offset to be added.
const fn signed(number: u32, bits: u32) -> u32 {
    let number = number & ((1 << bits) - 1);
    if number >> (bits - 1) & 1 == 1 { number.wrapping_sub(1 << bits) } else { number }
}

/// Where an A32 instruction leads besides what follows it in its page: B, BL, BLX, and
/// past the page's end (ARM DDI 0406C, A8.8.18, A8.8.25).
fn leads_a32(at: u32, word: u32, targets: &mut Vec<(u32, Set)>) {
    let branches = word >> 25 & 7 == 5;
    let offset = signed(word, 24) << 2;
    let target = at.wrapping_add(8).wrapping_add(offset);
    if branches && word >> 28 == 15 {
        targets.push((target | word >> 23 & 2, Set::T32));
    } else if branches {
        targets.push((target, Set::A32));
    }
    let always = word >> 28 == 14 && (word >> 24 & 15 == 10 || word & 0x0fff_fff0 == 0x012f_ff10);
    let loads = word >> 28 == 14 && matches!(word & 0x0e10_8000, 0x0810_8000);
    if at & (PAGE - 1) == PAGE - 4 && !always && !loads {
        targets.push((at + 4, Set::A32));
    }
}

/// The same for a T32 instruction (A8.8.18, A8.8.25, A8.8.29).
fn leads_t32(at: u32, first: u16, second: u16, targets: &mut Vec<(u32, Set)>) {
    let (half, next) = (u32::from(first), u32::from(second));
    let pc = at.wrapping_add(4);
    let mut ends = false;
    if !is_wide(first) {
        match half >> 11 {
            0x1a | 0x1b if half >> 8 & 15 < 14 => {
                targets.push((pc.wrapping_add(signed(half, 8) << 1), Set::T32));
            }
            0x1c => {
                targets.push((pc.wrapping_add(signed(half, 11) << 1), Set::T32));
                ends = true;
            }
            _ if half & 0xf500 == 0xb100 => {
                let offset = half >> 3 & 0x40 | half >> 2 & 0x3e;
                targets.push((pc.wrapping_add(offset), Set::T32));
            }
            _ => ends = half & 0xff87 == 0x4700 || half & 0xff00 == 0xbd00,
        }
    } else if half >> 11 == 0x1e && next & 0x8000 != 0 {
        let sign = half >> 10 & 1;
        let (j1, j2) = (next >> 13 & 1, next >> 11 & 1);
        let far = sign << 24
            | (j1 ^ sign ^ 1) << 23
            | (j2 ^ sign ^ 1) << 22
            | (half & 0x3ff) << 12
            | (next & 0x7ff) << 1;
        let far = pc.wrapping_add(signed(far, 25));
        match next & 0xd000 {
            0xd000 | 0x9000 => {
                targets.push((far, Set::T32));
                ends = next & 0x4000 == 0;
            }
            0xc000 => targets.push((far & !3, Set::A32)),
            0x8000 if half >> 7 & 7 != 7 => {
                let near =
                    sign << 20 | j2 << 19 | j1 << 18 | (half & 0x3f) << 12 | (next & 0x7ff) << 1;
                targets.push((pc.wrapping_add(signed(near, 21)), Set::T32));
            }
            _ => {}
        }
    }
    let behind = at + if is_wide(first) { 4 } else { 2 };
    if !ends && behind & !(PAGE - 1) != at & !(PAGE - 1) {
        targets.push((behind, Set::T32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use entresol_system::manifest::Format;

    fn a32(at: u32, word: u32) -> Vec<(u32, Set)> {
        let mut targets = Vec::new();
        leads_a32(at, word, &mut targets);
        targets
    }

    fn t32(at: u32, first: u16, second: u16) -> Vec<(u32, Set)> {
        let mut targets = Vec::new();
        leads_t32(at, first, second, &mut targets);
        targets
    }

    #[test]
    fn branches_lead_where_the_manual_says() {
        // b . ; bl .+8 ; blx .+10 (H)
        assert_eq!(a32(0x8000, 0xeaff_fffe), [(0x8000, Set::A32)]);
        assert_eq!(a32(0x8000, 0xeb00_0000), [(0x8008, Set::A32)]);
        assert_eq!(a32(0x8000, 0xfb00_0000), [(0x800a, Set::T32)]);
        // b.n . ; bne.n . ; cbz r0, .+6 ; bl . ; b.w .
        assert_eq!(t32(0x8000, 0xe7fe, 0), [(0x8000, Set::T32)]);
        assert_eq!(t32(0x8000, 0xd1fe, 0), [(0x8000, Set::T32)]);
        assert_eq!(t32(0x8000, 0xb108, 0), [(0x8006, Set::T32)]);
        assert_eq!(t32(0x8000, 0xf7ff, 0xfffe), [(0x8000, Set::T32)]);
        assert_eq!(t32(0x8000, 0xf7ff, 0xbffe), [(0x8000, Set::T32)]);
        // blx . (to A32) ; beq.w .
        assert_eq!(t32(0x8000, 0xf7ff, 0xeffe), [(0x8000, Set::A32)]);
        assert_eq!(t32(0x8000, 0xf43f, 0xaffe), [(0x8000, Set::T32)]);
    }

    /// A page of A32 and T32 code and data, as mapping symbols tell.
    fn marked() -> (Vec<u8>, Text) {
        let mut bytes = vec![0; 0x1000];
        // cps #0x13 ; a literal that looks like it ; T32: cps #0x13 behind a narrow nop
        bytes[..4].copy_from_slice(&0xf102_0013_u32.to_le_bytes());
        bytes[4..8].copy_from_slice(&0xf102_0013_u32.to_le_bytes());
        bytes[8..14].copy_from_slice(&[0x00, 0xbf, 0xaf, 0xf3, 0x13, 0x81]);
        let part = Part { file: 0..0x1000, at: 0x4000_8000, linked: 0xc000_8000 };
        let marks = vec![
            (0xc000_8000, Mark::Code(Set::A32)),
            (0xc000_8004, Mark::Data),
            (0xc000_8008, Mark::Code(Set::T32)),
            (0xc000_8010, Mark::Data),
        ];
        let entry = (0xc000_8000, Set::A32);
        (bytes, Text { format: Format::Elf, entry, parts: vec![part], marks })
    }

    #[test]
    fn mapping_symbols_tell_code_of_both_sets_from_data() {
        let (bytes, text) = marked();
        let judged = Discovery::new(&bytes, &text, &[]).judge();
        let sites: Vec<_> = judged
            .iter()
            .flat_map(|page| page.sites.iter().map(|site| (page.set, site.offset)))
            .collect();
        assert_eq!(sites, [(Set::A32, 0), (Set::T32, 10)]);
        assert!(judged.iter().all(|page| page.undecided == 0));
    }

    #[test]
    fn what_another_page_loads_is_data() {
        let mut bytes = vec![0; 0x2000];
        for word in bytes.chunks_exact_mut(4) {
            word.copy_from_slice(&0xe1a0_0000_u32.to_le_bytes());
        }
        // ldr r0, [pc, #0x100], which is ldm sp, {r0-r14}^ behind the page's end; another of those
        bytes[0xff0..0xff4].copy_from_slice(&0xe59f_0100_u32.to_le_bytes());
        for at in [0x10f8, 0x1200] {
            bytes[at..at + 4].copy_from_slice(&0xe8dd_7fff_u32.to_le_bytes());
        }
        let part = Part { file: 0..0x2000, at: 0x4000_8000, linked: 0x4000_8000 };
        let entry = (0x4000_8000, Set::A32);
        let text = Text { format: Format::Raw, entry, parts: vec![part], marks: Vec::new() };
        let judged = Discovery::new(&bytes, &text, &[]).judge();
        let sites: Vec<_> =
            judged.iter().flat_map(|page| page.sites.iter().map(|site| site.offset)).collect();
        assert_eq!(sites, [0x200]);
    }

    #[test]
    fn what_does_not_branch_leads_into_the_next_page() {
        assert_eq!(a32(0x8ffc, 0xe1a0_0000), [(0x9000, Set::A32)]);
        assert_eq!(a32(0x8ffc, 0xe12f_ff1e), []);
        assert_eq!(t32(0x8ffe, 0x4600, 0), [(0x9000, Set::T32)]);
        assert_eq!(t32(0x8ffe, 0x4770, 0), []);
    }
}
