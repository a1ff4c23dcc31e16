//! A revocable lock whose holder runs on another core until somebody more urgent preempts it there.
//!
//! The manifest's order says who is who: the first waits for the lock, with much patience; the second
//! shares the holder's core, is more urgent than both, and begins to run without a pause while the
//! first waits; the third holds the lock.
//!
//! ```text
//! waiter: taken in 200013 us, the holder ran meanwhile: true
//! ```
#![no_std]
#![no_main]

#[allow(dead_code, reason = "what the other guest of this package needs, too")]
mod board;

use board::{HOLDS, RESULT, TAKEN, TURNS, lock, sleep, word};
use core::sync::atomic::Ordering::SeqCst;
use entresol_guest::abi::hypercall::Function;
use entresol_guest::lock::Taker;
use entresol_guest::{entry, gic, hypercall, println, timer};

entry!(main);

/// Microseconds for which the waiter waits at most.
const PATIENCE: u32 = 2_000_000;

/// Microseconds for which the holder runs.
const UNDISTURBED: u64 = 200_000;

fn main(_device_tree: u32) -> u32 {
    gic::init();
    match hypercall::call(Function::VmIndex, 0) {
        0 => wait(),
        1 => preempt(),
        _ => hold(),
    }
}

fn wait() -> u32 {
    while word(HOLDS).load(SeqCst) == 0 {
        sleep(500);
    }
    // Until the other core is at rest, but for the holder.
    sleep(5000);
    let (before, turns) = (timer::now(), word(TURNS).load(SeqCst));
    let result = lock(true).take(Taker::new(), PATIENCE);
    let us = (timer::now() - before) * 1_000_000 / u64::from(timer::frequency());
    let ran = word(TURNS).load(SeqCst) != turns;
    word(RESULT).store(1, SeqCst);
    match result {
        Ok(_) => println!("waiter: taken in {us} us, the holder ran meanwhile: {ran}"),
        Err(error) => println!("waiter: {error:?} in {us} us"),
    }
    0
}

fn preempt() -> u32 {
    while word(HOLDS).load(SeqCst) == 0 {
        sleep(500);
    }
    // The holder is not preempted before the other core had its turn, and waits.
    sleep(UNDISTURBED);
    while word(RESULT).load(SeqCst) == 0 {}
    0
}

fn hold() -> u32 {
    gic::enable(TAKEN);
    if let Ok(held) = lock(true).take(Taker::new(), 0) {
        word(HOLDS).store(1, SeqCst);
        while held.is_held() {
            word(TURNS).fetch_add(1, SeqCst);
        }
        let told = gic::acknowledge();
        gic::end(told);
        println!("holder: lost it, told by interrupt {told}");
    }
    0
}
