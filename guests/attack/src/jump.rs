//! Jumps to odd places: misaligned, into the middle of an instruction, into words of the other
//! instruction set.
//!
//! The code has sensitive instructions of both sets, which a hypervisor has replaced
//! once they ran; then every halfword of it is jumped to in both sets, at every
//! alignment.

use crate::arena::{self, CODE, SVC, T32, Tally, USR};
use entresol_guest::{cp15, print};

/// A32: cpsid i; mrs r0, cpsr; msr cpsr_f, r0; mrs r1, spsr. Then T32: mrs r0, cpsr;
/// msr cpsr_f, r0; cpsid i, twice; mrs r1, spsr.
const WORDS: [u32; 8] = [
    0xf10c_0080,
    0xe10f_0000,
    0xe128_f000,
    0xe14f_1000,
    0x8000_f3ef,
    0x8800_f380,
    0xb672_b672,
    0x8100_f3ff,
];

pub(crate) fn in_kernel() {
    everywhere(SVC);
}

pub(crate) fn in_application() {
    everywhere(USR);
}

fn everywhere(mode: u32) {
    arena::prepare();
    arena::mmu_on();
    for (index, word) in WORDS.into_iter().enumerate() {
        arena::put(CODE + index * 4, word);
    }
    cp15::code_written(CODE, WORDS.len() * 4);
    let mut tally = Tally::default();
    let mut count = 0;
    // The regular ways first, so that replacements are made.
    for (start, set) in [(CODE, 0), (CODE + 16, T32)] {
        tally.add(&arena::run(&arena::state(mode | set, start)));
    }
    for offset in 0..WORDS.len() * 4 {
        for set in [0, T32] {
            // IT states in the middle of nowhere, too.
            for block in [0, 0x0000_0400, 0x0600_fc00] {
                let block = if set == 0 { 0 } else { block };
                let found = arena::run(&arena::state(mode | set | block, CODE + offset));
                tally.add(&found);
                count += 1;
            }
        }
    }
    arena::mmu_off();
    print!("jumps={count} {tally}");
}
