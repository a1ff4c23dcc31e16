//! A guest that checks that its registers stay its own while others run.
//!
//! Every round it fills the VFP and NEON registers, FPSCR and the thread registers with
//! values that depend on the VM and the round, works or sleeps for a while, and
//! compares. Its work is to mask and unmask interrupts and to look at what is masked, with the MMU
//! on: instructions that are promoted. Run it in several VMs at once, one of them more urgent:
//! whenever that has slept, it preempts the others in the middle of their work.
//!
//! ```text
//! context: rounds=500 errors=0
//! ```
#![no_std]
#![no_main]

use core::arch::asm;
use entresol_guest::abi::hypercall::Function;
use entresol_guest::translation::{self, Access, Level1};
use entresol_guest::{board, cp15, entry, float, gic, hypercall, println, timer, trap};

/// Rounds until it ends.
const ROUNDS: u32 = 500;

/// Microseconds of each round: longer than a time slice now and then.
const ROUND: u64 = 700;

/// FPSCR bits that have no effect but to be kept: flags, and cumulative exceptions.
const FPSCR: u32 = 0xf800_009f;

/// The registers that are checked.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
struct Registers {
    /// d0 to d31.
    doubles: [u32; 64],
    fpscr: u32,
    tpidrurw: u32,
    tpidruro: u32,
    tpidrprw: u32,
}

/// CPSR.I.
const MASKED: u32 = 1 << 7;

/// How often the mask is looked at after each change: so long others can take their turn.
const LOOKS: u32 = 50;

static mut TABLE: Level1 = Level1::new();

entry!(main);

fn main(_device_tree: u32) -> u32 {
    let vm = if hypercall::is_present() { hypercall::call(Function::VmIndex, 0) } else { 0 };
    gic::init();
    gic::enable(board::TIMER_INTERRUPT);
    float::enable();
    enable_mmu();
    let mut errors = 0;
    for round in 0..ROUNDS {
        let expected = pattern(vm, round);
        load(&expected);
        let until = timer::now() + u64::from(timer::frequency()) * ROUND / 1_000_000;
        if round % 2 == 0 {
            errors += toggle(until);
        } else {
            sleep(until);
        }
        let found = store();
        if found != expected {
            errors += 1;
            println!("context: round {round}: {} words differ", differing(&expected, &found));
        }
    }
    println!("context: rounds={ROUNDS} errors={errors}");
    u32::from(errors != 0)
}

/// Masks and unmasks interrupts, of which none comes; returns how often the mask was not what
/// it had been made.
fn toggle(until: u64) -> u32 {
    let mut errors = 0;
    while timer::now() < until {
        trap::unmask_interrupts();
        errors += (0..LOOKS).filter(|_| status() & MASKED != 0).count();
        trap::mask_interrupts();
        errors += (0..LOOKS).filter(|_| status() & MASKED == 0).count();
    }
    if errors != 0 {
        println!("context: {errors} times the interrupt mask was not what it was");
    }
    errors as u32
}

#[inline(always)]
fn status() -> u32 {
    let status: u32;
    // SAFETY: it only reads; not `pure`, so each look is one.
    unsafe { asm!("mrs {}, cpsr", out(reg) status, options(nomem, nostack, preserves_flags)) }
    status
}

/// Interrupts stay masked: a pending one ends the wait all the same.
fn sleep(until: u64) {
    timer::arm(until);
    while timer::now() < until {
        trap::wait_for_interrupt();
    }
    timer::disarm();
}

fn pattern(vm: u32, round: u32) -> Registers {
    let mut state = (vm + 1).wrapping_mul(0x9e37_79b9) ^ round.wrapping_mul(0x85eb_ca6b) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    Registers {
        doubles: core::array::from_fn(|_| next()),
        fpscr: next() & FPSCR,
        tpidrurw: next(),
        tpidruro: next(),
        tpidrprw: next(),
    }
}

fn differing(expected: &Registers, found: &Registers) -> usize {
    let pairs = expected.doubles.iter().zip(&found.doubles);
    let others = [
        expected.fpscr != found.fpscr,
        expected.tpidrurw != found.tpidrurw,
        expected.tpidruro != found.tpidruro,
        expected.tpidrprw != found.tpidrprw,
    ];
    pairs.filter(|(expected, found)| expected != found).count()
        + others.iter().filter(|differs| **differs).count()
}

/// Memory and devices where they are.
fn enable_mmu() {
    // SAFETY: nobody else uses it.
    let table = unsafe { &mut *core::ptr::addr_of_mut!(TABLE) };
    table.section(board::MEMORY, board::MEMORY, Access::KERNEL);
    for device in [board::UART, board::GIC_CPU] {
        table.section(device, device, Access::DEVICE);
    }
    // SAFETY: the table maps the whole guest and its devices.
    unsafe { translation::enable(table, 1) }
}

fn load(registers: &Registers) {
    // SAFETY: the registers are nobody's: Rust code here does not use VFP.
    unsafe {
        asm!(
            ".fpu neon",
            "vldmia {at}!, {{d0-d15}}",
            "vldmia {at}!, {{d16-d31}}",
            "vmsr fpscr, {fpscr}",
            at = inout(reg) registers.doubles.as_ptr() => _,
            fpscr = in(reg) registers.fpscr,
            options(nostack),
        );
    }
    // SAFETY: nothing here uses thread registers.
    unsafe { cp15::tpidrurw::write(registers.tpidrurw) }
    // SAFETY: as above.
    unsafe { cp15::tpidruro::write(registers.tpidruro) }
    // SAFETY: as above.
    unsafe { cp15::tpidrprw::write(registers.tpidrprw) }
}

fn store() -> Registers {
    let mut doubles = [0_u32; 64];
    let fpscr: u32;
    // SAFETY: stores to `doubles` only, which are as long as the registers.
    unsafe {
        asm!(
            ".fpu neon",
            "vstmia {at}!, {{d0-d15}}",
            "vstmia {at}!, {{d16-d31}}",
            "vmrs {fpscr}, fpscr",
            at = inout(reg) doubles.as_mut_ptr() => _,
            fpscr = out(reg) fpscr,
            options(nostack),
        );
    }
    Registers {
        doubles,
        fpscr: fpscr & FPSCR,
        tpidrurw: cp15::tpidrurw::read(),
        tpidruro: cp15::tpidruro::read(),
        tpidrprw: cp15::tpidrprw::read(),
    }
}
