//! Two threads, each on a processor of its own if there are two: what one does to the memory they
//! share, and that the other wakes.

use crate::exclusive::{FUTEX_WAIT, FUTEX_WAKE, futex};
use crate::linux::{self, PAGE, Pages};
use crate::threads;
use crate::{Wrong, ensure};
use core::sync::atomic::Ordering::SeqCst;

/// Whose turn it is, as a count; what is asked for; what was found.
const TURN: usize = 0;
const ASKED: usize = 1;
const FOUND: usize = 2;
/// What the other counts while it is copied.
const COUNT: usize = 3;

/// What is asked for: nothing, as many turns as there are; a word of a page; a store to it;
/// counting until asked for something else; the end.
const PASS: u32 = 0;
const LOOK: u32 = 1;
const STORE: u32 = 2;
const GO_ON: u32 = 3;
const END: u32 = 4;

const ROUNDS: u32 = 300;

/// Checks all of it.
pub(crate) fn check() -> Result<(), Wrong> {
    let words = linux::map(1, linux::READ_WRITE, false);
    let page = linux::map(1, linux::READ_WRITE, false);
    let stack = linux::map(4, linux::READ_WRITE, false);
    words.put(8, page.base as u32);
    let top = stack.base + 4 * PAGE - 16;
    run_on(0);
    // SAFETY: a fresh stack; `other` ends the thread.
    unsafe { threads::start(top as u32, words.base as u32, 0, other) };
    let found = all(words, page);
    ask(words, END);
    found
}

fn all(words: Pages, page: Pages) -> Result<(), Wrong> {
    for _ in 0..ROUNDS {
        ask(words, PASS);
    }
    // What the other processor knows of a page is not what it was.
    for round in 1..ROUNDS {
        page.unmap();
        linux::map_at(page.base, linux::READ_WRITE);
        page.put(0, round);
        ask(words, LOOK);
        ensure(words.get(FOUND) == round, "a page that was mapped anew, read by the other")?;
        page.protect(linux::READ);
        page.protect(linux::READ_WRITE);
        ask(words, STORE);
        ensure(page.get(0) == !round, "a page that was protected, written by the other")?;
    }
    // A copy of the process keeps what there was, though the other thread goes on with the original.
    for _ in 0..5 {
        give(words, GO_ON);
        let before = words.get(COUNT);
        while words.get(COUNT) == before {
            linux::yield_now();
        }
        let copy = linux::fork(|| {
            let counted = words.get(COUNT);
            for _ in 0..8 {
                linux::yield_now();
                if words.get(COUNT) != counted {
                    return 1;
                }
            }
            0
        });
        let same = linux::wait(copy) == 0;
        words.atomic(ASKED).store(PASS, SeqCst);
        take(words);
        ensure(same, "a copy of memory that the other goes on writing")?;
    }
    Ok(())
}

/// Has the other do something, and waits for it.
fn ask(words: Pages, what: u32) {
    give(words, what);
    take(words);
}

fn give(words: Pages, what: u32) {
    words.put(ASKED, what);
    words.atomic(TURN).fetch_add(1, SeqCst);
    futex(words, TURN, FUTEX_WAKE, 1);
}

/// Waits until the turn is even: the first thread's.
fn take(words: Pages) {
    wait_for(words, 0);
}

fn wait_for(words: Pages, parity: u32) {
    loop {
        let turn = words.atomic(TURN).load(SeqCst);
        if turn % 2 == parity {
            return;
        }
        futex(words, TURN, FUTEX_WAIT, turn);
    }
}

extern "C" fn other(base: u32, _: u32) -> ! {
    let words = Pages { base: base as usize, pages: 1 };
    let page = Pages { base: words.get(8) as usize, pages: 1 };
    run_on(1);
    loop {
        wait_for(words, 1);
        let asked = words.get(ASKED);
        match asked {
            LOOK => words.put(FOUND, page.get(0)),
            STORE => page.put(0, !page.get(0)),
            GO_ON => {
                while words.atomic(ASKED).load(SeqCst) == GO_ON {
                    words.put(COUNT, words.get(COUNT) + 1);
                }
            }
            _ => {}
        }
        words.atomic(TURN).fetch_add(1, SeqCst);
        futex(words, TURN, FUTEX_WAKE, 1);
        if asked == END {
            loop {
                linux::call(linux::EXIT, [0; 3]);
            }
        }
    }
}

/// This thread runs on one processor only, if that exists.
fn run_on(processor: u32) {
    let set = 1_u32 << processor;
    linux::call(linux::SCHED_SETAFFINITY, [0, 4, (&raw const set).addr() as u32]);
}
