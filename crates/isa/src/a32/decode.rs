//! What a sensitive A32 instruction does.
//!
//! Selects by bits 27:20, the manual's own first level (ARM DDI 0406C, A5.1), so
//! that decoding in a trap costs a few tens of instructions. It must answer exactly
//! for the words of the tables; the tests compare the two.

use crate::op::{Multiple, Offset, Op, Operand, Source, Transfer, Width};
use crate::{bit, coprocessor, mode, nibble};

/// Decodes a sensitive instruction; `None` for the words that are not sensitive.
#[must_use]
#[inline(never)]
pub fn decode(word: u32) -> Option<Op> {
    if nibble(word, 28) == 15 { unconditional(word) } else { conditional(word) }
}

fn conditional(word: u32) -> Option<Op> {
    match word >> 25 & 7 {
        0 => register_form(word),
        1 => immediate_form(word),
        2 | 3 => unprivileged_word(word),
        4 => multiple_with_hat(word),
        6 => (word & 0xe00 == 0xe00).then(|| coprocessor::decode(word)),
        7 => {
            if bit(word, 24) {
                return Some(Op::SupervisorCall(word & 0x00ff_ffff));
            }
            if word & 0xe00 == 0xe00 {
                return Some(coprocessor::decode(word));
            }
            (word & 0x0fe0_0f10 == 0x0ee0_0a10).then(|| coprocessor::decode_float_status(word))
        }
        _ => None,
    }
}

fn unconditional(word: u32) -> Option<Op> {
    match word >> 25 & 7 {
        0 if word & 0x01f1_0020 == 0x0100_0000 => Some(change_state(word)),
        0 if word & 0x01ff_00f0 == 0x0101_0000 => Some(Op::SetEndianness { big: bit(word, 9) }),
        4 => match word >> 20 & 5 {
            4 => {
                Some(Op::StoreReturn { mode: mode(word), multiple: return_state(word).with_rn(13) })
            }
            1 => Some(Op::ReturnFrom(return_state(word))),
            _ => None,
        },
        6 if word & 0xe00 == 0xe00 => Some(coprocessor::decode(word)),
        7 if word & 0x0100_0e00 == 0xe00 => Some(coprocessor::decode(word)),
        _ => None,
    }
}

/// Data processing (register), and the miscellaneous instructions among them.
fn register_form(word: u32) -> Option<Op> {
    if word & 0x90 == 0x90 {
        return unprivileged_extra(word);
    }
    if word & 0x0190_0000 == 0x0100_0000 {
        return miscellaneous(word);
    }
    if word & 0x0010_f000 != 0x0010_f000 {
        return None;
    }
    let (rm, kind) = (nibble(word, 0), nibble(word, 5) & 3);
    let operand = if bit(word, 4) {
        Operand::ShiftedByRegister { rm, kind, rs: nibble(word, 8) }
    } else {
        Operand::Shifted { rm, kind, amount: amount(word) }
    };
    alu_return(word, operand)
}

/// Data processing (immediate), MSR (immediate) and hints.
fn immediate_form(word: u32) -> Option<Op> {
    let immediate = (word & 0xff).rotate_right(word >> 7 & 0x1e);
    if word & 0x01b0_0000 == 0x0120_0000 {
        if word & 0x004f_0000 == 0 {
            return match word & 0xff {
                2 => Some(Op::WaitForEvent),
                3 => Some(Op::WaitForInterrupt),
                _ => None,
            };
        }
        return Some(Op::WriteStatus {
            source: Source::Immediate(immediate),
            fields: nibble(word, 16),
            spsr: bit(word, 22),
        });
    }
    if word & 0x0010_f000 != 0x0010_f000 {
        return None;
    }
    alu_return(word, Operand::Immediate(immediate))
}

/// An ALU operation with S whose destination is pc; comparisons have none.
fn alu_return(word: u32, operand: Operand) -> Option<Op> {
    let opcode = nibble(word, 21);
    (opcode >> 2 != 2).then(|| Op::AluReturn { opcode, rn: nibble(word, 16), operand })
}

