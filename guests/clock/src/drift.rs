//! A guest that compares its counter with another clock of the machine, for ever.
//!
//! The other is a PL031 at [`CLOCK`], which the manifest gives it. When its second changes, the guest
//! reads the counter; by it, each second must be as long as the frequency says, from the first on:
//!
//! ```text
//! drift: second 60 off=0 ns
//! ```
//!
//! The resolution is that of two readings, some hundred nanoseconds. Every millisecond it writes
//! the counter's nanoseconds to shared memory at [`SHARED`], for others to compare theirs with: a
//! number that is odd while it writes, then low and high word.
#![no_std]
#![no_main]

use core::ptr::{self, with_exposed_provenance, with_exposed_provenance_mut};
use core::sync::atomic::{Ordering, fence};
use entresol_guest::{board, entry, gic, interrupt, println, timer, trap, vectors};

entry!(main);

vectors! {
    /// The guest's vectors.
    drift_vectors:
        undefined trap::unexpected, svc trap::unexpected, prefetch trap::unexpected,
        data trap::unexpected, irq interrupted, fiq trap::unexpected,
}

/// Where the other clock is; its first register has the seconds.
const CLOCK: usize = 0x0b00_0000;
/// Where memory is shared.
const SHARED: usize = 0x3000_0000;
/// Ticks per second.
const RATE: u64 = 1000;

/// When the next tick is due; the handler's once interrupts are unmasked.
static mut DUE: u64 = 0;

interrupt! {
    /// The interrupt vector.
    interrupted => counted handle
}

extern "C" fn handle(now: u64) {
    let acknowledged = gic::acknowledge();
    publish(nanoseconds(now));
    // SAFETY: interrupts are masked.
    let due = unsafe { ptr::read(&raw const DUE) } + u64::from(timer::frequency()) / RATE;
    // SAFETY: as above.
    unsafe { ptr::write(&raw mut DUE, due) }
    timer::arm(due);
    gic::end(acknowledged);
}

fn nanoseconds(ticks: u64) -> u64 {
    let hz = u64::from(timer::frequency());
    ticks / hz * 1_000_000_000 + ticks % hz * 1_000_000_000 / hz
}

fn publish(time: u64) {
    let words = with_exposed_provenance_mut::<u32>(SHARED);
    let put = |index: usize, value: u32| {
        // SAFETY: the region has a page.
        let word = unsafe { words.add(index) };
        // SAFETY: others only read it.
        unsafe { word.write_volatile(value) }
        fence(Ordering::SeqCst);
    };
    // SAFETY: as above.
    let version = unsafe { words.read_volatile() };
    put(0, version | 1);
    put(1, time as u32);
    put(2, (time >> 32) as u32);
    put(0, (version | 1).wrapping_add(1));
}

fn seconds() -> u32 {
    // SAFETY: a register of the device that the manifest gives.
    unsafe { with_exposed_provenance::<u32>(CLOCK).read_volatile() }
}

/// Waits for a tick.
fn sleep() {
    trap::mask_interrupts();
    trap::wait_for_interrupt();
    trap::unmask_interrupts();
}

/// Waits for the next second of the other clock: from `from` on it looks all the time. It sleeps
/// until `tick` before that.
fn next_second(from: u64, tick: u64) -> u64 {
    while timer::now() + tick < from {
        sleep();
    }
    while timer::now() < from {}
    let before = seconds();
    while seconds() == before {}
    timer::now()
}

fn main(_device_tree: u32) -> u32 {
    let hz = u64::from(timer::frequency());
    // SAFETY: the handler is made for this.
    unsafe { trap::install(drift_vectors) }
    gic::init();
    gic::enable(board::TIMER_INTERRUPT);
    trap::mask_interrupts();
    let due = timer::now() + hz / RATE;
    // SAFETY: interrupts are masked.
    unsafe { ptr::write(&raw mut DUE, due) }
    timer::arm(due);
    trap::unmask_interrupts();
    // To the tick, then as exact as can be.
    let before = seconds();
    while seconds() == before {
        sleep();
    }
    let tick = hz / RATE;
    let first = next_second(timer::now() + hz - 2 * tick, tick);
    let mut passed = 0;
    loop {
        passed += 1;
        let expected = first + passed * hz;
        let found = next_second(expected - tick / 50, 2 * tick);
        println!("drift: second {passed} off={} ns", nanoseconds(found.abs_diff(expected)));
    }
}
