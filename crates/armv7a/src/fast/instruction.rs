//! Trapped A32 instructions of guest kernels: which of the fast paths settles them.
//!
//! Budgets `trap.cp15`, `trap.sensitive`, `syscall.down`.
//!
//! # Why a plain load
//!
//! The word that trapped was fetched, so the guest may read it (short descriptors have no
//! execute-only) and the current view maps it. Should the load abort all the same,
//! [`entry::guarded_abort`] goes to the handler.

use super::exception_return::exception_return;
use super::multiple::multiple;
use super::status::{status_immediate, status_register};
use super::system::{float, system};
use super::{COUNTDOWN, STATUS};
use crate::entry;
use crate::guest::Guest;
use crate::promote;
use core::arch::naked_asm;
use core::mem::offset_of;

/// Gives way unless a guest's kernel runs, whose virtual status is in `r4`. Two instructions.
macro_rules! kernels {
    () => {
        "tst r4, #0xf\nbeq {slow}"
    };
}

/// Of so many traps of instructions that may be promoted one is looked at: whether its site may be. Not
/// if it is due already, which the vector knows: it comes back here. Changes `r3`. Four instructions.
macro_rules! sampled {
    () => {
        "ldr r3, [sp, #{COUNTDOWN}]\nsubs r3, r3, #1\nstrhs r3, [sp, #{COUNTDOWN}]\n\
         beq entresol_fast_look"
    };
}

pub(super) use {kernels, sampled};

/// The vector for undefined instructions. 10 instructions to where the class is known.
///
/// (1.) Save; 2. an A32 instruction of a guest; 3. its word; 4. by the coprocessor that it
/// or its trap word names, and but for returns whether it is [a kernel's](kernels). From here on `r0` is free, `r1` the status, `r2` the word, `r4` the
/// virtual status (its interrupt mask may be old, see [`mask!`](super::mask)), `lr` the next
/// instruction.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(crate) unsafe extern "C" fn undefined() {
    naked_asm!(
        // 1.
        "stmia sp, {{r0-r14}}^",
        "mrs r1, spsr",
        // 2. User mode is 0x10, T is 0x20.
        "ldr r4, [sp, #{STATUS}]",
        "tst r1, #0x2f",
        "bne {slow}",
        // 3.
        ".globl entresol_fast_fetch",
        "entresol_fast_fetch:",
        "ldr r2, [lr, #-4]",
        // 4.
        ".globl entresol_fast_class",
        "entresol_fast_class:",
        "ubfx r3, r2, #8, #4",
        "add pc, pc, r3, lsl #2",
        "nop",
        "b {multiple}",
        "b {multiple}",
        "b {multiple}",
        "b {multiple}",
        "b {multiple}",
        "b {multiple}",
        "b {multiple}",
        "b {multiple}",
        "b {exception_return}",
        "b {status_register}",
        "b {float}",
        "b {slow}",
        "b {slow}",
        "b {status_immediate}",
        "b {slow}",
        "b {system}",
        STATUS = const STATUS,
        multiple = sym multiple,
        exception_return = sym exception_return,
        status_register = sym status_register,
        status_immediate = sym status_immediate,
        float = sym float,
        system = sym system,
        slow = sym entry::undefined_saved,
    )
}

/// The vector for undefined instructions while samples are taken: as [`undefined`], but of some
/// traps of the guest's kernel one goes to the handler, which looks where it is. Not if it is known
/// that nothing can be done there, or another site's samples are in its place; after a number of
/// these, samples end.
///
/// (1.) Save; 2. an A32 instruction of a guest's kernel; 3. one of many; 4. not one of those that
/// never can be promoted and are frequent; 5. what is known of the site, which a path asks, too
/// (`sampled!`).
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(crate) unsafe extern "C" fn undefined_sampling() {
    naked_asm!(
        // 1.
        "stmia sp, {{r0-r14}}^",
        "mrs r1, spsr",
        // 2.
        "ldr r4, [sp, #{STATUS}]",
        "tst r1, #0x2f",
        "bne {slow}",
        "tst r4, #0xf",
        "beq {slow}",
        // 3.
        "ldr r5, [sp, #{COUNTDOWN}]",
        "subs r5, r5, #1",
        "strhs r5, [sp, #{COUNTDOWN}]",
        "bhi entresol_fast_fetch",
        // 4. Returns, TLB maintenance, 64-bit accesses: the next is the sample.
        ".globl entresol_fast_sample",
        "entresol_fast_sample:",
        "ldr r2, [lr, #-4]",
        "ubfx r3, r2, #8, #4",
        "cmp r3, #8",
        "beq entresol_fast_class",
        "cmp r3, #15",
        "bne 3f",
        "tst r2, #0x02000000",          // MRRC and MCRR have it clear
        "ubfxne r5, r2, #16, #5",
        "cmpne r5, #8",                 // MCR, CRn 8
        "beq entresol_fast_class",
        // 5.
        "3:",
        ".globl entresol_fast_look",
        "entresol_fast_look:",
        "sub r0, lr, #4",
        "ubfx r3, r0, #2, #{SITES}",
        "add r6, sp, #{PROMOTION}",
        "movw r5, #{HEAT}",
        "add r3, r5, r3, lsl #3",
        "add r3, r3, sp",
        "ldr r5, [r3]",
        "ldr r7, [r3, #4]",
        "cmp r5, r0",
        "beq 1f",
        "ldr r5, [r6, #{WEAR}]",
        "subs r7, r7, r5",              // another's, which is worn down
        "strhs r7, [r3, #4]",
        "blo {slow}",
        "b 2f",
        "1: cmp r7, #{HOPELESS}",
        "subhs r7, r7, #1",             // to be tried again one day
        "str r7, [r3, #4]",
        "blo {slow}",
        "2: ldr r5, [r6, #{MISSES}]",
        "subs r5, r5, #1",
        "strhs r5, [r6, #{MISSES}]",
        "ldrhi r7, [r6, #{AGAIN}]",
        "andhi r5, r5, r7",
        "strhi r5, [sp, #{COUNTDOWN}]",
        "bhi entresol_fast_fetch",
        "ldr r5, [r6, #{VECTORS}]",
        "ldr r7, [r6, #{QUIET}]",
        "mcr p15, 0, r5, c12, c0, 0",   // VBAR
        "str r7, [sp, #{COUNTDOWN}]",
        "b entresol_fast_fetch",
        STATUS = const STATUS,
        COUNTDOWN = const COUNTDOWN,
        SITES = const promote::SITES_BITS,
        PROMOTION = const offset_of!(Guest, promotion),
        HEAT = const promote::HEAT,
        HOPELESS = const promote::HOPELESS,
        MISSES = const promote::LEFT,
        AGAIN = const promote::AGAIN,
        WEAR = const promote::WEAR,
        VECTORS = const promote::VECTORS,
        QUIET = const promote::QUIET,
        slow = sym entry::undefined_saved,
    )
}
