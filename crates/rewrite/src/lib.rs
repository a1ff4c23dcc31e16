//! Finds and replaces sensitive instructions in a page or a binary.
//!
//! Given one page of guest memory and where execution entered it, [`scan`] says
//! which words to replace by which trap words; [`report()`] says the same of a whole
//! binary, for people. Neither touches memory, maps pages, or emulates anything.
//!
//! # Why guess at all
//!
//! Code and data are mixed, symbols are absent, and the page is read by its owner
//! as data too: a replaced literal is a corrupted guest, a missed instruction a
//! wrong one. So evidence is graded. Words that code loads from (literal pools) are
//! data. Encodings with so many fixed bits that data does not imitate them
//! ([`Reason::Strong`]) are replaced wherever they stand. The others are replaced
//! only where control flow from the entry leads ([`Reason::Reached`]), or where what
//! stands around them reads like code ([`Reason::Context`]).
//!
//! # Invariants
//!
//! - Time is bounded: a few passes over the page, each instruction followed at most
//!   once. On a Cortex-A9 a kernel's A32 page costs about 35 instructions per word;
//!   a T32 page 45 to 90 thousand in all; the worst pages tried cost 0.25 million (A32) and
//!   0.35 million (T32). What a page of a guest that uses both sets holds of the other
//!   one costs as much again.
//! - State is a few bitmaps on the stack, at most 4 KiB.
//! - Scanning a page again, in either instruction set, proposes nothing for words
//!   that are trap words already.
//! - [`restore`] with the arguments of a [`scan`] proposes the inverse.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod a32;
mod bitmap;
mod explore;
mod kinds;
mod report;
pub mod stub;
mod t32;

pub use explore::{Known, explore};
pub use report::{Decision, Finding, Why, report, report_page};

use entresol_isa::op::InstructionSet;
use entresol_isa::{Class, a32 as isa_a32, t32 as isa_t32};

/// Words in a page.
pub const PAGE_WORDS: usize = 1024;

/// One page of guest memory, as little-endian words.
pub type Page = [u32; PAGE_WORDS];

/// Size of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// A32: one word.
    Word,
    /// T32: one halfword, in the low half of the words of a [`Site`].
    Narrow,
    /// T32: two halfwords; the first, at the lower address, is the high half.
    Wide,
}

/// Why a word is taken for an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Control flow from the entry leads there: proven.
    Reached,
    /// What stands around it reads like code.
    Context,
    /// Its encoding alone is proof enough.
    Strong,
}

/// An instruction to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Byte offset in the page.
    pub offset: u16,
    /// Size, and how the two words below are to be read.
    pub width: Width,
    /// The sensitive instruction.
    pub original: u32,
    /// Its trap word.
    pub replacement: u32,
    /// Why it is taken for an instruction.
    pub reason: Reason,
}

impl Site {
    /// The class of the original.
    #[must_use]
    pub fn class(&self) -> Option<Class> {
        match self.width {
            Width::Word => isa_a32::classify(self.original),
            Width::Narrow => isa_t32::classify_narrow(low_half(self.original)),
            Width::Wide => isa_t32::classify_wide(self.original),
        }
    }
}

/// What a scan has to say about one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Replace this instruction.
    Replace(Site),
    /// It has the form of a sensitive instruction, but nothing says that it is one.
    Leave {
        /// Byte offset in the page.
        offset: u16,
    },
    /// A 32-bit T32 instruction that begins in the last halfword of the page and may
    /// be sensitive; only its first half is known.
    Straddles {
        /// Byte offset in the page.
        offset: u16,
    },
}

/// Which way to replace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Sensitive words by trap words.
    Trap,
    /// Trap words by the words they stand for.
    Original,
}

/// Plans the replacements of a page that is entered at byte `entry`.
///
/// Calls `found` in ascending order of offsets.
pub fn scan(page: &Page, entry: u16, set: InstructionSet, mut found: impl FnMut(Found)) {
    match set {
        InstructionSet::A32 => {
            a32::Scan::new(page, Some(entry), Direction::Trap).decide(Direction::Trap, &mut found)
        }
        InstructionSet::T32 => {
            t32::Scan::new(page, Some(entry), Direction::Trap).decide(Direction::Trap, &mut found)
        }
    }
}

/// Plans the replacements of what a page, entered in `entered` at byte `entry`, holds of the
/// other instruction set. Nothing is reached then: what stands around decides, and what
/// is known to be code or a literal of the set it was entered in is left alone.
///
/// For pages of guests that use both sets: it costs more than [`scan`].
#[inline(never)]
pub fn scan_other(page: &Page, entry: u16, entered: InstructionSet, mut found: impl FnMut(Found)) {
    match entered {
        InstructionSet::A32 => {
            let a32 = a32::Scan::new(page, Some(entry), Direction::Trap);
            t32::Scan::among_a32(page, &a32).decide(Direction::Trap, &mut found);
        }
        InstructionSet::T32 => {
            let t32 = t32::Scan::new(page, Some(entry), Direction::Trap);
            let a32 = a32::Scan::new(page, None, Direction::Trap);
            // Loads and stores of T32 look like weak forms among A32 code.
            a32.decide(Direction::Trap, &mut |item| {
                if let Found::Replace(Site { offset, reason: Reason::Strong, .. }) = item
                    && a32.is_among_code(u32::from(offset >> 2))
                    && !t32.covers(u32::from(offset >> 1))
                {
                    found(item);
                }
            });
        }
    }
}

/// Whether the T32 code whose halfwords `next` gives holds an instruction to be replaced,
/// in the few before it branches.
///
/// For entries that no scan could foresee, such as the first return of an exception
/// into a new task: if so, the page is to be scanned again as entered there.
pub fn overlooked(next: impl FnMut() -> Option<u16>) -> bool {
    t32::overlooked(next)
}

/// Finds what a [`scan`] with the same arguments replaced in this page, to undo it.
///
/// Write each [`Site::original`] back. A trap word outside of what that scan would
/// have replaced is the guest's own and stays.
pub fn restore(page: &Page, entry: u16, set: InstructionSet, mut found: impl FnMut(Site)) {
    let mut sites = |item: Found| {
        if let Found::Replace(site) = item {
            found(site);
        }
    };
    match set {
        InstructionSet::A32 => a32::Scan::new(page, Some(entry), Direction::Original)
            .decide(Direction::Original, &mut sites),
        InstructionSet::T32 => t32::Scan::new(page, Some(entry), Direction::Original)
            .decide(Direction::Original, &mut sites),
    }
}

/// Writes `word` (an original or a replacement) at a site.
pub fn write(page: &mut Page, offset: u16, width: Width, word: u32) {
    match width {
        Width::Word => {
            if let Some(slot) = page.get_mut(usize::from(offset >> 2)) {
                *slot = word;
            }
        }
        Width::Narrow => write_half(page, offset, low_half(word)),
        Width::Wide => {
            write_half(page, offset, low_half(word >> 16));
            write_half(page, offset.wrapping_add(2), low_half(word));
        }
    }
}

fn write_half(page: &mut Page, offset: u16, half: u16) {
    if let Some(slot) = page.get_mut(usize::from(offset >> 2)) {
        let shift = u32::from(offset & 2) * 8;
        *slot = *slot & !(0xffff << shift) | u32::from(half) << shift;
    }
}

pub(crate) const fn low_half(word: u32) -> u16 {
    let [low, high, ..] = word.to_le_bytes();
    u16::from_le_bytes([low, high])
}
