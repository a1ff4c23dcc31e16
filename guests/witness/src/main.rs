//! A quiet guest that notices when its memory or its registers change.
//!
//! It fills a megabyte with a pattern and the VFP and thread registers with secrets, and
//! sleeps. Every tenth of a second it hashes its code and the pattern, and
//! compares the registers; every second it says so. It needs 2 MiB of memory.
//!
//! ```text
//! witness: round=10 hash=5d0c1f2e
//! ```
//!
//! What it finds changed it reports, and ends with status 1. It never ends otherwise.
#![no_std]
#![no_main]

use core::arch::asm;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use entresol_guest::{board, cp15, entry, float, gic, println, timer, trap};

/// First byte of the pattern: the second megabyte.
const PATTERN: usize = board::MEMORY + 0x10_0000;
/// Bytes of the pattern.
const LEN: usize = 0x10_0000;
/// First byte of the image.
const IMAGE: usize = board::MEMORY + 0x8000;
/// Bytes of its code that are hashed: less than it has.
const CODE: usize = 0x800;
/// Hashes per second.
const RATE: u32 = 10;
/// What registers hold: easily found where it should not be.
const SECRET: u32 = 0x5ec2_e700;

/// The registers that are watched.
#[derive(PartialEq, Eq)]
struct Registers {
    doubles: [u32; 64],
    threads: [u32; 3],
}

entry!(main);

fn main(_device_tree: u32) -> u32 {
    gic::init();
    gic::enable(board::TIMER_INTERRUPT);
    for at in (PATTERN..PATTERN + LEN).step_by(4) {
        let word = with_exposed_provenance_mut::<u32>(at);
        // SAFETY: the second megabyte of memory is nobody's.
        unsafe { word.write_volatile((at as u32).wrapping_mul(0x9e37_79b9)) }
    }
    float::enable();
    let secrets = Registers {
        doubles: core::array::from_fn(|index| SECRET + index as u32),
        threads: core::array::from_fn(|index| SECRET + 0x80 + index as u32),
    };
    load(&secrets);
    let first = hash();
    println!("witness: round=0 hash={first:08x}");
    let interval = u64::from(timer::frequency() / RATE);
    let mut until = timer::now();
    for round in 1_u32.. {
        until += interval;
        sleep(until);
        let now = hash();
        let same = store() == secrets;
        if now != first || !same {
            println!(
                "witness: changed: hash={now:08x}, registers {}",
                ["changed", "same"][usize::from(same)]
            );
            return 1;
        }
        if round % RATE == 0 {
            println!("witness: round={round} hash={now:08x}");
        }
    }
    0
}

/// Interrupts stay masked: a pending one ends the wait all the same.
fn sleep(until: u64) {
    timer::arm(until);
    while timer::now() < until {
        trap::wait_for_interrupt();
    }
    timer::disarm();
}

/// FNV-1a over the words of code and pattern.
fn hash() -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    for at in (IMAGE..IMAGE + CODE).chain(PATTERN..PATTERN + LEN).step_by(4) {
        let word = with_exposed_provenance::<u32>(at);
        // SAFETY: the guest's memory, aligned; what is there is only read.
        hash = (hash ^ unsafe { word.read_volatile() }).wrapping_mul(0x0100_0193);
    }
    hash
}

fn load(registers: &Registers) {
    // SAFETY: the registers are nobody's: Rust code here does not use VFP.
    unsafe {
        asm!(
            ".fpu neon",
            "vldmia {at}!, {{d0-d15}}",
            "vldmia {at}!, {{d16-d31}}",
            at = inout(reg) registers.doubles.as_ptr() => _,
            options(nostack),
        );
    }
    let [first, second, third] = registers.threads;
    // SAFETY: nothing here uses thread registers.
    unsafe { cp15::tpidrurw::write(first) }
    // SAFETY: as above.
    unsafe { cp15::tpidruro::write(second) }
    // SAFETY: as above.
    unsafe { cp15::tpidrprw::write(third) }
}

fn store() -> Registers {
    let mut doubles = [0_u32; 64];
    // SAFETY: stores to `doubles` only, which are as long as the registers.
    unsafe {
        asm!(
            ".fpu neon",
            "vstmia {at}!, {{d0-d15}}",
            "vstmia {at}!, {{d16-d31}}",
            at = inout(reg) doubles.as_mut_ptr() => _,
            options(nostack),
        );
    }
    let threads = [cp15::tpidrurw::read(), cp15::tpidruro::read(), cp15::tpidrprw::read()];
    Registers { doubles, threads }
}
