//! A guest application's `svc`, up to its kernel's vector.
//!
//! Budget `syscall.up`. Not here: T32 or big-endian exceptions, `svc` of a kernel.

use super::{BANK_SUPERVISOR, FAST, REFLECTED, SAVED, SHARED, SP_LR, STATUS, USER, resume};
use crate::entry;
use crate::maintenance::switch_to_return_text;
use core::arch::naked_asm;

/// The vector for `svc`. 35 instructions from vector to vector with two tables, 29 with one.
///
/// (1.) Save; 2. is it an application's, and usual; 3. its `r13` and `r14` to their bank, those of
/// Supervisor mode from theirs, LR and SPSR as B1.9.4; 4. status: masked, A32; 5. the kernel's
/// view, or domains; 6. count and go.
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
                "ldmia r12, {{r3-r8}}",         // counters, DACR, slow, vectors, the kernel's view
                // 2.
                "and r9, r2, #0xf",             // User mode is 0x10
                $usual,
                "tsteq r1, #0x06000000",        // IT[1:0], which stay
                "bne {slow}",
                // 3.
                "ldr r5, [sp, #{SHARED}]",
                "ldrd r10, r11, [sp, #{SP_LR}]",
                "strd r10, r11, [r5, #{USER}]",
                "ldr r10, [sp, #{BANK_SUPERVISOR}]",
                "mov r11, lr",
                "strd r10, r11, [sp, #{SP_LR}]",
                "orr r10, r1, r2",
                "str r10, [r5, #{SAVED}]",
                // 4.
                "orr r2, r2, #0x83",            // from 0x10 to 0x13, and I
                "str r2, [sp, #{STATUS}]",
                "str r2, [r5]",
                "msr spsr_cx, #0x10",           // without IT, T, E
                // 5.
                $enter,
                "mcr p15, 0, r4, c3, c0, 0",    // DACR
                // 6.
                "add lr, r6, #8",
                "ldr r10, [r3, #{REFLECTED}]",
                "add r10, r10, #1",
                "str r10, [r3, #{REFLECTED}]",
                resume!(),
                FAST = const FAST,
                STATUS = const STATUS,
                SP_LR = const SP_LR,
                USER = const USER,
                BANK_SUPERVISOR = const BANK_SUPERVISOR,
                SAVED = const SAVED,
                SHARED = const SHARED,
                REFLECTED = const REFLECTED,
                slow = sym entry::supervisor_call_saved,
                $($operand)*
            )
        }
    };
}

supervisor_call!(
    supervisor_call,
    usual "orrs r9, r9, r5",
    enter switch_to_return_text!("r7", "r8", "r9"),
);

// The return is a context synchronisation: DACR needs no barrier.
supervisor_call!(
    supervisor_call_joint,
    usual "orrs r9, r9, r5, lsl #1      @ all but JOINT",
    enter "",
);
