//! The barrel shifter and the arithmetic of `subs pc, lr` and the like.
//!
//! Flags are not computed: the instructions emulated here take theirs from SPSR.
//!
//! Manual: ARM DDI 0406C, A8.4.3 (shifts), A5.2.1 to A5.2.3 (data processing).

use entresol_isa::op::Operand;

use crate::mode::psr;
use crate::state::Vcpu;

/// Shifts by an encoded constant (`DecodeImmShift`, `Shift`).
#[inline]
pub(crate) const fn shift_by_constant(value: u32, kind: u8, amount: u8, carry: bool) -> u32 {
    let amount = amount & 31;
    match (kind & 3, amount) {
        (0, _) => value << amount,
        (1, 0) => 0,
        (1, _) => value >> amount,
        (2, 0) => (value.cast_signed() >> 31).cast_unsigned(),
        (2, _) => (value.cast_signed() >> amount).cast_unsigned(),
        (_, 0) => value >> 1 | if carry { 1 << 31 } else { 0 },
        _ => value.rotate_right(rotation(amount)),
    }
}

/// Shifts by the low byte of a register.
const fn shift_by_register(value: u32, kind: u8, amount: u8) -> u32 {
    match (kind & 3, amount) {
        (_, 0) => value,
        (0, 1..=31) => value << amount,
        (1, 1..=31) => value >> amount,
        (0 | 1, _) => 0,
        (2, 1..=31) => (value.cast_signed() >> amount).cast_unsigned(),
        (2, _) => (value.cast_signed() >> 31).cast_unsigned(),
        _ => value.rotate_right(rotation(amount)),
    }
}

#[allow(clippy::as_conversions, reason = "widening; `u32::from` is not const")]
const fn rotation(amount: u8) -> u32 {
    amount as u32 & 31
}

impl Vcpu {
    /// Result of an ALU instruction, by bits 24:21 of its A32 encoding. Comparisons have
    /// none: they give nothing.
    #[inline(never)]
    pub(crate) fn compute(&self, opcode: u8, rn: u8, operand: Operand) -> Option<u32> {
        let carry = self.psr & psr::C != 0;
        let second = match operand {
            Operand::Immediate(value) => value,
            Operand::Shifted { rm, kind, amount } => {
                shift_by_constant(self.register(rm), kind, amount, carry)
            }
            Operand::ShiftedByRegister { rm, kind, rs } => {
                let [amount, ..] = self.register(rs).to_le_bytes();
                shift_by_register(self.register(rm), kind, amount)
            }
        };
        let first = self.register(rn);
        let carry = u32::from(carry);
        Some(match opcode {
            0b0000 => first & second,
            0b0001 => first ^ second,
            0b0010 => first.wrapping_sub(second),
            0b0011 => second.wrapping_sub(first),
            0b0100 => first.wrapping_add(second),
            0b0101 => first.wrapping_add(second).wrapping_add(carry),
            0b0110 => first.wrapping_sub(second).wrapping_sub(1 - carry),
            0b0111 => second.wrapping_sub(first).wrapping_sub(1 - carry),
            0b1100 => first | second,
            0b1101 => second,
            0b1110 => first & !second,
            0b1111 => !second,
            _ => return None,
        })
    }
}
