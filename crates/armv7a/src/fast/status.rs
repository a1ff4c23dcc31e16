//! A guest kernel reads and writes its status: MRS, MSR, CPS.
//!
//! Of the trap words that stand for them (`isa::trapword`): all of MRS and CPS, MSR of the
//! control byte of CPSR, MSR of the whole SPSR. To and from FIQ, User and System mode is
//! the handlers' affair. Budget `trap.sensitive`.

use super::instruction::{kernels, sampled};
use super::{
    BANK_USER, BANKS, COUNTDOWN, COUNTERS, PENDING, SAVED, SENSITIVE, SHARED, SP_LR, SPSR, STATUS,
    count, mask, publish, resume,
};
use crate::entry;
use core::arch::naked_asm;
use entresol_isa::hot::{
    CPS, CPS_FIXED, MRS_CPSR, MRS_SPSR, MSR_CPSR_C, MSR_CPSR_C_IMMEDIATE, MSR_SPSR,
};

/// Gives way in FIQ, User and System mode. Changes `r5` and `r6`; four instructions.
macro_rules! has_saved {
    () => {
        // A bit for each of the others, the lowest for mode 1: the last that is shifted out.
        "movw r6, #{HAVE_SAVED}\nand r5, r4, #0xf\nlsrs r6, r6, r5\nbcc {slow}"
    };
}

/// By the low four bits of a mode less one: whether it has an SPSR, and is not FIQ mode.
const HAVE_SAVED: u32 = 1 << (0x2 - 1) | 1 << (0x3 - 1) | 1 << (0x7 - 1) | 1 << (0xb - 1);

/// Trap words of p9: MRS, MSR (register), CPS. At most 54 instructions, 68 with a change of
/// mode.
///
/// (1.) Which; 2. MRS CPSR; 3. MRS SPSR; 4. MSR SPSR; 5. MSR CPSR: its value in `r3`; 6.
/// CPS: the new status in `r5`. Both go on in [`write_status`].
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(super) unsafe extern "C" fn status_register() {
    naked_asm!(
        // 1.
        kernels!(),
        sampled!(),
        "lsr r3, r2, #20",
        "sub r3, r3, #0xee0",
        "cmp r3, #3",
        "addls pc, pc, r3, lsl #2",
        "b 6f",
        "b 2f",
        "b 5f",
        "b 3f",
        // 4.
        "bic r3, r2, #0xf",
        "ldr r5, ={MSR_SPSR}",
        "cmp r3, r5",
        "bne {slow}",
        has_saved!(),
        "and r3, r2, #0xf",
        "cmp r3, #15",
        "beq {slow}",
        "ldr r3, [sp, r3, lsl #2]",
        "bic r3, r3, #0xf00000",
        "ldr r7, [sp, #{SHARED}]",
        "str r3, [r7, #{SAVED}]",
        "b 9f",
        // 2.
        "2: bic r3, r2, #0xf000",
        "ldr r5, ={MRS_CPSR}",
        "cmp r3, r5",
        "bne {slow}",
        mask!(),
        "orr r3, r1, r4",
        "ubfx r5, r2, #12, #4",
        "str r3, [sp, r5, lsl #2]",     // 15 is UNPREDICTABLE and nobody's
        "b 9f",
        // 3.
        "3: bic r3, r2, #0xf000",
        "ldr r5, ={MRS_SPSR}",
        "cmp r3, r5",
        "bne {slow}",
        has_saved!(),
        "ldr r7, [sp, #{SHARED}]",
        "ldr r3, [r7, #{SAVED}]",
        "ubfx r5, r2, #12, #4",
        "str r3, [sp, r5, lsl #2]",
        "9:",
        count!("SENSITIVE"),
        resume!(),
        // 5.
        "5: bic r3, r2, #0xf",
        "ldr r5, ={MSR_CPSR_C}",
        "cmp r3, r5",
        "bne {slow}",
        mask!(),
        "and r3, r2, #0xf",
        "cmp r3, #15",
        "beq {slow}",
        "ldr r3, [sp, r3, lsl #2]",
        "bic r5, r4, #0xdf",            // I, F, mode
        "and r3, r3, #0xdf",
        "orr r5, r5, r3",
        "b {write}",
        // 6.
        "6: ldr r5, ={CPS_FIXED}",
        "and r5, r5, r2",
        "ldr r3, ={CPS}",
        "cmp r5, r3",
        "bne {slow}",
        mask!(),
        "and r3, r2, #0xc0",            // I, F
        "tst r2, #0x1000",
        "orrne r3, r3, #0x100",         // A
        "tst r2, #0x800000",            // imod[1]: masks change
        "moveq r3, #0",
        "tst r2, #0x400000",            // imod[0]: they are set
        "orrne r5, r4, r3",
        "biceq r5, r4, r3",
        "tst r2, #0x200000",            // M
        "beq {write}",
        "and r3, r2, #0x1f",
        "bic r5, r5, #0x1f",
        "orr r5, r5, r3",
        "b {write}",
        MRS_CPSR = const MRS_CPSR,
        MRS_SPSR = const MRS_SPSR,
        MSR_SPSR = const MSR_SPSR,
        MSR_CPSR_C = const MSR_CPSR_C,
        CPS = const CPS,
        CPS_FIXED = const CPS_FIXED,
        COUNTDOWN = const COUNTDOWN,
        SHARED = const SHARED,
        SAVED = const SAVED,
        COUNTERS = const COUNTERS,
        SENSITIVE = const SENSITIVE,
        HAVE_SAVED = const HAVE_SAVED,
        write = sym write_status,
        slow = sym entry::undefined_saved,
    )
}

