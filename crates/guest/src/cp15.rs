//! Registers of the system control coprocessor, as modules with `read` and `write`.
//!
//! Only what the guests here use. Barriers are not implied: they stay visible where
//! a sequence needs them.
//!
//! # Manuals
//!
//! ARM DDI 0406C, B4 (VMSA system control registers), B8 (generic timer).

use core::arch::asm;

macro_rules! registers {
    ($($(#[$doc:meta])* $name:ident: $crn:literal, $opc1:literal, $crm:literal, $opc2:literal;)*) => {$(
        $(#[$doc])*
        pub mod $name {
            use core::arch::asm;

            /// Reads the register.
            #[inline]
            #[must_use]
            pub fn read() -> u32 {
                let value: u32;
                // SAFETY: reading this register has no side effect.
                unsafe {
                    asm!(
                        concat!("mrc p15, ", $opc1, ", {}, c", $crn, ", c", $crm, ", ", $opc2),
                        out(reg) value,
                        options(nomem, nostack, preserves_flags),
                    );
                }
                value
            }

            /// Writes the register.
            ///
            /// # Safety
            ///
            /// Every later instruction, fetch and access must still be what the caller
            /// intends.
            #[inline]
            pub unsafe fn write(value: u32) {
                // SAFETY: the caller's promise.
                unsafe {
                    asm!(
                        concat!("mcr p15, ", $opc1, ", {}, c", $crn, ", c", $crm, ", ", $opc2),
                        in(reg) value,
                        options(nostack, preserves_flags),
                    );
                }
            }
        }
    )*};
}

registers! {
    /// System Control Register.
    sctlr: 1, 0, 0, 0;
    /// Coprocessor Access Control Register.
    cpacr: 1, 0, 0, 2;
    /// Translation Table Base Register 0.
    ttbr0: 2, 0, 0, 0;
    /// Translation Table Base Register 1.
    ttbr1: 2, 0, 0, 1;
    /// Translation Table Base Control Register.
    ttbcr: 2, 0, 0, 2;
    /// Domain Access Control Register.
    dacr: 3, 0, 0, 0;
    /// Data Fault Status Register.
    dfsr: 5, 0, 0, 0;
    /// Instruction Fault Status Register.
    ifsr: 5, 0, 0, 1;
    /// Data Fault Address Register.
    dfar: 6, 0, 0, 0;
    /// Instruction Fault Address Register.
    ifar: 6, 0, 0, 2;
    /// Physical Address Register, 32-bit.
    par: 7, 0, 4, 0;
    /// Address translation of the current state, PL1 read; write only.
    ats1cpr: 7, 0, 8, 0;
    /// Instruction cache invalidate all; write only.
    iciallu: 7, 0, 5, 0;
    /// Instruction cache invalidate by address; write only.
    icimvau: 7, 0, 5, 1;
    /// Branch predictor invalidate all; write only.
    bpiall: 7, 0, 5, 6;
    /// Data cache clean by address to the point of unification; write only.
    dccmvau: 7, 0, 11, 1;
    /// TLB invalidate all; write only.
    tlbiall: 8, 0, 7, 0;
    /// TLB invalidate by address and ASID; write only.
    tlbimva: 8, 0, 7, 1;
    /// TLB invalidate by ASID; write only.
    tlbiasid: 8, 0, 7, 2;
    /// TLB invalidate by address, all ASIDs; write only.
    tlbimvaa: 8, 0, 7, 3;
    /// Vector Base Address Register.
    vbar: 12, 0, 0, 0;
    /// Context ID Register: the ASID.
    contextidr: 13, 0, 0, 1;
    /// Thread register that PL0 may write.
    tpidrurw: 13, 0, 0, 2;
    /// Thread register that PL0 may read.
    tpidruro: 13, 0, 0, 3;
    /// Thread register of PL1.
    tpidrprw: 13, 0, 0, 4;
    /// Counter frequency.
    cntfrq: 14, 0, 0, 0;
    /// PL1 control: what PL0 may see of the counters.
    cntkctl: 14, 0, 1, 0;
    /// Physical timer: in how many ticks it is due, signed.
    cntp_tval: 14, 0, 2, 0;
    /// Physical timer control.
    cntp_ctl: 14, 0, 2, 1;
    /// Virtual timer control.
    cntv_ctl: 14, 0, 3, 1;
}

/// Completes every memory access and maintenance operation before it.
#[inline]
pub fn dsb() {
    // SAFETY: a barrier changes nothing.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) }
}

/// Makes what follows be fetched again.
#[inline]
pub fn isb() {
    // SAFETY: a barrier changes nothing.
    unsafe { asm!("isb sy", options(nostack, preserves_flags)) }
}

/// Makes `len` bytes at `address`, just written, safe to execute.
pub fn code_written(address: usize, len: usize) {
    const LINE: usize = 32;
    for line in (address & !(LINE - 1)..address + len).step_by(LINE) {
        // SAFETY: cleaning a line to the point of unification loses nothing.
        unsafe { dccmvau::write(line as u32) }
    }
    dsb();
    // SAFETY: instruction caches hold copies only.
    unsafe { iciallu::write(0) }
    // SAFETY: predictions are hints.
    unsafe { bpiall::write(0) }
    dsb();
    isb();
}
