//! Stops a sequence at each of its instructions, then interrupts it anywhere and compares.
//!
//! What a kernel sees of an interrupt is the state between two of its instructions, whatever
//! a hypervisor made of these. So first the sequence is run to each of its instructions, where
//! an undefined one is put: these states are hashed, to be compared between hypervisors and
//! none. Then, put back as it was and run until it is rewritten, it is interrupted by the timer
//! after any time, also one that is over within what stands for one of its instructions; each
//! state found must be the one of that place. Where interrupts strike differs between machines,
//! so nothing is hashed: a difference is printed, which none is without a hypervisor.
//!
//! # Invariants
//!
//! 1. Banked `lr` and SPSR that the stop or the interrupt itself writes are not compared.
//! 2. A store of several registers, and SRS, may be interrupted between two of them and is begun
//!    again (ARM DDI 0406C, A3.5.3): memory is not compared there.

use crate::code::{Code, MOST};
use crate::{CODE, CODE_PAGES, Hash, PLACE, TIMES, a32, over_exceptions, prepare, t32};
use core::hint::black_box;
use core::ptr;
use entresol_guest::random::Random;
use entresol_guest::sandbox::{State, vector};
use entresol_guest::{cp15, gic, println, timer};

/// Interrupts of one stretch.
const INTERRUPTS: u32 = 24;
/// Most stretches between exceptions that are interrupted.
const STRETCHES: usize = 4;
/// The time in which a sequence certainly runs has so many ticks at least.
const SHORTEST: u32 = 8;
/// CPSR.T.
const T32: u32 = 0x20;
/// Supervisor mode with everything masked.
const SUPERVISOR: u32 = 0x1d3;
/// The page behind those of sequences.
const PAGE: usize = 0x1000;
const OTHERS: usize = CODE + CODE_PAGES * PAGE;
/// CPSR.M, and User mode.
const MODE: u32 = 0x1f;
const USER: u32 = 0x10;

/// A stop at an instruction, if it got there.
struct Stop {
    state: State,
    memory: u32,
    reached: bool,
    /// It may be interrupted between two stores.
    stores: bool,
}

static mut STOPS: [Stop; MOST] =
    [const { Stop { state: State::EMPTY, memory: 0, reached: false, stores: false } }; MOST];

/// Writes a page of system register writes, which none can be promoted, a slot for each place of a
/// sequence.
pub(crate) fn write_others() {
    for at in (OTHERS..OTHERS + PAGE).step_by(4) {
        // mcr p15, 0, r5, c5, c0, 0
        let word = if (at + 4).is_multiple_of(PLACE) { a32::END } else { 0xee05_5f10 };
        // SAFETY: a page that nothing else uses.
        unsafe { ptr::with_exposed_provenance_mut::<u32>(at).write_volatile(word) }
    }
    cp15::code_written(OTHERS, PAGE);
}

/// Makes both for a sequence that was just written.
pub(crate) fn check(number: u32, initial: &State, code: &Code, hash: &mut Hash) {
    // SAFETY: the only user, and it does not call itself.
    let stops = unsafe { &mut *ptr::addr_of_mut!(STOPS) };
    for (stop, offset) in stops.iter_mut().zip(code.starts()) {
        stop_at(stop, initial, code, *offset);
        if cfg!(feature = "full") {
            println!("{number} stopped at {offset:x}: {:x?} memory {:x}", stop.state, stop.memory);
        }
        hash.state(&stop.state);
        hash.word(stop.memory);
    }
    // A page that was written so often may be one that is not rewritten, until the guest says that
    // it wrote code although it did not. And where instructions had no meaning a hypervisor may have
    // given up, until it has others to think of.
    let _ = over_exceptions(initial, |_| false);
    cp15::code_written(initial.pc as usize, 4);
    let pc = OTHERS as u32 + initial.pc % PAGE as u32;
    let _ = over_exceptions(&State { pc, psr: SUPERVISOR, ..*initial }, |_| false);
    let mut ticks = [0; STRETCHES];
    for _ in 0..TIMES {
        prepare();
        let (mut begin, mut number) = (timer::now(), 0);
        let _ = over_exceptions(initial, |_| {
            if let Some(slot) = ticks.get_mut(number) {
                *slot = (timer::now() - begin) as u32;
            }
            number += 1;
            begin = timer::now();
            false
        });
    }
    let mut random = Random::numbered(number);
    for _ in 0..2 {
        // One of the stretches between exceptions.
        let stretch = random.below(STRETCHES as u32) as usize;
        if let Some(&ticks) = ticks.get(stretch).filter(|ticks| **ticks != 0) {
            interrupt(number, initial, code, &*stops, (stretch, ticks), &mut random);
        }
    }
}

