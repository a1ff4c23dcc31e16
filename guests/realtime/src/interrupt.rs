//! The timer interrupt: when it was handled, and when the next is due.
//!
//! The handler moves the compare value by one interval, so releases do not drift; a
//! release that is overdue already, or that finds the last one unread, is an overrun.

use core::ptr;
use entresol_guest::{gic, interrupt, timer, trap};

/// What the handler shares with the kernel, which masks interrupts to use it.
struct Shared {
    interval: u64,
    next: u64,
    handled_at: Option<u64>,
    overruns: u32,
}

static mut SHARED: Shared = Shared { interval: 0, next: 0, handled_at: None, overruns: 0 };

/// Starts the releases.
pub(crate) fn arm(first: u64, interval: u64) {
    trap::mask_interrupts();
    let shared = Shared { interval, next: first, handled_at: None, overruns: 0 };
    // SAFETY: interrupts are masked, so the handler does not use it.
    unsafe { ptr::write(&raw mut SHARED, shared) }
    timer::arm(first);
}

/// Waits for the next release; returns when its handler began.
pub(crate) fn next_release() -> u64 {
    loop {
        trap::mask_interrupts();
        // SAFETY: interrupts are masked, so the handler does not use it.
        let handled_at = unsafe { ptr::replace(&raw mut SHARED.handled_at, None) };
        if let Some(handled_at) = handled_at {
            trap::unmask_interrupts();
            return handled_at;
        }
        trap::wait_for_interrupt();
        trap::unmask_interrupts();
    }
}

/// Releases that were not served, since the last call.
pub(crate) fn take_overruns() -> u32 {
    trap::mask_interrupts();
    // SAFETY: interrupts are masked, so the handler does not use it.
    let overruns = unsafe { ptr::replace(&raw mut SHARED.overruns, 0) };
    trap::unmask_interrupts();
    overruns
}

interrupt! {
    /// The interrupt vector.
    pub(crate) entry => counted handle
}

/// A counter value arrives in r0 and r1, as a 64-bit argument does.
extern "C" fn handle(now: u64) {
    let acknowledged = gic::acknowledge();
    // SAFETY: the kernel masks interrupts while it uses it.
    let shared = unsafe { &mut *ptr::addr_of_mut!(SHARED) };
    shared.next += shared.interval;
    while shared.next <= now {
        shared.next += shared.interval;
        shared.overruns += 1;
    }
    if shared.handled_at.is_some() {
        shared.overruns += 1;
    }
    shared.handled_at = Some(now);
    timer::arm(shared.next);
    gic::end(acknowledged);
}
