//! Code that costs as much as possible to find and to give back.
//!
//! A page whose every word is sensitive is written and entered again and again: each time
//! the hypervisor must read all of it, and put every word back.

use crate::arena::{self, CODE, SVC, T32, Tally, UNDEFINED};
use entresol_guest::{cp15, print};

/// How often a page is written and entered.
const ROUNDS: u32 = 24;

/// `MRS r0, CPSR`, a page full.
pub(crate) fn dense_a32() {
    dense(0xe10f_0000, UNDEFINED, SVC);
}

/// `CPSIE i`, two to a word.
pub(crate) fn dense_t32() {
    dense(0xb662_b662, 0xde5d_de5d, SVC | T32);
}

/// `LDM r0, {...}^`, which only control flow proves to be code.
pub(crate) fn dense_weak() {
    dense(0xe8d0_0006, UNDEFINED, SVC);
}

fn dense(word: u32, end: u32, psr: u32) {
    arena::prepare();
    let mut tally = Tally::default();
    for round in 0..ROUNDS {
        for at in (CODE..CODE + 0x1000).step_by(4) {
            arena::put(at, word);
        }
        // Entered at another place each time, and left at once.
        let entry = CODE + (round as usize * 4) % 0xff0;
        arena::put(entry + 4, end);
        cp15::code_written(CODE, 0x1000);
        tally.add(&arena::run(&arena::state(psr, entry)));
    }
    print!("rounds={ROUNDS} {tally}");
}
