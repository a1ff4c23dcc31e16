//! Which words of a page are A32 instructions to be replaced.
//!
//! Three passes. The first looks at every word once: literals and suspects. The
//! second follows control flow from the entry. The third decides about the suspects.
//! Most words are dismissed by one look-up of bits 27:20, because a kernel's boot
//! scans some millions of words.
//!
//! # What code looks like
//!
//! Nine of ten A32 instructions have the condition "always", one value of sixteen;
//! addresses, small numbers, text and compressed data do not. So a suspect that
//! control flow does not lead to is believed if it has that condition itself and
//! three quarters of its neighbours do.
//!
//! # Invariants
//!
//! Every word is followed at most once, and every suspect looks at sixteen
//! neighbours, so the passes stay linear.

use entresol_isa::trapword;

use crate::bitmap::Bitmap;
use crate::{Direction, Found, Known, Page, Reason, Site, Width, kinds};

const WORDS: u32 = 1024;

/// How many words on each side count as context.
const NEIGHBOURS: u32 = 8;

/// May be sensitive.
const SUSPECT: u8 = 1;
/// May change the program counter, or link to a later word.
const FLOW: u8 = 2;
/// May be a trap word.
const TRAP: u8 = 4;

/// What bits 27:20 allow a word to be.
pub(crate) const fn kinds(top: usize) -> u8 {
    let sensitive = match top >> 4 {
        0 => top & 3 != 0,                   // ALU with S; LDRHT and the like
        2 => top & 1 == 1,                   // ALU with S
        1 => top & 9 == 9 || top & 9 == 0,   // ALU with S; MRS, MSR
        3 => top & 9 == 9 || top & 0xb == 2, // ALU with S; MSR, hints
        4 | 6 => top & 2 == 2,
        8 | 9 => top & 4 == 4,
        _ => false,
    };
    let flow = match top >> 4 {
        4..=9 => top & 1 == 1, // loads
        15 => false,           // SVC
        _ => true,             // ALU, branches, trap words
    };
    let trap = top >> 4 >= 12 && top >> 4 <= 14;
    (if sensitive { SUSPECT } else { 0 })
        | if flow { FLOW } else { 0 }
        | if trap { TRAP } else { 0 }
}

fn kind(word: u32) -> u8 {
    let [low, ..] = (word >> 20).to_le_bytes();
    kinds::of(low)
}

/// Whether a word may change the program counter or link: of data processing and
/// single loads, only those to r14 and r15.
fn may_flow(word: u32) -> bool {
    kind(word) & FLOW != 0 && (word & 0x0800_0000 != 0 || word & 0xe000 == 0xe000)
}

/// What follows a word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The next word.
    Falls,
    /// Nothing: a jump, a return.
    Ends,
}

pub(crate) struct Scan<'a> {
    page: &'a Page,
    /// Words that code loads from.
    literals: Bitmap<32>,
    suspects: Bitmap<32>,
    /// Words without the condition "always".
    unusual: Bitmap<32>,
    reached: Bitmap<32>,
    pending: Bitmap<32>,
}

impl<'a> Scan<'a> {
    /// Finds the code of a page, entered at byte `entry` if that is known.
    pub(crate) fn new(page: &'a Page, entry: Option<u16>, direction: Direction) -> Self {
        let mut scan = Self {
            page,
            literals: Bitmap::new(),
            suspects: Bitmap::new(),
            unusual: Bitmap::new(),
            reached: Bitmap::new(),
            pending: Bitmap::new(),
        };
        scan.survey(match direction {
            Direction::Trap => SUSPECT,
            Direction::Original => TRAP,
        });
        if let Some(entry) = entry {
            scan.pending.insert(u32::from(entry >> 2));
            scan.follow();
        }
        scan
    }

    /// Finds the code of a page of which something is known, by byte offset.
    pub(crate) fn knowing(page: &'a Page, known: impl Fn(u16) -> Known) -> Self {
        let mut scan = Self::new(page, None, Direction::Trap);
        let mut code = Bitmap::<32>::new();
        for index in 0..WORDS {
            match known(crate::low_half(index << 2)) {
                Known::Code => code.insert(index),
                Known::Data => scan.literals.insert(index),
                Known::Nothing => {}
            }
        }
        for block in 0..32 {
            let literals = scan.literals.block(block) & !code.block(block);
            scan.literals.set_block(block, literals);
        }
        scan.pending = code;
        scan.follow();
        scan
    }

    /// Every word that control flow leads to.
    pub(crate) fn each_reached(&self, each: impl FnMut(u32)) {
        self.reached.for_each(each);
    }

