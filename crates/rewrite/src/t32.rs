//! Which halfwords of a page are T32 instructions to be replaced.
//!
//! T32 has no fixed boundaries: a halfword means something only once it is known
//! where the instruction before it ended. So control flow comes first, then linear
//! sweeps from where known code ends, and only 32-bit encodings with nearly all bits
//! fixed are believed where neither leads.
//!
//! # Invariants
//!
//! Every halfword is followed at most once as reached and once as swept. The last
//! instruction of a page may continue in the next one; it is reported, never split.

use entresol_isa::{t32::is_wide, trapword};

use crate::bitmap::Bitmap;
use crate::{Direction, Found, Page, Reason, Site, Width};

const HALVES: u32 = 2048;

pub(crate) struct Scan<'a> {
    page: &'a Page,
    /// Words that code loads from, and branch tables.
    literals: Bitmap<32>,
    /// First halfwords of instructions.
    reached: Bitmap<64>,
    swept: Bitmap<64>,
    pending: Bitmap<64>,
}

impl<'a> Scan<'a> {
    /// Finds the code of a page, entered at byte `entry` if that is known.
    pub(crate) fn new(page: &'a Page, entry: Option<u16>) -> Self {
        let mut scan = Self {
            page,
            literals: Bitmap::new(),
            reached: Bitmap::new(),
            swept: Bitmap::new(),
            pending: Bitmap::new(),
        };
        if let Some(entry) = entry {
            scan.pending.insert(u32::from(entry >> 1));
            scan.follow(Reason::Reached);
        }
        scan.sweep();
        scan
    }

    pub(crate) fn is_literal(&self, index: u32) -> bool {
        self.literals.contains(index >> 1)
    }

    /// Why an instruction is taken to begin there, apart from its encoding.
    pub(crate) fn reason(&self, index: u32) -> Option<Reason> {
        if self.reached.contains(index) {
            return Some(Reason::Reached);
        }
        self.swept.contains(index).then_some(Reason::Context)
    }

    pub(crate) fn half(&self, index: u32) -> u16 {
        let word = usize::try_from(index >> 1).ok().and_then(|index| self.page.get(index));
        crate::low_half(word.copied().unwrap_or(0) >> ((index & 1) * 16))
    }

    pub(crate) fn wide(&self, index: u32) -> u32 {
        u32::from(self.half(index)) << 16 | u32::from(self.half(index + 1))
    }

    /// Whether the halfword is the second of a known instruction.
    fn is_second(&self, index: u32) -> bool {
        index > 0 && self.reason(index - 1).is_some() && is_wide(self.half(index - 1))
    }

    /// Follows control flow from everything pending.
    fn follow(&mut self, reason: Reason) {
        while let Some(start) = self.pending.pop() {
            let mut index = start;
            // Instructions left in an IT block: a jump there is conditional.
            let mut block = 0_u32;
            while index < HALVES
                && !self.is_literal(index)
                && !self.reached.contains(index)
                && (reason == Reason::Reached || !self.swept.contains(index))
            {
                match reason {
                    Reason::Reached => self.reached.insert(index),
                    _ => self.swept.insert(index),
                }
                let half = self.half(index);
                let (ends, size) = if is_wide(half) {
                    if index + 1 == HALVES {
                        break;
                    }
                    (self.flow_wide(index, self.wide(index)), 2)
                } else {
                    (self.flow_narrow(index, half), 1)
                };
                if ends && block == 0 {
                    break;
                }
                block = block.saturating_sub(1);
                if half & 0xff00 == 0xbf00 && half & 15 != 0 {
                    block = 4 - (half & 15).trailing_zeros();
                }
                index += size;
            }
        }
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
        if target < HALVES {
            self.pending.insert(target);
        }
    }

