//! Every attack on promotion, one a start.
#![no_std]
#![no_main]

entresol_guest::entry!(main);

fn main(_device_tree: u32) -> u32 {
    attack::run_on_promotion()
}
