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

/// `str r1, [r7]`, `ldr r0, [r7]`.
const STORE: u32 = 0xe587_1000;
const LOAD: u32 = 0xe597_0000;

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
            misuse(base + offset, random.word(), &mut tally);
            quieten();
        }
    }
    print!("{tally}");
}

/// The same with the SP805, if the VM has it. It is stopped each time before it bites.
pub(crate) fn watchdog() {
    const WATCHDOG: usize = board::UART + 0x2_0000;
    const CONTROL: usize = WATCHDOG + 0x008;
    const LOCK: usize = WATCHDOG + 0xc00;
    const UNLOCK: u32 = 0x1acc_e551;
    arena::prepare();
    let mut random = Random::new(0x5eed_d06e);
    let mut tally = Tally::default();
    // All registers, then those that matter in every order and often.
    let all = (0..0x1000).step_by(4);
    let often = [0x000, 0x004, 0x008, 0x00c, 0xc00].into_iter().cycle().take(500);
    for offset in all.chain(often) {
        misuse(WATCHDOG + offset, random.word(), &mut tally);
        if random.below(2) == 0 {
            access(STORE, LOCK, UNLOCK);
        }
        misuse(CONTROL, random.word(), &mut tally);
        access(STORE, LOCK, UNLOCK);
        access(STORE, CONTROL, 0);
        quieten();
    }
    print!("{tally}");
}

/// Writes a word to a register, and reads it.
fn misuse(register: usize, word: u32, tally: &mut Tally) {
    tally.add(&access(STORE, register, word));
    tally.add(&access(LOAD, register, 0));
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
