//! Virtual SP805 watchdog: a countdown that interrupts, and when nobody answers, bites.
//!
//! The first time the count reaches 0 it raises its interrupt and counts again from the load
//! value; the second time, if the interrupt is still raised and resets are enabled, it bites
//! ([`Sp805::take_bite`]). Not responsible for what follows a bite: that is the VM's policy, not a
//! reset line.
//!
//! Counts at [`HZ`], whatever the machine's counter does; the factor between them is kept in
//! 16.16 bits, so a period is exact to one part in 65,536 or to a tick.
//!
//! Manual: ARM DDI 0270B, chapter 3.

use crate::NEVER;
use crate::bus::{Device, Lanes, Width, identification, low_word};
use crate::quotient::Divisor;

/// Counts per second: the clock of the board's peripherals.
pub const HZ: u32 = 24_000_000;

const LOAD: u32 = 0x000;
const VALUE: u32 = 0x004;
const CONTROL: u32 = 0x008;
const INTCLR: u32 = 0x00c;
const RIS: u32 = 0x010;
const MIS: u32 = 0x014;
const LOCK: u32 = 0xc00;
const PERIPHERAL_ID: u32 = 0xfe0;

/// Written to LOCK it lets the other registers be written; anything else protects them.
const UNLOCK: u32 = 0x1acc_e551;

const INTEN: u32 = 1 << 0;
const RESEN: u32 = 1 << 1;

/// `WdogPeriphID0` to `WdogPCellID3`: part 0x805, ARM.
const IDENTIFICATION: [u8; 8] = [0x05, 0x18, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// A virtual SP805.
#[derive(Clone, Debug)]
pub struct Sp805 {
    /// Ticks of the machine's counter per count, times 65,536; not 0.
    factor: Divisor,
    load: u32,
    control: u32,
    locked: bool,
    raised: bool,
    bitten: bool,
    /// When the count is 0 next; [`NEVER`] while it does not count.
    zero: u64,
    /// The count then.
    stopped: u32,
}

impl Sp805 {
    /// A watchdog that does not count.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            factor: Divisor::ONE,
            load: u32::MAX,
            control: 0,
            locked: false,
            raised: false,
            bitten: false,
            zero: NEVER,
            stopped: u32::MAX,
        }
    }

    /// Resets it; the machine's counter has `hz` ticks per second.
    pub fn reset(&mut self, hz: u32) {
        let factor = Divisor::new(u64::from(HZ)).divide(u64::from(hz) << 16);
        *self = Self { factor: Divisor::new(factor), ..Self::new() };
    }

    /// It does nothing any more, until it is reset.
    pub const fn stop(&mut self) {
        (self.zero, self.bitten) = (NEVER, false);
    }

    /// Raises the interrupt or bites if it is time.
    pub fn update(&mut self, now: u64) {
        if self.zero > now || self.zero == NEVER {
            return;
        }
        let again = self.zero.saturating_add(self.period());
        let twice = self.raised || again <= now;
        self.raised = true;
        if twice && self.control & RESEN != 0 {
            self.bitten = true;
            self.zero = NEVER;
        } else {
            self.zero = if again > now { again } else { now.saturating_add(self.period()) };
        }
    }

    /// Whether nobody answered; told once. It counts no more.
    pub const fn take_bite(&mut self) -> bool {
        core::mem::replace(&mut self.bitten, false)
    }

    /// Level of the interrupt.
    #[must_use]
    pub const fn irq(&self) -> bool {
        self.raised && self.control & INTEN != 0
    }

    /// When it raises its interrupt or bites next.
    #[must_use]
    pub const fn deadline(&self) -> u64 {
        self.zero
    }

    /// Ticks from a load to 0; at least 1.
    #[inline(never)]
    fn period(&self) -> u64 {
        ((u64::from(self.load) * self.factor.get()) >> 16).max(1)
    }

    fn count(&self, now: u64) -> u32 {
        if self.zero == NEVER {
            return self.stopped;
        }
        let left = self.zero.saturating_sub(now).min(u64::from(u32::MAX) << 8);
        low_word(self.factor.divide(left << 16).min(u64::from(u32::MAX)))
    }

    /// Counts from the load value.
    fn restart(&mut self, now: u64) {
        let counts = self.control & INTEN != 0;
        self.zero = if counts { now.saturating_add(self.period()) } else { NEVER };
        self.stopped = self.load;
    }
}

impl Default for Sp805 {
    fn default() -> Self {
        Self::new()
    }
}

