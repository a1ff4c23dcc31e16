//! A guest that works for a while, then does what no guest may.
//!
//! It writes to the hypervisor's window with the MMU off. This is not an access that its
//! own tables forbid, so there is no abort to give to it: its run ends. The restart
//! policy of its manifest then starts it again, and it says which start this is.
#![no_std]
#![no_main]

use core::ptr::with_exposed_provenance_mut;
use entresol_guest::abi::window;
use entresol_guest::{board, entry, gic, hypercall, println, timer, trap};

/// Milliseconds of good behaviour.
const GOOD_FOR: u64 = 1000;

entry!(main);

fn main(_device_tree: u32) -> u32 {
    println!("crash: start {}, all is well", hypercall::starts());
    let until = timer::now() + u64::from(timer::frequency()) * GOOD_FOR / 1000;
    gic::init();
    gic::enable(board::TIMER_INTERRUPT);
    timer::arm(until);
    // Interrupts stay masked: a pending one ends the wait all the same.
    while timer::now() < until {
        trap::wait_for_interrupt();
    }
    timer::disarm();
    println!("crash: writing to {:08x}", window::BASE);
    // SAFETY: none. This is the fault that the guest exists for.
    unsafe { with_exposed_provenance_mut::<u32>(window::BASE as usize).write_volatile(0xdead) }
    println!("crash: nobody stopped it");
    1
}
