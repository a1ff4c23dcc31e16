//! A write of DACR by a guest kernel.
//!
//! Not here: what the machine's DACR must be ([`Shadow::domains`](crate::shadow::Shadow)), which this
//! does in assembly. The guest's own is then in the shared page alone: see `Guest::heed`.
//!
//! Manual: ARM DDI 0406C, B3.7.3 (domains).

use super::{COUNTERS, CP15, DACR, DOMAINS, ENFORCED, FAST, Fast, SHARED, count, resume};
use crate::entry;
use core::arch::naked_asm;
use core::mem::offset_of;

/// Two tables. `r2` is the word, `r5` its Rt in place. 28 instructions, with those that lead here.
///
/// (1.) Only clients, and none on which entries depend; 2. the guest's and the machine's.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(super) unsafe extern "C" fn domains() {
    naked_asm!(
        // 1.
        "ldr r0, [sp, r5, lsr #10]",    // pc is UNPREDICTABLE
        "ldr r7, [sp, #{FAST} + {FIXED}]",
        "orr r6, r0, #0x40000000",      // the window's domain is a client, others are or are shut
        "tst r6, r7",
        "bne {joint}",
        // 2.
        "ldr r3, [sp, #{SHARED}]",
        "str r0, [r3, #{DOMAINS}]",
        "str r0, [r3, #{ENFORCED}]",
        "mcr p15, 0, r6, c3, c0, 0",    // DACR; the return is a context synchronisation
        count!("CP15"),
        resume!(),
        FAST = const FAST,
        FIXED = const offset_of!(Fast, fixed),
        SHARED = const SHARED,
        DOMAINS = const DOMAINS,
        ENFORCED = const ENFORCED,
        COUNTERS = const COUNTERS,
        CP15 = const CP15,
        joint = sym joint,
    )
}

/// One table. The new value in `r0`, the window's domain besides in `r6`.
///
/// (1.) Only what may change; 2. the guest's; 3. the machine's: what it opens is open to it at once,
/// and not only when it touches that.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
unsafe extern "C" fn joint() {
    naked_asm!(
        // 1.
        "ldr r7, [sp, #{FAST} + {FIXED}]",
        "cmn r7, #1",
        "beq {slow}",
        "ldr r3, [sp, #{DACR}]",        // as of the last handler: what stubs change may change
        "eor r5, r0, r3",
        "tst r5, r7",
        "bne {slow}",
        // 2.
        "ldr r3, [sp, #{SHARED}]",
        "str r0, [r3, #{DOMAINS}]",
        "str r0, [r3, #{ENFORCED}]",
        // 3.
        "orr r6, r6, #0x4000",          // that of stubs
        "orr r6, r6, r0, lsl #16",
        "bic r6, r6, #0x80000000",      // whatever happens, the window's domain is a client
        "mcr p15, 0, r6, c3, c0, 0",    // DACR; the return is a context synchronisation
        count!("CP15"),
        resume!(),
        FAST = const FAST,
        FIXED = const offset_of!(Fast, fixed_joint),
        DACR = const DACR,
        SHARED = const SHARED,
        DOMAINS = const DOMAINS,
        ENFORCED = const ENFORCED,
        COUNTERS = const COUNTERS,
        CP15 = const CP15,
        slow = sym entry::undefined_saved,
    )
}
