//! A guest application's data abort that is its kernel's business.
//!
//! Budget `abort.reflect`. Whose business it is, only the guest's own tables say: they are
//! walked here, for the two forms that kernels use (sections that are not there, small
//! pages that are not there or not permitted). Anything else is the handler's.

use super::{
    APPLICATION, BANK_ABORT, BANK_USER, COUNTERS, DACR, DFAR, DFSR, FAST, LAST, REFLECTED, SP_LR,
    SPSR, STATUS, TTBR0, VIEW, count, resume,
};
use crate::entry;
use crate::hypervisor::CORE;
use crate::maintenance::switch_text;
use core::arch::naked_asm;
use entresol_vcpu::psr;

/// The vector for data aborts. 82 instructions from vector to vector for a section that is
/// not there, 93 for a page.
///
/// 1. A guest's, else [`entry::guarded_abort`]; save; 2. an application's, usual, and of a kind that tables
/// cause; 3. the linear view; 4. first-level descriptor; 5. second-level descriptor; 6. DFSR and
/// DFAR; 7. as for `svc`, with the registers of Abort mode (B1.9.8).
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn data_abort() {
    naked_asm!(
        // 1.
        "str r0, [sp, #{SCRATCH}]",
        "mrs r0, spsr",
        "tst r0, #0xf",                 // User mode is 0x10
        "ldr r0, [sp, #{SCRATCH}]",
        "bne {guarded}",
        "stmia sp, {{r0-r14}}^",
        "sub lr, lr, #8",
        // 2.
        "mrs r1, spsr",
        "ldr r2, [sp, #{STATUS}]",
        "add r12, sp, #{FAST}",
        "ldmia r12!, {{r3-r8}}",        // slow, vectors, the kernel's view, the linear view
        "mrc p15, 0, r9, c5, c0, 0",    // DFSR
        "mrc p15, 0, r10, c6, c0, 0",   // DFAR
        "and r11, r2, #0xf",
        "orrs r11, r11, r3",
        "bne {slow}",
        "movw r11, #0x401",             // FS: odd, synchronous
        "and r11, r11, r9",
        "cmp r11, #1",
        "bne {slow}",
        "tst r9, #0xc",                 // and not alignment, access flag
        "beq {slow}",
        "mvns r11, r10, asr #20",       // the window's megabyte
        "beq {slow}",
        // 3.
        switch_text!("r7", "r8", "r11"),
        // 4.
        "ldmia r12, {{r0, r3, r7}}",    // memory: guest, host, length
        "ldr r8, [sp, #{TTBR0}]",
        "bfc r8, #0, #14",
        "sub r8, r8, r0",
        "cmp r8, r7",
        "bhs 8f",
        "add r8, r8, r3",
        "lsr r11, r10, #20",
        "ldr r8, [r8, r11, lsl #2]",
        "and r9, r9, #0x800",           // WnR
        "ands r11, r8, #3",
        "bne 5f",
        "orr r9, r9, #0x5",             // translation, section
        // 6.
        "6: str r9, [sp, #{DFSR}]",
        "str r10, [sp, #{DFAR}]",
        // 7.
        "ldr r8, ={core} + {VIEW}",
        "stmia r8, {{r5, r6}}",
        switch_text!("r5", "r6", "r7"),
        "ldrd r8, r9, [sp, #{SP_LR}]",
        "strd r8, r9, [sp, #{BANK_USER}]",
        "ldr r8, [sp, #{BANK_ABORT}]",
        "add r9, lr, #8",
        "strd r8, r9, [sp, #{SP_LR}]",
        "orr r8, r1, r2",
        "str r8, [sp, #{BANK_ABORT} + {SPSR}]",
        "orr r2, r2, #0x180",           // A, I
        "orr r2, r2, #0x7",             // from 0x10 to 0x17
        "str r2, [sp, #{STATUS}]",
        "ldr r8, ={IT_T_E}",
        "bic r1, r1, r8",
        "msr spsr_cxsf, r1",
        "add r4, r4, #0x10",
        "mov r5, #0",
        "add r12, sp, #{LAST}",
        "stmia r12, {{r4, r5, lr}}",
        "clrex",
        "mov lr, r4",
        count!("REFLECTED"),
        resume!(),
        // 5. A page table in the guest's memory, else the handler finds out.
        "5: cmp r11, #1",
        "bne 8f",
        "ubfx r11, r8, #5, #4",         // domain
        "orr r9, r9, r11, lsl #4",
        "bfc r8, #0, #10",
        "sub r8, r8, r0",
        "cmp r8, r7",
        "bhs 8f",
        "add r8, r8, r3",
        "ubfx r0, r10, #12, #8",
        "ldr r8, [r8, r0, lsl #2]",
        "tst r8, #3",
        "orreq r9, r9, #0x7",           // translation, page
        "beq 6b",
        "tst r8, #2",                   // a large page
        "beq 8f",
        "ldr r0, [sp, #{DACR}]",
        "lsl r11, r11, #1",
        "lsr r0, r0, r11",
        "and r0, r0, #3",
        "cmp r0, #1",                   // a client
        "bne 8f",
        "tst r8, #0x20",                // AP[1]: open to applications
        "beq 7f",
        "tst r9, #0x800",
        "beq 8f",                       // a load is permitted
        "and r0, r8, #0x210",           // AP[2], AP[0]
        "cmp r0, #0x10",
        "beq 8f",                       // so is a store
        "7: orr r9, r9, #0xf",          // permission, page
        "b 6b",
        // Back to the view that is current as far as the handler knows.
        "8: add r12, sp, #{FAST}",
        "ldrd r4, r5, [r12, #{APPLICATION}]",
        switch_text!("r4", "r5", "r7"),
        "b {slow}",
        SCRATCH = const entry::SCRATCH,
        STATUS = const STATUS,
        FAST = const FAST,
        TTBR0 = const TTBR0,
        DACR = const DACR,
        DFSR = const DFSR,
        DFAR = const DFAR,
        VIEW = const VIEW,
        SP_LR = const SP_LR,
        BANK_USER = const BANK_USER,
        BANK_ABORT = const BANK_ABORT,
        SPSR = const SPSR,
        IT_T_E = const psr::IT | psr::T | psr::E,
        LAST = const LAST,
        COUNTERS = const COUNTERS,
        REFLECTED = const REFLECTED,
        APPLICATION = const APPLICATION,
        core = sym CORE,
        guarded = sym entry::guarded_abort,
        slow = sym entry::data_abort_saved,
    )
}
