//! A pair of guests: one serves, and fails in every way; the other takes over.
//!
//! Who has the UART of the machine takes numbered messages from memory that both share, writes
//! their numbers to it, and notes in that memory that they are done: in two copies of a record, of
//! which a number says which is good, so that a failure at any instruction loses and repeats none.
//! After some messages it fails: by a fault, by hanging with or without interrupts, by a
//! watchdog, by giving up, by a reset; at the boundary of a message or in the middle of one. Whoever
//! takes over looks whether the record is what its number says, and how long the service was gone.
//! The backup has nothing of the UART: it tries at times, and takes an abort.
//!
//! ```text
//! failover: 100 failovers, 6 ways, 1234 messages, gone for 1017 us at most
//! ```
#![no_std]
#![no_main]

use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use entresol_guest::abi::hypercall::Function;
use entresol_guest::random::Random;
use entresol_guest::{board, entry, gic, hypercall, interrupt, println, timer, trap, vectors};

entry!(main);

vectors! {
    /// The backup's accesses to the UART abort; interrupts end waits.
    failover_vectors:
        undefined trap::unexpected, svc trap::unexpected, prefetch trap::unexpected,
        data trap::leave_out, irq interrupted, fiq trap::unexpected,
}

/// The machine's UART, a PL011, and what both share.
const UART: usize = 0x0b00_0000;
const STATE: usize = 0x3000_0000;
/// The interrupt that tells of the partner.
const TOLD: u32 = 120;
/// The SP805 of the virtual board.
const WATCHDOG: usize = 0x0902_0000;

/// Words of the shared memory.
#[derive(Clone, Copy)]
enum Word {
    /// Messages done: bit 0 says which record is good.
    Done,
    /// Two records of the sum of all that is done.
    Record,
    /// Takeovers.
    Takeovers = 3,
    /// When the one before failed, in ticks, low word.
    Failed,
    /// How it did, a bit for each way.
    Ways,
    /// For how many ticks the service was gone at most.
    Gone,
    /// Up to which message that was checked, and the sum up to there.
    Checked,
}

/// Ways to fail.
const WAYS: u32 = 7;

fn word(word: Word, index: usize) -> &'static AtomicU32 {
    // SAFETY: shared memory, for ever, and accessed by atomic accesses only.
    unsafe { &*with_exposed_provenance(STATE + (word as usize + index) * 4) }
}

interrupt! {
    /// The interrupt vector.
    interrupted => handle
}

extern "C" fn handle() {
    let acknowledged = gic::acknowledge();
    if acknowledged == board::TIMER_INTERRUPT {
        timer::disarm();
    }
    gic::end(acknowledged);
}

fn write(at: usize, value: u32) {
    // SAFETY: a register that the guest has, or has not: then it aborts.
    unsafe { with_exposed_provenance_mut::<u32>(at).write_volatile(value) }
}

fn ticks(microseconds: u32) -> u64 {
    u64::from(timer::frequency()) * u64::from(microseconds) / 1_000_000
}

/// What message `number` adds to the sum.
const fn hash(number: u32) -> u32 {
    (number ^ number >> 7).wrapping_mul(0x9e37_79b1)
}

/// Writes a decimal number and the VM's letter to the machine's UART.
fn report(number: u32, vm: u32) {
    let mut divisor = 1_000_000_000;
    while divisor > 1 && number / divisor == 0 {
        divisor /= 10;
    }
    while divisor > 0 {
        write(UART, u32::from(b'0') + number / divisor % 10);
        divisor /= 10;
    }
    write(UART, 0x20);
    write(UART, u32::from(b'a') + vm);
    write(UART, 0x0a);
}

/// One message; fails after so many steps of it.
fn serve(vm: u32, steps: u32, way: u32) {
    let number = word(Word::Done, 0).load(SeqCst);
    let good = (number & 1) as usize;
    let sum = word(Word::Record, good).load(SeqCst);
    if steps == 1 {
        fail(way);
    }
    report(number, vm);
    if steps == 2 {
        fail(way);
    }
    word(Word::Record, 1 - good).store(sum.wrapping_add(hash(number)), SeqCst);
    if steps == 3 {
        fail(way);
    }
    // Now it is done.
    word(Word::Done, 0).store(number + 1, SeqCst);
}

