//! The most urgent one: says what is to be done, waits for the lock, and reports.

use crate::board::{self, BUSY, HOLDS, RESULT, TASK, lock, sleep, word};
use crate::low::{TASKS, Task};
use core::sync::atomic::Ordering::SeqCst;
use entresol_guest::lock::{NotTaken, Taker};
use entresol_guest::{gic, println, timer};

/// Microseconds for which it waits at most.
const PATIENCE: u32 = 4000;
/// The same for a lock that is taken at once, whatever its core.
const LONG: u32 = 2_000_000;

pub(crate) fn run() -> u32 {
    gic::init();
    let taker = Taker::new();
    let mut wrong = 0;
    for (number, task) in (1..).zip(&TASKS) {
        word(TASK).store(number, SeqCst);
        while word(HOLDS).load(SeqCst) != number {
            sleep(500);
        }
        word(BUSY).store(1, SeqCst);
        sleep(1500);
        let before = timer::now();
        let patience = if task.revocable() { LONG } else { PATIENCE };
        let result = lock(task.revocable()).take(taker, patience);
        let ticks = timer::now() - before;
        word(BUSY).store(0, SeqCst);
        let us = ticks * 1_000_000 / u64::from(timer::frequency());
        match &result {
            Ok(_) => println!("high: {number} {}: taken in {us} us", task.name()),
            Err(error) => println!("high: {number} {}: {error:?} in {us} us", task.name()),
        }
        let taken = result.is_ok();
        if taken == (*task == Task::Keep) || result.is_err_and(|error| error == NotTaken::NoLock) {
            println!("high: that is wrong");
            wrong += 1;
        }
        // What it took it releases, unless that was lost in turn.
        if let Ok(held) = lock(task.revocable()).take(taker, 0)
            && held.release().is_err()
        {
            println!("high: lost");
        }
        while word(RESULT).load(SeqCst) != number {
            sleep(500);
        }
    }
    println!("high: no lock outside: {:?}", not_a_lock(taker));
    word(TASK).store(u32::MAX, SeqCst);
    println!("high: {wrong} wrong");
    wrong
}

/// Waits for locks where there are none.
fn not_a_lock(taker: Taker) -> bool {
    let places = [0, 2, 0x3000_0002, 0x3000_3000, 0x4000_8000, 0xfff0_0000, u32::MAX];
    places.into_iter().all(|at| {
        let lock = entresol_guest::lock::Lock::new(board::raw(false), at);
        let held = board::raw(false).swap(taker.token(), SeqCst);
        let refused = matches!(lock.take(taker, PATIENCE), Err(NotTaken::NoLock));
        board::raw(false).store(held, SeqCst);
        refused
    })
}
