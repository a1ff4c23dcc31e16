//! A guest that takes a lock and releases it, between two places that have names.
//!
//! The bench counts what executes between them (`lock.uncontended`). Nobody else has the lock: it
//! is in this guest's own memory.
#![no_std]
#![no_main]

use core::arch::naked_asm;
use core::sync::atomic::AtomicU32;
use entresol_guest::entry;
use entresol_guest::lock::{Lock, Taker};

static WORD: AtomicU32 = AtomicU32::new(0);

/// What is measured begins here.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn pair_begins() {
    naked_asm!("bx lr")
}

/// And ends here.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn pair_ends() {
    naked_asm!("bx lr")
}

entry!(main);

fn main(_device_tree: u32) -> u32 {
    let taker = Taker::new();
    let lock = Lock::new(&WORD, 0);
    let mut failed = 0;
    for _ in 0..100 {
        pair_begins();
        let taken = lock.take(taker, 0);
        failed |= u32::from(!taken.is_ok_and(|held| held.release().is_ok()));
        pair_ends();
    }
    failed
}
