//! Which halfwords of a page are T32 instructions to be replaced.
//!
//! T32 has no fixed boundaries: a halfword means something only once it is known
//! where the instruction before it ended. So control flow comes first, then linear
//! sweeps from where known code ends, and only 32-bit encodings with nearly all bits
//! fixed are believed where neither leads. A page that was entered in A32 may hold T32
//! code all the same; there, what looks sensitive is believed if it reads on as T32 to
//! a return and does not stand among A32 code.
//!
//! Most halfwords are dismissed by one look-up of their upper byte.
//!
//! # Invariants
//!
//! Every halfword is followed at most once. Runs that are tried start behind known code
//! and end before it, so they do not overlap. The last instruction of a page may
//! continue in the next one; it is reported, never split.

mod forms;

pub(crate) use forms::is_harmless;

use entresol_isa::{t32::is_wide, trapword};

use crate::bitmap::Bitmap;
use crate::{Direction, Found, Known, Page, Reason, Site, Width, kinds};
use forms::{
    conditional_offset, extend, is_narrow_end, is_strong, is_wide_end, long_offset, may_concern,
    narrow_pair, wide_pair,
};

const HALVES: u32 = 2048;

/// Most sweeps of a page: more functions than one has, and a bound for hostile pages.
const MOST_SWEEPS: u32 = 256;

/// 32-bit encoding.
const WIDE: u8 = 8;
/// May change the program counter, begin an IT block, or load a literal.
const FLOW: u8 = 16;
/// May be sensitive, or the first half of what is.
const SUSPECT: u8 = 32;
/// May be a trap word, or the first half of one.
const TRAP: u8 = 64;
/// What compilers do not emit, or may be.
const ODD: u8 = 128;

/// What the upper byte of a halfword allows it to be.
pub(crate) const fn kinds(top: usize) -> u8 {
    let flow = matches!(
        top,
        0x44 | 0x46..=0x4f // add, mov, bx, blx; literals
        | 0xb1 | 0xb3 | 0xb9 | 0xbb | 0xbd // cbz, cbnz, pop
        | 0xd0..=0xde | 0xe0..=0xe9 | 0xec..=0xee | 0xf0..=0xf9
    );
    let suspect = matches!(top, 0xb6 | 0xbf | 0xe8 | 0xe9 | 0xf3 | 0xf8 | 0xf9);
    let trap = matches!(top, 0xde | 0xec..=0xee);
    let odd = matches!(top, 0x00 | 0xde | 0xec..=0xef | 0xf9 | 0xfc..=0xff);
    (if top >= 0xe8 { WIDE } else { 0 })
        | if flow { FLOW } else { 0 }
        | if suspect { SUSPECT } else { 0 }
        | if trap { TRAP } else { 0 }
        | if odd { ODD } else { 0 }
}

#[inline]
fn kind(half: u16) -> u8 {
    let [_, top] = half.to_le_bytes();
    kinds::of(top)
}

pub(crate) struct Scan<'a> {
    page: &'a Page,
    /// Halfwords that code loads from, and branch tables.
    literals: Bitmap<64>,
    /// First halfwords of instructions; of those that control flow leads to.
    known: Bitmap<64>,
    reached: Bitmap<64>,
    pending: Bitmap<64>,
    /// Where known code ends.
    open: Bitmap<64>,
    /// Halfwords that may begin something to replace.
    suspects: Bitmap<64>,
    /// Words that would be typical of A32: executed always. Words that are zero.
    usual: Bitmap<32>,
    blank: Bitmap<32>,
    /// Entered in T32.
    entered: bool,
}

