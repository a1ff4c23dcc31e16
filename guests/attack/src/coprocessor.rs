//! Every register of CP15 and CP14, read and written, from both privileges.
//!
//! They run with the MMU off, where no translation register matters. What would stop the
//! guest itself is written with values that do not: SCTLR changes only caches and
//! branch prediction, VBAR keeps its value.

use crate::arena::{self, CODE, SVC, Tally, UNDEFINED, USR};
use entresol_guest::random::Random;
use entresol_guest::sandbox::{self, vector};
use entresol_guest::{cp15, print};

/// Instructions placed at once.
const BATCH: usize = 64;

/// `MRC p14, 0, r1, c0, c0, 0`; bit 8 set makes it p15, bit 20 clear `MCR`.
const MRC: u32 = 0xee10_1e10;

pub(crate) fn read_from_kernel() {
    all(SVC, MRC);
}

pub(crate) fn read_from_application() {
    all(USR, MRC);
}

pub(crate) fn write_from_kernel() {
    all(SVC, MRC & !(1 << 20));
}

pub(crate) fn write_from_application() {
    all(USR, MRC & !(1 << 20));
}

/// Runs `form` for both coprocessors and all registers.
fn all(mode: u32, form: u32) {
    arena::prepare();
    let sctlr = cp15::sctlr::read();
    let mut random = Random::new(0x5eed_0015 ^ mode);
    for coprocessor in [0, 1] {
        let mut tally = Tally::default();
        let mut passed = 0;
        let mut hash = 0_u32;
        // Debug registers stop a processor for good: CP14 is read only.
        if coprocessor == 0 && form & (1 << 20) == 0 {
            continue;
        }
        for first in (0..0x4000).step_by(BATCH) {
            for index in 0..BATCH {
                let word = form | coprocessor << 8 | register(first + index as u32);
                arena::put(CODE + index * 4, word);
            }
            cp15::code_written(CODE, BATCH * 4);
            passed += batch(mode, sctlr, &mut random, &mut tally, &mut hash);
        }
        restore(sctlr);
        print!("p{}: passed={passed} {tally} set={hash:08x}; ", 14 + coprocessor);
    }
}

/// The coordinates of a register, as they lie in an instruction.
fn register(number: u32) -> u32 {
    let (opc2, rest) = (number & 7, number >> 3);
    let (crm, rest) = (rest & 0xf, rest >> 4);
    let (opc1, crn) = (rest & 7, rest >> 3);
    crn << 16 | opc1 << 21 | crm | opc2 << 5
}

/// Runs a batch, skipping what faults; returns how many did not.
fn batch(mode: u32, sctlr: u32, random: &mut Random, tally: &mut Tally, hash: &mut u32) -> u32 {
    let end = CODE + BATCH * 4;
    arena::put(end, UNDEFINED);
    let mut at = CODE;
    let mut passed = 0;
    while at < end {
        let mut state = arena::state(mode, at);
        state.r[1] = value(at, sctlr, random);
        // One at a time where the value depends on the register.
        let found = if special(at) {
            let next = read(at + 4);
            arena::put(at + 4, UNDEFINED);
            cp15::code_written(at + 4, 4);
            let found = arena::run(&state);
            arena::put(at + 4, next);
            cp15::code_written(at + 4, 4);
            found
        } else {
            arena::run(&state)
        };
        let stopped = match found.vector {
            vector::UNDEFINED | vector::SVC => found.pc as usize - 4,
            vector::DATA => found.pc as usize - 8,
            _ => found.pc as usize - 4,
        };
        // Leaving the batch ends it: what was written may have sent us anywhere.
        if !(CODE..=end).contains(&stopped) {
            print!("stray ");
            arena::print_end(&found);
            return passed;
        }
        for passed_at in (at..stopped).step_by(4) {
            passed += 1;
            *hash = hash.rotate_left(5) ^ read(passed_at);
        }
        if special(at) && stopped == at + 4 {
            at = stopped;
            continue;
        }
        if stopped < end && found.vector != vector::IRQ {
            tally.add(&found);
            at = stopped + 4;
        } else {
            at = stopped;
        }
    }
    passed
}

/// Registers that are written with care: SCTLR and VBAR, as register fields.
fn special(at: usize) -> bool {
    let fields = read(at) & 0x00ef_0fef;
    fields == 0x0001_0f00 || fields == 0x000c_0f00
}

fn value(at: usize, sctlr: u32, random: &mut Random) -> u32 {
    match read(at) & 0x00ef_0fef {
        0x0001_0f00 => sctlr ^ (random.word() & 0x1804),
        0x000c_0f00 => sandbox::vectors_address(),
        _ => random.word(),
    }
}

fn read(at: usize) -> u32 {
    // SAFETY: the page of code is always readable.
    unsafe { core::ptr::with_exposed_provenance::<u32>(at).read_volatile() }
}

/// Undoes what writes changed that matters later.
fn restore(sctlr: u32) {
    // SAFETY: the values that every attack starts with.
    unsafe {
        cp15::ttbcr::write(0);
        cp15::sctlr::write(sctlr);
        cp15::contextidr::write(0);
        cp15::dacr::write(0x5555_5555);
        cp15::cntp_ctl::write(0);
        cp15::cntv_ctl::write(0);
        cp15::cntkctl::write(0);
    }
    cp15::isb();
}
