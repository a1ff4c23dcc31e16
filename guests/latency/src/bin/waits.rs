//! A guest that waits for its timer in every way it can, and looks whether exactly that came.
//!
//! In each round other vectors, other modes, high vectors, the MMU on or off, interrupts masked or
//! not, as fast ones or not. The wait must end by the one interrupt, taken where the
//! architecture says and with what it says, or by none while it is masked; all registers, those of
//! floating point too, must be what they were.
//!
//! ```text
//! waits: 1500 rounds wrong=0
//! ```
//!
//! # Invariants
//!
//! - Everything is mapped to itself, by sections, and the last megabyte to the first of memory.
#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};
use core::ptr;
use entresol_guest::abi::hypercall::Function;
use entresol_guest::random::Random;
use entresol_guest::{board, cp15, entry, gic, hypercall, println, timer, trap, vectors};

entry!(main);

vectors! {
    /// One table.
    first_vectors:
        undefined trap::unexpected, svc trap::unexpected, prefetch trap::unexpected,
        data trap::unexpected, irq first_irq, fiq fast,
}

vectors! {
    /// Another.
    second_vectors:
        undefined trap::unexpected, svc trap::unexpected, prefetch trap::unexpected,
        data trap::unexpected, irq second_irq, fiq fast,
}

/// Rounds.
const ROUNDS: u32 = 1500;
/// What comes in by which vector.
const FIRST: u32 = 1;
const SECOND: u32 = 2;
const HIGH: u32 = 3;
const FAST: u32 = 4;
/// Where high vectors lie in memory.
const HIGH_VECTORS: usize = board::MEMORY + 0xf_0000;
/// SCTLR.V and SCTLR.M.
const V: u32 = 1 << 13;
const M: u32 = 1 << 0;
/// Masks and modes of CPSR.
const I: u32 = 1 << 7;
const F: u32 = 1 << 6;
const MODES: [u32; 5] = [0x13, 0x1f, 0x17, 0x1b, 0x12];
const IRQ_MODE: u32 = 0x12;
/// Nanoseconds from arming to the interrupt, at least.
const AHEAD: u64 = 150_000;
/// Sections: normal memory, write-back; device.
const MEMORY_SECTION: u32 = 0x0000_140e;
const DEVICE_SECTION: u32 = 0x0000_0416;

#[repr(C, align(16384))]
struct Table([u32; 4096]);

static mut TABLE: Table = Table([0; 4096]);

/// What a handler saw.
#[derive(Clone, Copy, Default)]
struct Seen {
    count: u32,
    by: u32,
    spsr: u32,
    link: u32,
    stack: u32,
    acknowledged: u32,
    /// A floating-point register.
    float: u32,
}

static mut SEEN: Seen =
    Seen { count: 0, by: 0, spsr: 0, link: 0, stack: 0, acknowledged: 0, float: 0 };
/// Whether the interrupt may come anywhere; else one that comes before the wait is asked for again.
static mut ANYWHERE: bool = false;

/// A handler that notes what it sees: `name, what it is`.
macro_rules! noting {
    ($name:ident, $by:expr) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                "push {{r0-r3, r12, lr}}",
                "mrs r0, spsr",
                "mov r1, lr",
                "add r2, sp, #24",
                "mov r3, #{by}",
                "bl {note}",
                "pop {{r0-r3, r12, lr}}",
                "subs pc, lr, #4",
                by = const $by,
                note = sym note,
            )
        }
    };
}

noting!(first_irq, FIRST);
noting!(second_irq, SECOND);
noting!(high_irq, HIGH);
noting!(fast, FAST);