impl<'a> Scan<'a> {
    /// Finds the code of a page, entered at byte `entry` if that is known.
    pub(crate) fn new(page: &'a Page, entry: Option<u16>, direction: Direction) -> Self {
        let mut scan = Self {
            page,
            literals: Bitmap::new(),
            known: Bitmap::new(),
            reached: Bitmap::new(),
            pending: Bitmap::new(),
            open: Bitmap::new(),
            suspects: Bitmap::new(),
            usual: Bitmap::new(),
            blank: Bitmap::new(),
            entered: entry.is_some(),
        };
        scan.survey(direction);
        if let Some(entry) = entry {
            scan.pending.insert(u32::from(entry >> 1));
            scan.follow();
            scan.reached = scan.known.clone();
        }
        scan.sweep();
        scan
    }

    /// Finds the code of a page of which something is known, by byte offset.
    pub(crate) fn knowing(page: &'a Page, known: impl Fn(u16) -> Known) -> Self {
        let mut scan = Self::new(page, None, Direction::Trap);
        let mut code = Bitmap::<64>::new();
        for index in 0..HALVES {
            match known(crate::low_half(index << 1)) {
                Known::Code => code.insert(index),
                Known::Data => scan.literals.insert(index),
                Known::Nothing => {}
            }
        }
        for block in 0..64 {
            let literals = scan.literals.block(block) & !code.block(block);
            scan.literals.set_block(block, literals);
        }
        scan.entered = true;
        scan.pending = code;
        scan.follow();
        scan.reached = scan.known.clone();
        scan.sweep();
        scan
    }

    /// Every halfword at which an instruction begins that control flow leads to.
    pub(crate) fn each_reached(&self, each: impl FnMut(u32)) {
        self.reached.for_each(each);
    }

    /// [`Scan::new`] of a page that was entered in A32 only.
    pub(crate) fn among_a32(page: &'a Page, a32: &crate::a32::Scan<'_>) -> Self {
        let mut scan = Self::new(page, None, Direction::Trap);
        scan.seed(a32);
        scan.sweep();
        scan
    }

    /// Whether one of the two halfwords of a word belongs to known code, or code loads it.
    pub(crate) fn covers(&self, index: u32) -> bool {
        [index, index + 1]
            .into_iter()
            .any(|half| self.known.contains(half) || self.is_second(half) || self.is_literal(half))
    }

    pub(crate) fn is_literal(&self, index: u32) -> bool {
        self.literals.contains(index)
    }

    /// Why an instruction is taken to begin there, apart from its encoding.
    pub(crate) fn reason(&self, index: u32) -> Option<Reason> {
        if !self.known.contains(index) {
            return None;
        }
        Some(if self.reached.contains(index) { Reason::Reached } else { Reason::Context })
    }

    #[inline]
    fn word(&self, index: u32) -> u32 {
        usize::try_from(index).ok().and_then(|index| self.page.get(index)).copied().unwrap_or(0)
    }

    #[inline]
    pub(crate) fn half(&self, index: u32) -> u16 {
        crate::low_half(self.word(index >> 1) >> ((index & 1) * 16))
    }

    #[inline]
    pub(crate) fn wide(&self, index: u32) -> u32 {
        u32::from(self.half(index)) << 16 | u32::from(self.half(index + 1))
    }

    /// Whether the halfword is the second of a known instruction.
    fn is_second(&self, index: u32) -> bool {
        index > 0 && self.known.contains(index - 1) && is_wide(self.half(index - 1))
    }

    /// Looks at every word once.
    fn survey(&mut self, direction: Direction) {
        let concern = concern(direction);
        for (block, words) in self.page.chunks_exact(32).enumerate() {
            let (mut usual, mut blank) = (0, 0);
            for (place, &word) in (0_u32..).zip(words) {
                if word == 0 {
                    blank |= 1 << place;
                    continue;
                }
                usual |= u32::from(word >> 28 == 14) << place;
                let kinds = kind(crate::low_half(word)) | kind(crate::low_half(word >> 16));
                if kinds & concern != 0 {
                    let first = u32::try_from(block).unwrap_or(0) * 64 + place * 2;
                    for index in [first, first + 1] {
                        if may_concern(direction, self.half(index)) {
                            self.suspects.insert(index);
                        }
                    }
                }
            }
            self.usual.set_block(block, usual);
            self.blank.set_block(block, blank);
        }
    }

