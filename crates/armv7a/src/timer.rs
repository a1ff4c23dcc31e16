//! The generic timer as the core's one-shot: EL1 physical timer and counter.
//!
//! Closes both to guests, whose accesses trap.
//!
//! Manual: ARM DDI 0406C, B8.1 and B4.1.27.

use crate::cp15;

/// The physical timer of the generic timer.
#[derive(Debug)]
pub struct GenericTimer(());

impl GenericTimer {
    /// Takes the timer, disarmed, and closes it to User mode.
    ///
    /// # Safety
    ///
    /// The processor has the generic timer, and nobody else uses it.
    #[must_use]
    pub unsafe fn take() -> Self {
        // SAFETY: by the caller's promise the register exists.
        unsafe { cp15::set_counter_kernel_control(0) };
        let mut timer = Self(());
        timer.disarm();
        timer
    }

    /// The count.
    #[inline]
    #[must_use]
    pub fn now(&self) -> u64 {
        // B8.1.2: an earlier read may not be passed.
        cp15::isb();
        cp15::physical_count()
    }

    /// Interrupts when the count reaches `deadline`.
    #[inline]
    pub fn arm(&mut self, deadline: u64) {
        // SAFETY: `self` owns the timer.
        unsafe { cp15::set_physical_compare(deadline) };
        // SAFETY: as above; enabled, not masked.
        unsafe { cp15::set_physical_timer_control(1) };
        cp15::isb();
    }

    /// Whether the count has reached the armed deadline: CNTP_CTL.ISTATUS.
    #[inline]
    #[must_use]
    pub fn is_due(&self) -> bool {
        cp15::physical_timer_control() & 1 << 2 != 0
    }

    /// Interrupts no more.
    #[inline]
    pub fn disarm(&mut self) {
        // SAFETY: as above.
        unsafe { cp15::set_physical_timer_control(0) };
        cp15::isb();
    }
}