impl Device for Sp805 {
    fn read(&mut self, offset: u32, width: Width, now: u64) -> u32 {
        self.update(now);
        let lanes = Lanes::new(offset, width);
        let word = match lanes.register {
            LOAD => self.load,
            VALUE => self.count(now),
            CONTROL => self.control,
            RIS => u32::from(self.raised),
            MIS => u32::from(self.irq()),
            LOCK => u32::from(self.locked),
            PERIPHERAL_ID..0x1000 => identification(&IDENTIFICATION, PERIPHERAL_ID, lanes.register),
            _ => 0,
        };
        lanes.extract(word)
    }

    fn write(&mut self, offset: u32, width: Width, value: u32, now: u64) {
        self.update(now);
        let lanes = Lanes::new(offset, width);
        let value = lanes.place(value);
        match lanes.register {
            LOCK => self.locked = value != UNLOCK,
            _ if self.locked => {}
            LOAD => {
                self.load = value;
                self.restart(now);
            }
            // Enabling the interrupt starts the count from the load value (3.3.3).
            CONTROL => {
                let starts = self.control & INTEN != value & INTEN;
                let count = self.count(now);
                self.control = value & (INTEN | RESEN);
                if starts {
                    self.restart(now);
                    if self.control & INTEN == 0 {
                        self.stopped = count;
                    }
                }
            }
            INTCLR => {
                self.raised = false;
                self.restart(now);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A counter twice as fast as the watchdog's.
    fn watchdog(load: u32, control: u32) -> Sp805 {
        let mut watchdog = Sp805::new();
        watchdog.reset(2 * HZ);
        watchdog.write(LOAD, Width::Word, load, 0);
        watchdog.write(CONTROL, Width::Word, control, 0);
        watchdog
    }

    #[test]
    fn it_interrupts_first_and_bites_if_nobody_answers() {
        let mut watchdog = watchdog(1000, INTEN | RESEN);
        assert_eq!(watchdog.deadline(), 2000);
        watchdog.update(1999);
        assert!(!watchdog.irq());
        watchdog.update(2000);
        assert!(watchdog.irq() && !watchdog.take_bite());
        assert_eq!(watchdog.deadline(), 4000);
        watchdog.update(4000);
        assert!(watchdog.take_bite());
        assert_eq!(watchdog.deadline(), NEVER);
    }

    #[test]
    fn who_answers_is_left_alone() {
        let mut watchdog = watchdog(1000, INTEN | RESEN);
        for now in (0..1_000_000).step_by(1500) {
            watchdog.write(INTCLR, Width::Word, 1, now);
            assert!(!watchdog.irq() && !watchdog.take_bite());
        }
    }

    #[test]
    fn a_vm_that_did_not_run_for_two_periods_is_bitten_at_once() {
        let mut watchdog = watchdog(1000, INTEN | RESEN);
        watchdog.update(5000);
        assert!(watchdog.take_bite());
    }

    #[test]
    fn without_resets_it_only_interrupts() {
        let mut watchdog = watchdog(1000, INTEN);
        watchdog.update(100_000);
        assert!(watchdog.irq() && !watchdog.take_bite());
    }

    #[test]
    fn it_counts_down_at_its_own_rate_and_stops_when_disabled() {
        let mut watchdog = watchdog(1000, INTEN);
        assert_eq!(watchdog.read(VALUE, Width::Word, 500), 750);
        watchdog.write(CONTROL, Width::Word, 0, 500);
        assert_eq!(watchdog.read(VALUE, Width::Word, 900), 750);
        assert_eq!(watchdog.deadline(), NEVER);
    }

    #[test]
    fn locked_it_cannot_be_changed() {
        let mut watchdog = watchdog(1000, INTEN | RESEN);
        watchdog.write(LOCK, Width::Word, 1, 0);
        watchdog.write(CONTROL, Width::Word, 0, 0);
        assert_eq!(watchdog.read(CONTROL, Width::Word, 0), INTEN | RESEN);
        assert_eq!(watchdog.read(LOCK, Width::Word, 0), 1);
        watchdog.write(LOCK, Width::Word, UNLOCK, 0);
        watchdog.write(CONTROL, Width::Word, 0, 0);
        assert_eq!(watchdog.read(CONTROL, Width::Word, 0), 0);
    }

    #[test]
    fn linux_finds_its_identification() {
        let mut watchdog = Sp805::new();
        let id = |at: u32| watchdog.read(0xfe0 + at * 4, Width::Word, 0);
        let bytes: Vec<u32> = (0..4).map(id).collect();
        assert_eq!(bytes, [0x05, 0x18, 0x14, 0x00]);
    }
}