    /// Follows control flow from everything pending.
    fn follow(&mut self) {
        while let Some(start) = self.pending.pop() {
            self.follow_from(start);
        }
    }

    fn follow_from(&mut self, start: u32) {
        let mut index = start;
        // Instructions left in an IT block: a jump there is conditional.
        let mut block = 0_u32;
        // Members of the current 32 halfwords, kept at hand.
        let mut here = start >> 5;
        let (mut known, mut literals) = (self.known.at(here), self.literals.at(here));
        while index < HALVES {
            if index >> 5 != here {
                self.known.put(here, known);
                here = index >> 5;
                (known, literals) = (self.known.at(here), self.literals.at(here));
            }
            let place = 1 << (index & 31);
            if (known | literals) & place != 0 {
                break;
            }
            known |= place;
            let half = self.half(index);
            let kind = kind(half);
            let size = if kind & WIDE == 0 { 1 } else { 2 };
            if kind & FLOW == 0 {
                block = block.saturating_sub(1);
                if half >> 8 == 0xbf && half & 15 != 0 {
                    block = 4 - (half & 15).trailing_zeros();
                }
                index += size;
                continue;
            }
            if index + size > HALVES {
                break;
            }
            let ends = if size == 2 {
                let word = self.wide(index);
                // Data processing with an immediate has no branch bit.
                let plain = half >> 11 == 0x1e && word & 0x8000 == 0;
                !plain && self.flow_wide(index, word)
            } else {
                self.flow_narrow(index, half)
            };
            literals = self.literals.at(here);
            index += size;
            if ends && block == 0 {
                self.open.insert(index);
                break;
            }
            block = block.saturating_sub(1);
        }
        self.known.put(here, known);
    }

    /// Notes where a 16-bit instruction leads; whether nothing follows it
    /// (ARM DDI 0406C, A6.2).
    fn flow_narrow(&mut self, index: u32, half: u16) -> bool {
        let word = u32::from(half);
        match word >> 12 {
            0x4 if word & 0x0800 != 0 => {
                self.mark_literal(index, true, (word & 0xff) << 2, 1);
                false
            }
            0xd if word >> 8 & 15 < 14 => {
                self.branch(index, extend(word & 0xff, 8));
                false
            }
            0xe => {
                self.branch(index, extend(word & 0x7ff, 11));
                true
            }
            0xb if word & 0x0500 == 0x0100 => {
                self.branch(index, word >> 4 & 0x20 | word >> 3 & 31);
                false
            }
            _ => is_narrow_end(half),
        }
    }

    /// Notes where a 32-bit instruction leads; whether nothing follows it
    /// (ARM DDI 0406C, A6.3).
    fn flow_wide(&mut self, index: u32, word: u32) -> bool {
        match word & 0xf800_d000 {
            0xf000_d000 | 0xf000_9000 => {
                self.branch(index, long_offset(word));
                return word & 0x4000 == 0;
            }
            0xf000_8000 if word >> 23 & 7 != 7 => {
                self.branch(index, conditional_offset(word));
                return false;
            }
            _ => {}
        }
        let up = word >> 23 & 1 == 1;
        if word & 0xfe1f_0000 == 0xf81f_0000 {
            self.mark_literal(index, up, word & 0xfff, 1);
        } else if word & 0xff7f_0000 == 0xe95f_0000 {
            self.mark_literal(index, up, (word & 0xff) << 2, 2);
        } else if word & 0xff3f_0e00 == 0xed1f_0a00 {
            self.mark_literal(index, up, (word & 0xff) << 2, 1 + (word >> 8 & 1));
        } else if word & 0xffff_ffe0 == 0xe8df_f000 {
            self.table(index, word);
        }
        is_wide_end(word)
    }

