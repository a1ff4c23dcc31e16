//! A guest that waits for its timer, again and again, after intervals that are never the same.
//!
//! The instrument counts what executes until `tick_handler`, the first instruction of its
//! handler. Intervals are random, 20 to 84 microseconds, so that interrupts come in every phase
//! of what the neighbours do. Ends never, prints its first line only.
#![no_std]
#![no_main]

use entresol_guest::{board, entry, gic, interrupt, println, timer, trap, vectors};

entry!(main);

vectors! {
    /// The timer; all else is unexpected.
    tick_vectors:
        undefined trap::unexpected, svc trap::unexpected, prefetch trap::unexpected,
        data trap::unexpected, irq tick_handler, fiq trap::unexpected,
}

/// The interrupt vector: on a page where no other guest that it is measured with has code, because
/// the instrument sees addresses and no VMs.
///
/// # Safety
///
/// Reached from a vector table only.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn tick_handler() {
    core::arch::naked_asm!(".balign 0x10000", "b {interrupt}", interrupt = sym tick_interrupt)
}

interrupt! {
    /// The rest of it.
    tick_interrupt => handle
}

/// What the intervals are made of; the handler's alone once interrupts are unmasked.
static mut RANDOM: u32 = 1;

extern "C" fn handle() {
    let acknowledged = gic::acknowledge();
    arm();
    gic::end(acknowledged);
}

/// Arms the timer for an interval that is like none before.
fn arm() {
    // SAFETY: interrupts are masked, so nothing else uses it.
    let random = unsafe { RANDOM.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) };
    // SAFETY: as above.
    unsafe { RANDOM = random };
    let interval = 20_000 + u64::from(random >> 16);
    timer::arm(timer::now() + interval * u64::from(timer::frequency()) / 1_000_000_000);
}

fn main(_device_tree: u32) -> u32 {
    // SAFETY: the handler returns as an interrupt's must.
    unsafe { trap::install(tick_vectors) }
    gic::init();
    gic::enable(board::TIMER_INTERRUPT);
    println!("tick: ready");
    arm();
    trap::unmask_interrupts();
    // An interrupt right before the wait is not lost: its handler arms the next.
    loop {
        trap::wait_for_interrupt();
    }
}
