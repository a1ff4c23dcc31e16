//! System control registers of the real processor, as functions with names.
//!
//! Only single accesses; sequences whose order matters are in
//! [`maintenance`](crate::maintenance), which is the only caller of the writes that
//! change translation, and in [`boot`](crate::boot).
//!
//! # On the host
//!
//! Reads return 0 and writes are lost, so that the code above compiles and its
//! arithmetic is tested. Nothing on the host pretends to be a processor.
//!
//! Manual: ARM DDI 0406C, B4.1.

use entresol_vcpu::psr;

/// Declares a read of a p15 register.
macro_rules! read {
    ($($(#[$doc:meta])* $name:ident = $crn:literal, $opc1:literal, $crm:literal, $opc2:literal;)*) => {$(
        $(#[$doc])*
        #[inline]
        #[must_use]
        pub fn $name() -> u32 {
            #[cfg(target_arch = "arm")]
            {
                let bits: u32;
                // SAFETY: reading this register has no side effect.
                unsafe {
                    core::arch::asm!(
                        concat!("mrc p15, ", $opc1, ", {}, c", $crn, ", c", $crm, ", ", $opc2),
                        out(reg) bits,
                        options(nomem, nostack, preserves_flags),
                    );
                }
                bits
            }
            #[cfg(not(target_arch = "arm"))]
            0
        }
    )*};
}

/// Declares a write of a p15 register. No `nomem`: the compiler must not move accesses
/// to memory across it, because most of these change what memory means.
macro_rules! write {
    ($($(#[$doc:meta])* $name:ident = $crn:literal, $opc1:literal, $crm:literal, $opc2:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// Every later instruction, fetch and access of this processor is still what
        /// the caller intends.
        #[inline]
        pub(crate) unsafe fn $name(value: u32) {
            #[cfg(target_arch = "arm")]
            // SAFETY: the caller's promise.
            unsafe {
                core::arch::asm!(
                    concat!("mcr p15, ", $opc1, ", {}, c", $crn, ", c", $crm, ", ", $opc2),
                    in(reg) value,
                    options(nostack, preserves_flags),
                );
            }
            #[cfg(not(target_arch = "arm"))]
            let _ = value;
        }
    )*};
}

read! {
    /// CNTP_CTL.
    physical_timer_control = 14, 0, 2, 1;
    /// SCTLR.
    system_control = 1, 0, 0, 0;
    /// MIDR.
    main_id = 0, 0, 0, 0;
    /// CTR.
    cache_type = 0, 0, 0, 1;
    /// ID_PFR0.
    processor_feature_0 = 0, 0, 1, 0;
    /// ID_PFR1.
    processor_feature_1 = 0, 0, 1, 1;
    /// ID_DFR0.
    debug_feature_0 = 0, 0, 1, 2;
    /// ID_AFR0.
    auxiliary_feature_0 = 0, 0, 1, 3;
    /// ID_MMFR0.
    memory_model_feature_0 = 0, 0, 1, 4;
    /// ID_MMFR1.
    memory_model_feature_1 = 0, 0, 1, 5;
    /// ID_MMFR2.
    memory_model_feature_2 = 0, 0, 1, 6;
    /// ID_MMFR3.
    memory_model_feature_3 = 0, 0, 1, 7;
    /// ID_ISAR0.
    instruction_set_0 = 0, 0, 2, 0;
    /// ID_ISAR1.
    instruction_set_1 = 0, 0, 2, 1;
    /// ID_ISAR2.
    instruction_set_2 = 0, 0, 2, 2;
    /// ID_ISAR3.
    instruction_set_3 = 0, 0, 2, 3;
    /// ID_ISAR4.
    instruction_set_4 = 0, 0, 2, 4;
    /// ID_ISAR5.
    instruction_set_5 = 0, 0, 2, 5;
    /// CCSIDR of the cache selected by CSSELR.
    cache_size_id = 0, 1, 0, 0;
    /// CLIDR.
    cache_level_id = 0, 1, 0, 1;
    /// VBAR.
    vector_base = 12, 0, 0, 0;
    /// ISR.
    interrupt_status = 12, 0, 1, 0;
    /// TTBR0.
    translation_base = 2, 0, 0, 0;
    /// CONTEXTIDR.
    context = 13, 0, 0, 1;
    /// DACR.
    domain_access = 3, 0, 0, 0;
    /// DFSR.
    data_fault_status = 5, 0, 0, 0;
    /// IFSR.
    instruction_fault_status = 5, 0, 0, 1;
    /// DFAR.
    data_fault_address = 6, 0, 0, 0;
    /// IFAR.
    instruction_fault_address = 6, 0, 0, 2;
    /// TPIDRURW: the thread register that applications may write.
    thread_user = 13, 0, 0, 2;
    /// CNTFRQ.
    counter_frequency = 14, 0, 0, 0;
}

write! {
    /// CSSELR.
    set_cache_selection = 0, 2, 0, 0;
    /// CPACR.
    set_coprocessor_access = 1, 0, 0, 2;
    /// TTBR0.
    set_translation_base = 2, 0, 0, 0;
    /// DACR.
    set_domain_access = 3, 0, 0, 0;
    /// ICIALLUIS: on all cores.
    invalidate_instruction_cache = 7, 0, 1, 0;
    /// BPIALLIS: on all cores.
    invalidate_branch_predictor = 7, 0, 1, 6;
    /// DCCMVAU: clean one data-cache line to the point of unification.
    clean_data_line = 7, 0, 11, 1;
    /// DCCIMVAC: clean and invalidate one data-cache line to the point of coherency.
    flush_data_line = 7, 0, 14, 1;
    /// DCCISW.
    flush_set_way = 7, 0, 14, 2;
    /// TLBIALLIS: on all cores.
    invalidate_tlb = 8, 0, 3, 0;
    /// TLBIASIDIS: on all cores.
    invalidate_tlb_asid = 8, 0, 3, 2;
    /// TLBIMVAAIS: one page in every address space, on all cores (Multiprocessing Extensions).
    invalidate_tlb_page = 8, 0, 3, 3;
    /// PMUSERENR.
    set_performance_user_access = 9, 0, 14, 0;
    /// VBAR.
    set_vector_base = 12, 0, 0, 0;
    /// CONTEXTIDR.
    set_context = 13, 0, 0, 1;
    /// TPIDRURW.
    set_thread_user = 13, 0, 0, 2;
    /// TPIDRURO: the thread register that applications may read.
    set_thread_read_only = 13, 0, 0, 3;
    /// SCTLR.
    set_system_control = 1, 0, 0, 0;
    /// CNTKCTL.
    set_counter_kernel_control = 14, 0, 1, 0;
    /// CNTP_CTL.
    set_physical_timer_control = 14, 0, 2, 1;
}

/// SCTLR.A: alignment is checked.
pub(crate) const SCTLR_A: u32 = 1 << 1;

/// Lets the machine check alignment, or not: SCTLR.A. For the hypervisor both are the same,
/// it makes aligned accesses only.
#[inline]
pub(crate) fn set_alignment_check(on: bool) {
    let old = system_control();
    let new = if on { old | SCTLR_A } else { old & !SCTLR_A };
    if new != old {
        // SAFETY: changes no translation; the hypervisor's accesses are aligned.
        unsafe { set_system_control(new) };
        isb();
    }
}

/// Declares a barrier.
macro_rules! barrier {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub(crate) fn $name() {
            #[cfg(target_arch = "arm")]
            // SAFETY: a barrier only orders. No `nomem`: it orders the compiler too.
            unsafe { core::arch::asm!($text, options(nostack, preserves_flags)) };
        }
    )*};
}

barrier! {
    /// Completes every earlier access and maintenance operation.
    dsb = "dsb";
    /// Makes what follows see every earlier change of context.
    isb = "isb";
    /// Forgets an exclusive reservation, which must not survive a switch.
    clear_exclusive = "clrex";
    /// Waits for an event: of another core, or an interrupt.
    wait_for_event = "wfe";
    /// Wakes cores that wait for an event.
    send_event = "sev";
    /// Wakes cores that wait for an event, and does not wait, because that was an event here, too.
    /// Where cores run in turns (QEMU with `-icount`) the next one begins.
    let_others_go_on = "dsb\nsev\nwfe";
    /// Waits for an interrupt, masked or not.
    wait_for_interrupt = "wfi";
}

/// Whether an interrupt is pending (ISR.I, at the bit of CPSR.I).
#[inline(always)]
#[must_use]
pub fn is_interrupted() -> bool {
    interrupt_status() & psr::I != 0
}

/// A function that reads a counter of 64 bits, by its opc1.
macro_rules! counter {
    ($(#[$doc:meta])* $name:ident = $opc1:literal) => {
        $(#[$doc])*
        #[inline]
        #[must_use]
        pub fn $name() -> u64 {
            #[cfg(target_arch = "arm")]
            {
                let (low, high): (u32, u32);
                // SAFETY: reading the counter has no side effect.
                unsafe {
                    core::arch::asm!(concat!("mrrc p15, ", $opc1, ", {}, {}, c14"),
                        out(reg) low, out(reg) high, options(nostack, preserves_flags));
                }
                u64::from(high) << 32 | u64::from(low)
            }
            #[cfg(not(target_arch = "arm"))]
            0
        }
    };
}

counter! {
    /// CNTPCT: the physical count.
    physical_count = 0
}

counter! {
    /// CNTVCT: the virtual count.
    virtual_count = 1
}

/// CNTP_CVAL: the count at which the physical timer fires.
///
/// # Safety
///
/// The caller owns the physical timer.
#[inline]
pub(crate) unsafe fn set_physical_compare(value: u64) {
    #[cfg(target_arch = "arm")]
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!("mcrr p15, 2, {}, {}, c14", in(reg) value as u32, in(reg) (value >> 32) as u32,
            options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "arm"))]
    let _ = value;
}

/// TEECR.XED: User mode may not access TEEHBR.
///
/// # Safety
///
/// The processor has ThumbEE.
pub(crate) unsafe fn close_thumb_ee() {
    #[cfg(target_arch = "arm")]
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!("mcr p14, 6, {}, c0, c0, 0", in(reg) 1, options(nostack, preserves_flags));
    }
}
