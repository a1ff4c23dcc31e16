//! [`Cell`] as the model checker's: another core may run before each access.
//!
//! Nobody else accesses a cell that was never written, so nothing is tried there.

use super::tests::explore::step;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

#[derive(Debug)]
pub(super) struct Cell(AtomicU32, AtomicBool);

impl Cell {
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(0), AtomicBool::new(false))
    }

    pub(super) fn load(&self) -> u32 {
        if self.1.load(SeqCst) {
            step();
        }
        self.0.load(SeqCst)
    }

    pub(super) fn store(&self, value: u32) {
        self.1.store(true, SeqCst);
        step();
        self.0.store(value, SeqCst);
    }
}
