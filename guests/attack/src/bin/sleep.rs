//! Waiting for an interrupt that nothing can raise.
#![no_std]
#![no_main]

use entresol_guest::{entry, println, trap};

entry!(main);

fn main(_device_tree: u32) -> u32 {
    println!("attack: sleeping for ever");
    loop {
        trap::wait_for_interrupt();
    }
}
