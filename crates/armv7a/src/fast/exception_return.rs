//! A guest kernel's `movs pc, lr` and `subs pc, lr, #n`: returns from exceptions.
//!
//! To its application (budget `syscall.down`), or to another of its privileged modes, as
//! kernels do that leave the mode of an interrupt at once. FIQ and System mode are the handlers'
//! affair, and what returns to an application from another mode than Supervisor.

use super::{
    APPLICATION, BANK_SUPERVISOR, BANKS, COUNTERS, DOMAINS, ENFORCED, FAST, JOINT, LR, PENDING,
    SAVED, SENSITIVE, SHARED, SLOW, SP_LR, SPSR, STATUS, THREAD_READ_ONLY, USER, count, resume,
};
use crate::entry;
use crate::maintenance::switch_to_return_text;
use core::arch::naked_asm;
use entresol_isa::hot::{MOVS_PC_LR, SUBS_PC_LR};
use entresol_vcpu::psr;

/// CPSR bits of a return to A32, and to T32.
pub(super) const TO_A32: u32 = psr::REAL & !(psr::IT | psr::T) | psr::MODE;
const TO_T32: u32 = psr::REAL | psr::MODE;

/// Trap words of p8. 56 instructions from `movs pc, lr` to the application, the vector's
/// branch and [`undefined`](super::instruction::undefined) included.
///
/// (1.) Where to: `r3`; 2. from Supervisor mode to User mode with nothing masked, which is the new
/// virtual status in `r10`, else [`between_modes`]; 3. nothing is due then, and DACR is what
/// applications have; 4. the application's view; 5. domains, TPIDRURO, real status; 6. `r13` and
/// `r14`; 7. count and go.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(super) unsafe extern "C" fn exception_return() {
    naked_asm!(
        // 1.
        "ldr r5, ={MOVS}",
        "cmp r2, r5",
        "ldr r3, [sp, #{LR}]",
        "bne 8f",
        // 2.
        "1: ldr r11, [sp, #{SHARED}]",
        "ldrd r6, r7, [r11, #{SAVED}]", // SPSR and TPIDRURO
        "ldr r8, [r11, #{DOMAINS}]",
        "movw r10, #{VIRTUAL}",
        "and r10, r10, r6",
        "and r5, r4, #0x1f",
        "cmp r10, #0x10",
        "cmpeq r5, #0x13",
        "bne {between}",
        // 3. And the counters; what DACR it should be, what that is in the machine, what is enforced
        // when the kernel is entered.
        "add r12, sp, #{FAST} + {APPLICATION}",
        "ldmia r12, {{r0, r1, r2, r4, r5, r9}}",
        "ldr r12, [sp, #{FAST} + {SLOW}]",
        "teq r8, r4",
        "ldr r8, [sp, #{PENDING}]",
        "orrseq r12, r12, r8",
        "bne 9f",
        // 4.
        switch_to_return_text!("r0", "r1", "r12"),
        // 5. The return aligns the address.
        "3: mcr p15, 0, r5, c3, c0, 0", // DACR
        "mcr p15, 0, r7, c13, c0, 3",   // TPIDRURO
        "str r9, [r11, #{ENFORCED}]",
        "tst r6, #0x20",                // T
        "ldreq r8, ={TO_A32}",
        "ldrne r8, ={TO_T32}",
        "and r8, r8, r6",
        "msr spsr_cxsf, r8",
        "mov lr, r3",
        // 6.
        "ldrd r8, r9, [sp, #{SP_LR}]",
        "strd r8, r9, [sp, #{BANK_SUPERVISOR}]",
        "str r6, [sp, #{BANK_SUPERVISOR} + {SPSR}]",
        "ldrd r8, r9, [r11, #{USER}]",
        "strd r8, r9, [sp, #{SP_LR}]",
        "str r10, [sp, #{STATUS}]",
        // 7.
        "ldr r5, [r2, #{SENSITIVE}]",
        "add r5, r5, #1",
        "str r5, [r2, #{SENSITIVE}]",
        resume!(),
        // One table: its domains instead of a view.
        "9: ldr r8, [r11, #{DOMAINS}]",
        "teq r8, r4",
        "teqeq r12, #{JOINT}",
        "bne {slow}",
        "b 3b",
        "8: bic r5, r2, #0xff",
        "ldr r6, ={SUBS}",
        "cmp r5, r6",
        "bne {slow}",
        "and r5, r2, #0xff",
        "sub r3, r3, r5",
        "b 1b",
        MOVS = const MOVS_PC_LR,
        SUBS = const SUBS_PC_LR,
        LR = const LR,
        BANK_SUPERVISOR = const BANK_SUPERVISOR,
        USER = const USER,
        SAVED = const SAVED,
        SHARED = const SHARED,
        SPSR = const SPSR,
        VIRTUAL = const psr::VIRTUAL,
        PENDING = const PENDING,
        FAST = const FAST,
        TO_A32 = const TO_A32,
        TO_T32 = const TO_T32,
        SP_LR = const SP_LR,
        STATUS = const STATUS,
        APPLICATION = const APPLICATION,
        SLOW = const SLOW,
        JOINT = const JOINT,
        DOMAINS = const DOMAINS,
        ENFORCED = const ENFORCED,
        SENSITIVE = const SENSITIVE,
        between = sym between_modes,
        slow = sym entry::undefined_saved,
    )
}

