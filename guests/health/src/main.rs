//! Guests that fail in every way a manifest can name, and one that is told of it.
//!
//! The manifest's order says who is who: 0 is told, the others fail.
//!
//! ```text
//! health: vm 1, event 2, policy 5, 3 in all
//! ```
#![no_std]
#![no_main]

use entresol_guest::abi::control::{EVENT, STATE, STOP};
use entresol_guest::abi::hypercall::{Function, psci};
use entresol_guest::hypercall::{control, deadline, heartbeat};
use entresol_guest::random::Random;
use entresol_guest::{board, entry, gic, hypercall, println, timer, trap};

/// The interrupt that tells.
const TOLD: u32 = 120;
/// VMs, the one that is told included, without the one that floods.
const VMS: usize = 6;
/// Events that are waited for, by VM.
const WANTED: [u32; VMS] = [0, 3, 3, 3, 3, 2];

entry!(main);

fn main(_device_tree: u32) -> u32 {
    match hypercall::call(Function::VmIndex, 0) {
        0 => told(),
        1 => beats(),
        2 => promises(),
        3 => spends(),
        4 => gives_up(),
        5 => turns_off(),
        _ => floods(),
    }
}

fn in_microseconds(microseconds: u64) -> u64 {
    timer::now() + u64::from(timer::frequency()) * microseconds / 1_000_000
}

fn spin(microseconds: u64) {
    let until = in_microseconds(microseconds);
    while timer::now() < until {
        core::hint::spin_loop();
    }
}

/// Waits until it is told that something befell another, and says what.
fn told() -> u32 {
    gic::init();
    gic::enable(TOLD);
    let mut known = [0; VMS];
    while known.iter().zip(WANTED).any(|(record, wanted)| record >> 16 < wanted) {
        trap::wait_for_interrupt();
        gic::end(gic::acknowledge());
        for (vm, known) in (0..).zip(&mut known).skip(1) {
            let record = control(vm, EVENT);
            if record != *known && *known >> 16 < WANTED[vm as usize] {
                let [event, policy] = [record & 0xff, record >> 8 & 0xff];
                println!(
                    "health: vm {vm}, event {event}, policy {policy}, {} in all",
                    record >> 16
                );
                *known = record;
            }
        }
    }
    let vms = VMS as u32;
    println!("health: of itself it is denied: {}", control(0, EVENT) == psci::DENIED);
    println!("health: the flood runs: {}", control(vms, STATE) == 1);
    for vm in 1..=vms {
        let _ = control(vm, STOP);
    }
    0
}

/// Beats for 20 ms, then hangs with interrupts masked; the third time does so at once.
fn beats() -> u32 {
    let start = hypercall::starts();
    let times = if start == 3 { 0 } else { 20 };
    for _ in 0..times {
        spin(1_000);
        heartbeat();
    }
    println!("health: start {start}, {times} heartbeats");
    loop {
        if start.is_multiple_of(2) {
            trap::wait_for_interrupt();
        }
    }
}

/// Keeps some promises, breaks three, and goes on.
fn promises() -> u32 {
    for _ in 0..20 {
        deadline(1_000);
        spin(900);
    }
    deadline(0);
    spin(2_000);
    println!("health: 20 deadlines kept");
    for _ in 0..3 {
        deadline(500);
        spin(1_000);
    }
    println!("health: 3 deadlines missed");
    0
}

/// Wants more than its budget.
fn spends() -> u32 {
    loop {
        core::hint::spin_loop();
    }
}

/// Gives up three times, and is not let.
fn gives_up() -> u32 {
    for code in 1..=3 {
        hypercall::panic(code);
        spin(100);
    }
    println!("health: gave up 3 times, and goes on");
    0
}

/// Turns itself off, which is not expected of it.
fn turns_off() -> u32 {
    println!("health: start {}, off", hypercall::starts());
    let _ = hypercall::call(Function::PsciSystemOff, 0);
    1
}

/// Calls without end: heartbeats, deadlines of no time, reasons to give up, questions and orders.
fn floods() -> u32 {
    gic::init();
    gic::enable(board::TIMER_INTERRUPT);
    let mut random = Random::new(0xf100_d000);
    loop {
        let function = 0x13 + random.below(4);
        let argument = random.word() >> random.below(32);
        let _ = hypercall::raw(0x8600_0000 | function, [argument; 3]);
        let _ = control(random.below(9), random.below(9));
    }
}