/// Interrupts a stretch that takes so many ticks, closing in on the time when the sequence runs.
fn interrupt(
    number: u32,
    initial: &State,
    code: &Code,
    stops: &[Stop],
    (stretch, ticks): (usize, u32),
    random: &mut Random,
) {
    let (mut early, mut late) = (0, ticks);
    for _ in 0..INTERRUPTS {
        prepare();
        let after = early + random.below(late - early + 1);
        let phase = random.below(16);
        let arm = || {
            timer::arm(timer::now() + u64::from(after));
            // Instructions are shorter than ticks.
            for round in 0..phase {
                black_box(round);
            }
        };
        let (mut from, mut passed) = (initial.pc, 0);
        if stretch == 0 {
            arm();
        }
        let found = over_exceptions(initial, |found| {
            if found.vector != vector::IRQ {
                from = if found.vector == vector::DATA { found.pc - 4 } else { found.pc };
                passed += 1;
                if passed == stretch {
                    arm();
                }
            }
            false
        });
        timer::disarm();
        if found.vector != vector::IRQ {
            late = after.max(early + SHORTEST).min(late);
            continue;
        }
        gic::end(gic::acknowledge());
        judge(number, &found, stops, code, initial);
        if found.pc - 4 == from {
            early = after.saturating_sub(1).max(early).min(late - SHORTEST.min(late));
        }
    }
}

/// Runs to the instruction at `offset`, without executing it.
fn stop_at(stop: &mut Stop, initial: &State, code: &Code, offset: u16) {
    let at = initial.pc as usize + usize::from(offset);
    let own = code.halves_at(offset);
    let (end, bytes) = if initial.psr & T32 == 0 {
        ([a32::END as u16, (a32::END >> 16) as u16], 4)
    } else {
        ([t32::END as u16, own[1]], 2)
    };
    let put = |halves: [u16; 2]| {
        for (half, at) in halves.into_iter().zip([at, at + 2]) {
            // SAFETY: halfwords of the sequence, or right behind it.
            unsafe { ptr::with_exposed_provenance_mut::<u16>(at).write_volatile(half) }
        }
        cp15::code_written(at, 4);
    };
    put(end);
    prepare();
    stop.state = over_exceptions(initial, |_| false);
    put(own);
    stop.reached = stop.state.vector == vector::UNDEFINED && stop.state.pc as usize == at + bytes;
    stop.memory = memory();
    stop.stores = match bytes {
        4 => own[1] & 0xfff == (a32::STORE_USER >> 16) as u16 || own[1] & 0xfe5f == 0xf84d,
        _ => matches!(own[0] & 0xffdf, 0xe80d | 0xe98d),
    };
}

fn memory() -> u32 {
    let mut hash = Hash::new();
    hash.scratch();
    hash.0
}

/// Compares what an interrupt found with the stop at that place.
fn judge(number: u32, found: &State, stops: &[Stop], code: &Code, initial: &State) {
    let at = found.pc - 4;
    let offset = at.wrapping_sub(initial.pc);
    if found.psr & MODE == USER {
        // Which cannot execute the sequence: it did not even stop there.
        return;
    }
    let mut known = code.starts().iter().zip(stops);
    let Some((_, stop)) = known.find(|(start, _)| u32::from(**start) == offset) else {
        // Inside of an IT block, or nowhere.
        if offset as usize >= code.bytes() || initial.psr & T32 == 0 {
            println!("differential: {number} interrupted at {at:08x}");
        }
        return;
    };
    let there = &stop.state;
    let same = |get: fn(&State) -> [u32; 13]| get(found) == get(there);
    let banks = |state: &State| {
        let (svc, abt, fiq) = (state.svc, state.abt, state.fiq);
        [
            [svc.sp, svc.lr, svc.spsr, state.und.sp],
            [abt.sp, abt.lr, abt.spsr, state.irq.sp],
            [fiq.sp, fiq.lr, fiq.spsr, state.psr],
        ]
    };
    let registers = same(|state| state.r) && found.fiq_r == there.fiq_r;
    let user = (found.usr_sp, found.usr_lr) == (there.usr_sp, there.usr_lr);
    let memory = stop.stores || memory() == stop.memory;
    if !(stop.reached && registers && user && banks(found) == banks(there) && memory) {
        println!("differential: {number} interrupted at {at:08x} is not as stopped there");
        if cfg!(feature = "full") {
            println!("{found:x?}\n{there:x?} memory {memory} reached {}", stop.reached);
        }
    }
}
