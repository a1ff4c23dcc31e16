//! The guest that never waits, and ends after three reports.
#![no_std]
#![no_main]

entresol_guest::entry!(main);

fn main(_device_tree: u32) -> u32 {
    spin::run(200, Some(3))
}
