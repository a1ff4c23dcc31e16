//! Where attacks run: memory at fixed places, a table that maps it, and a watchdog.
//!
//! Instructions run in the sandbox with every register pointing to the middle of a
//! 32 KiB arena, whose every word is the address of an undefined instruction that ends
//! the run. That address, taken as a status, is one of User mode with interrupts let in
//! (its low ten bits are 0x010), so that whatever is loaded into whatever register
//! ends at the same place.
//!
//! # Invariants
//!
//! 1. While an attack runs with the MMU on, devices are in a domain without access: a stray
//!    store cannot reach them.
//! 2. A timer interrupt ends what loops with interrupts let in, and what sleeps.

use core::ptr;
use entresol_guest::sandbox::{self, Bank, State, vector};
use entresol_guest::translation::{self, Access, Level1, Level2};
use entresol_guest::{board, cp15, gic, print, timer};

/// The code of an attack; the rest of the page is undefined instructions.
pub(crate) const CODE: usize = board::MEMORY + 0xe_0000;
/// A page of PL1's.
pub(crate) const KERNEL: usize = board::MEMORY + 0xe_1000;
/// A page of undefined instructions.
pub(crate) const UNDEFINED_PAGE: usize = board::MEMORY + 0xe_2000;
/// First byte of the arena.
pub(crate) const ARENA: usize = board::MEMORY + 0xe_8000;
/// Length of the arena.
const ARENA_LEN: usize = 0x8000;
/// An undefined instruction; its address is a status of User mode.
pub(crate) const END: usize = CODE + 0xc10;
/// A permanently undefined instruction in A32; in T32, twice one and a branch.
pub(crate) const UNDEFINED: u32 = 0xe7f5_def5;

/// Domain of the devices.
const DEVICES: u32 = 1;
const ALL_DOMAINS: u32 = 0x5555_5555;
/// Microseconds until the watchdog interrupts.
const WATCHDOG: u64 = 200;

static mut TABLE: Level1 = Level1::new();
static mut IMAGE: Level2 = Level2::new();

/// User mode.
pub(crate) const USR: u32 = 0x10;
/// Supervisor mode with interrupts let in.
pub(crate) const SVC: u32 = 0x13;
/// CPSR.T.
pub(crate) const T32: u32 = 1 << 5;

/// Fills code and arena.
pub(crate) fn prepare() {
    for at in (CODE..CODE + 0x1000).step_by(4) {
        put(at, UNDEFINED);
        put(at - CODE + UNDEFINED_PAGE, UNDEFINED);
    }
    cp15::code_written(CODE, 0x1000);
    cp15::code_written(UNDEFINED_PAGE, 0x1000);
    fill();
    gic::init();
    gic::enable(board::TIMER_INTERRUPT);
}

/// Fills the arena.
pub(crate) fn fill() {
    for at in (ARENA..ARENA + ARENA_LEN).step_by(4) {
        put(at, END as u32);
    }
}

/// Writes a word of code or arena.
pub(crate) fn put(at: usize, word: u32) {
    // SAFETY: callers write to the arena and the page of code, which nothing else uses.
    unsafe { ptr::with_exposed_provenance_mut::<u32>(at).write_volatile(word) }
}

/// Reads a word of code or arena.
pub(crate) fn get(at: usize) -> u32 {
    // SAFETY: as above.
    unsafe { ptr::with_exposed_provenance::<u32>(at).read_volatile() }
}

/// A state with every register in the middle of the arena.
pub(crate) fn state(psr: u32, pc: usize) -> State {
    let middle = (ARENA + ARENA_LEN / 2) as u32;
    let bank = Bank { sp: middle, lr: END as u32, spsr: USR };
    State {
        r: [middle; 13],
        pc: pc as u32,
        psr,
        usr_lr: END as u32,
        svc: bank,
        abt: bank,
        und: bank,
        irq: bank,
        fiq: bank,
        fiq_r: [middle; 5],
        ..State::default()
    }
}

/// Runs, with the watchdog. The caller has said why it is survivable.
pub(crate) fn run(state: &State) -> State {
    run_for(state, WATCHDOG)
}

