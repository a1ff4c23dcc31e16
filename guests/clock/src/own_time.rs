//! A guest that never waits and compares its clock with what it executed, for ever.
//!
//! It counts down a number of instructions and reads its counter before and after. With a clock
//! that stands while others run, in a machine where an instruction takes a nanosecond, what is
//! more than these is the hypervisor's in its turns:
//!
//! ```text
//! own: executed 1000000 us, clock more=2100 us
//! ```
#![no_std]
#![no_main]

use core::arch::asm;
use entresol_guest::{entry, println, timer};

entry!(main);

/// Instructions between two readings.
const INSTRUCTIONS: u32 = 1_000_000_000;

fn main(_device_tree: u32) -> u32 {
    let hz = u64::from(timer::frequency());
    loop {
        let before = timer::now();
        // SAFETY: counts down a register.
        unsafe {
            asm!(
                "1: subs {left}, {left}, #1",
                "bne 1b",
                left = inout(reg) INSTRUCTIONS / 2 => _,
                options(nomem, nostack),
            );
        }
        let passed = (timer::now() - before) * 1_000_000 / hz;
        let executed = u64::from(INSTRUCTIONS) / 1000;
        let more = passed.saturating_sub(executed);
        println!("own: executed {executed} us, clock more={more} us");
    }
}
