//! A revocable lock whose holder runs on another core until somebody more urgent preempts it there.
//!
//! The manifest's order says who is who: the first waits for the lock, with much patience; the second
//! shares the holder's core, is more urgent than both, and begins to run without a pause while the
//! first waits; the third holds the lock. All that twice: at last the second has two timers, of which no
//! hypervisor knows beforehand which interrupts it.
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
use entresol_guest::{cp15, entry, gic, hypercall, println, timer};

entry!(main);

/// Microseconds for which the waiter waits at most.
const PATIENCE: u32 = 2_000_000;

/// Ticks for which the second timer does not interrupt, far more than all this takes.
const LONG: u32 = i32::MAX as u32;

/// How often.
const ROUNDS: u32 = 2;

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
    for round in 1..=ROUNDS {
        while word(HOLDS).load(SeqCst) != round {
            sleep(500);
        }
        // Until the other core is at rest, but for the holder.
        sleep(5000);
        let (before, turns) = (timer::now(), word(TURNS).load(SeqCst));
        let result = lock(true).take(Taker::new(), PATIENCE);
        let us = (timer::now() - before) * 1_000_000 / u64::from(timer::frequency());
        let ran = word(TURNS).load(SeqCst) != turns;
        match result {
            Ok(held) => {
                println!("waiter: taken in {us} us, the holder ran meanwhile: {ran}");
                held.release().expect("nobody takes it");
            }
            Err(error) => println!("waiter: {error:?} in {us} us"),
        }
        word(RESULT).store(round, SeqCst);
    }
    0
}

fn preempt() -> u32 {
    for round in 1..=ROUNDS {
        while word(HOLDS).load(SeqCst) != round {
            sleep(500);
        }
        if round == ROUNDS {
            // SAFETY: when a timer interrupts is the guest's to say.
            unsafe { cp15::cntp_tval::write(LONG) }
            // SAFETY: as above.
            unsafe { cp15::cntp_ctl::write(1) }
        }
        // The holder is not preempted before the other core had its turn, and waits.
        sleep(UNDISTURBED);
        while word(RESULT).load(SeqCst) != round {}
    }
    0
}

fn hold() -> u32 {
    gic::enable(TAKEN);
    for round in 1..=ROUNDS {
        let Ok(held) = lock(true).take(Taker::new(), PATIENCE) else { return 1 };
        word(HOLDS).store(round, SeqCst);
        while held.is_held() {
            word(TURNS).fetch_add(1, SeqCst);
        }
        let told = gic::acknowledge();
        gic::end(told);
        println!("holder: lost it, told by interrupt {told}");
        while word(RESULT).load(SeqCst) != round {
            sleep(500);
        }
    }
    0
}
