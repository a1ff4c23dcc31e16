//! Which memory an A32 load or store accesses, for emulated devices.
//!
//! Floating-point and SIMD transfers are not described: nothing drives a device
//! with them. LDM and STM with `^` are sensitive and belong to `decode`
//! (ARM DDI 0406C, A5.2.8 to A5.3 and A5.5).

use super::decode::{amount, extra_offset};
use crate::op::{Access, Multiple, Offset, Transfer, Width};
use crate::{bit, nibble};

/// Describes a load or store; `None` for every other instruction, and for the
/// forms the architecture calls unpredictable in their registers.
#[must_use]
pub fn access(word: u32) -> Option<Access> {
    if word >> 28 == 15 {
        return None;
    }
    Some(match word >> 25 & 7 {
        0 => return extra(word),
        2 => single(word, Offset::Immediate(word & 0xfff)),
        3 if !bit(word, 4) => single(
            word,
            Offset::Register {
                rm: nibble(word, 0),
                kind: nibble(word, 5) & 3,
                amount: amount(word),
            },
        ),
        4 if !bit(word, 22) => {
            Access::Multiple { load: bit(word, 20), multiple: Multiple::of(word) }
        }
        _ => return None,
    })
}

fn single(word: u32, offset: Offset) -> Access {
    let rt = nibble(word, 12);
    let width = if bit(word, 22) { Width::Byte } else { Width::Word };
    Access::Transfer(transfer(word, bit(word, 20), width, false, (rt, rt), offset))
}

/// Halfword, signed and doubleword transfers; exclusives and swaps.
fn extra(word: u32) -> Option<Access> {
    if word & 0x90 != 0x90 {
        return None;
    }
    let kind = word >> 5 & 3;
    if kind == 0 {
        let swap = word & 0x0fb0_0ff0 == 0x0100_0090;
        let exclusive = word & 0x0f80_00f0 == 0x0180_0090;
        return (swap || exclusive).then_some(Access::Exclusive);
    }
    let rt = nibble(word, 12);
    let (load, width, signed) = match (bit(word, 20), kind) {
        (load, 1) => (load, Width::Half, false),
        (true, 2) => (true, Width::Byte, true),
        (true, _) => (true, Width::Half, true),
        (false, kind) => (kind == 2, Width::Double, false),
    };
    let mut rt2 = rt;
    if width == Width::Double {
        // An odd first register, r15 as the second, and the unprivileged form's
        // address bits are unpredictable.
        if bit(word, 12) || rt == 14 || word & 0x0120_0000 == 0x0020_0000 {
            return None;
        }
        rt2 = rt + 1;
    }
    let offset = extra_offset(word);
    Some(Access::Transfer(transfer(word, load, width, signed, (rt, rt2), offset)))
}

fn transfer(
    word: u32,
    load: bool,
    width: Width,
    signed: bool,
    (rt, rt2): (u8, u8),
    offset: Offset,
) -> Transfer {
    let index = bit(word, 24);
    Transfer {
        load,
        width,
        signed,
        rt,
        rt2,
        rn: nibble(word, 16),
        offset,
        add: bit(word, 23),
        index,
        writeback: !index || bit(word, 21),
    }
}
