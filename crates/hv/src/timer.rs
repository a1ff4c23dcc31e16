//! A guest's generic timer: the physical and the virtual timer of one vCPU.
//!
//! Not responsible for how a guest reaches it (CP15, in the layer below) nor for the
//! machine's timer, which the hypervisor arms for the earliest [`Output::next`].
//!
//! Both counts are the VM's ([`clock`](crate::clock)), as on a machine that was reset without losing
//! power: what the guest reads by CP15 and what the timers compare with must be one count.
//!
//! # Catching up
//!
//! A guest that was kept from running for some periods, and sets each compare value one period
//! after the last, finds the next ones past already: it would be interrupted again and again
//! with nothing in between. A timer that *catches up* holds the interrupt of such a periodic compare
//! value back until half a period after it was set, so no tick is lost and they come at twice
//! the rate at most. Only the interrupt waits; what the guest reads of count and condition is exact.
//!
//! Manual: ARM DDI 0406C, chapter B8 (generic timer), B8.1.5 (timers).

use crate::NEVER;
use crate::bus::low_word;
use core::mem::offset_of;
use entresol_abi::timer::{Field, Register};

/// `CTL.ENABLE`.
const ENABLE: u32 = 1 << 0;
/// `CTL.IMASK`.
const MASK: u32 = 1 << 1;
/// `CTL.ISTATUS`, read-only.
const STATUS: u32 = 1 << 2;

/// One comparator; counts are its own (physical or virtual).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Comparator {
    control: u32,
    compare: u64,
    /// Until when the output is held back.
    held: u64,
    /// How far the compare value is from the one before.
    step: u64,
}

/// The line of a timer's interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its level.
    pub asserted: bool,
    /// The count at which it becomes asserted; [`NEVER`] if it is already, or that takes a guest's
    /// write first.
    pub next: u64,
}

impl Comparator {
    const OFF: Self = Self { control: 0, compare: 0, held: 0, step: 0 };

    /// Whether the condition is met; ISTATUS is zero while the timer is disabled.
    fn met(&self, count: u64) -> bool {
        self.control & ENABLE != 0 && count >= self.compare
    }

    /// Whether it may interrupt.
    const fn is_on(&self) -> bool {
        self.control & (ENABLE | MASK) == ENABLE
    }

    #[inline]
    fn output(&self, count: u64) -> Output {
        let due = self.compare.max(self.held);
        let asserted = self.is_on() && count >= due;
        Output { asserted, next: if asserted || !self.is_on() { NEVER } else { due } }
    }

    fn read(&self, field: Field, count: u64) -> u64 {
        match field {
            Field::Control => {
                let status = if self.met(count) { STATUS } else { 0 };
                u64::from(self.control | status)
            }
            Field::Value => u64::from(low_word(self.compare.wrapping_sub(count))),
            Field::Compare => self.compare,
        }
    }

    /// `catch_up`: a compare value that is as far from the last, which was met, as that from the one
    /// before is of a periodic tick.
    fn write(&mut self, field: Field, value: u64, count: u64, catch_up: bool) {
        if let (Field::Compare, true) = (field, catch_up) {
            let step = value.wrapping_sub(self.compare);
            let periodic = step == self.step && self.met(count);
            self.held = if periodic { count.saturating_add(step / 2) } else { 0 };
            self.step = step;
        }
        match field {
            Field::Control => self.control = low_word(value) & (ENABLE | MASK),
            Field::Value => {
                let distance = i64::from(low_word(value).cast_signed());
                self.compare = count.wrapping_add_signed(distance);
            }
            Field::Compare => self.compare = value,
        }
    }
}

/// The generic timer of one vCPU.
#[derive(Clone, Debug)]
pub struct Timer {
    physical: Comparator,
    virtual_: Comparator,
    catch_up: bool,
}

impl Timer {
    /// Where the entry code finds each of the two, and in it its control register without ISTATUS and
    /// its compare value. ISTATUS is set if the timer is enabled and the count is not below
    /// that. While the timer is off, or masked, and does not catch up, a compare value is only kept.
    pub const PHYSICAL: usize = offset_of!(Self, physical);
    /// The other.
    pub const VIRTUAL: usize = offset_of!(Self, virtual_);
    /// `CTL`.
    pub const CONTROL: usize = offset_of!(Comparator, control);
    /// `CVAL`.
    pub const COMPARE: usize = offset_of!(Comparator, compare);

    /// Both timers disabled.
    #[must_use]
    pub const fn new() -> Self {
        Self { physical: Comparator::OFF, virtual_: Comparator::OFF, catch_up: false }
    }

    /// Disables both timers. `catch_up`: ticks that were missed come one by one.
    pub fn reset(&mut self, catch_up: bool) {
        *self = Self { catch_up, ..Self::new() };
    }

    /// Reads a register; 32-bit registers have zeros above.
    #[must_use]
    pub fn read(&self, register: Register, now: u64) -> u64 {
        match register {
            Register::Physical(field) => self.physical.read(field, now),
            Register::Virtual(field) => self.virtual_.read(field, now),
        }
    }

    /// Writes a register; bits above a 32-bit register are ignored. Whether an output may have changed,
    /// or when one will.
    pub fn write(&mut self, register: Register, value: u64, now: u64) -> bool {
        let catch_up = self.catch_up;
        let (comparator, field) = match register {
            Register::Physical(field) => (&mut self.physical, field),
            Register::Virtual(field) => (&mut self.virtual_, field),
        };
        let before = comparator.is_on();
        comparator.write(field, value, now, catch_up);
        before || comparator.is_on()
    }

