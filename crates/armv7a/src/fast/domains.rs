//! A write of DACR by a guest kernel that has one table with its application.
//!
//! Not here: with two tables ([`system`](super::system)), and what the machine's DACR must be
//! ([`Shadow::domains`](crate::shadow::Shadow)), which this does in assembly.
//!
//! Manual: ARM DDI 0406C, B3.7.3 (domains).

use super::{COUNTERS, CP15, DACR, FAST, Fast, MACHINE_DACR, SHARED, count, resume};
use crate::entry;
use core::arch::naked_asm;
use core::mem::offset_of;
use entresol_rewrite::stub::shared;

/// DACR of a kernel that has one table with its application. As `system_write` left it: the new
/// value in `r0`, what changes in `r5`.
///
/// (1.) Only what may; 2. both values; 3. what it opens is open to it at once, and not only when it
/// touches that.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(super) unsafe extern "C" fn domains() {
    naked_asm!(
        // 1.
        "ldr r7, [sp, #{FAST} + {FIXED}]",
        "cmn r7, #1",
        "beq {slow}",
        "tst r5, r7",
        "bne {slow}",
        // 2.
        "str r0, [sp, #{DACR}]",
        "ldr r3, [sp, #{SHARED}]",
        "str r0, [r3, #{SHARED_DOMAINS}]",
        "str r0, [r3, #{SHARED_ENFORCED}]",
        "orr r3, r0, #0x40000000",      // the window's domain
        "orr r3, r3, #0x4000",          // that of stubs
        "str r3, [sp, #{MACHINE_DACR}]",
        // 3.
        "orr r3, r3, r0, lsl #16",
        "bic r3, r3, #0x80000000",      // whatever happens, the window's domain is a client
        "mcr p15, 0, r3, c3, c0, 0",    // DACR; the return is a context synchronisation
        count!("CP15"),
        resume!(),
        FAST = const FAST,
        FIXED = const offset_of!(Fast, fixed_joint),
        DACR = const DACR,
        SHARED = const SHARED,
        SHARED_DOMAINS = const shared::DOMAINS,
        SHARED_ENFORCED = const shared::ENFORCED,
        MACHINE_DACR = const MACHINE_DACR,
        COUNTERS = const COUNTERS,
        CP15 = const CP15,
        slow = sym entry::undefined_saved,
    )
}
