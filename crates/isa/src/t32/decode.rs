//! What a sensitive T32 instruction does.
//!
//! Selects by the manual's own groups (ARM DDI 0406C, A6.3) rather than by the
//! tables, for speed. Conditions come from the IT state, not from the encoding.

use crate::op::{Multiple, Offset, Op, Operand, Source, Transfer, Width};
use crate::{bit, coprocessor, mode, nibble};

/// Decodes a sensitive 16-bit instruction; `None` for those that are not sensitive.
#[must_use]
pub fn decode_narrow(half: u16) -> Option<Op> {
    let word = u32::from(half);
    match word >> 8 {
        0xb6 => match word >> 4 & 15 {
            5 if !bit(word, 2) && word & 3 == 0 => Some(Op::SetEndianness { big: bit(word, 3) }),
            _ => None,
        },
        0xbf => match word & 0xff {
            0x20 => Some(Op::WaitForEvent),
            0x30 => Some(Op::WaitForInterrupt),
            _ => None,
        },
        0xdf => Some(Op::SupervisorCall(word & 0xff)),
        _ => None,
    }
    .or_else(|| change_state_narrow(word))
}

/// Decodes a sensitive 32-bit instruction (`first << 16 | second`); `None` for
/// those that are not sensitive.
#[must_use]
pub fn decode_wide(word: u32) -> Option<Op> {
    match word >> 25 {
        0b111_0100 => return_state(word),
        0b111_1001 => system(word),
        0b111_1011 => call(word),
        0b111_1100 => unprivileged(word),
        0b111_0110 | 0b111_1110 => (word & 0xe00 == 0xe00).then(|| coprocessor::decode(word)),
        0b111_0111 | 0b111_1111 => {
            if word & 0x0100_0e00 == 0xe00 {
                return Some(coprocessor::decode(word));
            }
            (word & 0xffe0_0f10 == 0xeee0_0a10).then(|| coprocessor::decode_float_status(word))
        }
        _ => None,
    }
}

fn change_state_narrow(word: u32) -> Option<Op> {
    if word & 0xffe8 != 0xb660 {
        return None;
    }
    let masks = (word & 7) << 6;
    let (set, clear) = if bit(word, 4) { (masks, 0) } else { (0, masks) };
    Some(Op::ChangeState { set, clear, mode: None })
}

/// RFE and SRS: decrement before (0b00) or increment after (0b11) in bits 24:23.
fn return_state(word: u32) -> Option<Op> {
    let up = bit(word, 23);
    if bit(word, 22) || bit(word, 24) != up {
        return None;
    }
    let multiple = Multiple::of(word & 0xffff_0000).with_before(!up);
    Some(if bit(word, 20) {
        Op::ReturnFrom(multiple)
    } else {
        Op::StoreReturn { mode: mode(word), multiple: multiple.with_rn(13) }
    })
}

/// Status registers, CPS, hints and exception return (A6.3.4).
fn system(word: u32) -> Option<Op> {
    if word & 0x0180_d000 != 0x0180_8000 {
        return None;
    }
    let spsr = bit(word, 20);
    match word >> 20 & 7 {
        0 | 1 | 6 | 7 if bit(word, 5) => Some(Op::Undefined), // banked
        0 | 1 => Some(Op::WriteStatus {
            source: Source::Register(nibble(word, 16)),
            fields: nibble(word, 8),
            spsr,
        }),
        6 | 7 => Some(Op::ReadStatus { rd: nibble(word, 8), spsr }),
        2 => hint_or_change_state(word),
        4 => Some(Op::Undefined), // bxj
        // SUBS PC, LR, #imm8: opcode 2 is SUB, lr is implied.
        5 => Some(Op::AluReturn { opcode: 2, rn: 14, operand: Operand::Immediate(word & 0xff) }),
        _ => None,
    }
}

fn hint_or_change_state(word: u32) -> Option<Op> {
    match word & 0x7ff {
        2 => return Some(Op::WaitForEvent),
        3 => return Some(Op::WaitForInterrupt),
        _ => {}
    }
    let masks = word << 1 & 0x1c0;
    let (set, clear) = match word >> 9 & 3 {
        2 => (0, masks),
        3 => (masks, 0),
        _ if bit(word, 8) => (0, 0),
        _ => return None,
    };
    Some(Op::ChangeState { set, clear, mode: bit(word, 8).then(|| mode(word)) })
}

fn call(word: u32) -> Option<Op> {
    match word & 0x01f0_f000 {
        0x01e0_8000 => {
            let [low, high, ..] = (word >> 4 & 0xf000 | word & 0xfff).to_le_bytes();
            Some(Op::HypervisorCall(u16::from_le_bytes([low, high])))
        }
        0x01f0_8000 => Some(Op::MonitorCall(nibble(word, 16))),
        _ => None,
    }
}

/// LDRT, STRBT and the like: always base plus an immediate (A6.3.6 to A6.3.10).
fn unprivileged(word: u32) -> Option<Op> {
    let (rt, rn) = (nibble(word, 12), nibble(word, 16));
    if word & 0x0080_0f00 != 0x0e00 || rn == 15 {
        return None;
    }
    let (signed, load) = (bit(word, 24), bit(word, 20));
    let width = match word >> 21 & 3 {
        0 => Width::Byte,
        1 => Width::Half,
        2 if !signed => Width::Word,
        _ => return None,
    };
    if signed && !load {
        return None;
    }
    Some(Op::Unprivileged(Transfer {
        load,
        width,
        signed,
        rt,
        rt2: rt,
        rn,
        offset: Offset::Immediate(word & 0xff),
        add: true,
        index: true,
        writeback: false,
    }))
}
