//! A guest application's `svc`, up to its kernel's vector.
//!
//! Budget `syscall.up`. Not here: T32 or big-endian exceptions, `svc` of a kernel.

use super::{
    BANK_SUPERVISOR, COUNTERS, ENTER, FAST, LAST, REFLECTED, SAVED, SHARED, SP_LR, STATUS, USER,
    VIEW, count, resume,
};
use crate::entry;
use crate::hypervisor::CORE;
use crate::maintenance::switch_to_return_text;
use core::arch::naked_asm;
use entresol_vcpu::psr;

/// The vector for `svc`. 45 instructions from vector to vector with two tables, 38 with one.
///
/// (1.) Save; 2. is it an application's, and usual; 3. its `r13` and `r14` to their bank, those of
/// Supervisor mode from theirs, LR and SPSR as B1.9.4; 4. status: masked, A32; 5. the kernel's
/// view, or domains; 6. no loop of exceptions; 7. count and go.
macro_rules! supervisor_call {
    ($name:ident, usual $usual:literal, enter $enter:expr, $($operand:tt)*) => {
        #[unsafe(naked)]
        #[instruction_set(arm::a32)]
        pub(crate) unsafe extern "C" fn $name() {
            naked_asm!(
                // 1.
                "stmia sp, {{r0-r14}}^",
                "mrs r1, spsr",
                "add r12, sp, #{FAST}",
                "ldr r2, [sp, #{STATUS}]",
                "ldmia r12, {{r3-r6}}",         // slow, vectors, the kernel's view
                // 2.
                "and r8, r2, #0xf",             // User mode is 0x10
                $usual,
                "bne {slow}",
                // 3.
                "ldr r3, [sp, #{SHARED}]",
                "ldrd r8, r9, [sp, #{SP_LR}]",
                "strd r8, r9, [r3, #{USER}]",
                "ldr r8, [sp, #{BANK_SUPERVISOR}]",
                "mov r9, lr",
                "strd r8, r9, [sp, #{SP_LR}]",
                "orr r8, r1, r2",
                "str r8, [r3, #{SAVED}]",
                // 4.
                "orr r2, r2, #0x83",            // from 0x10 to 0x13, and I
                "str r2, [sp, #{STATUS}]",
                "str r2, [r3]",
                "ldr r7, ={IT_T_E}",
                "bic r2, r1, r7",
                "msr spsr_cxsf, r2",
                // 5.
                $enter,
                // 6. Vector, how often, from where: behind the call.
                "add r4, r4, #8",
                "mov r5, #0",
                "add r12, sp, #{LAST}",
                "stmia r12, {{r4, r5, lr}}",
                // 7.
                count!("REFLECTED"),
                "mov lr, r4",
                resume!(),
                FAST = const FAST,
                STATUS = const STATUS,
                IT_T_E = const psr::IT | psr::T | psr::E,
                SP_LR = const SP_LR,
                USER = const USER,
                BANK_SUPERVISOR = const BANK_SUPERVISOR,
                SAVED = const SAVED,
                LAST = const LAST,
                SHARED = const SHARED,
                COUNTERS = const COUNTERS,
                REFLECTED = const REFLECTED,
                slow = sym entry::supervisor_call_saved,
                $($operand)*
            )
        }
    };
}

supervisor_call!(
    supervisor_call,
    usual "orrs r7, r3, r8",
    enter concat!("ldr r8, ={core} + {VIEW}\nstmia r8, {{r5, r6}}\n", switch_to_return_text!("r5", "r6", "r7"),
        "\nldr r7, [sp, #{ENTER}]\nmcr p15, 0, r7, c3, c0, 0"),
    ENTER = const ENTER,
    core = sym CORE, VIEW = const VIEW,
);

// The return is a context synchronisation: DACR needs no barrier.
supervisor_call!(
    supervisor_call_joint,
    usual "orrs r7, r8, r3, lsl #1      @ all but JOINT",
    enter "ldr r7, [sp, #{ENTER}]\nmcr p15, 0, r7, c3, c0, 0",
    ENTER = const ENTER,
);
