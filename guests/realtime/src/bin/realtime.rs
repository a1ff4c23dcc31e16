//! The real-time guest that runs for ever.
#![no_std]
#![no_main]

entresol_guest::entry!(main);

fn main(_device_tree: u32) -> u32 {
    realtime::run(1000, None)
}
