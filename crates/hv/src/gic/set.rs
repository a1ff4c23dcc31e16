//! Sets of interrupts, one bit each.

use super::INTERRUPTS;
use crate::bus::index;

/// Words of a [`Set`].
pub(super) const WORDS: u32 = INTERRUPTS / 32;
const _: () = assert!(WORDS == 4);

/// A set of interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Set([u32; 4]);

impl Set {
    pub(super) const EMPTY: Self = Self([0; 4]);
    pub(super) const FULL: Self = Self([u32::MAX; 4]);

    /// The set whose first word is `word`.
    pub(super) const fn of_private(word: u32) -> Self {
        Self([word, 0, 0, 0])
    }

    /// Membership of interrupts `32 * word` and the 31 that follow.
    #[inline(always)]
    pub(super) fn word(&self, word: u32) -> u32 {
        self.0.get(index(word)).copied().unwrap_or(0)
    }

    /// Replaces a word.
    pub(super) fn set_word(&mut self, word: u32, bits: u32) {
        if let Some(slot) = self.0.get_mut(index(word)) {
            *slot = bits;
        }
    }

    #[inline(always)]
    pub(super) fn contains(&self, irq: u32) -> bool {
        self.word(irq / 32) & bit(irq) != 0
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, irq: u32) {
        if let Some(slot) = self.0.get_mut(index(irq / 32)) {
            *slot |= bit(irq);
        }
    }

    #[inline(always)]
    pub(super) fn remove(&mut self, irq: u32) {
        if let Some(slot) = self.0.get_mut(index(irq / 32)) {
            *slot &= !bit(irq);
        }
    }

    #[inline(always)]
    pub(super) const fn is_empty(&self) -> bool {
        let [a, b, c, d] = self.0;
        a | b | c | d == 0
    }

    /// The lowest interrupt in both sets.
    #[inline(always)]
    pub(super) const fn first_common(&self, other: &Self) -> Option<u32> {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        let (from, bits) = match (a & e, b & f, c & g, d & h) {
            (0, 0, 0, 0) => return None,
            (0, 0, 0, bits) => (96, bits),
            (0, 0, bits, _) => (64, bits),
            (0, bits, ..) => (32, bits),
            (bits, ..) => (0, bits),
        };
        Some(from + bits.trailing_zeros())
    }
}

/// An interrupt's bit in its word of a set.
const fn bit(irq: u32) -> u32 {
    1 << (irq % 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_common_member_is_the_lowest() {
        for word in 0..WORDS {
            let mut set = Set::EMPTY;
            set.set_word(word, 0x8000_0100);
            assert_eq!(set.first_common(&Set::FULL), Some(word * 32 + 8));
            set.remove(word * 32 + 8);
            assert_eq!(set.first_common(&Set::FULL), Some(word * 32 + 31));
            assert_eq!(set.first_common(&Set::EMPTY), None);
        }
    }
}