/// A return to `r3` from and to any modes with an SPSR but FIQ.
///
/// (1.) The bank of the mode in `r5`, which has an SPSR: `r7`; 2. the bank of the new mode in
/// `r11`; 3. nothing is due then, in `r10`; 4. and so on as above. DACR is enforced as it was.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
unsafe extern "C" fn between_modes() {
    naked_asm!(
        // 1.
        "and r5, r4, #0xf",
        "ldr r6, ={banks}",
        "ldrb r5, [r6, r5]",
        "ldrb r8, [r6]",
        "cmp r5, r8",                   // FIQ mode, and User mode's bank has no SPSR
        "bls {slow}",
        "add r5, sp, r5",
        "ldr r12, [sp, #{SHARED}]",
        "ldr r7, [r12, #{SAVED}]",
        // 2.
        "tst r7, #0x10",
        "beq {slow}",
        "and r9, r7, #0xf",
        "ldrb r11, [r6, r9]",
        "cmp r11, r8",                  // FIQ mode, User mode and System mode
        "bls {slow}",
        "add r11, sp, r11",
        // 3.
        "movw r10, #{VIRTUAL}",
        "and r10, r10, r7",
        "ldr r6, [sp, #{PENDING}]",
        "bics r6, r6, r10",
        "bne {slow}",
        // 4.
        "ldr r6, [r12, #{THREAD_READ_ONLY}]",
        "mcr p15, 0, r6, c13, c0, 3",   // TPIDRURO
        "tst r7, #0x20",                // T
        "ldreq r8, ={TO_A32}",
        "ldrne r8, ={TO_T32}",
        "and r8, r8, r7",
        "biceq lr, r3, #3",
        "bicne lr, r3, #1",
        "bic r8, r8, #0x1f",
        "orr r8, r8, #0x10",
        "msr spsr_cxsf, r8",
        "ldrd r8, r9, [sp, #{SP_LR}]",
        "strd r8, r9, [r5]",
        "str r7, [r5, #{SPSR}]",
        "ldrd r8, r9, [r11]",
        "strd r8, r9, [sp, #{SP_LR}]",
        "ldr r8, [r11, #{SPSR}]",
        "str r8, [r12, #{SAVED}]",
        "str r10, [sp, #{STATUS}]",
        "str r10, [r12]",
        count!("SENSITIVE"),
        resume!(),
        THREAD_READ_ONLY = const THREAD_READ_ONLY,
        SPSR = const SPSR,
        SAVED = const SAVED,
        VIRTUAL = const psr::VIRTUAL,
        PENDING = const PENDING,
        TO_A32 = const TO_A32,
        TO_T32 = const TO_T32,
        SP_LR = const SP_LR,
        STATUS = const STATUS,
        COUNTERS = const COUNTERS,
        SENSITIVE = const SENSITIVE,
        SHARED = const SHARED,
        banks = sym BANKS,
        slow = sym entry::undefined_saved,
    )
}
