//! Code that costs as much as possible to find and to give back.
//!
//! A page whose every word is sensitive is written and entered again and again: each time
//! the hypervisor must read all of it, and put every word back.

use crate::arena::{self, CODE, SVC, T32, Tally, UNDEFINED};
use entresol_guest::sandbox::vector;
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

/// Makes itself manager of all domains, which no permission stops, and writes to a page that runs.
///
/// What it writes is sensitive. The page must be looked at all the same before it runs again.
pub(crate) fn managers() {
    const MANAGERS: u32 = 0xffff_ffff;
    const CLIENTS: u32 = 0x5555_5555;
    arena::prepare();
    arena::mmu_on();
    let mut unscanned = 0;
    for round in 0..ROUNDS {
        arena::put(CODE, UNDEFINED);
        cp15::code_written(CODE, 4);
        let _ = arena::run(&arena::state(SVC, CODE));
        // The same value again and again, as what changes nothing may be looked at less; and the page
        // is mapped between, as one that runs.
        for _ in 0..=round % 4 {
            // SAFETY: the guest's own permissions; it writes to the page of code only.
            unsafe { cp15::dacr::write(MANAGERS) }
            cp15::isb();
            let _ = arena::get(CODE);
        }
        // mrs r0, cpsr: in User mode it shows User mode.
        arena::put(CODE, 0xe10f_0000);
        arena::put(CODE + 4, UNDEFINED);
        // SAFETY: as `arena` left it.
        unsafe { cp15::dacr::write(CLIENTS) }
        cp15::isb();
        cp15::code_written(CODE, 8);
        let found = arena::run(&arena::state(SVC, CODE));
        // The watchdog may come first, where others have their turns.
        let executed = found.vector == vector::UNDEFINED;
        unscanned += u32::from(executed && found.r[0] & 0xf == 0);
    }
    print!("rounds={ROUNDS} unscanned={unscanned}");
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
