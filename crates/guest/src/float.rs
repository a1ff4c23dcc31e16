//! The floating-point unit, which Rust code in guests does not use: its registers are the guest's to
//! fill.

use crate::cp15;
use core::arch::asm;

/// Lets both privileges use it (CPACR: CP10 and CP11), and turns it on (FPEXC.EN).
pub fn enable() {
    // SAFETY: only allows accesses.
    unsafe { cp15::cpacr::write(0x00f0_0000) }
    cp15::isb();
    // SAFETY: its registers are nobody's.
    unsafe { asm!(".fpu neon", "vmsr fpexc, {}", in(reg) 0x4000_0000, options(nostack)) }
}
