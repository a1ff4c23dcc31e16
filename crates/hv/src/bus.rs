//! Register accesses as a virtual device sees them.
//!
//! The caller has decoded the instruction and found the device; a device decodes the
//! offset. A device never refuses: reserved registers read as zero and ignore writes,
//! as the PrimeCell manuals say.

/// How many bytes an access moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One byte.
    Byte,
    /// Two bytes.
    Half,
    /// Four bytes.
    Word,
}

impl Width {
    /// Number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Byte => 1,
            Self::Half => 2,
            Self::Word => 4,
        }
    }

    /// The bits of a register that an access at offset 0 moves.
    #[must_use]
    pub const fn mask(self) -> u32 {
        match self {
            Self::Byte => 0xff,
            Self::Half => 0xffff,
            Self::Word => u32::MAX,
        }
    }
}

/// The part of a 32-bit register that an access moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// Offset of the register, a multiple of 4.
    pub register: u32,
    /// The register's bits that the access moves.
    pub mask: u32,
    /// Position of the access's bit 0 in the register.
    pub shift: u32,
}

impl Lanes {
    /// The lanes of an access of `width` at `offset`.
    #[must_use]
    pub const fn new(offset: u32, width: Width) -> Self {
        let shift = (offset & 3) * 8;
        Self { register: offset & !3, mask: width.mask() << shift, shift }
    }

    /// What the access reads when the register holds `word`.
    #[must_use]
    pub const fn extract(self, word: u32) -> u32 {
        (word & self.mask) >> self.shift
    }

    /// The access's `value` at its place in the register, other bits zero.
    #[must_use]
    pub const fn place(self, value: u32) -> u32 {
        (value << self.shift) & self.mask
    }
}

/// A device with memory-mapped registers. `now` is the machine's counter.
pub trait Device {
    /// Reads at `offset`, with the side effects a read has. Unmoved bits are zero.
    fn read(&mut self, offset: u32, width: Width, now: u64) -> u32;

    /// Writes the low bits of `value` at `offset`.
    fn write(&mut self, offset: u32, width: Width, value: u32, now: u64);
}

/// The low byte of a word.
pub(crate) const fn low_byte(word: u32) -> u8 {
    let [byte, ..] = word.to_le_bytes();
    byte
}

/// The low word of a double word.
pub(crate) const fn low_word(double: u64) -> u32 {
    let [a, b, c, d, ..] = double.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// What an identification register holds: a byte for each, from `first` on.
pub(crate) fn identification(bytes: &[u8], first: u32, register: u32) -> u32 {
    bytes.get(index(register.wrapping_sub(first) >> 2)).copied().map_or(0, u32::from)
}

/// A small number as an index; indexes nothing when it does not fit.
pub(crate) fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The bits that are set in a word, from the lowest on.
pub(crate) fn members(mut set: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let lowest = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        (lowest < 32).then(|| index(lowest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_access_moves_its_lane_only() {
        let lanes = Lanes::new(0x402, Width::Byte);
        assert_eq!(lanes.register, 0x400);
        assert_eq!(lanes.extract(0x1234_5678), 0x34);
        assert_eq!(lanes.place(0xabcd), 0x00cd_0000);
    }
}
