//! VFP and NEON keep their registers and modes, whoever else uses them.
//!
//! Two processes compute at once with all registers, under a timer signal whose handler
//! destroys every one of them; the kernel saves them lazily, so each switch is a trap.

use crate::signals::{self, Timer};
use crate::{Wrong, ensure, process};
use core::arch::naked_asm;

/// Turns of a computation: some ten milliseconds, several of the kernel's ticks.
const TURNS: u32 = 400_000;

/// Checks both units.
pub(crate) fn check() -> Result<(), Wrong> {
    ensure(process::at_once(2, vectors_right), "NEON in two processes at once")?;
    ensure(process::at_once(2, doubles_right), "VFP in two processes at once")?;
    ensure(process::at_once(3, rounding_right), "rounding modes of three processes at once")
}

/// The sixteen quad registers, lane by lane.
type Vectors = [[u32; 4]; 16];

fn vectors_right(seed: u32) -> bool {
    let mut word = seed.wrapping_mul(0x9e37_79b9) + 1;
    let mut state: Vectors = [[0; 4]; 16];
    for lane in state.iter_mut().flatten() {
        word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *lane = word;
    }
    let mut expected = state;
    for _ in 0..TURNS / 4 {
        turn(&mut expected);
    }
    let timer = Timer::start(signals::destroy_float);
    // SAFETY: the state is as long as it must be; all it clobbers is the caller's to lose.
    unsafe { vectors(&raw mut state, TURNS / 4) };
    timer.stop();
    state == expected
}

/// What [`vectors`] does in a turn.
fn turn(state: &mut Vectors) {
    for index in 0..16 {
        let next = state[(index + 1) % 16];
        let mut lanes = state[index];
        lanes.iter_mut().zip(next).for_each(|(lane, next)| *lane = lane.wrapping_add(next));
        lanes.rotate_left(1);
        state[index] = lanes;
    }
}

#[unsafe(naked)]
unsafe extern "C" fn vectors(state: *mut Vectors, turns: u32) {
    naked_asm!(
        ".fpu neon",
        "push {{r4, lr}}",
        "vpush {{d8-d15}}",
        "mov r2, r0",
        "vldm r2!, {{d0-d15}}",
        "vldm r2, {{d16-d31}}",
        "1:",
        ".macro sum_and_turn a, b",
        "vadd.i32 \\a, \\a, \\b",
        "vext.32 \\a, \\a, \\a, #1",
        ".endm",
        "sum_and_turn q0, q1",
        "sum_and_turn q1, q2",
        "sum_and_turn q2, q3",
        "sum_and_turn q3, q4",
        "sum_and_turn q4, q5",
        "sum_and_turn q5, q6",
        "sum_and_turn q6, q7",
        "sum_and_turn q7, q8",
        "sum_and_turn q8, q9",
        "sum_and_turn q9, q10",
        "sum_and_turn q10, q11",
        "sum_and_turn q11, q12",
        "sum_and_turn q12, q13",
        "sum_and_turn q13, q14",
        "sum_and_turn q14, q15",
        "sum_and_turn q15, q0",
        "subs r1, r1, #1",
        "bne 1b",
        "vstm r0!, {{d0-d15}}",
        "vstm r0, {{d16-d31}}",
        "vpop {{d8-d15}}",
        "pop {{r4, pc}}",
    )
}

fn doubles_right(seed: u32) -> bool {
    let seed = u64::from(seed) + 3;
    let timer = Timer::start(signals::destroy_float);
    let mut sums = [0; 4];
    // SAFETY: the sums are as many as it writes.
    let greater = unsafe { doubles(&raw mut sums, TURNS, seed as u32) };
    timer.stop();
    // d = 0 + n * (seed + i) * seed, exact in a double; integers come back.
    let expected = [0, 1, 2, 3].map(|i| (u64::from(TURNS) * (seed + i) * seed) as u32);
    greater == TURNS && sums == expected
}

/// Sums products in doubles; returns how often one compared greater than zero.
#[unsafe(naked)]
unsafe extern "C" fn doubles(sums: *mut [u32; 4], turns: u32, seed: u32) -> u32 {
    naked_asm!(
        ".fpu neon",
        "push {{r4, lr}}",
        "vpush {{d8-d15}}",
        ".macro integer d, s, r",
        "vmov \\s, \\r",
        "vcvt.f64.u32 \\d, \\s",
        ".endm",
        "integer d7, s0, r2",
        "integer d8, s0, r2",
        "add r2, r2, #1",
        "integer d9, s0, r2",
        "add r2, r2, #1",
        "integer d10, s0, r2",
        "add r2, r2, #1",
        "integer d11, s0, r2",
        "mov r2, #0",
        "integer d20, s0, r2",
        "vmov.f64 d21, d20",
        "vmov.f64 d22, d20",
        "vmov.f64 d23, d20",
        "vmov.f64 d24, d20",
        "1:",
        "vmla.f64 d20, d7, d8",
        "vmla.f64 d21, d7, d9",
        "vmla.f64 d22, d7, d10",
        "vmla.f64 d23, d7, d11",
        "vmul.f64 d25, d9, d9",
        "vsqrt.f64 d25, d25",
        "vsub.f64 d25, d25, d8", // one
        "vcmp.f64 d25, d24",
        "vmrs APSR_nzcv, fpscr",
        "addgt r2, r2, #1",
        "subs r1, r1, #1",
        "bne 1b",
        ".macro store d, s",
        "vcvt.u32.f64 \\s, \\d",
        "vmov r3, \\s",
        "str r3, [r0], #4",
        ".endm",
        // Their low words: small enough turns keep them below 2^32.
        "store d20, s0",
        "store d21, s0",
        "store d22, s0",
        "store d23, s0",
        "mov r0, r2",
        "vpop {{d8-d15}}",
        "pop {{r4, pc}}",
    )
}

/// Each process rounds 1/3 in a mode of its own, which the register keeps.
fn rounding_right(number: u32) -> bool {
    // RMode: to nearest, towards plus infinity, towards minus infinity.
    let mode = number << 22;
    let expected = if number == 1 { 0x5555_5556 } else { 0x5555_5555 };
    (0..40).all(|_| {
        crate::linux::yield_now();
        // SAFETY: clobbers what a call may.
        unsafe { third(mode, TURNS / 40) == expected }
    })
}

/// Divides 1 by 3 `turns` times; returns the low word, or 0 if two results differed.
#[unsafe(naked)]
unsafe extern "C" fn third(mode: u32, turns: u32) -> u32 {
    naked_asm!(
        ".fpu neon",
        "vmrs r3, fpscr",
        "push {{r3, lr}}",
        "vmsr fpscr, r0",
        "vmov.f64 d0, #1.0",
        "vmov.f64 d1, #3.0",
        "vdiv.f64 d2, d0, d1",
        "1:",
        "vdiv.f64 d3, d0, d1",
        "vsub.f64 d4, d3, d2",
        "vcmp.f64 d4, #0.0",
        "vmrs APSR_nzcv, fpscr",
        "movne r0, #0",
        "bne 2f",
        "subs r1, r1, #1",
        "bne 1b",
        "vmov r0, r1, d2",
        "2:",
        "pop {{r3, lr}}",
        "vmsr fpscr, r3",
        "bx lr",
    )
}