    fn mark_literal(&mut self, index: u32, up: bool, offset: u32, words: u32) {
        let pc = ((index + 2) << 1) & !3;
        let address = if up { pc.wrapping_add(offset) } else { pc.wrapping_sub(offset) };
        for word in address >> 2..(address >> 2).saturating_add(words) {
            self.literals.insert(word);
        }
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
                self.literals.insert(word);
            }
            return;
        }
    }

    /// Sweeps on from where known code ends.
    fn sweep(&mut self) {
        let mut open = false;
        let mut index = 0;
        while index < HALVES {
            let half = self.half(index);
            if self.reason(index).is_some() {
                let (end, size) = if is_wide(half) {
                    (is_wide_end(self.wide(index)), 2)
                } else {
                    (is_narrow_end(half), 1)
                };
                open = end || self.is_literal(index + size);
                index += size;
            } else if !open || half == 0 || self.is_literal(index) {
                index += 1;
            } else {
                match self.plausible_run(index) {
                    Ok(end) => {
                        self.pending.insert(index);
                        self.follow(Reason::Context);
                        index = end;
                    }
                    Err(end) => {
                        open = false;
                        index = end;
                    }
                }
            }
        }
    }

    /// The end (exclusive) of a run of instructions to a jump, a literal or known code,
    /// if none of them is one that compilers do not emit; else where it stopped.
    fn plausible_run(&self, start: u32) -> Result<u32, u32> {
        let mut index = start;
        while index < HALVES && !self.is_literal(index) && self.reason(index).is_none() {
            let half = self.half(index);
            let (end, size) = if is_wide(half) {
                let word = self.wide(index);
                // Absent coprocessors, the second coprocessor space, SIMD structures.
                let odd = match half >> 8 {
                    0xec..=0xef => word & 0xc00 != 0x800 && word & 0xe00 != 0xe00,
                    0xf9 => half & 0x10 == 0,
                    0xfc..=0xff => true,
                    _ => false,
                };
                if odd && trapword::decode_wide(word).is_none() {
                    return Err(index + 1);
                }
                (is_wide_end(word), 2)
            } else {
                if half == 0 || (half >> 8 == 0xde && trapword::decode_narrow(half).is_none()) {
                    return Err(index + 1);
                }
                (is_narrow_end(half), 1)
            };
            index += size;
            if end {
                return Ok(index);
            }
        }
        if index > start + 1 { Ok(index) } else { Err(index) }
    }

    /// Decides about every instruction, and about what may be one.
    pub(crate) fn decide(&self, direction: Direction, mut found: impl FnMut(Found)) {
        for index in 0..HALVES {
            let half = self.half(index);
            if !may_concern(direction, half) || self.is_literal(index) {
                continue;
            }
            let offset = crate::low_half(index << 1);
            let reason = self.reason(index);
            if !is_wide(half) {
                let Some((original, replacement)) = narrow_pair(direction, half) else { continue };
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
                continue;
            }
            if index + 1 == HALVES {
                if reason.is_some() && direction == Direction::Trap {
                    found(Found::Straddles { offset });
                }
                continue;
            }
            let word = self.wide(index);
            let Some((original, replacement)) = wide_pair(direction, word) else { continue };
            if is_harmless(original) || (reason.is_none() && self.is_second(index)) {
                continue;
            }
            let reason = match reason {
                Some(Reason::Reached) => Some(Reason::Reached),
                _ if is_strong(original) => Some(Reason::Strong),
                _ => None,
            };
            found(match reason {
                Some(reason) => Found::Replace(Site {
                    offset,
                    width: Width::Wide,
                    original,
                    replacement,
                    reason,
                }),
                None => Found::Leave { offset },
            });
        }
    }
}

/// Whether the first halfword leaves open that there is something to replace.
fn may_concern(direction: Direction, first: u16) -> bool {
    match direction {
        Direction::Trap => matches!(first >> 8, 0xb6 | 0xbf) || may_be_sensitive(first),
        Direction::Original => matches!(first >> 8, 0xde | 0xec..=0xee),
    }
}

fn narrow_pair(direction: Direction, half: u16) -> Option<(u16, u16)> {
    match direction {
        Direction::Trap => trapword::encode_narrow(half).map(|trap| (half, trap)),
        Direction::Original => trapword::decode_narrow(half).map(|original| (original, half)),
    }
}