    pub(crate) fn is_literal(&self, index: u32) -> bool {
        self.literals.contains(index)
    }

    /// Whether the word is known for what it is: control flow leads there, or code loads it.
    pub(crate) fn covers(&self, index: u32) -> bool {
        self.reached.contains(index) || self.literals.contains(index)
    }

    /// Why the word there is taken for code, apart from its encoding.
    pub(crate) fn reason(&self, index: u32) -> Option<Reason> {
        if self.reached.contains(index) {
            return Some(Reason::Reached);
        }
        let code = self.word(index) >> 28 == 14 && self.is_among_code(index);
        code.then_some(Reason::Context)
    }

    /// Whether three quarters of the words around, literals and padding aside, are
    /// typical of code.
    pub(crate) fn is_among_code(&self, index: u32) -> bool {
        let start = index.saturating_sub(NEIGHBOURS);
        let width = (index + NEIGHBOURS + 1).min(WORDS) - start;
        let window = !(u32::MAX << width) & !self.literals.window(start);
        let (mut seen, mut usual) = (window.count_ones(), window.count_ones());
        let mut unusual = self.unusual.window(start) & window;
        while unusual != 0 {
            let word = self.word(start + unusual.trailing_zeros());
            seen -= u32::from(word == 0);
            usual -= u32::from(!is_typical(word));
            unusual &= unusual - 1;
            // A quarter of the window; bounds what a hostile page can cost.
            if seen - usual > NEIGHBOURS / 2 {
                return false;
            }
        }
        seen > NEIGHBOURS / 2 && usual * 4 >= seen * 3
    }

    fn word(&self, index: u32) -> u32 {
        usize::try_from(index).ok().and_then(|index| self.page.get(index)).copied().unwrap_or(0)
    }

    /// First pass: suspects of the given kind, context, and then literals.
    fn survey(&mut self, suspected: u8) {
        let mut relative = Bitmap::<32>::new();
        for (block, words) in self.page.chunks_exact(32).enumerate() {
            let (mut suspects, mut unusual, mut to_pc) = (0, 0, 0);
            let mut place = 1_u32;
            for &word in words {
                let suspect = kind(word) & suspected != 0;
                let relative = word & 0x000f_0000 == 0x000f_0000;
                // Three of four words leave here.
                if !suspect && !relative && word >> 28 == 14 {
                    place <<= 1;
                    continue;
                }
                if word >> 28 == 15 || (suspect && !is_plain_alu(word)) {
                    suspects |= place;
                }
                if word >> 28 != 14 {
                    unusual |= place;
                }
                if relative {
                    to_pc |= place;
                }
                place <<= 1;
            }
            self.suspects.set_block(block, suspects);
            self.unusual.set_block(block, unusual);
            relative.set_block(block, to_pc);
        }
        relative.for_each(|index| {
            if !self.literals.contains(index) {
                self.note_literal(index, self.word(index));
            }
        });
    }

    /// Marks what a pc-relative instruction loads (ARM DDI 0406C, A5.2.8, A5.3, A7.6).
    fn note_literal(&mut self, index: u32, word: u32) {
        if word & 0x0fff_fff0 == 0x079f_f100 {
            self.mark_table(index, word);
            return;
        }
        let up = word >> 23 & 1 == 1;
        // A word of data that looks like a load must not protect code. Most loads are
        // unconditional and from a pool behind; the others need a context.
        if word >> 28 == 15 || ((!up || word >> 28 != 14) && !self.is_among_code(index)) {
            return;
        }
        let split = word >> 4 & 0xf0 | word & 15;
        if word & 0x0f3f_0000 == 0x051f_0000 {
            self.mark_literal(index, up, word & 0xfff, 1);
        } else if word & 0x0f7f_0090 == 0x015f_0090 && word & 0x60 != 0 {
            self.mark_literal(index, up, split, 1);
        } else if word & 0x0f7f_00f0 == 0x014f_00d0 {
            self.mark_literal(index, up, split, 2);
        } else if word & 0x0f3f_0e00 == 0x0d1f_0a00 {
            self.mark_literal(index, up, (word & 0xff) << 2, 1 + (word >> 8 & 1));
        }
    }

    fn mark_literal(&mut self, index: u32, up: bool, offset: u32, words: u32) {
        let pc = (index + 2) << 2;
        let address = if up { pc.wrapping_add(offset) } else { pc.wrapping_sub(offset) };
        let first = address >> 2;
        for word in first..first.saturating_add(words) {
            self.literals.insert(word);
        }
    }

