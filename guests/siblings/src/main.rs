//! A guest with two vCPUs: what each sees of the other, and how a run ends by either.
//!
//! The first start makes the tests one by one, the next ones end in other ways each:
//!
//! ```text
//! siblings: start 1
//! ok power
//! ```
#![no_std]
#![no_main]

mod attack;
mod machine;
mod second;

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use entresol_guest::abi::hypercall::{Function, psci};
use entresol_guest::{cp15, entry, gic, hypercall, println, timer, trap};
use machine::{CODE, PAGES, SHOWN, show, wait_for, write_code};
use second::{Task, ask, begin, turn_on};

entry!(main);

/// Software interrupts: to the second, and back.
const PING: u32 = 1;
const PONG: u32 = 2;

/// Software interrupts by who got them and number, and those that named another source.
static RECEIVED: [[AtomicU32; 16]; 2] = [const { [const { AtomicU32::new(0) }; 16] }; 2];
static WRONG: AtomicU32 = AtomicU32::new(0);
/// Timer interrupts by who got them.
static TICKS: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

fn main(_device_tree: u32) -> u32 {
    let start = hypercall::starts();
    println!("siblings: start {start}");
    machine::set_up();
    gic::init();
    gic::enable(machine::TIMER);
    trap::unmask_interrupts();
    match start {
        1 => tests(),
        2 => {
            // The second asks for a reset.
            turn_on();
            ask(Task::Reset, 0);
        }
        3 => {
            // The second breaks off.
            turn_on();
            ask(Task::Fault, 0);
        }
        _ => attack::run(),
    }
    // By the second, if at all.
    loop {
        machine::wait();
    }
}

fn tests() {
    power();
    identity();
    interrupts();
    counters();
    translations();
    code();
    timers();
    board();
    again();
    println!("siblings: all done");
    // While the second spins.
    ask(Task::Spin, 0);
    let _ = hypercall::call(Function::PsciSystemReset, 0);
}

fn expect(what: &str, is: u32, should: u32) {
    if is != should {
        println!("FAIL: {what}: {is:#x}, not {should:#x}");
        hypercall::exit(1);
    }
}

/// `CPU_ON` and its mistakes, `AFFINITY_INFO`.
fn power() {
    let on = |cpu, entry| hypercall::raw(Function::PsciCpuOn as u32, [cpu, entry, 0]);
    let state = |cpu| hypercall::call(Function::PsciAffinityInfo, cpu);
    let begin = begin as *const () as u32;
    expect("off at first", state(1), 1);
    expect("the first is on", state(0), 0);
    expect("no third", state(2), psci::INVALID_PARAMETERS);
    expect("on: no third", on(2, begin), psci::INVALID_PARAMETERS);
    expect("on: nowhere", on(1, 0x1000), psci::INVALID_PARAMETERS);
    expect("on: beyond memory", on(1, 0x8000_0000), psci::INVALID_PARAMETERS);
    expect("on: itself", on(0, begin), psci::ALREADY_ON);
    expect("the first stays on", hypercall::call(Function::PsciCpuOff, 0), psci::DENIED);
    turn_on();
    expect("on now", state(1), 0);
    expect("on: again", on(1, begin), psci::ALREADY_ON);
    println!("ok power");
}

/// MPIDR, and each processor's mask in the distributor.
fn identity() {
    expect("MPIDR of the first", machine::mpidr(), 0x8000_0000);
    expect("MPIDR of the second", ask(Task::Mpidr, 0), 0x8000_0001);
    expect("CPUs of the GIC", machine::read(machine::GICD_TYPER) >> 5 & 7, 1);
    expect("mask of the first", machine::read(machine::GICD_ITARGETSR), 0x0101_0101);
    expect("mask of the second", ask(Task::Mask, 0), 0x0202_0202);
    println!("ok identity");
}

/// Software interrupts to and fro, with their source.
fn interrupts() {
    const ROUNDS: u32 = 200;
    for round in 1..=ROUNDS {
        gic::send(2, PING);
        wait_for(|| RECEIVED[0][PONG as usize].load(SeqCst) == round);
    }
    expect("pings", RECEIVED[1][PING as usize].load(SeqCst), ROUNDS);
    expect("named another source", WRONG.load(SeqCst), 0);
    println!("ok interrupts");
}

/// One counter, by exclusives of both.
fn counters() {
    const EACH: u32 = 20_000;
    second::send(Task::Count, EACH);
    for _ in 0..EACH {
        second::COUNTER.fetch_add(1, SeqCst);
    }
    second::answer();
    expect("sum", second::COUNTER.load(SeqCst), 2 * EACH);
    println!("ok counters");
}

/// A page that is shown elsewhere: the second sees it at once.
fn translations() {
    for round in 0..300_u32 {
        let page = round as usize & 1;
        show(page);
        expect("second sees", ask(Task::Load, SHOWN as u32), PAGES[page].0[0].load(SeqCst));
    }
    // What is taken away, the second cannot touch.
    machine::hide();
    expect("second faults", ask(Task::Probe, SHOWN as u32), 1);
    show(0);
    expect("second does not", ask(Task::Probe, SHOWN as u32), 0);
    println!("ok translations");
}

/// Code that one writes and the other runs, on one page with what both run all the time.
fn code() {
    for value in 0..100 {
        write_code(0, value);
        expect("second runs", ask(Task::Call, 0), value);
        expect("first runs", machine::call(0), value);
        // Beside what the second runs meanwhile.
        second::send(Task::CallOften, 0);
        write_code(64, value ^ 0xff);
        expect("beside", machine::call(64), value ^ 0xff);
        expect("second ran", second::answer(), 100 * value);
    }
    expect("it is on one page", CODE.address() as u32 & 0xfff, 0);
    println!("ok code");
}

/// A timer each.
fn timers() {
    let at = timer::now() + u64::from(timer::frequency() / 1000);
    timer::arm(at);
    expect("second's tick", ask(Task::Tick, 0), 1);
    wait_for(|| TICKS[0].load(SeqCst) == 1);
    println!("ok timers");
}

/// The board is one: the second enables a shared interrupt and prints.
fn board() {
    expect("second writes and reads", ask(Task::Distributor, 0), 0x2c);
    expect("first reads", machine::read(machine::GICD_ISENABLER + 4), 0x2c);
    machine::write(machine::GICD_ICENABLER + 4, 0x2c);
    expect("second reads", ask(Task::Read, (machine::GICD_ISENABLER + 4) as u32), 0);
    ask(Task::Print, 7);
    println!("ok board");
}

/// Off and on, again and again.
fn again() {
    for _ in 0..50 {
        second::send(Task::Off, 0);
        wait_for(|| hypercall::call(Function::PsciAffinityInfo, 1) == 1);
        turn_on();
    }
    expect("MPIDR of the second", ask(Task::Mpidr, 0), 0x8000_0001);
    println!("ok again");
}

/// The interrupt handler of both.
extern "C" fn interrupted() {
    let acknowledged = gic::acknowledge();
    let own = machine::mpidr() as usize & 1;
    match acknowledged & 0x3ff {
        machine::TIMER => {
            timer::disarm();
            TICKS[own].fetch_add(1, SeqCst);
        }
        irq @ 0..=15 => {
            if acknowledged >> 10 != (own as u32 ^ 1) {
                WRONG.fetch_add(1, SeqCst);
            }
            RECEIVED[own][irq as usize].fetch_add(1, SeqCst);
            if irq == PING {
                gic::send(1, PONG);
            }
        }
        _ => {}
    }
    gic::end(acknowledged);
    cp15::dsb();
}
