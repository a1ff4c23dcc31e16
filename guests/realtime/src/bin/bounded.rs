//! The real-time guest that ends after two reports: status 0 if it missed no release.
#![no_std]
#![no_main]

entresol_guest::entry!(main);

fn main(_device_tree: u32) -> u32 {
    realtime::run(1000, Some(2))
}
