//! The trapping word that stands in for a sensitive one, and back.
//!
//! A replaced word must trap in user mode on every ARMv7-A core and must describe
//! its original completely by itself: guests copy their code, and a copy of a trap
//! word has to work where no table knows it. So originals are packed, bit for bit,
//! into encodings of coprocessors that no ARMv7-A core has (p0 to p9, p12, p13),
//! which are undefined, and into permanently undefined words for 16-bit T32.
//! Nothing is decided here about *whether* a word in memory should be replaced.
//!
//! # The space
//!
//! The condition field is kept (0b1110 in T32). LDC stands for bits 27:25 = 0b110,
//! CDP for bits 27:24 = 0b1110 (CDP, MCR, MRC); payloads fill what is left of bits
//! 24:0 around the coprocessor number in bits 11:8.
//!
//! | original | payload bits | trap word |
//! |---|---|---|
//! | A32 LDM, STM with `^`; RFE, SRS (0b1111) | 24 | LDC p0 to p7 |
//! | A32 LDRT, STRT, LDRBT, STRBT, immediate | 23 | CDP p0 to p7 |
//! | the same, register | 22 | LDC p9 and p12 |
//! | A32 LDRHT, STRHT, LDRSBT, LDRSHT | 20 | CDP p8 |
//! | A32 ALU with S to pc | 21 | LDC p8 |
//! | A32 MRS, MSR (register); CPS, SETEND (0b1111) | 18; 20 | CDP p9 |
//! | A32 MSR (immediate), WFI, WFE | 21 | LDC p13 |
//! | T32 RFE, SRS | 24 | LDC p0 to p7 |
//! | T32 LDRT and the like | 20 | CDP p8 |
//! | T32 MRS, MSR, CPS, SUBS PC, WFI, WFE, 32-bit | 20 | CDP p9 |
//! | T32 CPS, SETEND, WFE, WFI, 16-bit | 5 | UDF #0xc0 to #0xd3 |
//!
//! # Invariants
//!
//! `decode(encode(w)) == w` for every word that is replaced, and `encode(decode(t))
//! == t` for every trap word: decoding refuses whatever encoding cannot produce.
//! Both are tested. A guest's own use of such a word is undefined on hardware and
//! would be taken for ours; whoever replaces remembers where, if that matters.

use crate::{bit, nibble};

const LDC: u32 = 0x0c00_0000;
const CDP: u32 = 0x0e00_0000;

/// Unconditional A32, and the fixed condition of T32.
const UNCONDITIONAL: u32 = 0xf000_0000;
const T32: u32 = 0xe000_0000;

/// The trap word for an A32 instruction; `None` if it must not be replaced.
#[must_use]
pub fn encode_a32(word: u32) -> Option<u32> {
    let condition = word & 0xf000_0000;
    if condition == UNCONDITIONAL {
        return encode_unconditional(word);
    }
    let body = match word >> 25 & 7 {
        0 => encode_register_form(word)?,
        1 => encode_immediate_form(word)?,
        2 if word & 0x0120_0000 == 0x0020_0000 => low_coprocessors(CDP, word_transfer(word)),
        3 if word & 0x0120_0010 == 0x0020_0000 => {
            let payload = word_transfer(word);
            let squeezed = payload >> 1 & 0x3f_fff0 | payload & 15;
            one_coprocessor(LDC, if squeezed >> 21 == 0 { 9 } else { 12 }, squeezed & 0x1f_ffff)
        }
        4 if bit(word, 22) => low_coprocessors(LDC, multiple(word)),
        _ => return None,
    };
    Some(condition | body)
}

/// The A32 instruction that a trap word stands for; `None` if it is not a trap word.
#[must_use]
pub fn decode_a32(trap: u32) -> Option<u32> {
    let condition = trap & 0xf000_0000;
    let cp = nibble(trap, 8);
    if condition == UNCONDITIONAL {
        return decode_unconditional(trap, cp);
    }
    let payload = one_payload(trap);
    let body = match (trap >> 24 & 15, cp) {
        (12 | 13, 0..=7) => 0x0840_0000 | unmultiple(low_payload(trap)),
        (12 | 13, 8) => decode_alu(payload)?,
        (12 | 13, 9) => unsqueeze(payload),
        (12 | 13, 12) => unsqueeze(1 << 21 | payload),
        (12 | 13, 13) => {
            let body = 0x0320_0000 | payload << 2 & 0x0040_0000 | payload & 0xf_ffff;
            if is_hint(body) {
                return None;
            }
            body
        }
        (14, 0..=7) => 0x0420_0000 | unword_transfer(low_payload(trap)),
        (14, 8) => decode_extra(payload),
        (14, 9) => {
            // Bit 9 of the original and the tag above bit 18 are always zero.
            if payload & 0xc_0020 != 0 {
                return None;
            }
            0x0100_0000 | payload << 5 & 0x0060_0000 | payload << 4 & 0xf_ff00 | payload & 15
        }
        _ => return None,
    };
    Some(condition | body)
}

