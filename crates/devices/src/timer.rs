//! The counter and the one-shot timer that the hypervisor keeps for itself.
//!
//! [`Clock`] is what it needs of either; [`A9Global`] is the Cortex-A9 MPCore's global
//! timer. The generic timer implements the same trait in the layer that has
//! coprocessor access.
//!
//! Manual: ARM DDI 0407I (Cortex-A9 MPCore), 4.4 (global timer).

use crate::mmio::Registers;

/// Bytes of the global timer's frame.
pub const A9_GLOBAL_BYTES: u32 = 0x20;

/// A free-running counter with one comparator for this core.
pub trait Clock {
    /// The count: 64 bits, never goes back.
    fn now(&self) -> u64;

    /// Interrupts when the count reaches `deadline`, at once if it has already. Replaces
    /// an earlier deadline, and an interrupt from it that is still asserted.
    fn arm(&mut self, deadline: u64);

    /// Forgets the deadline and withdraws the interrupt.
    fn disarm(&mut self);

    /// Withdraws the interrupt after its deadline has passed. Call before ending the
    /// interrupt in the GIC. The timer is then disarmed.
    fn acknowledge(&mut self);
}

const COUNTER_LOW: u32 = 0x00;
const COUNTER_HIGH: u32 = 0x04;
const CONTROL: u32 = 0x08;
const STATUS: u32 = 0x0c;
const COMPARE_LOW: u32 = 0x10;
const COMPARE_HIGH: u32 = 0x14;

/// `CONTROL`: the counter runs. Common to all cores.
const TIMER_ENABLE: u32 = 1 << 0;
/// `CONTROL`: this core compares.
const COMPARE_ENABLE: u32 = 1 << 1;
/// `CONTROL`: a match interrupts this core.
const INTERRUPT_ENABLE: u32 = 1 << 2;
/// `STATUS`: the count has reached the comparator; write 1 to clear.
const EVENT: u32 = 1 << 0;

/// The Cortex-A9 MPCore's global timer.
///
/// Revisions from r2p0 on compare with "greater or equal": the event flag is set as long
/// as the comparator is enabled and the count is past it. So the comparator is disabled
/// before the flag is cleared, and before its halves are written one after the other.
/// And the flag is cleared only after the comparator was written: else it may be set a second
/// time for the same match (erratum 740657).
#[derive(Debug)]
pub struct A9Global {
    registers: Registers<A9_GLOBAL_BYTES>,
}

impl A9Global {
    /// Takes the timer.
    ///
    /// # Safety
    ///
    /// The contract of [`Registers::new`] holds for [`A9_GLOBAL_BYTES`] at `base`.
    #[must_use]
    pub const unsafe fn new(base: *mut u32) -> Self {
        // SAFETY: the caller's promise.
        Self { registers: unsafe { Registers::new(base) } }
    }

    /// Starts the counter at its full rate (prescaler 0), disarmed.
    pub fn init(&mut self) {
        self.disarm();
    }

    /// Whether the count has reached the armed deadline.
    #[inline]
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.registers.read(STATUS) & EVENT != 0
    }

    /// Writes the comparator, which is disabled then, and clears the flag.
    fn set(&mut self, count: u64) {
        self.registers.write(CONTROL, TIMER_ENABLE);
        let [a, b, c, d, e, f, g, h] = count.to_le_bytes();
        self.registers.write(COMPARE_LOW, u32::from_le_bytes([a, b, c, d]));
        self.registers.write(COMPARE_HIGH, u32::from_le_bytes([e, f, g, h]));
        self.registers.write(STATUS, EVENT);
    }
}

impl Clock for A9Global {
    fn now(&self) -> u64 {
        let mut high = self.registers.read(COUNTER_HIGH);
        loop {
            let low = self.registers.read(COUNTER_LOW);
            let again = self.registers.read(COUNTER_HIGH);
            if again == high {
                return u64::from(high) << 32 | u64::from(low);
            }
            high = again;
        }
    }

    fn arm(&mut self, deadline: u64) {
        self.set(deadline);
        self.registers.write(CONTROL, TIMER_ENABLE | COMPARE_ENABLE | INTERRUPT_ENABLE);
    }

    fn disarm(&mut self) {
        self.set(u64::MAX);
    }

    fn acknowledge(&mut self) {
        self.disarm();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake;

    #[test]
    fn arming_writes_both_halves_and_enables_the_comparator_last() {
        let mut timer = A9Global { registers: fake::registers() };
        timer.arm(0x1234_5678_9abc_def0);
        assert_eq!(timer.registers.read(COMPARE_LOW), 0x9abc_def0);
        assert_eq!(timer.registers.read(COMPARE_HIGH), 0x1234_5678);
        assert_eq!(timer.registers.read(CONTROL), 7);
    }

    #[test]
    fn disarming_leaves_the_counter_running() {
        let mut timer = A9Global { registers: fake::registers() };
        timer.arm(1);
        timer.acknowledge();
        assert_eq!(timer.registers.read(CONTROL), 1);
        assert_eq!(timer.registers.read(STATUS), 1);
    }

    #[test]
    fn the_count_is_64_bits() {
        let mut timer = A9Global { registers: fake::registers() };
        timer.registers.write(COUNTER_LOW, 2);
        timer.registers.write(COUNTER_HIGH, 1);
        assert_eq!(timer.now(), 0x1_0000_0002);
    }
}
