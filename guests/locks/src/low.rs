//! The least urgent one: holds the lock, and does with it what it is told to.

use crate::board::{self, HOLDS, RESULT, TAKEN, TASK, lock, raw, word};
use core::ptr::with_exposed_provenance_mut;
use core::sync::atomic::Ordering::SeqCst;
use entresol_guest::abi::hypercall::Function;
use entresol_guest::abi::lock::{GENERATIONS, WAITERS, token};
use entresol_guest::abi::window;
use entresol_guest::lock::Taker;
use entresol_guest::random::Random;
use entresol_guest::{gic, hypercall, println};

/// What becomes of the lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// It is released when another waits.
    Release,
    /// It is never released.
    Keep,
    /// It can be taken, and is, from an endless loop.
    Lose,
    /// Its holder dies while another waits.
    Die,
    /// Its holder died before another waits.
    DieBefore,
    /// It is released without telling who waits.
    Silence,
    /// Whatever its word is.
    Lies,
    /// Its word changes all the time, and so does who is told.
    Flood,
    /// The word of one that can be taken is whatever it is.
    RevocableLies,
    /// It changes all the time while it is taken.
    RevocableFlood,
}

/// In this order.
pub(crate) const TASKS: [Task; 10] = [
    Task::Release,
    Task::Keep,
    Task::Lose,
    Task::Die,
    Task::DieBefore,
    Task::Silence,
    Task::Lies,
    Task::Flood,
    Task::RevocableLies,
    Task::RevocableFlood,
];

impl Task {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Release => "the holder releases",
            Self::Keep => "the holder keeps",
            Self::Lose => "the holder loses",
            Self::Die => "the holder dies",
            Self::DieBefore => "the holder died",
            Self::Silence => "the holder is silent",
            Self::Lies => "the word lies",
            Self::Flood => "the word changes",
            Self::RevocableLies => "the revocable word lies",
            Self::RevocableFlood => "the revocable word changes",
        }
    }

    pub(crate) const fn revocable(self) -> bool {
        matches!(self, Self::Lose | Self::RevocableLies | Self::RevocableFlood)
    }
}

pub(crate) fn run() -> u32 {
    gic::init();
    gic::enable(TAKEN);
    let taker = Taker::new();
    println!("low: start {}", hypercall::starts());
    if hypercall::starts() == 1 {
        forbidden();
    }
    // Started anew in the middle of a task: that is over.
    word(RESULT).store(word(HOLDS).load(SeqCst), SeqCst);
    loop {
        let number = word(TASK).load(SeqCst);
        if number == u32::MAX {
            return 0;
        }
        if number != word(HOLDS).load(SeqCst)
            && let Some(task) = TASKS.get((number as usize).wrapping_sub(1))
        {
            perform(*task, number, taker);
            word(RESULT).store(number, SeqCst);
        }
    }
}

fn perform(task: Task, number: u32, taker: Taker) {
    let word_of_lock = raw(task.revocable());
    let Ok(held) = lock(task.revocable()).take(taker, 1_000_000) else {
        println!("low: {number} not taken");
        return;
    };
    let waited_for = || word_of_lock.load(SeqCst) & WAITERS != 0;
    if task == Task::DieBefore {
        word(HOLDS).store(number, SeqCst);
        die();
    }
    word(HOLDS).store(number, SeqCst);
    match task {
        Task::Release => while !waited_for() {},
        Task::Keep => {
            while !waited_for() {}
            // It is as urgent as who waits now, and no longer when that gave up.
            while word(board::BUSY).load(SeqCst) != 0 {}
        }
        Task::Lose => {
            while held.is_held() {}
            let told = gic::acknowledge();
            gic::end(told);
            println!("low: {number} lost it, told by interrupt {told}");
        }
        Task::Die => {
            while !waited_for() {}
            die();
        }
        Task::DieBefore => {}
        Task::Silence => {
            while !waited_for() {}
            word_of_lock.store(0, SeqCst);
            while word(board::BUSY).load(SeqCst) != 0 {}
        }
        Task::Lies | Task::RevocableLies => {
            let mut random = Random::new(0x10c5);
            for start in 0..2000 {
                let lie = if start < 1000 { random.word() } else { token(start & 7, start >> 3) };
                word_of_lock.store(lie, SeqCst);
            }
            word_of_lock.store(GENERATIONS | token(6, 1), SeqCst);
        }
        Task::Flood | Task::RevocableFlood => {
            while word(board::BUSY).load(SeqCst) != 0 {
                word_of_lock.fetch_add(1, SeqCst);
                let _ = hypercall::call(Function::LockWake, 0);
            }
            word_of_lock.store(0, SeqCst);
        }
    }
    let lost = held.release().is_err();
    println!("low: {number} released{}", if lost { ", too late" } else { "" });
}

fn die() {
    // SAFETY: none. This is the fault that ends this run.
    unsafe { with_exposed_provenance_mut::<u32>(window::BASE as usize).write_volatile(0xdead) }
}

/// What no guest may do with shared memory.
fn forbidden() {
    board::survive_aborts();
    let function = board::put_function();
    println!("low: execution aborts: {}", board::call_aborts(function));
    println!("low: writing what is read-only aborts: {}", board::store_aborts(board::READ_ONLY));
}