    /// The physical timer's interrupt.
    #[must_use]
    #[inline]
    pub fn physical(&self, now: u64) -> Output {
        self.physical.output(now)
    }

    /// The virtual timer's interrupt.
    #[must_use]
    #[inline]
    pub fn virtual_(&self, now: u64) -> Output {
        self.virtual_.output(now)
    }
}

impl Default for Timer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadline(timer: &Timer, now: u64) -> u64 {
        timer.physical(now).next.min(timer.virtual_(now).next)
    }

    #[test]
    fn a_timer_value_is_a_signed_distance() {
        let mut timer = Timer::new();
        timer.write(Register::Physical(Field::Value), 0xffff_ffff, 100);
        assert_eq!(timer.read(Register::Physical(Field::Compare), 100), 99);
        timer.write(Register::Physical(Field::Value), 50, 100);
        assert_eq!(timer.read(Register::Physical(Field::Value), 120), 30);
        assert_eq!(timer.read(Register::Physical(Field::Value), 151), 0xffff_ffff);
    }

    #[test]
    fn status_needs_enable_and_output_needs_no_mask() {
        let mut timer = Timer::new();
        timer.write(Register::Virtual(Field::Compare), 10, 0);
        assert_eq!(timer.read(Register::Virtual(Field::Control), 10), 0);
        timer.write(Register::Virtual(Field::Control), 3, 10);
        assert_eq!(timer.read(Register::Virtual(Field::Control), 10), 7);
        assert!(!timer.virtual_(10).asserted);
        timer.write(Register::Virtual(Field::Control), 1, 10);
        assert!(timer.virtual_(10).asserted && !timer.virtual_(9).asserted);
    }

    #[test]
    fn a_deadline_is_the_earliest_output_not_yet_asserted() {
        let mut timer = Timer::new();
        assert_eq!(deadline(&timer, 1000), NEVER);
        timer.write(Register::Virtual(Field::Compare), 1500, 1000);
        timer.write(Register::Virtual(Field::Control), 1, 1000);
        timer.write(Register::Physical(Field::Compare), 1200, 1000);
        timer.write(Register::Physical(Field::Control), 1, 1000);
        assert_eq!(deadline(&timer, 1000), 1200);
        assert_eq!(deadline(&timer, 1200), 1500);
        assert_eq!(deadline(&timer, 1500), NEVER);
        timer.write(Register::Physical(Field::Control), 3, 1000);
        assert_eq!(deadline(&timer, 1000), 1500);
    }

    #[test]
    fn a_write_to_a_masked_timer_changes_no_output() {
        let mut timer = Timer::new();
        assert!(timer.write(Register::Virtual(Field::Control), 1, 0));
        assert!(timer.write(Register::Virtual(Field::Compare), 10, 0));
        assert!(timer.write(Register::Virtual(Field::Control), 3, 10));
        assert!(!timer.write(Register::Virtual(Field::Compare), 20, 10));
        assert!(!timer.write(Register::Virtual(Field::Control), 2, 10));
        assert!(timer.write(Register::Virtual(Field::Control), 1, 10));
    }

    #[test]
    fn a_restarted_guest_is_interrupted_at_the_count_it_reads() {
        let mut timer = Timer::new();
        timer.reset(false);
        // TVAL is a distance from the count, which was not zero at the start.
        timer.write(Register::Virtual(Field::Value), 50, 1000);
        timer.write(Register::Virtual(Field::Control), 1, 1000);
        assert_eq!(timer.read(Register::Virtual(Field::Compare), 1000), 1050);
        assert_eq!(deadline(&timer, 1000), 1050);
    }

    /// A guest that handles each tick at once, late or not. Returns when it was interrupted.
    fn ticks(timer: &mut Timer, period: u64, from: u64, to: u64) -> Vec<u64> {
        let mut ticks = Vec::new();
        for now in from..to {
            if timer.physical(now).asserted {
                ticks.push(now);
                let next = timer.read(Register::Physical(Field::Compare), now) + period;
                timer.write(Register::Physical(Field::Compare), next, now);
            }
        }
        ticks
    }

    fn ticking() -> Timer {
        let mut timer = Timer::new();
        timer.reset(true);
        timer.write(Register::Physical(Field::Compare), 100, 0);
        timer.write(Register::Physical(Field::Control), 1, 0);
        assert_eq!(ticks(&mut timer, 100, 0, 250), [100, 200]);
        timer
    }

    #[test]
    fn missed_ticks_come_one_by_one_until_all_have_come() {
        let mut timer = ticking();
        assert_eq!(deadline(&timer, 250), 300);
        // Kept from running until 770: those of 300 to 700 were missed.
        let late = ticks(&mut timer, 100, 770, 1301);
        assert_eq!(late, [770, 820, 870, 920, 970, 1020, 1070, 1120, 1170, 1220, 1300]);
    }

    #[test]
    fn what_is_held_back_is_a_deadline() {
        let mut timer = ticking();
        timer.write(Register::Physical(Field::Compare), 400, 500);
        assert!(!timer.physical(500).asserted);
        assert_eq!(deadline(&timer, 500), 550);
        // The condition is met nevertheless.
        assert_eq!(timer.read(Register::Physical(Field::Control), 500), 5);
    }

    #[test]
    fn a_timer_set_anew_each_time_is_not_held_back() {
        let mut timer = ticking();
        timer.write(Register::Physical(Field::Compare), 460, 450);
        assert_eq!(deadline(&timer, 450), 460);
        assert!(timer.physical(460).asserted);
    }
}