/// The trap word for a 16-bit T32 instruction; `None` if it must not be replaced.
#[must_use]
pub fn encode_narrow(half: u16) -> Option<u16> {
    match half {
        _ if half & 0xffe8 == 0xb660 => Some(0xdec0 | half >> 1 & 8 | half & 7),
        0xb650 => Some(0xded0),
        0xb658 => Some(0xded1),
        0xbf20 => Some(0xded2),
        0xbf30 => Some(0xded3),
        _ => None,
    }
}

/// The 16-bit T32 instruction that a trap word stands for; `None` if it is not one.
#[must_use]
pub fn decode_narrow(trap: u16) -> Option<u16> {
    match trap {
        0xdec0..=0xdecf => Some(0xb660 | (trap & 8) << 1 | trap & 7),
        0xded0 => Some(0xb650),
        0xded1 => Some(0xb658),
        0xded2 => Some(0xbf20),
        0xded3 => Some(0xbf30),
        _ => None,
    }
}

/// The trap word for a 32-bit T32 instruction (`first << 16 | second`); `None` if it
/// must not be replaced.
#[must_use]
pub fn encode_wide(word: u32) -> Option<u32> {
    let body = match word >> 25 {
        0b111_0100 if !bit(word, 22) && bit(word, 24) == bit(word, 23) => {
            low_coprocessors(LDC, multiple(word))
        }
        0b111_1001 if is_system(word) => {
            one_coprocessor(CDP, 9, word >> 3 & 0xf_e000 | word >> 1 & 0x1000 | word & 0xfff)
        }
        0b111_1100 if is_unprivileged(word) => {
            one_coprocessor(CDP, 8, word >> 5 & 0x8_0000 | word >> 4 & 0x7_ff00 | word & 0xff)
        }
        _ => return None,
    };
    Some(T32 | body)
}

/// The 32-bit T32 instruction that a trap word stands for; `None` if it is not one.
#[must_use]
pub fn decode_wide(trap: u32) -> Option<u32> {
    if trap & 0xf000_0000 != T32 {
        return None;
    }
    let payload = one_payload(trap);
    match (trap >> 24 & 15, nibble(trap, 8)) {
        (12 | 13, 0..=7) => {
            let word = 0xe800_0000 | unmultiple(low_payload(trap));
            (bit(word, 24) == bit(word, 23)).then_some(word)
        }
        (14, 9) => {
            let word =
                0xf380_8000 | (payload & 0xf_e000) << 3 | (payload & 0x1000) << 1 | payload & 0xfff;
            is_system(word).then_some(word)
        }
        (14, 8) => {
            let word = 0xf800_0e00
                | (payload & 0x8_0000) << 5
                | (payload & 0x7_ff00) << 4
                | payload & 0xff;
            is_unprivileged(word).then_some(word)
        }
        _ => None,
    }
}

fn encode_unconditional(word: u32) -> Option<u32> {
    let body = match word >> 25 & 7 {
        0 if word & 0x01f1_0020 == 0x0100_0000 || word & 0x01ff_00f0 == 0x0101_0000 => {
            one_coprocessor(CDP, 9, word & 0xf_ffff)
        }
        4 if bit(word, 22) != bit(word, 20) => low_coprocessors(LDC, multiple(word)),
        _ => return None,
    };
    Some(UNCONDITIONAL | body)
}

fn decode_unconditional(trap: u32, cp: u8) -> Option<u32> {
    match (trap >> 24 & 15, cp) {
        (12 | 13, 0..=7) => {
            let body = unmultiple(low_payload(trap));
            // SRS has bit 22 where RFE has bit 20.
            Some(0xf800_0000 | body | !body << 2 & 0x0040_0000)
        }
        (14, 9) => {
            let payload = one_payload(trap);
            let is_change = payload & 0x1_0020 == 0;
            let is_setend = payload & 0xf_00f0 == 0x1_0000;
            (is_change || is_setend).then_some(0xf100_0000 | payload)
        }
        _ => None,
    }
}

fn encode_register_form(word: u32) -> Option<u32> {
    if word & 0x90 == 0x90 {
        let kind = match (word >> 5 & 3, bit(word, 20)) {
            (1, load) => u32::from(load),
            (2, true) => 2,
            (3, true) => 3,
            _ => return None,
        };
        let payload = kind << 18 | word >> 6 & 0x3_0000 | word >> 4 & 0xfff0 | word & 15;
        return (word & 0x0120_0000 == 0x0020_0000).then(|| one_coprocessor(CDP, 8, payload));
    }
    if word & 0x0190_02f0 == 0x0100_0000 {
        let payload = word >> 5 & 0x3_0000 | word >> 4 & 0xfff0 | word & 15;
        return Some(one_coprocessor(CDP, 9, payload));
    }
    encode_alu(word)
}

