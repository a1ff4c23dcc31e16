//! Every sensitive or undefined kind of instruction, with random operands, in both modes.
//!
//! The tables are written for this guest from the manual, not taken from the
//! hypervisor's: what that has forgotten shall be here.
//!
//! # Manuals
//!
//! ARM DDI 0406C: A5 (A32 encodings), A6 (T32 encodings), B9 (system instructions).

use crate::arena::{self, CODE, SVC, T32, Tally, USR};
use entresol_guest::random::Random;
use entresol_guest::{cp15, print};

/// Words of each row that are run.
const EACH: u32 = 48;

/// Encodings: bits that are fixed, and their values.
type Row = (u32, u32);

const A32: [Row; 46] = [
    (0xfff1_fe20, 0xf100_0000), // CPS, SETEND space
    (0xfff0_0000, 0xf100_0000), // its neighbours
    (0x0fb0_0000, 0x0100_0000), // MRS and miscellaneous
    (0x0fb0_0000, 0x0120_0000), // MSR register
    (0x0fbf_0fff, 0x010f_0000), // MRS
    (0x0fb0_fff0, 0x0120_f000), // MSR
    (0x0fb0_f000, 0x0320_f000), // MSR immediate, hints
    (0x0fff_ff00, 0x0320_f000), // Hints: WFI, WFE, DBG
    (0xfe50_ffff, 0xf810_0a00), // RFE
    (0xfe50_0000, 0xf810_0000), // RFE, bad bits
    (0xfe5f_ffe0, 0xf84d_0500), // SRS
    (0xfe50_0000, 0xf840_0000), // SRS, bad bits
    (0x0e50_0000, 0x0850_0000), // LDM ^
    (0x0e50_8000, 0x0850_8000), // LDM ^ with pc
    (0x0e50_0000, 0x0840_0000), // STM ^
    (0x0f70_0000, 0x0430_0000), // LDRT immediate
    (0x0f70_0000, 0x0420_0000), // STRT immediate
    (0x0f70_0010, 0x0630_0000), // LDRT register
    (0x0f70_0010, 0x0620_0000), // STRT register
    (0x0f70_0000, 0x0470_0000), // LDRBT
    (0x0f70_0000, 0x0460_0000), // STRBT
    (0x0f30_00f0, 0x0030_00b0), // LDRHT
    (0x0f30_00f0, 0x0020_00b0), // STRHT
    (0x0f30_00d0, 0x0030_00d0), // LDRSBT, LDRSHT
    (0x0e10_f000, 0x0010_f000), // ALU register with S to pc
    (0x0e10_f000, 0x0210_f000), // ALU immediate with S to pc
    (0x0fff_ffff, 0x01b0_f00e), // movs pc, lr
    (0x0fff_ff00, 0x025e_f000), // subs pc, lr, #
    (0x0ff0_00f0, 0x0160_0070), // SMC
    (0x0ff0_00f0, 0x0140_0070), // HVC
    (0x0ff0_00f0, 0x0120_0070), // BKPT
    (0x0ff0_00f0, 0x0160_0060), // ERET
    (0x0ff0_00f0, 0x07f0_00f0), // UDF
    (0x0f00_0000, 0x0f00_0000), // SVC
    (0x0f00_0f10, 0x0e00_0f10), // MCR, MRC p15 (also random registers)
    (0x0f00_0f00, 0x0e00_0e00), // p14
    (0x0f00_0e00, 0x0e00_0a00), // VFP data, VMRS and VMSR
    (0x0f00_0000, 0x0e00_0000), // Any coprocessor
    (0x0e00_0000, 0x0c00_0000), // LDC, STC, MCRR, MRRC of any
    (0x0fe0_0f00, 0x0c40_0f00), // MCRR, MRRC p15
    (0xff00_0000, 0xfe00_0000), // CDP2 and its kin
    (0xfe00_0000, 0xfc00_0000), // LDC2, STC2
    (0xfe00_0000, 0xf200_0000), // NEON data
    (0xff10_0000, 0xf400_0000), // NEON load and store
    (0xff70_f000, 0xf570_f000), // Barriers, CLREX
    (0x0e00_0010, 0x0600_0010), // Media
];

