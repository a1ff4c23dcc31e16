//! What T32 encodings are: sensitive, an end of control flow, where branches lead.
//!
//! Of single instructions only; what stands around them is the scan's business.
//!
//! Manual: ARM DDI 0406C, A6.2 (16-bit) and A6.3 (32-bit encodings).

use crate::Direction;
use entresol_isa::trapword;

/// Whether the first halfword leaves open that there is something to replace.
pub(super) fn may_concern(direction: Direction, first: u16) -> bool {
    match direction {
        Direction::Trap => matches!(first >> 8, 0xb6 | 0xbf) || may_be_sensitive(first),
        Direction::Original => matches!(first >> 8, 0xde | 0xec..=0xee),
    }
}

pub(super) fn narrow_pair(direction: Direction, half: u16) -> Option<(u16, u16)> {
    match direction {
        Direction::Trap => trapword::encode_narrow(half).map(|trap| (half, trap)),
        Direction::Original => trapword::decode_narrow(half).map(|original| (original, half)),
    }
}

pub(super) fn wide_pair(direction: Direction, word: u32) -> Option<(u32, u32)> {
    match direction {
        Direction::Trap => trapword::encode_wide(word).map(|trap| (word, trap)),
        Direction::Original => trapword::decode_wide(word).map(|original| (original, word)),
    }
}

/// Whether the first half of a 32-bit instruction leaves open that it is sensitive.
pub(super) fn may_be_sensitive(first: u16) -> bool {
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
pub(super) fn is_strong(word: u32) -> bool {
    let mrs = word & 0xffef_f0ff == 0xf3ef_8000;
    let msr = word & 0xffe0_f0ff == 0xf380_8000 && word & 0xf00 != 0;
    let cps = word & 0xffff_f800 == 0xf3af_8000 && word & 0x700 != 0;
    let wait = word & 0xffff_fffe == 0xf3af_8002;
    let subs = word & 0xffff_ff00 == 0xf3de_8f00;
    let rfe = matches!(word & 0xffd0_ffff, 0xe810_c000 | 0xe990_c000);
    let srs = matches!(word & 0xffdf_ffe0, 0xe80d_c000 | 0xe98d_c000);
    mrs || msr || cps || wait || subs || rfe || srs
}

/// Branches, other instructions that write pc, and what is permanently undefined.
pub(super) fn is_narrow_end(half: u16) -> bool {
    let branch = half & 0xf800 == 0xe000;
    let bx = half & 0xff80 == 0x4700;
    let alu = matches!(half & 0xff87, 0x4687 | 0x4487);
    let pop = half & 0xff00 == 0xbd00;
    let undefined = half >> 8 == 0xde && trapword::decode_narrow(half).is_none();
    branch || bx || alu || pop || undefined
}

/// The same of 32-bit instructions; trap words count as their originals.
pub(super) fn is_wide_end(word: u32) -> bool {
    if matches!(word >> 24, 0xec..=0xee) {
        return trapword::decode_wide(word).is_some_and(is_wide_end);
    }
    let branch = word & 0xf800_d000 == 0xf000_9000;
    let load = word & 0xff70_f000 == 0xf850_f000;
    let multiple = matches!(word & 0xffd0_8000, 0xe890_8000 | 0xe910_8000);
    let table = word & 0xfff0_ffe0 == 0xe8d0_f000;
    let rfe = matches!(word & 0xffd0_0000, 0xe810_0000 | 0xe990_0000);
    let subs_or_bxj = matches!(word & 0xfff0_d000, 0xf3d0_8000 | 0xf3c0_8000);
    branch || load || multiple || table || rfe || subs_or_bxj
}

/// The offset of B T4 and BL, in halfwords.
pub(super) fn long_offset(word: u32) -> u32 {
    let sign = word >> 26 & 1;
    let i1 = 1 ^ (word >> 13 & 1) ^ sign;
    let i2 = 1 ^ (word >> 11 & 1) ^ sign;
    let offset = sign << 23 | i1 << 22 | i2 << 21 | (word >> 16 & 0x3ff) << 11 | word & 0x7ff;
    extend(offset, 24)
}

/// The offset of B T3, in halfwords.
pub(super) fn conditional_offset(word: u32) -> u32 {
    let (sign, j1, j2) = (word >> 26 & 1, word >> 13 & 1, word >> 11 & 1);
    let offset = sign << 19 | j2 << 18 | j1 << 17 | (word >> 16 & 0x3f) << 11 | word & 0x7ff;
    extend(offset, 20)
}

/// Sign-extends the low `bits` bits.
pub(super) fn extend(value: u32, bits: u32) -> u32 {
    let sign = 1 << (bits - 1);
    (value ^ sign).wrapping_sub(sign)
}