    /// The table of `ldr pc, [pc, rm, lsl #2]` stands two words on; its length is in
    /// the comparison before.
    fn mark_table(&mut self, index: u32, word: u32) {
        for back in 1..=4 {
            let compare = self.word(index.wrapping_sub(back));
            if compare & 0x0fff_ff00 == 0x0350_0000 | (word & 15) << 16 {
                let lower = word >> 28 == 3;
                let entries = (compare & 0xff) + u32::from(!lower);
                for entry in 0..entries {
                    self.literals.insert(index + 2 + entry);
                }
                return;
            }
        }
    }

    /// Second pass: follows control flow from everything pending.
    fn follow(&mut self) {
        while let Some(mut index) = self.pending.pop() {
            while index < WORDS && self.follow_block(index) == Next::Falls {
                index = (index | 31) + 1;
            }
        }
    }

    /// Follows the words from `start` to the end of its block of 32.
    fn follow_block(&mut self, start: u32) -> Next {
        let Ok(first) = usize::try_from(start) else { return Next::Ends };
        let words = self.page.get(first..(first | 31) + 1).unwrap_or(&[]);
        let known = self.reached.block(first >> 5);
        let stop = known | self.literals.block(first >> 5);
        let mut reached = known;
        let mut next = Next::Falls;
        let mut place = 1_u32 << (start & 31);
        for (index, &word) in (start..).zip(words) {
            // Padding ends it: no compiler emits `andeq r0, r0, r0`.
            if stop & place != 0 || word == 0 {
                next = Next::Ends;
                break;
            }
            reached |= place;
            if may_flow(word) && self.flow(index, word) == Next::Ends {
                next = Next::Ends;
                break;
            }
            place <<= 1;
        }
        self.reached.set_block(first >> 5, reached);
        next
    }

    /// Notes where a word leads besides the next word; says whether it leads there.
    fn flow(&mut self, index: u32, word: u32) -> Next {
        let condition = word >> 28;
        if condition == 15 {
            // RFE returns; BLX, CPS and the rest do not.
            let original = trapword::decode_a32(word).unwrap_or(word);
            return ends(original & 0xfe50_0000 == 0xf810_0000);
        }
        match word >> 25 & 7 {
            5 => {
                let target = index.wrapping_add(2).wrapping_add(sign_extend(word));
                if target < WORDS {
                    self.pending.insert(target);
                }
                ends(condition == 14 && word >> 24 & 1 == 0)
            }
            0 | 1 => self.flow_of_alu(index, word),
            _ => ends(condition == 14 && writes_pc(word)),
        }
    }

    fn flow_of_alu(&mut self, index: u32, word: u32) -> Next {
        let destination = word >> 12 & 15;
        if destination < 14 {
            return Next::Falls;
        }
        if destination == 14 {
            // `mov lr, pc` and `adr lr, x` prepare a return.
            let target = if word & 0x0fff_ffff == 0x01a0_e00f {
                Some(index + 2)
            } else {
                address(index, word)
            };
            if let Some(target) = target {
                self.pending.insert(target);
            }
            return Next::Falls;
        }
        // `add pc, pc, rm, lsl #2` jumps into a row of branches.
        if word & 0x0fff_fff0 == 0x008f_f100 {
            let mut entry = index + 2;
            while self.word(entry) >> 24 == 0xea {
                self.pending.insert(entry);
                entry += 1;
            }
        }
        ends(word >> 28 == 14 && writes_pc(word))
    }

    /// Third pass: every suspect that is not a literal.
    pub(crate) fn decide(&self, direction: Direction, found: &mut dyn FnMut(Found)) {
        self.suspects.for_each(|index| {
            if self.literals.contains(index) {
                return;
            }
            let word = self.word(index);
            let pair = match direction {
                Direction::Trap => trapword::encode_a32(word).map(|trap| (word, trap)),
                Direction::Original => trapword::decode_a32(word).map(|original| (original, word)),
            };
            let Some((original, replacement)) = pair else { return };
            if is_harmless(original) {
                return;
            }
            let reason = match self.reason(index) {
                Some(Reason::Reached) => Some(Reason::Reached),
                _ if is_strong(original) => Some(Reason::Strong),
                reason => reason,
            };
            let offset = crate::low_half(index << 2);
            found(match reason {
                Some(reason) => Found::Replace(Site {
                    offset,
                    width: Width::Word,
                    original,
                    replacement,
                    reason,
                }),
                None => Found::Leave { offset },
            });
        });
    }
}

