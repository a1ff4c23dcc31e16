//! Which memory a T32 load or store accesses, for emulated devices.
//!
//! Floating-point and SIMD transfers and table branches are not described
//! (ARM DDI 0406C, A6.2.4, A6.3.5 to A6.3.10).

use crate::op::{Access, Multiple, Offset, Transfer, Width};
use crate::{bit, nibble};

/// Describes a 16-bit load or store; `None` for every other instruction.
#[must_use]
pub fn access_narrow(half: u16) -> Option<Access> {
    let word = u32::from(half);
    let low = |shift| nibble(word, shift) & 7;
    let imm5 = word >> 6 & 31;
    let imm8 = word & 0xff;
    // What most are: `ldr rt, [rn, #imm5]` and `str`.
    let load = bit(word, 11);
    let plain = transfer(load, Width::Word, false, low(0), low(3), Offset::Immediate(imm5 << 2));
    let relative =
        |rn| transfer(load, Width::Word, false, low(8), rn, Offset::Immediate(imm8 << 2));
    Some(Access::Transfer(match word >> 11 {
        0b0_1001 => relative(15),
        0b0_1010 | 0b0_1011 => {
            let (load, width, signed) = match word >> 9 & 7 {
                0 => (false, Width::Word, false),
                1 => (false, Width::Half, false),
                2 => (false, Width::Byte, false),
                3 => (true, Width::Byte, true),
                4 => (true, Width::Word, false),
                5 => (true, Width::Half, false),
                6 => (true, Width::Byte, false),
                _ => (true, Width::Half, true),
            };
            let offset = Offset::Register { rm: low(6), kind: 0, amount: 0 };
            Transfer { load, width, signed, offset, ..plain }
        }
        0b0_1100 | 0b0_1101 => plain,
        0b0_1110 | 0b0_1111 => {
            Transfer { width: Width::Byte, offset: Offset::Immediate(imm5), ..plain }
        }
        0b1_0000 | 0b1_0001 => {
            Transfer { width: Width::Half, offset: Offset::Immediate(imm5 << 1), ..plain }
        }
        0b1_0010 | 0b1_0011 => relative(13),
        _ => return multiple_narrow(word),
    }))
}

fn multiple_narrow(word: u32) -> Option<Access> {
    let imm8 = word & 0xff;
    let rn = nibble(word, 8) & 7;
    let (load, rn, list, before, writeback) = match word >> 11 {
        // PUSH with lr, POP with pc.
        0b1_0110 if word & 0x0600 == 0x0400 => (false, 13, imm8 | (word & 0x100) << 6, true, true),
        0b1_0111 if word & 0x0600 == 0x0400 => (true, 13, imm8 | (word & 0x100) << 7, false, true),
        0b1_1000 => (false, rn, imm8, false, true),
        0b1_1001 => (true, rn, imm8, false, word >> rn & 1 == 0),
        _ => return None,
    };
    let multiple = Multiple::new().with_rn(rn).with_list(crate::half(list)).with_before(before);
    let multiple = multiple.with_up(!before).with_writeback(writeback);
    Some(Access::Multiple { load, multiple })
}

/// Describes a 32-bit load or store (`first << 16 | second`); `None` for every other
/// instruction.
#[must_use]
pub fn access_wide(word: u32) -> Option<Access> {
    match word >> 25 {
        0b111_0100 if bit(word, 22) => dual_or_exclusive(word),
        0b111_0100 => load_or_store_multiple(word),
        0b111_1100 => single(word),
        _ => None,
    }
}

fn load_or_store_multiple(word: u32) -> Option<Access> {
    let (before, up) = (bit(word, 24), bit(word, 23));
    if before == up {
        return None; // RFE, SRS
    }
    Some(Access::Multiple { load: bit(word, 20), multiple: Multiple::of(word) })
}

fn dual_or_exclusive(word: u32) -> Option<Access> {
    let (index, writeback) = (bit(word, 24), bit(word, 21));
    if !index && !writeback {
        let table_branch = word & 0x00f0_00e0 == 0x00d0_0000;
        return (!table_branch).then_some(Access::Exclusive);
    }
    Some(Access::Transfer(Transfer {
        load: bit(word, 20),
        width: Width::Double,
        signed: false,
        rt: nibble(word, 12),
        rt2: nibble(word, 8),
        rn: nibble(word, 16),
        offset: Offset::Immediate((word & 0xff) << 2),
        add: bit(word, 23),
        index,
        writeback,
    }))
}

fn single(word: u32) -> Option<Access> {
    let (signed, load) = (bit(word, 24), bit(word, 20));
    let (rt, rn) = (nibble(word, 12), nibble(word, 16));
    let width = match word >> 21 & 3 {
        0 => Width::Byte,
        1 => Width::Half,
        2 if !signed => Width::Word,
        _ => return None,
    };
    // Signed stores are SIMD; a narrow load to r15 is a preload hint.
    let preload = load && rt == 15 && width != Width::Word;
    if preload || (!load && (signed || rn == 15)) {
        return None;
    }
    let plain = |offset, add| Transfer { add, ..transfer(load, width, signed, rt, rn, offset) };
    let transfer = if rn == 15 {
        plain(Offset::Immediate(word & 0xfff), bit(word, 23))
    } else if bit(word, 23) {
        plain(Offset::Immediate(word & 0xfff), true)
    } else if bit(word, 11) {
        indexed(word, plain(Offset::Immediate(word & 0xff), true))?
    } else if word & 0xfc0 == 0 {
        let amount = nibble(word, 4) & 3;
        plain(Offset::Register { rm: nibble(word, 0), kind: 0, amount }, true)
    } else {
        return None;
    };
    Some(Access::Transfer(transfer))
}

/// The forms with P, U and W in bits 10:8; P and U without W is the unprivileged one.
fn indexed(word: u32, base: Transfer) -> Option<Transfer> {
    let (index, writeback) = (bit(word, 10), bit(word, 8));
    (index || writeback).then_some(Transfer { add: bit(word, 9), index, writeback, ..base })
}

fn transfer(load: bool, width: Width, signed: bool, rt: u8, rn: u8, offset: Offset) -> Transfer {
    Transfer {
        load,
        width,
        signed,
        rt,
        rt2: rt,
        rn,
        offset,
        add: true,
        index: true,
        writeback: false,
    }
}
