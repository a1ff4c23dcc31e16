//! Invalidation of the entries of one address, where that drops at most one page of the shadow.
//!
//! Not responsible for what is shared by pairs of views, for sections, and for VMs with two vCPUs:
//! [`Hypervisor::invalidated`](crate::hypervisor::Hypervisor) does all of it.

use super::system::{DEVICES, SHADOW};
use super::{COUNTERS, CP15, FAST, Fast, KERNEL, count, resume};
use crate::entry;
use crate::maintenance::{forget_page_text, switch_text};
use crate::pages::Pages;
use crate::shadow::{self, Shadow};
use crate::tables::Tables;
use core::arch::naked_asm;
use core::mem::offset_of;

/// A kernel that invalidates page by page goes on with these: `1: mcr ..; add r0, r0, #4096; cmp r0, r1;
/// blo 1b`.
const ADD: u32 = 0xe280_0a01;
const COMPARE: u32 = 0xe150_0001;
const BRANCH: u32 = 0x3aff_fffb;

/// The entries of the address in `r0`, as `r2` says: what [`Hypervisor::invalidated`] does where the
/// shadow has nothing of that address space, as it has not of one that is new or gone. 49 instructions.
///
/// (1.) Of one ASID, by the only vCPU; 2. not where the stubs are, nor where pairs have global entries
/// of their own; 3. no shared table, no private entries of that ASID; 4. in a loop over pages nothing is
/// known of the next ones either, up to the end of the megabyte: `r0` becomes the last of these; 5. no
/// page of a device.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(super) unsafe extern "C" fn drop_nothing() {
    naked_asm!(
        // 1.
        "ldr r5, [sp, #{FAST} + {SPACE}]",
        "tst r2, #0x40",
        "cmpeq r5, #0",
        "bne {drop_address}",
        // 2.
        "lsr r3, r0, #20",
        "ldr r5, [sp, #{HOLE}]",
        "cmp r5, r3",
        "beq {drop_address}",
        "lsr r5, r3, #5",
        "add r6, sp, r5, lsl #2",
        "ldr r6, [r6, #{SCATTERED}]",
        "and r5, r3, #31",
        "lsr r6, r6, r5",
        // 3.
        "eor r5, r3, r3, lsr #5",
        "uxtb r5, r5",
        "movw r7, #{BUCKETS}",
        "add r7, r7, sp",
        "add r7, r7, r5, lsl #1",
        "ldrh r7, [r7]",
        "uxtb r5, r0",
        "add r5, r5, sp",
        "ldrb r5, [r5, #{PAIR_OF}]",
        "ldr r8, [sp, #{HOLDERS}]",
        "lsl r8, r8, #1",               // pairs count from 1
        "lsr r8, r8, r5",
        "and r6, r6, #1",
        "orrs r7, r7, r6",
        "bne {drop_address}",
        "ands r8, r8, #1",
        "bne {drop_one}",
        // 4.
        ".globl entresol_fast_loop",
        "entresol_fast_loop:",
        "ldmia lr, {{r5, r6, r7}}",
        "ldr r9, ={ADD}",
        "cmp r5, r9",
        "ldreq r9, ={COMPARE}",
        "cmpeq r6, r9",
        "ldreq r9, ={BRANCH}",
        "cmpeq r7, r9",
        "tsteq r2, #0xf000",
        "ldreq r6, [sp, #4]",
        "bne entresol_fast_dropped",
        "subs r6, r6, r0",
        "bls entresol_fast_dropped",
        "sub r6, r6, #1",
        "lsrs r6, r6, #12",             // so many pages follow
        "beq entresol_fast_dropped",
        "ubfx r7, r0, #12, #8",
        "rsbs r7, r7, #255",            // in the megabyte
        "beq entresol_fast_dropped",
        "cmp r6, r7",
        "movhi r6, r7",
        "add r0, r0, r6, lsl #12",
        "str r0, [sp]",
        "b entresol_fast_forget",
        "entresol_fast_dropped:",
        // 5. Devices::forget_page
        "lsr r5, r0, #12",
        "eor r5, r5, r0, lsr #16",
        "eor r5, r5, r0, lsr #23",
        "and r5, r5, #3",
        "add r5, r5, r5, lsl #1",
        "add r5, sp, r5, lsl #2",
        "str r8, [r5, #{DEVICES}]",
        count!("CP15"),
        resume!(),
        ADD = const ADD,
        COMPARE = const COMPARE,
        BRANCH = const BRANCH,
        FAST = const FAST,
        SPACE = const offset_of!(Fast, fixed_space),
        HOLE = const SHADOW + shadow::HOLE,
        SCATTERED = const SHADOW + shadow::SCATTERED,
        BUCKETS = const SHADOW + shadow::TABLES + Tables::BUCKETS,
        PAIR_OF = const SHADOW + shadow::PAIR_OF,
        HOLDERS = const SHADOW + shadow::HOLDERS,
        DEVICES = const DEVICES,
        COUNTERS = const COUNTERS,
        CP15 = const CP15,
        drop_address = sym entry::drop_saved,
        drop_one = sym drop_one,
    )
}