fn encode_immediate_form(word: u32) -> Option<u32> {
    if word & 0x01b0_0000 == 0x0120_0000 {
        let payload = word >> 2 & 0x10_0000 | word & 0xf_ffff;
        return (!is_hint(word)).then(|| one_coprocessor(LDC, 13, payload));
    }
    encode_alu(word)
}

/// `opcode:I:Rn:operand2`; the opcodes 0b10xx are comparisons.
fn encode_alu(word: u32) -> Option<u32> {
    if word & 0x0010_f000 != 0x0010_f000 || word & 0x0180_0000 == 0x0100_0000 {
        return None;
    }
    let payload = word >> 4 & 0x1e_0000 | word >> 9 & 0x1_0000 | word >> 4 & 0xf000 | word & 0xfff;
    Some(one_coprocessor(LDC, 8, payload))
}

fn decode_alu(payload: u32) -> Option<u32> {
    let immediate = payload & 0x1_0000;
    if payload & 0x18_0000 == 0x10_0000 || (immediate == 0 && payload & 0x90 == 0x90) {
        return None;
    }
    let fields = (payload & 0x1e_0000) << 4 | immediate << 9 | (payload & 0xf000) << 4;
    Some(0x0010_f000 | fields | payload & 0xfff)
}

fn decode_extra(payload: u32) -> u32 {
    let kind = match payload >> 18 & 3 {
        0 => 0x0020_00b0,
        1 => 0x0030_00b0,
        2 => 0x0030_00d0,
        _ => 0x0030_00f0,
    };
    kind | (payload & 0x3_0000) << 6 | (payload & 0xfff0) << 4 | payload & 15
}

/// P, U, W, L, Rn and list, without the bit 22 that selects the instruction.
const fn multiple(word: u32) -> u32 {
    word >> 1 & 0xc0_0000 | word & 0x3f_ffff
}

const fn unmultiple(payload: u32) -> u32 {
    (payload & 0xc0_0000) << 1 | payload & 0x3f_ffff
}

/// U, B, L, Rn, Rt and 12 bits, without W.
const fn word_transfer(word: u32) -> u32 {
    word >> 1 & 0x60_0000 | word & 0x1f_ffff
}

const fn unword_transfer(payload: u32) -> u32 {
    (payload & 0x60_0000) << 1 | payload & 0x1f_ffff
}

/// Puts bit 4 back, which a register offset always has clear.
const fn unsqueeze(squeezed: u32) -> u32 {
    0x0620_0000 | unword_transfer((squeezed & 0x3f_fff0) << 1 | squeezed & 15)
}

const fn is_hint(word: u32) -> bool {
    word & 0x0fff_0000 == 0x0320_0000 && !matches!(word & 0xff, 2 | 3)
}

/// Status, CPS, waits and return among T32's 0xf380_8000 group, banked forms excluded.
const fn is_system(word: u32) -> bool {
    if word & 0x0180_d000 != 0x0180_8000 {
        return false;
    }
    match word >> 20 & 7 {
        0 | 1 | 6 | 7 => !bit(word, 5),
        2 => bit(word, 10) || bit(word, 8) || matches!(word & 0x7ff, 2 | 3),
        5 => true,
        _ => false,
    }
}

/// T32's unprivileged loads and stores.
const fn is_unprivileged(word: u32) -> bool {
    if word & 0x0080_0f00 != 0x0e00 || word & 0x000f_0000 == 0x000f_0000 {
        return false;
    }
    let size = word >> 21 & 3;
    if bit(word, 24) { size < 2 && bit(word, 20) } else { size < 3 }
}

/// 23 or 24 bits of payload over p0 to p7.
const fn low_coprocessors(kind: u32, payload: u32) -> u32 {
    kind | (payload & 0xfff_f800) << 1 | payload & 0x7ff
}

const fn low_payload(trap: u32) -> u32 {
    let field = if trap & 0x0200_0000 == 0 { trap & 0x01ff_f000 } else { trap & 0x00ff_f000 };
    field >> 1 | trap & 0x7ff
}

/// 20 or 21 bits of payload in one coprocessor.
const fn one_coprocessor(kind: u32, cp: u32, payload: u32) -> u32 {
    kind | (payload & 0xff_ff00) << 4 | cp << 8 | payload & 0xff
}

const fn one_payload(trap: u32) -> u32 {
    let field = if trap & 0x0200_0000 == 0 { trap & 0x01ff_f000 } else { trap & 0x00ff_f000 };
    field >> 4 | trap & 0xff
}