/// Narrow ones have 0 in the upper half.
const T32_ROWS: [Row; 30] = [
    (0xffff_ffe0, 0x0000_b660), // CPS
    (0xffff_fff0, 0x0000_b650), // SETEND
    (0xffff_ff0f, 0x0000_bf00), // Hints
    (0xffff_ff00, 0x0000_bf00), // IT
    (0xffff_ff00, 0x0000_de00), // UDF
    (0xffff_ff00, 0x0000_df00), // SVC
    (0xffff_ff00, 0x0000_be00), // BKPT
    (0xffff_ff00, 0x0000_ba00), // REV space
    (0xffff_f800, 0xf3af_8000), // CPS.W, hints
    (0xffff_0000, 0xf3af_0000),
    (0xffe0_f0ff, 0xf3e0_8000), // MRS
    (0xffe0_f0ff, 0xf380_8000), // MSR
    (0xffe0_d000, 0xf380_8000),
    (0xffff_ff00, 0xf3de_8f00), // SUBS pc, lr
    (0xffd0_ffff, 0xe810_c000), // RFE DB
    (0xffd0_ffff, 0xe990_c000), // RFE IA
    (0xffdf_ffe0, 0xe80d_c000), // SRS DB
    (0xffdf_ffe0, 0xe98d_c000), // SRS IA
    (0xfff0_0f00, 0xf850_0e00), // LDRT
    (0xfff0_0f00, 0xf840_0e00), // STRT
    (0xfff0_0f00, 0xf830_0e00), // LDRHT
    (0xfff0_0f00, 0xf820_0e00), // STRHT
    (0xfe70_0f00, 0xf810_0e00), // LDRBT, LDRSBT
    (0xfff0_f000, 0xf7e0_8000), // HVC
    (0xfff0_f000, 0xf7f0_8000), // SMC
    (0xfff0_f000, 0xf7f0_a000), // UDF.W
    (0xff00_0f10, 0xee00_0f10), // MCR, MRC p15
    (0xff00_0000, 0xee00_0000), // Any coprocessor
    (0xfe00_0000, 0xec00_0000),
    (0xef00_0000, 0xef00_0000), // NEON
];

pub(crate) fn a32_in_kernel() {
    arena::prepare();
    arena::mmu_on();
    a32_at(CODE);
}

/// The same somewhere else, in a prepared arena.
pub(crate) fn a32_at(at: usize) {
    all(&A32, SVC, at);
}

pub(crate) fn a32_in_application() {
    arena::prepare();
    arena::mmu_on();
    all(&A32, USR, CODE);
}

pub(crate) fn t32_in_kernel() {
    arena::prepare();
    arena::mmu_on();
    all(&T32_ROWS, SVC | T32, CODE);
}

pub(crate) fn t32_in_application() {
    arena::prepare();
    arena::mmu_on();
    all(&T32_ROWS, USR | T32, CODE);
}

fn all(rows: &[Row], psr: u32, at: usize) {
    let mut random = Random::new(0x5eed_a32d ^ psr);
    let mut tally = Tally::default();
    let mut count = 0;
    for (mask, value) in rows {
        for number in 0..EACH {
            let mut word = value | (random.word() & !mask);
            // Three of four are executed always, the others under any condition.
            if psr & T32 == 0 && mask >> 28 == 0 && number % 4 != 0 {
                word = word & 0x0fff_ffff | 0xe000_0000;
            }
            if psr & T32 != 0 && value >> 16 == 0 {
                word &= 0xffff;
            }
            if !survivable(word, psr) {
                continue;
            }
            tally.add(&one(word, psr, at));
            count += 1;
        }
    }
    arena::mmu_off();
    print!("words={count} {tally}");
}

/// Runs one instruction; puts memory and control registers right again.
fn one(word: u32, psr: u32, at: usize) -> entresol_guest::sandbox::State {
    if psr & T32 == 0 {
        arena::put(at, word);
        arena::put(at + 4, arena::UNDEFINED);
    } else if word >> 16 != 0 {
        arena::put(at, word.rotate_right(16));
        arena::put(at + 4, 0xde5d_de5d);
    } else {
        arena::put(at, 0xde5d_0000 | word);
        arena::put(at + 4, 0xde5d_de5d);
    }
    cp15::code_written(at, 8);
    let found = arena::run(&arena::state(psr, at));
    arena::fill();
    found
}

/// Writes of the registers that keep this guest alive are left to `coprocessor`.
fn survivable(word: u32, psr: u32) -> bool {
    let is_t32 = psr & T32 != 0;
    // Random CP15 and CP14 writes: MCR, MCRR, LDC. In both sets the same low 28 bits.
    let coprocessor = word >> 8 & 0xf;
    let system = coprocessor == 15 || coprocessor == 14;
    let is_move = word >> 24 & 0xf == 0xe && word & 0x10 != 0 && word & 1 << 20 == 0;
    let is_pair = word >> 20 & 0xff == 0xc4;
    let in_space = !is_t32 || word >> 29 == 7;
    !(in_space && system && (is_move || is_pair) && psr & 0x1f != USR)
}
