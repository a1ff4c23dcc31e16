//! What one byte allows an instruction to be: bits 27:20 of a word of A32, the upper byte of a
//! halfword of T32.
//!
//! One table for both, in which each set has bits of its own: [`a32::kinds`], [`t32::kinds`].

use crate::{a32, t32};

static KINDS: [u8; 256] = kinds();

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time only")]
const fn kinds() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = a32::kinds(byte) | t32::kinds(byte);
        byte += 1;
    }
    table
}

/// The kinds that a byte allows.
#[inline]
pub(crate) fn of(byte: u8) -> u8 {
    KINDS.get(usize::from(byte)).copied().unwrap_or(0)
}
