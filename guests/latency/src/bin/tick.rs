//! A guest that waits for its timer, again and again, after intervals that are never the same.
//!
//! The instrument counts what executes until `tick_handler`, the first instruction of its
//! handler. Intervals are random, 20 to 84 microseconds, so that interrupts come in every phase
//! of what the neighbours do. Ends never, prints its first line only.
#![no_std]
#![no_main]

use core::arch::naked_asm;
use entresol_guest::{board, entry, gic, println, timer, trap, vectors};

entry!(main);

vectors! {
    /// The timer; all else is unexpected.
    tick_vectors:
        undefined trap::unexpected, svc trap::unexpected, prefetch trap::unexpected,
        data trap::unexpected, irq tick_handler, fiq trap::unexpected,
}

/// The interrupt vector.
///
/// # Safety
///
/// Reached from the vector table only.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn tick_handler() {
    naked_asm!(
        "push {{r0-r3, r12, lr}}",
        "bl {handle}",
        "pop {{r0-r3, r12, lr}}",
        "subs pc, lr, #4",
        handle = sym handle,
    )
}

extern "C" fn handle() {
    let acknowledged = gic::acknowledge();
    timer::disarm();
    gic::end(acknowledged);
}

fn main(_device_tree: u32) -> u32 {
    let hz = u64::from(timer::frequency());
    // SAFETY: the handler returns as an interrupt's must.
    unsafe { trap::install(tick_vectors) }
    gic::init();
    gic::enable(board::TIMER_INTERRUPT);
    println!("tick: ready");
    let mut random = 1_u32;
    loop {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let interval = 20_000 + u64::from(random >> 16);
        trap::mask_interrupts();
        timer::arm(timer::now() + interval * hz / 1_000_000_000);
        trap::wait_for_interrupt();
        trap::unmask_interrupts();
    }
}