/// Fails, in the way of this number.
fn fail(way: u32) -> ! {
    word(Word::Ways, 0).fetch_or(1 << way, SeqCst);
    word(Word::Failed, 0).store(timer::now() as u32, SeqCst);
    match way {
        // A fault.
        0 => write(entresol_guest::abi::window::BASE as usize, 0),
        // A hang, with interrupts masked.
        1 => trap::mask_interrupts(),
        // Interrupts that do not come any more.
        2 => gic::disable(board::TIMER_INTERRUPT),
        // A watchdog that is not answered.
        3 => {
            write(WATCHDOG, 1_200);
            write(WATCHDOG + 8, 0b11);
        }
        4 => hypercall::panic(way),
        5 => {
            let _ = hypercall::call(Function::PsciSystemReset, 0);
        }
        // A wait for what does not come.
        _ => loop {
            trap::mask_interrupts();
            timer::disarm();
            trap::wait_for_interrupt();
        },
    }
    loop {
        core::hint::spin_loop();
    }
}

/// Waits until the partner has failed, and tries to use the UART meanwhile.
fn stand_by(random: &mut Random) {
    while !hypercall::is_active() {
        hypercall::heartbeat();
        if random.below(4) == 0 && !hypercall::is_active() {
            let before = trap::aborts();
            write(UART, u32::from(b'!'));
            // It may have become this VM's at the instruction before.
            if trap::aborts() == before && !hypercall::is_active() {
                println!("failover: the backup wrote to the UART");
            }
        }
        timer::arm(timer::now() + ticks(300 + random.below(100)));
        trap::wait_for_interrupt();
    }
    timer::disarm();
}

/// Whether the records are what the number of messages says.
fn is_whole(number: u32) -> bool {
    let checked = word(Word::Checked, 0).load(SeqCst);
    let sum = (checked..number)
        .fold(word(Word::Checked, 1).load(SeqCst), |sum, number| sum.wrapping_add(hash(number)));
    word(Word::Checked, 1).store(sum, SeqCst);
    word(Word::Checked, 0).store(number, SeqCst);
    word(Word::Record, (number & 1) as usize).load(SeqCst) == sum
}

fn main(_device_tree: u32) -> u32 {
    // SAFETY: the handlers return as their exceptions demand.
    unsafe { trap::install(failover_vectors) }
    gic::init();
    gic::enable(board::TIMER_INTERRUPT);
    gic::enable(TOLD);
    trap::unmask_interrupts();
    let vm = hypercall::call(Function::VmIndex, 0);
    let start = hypercall::starts();
    let mut random = Random::new(0xfa11 + vm * 0x1_0001 + start * 0x101);
    if !hypercall::is_active() {
        stand_by(&mut random);
    }
    let failed = word(Word::Failed, 0).load(SeqCst);
    report(word(Word::Done, 0).load(SeqCst), vm);
    let now = timer::now() as u32;
    if failed != 0 {
        took_over(now.wrapping_sub(failed));
    }
    let messages = 1 + random.below(6);
    for _ in 0..messages {
        hypercall::heartbeat();
        serve(vm, 0, 0);
    }
    let (steps, way) = (1 + random.below(3), random.below(WAYS));
    serve(vm, steps, way);
    0
}

/// Notes for how long the service was gone, and says at times how it goes.
fn took_over(gone: u32) {
    word(Word::Gone, 0).fetch_max(gone, SeqCst);
    let number = word(Word::Done, 0).load(SeqCst);
    let takeovers = word(Word::Takeovers, 0).fetch_add(1, SeqCst) + 1;
    if !is_whole(number) {
        println!("failover: messages were lost or repeated before {number}");
    }
    if takeovers.is_multiple_of(100) {
        let ways = word(Word::Ways, 0).load(SeqCst).count_ones();
        let most =
            u64::from(word(Word::Gone, 0).load(SeqCst)) * 1_000_000 / u64::from(timer::frequency());
        println!(
            "failover: {takeovers} failovers, {ways} ways, {number} messages, gone for {most} us at most"
        );
    }
}
