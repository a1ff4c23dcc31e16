//! What the three share: locks and words, where the manifest puts them.

use core::arch::naked_asm;
use core::ptr::with_exposed_provenance;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use entresol_guest::lock::Lock;
use entresol_guest::trap::unexpected;
use entresol_guest::{board, gic, timer, trap, vectors};

/// A lock whose holder becomes as urgent as who waits, and the words.
const INHERIT: usize = 0x3000_0000;
/// A lock that can be taken.
const REVOCABLE: usize = 0x3000_1000;
/// What `low` may only read.
pub(crate) const READ_ONLY: usize = 0x3000_2000;
/// The interrupt that tells of a lock that was taken.
pub(crate) const TAKEN: u32 = 113;

/// Where nobody's locks are.
const WORDS: usize = INHERIT + 0x100;

/// What `low` is to do.
pub(crate) const TASK: usize = 0;
/// The task for which it holds the lock.
pub(crate) const HOLDS: usize = 1;
/// Whether `middle` runs.
pub(crate) const BUSY: usize = 2;
/// How often `middle` got a turn while it was to run.
pub(crate) const TURNS: usize = 3;
/// What `low` found.
pub(crate) const RESULT: usize = 4;

fn word_at(address: usize) -> &'static AtomicU32 {
    // SAFETY: shared memory, for ever, and accessed by atomic accesses only.
    unsafe { &*with_exposed_provenance(address) }
}

pub(crate) fn word(index: usize) -> &'static AtomicU32 {
    word_at(WORDS + index * 4)
}

/// The word of a lock, for who does not keep to the rules.
pub(crate) fn raw(revocable: bool) -> &'static AtomicU32 {
    word_at(if revocable { REVOCABLE } else { INHERIT })
}

/// A lock.
pub(crate) fn lock(revocable: bool) -> Lock {
    Lock::new(raw(revocable), if revocable { REVOCABLE } else { INHERIT } as u32)
}

/// Waits some microseconds, in which others run.
pub(crate) fn sleep(microseconds: u64) {
    let until = timer::now() + u64::from(timer::frequency()) * microseconds / 1_000_000;
    gic::enable(board::TIMER_INTERRUPT);
    timer::arm(until);
    // Interrupts stay masked: a pending one ends the wait all the same.
    while timer::now() < until {
        trap::wait_for_interrupt();
    }
    timer::disarm();
}

/// Runs when it is told to, and then without a pause.
pub(crate) fn middle() -> u32 {
    gic::init();
    loop {
        sleep(500);
        while word(BUSY).load(SeqCst) != 0 {
            word(TURNS).fetch_add(1, SeqCst);
        }
        if word(TASK).load(SeqCst) == u32::MAX {
            return 0;
        }
    }
}

vectors! {
    /// Aborts go back to who called what aborted, with a 1.
    table: undefined unexpected, svc unexpected, prefetch aborted, data aborted,
    irq unexpected, fiq unexpected,
}

/// Makes aborts return to their callers.
pub(crate) fn survive_aborts() {
    // SAFETY: the handlers return as they must: to the caller of a function that aborted.
    unsafe { trap::install(table) }
}

/// # Safety
///
/// Reached from the vector table only, while a function runs that keeps its return address
/// in the link register.
#[unsafe(naked)]
unsafe extern "C" fn aborted() {
    naked_asm!("cps #0x13", "mov r0, #1", "bx lr")
}

/// Whether a store to `address` aborts: 1 if so.
#[unsafe(naked)]
pub(crate) extern "C" fn store_aborts(address: usize) -> u32 {
    naked_asm!("str r0, [r0]", "mov r0, #0", "bx lr")
}

/// Whether a call of `address` aborts, where `mov r0, #0` and `bx lr` are: 1 if so.
#[unsafe(naked)]
pub(crate) extern "C" fn call_aborts(address: usize) -> u32 {
    naked_asm!("bx r0")
}

/// Puts a function at the start of the lock's page's second half; returns its address.
pub(crate) fn put_function() -> usize {
    let address = INHERIT + 0x800;
    word_at(address).store(0xe3a0_0000, SeqCst);
    word_at(address + 4).store(0xe12f_ff1e, SeqCst);
    address
}