    fn branch(&mut self, index: u32, offset: u32) {
        let target = index.wrapping_add(2).wrapping_add(offset);
        if target < HALVES && !self.known.contains(target) {
            self.pending.insert(target);
        }
    }

    fn mark_literal(&mut self, index: u32, up: bool, offset: u32, words: u32) {
        let pc = ((index + 2) << 1) & !3;
        let address = if up { pc.wrapping_add(offset) } else { pc.wrapping_sub(offset) };
        for word in address >> 2..(address >> 2).saturating_add(words) {
            self.mark_word(word);
        }
    }

    /// Both halfwords of a word are data, but for what control flow is known to lead to: that is
    /// no literal of what only looks like code.
    fn mark_word(&mut self, word: u32) {
        let (block, both) = (word >> 4, 3 << (word % 16 * 2));
        let literals = both & !self.reached.at(block);
        self.literals.put(block, self.literals.at(block) | literals);
    }

    /// The targets of `tbb`/`tbh [pc, rm]`; the comparison before says how many. The
    /// last half word of the table may share its word with code and stays unmarked.
    fn table(&mut self, index: u32, word: u32) {
        let wide_entries = word & 0x10 != 0;
        for back in 1..=4 {
            let compare = u32::from(self.half(index.wrapping_sub(back)));
            if word & 15 > 7 || compare & 0xff00 != 0x2800 | (word & 7) << 8 {
                continue;
            }
            let entries = (compare & 0xff) + 1;
            let halves = if wide_entries { entries } else { entries.div_ceil(2) };
            for entry in 0..entries {
                let offset = if wide_entries {
                    u32::from(self.half(index + 2 + entry))
                } else {
                    u32::from(self.half(index + 2 + entry / 2)) >> ((entry & 1) * 8) & 0xff
                };
                self.branch(index, offset);
            }
            for word in (index + 3) >> 1..(index + 2 + halves) >> 1 {
                self.mark_word(word);
            }
            return;
        }
    }

    /// Sweeps on from where known code ends.
    fn sweep(&mut self) {
        for _ in 0..MOST_SWEEPS {
            let Some(mut index) = self.open.pop() else { return };
            // Literals and padding.
            while index < HALVES && (self.is_literal(index) || self.half(index) == 0) {
                index += 1;
            }
            if index < HALVES
                && !self.known.contains(index)
                && !self.is_a32(index, 8)
                && self.plausible_run(index)
            {
                self.pending.insert(index);
                self.follow();
            }
        }
    }

    /// Whether three quarters of the words from a halfword on are typical of A32.
    fn is_a32(&self, from: u32, words: u32) -> bool {
        let start = from >> 1;
        let window = ((1 << words) - 1) & !self.blank.window(start);
        let seen = window.count_ones();
        let usual = (self.usual.window(start) & window).count_ones();
        seen > 2 && usual * 4 >= seen * 3
    }

    /// Whether a run of instructions leads to a jump, a literal or known code, and none of
    /// them is one that compilers do not emit.
    fn plausible_run(&self, start: u32) -> bool {
        let mut index = start;
        let mut here = start >> 5;
        let mut stop = self.known.at(here) | self.literals.at(here);
        while index < HALVES {
            if index >> 5 != here {
                here = index >> 5;
                stop = self.known.at(here) | self.literals.at(here);
            }
            if stop >> (index & 31) & 1 == 1 {
                break;
            }
            let half = self.half(index);
            let kind = kind(half);
            let size = if kind & WIDE == 0 { 1 } else { 2 };
            if kind & ODD != 0 && self.is_odd(index, half) {
                return false;
            }
            let ends = kind & FLOW != 0
                && if size == 2 { is_wide_end(self.wide(index)) } else { is_narrow_end(half) };
            index += size;
            if ends {
                return true;
            }
        }
        index > start + 1
    }

