//! A guest that drives a clock of the machine, given to it, with its interrupt.
//!
//! The clock is a PL031 at [`CLOCK`] with interrupt [`INTERRUPT`]; the manifest puts one
//! there. Its alarm is set three times, a second ahead each time. Every alarm
//! must interrupt once: not before it, and not again after it was ended.
//!
//! ```text
//! passthrough: alarm 1 within 2 s, once
//! ```
#![no_std]
#![no_main]

use core::ptr::with_exposed_provenance_mut;
use entresol_guest::{entry, gic, println, timer, trap};

/// Where the clock is.
const CLOCK: usize = 0x0b00_0000;
/// Its interrupt.
const INTERRUPT: u32 = 96;

/// Data, match, interrupt mask, masked status, interrupt clear.
const RTCDR: usize = CLOCK;
const RTCMR: usize = CLOCK + 0x04;
const RTCIMSC: usize = CLOCK + 0x10;
const RTCMIS: usize = CLOCK + 0x18;
const RTCICR: usize = CLOCK + 0x1c;
/// PrimeCell identification: part number 0x031.
const PERIPH_ID0: usize = CLOCK + 0xfe0;

/// Alarms.
const ALARMS: u32 = 3;

entry!(main);

fn main(_device_tree: u32) -> u32 {
    if read(PERIPH_ID0) != 0x31 {
        println!("passthrough: no PL031 at {CLOCK:#x}");
        return 1;
    }
    gic::init();
    gic::enable(INTERRUPT);
    write(RTCICR, 1);
    write(RTCIMSC, 1);
    for alarm in 1..=ALARMS {
        let begin = timer::now();
        let before = read(RTCDR);
        write(RTCMR, before + 1);
        trap::wait_for_interrupt();
        let acknowledged = gic::acknowledge();
        let (status, now) = (read(RTCMIS), read(RTCDR));
        if acknowledged != INTERRUPT || status != 1 || now != before + 1 {
            println!("passthrough: interrupt {acknowledged}, status {status}, {before} to {now}");
            return 2;
        }
        write(RTCICR, 1);
        gic::end(acknowledged);
        // The line is low: nothing may interrupt for a tenth of a second.
        let quiet = timer::now() + u64::from(timer::frequency() / 10);
        let mut again = gic::SPURIOUS;
        while timer::now() < quiet && again == gic::SPURIOUS {
            again = gic::acknowledge();
        }
        if again != gic::SPURIOUS {
            println!("passthrough: interrupt {again} came again");
            return 3;
        }
        let seconds = (timer::now() - begin).div_ceil(u64::from(timer::frequency()));
        println!("passthrough: alarm {alarm} within {seconds} s, once");
    }
    // An alarm that is not cleared interrupts again and again, but only when it is ended.
    write(RTCMR, read(RTCDR) + 1);
    let mut taken = 0;
    for _ in 0..10 {
        trap::wait_for_interrupt();
        let acknowledged = gic::acknowledge();
        if acknowledged == INTERRUPT {
            taken += 1;
        }
        if gic::acknowledge() != gic::SPURIOUS {
            println!("passthrough: an active interrupt was acknowledged");
            return 4;
        }
        gic::end(acknowledged);
    }
    println!("passthrough: {taken} interrupts of an alarm that stays");
    0
}

fn read(register: usize) -> u32 {
    let address = with_exposed_provenance_mut::<u32>(register);
    // SAFETY: the manifest has put the clock there.
    unsafe { address.read_volatile() }
}

fn write(register: usize, value: u32) {
    let address = with_exposed_provenance_mut::<u32>(register);
    // SAFETY: the manifest has put the clock there.
    unsafe { address.write_volatile(value) }
}