/// Trap words of p13: MSR (immediate) of the control byte.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(super) unsafe extern "C" fn status_immediate() {
    naked_asm!(
        kernels!(),
        mask!(),
        "bic r3, r2, #0xff",
        "ldr r5, ={MSR_CPSR_C_IMMEDIATE}",
        "cmp r3, r5",
        "bne {slow}",
        "bic r5, r4, #0xdf",            // I, F, mode
        "and r3, r2, #0xdf",
        "orr r5, r5, r3",
        "b {write}",
        MSR_CPSR_C_IMMEDIATE = const MSR_CPSR_C_IMMEDIATE,
        SHARED = const SHARED,
        write = sym write_status,
        slow = sym entry::undefined_saved,
    )
}

/// A kernel's virtual status becomes `r5`. 15 instructions, 29 with a change of mode.
///
/// (1.) Nothing is due then; 2. in the same mode; 3. in another privileged one: its `r13` and
/// `r14`.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
unsafe extern "C" fn write_status() {
    naked_asm!(
        // 1.
        "ldr r6, [sp, #{PENDING}]",
        "bics r6, r6, r5",
        "bne {slow}",
        // 2.
        "eor r6, r5, r4",
        "tst r6, #0x1f",
        "bne 3f",
        "str r5, [sp, #{STATUS}]",
        publish!("r5"),
        count!("SENSITIVE"),
        resume!(),
        // 3. Up to that of User mode they are the banks of what is left to the handlers.
        "3: tst r5, #0x10",
        "beq {slow}",
        "and r6, r4, #0xf",
        "and r7, r5, #0xf",
        "ldr r8, ={banks}",
        "ldrb r6, [r8, r6]",
        "ldrb r7, [r8, r7]",
        "cmp r6, #{BANK_USER}",
        "cmphi r7, #{BANK_USER}",
        "bls {slow}",
        "str r5, [sp, #{STATUS}]",
        publish!("r5"),
        "ldr r10, [r3, #{SAVED}]",
        "ldrd r8, r9, [sp, #{SP_LR}]",
        "add r6, sp, r6",
        "strd r8, r9, [r6]",
        "str r10, [r6, #{SPSR}]",
        "add r7, sp, r7",
        "ldr r10, [r7, #{SPSR}]",
        "str r10, [r3, #{SAVED}]",
        "ldrd r8, r9, [r7]",
        "strd r8, r9, [sp, #{SP_LR}]",
        count!("SENSITIVE"),
        resume!(),
        BANK_USER = const BANK_USER,
        SPSR = const SPSR,
        SAVED = const SAVED,
        PENDING = const PENDING,
        STATUS = const STATUS,
        SP_LR = const SP_LR,
        COUNTERS = const COUNTERS,
        SENSITIVE = const SENSITIVE,
        SHARED = const SHARED,
        banks = sym BANKS,
        slow = sym entry::undefined_saved,
    )
}
