//! Coprocessor and floating-point status instructions, the same bits in A32 and T32.
//!
//! T32 took over these encodings with their low 28 bits unchanged, so one decoder
//! serves both. Only p14, p15 and the floating-point status registers are known
//! here (ARM DDI 0406C, A5.6, A7.8 and B9).

use crate::op::{Coprocessor, CoprocessorPair, Op};
use crate::{bit, nibble};

/// Decodes an instruction with bits 27:26 set that addresses p14 or p15.
pub(crate) const fn decode(word: u32) -> Op {
    if word & 0x0f00_0010 == 0x0e00_0010 {
        return Op::Coprocessor(Coprocessor::from_bits(word & 0x00ff_ffef));
    }
    if word & 0x0fe0_0000 == 0x0c40_0000 {
        return Op::CoprocessorPair(CoprocessorPair::from_bits(word & 0x001f_ffff));
    }
    // CDP, LDC, STC.
    Op::Undefined
}

/// Decodes VMRS and VMSR.
pub(crate) const fn decode_float_status(word: u32) -> Op {
    let (rt, reg) = (nibble(word, 12), nibble(word, 16));
    if bit(word, 20) { Op::ReadFloatStatus { rt, reg } } else { Op::WriteFloatStatus { rt, reg } }
}
