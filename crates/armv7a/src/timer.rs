//! The generic timer as the core's one-shot: EL1 physical timer and counter.
//!
//! Closes both to guests, whose accesses trap: but for reads of the counter, by applications and kernels,
//! where a guest's clock is the machine's and its kernel lets applications read it.
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

/// The text that opens counters as the guest in a register has opened them; changes `r1` and `r2`; five
/// instructions. Operands `COUNTER` and `COUNTER_CONTROL` are its [`Guest::counter`] and CNTKCTL.
///
/// [`Guest::counter`]: crate::guest::Guest::counter
macro_rules! open_counters_text {
    ($guest:literal) => {
        concat!(
            "ldr r1, [",
            $guest,
            ", #{COUNTER}]\ncmp r1, #0\nldrne r2, [",
            $guest,
            ", #{COUNTER_CONTROL}]\nandne r1, r1, r2\nmcrne p15, 0, r1, c14, c1, 0"
        )
    };
}

pub(crate) use open_counters_text;

/// In [`Guest::counter`] where there is a generic timer: no bit of CNTKCTL.
///
/// [`Guest::counter`]: crate::guest::Guest::counter
const THERE: u32 = 1 << 31;
/// CNTKCTL.PL0PCTEN, PL0VCTEN.
const COUNTS: u32 = 0b11;

/// What a guest may open of the generic timer to its User mode. Counters, if what would be read is what
/// traps tell: real time, of frequency `hz`, and one count, where the offset of the virtual one is
/// not ours to set.
pub(crate) fn may_open(hz: u32, real_time: bool) -> u32 {
    let before = cp15::physical_count();
    cp15::isb();
    let count = cp15::virtual_count();
    cp15::isb();
    let one = (before..=cp15::physical_count()).contains(&count);
    let same = one && real_time && cp15::counter_frequency() == hz;
    THERE | if same { COUNTS } else { 0 }
}
