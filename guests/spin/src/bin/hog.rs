//! The guest that never waits, and never ends.
#![no_std]
#![no_main]

entresol_guest::entry!(main);

fn main(_device_tree: u32) -> u32 {
    spin::run(2000, None)
}