    /// Whether it is what compilers do not emit.
    fn is_odd(&self, index: u32, half: u16) -> bool {
        if !is_wide(half) {
            return half == 0 || (half >> 8 == 0xde && trapword::decode_narrow(half).is_none());
        }
        let word = self.wide(index);
        // Absent coprocessors, the second coprocessor space, SIMD structures.
        let odd = match half >> 8 {
            0xec..=0xef => word & 0xc00 != 0x800 && word & 0xe00 != 0xe00,
            0xf9 => half & 0x10 == 0,
            0xfc..=0xff => true,
            _ => false,
        };
        odd && trapword::decode_wide(word).is_none()
    }

    /// Takes what looks sensitive for code if it reads on as code and is not among A32.
    fn seed(&mut self, a32: &crate::a32::Scan<'_>) {
        let suspects = self.suspects.clone();
        let mut tried = 0;
        suspects.for_each(|index| {
            let half = self.half(index);
            let sensitive = if is_wide(half) {
                trapword::encode_wide(self.wide(index)).is_some_and(|_| is_strong(self.wide(index)))
            } else {
                trapword::encode_narrow(half).is_some()
            };
            if sensitive
                && tried < MOST_SWEEPS
                && !a32.covers(index >> 1)
                && !a32.covers((index + 1) >> 1)
                && !self.is_literal(index)
                && !self.known.contains(index)
                && !self.is_a32(index.saturating_sub(8), 9)
                && {
                    tried += 1;
                    self.plausible_run(index)
                }
            {
                self.pending.insert(index);
                self.follow();
            }
        });
    }

    /// Decides about every instruction, and about what may be one.
    pub(crate) fn decide(&self, direction: Direction, found: &mut dyn FnMut(Found)) {
        self.suspects.for_each(|index| self.decide_one(direction, index, found));
    }

    fn decide_one(&self, direction: Direction, index: u32, found: &mut dyn FnMut(Found)) {
        let half = self.half(index);
        if self.is_literal(index) {
            return;
        }
        let offset = crate::low_half(index << 1);
        let reason = self.reason(index);
        if !is_wide(half) {
            let Some((original, replacement)) = narrow_pair(direction, half) else { return };
            found(match reason {
                Some(reason) => Found::Replace(Site {
                    offset,
                    width: Width::Narrow,
                    original: original.into(),
                    replacement: replacement.into(),
                    reason,
                }),
                None => Found::Leave { offset },
            });
            return;
        }
        if index + 1 == HALVES {
            if reason.is_some() && direction == Direction::Trap {
                found(Found::Straddles { offset });
            }
            return;
        }
        let word = self.wide(index);
        let Some((original, replacement)) = wide_pair(direction, word) else { return };
        if is_harmless(original) || (reason.is_none() && self.is_second(index)) {
            return;
        }
        let reason = match reason {
            Some(Reason::Reached) => Some(Reason::Reached),
            None if !self.entered => None,
            _ if is_strong(original) => Some(Reason::Strong),
            _ => None,
        };
        found(match reason {
            Some(reason) => {
                Found::Replace(Site { offset, width: Width::Wide, original, replacement, reason })
            }
            None => Found::Leave { offset },
        });
    }
}

/// What the upper byte of something to replace must allow.
const fn concern(direction: Direction) -> u8 {
    match direction {
        Direction::Trap => SUSPECT,
        Direction::Original => TRAP,
    }
}
/// See [`crate::overlooked`].
pub(crate) fn overlooked(mut next: impl FnMut() -> Option<u16>) -> bool {
    for _ in 0..8 {
        let Some(half) = next() else { return false };
        let (sensitive, ends) = if is_wide(half) {
            let Some(second) = next() else { return false };
            let word = u32::from(half) << 16 | u32::from(second);
            let sensitive = trapword::encode_wide(word).is_some() && !is_harmless(word);
            (sensitive, is_wide_end(word))
        } else {
            (trapword::encode_narrow(half).is_some(), is_narrow_end(half))
        };
        if sensitive || ends {
            return sensitive;
        }
    }
    false
}
