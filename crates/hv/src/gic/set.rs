//! Sets of interrupts, one bit each, and the queue of deliverable ones by priority.
//!
//! Not responsible for why an interrupt is deliverable: the distributor files it.
//!
//! The queue keeps one set for each priority level and a word that says which of them
//! are not empty, so that the most urgent interrupt is found in two counts of zeros
//! and at most four word reads, whatever a guest has made pending.
//!
//! # Invariants
//!
//! Kept by [`Queue::file`]: bit *n* of `levels` is set exactly
//! when set *n* is not empty.

use super::{INTERRUPTS, LEVELS};
use crate::bus::index;

/// Words of a [`Set`].
pub(super) const WORDS: u32 = INTERRUPTS / 32;
const WORD_COUNT: usize = 4;
const LEVEL_COUNT: usize = 32;
const _: () = assert!(WORDS == 4 && LEVELS == 32);

/// A set of interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Set([u32; WORD_COUNT]);

impl Set {
    pub(super) const EMPTY: Self = Self([0; WORD_COUNT]);

    /// The set whose first word is `word`.
    pub(super) const fn of_private(word: u32) -> Self {
        Self([word, 0, 0, 0])
    }

    /// Membership of interrupts `32 * word` and the 31 that follow.
    pub(super) fn word(&self, word: u32) -> u32 {
        self.0.get(index(word)).copied().unwrap_or(0)
    }

    /// Replaces a word.
    pub(super) fn set_word(&mut self, word: u32, bits: u32) {
        if let Some(slot) = self.0.get_mut(index(word)) {
            *slot = bits;
        }
    }

    pub(super) fn contains(&self, irq: u32) -> bool {
        self.word(irq / 32) & bit(irq) != 0
    }

    pub(super) fn insert(&mut self, irq: u32) {
        self.set_word(irq / 32, self.word(irq / 32) | bit(irq));
    }

    pub(super) fn remove(&mut self, irq: u32) {
        self.set_word(irq / 32, self.word(irq / 32) & !bit(irq));
    }

    fn first(&self) -> Option<u32> {
        (0..WORDS)
            .zip(self.0)
            .find_map(|(word, bits)| (bits != 0).then(|| word * 32 + bits.trailing_zeros()))
    }
}

/// An interrupt's bit in its word of a set.
pub(super) const fn bit(irq: u32) -> u32 {
    1 << (irq % 32)
}

/// Deliverable interrupts by priority level.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    levels: u32,
    sets: [Set; LEVEL_COUNT],
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self { levels: 0, sets: [Set::EMPTY; LEVEL_COUNT] }
    }

    /// Says whether `irq` is deliverable at `level`.
    pub(super) fn file(&mut self, level: u32, irq: u32, deliverable: bool) {
        let Some(set) = self.sets.get_mut(index(level % LEVELS)) else { return };
        if deliverable {
            set.insert(irq);
            self.levels |= 1 << (level % LEVELS);
        } else {
            set.remove(irq);
            if *set == Set::EMPTY {
                self.levels &= !(1 << (level % LEVELS));
            }
        }
    }

    /// The most urgent deliverable interrupt: lowest level, then lowest number.
    pub(super) fn first(&self) -> Option<u32> {
        if self.levels == 0 {
            return None;
        }
        self.sets.get(index(self.levels.trailing_zeros()))?.first()
    }
}