fn wide_pair(direction: Direction, word: u32) -> Option<(u32, u32)> {
    match direction {
        Direction::Trap => trapword::encode_wide(word).map(|trap| (word, trap)),
        Direction::Original => trapword::decode_wide(word).map(|original| (original, word)),
    }
}

/// Whether the first half of a 32-bit instruction leaves open that it is sensitive.
fn may_be_sensitive(first: u16) -> bool {
    let system = first & 0xff80 == 0xf380;
    let return_state = first & 0xfe40 == 0xe800 && first >> 8 & 1 == first >> 7 & 1;
    let unprivileged = first & 0xfe80 == 0xf800 && first & 15 != 15;
    system || return_state || unprivileged
}

/// Writes of flags and GE bits only: right as they are, in any mode.
pub(crate) fn is_harmless(word: u32) -> bool {
    word & 0xfff0_d020 == 0xf380_8000 && word & 0x300 == 0 && word & 0xc00 != 0
}

/// Encodings, with all bits that should be zero or one, that data does not imitate.
fn is_strong(word: u32) -> bool {
    let mrs = word & 0xffef_f0ff == 0xf3ef_8000;
    let msr = word & 0xffe0_f0ff == 0xf380_8000 && word & 0xf00 != 0;
    let cps = word & 0xffff_f800 == 0xf3af_8000 && word & 0x700 != 0;
    let wait = word & 0xffff_fffe == 0xf3af_8002;
    let subs = word & 0xffff_ff00 == 0xf3de_8f00;
    let rfe = matches!(word & 0xffd0_ffff, 0xe810_c000 | 0xe990_c000);
    let srs = matches!(word & 0xffdf_ffe0, 0xe80d_c000 | 0xe98d_c000);
    mrs || msr || cps || wait || subs || rfe || srs
}

/// Branches, and instructions other than branches that write pc.
fn is_narrow_end(half: u16) -> bool {
    let branch = half & 0xf800 == 0xe000;
    let bx = half & 0xff80 == 0x4700;
    let alu = matches!(half & 0xff87, 0x4687 | 0x4487);
    let pop = half & 0xff00 == 0xbd00;
    branch || bx || alu || pop
}

/// The same of 32-bit instructions; trap words count as their originals.
fn is_wide_end(word: u32) -> bool {
    let word = trapword::decode_wide(word).unwrap_or(word);
    let branch = word & 0xf800_d000 == 0xf000_9000;
    let load = word & 0xff70_f000 == 0xf850_f000;
    let multiple = matches!(word & 0xffd0_8000, 0xe890_8000 | 0xe910_8000);
    let table = word & 0xfff0_ffe0 == 0xe8d0_f000;
    let rfe = matches!(word & 0xffd0_0000, 0xe810_0000 | 0xe990_0000);
    let subs_or_bxj = matches!(word & 0xfff0_d000, 0xf3d0_8000 | 0xf3c0_8000);
    branch || load || multiple || table || rfe || subs_or_bxj
}

/// The offset of B T4 and BL, in halfwords.
fn long_offset(word: u32) -> u32 {
    let sign = word >> 26 & 1;
    let i1 = 1 ^ (word >> 13 & 1) ^ sign;
    let i2 = 1 ^ (word >> 11 & 1) ^ sign;
    let offset = sign << 23 | i1 << 22 | i2 << 21 | (word >> 16 & 0x3ff) << 11 | word & 0x7ff;
    extend(offset, 24)
}

/// The offset of B T3, in halfwords.
fn conditional_offset(word: u32) -> u32 {
    let (sign, j1, j2) = (word >> 26 & 1, word >> 13 & 1, word >> 11 & 1);
    let offset = sign << 19 | j2 << 18 | j1 << 17 | (word >> 16 & 0x3f) << 11 | word & 0x7ff;
    extend(offset, 20)
}

/// Sign-extends the low `bits` bits.
fn extend(value: u32, bits: u32) -> u32 {
    let sign = 1 << (bits - 1);
    (value ^ sign).wrapping_sub(sign)
}
