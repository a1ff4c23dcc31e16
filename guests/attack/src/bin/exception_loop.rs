//! An infinite loop of exceptions: the vectors are undefined instructions.
#![no_std]
#![no_main]

use core::arch::naked_asm;
use entresol_guest::{cp15, entry, println};

entry!(main);

#[unsafe(naked)]
unsafe extern "C" fn undefined_vectors() {
    naked_asm!(".balign 32", ".rept 8", ".inst 0xe7f000f0", ".endr")
}

fn main(_device_tree: u32) -> u32 {
    println!("attack: an exception's handler is an exception");
    // SAFETY: none: never returning is the attack.
    unsafe { cp15::vbar::write(undefined_vectors as *const () as usize as u32) }
    cp15::isb();
    // SAFETY: as above.
    unsafe { core::arch::asm!(".inst 0xe7f000f0") }
    println!("attack: it ended");
    1
}
