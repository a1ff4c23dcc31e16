//! A word that cores share: all accesses are sequentially consistent.

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// The word.
#[derive(Debug)]
pub(super) struct Cell(AtomicU32);

impl Cell {
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    pub(super) fn load(&self) -> u32 {
        self.0.load(SeqCst)
    }

    pub(super) fn store(&self, value: u32) {
        self.0.store(value, SeqCst);
    }
}
