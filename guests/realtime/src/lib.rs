//! A guest kernel with periodic tasks at PL0, which measures its period, most often of 1 ms.
//!
//! The virtual timer releases the first task, and in every tenth period the second; the
//! kernel enters each at PL0 in an address space of its own; it works and makes a
//! supervisor call. The kernel's interrupt handler
//! reads the counter first of all, so what is reported is the time between
//! two handlers' beginnings, as the guest sees it:
//!
//! ```text
//! rt: periods=1000 min=999984 max=1000016 deviation=16 missed=0 latency=480
//! ```
//!
//! All times are in nanoseconds: shortest and longest period, largest distance of
//! a period from 1 ms, and largest distance of a handler's beginning from its release.
//! `missed` counts releases that came before the work of the one before was done.
//!
//! # Invariants
//!
//! 1. `RELEASED_AT` is written by the interrupt handler and read with interrupts masked.
#![no_std]

mod interrupt;
mod period;
mod task;

use entresol_guest::{app, board, gic, println, timer, trap, vectors};
use period::Periods;

/// The second task runs in one of so many periods.
const MONITOR: u32 = 10;

vectors! {
    /// The kernel's vectors.
    kernel_vectors:
        undefined app::undefined, svc app::call, prefetch app::prefetch, data app::data,
        irq interrupt::entry, fiq trap::unexpected,
}

/// Runs the tasks `rate` times a second, for ever or until as many reports were made, one a second.
///
/// Returns 0 if no release was missed.
pub fn run(rate: u32, reports: Option<u32>) -> u32 {
    let hz = timer::frequency();
    let interval = u64::from(hz / rate);
    // SAFETY: the handlers are those of `app` and `interrupt`, made for this.
    unsafe { trap::install(kernel_vectors) }
    let [mut control, mut monitor] = task::create(["control", "monitor"]);
    gic::init();
    gic::enable(board::TIMER_INTERRUPT);
    println!("rt: {rate} Hz, counter at {hz} Hz");

    let mut missed_ever = 0;
    let mut reported = 0;
    let mut release = timer::now() + interval;
    interrupt::arm(release, interval);
    let mut periods = Periods::new(hz, interval);
    // The first release only starts the first period.
    let mut before = interrupt::next_release();
    loop {
        control.activate();
        if periods.count.is_multiple_of(MONITOR) {
            monitor.activate();
        }
        let handled_at = interrupt::next_release();
        release += interval;
        periods.add(before, handled_at, release);
        before = handled_at;
        let overrun = interrupt::take_overruns();
        periods.missed += overrun;
        release += u64::from(overrun) * interval;
        if periods.count == rate {
            println!("{periods}");
            missed_ever += periods.missed;
            periods = Periods::new(hz, interval);
            reported += 1;
            if reports == Some(reported) {
                timer::disarm();
                println!("{control}");
                println!("{monitor}");
                return u32::from(missed_ever != 0);
            }
        }
    }
}
