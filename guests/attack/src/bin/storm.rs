//! An interrupt storm that does not end: every handler raises the next interrupt.
#![no_std]
#![no_main]

entresol_guest::entry!(main);

fn main(_device_tree: u32) -> u32 {
    attack::storm::for_ever()
}
