//! A guest that waits for ticks, and measures how its own clock and they agree.
//!
//! Each tick is due one period after the one before, late or not, so none is ever left out:
//!
//! ```text
//! clock: 400 ticks late=250 ns
//! clock: crowded=120 ns
//! clock: stretched=130 ns
//! ```
//!
//! `late` is how late the last one was handled by its own count, `crowded` how much less than a
//! period two ticks were apart at the worst, `stretched` how much more.
#![no_std]
#![no_main]

use core::ptr;
use entresol_guest::{board, entry, gic, interrupt, println, timer, trap, vectors};

entry!(main);

vectors! {
    /// The guest's vectors.
    clock_vectors:
        undefined trap::unexpected, svc trap::unexpected, prefetch trap::unexpected,
        data trap::unexpected, irq interrupted, fiq trap::unexpected,
}

/// Ticks per second.
const RATE: u32 = 4000;

/// Ticks that are measured.
const TICKS: u32 = 400;

/// What the handler keeps; the kernel uses it with interrupts masked.
struct Ticks {
    period: u64,
    due: u64,
    count: u32,
    before: u64,
    least: u64,
    most: u64,
    late: u64,
}

static mut SHARED: Ticks =
    Ticks { period: 0, due: 0, count: 0, before: 0, least: u64::MAX, most: 0, late: 0 };

interrupt! {
    /// The interrupt vector.
    interrupted => counted handle
}

extern "C" fn handle(now: u64) {
    let acknowledged = gic::acknowledge();
    // SAFETY: the kernel masks interrupts while it uses it.
    let ticks = unsafe { &mut *ptr::addr_of_mut!(SHARED) };
    if ticks.count > 0 {
        ticks.least = ticks.least.min(now - ticks.before);
        ticks.most = ticks.most.max(now - ticks.before);
    }
    ticks.before = now;
    ticks.late = now - ticks.due;
    ticks.due += ticks.period;
    ticks.count += 1;
    if ticks.count < TICKS {
        timer::arm(ticks.due);
    } else {
        timer::disarm();
    }
    gic::end(acknowledged);
}

fn main(_device_tree: u32) -> u32 {
    let hz = timer::frequency();
    let ns = |ticks: u64| ticks * 1_000_000_000 / u64::from(hz);
    // SAFETY: the handler is made for this.
    unsafe { trap::install(clock_vectors) }
    gic::init();
    gic::enable(board::TIMER_INTERRUPT);
    trap::mask_interrupts();
    // SAFETY: interrupts are masked, so the handler does not use it.
    let ticks = unsafe { &mut *ptr::addr_of_mut!(SHARED) };
    ticks.period = u64::from(hz / RATE);
    ticks.due = timer::now() + ticks.period;
    timer::arm(ticks.due);
    loop {
        // SAFETY: as above.
        let ticks = unsafe { ptr::read_volatile(&raw const SHARED.count) };
        if ticks == TICKS {
            break;
        }
        trap::wait_for_interrupt();
        trap::unmask_interrupts();
        trap::mask_interrupts();
    }
    // SAFETY: as above, and no tick comes any more.
    let ticks = unsafe { &*ptr::addr_of!(SHARED) };
    println!("clock: {TICKS} ticks late={} ns", ns(ticks.late));
    println!("clock: crowded={} ns", ns(ticks.period.saturating_sub(ticks.least)));
    println!("clock: stretched={} ns", ns(ticks.most.saturating_sub(ticks.period)));
    0
}