fn miscellaneous(word: u32) -> Option<Op> {
    let spsr = bit(word, 22);
    match (word >> 4 & 15, word >> 21 & 3) {
        (0, _) if bit(word, 9) => Some(Op::Undefined), // banked
        (0, 0 | 2) => Some(Op::ReadStatus { rd: nibble(word, 12), spsr }),
        (0, _) => Some(Op::WriteStatus {
            source: Source::Register(nibble(word, 0)),
            fields: nibble(word, 16),
            spsr,
        }),
        (2, 1) | (6, 3) => Some(Op::Undefined), // bxj, eret
        (7, 2) => {
            let [low, high, ..] = (word >> 4 & 0xfff0 | word & 15).to_le_bytes();
            Some(Op::HypervisorCall(u16::from_le_bytes([low, high])))
        }
        (7, 3) => Some(Op::MonitorCall(nibble(word, 0))),
        _ => None,
    }
}

/// LDRT, LDRBT, STRT, STRBT: always post-indexed.
fn unprivileged_word(word: u32) -> Option<Op> {
    let by_register = bit(word, 25);
    if word & 0x0120_0000 != 0x0020_0000 || (by_register && bit(word, 4)) {
        return None;
    }
    let offset = if by_register {
        Offset::Register { rm: nibble(word, 0), kind: nibble(word, 5) & 3, amount: amount(word) }
    } else {
        Offset::Immediate(word & 0xfff)
    };
    let width = if bit(word, 22) { Width::Byte } else { Width::Word };
    Some(Op::Unprivileged(post_indexed(word, width, false, bit(word, 20), offset)))
}

/// LDRHT, STRHT, LDRSBT, LDRSHT: always post-indexed.
fn unprivileged_extra(word: u32) -> Option<Op> {
    if word & 0x0120_0000 != 0x0020_0000 {
        return None;
    }
    let load = bit(word, 20);
    let (width, signed) = match word >> 5 & 3 {
        1 => (Width::Half, false),
        2 if load => (Width::Byte, true),
        3 if load => (Width::Half, true),
        _ => return None,
    };
    Some(Op::Unprivileged(post_indexed(word, width, signed, load, extra_offset(word))))
}

fn post_indexed(word: u32, width: Width, signed: bool, load: bool, offset: Offset) -> Transfer {
    let rt = nibble(word, 12);
    Transfer {
        load,
        width,
        signed,
        rt,
        rt2: rt,
        rn: nibble(word, 16),
        offset,
        add: bit(word, 23),
        index: false,
        writeback: true,
    }
}

/// The split immediate or the register of the extra loads and stores (A5.2.8).
pub(super) const fn extra_offset(word: u32) -> Offset {
    if bit(word, 22) {
        Offset::Immediate(word >> 4 & 0xf0 | word & 15)
    } else {
        Offset::Register { rm: nibble(word, 0), kind: 0, amount: 0 }
    }
}

/// LDM and STM with `^`.
fn multiple_with_hat(word: u32) -> Option<Op> {
    if !bit(word, 22) {
        return None;
    }
    let multiple = Multiple::of(word);
    Some(match (bit(word, 20), bit(word, 15)) {
        (true, true) => Op::LoadReturn(multiple),
        (true, false) => Op::LoadUser(multiple),
        (false, _) => Op::StoreUser(multiple),
    })
}

/// The operand of RFE and SRS.
const fn return_state(word: u32) -> Multiple {
    Multiple::of(word & 0xffff_0000)
}

/// CPS: imod 0b10 clears masks, 0b11 sets them, 0b0x leaves them.
fn change_state(word: u32) -> Op {
    let masks = word & 0x1c0;
    let (set, clear) = match word >> 18 & 3 {
        2 => (0, masks),
        3 => (masks, 0),
        _ => (0, 0),
    };
    Op::ChangeState { set, clear, mode: bit(word, 17).then(|| mode(word)) }
}

/// The constant amount of a shift.
pub(super) const fn amount(word: u32) -> u8 {
    let [low, ..] = (word >> 7).to_le_bytes();
    low & 31
}
