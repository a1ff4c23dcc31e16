//! The virtual board's devices, misused: every register, every kind of access.

use crate::arena::{self, CODE, SVC, Tally, UNDEFINED};
use core::ptr::with_exposed_provenance_mut;
use entresol_guest::random::Random;
use entresol_guest::sandbox::State;
use entresol_guest::{board, console, cp15, gic, print};

/// Devices, with how many bytes are attacked: PL011, PL031, GIC, and holes between.
const DEVICES: [(usize, usize); 5] = [
    (board::UART, 0x1000),
    (board::UART + 0x1_0000, 0x1000),
    (board::GIC_DISTRIBUTOR, 0x1000),
    (board::GIC_CPU, 0x1000),
    (board::UART + 0x10_0000, 0x200),
];

/// Writes random words to every register, and reads them.
pub(crate) fn registers() {
    arena::prepare();
    let mut random = Random::new(0x5eed_dead);
    let mut tally = Tally::default();
    for (base, len) in DEVICES {
        for offset in (0..len).step_by(4) {
            // The data register would print, the software interrupt register interrupts.
            if base + offset == board::UART {
                continue;
            }
            tally.add(&access(0xe587_1000, base + offset, random.word()));
            tally.add(&access(0xe597_0000, base + offset, 0));
            quieten();
        }
    }
    print!("{tally}");
}

/// Accesses of every size and kind to one register of each device.
pub(crate) fn access_kinds() {
    arena::prepare();
    let mut tally = Tally::default();
    let kinds = [
        0xe5d7_0000,
        0xe5c7_1000, // ldrb, strb
        0xe1d7_00b0,
        0xe1c7_10b0, // ldrh, strh
        0xe1c7_00d0,
        0xe1c7_00f0, // ldrd, strd
        0xe897_0007,
        0xe887_0007, // ldm, stm
        0xe8b7_0007,
        0xe927_0007, // with write-back
        0xe197_0f9f,
        0xe187_2f91, // ldrex, strex
        0xe107_2091,
        0xe147_2091, // swp, swpb
        0xe4b7_0004,
        0xe4a7_1004, // ldrt, strt
        0xe1d7_00d0,
        0xe1d7_00f0, // ldrsb, ldrsh
        0xed97_0b00,
        0xed87_0b00, // vldr, vstr
        0xf427_078f,
        0xf407_078f, // vld1, vst1
        0xf5d7_f000, // pld
        0xe597_f000, // ldr pc
        0xe5b7_7004,
        0xe4b7_7004, // base is target
    ];
    for (base, _) in DEVICES {
        // Identification registers are harmless; 1, 2 and 3 are misaligned.
        for offset in [0xfe0, 0xfe1, 0xfe2, 0xfe3, 0xffe] {
            for word in kinds {
                tally.add(&access(word, base + offset, 0));
                quieten();
            }
        }
    }
    print!("{tally}");
}

/// Jumps to a device.
pub(crate) fn execute() {
    arena::prepare();
    for (base, _) in DEVICES {
        arena::print_end(&access(0xe12f_ff17, base + 0xfe0, 0));
        print!("; ");
        quieten();
    }
}

/// Runs one instruction with the address in r7 and a value in r1.
fn access(word: u32, address: usize, value: u32) -> State {
    arena::put(CODE, word);
    arena::put(CODE + 4, UNDEFINED);
    cp15::code_written(CODE, 8);
    // Interrupts masked: what is enabled by chance shall not interrupt.
    let mut state = arena::state(SVC | 0xc0, CODE);
    state.r[7] = address as u32;
    state.r[1] = value;
    arena::run(&state)
}

/// Puts the devices back into the state in which the guest needs them.
fn quieten() {
    console::init();
    // UARTIMSC: no interrupts.
    let mask = with_exposed_provenance_mut::<u32>(board::UART + 0x38);
    // SAFETY: the board has a PL011 there.
    unsafe { mask.write_volatile(0) }
    // GICC_APR and GICC_NSAPR: no priority is active.
    for offset in (0..32).step_by(4) {
        let active = with_exposed_provenance_mut::<u32>(board::GIC_CPU + 0xd0 + offset);
        // SAFETY: the board has a GIC there.
        unsafe { active.write_volatile(0) }
    }
    gic::init();
}