extern "C" fn note(spsr: u32, link: u32, stack: u32, by: u32) {
    let float: u32;
    // SAFETY: reads a register.
    unsafe { asm!(".fpu neon", "vmov {}, s5", out(reg) float) };
    let acknowledged = gic::acknowledge();
    // SAFETY: interrupts are masked, so nothing else uses it.
    let anywhere = unsafe { ANYWHERE };
    if link - 4 != waits_after as *const () as u32 & !1 && !anywhere {
        arm();
    } else {
        timer::disarm();
        // SAFETY: as above.
        unsafe {
            SEEN = Seen { count: SEEN.count + 1, by, spsr, link, stack, acknowledged, float };
        }
    }
    gic::end(acknowledged);
}

fn arm() {
    timer::arm(timer::now() + AHEAD * u64::from(timer::frequency()) / 1_000_000_000);
}

/// Waits once with this CPSR, back with interrupts masked in Supervisor mode. Returns 0 if all
/// registers are what they were.
#[unsafe(naked)]
unsafe extern "C" fn wait_with(cpsr: u32) -> u32 {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "msr cpsr_c, r0",
        "mov r1, #1",
        "mov r2, #2",
        "mov r3, #3",
        "mov r4, #4",
        "mov r5, #5",
        "mov r6, #6",
        "mov r7, #7",
        "mov r8, #8",
        "mov r9, #9",
        "mov r12, #12",
        "mov r10, sp",
        "mov r11, lr",
        "wfi",
        ".globl waits_after",
        "waits_after:",
        "sub r1, r1, #1",
        "sub r2, r2, #2",
        "orr r1, r1, r2",
        "sub r3, r3, #3",
        "orr r1, r1, r3",
        "sub r4, r4, #4",
        "orr r1, r1, r4",
        "sub r5, r5, #5",
        "orr r1, r1, r5",
        "sub r6, r6, #6",
        "orr r1, r1, r6",
        "sub r7, r7, #7",
        "orr r1, r1, r7",
        "sub r8, r8, #8",
        "orr r1, r1, r8",
        "sub r9, r9, #9",
        "orr r1, r1, r9",
        "mov r9, sp",
        "sub r10, r10, r9",
        "orr r1, r1, r10",
        "sub r11, r11, lr",
        "orr r1, r1, r11",
        "sub r12, r12, #12",
        "orr r0, r1, r12",
        "cpsid if, #0x13",
        "pop {{r4-r11, pc}}",
    )
}

unsafe extern "C" {
    /// Behind the wait.
    fn waits_after();
}

/// Turns floating point on.
fn use_float() {
    // SAFETY: gives cp10 and cp11 to all.
    unsafe { cp15::cpacr::write(cp15::cpacr::read() | 0xf << 20) };
    cp15::isb();
    // SAFETY: FPEXC.EN.
    unsafe { asm!(".fpu neon", "vmsr fpexc, {}", in(reg) 1 << 30) };
}

fn load_float(from: &[u64; 32]) {
    // SAFETY: nothing else here uses the registers.
    unsafe {
        asm!(".fpu neon", "vldmia {0}!, {{d0-d15}}", "vldmia {0}!, {{d16-d31}}",
            inout(reg) from.as_ptr() => _);
    }
}

fn store_float(to: &mut [u64; 32]) {
    // SAFETY: stores them.
    unsafe {
        asm!(".fpu neon", "vstmia {0}!, {{d0-d15}}", "vstmia {0}!, {{d16-d31}}",
            inout(reg) to.as_mut_ptr() => _);
    }
}

/// Fills the table, and what is read as high vectors: loads of pc with what follows them.
fn prepare() {
    let table = &raw mut TABLE;
    let map = |megabyte: u32, entry: u32| {
        // SAFETY: nothing else uses the table yet; the index is below 4096.
        unsafe { ptr::addr_of_mut!((*table).0[megabyte as usize]).write_volatile(entry) };
    };
    map(0x400, 0x400 << 20 | MEMORY_SECTION);
    map(0xfff, 0x400 << 20 | MEMORY_SECTION);
    map(0x080, 0x080 << 20 | DEVICE_SECTION);
    map(0x090, 0x090 << 20 | DEVICE_SECTION);
    for vector in 0..8 {
        let handler = match vector {
            6 => high_irq as *const () as u32,
            7 => fast as *const () as u32,
            _ => trap::unexpected as *const () as u32,
        };
        let at = (HIGH_VECTORS + vector * 4) as *mut u32;
        // SAFETY: this memory is used for vectors only.
        unsafe { at.write_volatile(0xe59f_f018) };
        // SAFETY: as above.
        unsafe { at.add(8).write_volatile(handler) };
    }
    cp15::code_written(HIGH_VECTORS, 64);
    // SAFETY: the table maps what is used at its own address.
    unsafe {
        cp15::ttbcr::write(0);
        cp15::ttbr0::write(table as u32);
        cp15::dacr::write(1);
        cp15::tlbiall::write(0);
    }
}

