//! The floating-point and SIMD unit: whose registers it holds.
//!
//! A VM gets the unit when it may use it and loses it only to another that may: VMs that
//! do not compute cost nothing. Whether its instructions run or trap now follows from
//! what the guest set (CPACR, FPEXC) and from its mode.
//!
//! # Invariants
//!
//! - FPEXC.EN is set only while the unit holds the registers of the guest that runs.
//!
//! Manual: ARM DDI 0406C, B1.11 and B6.1.38 (FPEXC).

#[cfg(target_arch = "arm")]
use core::arch::asm;
use entresol_vcpu::Vfp;

/// FPEXC.EN.
#[cfg_attr(not(target_arch = "arm"), expect(dead_code, reason = "no unit on the host"))]
const ENABLE: u32 = 1 << 30;

/// Lets floating-point instructions run, or makes them undefined.
#[inline]
pub(crate) fn set_enabled(on: bool) {
    #[cfg(target_arch = "arm")]
    // SAFETY: the hypervisor's own code uses no floating point.
    unsafe {
        asm!(".fpu neon", "vmsr fpexc, r0", "isb", in("r0") if on { ENABLE } else { 0 },
            options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "arm"))]
    let _ = on;
}

/// Saves the registers; the unit is enabled.
pub(crate) fn save(into: &mut Vfp) {
    #[cfg(target_arch = "arm")]
    // SAFETY: 256 bytes at `d`.
    unsafe {
        let fpscr: u32;
        asm!(".fpu neon", "vstmia r0!, {{d0-d15}}", "vstmia r0!, {{d16-d31}}", "vmrs r1, fpscr",
            inout("r0") into.d.as_mut_ptr() => _, out("r1") fpscr, options(nostack));
        into.fpscr = fpscr;
    }
    #[cfg(not(target_arch = "arm"))]
    let _ = into;
}

/// Loads the registers; the unit is enabled.
pub(crate) fn load(from: &Vfp) {
    #[cfg(target_arch = "arm")]
    // SAFETY: as in `save`.
    unsafe {
        asm!(".fpu neon", "vldmia r0!, {{d0-d15}}", "vldmia r0!, {{d16-d31}}", "vmsr fpscr, r1",
            inout("r0") from.d.as_ptr() => _, in("r1") from.fpscr, options(nostack, readonly));
    }
    #[cfg(not(target_arch = "arm"))]
    let _ = from;
}

/// Reads FPSID, MVFR0 and MVFR1; the unit is enabled.
pub(crate) fn identity() -> [u32; 3] {
    #[cfg(target_arch = "arm")]
    {
        let (fpsid, mvfr0, mvfr1): (u32, u32, u32);
        // SAFETY: reading identification has no side effect.
        unsafe {
            asm!(".fpu neon", "vmrs r0, fpsid", "vmrs r1, mvfr0", "vmrs r2, mvfr1",
                out("r0") fpsid, out("r1") mvfr0, out("r2") mvfr1,
                options(nomem, nostack, preserves_flags));
        }
        [fpsid, mvfr0, mvfr1]
    }
    #[cfg(not(target_arch = "arm"))]
    [0; 3]
}
