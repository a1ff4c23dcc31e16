//! The real-time guest that runs for ever, ten times as often.
#![no_std]
#![no_main]

entresol_guest::entry!(main);

fn main(_device_tree: u32) -> u32 {
    realtime::run(10_000, None)
}
