//! A guest that ends in every way that starts it again, and finds each time what it found first.
//!
//! At each start it looks at its memory and its data, uses what the hypervisor has pools for
//! (replaced instructions, translation tables), takes an interrupt, and leaves dirt everywhere.
//! Then it ends: by a fault, by its watchdog, by asking for a reset, in turn. Says every
//! hundredth start how it went so far; what was wrong at once. Ends never.
#![no_std]
#![no_main]

use core::ptr::{addr_of_mut, with_exposed_provenance, with_exposed_provenance_mut};
use entresol_guest::abi::window;
use entresol_guest::translation::{self, Access, Level1};
use entresol_guest::{board, cp15, entry, gic, hypercall, println, timer, trap};

/// Memory that no image fills: first byte, bytes, and how far apart the words are that are looked at.
const EMPTY: usize = board::MEMORY + 0x4_0000;
const EMPTY_LEN: usize = 0x8_0000;
const STEP: usize = 0x100;
/// A page for code.
const CODE: usize = board::MEMORY + 0xd_0000;
/// Instructions of it that are replaced; the manifest gives room for one page of them.
const SITES: usize = 60;

/// The SP805's load and control registers.
const WATCHDOG: usize = 0x0902_0000;
/// Counts to its interrupt, and as many to its bite: 50 microseconds.
const COUNTS: u32 = 1_200;
/// PSCI SYSTEM_RESET.
const RESET: u32 = 0x8400_0009;

const INITIAL: u32 = 0x0123_4567;
static mut DATA: u32 = INITIAL;
static mut TABLE: Level1 = Level1::new();

entry!(main);

fn write(at: usize, value: u32) {
    // SAFETY: memory that nothing else uses, or a register of the board.
    unsafe { with_exposed_provenance_mut::<u32>(at).write_volatile(value) }
}

/// Whether memory is as at the first start; leaves it otherwise.
fn memory_is_clean() -> bool {
    let mut clean = true;
    for at in (EMPTY..EMPTY + EMPTY_LEN).step_by(STEP) {
        // SAFETY: memory that nothing else uses.
        clean &= unsafe { with_exposed_provenance::<u32>(at).read_volatile() } == 0;
        write(at, !0);
    }
    // SAFETY: nothing else uses it.
    clean &= unsafe { addr_of_mut!(DATA).read_volatile() } == INITIAL;
    // SAFETY: as above.
    unsafe { addr_of_mut!(DATA).write_volatile(0) };
    clean
}

/// Runs a page full of instructions that are replaced.
fn run_code() {
    for word in 0..SITES {
        write(CODE + word * 4, 0xf10c_0080); // cpsid i
    }
    write(CODE + SITES * 4, 0xe12f_ff1e); // bx lr
    cp15::code_written(CODE, 0x1000);
    // SAFETY: it does nothing but return.
    let call = unsafe { core::mem::transmute::<usize, extern "C" fn()>(CODE) };
    call();
}

/// Whether the timer's interrupt comes.
fn interrupt_comes() -> bool {
    gic::init();
    gic::enable(board::TIMER_INTERRUPT);
    timer::arm(timer::now() + u64::from(timer::frequency()) / 2_000);
    trap::wait_for_interrupt();
    let acknowledged = gic::acknowledge();
    timer::disarm();
    gic::end(acknowledged);
    acknowledged == board::TIMER_INTERRUPT
}

fn map() {
    let table = addr_of_mut!(TABLE);
    // SAFETY: nothing else uses it before the MMU is on.
    let entries = unsafe { &mut *table };
    entries.section(board::MEMORY, board::MEMORY, Access::KERNEL);
    for device in [board::UART, board::GIC_CPU] {
        entries.section(device, device, Access::DEVICE);
    }
    // SAFETY: it maps what is used at its own address.
    unsafe { translation::enable(table, 1) };
}

fn main(_device_tree: u32) -> u32 {
    let start = hypercall::starts();
    let clean = memory_is_clean();
    map();
    run_code();
    let interrupted = interrupt_comes();
    if !clean || !interrupted {
        println!("restarts: start {start}, memory clean: {clean}, interrupted: {interrupted}");
    }
    if start.is_multiple_of(100) {
        println!("restarts: {start} starts, all like the first");
    }
    run_ends(start)
}

/// The end of this run. A place where the instrument begins to count.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn run_ends(start: u32) -> ! {
    match start % 3 {
        0 => {
            // SAFETY: everything is mapped to itself.
            unsafe { cp15::sctlr::write(cp15::sctlr::read() & !1) };
            cp15::isb();
            write(window::BASE as usize, 0);
        }
        1 => {
            write(WATCHDOG, COUNTS);
            write(WATCHDOG + 8, 0b11);
        }
        _ => {
            let _ = hypercall::raw(RESET, [0; 3]);
        }
    }
    loop {
        core::hint::spin_loop();
    }
}