/// The entries of the address in `r0` in the pair before `r5`, which nobody shares: up to 80
/// instructions. As [`drop_nothing`] left it; `r3` is the megabyte.
///
/// (1.) In the linear view; 2. of both views, `r6` is the first-level entry, `r8` that of the page; 3.
/// which is no more the one of its page ([`Pages::unmapped`]); 4. the TLB.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
unsafe extern "C" fn drop_one() {
    naked_asm!(
        // 1.
        "add r12, sp, #{FAST}",
        "ldrd r10, r11, [r12, #{LINEAR}]",
        switch_text!("r10", "r11", "r9"),
        "ldr r6, [sp, #{ROOTS}]",
        "sub r5, r5, #1",
        "add r6, r6, r5, lsl #15",
        "add r6, r6, r3, lsl #2",
        "add r5, r6, #0x8000",
        "ubfx r7, r0, #12, #8",
        "add r1, r12, #{MEMORY}",
        "ldmib r1, {{r3, r4}}",         // host, length
        "ldr r1, [sp, #{PAGE_RECORDS}]",
        "mov r11, #0",
        // 2.
        "2: ldr r8, [r6]",
        "cmp r8, #0",
        "beq 4f",
        "tst r8, #2",                   // not of a section
        "bne 8f",
        "bfc r8, #0, #10",
        "ldr r10, [r8, r7, lsl #2]!",
        "cmp r10, #0",
        "beq 4f",
        "str r9, [r8]",
        "mov r11, #1",
        // 3.
        "sub r10, r10, r3",
        "cmp r10, r4",
        "bhs 4f",
        "lsr r10, r10, #12",
        "orr r8, r8, #1",
        "ldr r9, [r1, r10, lsl #3]!",
        "subs r8, r9, r8",
        "streq r8, [r1]",
        "sub r1, r1, r10, lsl #3",
        "mov r9, #0",
        "4: add r6, r6, #0x4000",
        "cmp r6, r5",
        "bne 2b",
        // 4.
        "mov r8, #0",
        "cmp r11, r8",
        "beq 8f",
        "lsr r7, r0, #12",
        "lsl r7, r7, #12",
        forget_page_text!("r7"),
        "8: ldrd r4, r5, [r12, #{KERNEL}]",
        switch_text!("r4", "r5", "r7"),
        "cmp r8, #0",
        "beq entresol_fast_dropped",
        "b {drop_address}",
        FAST = const FAST,
        LINEAR = const offset_of!(Fast, linear),
        ROOTS = const SHADOW + shadow::ROOTS,
        MEMORY = const offset_of!(Fast, memory),
        PAGE_RECORDS = const SHADOW + offset_of!(Shadow, pages) + Pages::RECORDS,
        KERNEL = const KERNEL,
        drop_address = sym entry::drop_saved,
    )
}