/// Words without the condition "always" that are common in code and rare elsewhere:
/// short conditional branches, barriers.
fn is_typical(word: u32) -> bool {
    let branch = word & 0x0f00_0000 == 0x0a00_0000 && matches!(word >> 12 & 0xfff, 0 | 0xfff);
    branch || word & 0xffff_ff00 == 0xf57f_f000
}

/// Writes of flags and GE bits only: right as they are, in any mode.
pub(crate) fn is_harmless(word: u32) -> bool {
    word & 0x0db0_0000 == 0x0120_0000
        && word & 0x0043_0000 == 0
        && (word & 0x0200_0000 != 0 || word & 0xf0 == 0)
        && word >> 28 != 15
        && word & 0x000c_0000 != 0
}

/// Data processing that does not write pc: no suspect, however similar.
fn is_plain_alu(word: u32) -> bool {
    word & 0x0c00_0000 == 0
        && word & 0x0190_0000 != 0x0100_0000
        && word & 0xf000 != 0xf000
        && word & 0x0200_0090 != 0x90
}

/// Encodings, with all bits that should be zero or one, that data does not imitate.
fn is_strong(word: u32) -> bool {
    if word >> 28 == 15 {
        let cps = word & 0xfff1_fe20 == 0xf100_0000 && is_useful_cps(word);
        let setend = word & 0xffff_fdff == 0xf101_0000;
        let rfe = word & 0xfe50_ffff == 0xf810_0a00;
        let srs = word & 0xfe5f_ffe0 == 0xf84d_0500;
        return cps || setend || rfe || srs;
    }
    let mrs = word & 0x0fbf_0fff == 0x010f_0000;
    let wait = word & 0x0fff_fffe == 0x0320_f002;
    let movs = word & 0x0fff_ffff == 0x01b0_f00e;
    // These have fewer fixed bits and need the condition to be always.
    let msr = word & 0xffb0_fff0 == 0xe120_f000 && word & 0x000f_0000 != 0;
    let msr_mode = word & 0xffff_ff10 == 0xe321_f010;
    let subs = word & 0xffff_ff00 == 0xe25e_f000;
    mrs || msr || msr_mode || wait || movs || subs
}

/// Changes something, and has no bits set that the change does not use.
fn is_useful_cps(word: u32) -> bool {
    let (masks, changes_mode) = (word & 0x1c0, word & 0x2_0000 != 0);
    let mode_fits = changes_mode == (word & 0x10 != 0) && (changes_mode || word & 0x1f == 0);
    match word >> 18 & 3 {
        0 => changes_mode && masks == 0 && mode_fits,
        2 | 3 => masks != 0 && mode_fits,
        _ => false,
    }
}

/// Whether a word other than B and BL writes pc. Trap words count as their originals.
fn writes_pc(word: u32) -> bool {
    match word >> 25 & 7 {
        0 => {
            matches!(word & 0x0fff_fff0, 0x012f_ff10 | 0x012f_ff20) // bx, bxj
                || (word & 0x90 != 0x90 && is_alu_to_pc(word))
        }
        1 => is_alu_to_pc(word),
        2 => word & 0x0010_f000 == 0x0010_f000,
        3 => word & 0x0010_f010 == 0x0010_f000,
        4 => word & 0x0010_8000 == 0x0010_8000,
        6 | 7 => trapword::decode_a32(word).is_some_and(|original| {
            matches!(original >> 25 & 7, 0 | 1) && is_alu_to_pc(original)
                || original & 0x0e50_8000 == 0x0850_8000
        }),
        _ => false,
    }
}

/// Data processing with destination pc; comparisons and the miscellaneous space are not.
fn is_alu_to_pc(word: u32) -> bool {
    word & 0xf000 == 0xf000 && word & 0x0180_0000 != 0x0100_0000
}

/// The word that `add rd, pc, #imm` or `sub rd, pc, #imm` addresses.
fn address(index: u32, word: u32) -> Option<u32> {
    let immediate = (word & 0xff).rotate_right(word >> 7 & 0x1e);
    let pc = (index + 2) << 2;
    let target = match word & 0x0fff_0000 {
        0x028f_0000 => pc.wrapping_add(immediate),
        0x024f_0000 => pc.wrapping_sub(immediate),
        _ => return None,
    };
    Some(target >> 2)
}

/// The signed 24-bit offset of a branch, in words.
fn sign_extend(word: u32) -> u32 {
    let offset = word & 0x00ff_ffff;
    if offset & 0x0080_0000 == 0 { offset } else { offset | 0xff00_0000 }
}

fn ends(yes: bool) -> Next {
    if yes { Next::Ends } else { Next::Falls }
}