/// Runs, with another watchdog, in microseconds.
pub(crate) fn run_for(state: &State, watchdog: u64) -> State {
    timer::arm(timer::now() + u64::from(timer::frequency()) * watchdog / 1_000_000);
    let mmu_on = cp15::sctlr::read() & 1 != 0;
    if mmu_on {
        // SAFETY: nothing until the next write uses a device.
        unsafe { cp15::dacr::write(ALL_DOMAINS & !(0b11 << (2 * DEVICES))) }
        cp15::isb();
    }
    // SAFETY: what is run uses the arena, or faults: invariant 1 and the table.
    let found = unsafe { sandbox::run(state) };
    if mmu_on {
        // SAFETY: as it was.
        unsafe { cp15::dacr::write(ALL_DOMAINS) }
        cp15::isb();
    }
    timer::disarm();
    if found.vector == vector::IRQ {
        gic::end(gic::acknowledge());
    }
    found
}

/// Turns the MMU on, with the image for PL1, code and arena for both.
pub(crate) fn mmu_on() {
    with_table(|table| {
        // SAFETY: one user at a time, as for the table.
        let image = unsafe { &mut *ptr::addr_of_mut!(IMAGE) };
        // What lies below the image is left out: strays would run through zeros into it.
        for page in (board::MEMORY + 0x8000..board::MEMORY + 0x10_0000).step_by(0x1000) {
            let shared = page == CODE || page >= ARENA;
            let ap = if shared { 0b011 } else { 0b001 };
            image.page(page, page, Access { ap, ..Access::KERNEL });
        }
        table.table(board::MEMORY, image, 0);
        for device in [board::UART, board::GIC_CPU] {
            table.section(device, device, Access { domain: DEVICES, ..Access::DEVICE });
        }
    });
    // SAFETY: the table maps the image and its devices.
    unsafe { translation::enable(&raw const TABLE, 1) }
}

/// Turns the MMU off.
pub(crate) fn mmu_off() {
    // SAFETY: the table maps the image at its physical addresses.
    unsafe { cp15::sctlr::write(cp15::sctlr::read() & !1) }
    cp15::isb();
    translation::invalidate_all();
}

/// Changes the table.
pub(crate) fn with_table(change: impl FnOnce(&mut Level1)) {
    with_table_silently(change);
    translation::invalidate_all();
}

/// Changes the table without a word to the TLB.
pub(crate) fn with_table_silently(change: impl FnOnce(&mut Level1)) {
    // SAFETY: `change` cannot reach this function again: it gets the table itself.
    change(unsafe { &mut *ptr::addr_of_mut!(TABLE) });
    cp15::dsb();
}

/// Prints how a run ended.
pub(crate) fn print_end(found: &State) {
    match found.vector {
        vector::UNDEFINED => print!("undefined at {:08x}", found.pc.wrapping_sub(4)),
        vector::SVC => print!("svc at {:08x}", found.pc.wrapping_sub(4)),
        vector::PREFETCH => {
            print!("prefetch abort, status {:x}, at {:08x}", found.ifsr, found.pc.wrapping_sub(4))
        }
        vector::DATA => print!(
            "data abort, status {:x}, address {:08x}, at {:08x}",
            found.dfsr,
            found.dfar,
            found.pc.wrapping_sub(8)
        ),
        vector::IRQ => print!("interrupt at {:08x}", found.pc.wrapping_sub(4)),
        other => print!("vector {other}"),
    }
}

/// How many runs ended with each vector.
#[derive(Default)]
pub(crate) struct Tally([u32; 8]);

impl Tally {
    pub(crate) fn add(&mut self, found: &State) {
        if let Some(count) = self.0.get_mut(found.vector as usize) {
            *count += 1;
        }
    }
}

impl core::fmt::Display for Tally {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [_, undefined, svc, prefetch, data, _, irq, fiq] = self.0;
        write!(
            f,
            "undefined={undefined} svc={svc} prefetch={prefetch} data={data} irq={irq} fiq={fiq}"
        )
    }
}
