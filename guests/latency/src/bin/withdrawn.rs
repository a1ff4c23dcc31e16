//! A VM that is paused, stopped and restarted right when its timer interrupts it, by one that is less urgent.
//!
//! The urgent one counts its interrupts in a page that both share, and says there when the next
//! is due. The other waits until about then, gives an order, and looks: who is paused or stopped
//! counts no more, who goes on or starts counts on.
//!
//! ```text
//! withdrawn: 900 rounds wrong=0
//! ```
#![no_std]
#![no_main]

use core::ptr::with_exposed_provenance;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use entresol_guest::abi::control::{PAUSE, RESTART, RESUME, START, STATE, STOP};
use entresol_guest::abi::hypercall::Function;
use entresol_guest::hypercall::control;
use entresol_guest::random::Random;
use entresol_guest::{board, entry, gic, hypercall, println, timer, trap};

/// The page that both share.
const PAGE: usize = 0x3000_0000;
/// Rounds.
const ROUNDS: u32 = 900;
/// The urgent VM.
const URGENT: u32 = 1;
/// From one interrupt to the next, and how long it is looked for one, in nanoseconds.
const PERIOD: u64 = 40_000;
const LOOK: u64 = 2_000_000;

entry!(main);

fn main(_device_tree: u32) -> u32 {
    if hypercall::call(Function::VmIndex, 0) == URGENT { urgent() } else { other() }
}

fn word(index: usize) -> &'static AtomicU32 {
    // SAFETY: shared memory, for ever, and accessed by atomic accesses only.
    unsafe { &*with_exposed_provenance(PAGE + index * 4) }
}

fn count() -> u32 {
    word(0).load(SeqCst)
}

fn ticks(nanoseconds: u64) -> u64 {
    u64::from(timer::frequency()) * nanoseconds / 1_000_000_000
}

fn urgent() -> ! {
    gic::init();
    gic::enable(board::TIMER_INTERRUPT);
    let period = ticks(PERIOD);
    loop {
        let next = timer::now() + period;
        word(1).store(next as u32, SeqCst);
        timer::arm(next);
        // Interrupts stay masked: a pending one ends the wait all the same.
        trap::wait_for_interrupt();
        // Before anything that traps.
        word(0).fetch_add(1, SeqCst);
        let acknowledged = gic::acknowledge();
        assert_eq!(acknowledged, board::TIMER_INTERRUPT);
        timer::disarm();
        gic::end(acknowledged);
    }
}

/// Runs until something is so, for some time; whether it was.
fn soon(is: impl Fn() -> bool) -> bool {
    let until = timer::now() + ticks(LOOK);
    while timer::now() < until {
        if is() {
            return true;
        }
    }
    false
}

/// Whether it counts on.
fn counts() -> bool {
    let before = count();
    soon(|| count() != before)
}

/// Whether it does not, for some periods, in which the machine's timer interrupts now and then.
fn stands() -> bool {
    let before = count();
    let until = timer::now() + ticks(3 * PERIOD);
    while timer::now() < until {
        let next = timer::now() + ticks(5_000);
        timer::arm(next);
        while timer::now() < next {}
    }
    timer::disarm();
    count() == before
}

/// Gives an order up to 4 us before or 1 us after the interrupt.
fn order(random: &mut Random, order: u32) -> bool {
    let early = ticks(u64::from(random.below(5_000))) as u32;
    let at = word(1).load(SeqCst).wrapping_add(ticks(1_000) as u32).wrapping_sub(early);
    while (timer::now() as u32).wrapping_sub(at) as i32 <= 0 {}
    control(URGENT, order) == 0
}

/// What came of an order is as it should be.
fn round(random: &mut Random) -> bool {
    let starts = control(URGENT, STATE);
    match random.below(3) {
        0 => order(random, PAUSE) && stands() && control(URGENT, RESUME) == 0 && counts(),
        1 => {
            order(random, STOP)
                && soon(|| control(URGENT, STATE) == 0)
                && stands()
                && control(URGENT, START) == 0
                && soon(|| control(URGENT, STATE) == starts + 1)
                && counts()
        }
        _ => order(random, RESTART) && soon(|| control(URGENT, STATE) == starts + 1) && counts(),
    }
}

fn other() -> u32 {
    let mut random = Random::numbered(0);
    assert!(counts());
    let wrong = (0..ROUNDS).filter(|_| !round(&mut random)).count();
    println!("withdrawn: {ROUNDS} rounds wrong={wrong}");
    0
}
