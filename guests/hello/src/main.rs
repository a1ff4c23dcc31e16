//! The smallest guest: prints a line and turns itself off.
//!
//! It contains no sensitive instruction; what it needs is memory, a console and PSCI.
#![no_std]
#![no_main]

use entresol_guest::abi::hypercall::Function;
use entresol_guest::{entry, hypercall, println};

entry!(main);

fn main(_device_tree: u32) -> u32 {
    println!("hello: start {} of this machine", hypercall::starts());
    let _ = hypercall::call(Function::PsciSystemOff, 0);
    1
}
