//! Three VMs and two regions of locks: what each does to the others, and what comes of it.
//!
//! The manifest's order says who is who: `high`, the most urgent, which waits for locks and
//! reports; `middle`, which never waits when it is told to run, so that nothing below it gets
//! a turn; `low`, which holds locks, and releases them, loses them, dies with them, keeps
//! them, or lies about them. `high` says what is to be done in a page that all share.
//!
//! ```text
//! high: 1 the holder releases: taken in 123 us
//! ```
#![no_std]
#![no_main]

mod board;
mod high;
mod low;

use entresol_guest::abi::hypercall::Function;
use entresol_guest::{entry, hypercall};

entry!(main);

fn main(_device_tree: u32) -> u32 {
    match hypercall::call(Function::VmIndex, 0) {
        0 => high::run(),
        1 => board::middle(),
        _ => low::run(),
    }
}
