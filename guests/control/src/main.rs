//! Three VMs: a supervisor that controls a worker, and a stranger that may control nobody.
//!
//! The manifest's order says who is who. The worker counts in a page that all share. The
//! supervisor starts, pauses, resumes, restarts and stops it, and sees by the count and by its
//! interrupt what came of that. The stranger tries the same, and then waits for ever.
//!
//! ```text
//! control: paused, it counts on by 0
//! ```
#![no_std]
#![no_main]

use core::ptr::with_exposed_provenance;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use entresol_guest::abi::control::{PAUSE, RESTART, RESUME, START, STATE, STOP};
use entresol_guest::abi::hypercall::{Function, psci};
use entresol_guest::hypercall::control;
use entresol_guest::{board, entry, gic, hypercall, println, timer, trap};

/// The page that all share.
const PAGE: usize = 0x3000_0000;
/// The interrupt that tells of an end.
const TOLD: u32 = 120;
/// Restarts in a row.
const RESTARTS: u32 = 200;

/// How often an end was told of.
static ENDS: AtomicU32 = AtomicU32::new(0);

const WORKER: u32 = 1;
const STRANGER: u32 = 2;

entry!(main);

fn main(_device_tree: u32) -> u32 {
    match hypercall::call(Function::VmIndex, 0) {
        0 => supervisor(),
        WORKER => loop {
            word(0).fetch_add(1, SeqCst);
        },
        _ => stranger(),
    }
}

fn word(index: usize) -> &'static AtomicU32 {
    // SAFETY: shared memory, for ever, and accessed by atomic accesses only.
    unsafe { &*with_exposed_provenance(PAGE + index * 4) }
}

/// Waits some microseconds, in which others run.
fn sleep(microseconds: u64) {
    let until = timer::now() + u64::from(timer::frequency()) * microseconds / 1_000_000;
    timer::arm(until);
    // Interrupts stay masked: a pending one ends the wait all the same.
    while timer::now() < until {
        trap::wait_for_interrupt();
        take_told();
    }
    timer::disarm();
    take_told();
}

/// Takes the interrupts that tell of ends: pending, they would end every wait.
fn take_told() {
    loop {
        let acknowledged = gic::acknowledge();
        gic::end(acknowledged);
        match acknowledged {
            TOLD => ENDS.fetch_add(1, SeqCst),
            _ => return,
        };
    }
}

/// How far the worker counts in half a millisecond.
fn counted() -> u32 {
    let before = word(0).load(SeqCst);
    sleep(500);
    word(0).load(SeqCst).wrapping_sub(before)
}

/// Waits until the worker runs in its start number `start`.
fn await_start(start: u32) {
    while control(WORKER, STATE) != start {
        sleep(200);
    }
}

/// Whether an end was told of since this was asked last.
fn told() -> bool {
    sleep(500);
    ENDS.swap(0, SeqCst) != 0
}

fn supervisor() -> u32 {
    gic::init();
    gic::enable(board::TIMER_INTERRUPT);
    println!("control: before its start: {}", control(WORKER, STATE));
    assert_eq!(control(WORKER, START), 0);
    await_start(1);
    while counted() == 0 {}
    println!("control: started, and started again: {}", control(WORKER, START));
    assert_eq!(control(WORKER, PAUSE), 0);
    sleep(500);
    println!("control: paused, it counts on by {}", counted());
    assert_eq!(control(WORKER, RESUME), 0);
    while counted() == 0 {}
    println!("control: resumed, it counts on");
    gic::enable(TOLD);
    assert_eq!(control(WORKER, RESTART), 0);
    await_start(2);
    println!("control: restarted, told of it: {}", told());
    for start in 3..3 + RESTARTS {
        // In its pause, too.
        if start % 2 == 0 {
            assert_eq!(control(WORKER, PAUSE), 0);
        }
        assert_eq!(control(WORKER, RESTART), 0);
        await_start(start);
    }
    println!("control: {RESTARTS} restarts, and it counts: {}", counted() != 0);
    let _ = told();
    assert_eq!(control(WORKER, STOP), 0);
    await_start(0);
    println!("control: stopped, told of it: {}", told());
    let denied = [control(0, STATE), control(0, STOP)] == [psci::DENIED; 2];
    let wrong = [control(3, STOP), control(u32::MAX, STATE), control(WORKER, 7)];
    println!(
        "control: itself is denied: {denied}, nonsense is refused: {}",
        wrong == [psci::INVALID_PARAMETERS; 3]
    );
    while word(1).load(SeqCst) == 0 {
        sleep(200);
    }
    println!("control: the stranger was denied {} of 8", word(1).load(SeqCst));
    assert_eq!(control(STRANGER, STOP), 0);
    sleep(1000);
    println!("control: the stranger stopped waiting: {}", control(STRANGER, STATE) == 0);
    0
}

fn stranger() -> u32 {
    gic::init();
    gic::enable(board::TIMER_INTERRUPT);
    let mut denied = 0;
    for vm in [0, WORKER] {
        for order in [STATE, STOP, RESTART, PAUSE] {
            denied += u32::from(control(vm, order) == psci::DENIED);
        }
    }
    word(1).store(denied, SeqCst);
    // Waits for what comes in an hour.
    sleep(3_600_000_000);
    0
}
