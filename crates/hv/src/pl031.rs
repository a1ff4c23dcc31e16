//! Virtual PL031 real-time clock: seconds, and an alarm.
//!
//! Not responsible for what time it is: the hypervisor's machine may have no clock, so
//! the seconds start at 0 unless the caller sets them.
//!
//! Seconds are derived from the machine's counter when asked for. Only setting the
//! alarm and reading divide; whether the alarm is due is one comparison.
//!
//! Manual: ARM DDI 0224C, chapter 3.

use crate::NEVER;
use crate::bus::{Device, Lanes, Width, identification, low_word};
use crate::quotient::Divisor;

const DR: u32 = 0x00;
const MR: u32 = 0x04;
const LR: u32 = 0x08;
const CR: u32 = 0x0c;
const IMSC: u32 = 0x10;
const RIS: u32 = 0x14;
const MIS: u32 = 0x18;
const ICR: u32 = 0x1c;
const PERIPHERAL_ID: u32 = 0xfe0;

/// `RTCPeriphID0` to `RTCPCellID3`: part 0x031, ARM.
const IDENTIFICATION: [u8; 8] = [0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// A virtual PL031.
#[derive(Clone, Debug)]
pub struct Pl031 {
    /// Ticks per second of the machine's counter.
    hz: Divisor,
    /// The counter when the clock read `loaded`.
    since: u64,
    loaded: u32,
    match_: u32,
    /// The counter when the clock next equals `match_`.
    alarm: u64,
    unmasked: bool,
    raised: bool,
}

impl Pl031 {
    /// A clock that stands still until it is reset.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            hz: Divisor::ONE,
            since: 0,
            loaded: 0,
            match_: 0,
            alarm: u64::MAX,
            unmasked: false,
            raised: false,
        }
    }

    /// The counter has `hz` ticks per second.
    pub fn set_frequency(&mut self, hz: u32) {
        self.hz = Divisor::new(u64::from(hz));
    }

    /// Starts the clock at `seconds`.
    pub fn reset(&mut self, now: u64, seconds: u32) {
        *self = Self { hz: self.hz, since: now, loaded: seconds, ..Self::new() };
    }

    /// Raises the alarm if it is due.
    pub fn update(&mut self, now: u64) {
        if now >= self.alarm {
            self.raised = true;
            self.set_alarm(now, false);
        }
    }

    /// Level of the interrupt.
    #[must_use]
    pub const fn irq(&self) -> bool {
        self.raised && self.unmasked
    }

    /// When the interrupt is next asserted, if it is not.
    #[must_use]
    pub const fn deadline(&self) -> u64 {
        if self.unmasked && !self.raised { self.alarm } else { NEVER }
    }

    fn seconds(&self, now: u64) -> u32 {
        // Wraps as the 32-bit counter of the device does.
        self.loaded.wrapping_add(low_word(self.elapsed(now)))
    }

    fn elapsed(&self, now: u64) -> u64 {
        self.hz.divide(now.wrapping_sub(self.since))
    }

    /// Works out when the clock equals the match register: from this second on, or
    /// strictly later.
    fn set_alarm(&mut self, now: u64, this_second: bool) {
        let distance = match self.match_.wrapping_sub(self.seconds(now)) {
            0 if !this_second => 1 << 32,
            distance => u64::from(distance),
        };
        let seconds = self.elapsed(now).saturating_add(distance);
        self.alarm = self.since.saturating_add(seconds.saturating_mul(self.hz.get()));
    }
}

impl Default for Pl031 {
    fn default() -> Self {
        Self::new()
    }
}

impl Device for Pl031 {
    fn read(&mut self, offset: u32, width: Width, now: u64) -> u32 {
        self.update(now);
        let lanes = Lanes::new(offset, width);
        let word = match lanes.register {
            DR => self.seconds(now),
            MR => self.match_,
            LR => self.loaded,
            CR => 1,
            IMSC => u32::from(self.unmasked),
            RIS => u32::from(self.raised),
            MIS => u32::from(self.irq()),
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
            MR => {
                self.match_ = value;
                self.set_alarm(now, true);
            }
            LR => {
                self.loaded = value;
                self.since = now;
                self.set_alarm(now, true);
            }
            // Writing 1 restarts the clock at zero; it cannot be stopped (3.3.4).
            CR if value & 1 != 0 => {}
            IMSC => self.unmasked = value & 1 != 0,
            ICR if value & 1 != 0 => self.raised = false,
            _ => {}
        }
        self.update(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 1000;

    fn clock(seconds: u32) -> Pl031 {
        let mut clock = Pl031::new();
        clock.set_frequency(1000);
        clock.reset(5 * HZ, seconds);
        clock
    }

    fn read(clock: &mut Pl031, offset: u32, now: u64) -> u32 {
        clock.read(offset, Width::Word, now)
    }

    fn write(clock: &mut Pl031, offset: u32, value: u32, now: u64) {
        clock.write(offset, Width::Word, value, now);
    }

    #[test]
    fn seconds_follow_the_counter_from_where_they_were_set() {
        let mut clock = clock(100);
        assert_eq!(read(&mut clock, DR, 5 * HZ + 999), 100);
        assert_eq!(read(&mut clock, DR, 6 * HZ), 101);
        write(&mut clock, LR, 7_000, 6 * HZ + 500);
        assert_eq!(read(&mut clock, DR, 7 * HZ + 499), 7_000);
        assert_eq!(read(&mut clock, DR, 7 * HZ + 500), 7_001);
        assert_eq!(read(&mut clock, LR, 9 * HZ), 7_000);
    }

    #[test]
    fn the_alarm_is_raised_in_its_second_and_stays_until_cleared() {
        let mut clock = clock(100);
        write(&mut clock, MR, 103, 5 * HZ);
        assert_eq!(clock.deadline(), NEVER, "masked");
        write(&mut clock, IMSC, 1, 5 * HZ);
        assert_eq!(clock.deadline(), 8 * HZ);
        clock.update(8 * HZ - 1);
        assert!(!clock.irq());
        clock.update(8 * HZ);
        assert!(clock.irq());
        assert_eq!(clock.deadline(), NEVER);
        write(&mut clock, ICR, 1, 8 * HZ);
        assert!(!clock.irq(), "the same second does not match twice");
        assert_eq!(clock.deadline(), (8 + (1 << 32)) * HZ);
    }

    #[test]
    fn an_alarm_for_this_second_is_raised_at_once() {
        let mut clock = clock(100);
        write(&mut clock, IMSC, 1, 5 * HZ);
        write(&mut clock, MR, 100, 5 * HZ);
        assert!(clock.irq());
        assert_eq!(read(&mut clock, MIS, 5 * HZ), 1);
    }

    #[test]
    fn setting_the_clock_moves_the_alarm() {
        let mut clock = clock(100);
        write(&mut clock, IMSC, 1, 5 * HZ);
        write(&mut clock, MR, 200, 5 * HZ);
        write(&mut clock, LR, 199, 10 * HZ);
        assert_eq!(clock.deadline(), 11 * HZ);
    }

    #[test]
    fn a_clock_without_a_frequency_does_not_divide_by_it() {
        let mut clock = Pl031::new();
        clock.set_frequency(0);
        clock.reset(0, 1);
        assert_eq!(read(&mut clock, DR, 1), 2);
    }

    #[test]
    fn linux_recognises_an_arm_pl031() {
        let mut clock = clock(0);
        let id = (0..4).fold(0, |id, n| id | read(&mut clock, 0xfe0 + 4 * n, 5 * HZ) << (8 * n));
        assert_eq!(id & 0x000f_ffff, 0x0004_1031);
    }
}