/// A round; returns whether all was as it should be.
fn round(random: &mut Random) -> bool {
    let mode = MODES[random.below(5) as usize];
    // In its own mode an interrupt changes registers of who waits.
    let masked = random.once_in(3) || mode == IRQ_MODE;
    let (high, fast_one) = (random.once_in(4), random.once_in(8));
    let mapped = high || random.once_in(2);
    let second = random.once_in(2);
    let cpsr = mode
        | if masked {
            I | F
        } else if fast_one {
            I
        } else {
            F
        };
    // SAFETY: both tables return as their exceptions demand.
    unsafe { trap::set_vectors(if second { second_vectors } else { first_vectors }) };
    let control = cp15::sctlr::read() & !(V | M);
    let control = control | if high { V } else { 0 } | if mapped { M } else { 0 };
    cp15::dsb();
    // SAFETY: everything is mapped to itself, and high vectors to where they are.
    unsafe { cp15::sctlr::write(control) };
    cp15::isb();
    gic::deliver_as_fiq(fast_one);
    let pattern: [u64; 32] = core::array::from_fn(|n| u64::from(random.word()) << 32 | n as u64);
    load_float(&pattern);
    // SAFETY: interrupts are masked, so no handler uses them.
    unsafe { (SEEN, ANYWHERE) = (Seen::default(), masked) };
    arm();
    // SAFETY: the stack of Supervisor mode is in use, the others are the handlers'.
    let changed = unsafe { wait_with(cpsr) };
    // SAFETY: as above.
    let before = unsafe { SEEN.count };
    if masked {
        // SAFETY: now it may come.
        unsafe { asm!("cpsie if", "nop", "cpsid if") };
    }
    let mut float = [0; 32];
    store_float(&mut float);
    // SAFETY: as above.
    let seen = unsafe { SEEN };
    let by = match (fast_one, high, second) {
        (true, ..) => FAST,
        (_, true, _) => HIGH,
        (.., true) => SECOND,
        _ => FIRST,
    };
    let right = changed == 0
        && before == u32::from(!masked)
        && seen.count == 1
        && seen.by == by
        && seen.acknowledged == board::TIMER_INTERRUPT
        && u64::from(seen.float) == pattern[2] >> 32
        && float == pattern
        && (masked || seen.spsr & 0xdf == cpsr)
        && seen.stack & 7 == 0;
    if !right {
        println!(
            "waits: wrong: cpsr={cpsr:x} by={by} count={before} changed={changed:x} float={} seen by={} count={} spsr={:x} link={:x} stack={:x} acknowledged={}",
            u32::from(float == pattern),
            seen.by,
            seen.count,
            seen.spsr,
            seen.link,
            seen.stack,
            seen.acknowledged,
        );
    }
    right
}

fn main(_device_tree: u32) -> u32 {
    // SAFETY: the handlers return as their exceptions demand.
    unsafe { trap::install(first_vectors) }
    use_float();
    prepare();
    gic::init();
    gic::enable(board::TIMER_INTERRUPT);
    let mut random = Random::numbered(hypercall::call(Function::VmIndex, 0));
    let wrong = (0..ROUNDS).filter(|_| !round(&mut random)).count();
    println!("waits: {ROUNDS} rounds wrong={wrong}");
    0
}
