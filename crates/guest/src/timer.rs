//! The virtual timer and its counter.
//!
//! # Manuals
//!
//! ARM DDI 0406C, B8.

use crate::cp15;
use core::arch::asm;

/// Assumed when nothing has set the frequency register, as on QEMU without firmware.
const DEFAULT_HZ: u32 = 62_500_000;

/// Ticks of the counter per second.
#[must_use]
pub fn frequency() -> u32 {
    match cp15::cntfrq::read() {
        0 => DEFAULT_HZ,
        hz => hz,
    }
}

/// The virtual counter.
#[must_use]
pub fn now() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading the counter has no side effect.
    unsafe {
        asm!(
            "isb",
            "mrrc p15, 1, {}, {}, c14",
            out(reg) low,
            out(reg) high,
            options(nomem, nostack, preserves_flags),
        );
    }
    (u64::from(high) << 32) | u64::from(low)
}

/// Asks for an interrupt once the counter reaches `at`.
pub fn arm(at: u64) {
    // SAFETY: a compare value decides only when the interrupt comes.
    unsafe {
        asm!(
            "mcrr p15, 3, {}, {}, c14",
            in(reg) at as u32,
            in(reg) (at >> 32) as u32,
            options(nomem, nostack, preserves_flags),
        );
    }
    // SAFETY: enables the interrupt, which the guest asked for.
    unsafe { cp15::cntv_ctl::write(1) }
}

/// Asks for no interrupt any more.
pub fn disarm() {
    // SAFETY: no interrupt will come.
    unsafe { cp15::cntv_ctl::write(0) }
}
