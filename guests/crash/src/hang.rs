//! A guest that answers its watchdog for a while, then hangs.
//!
//! It hangs with interrupts masked, in a loop or, at every other start, waiting for an interrupt
//! that nobody sends. The watchdog ends it all the same; the policy of its manifest then starts
//! it again, and it says which start this is.
#![no_std]
#![no_main]

use core::ptr::with_exposed_provenance_mut;
use entresol_guest::{entry, hypercall, println, timer, trap};

/// The SP805 of the virtual board, and its registers by word.
const WATCHDOG: usize = 0x0902_0000;
const LOAD: usize = 0;
const VALUE: usize = 1;
const CONTROL: usize = 2;
const CLEAR: usize = 3;
const STATUS: usize = 4;

/// Counts of the watchdog to its interrupt: a millisecond.
const COUNTS: u32 = 24_000;
/// Times it is answered.
const ANSWERS: u32 = 20;

entry!(main);

fn write(register: usize, value: u32) {
    let at = with_exposed_provenance_mut::<u32>(WATCHDOG + register * 4);
    // SAFETY: a register of the board.
    unsafe { at.write_volatile(value) }
}

fn read(register: usize) -> u32 {
    let at = with_exposed_provenance_mut::<u32>(WATCHDOG + register * 4);
    // SAFETY: as in `write`.
    unsafe { at.read_volatile() }
}

fn main(_device_tree: u32) -> u32 {
    let start = hypercall::starts();
    write(LOAD, COUNTS);
    write(CONTROL, 0b11);
    let began = timer::now();
    for _ in 0..ANSWERS {
        while read(STATUS) == 0 {
            core::hint::spin_loop();
        }
        write(CLEAR, 1);
    }
    let took = (timer::now() - began) * 1000 / u64::from(timer::frequency());
    let counts = read(VALUE) <= COUNTS;
    println!("hang: start {start}, answered {ANSWERS} times in {took} ms, counts {counts}");
    loop {
        if start.is_multiple_of(2) {
            trap::wait_for_interrupt();
        }
    }
}
