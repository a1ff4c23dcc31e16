//! A guest kernel's `ldm ^` and `stm ^`: the registers of its application, at every system
//! call; its return from an exception by `ldm {r0-pc}^`; and `hvc`.
//!
//! Accesses are unprivileged, so the current view decides, as for the guest itself. One that
//! aborts goes to the handler ([`entry::guarded_abort`]), which starts again: so nothing of the
//! guest is changed before the last access that may abort. Of a list of all registers the first
//! and the last word are accessed so; what lies between is then on the same two pages, and is
//! loaded as the hypervisor's own.

use super::exception_return::TO_A32;
use super::instruction::{kernels, sampled};
use super::turn::pass_turn;
use super::{
    BANKS, COUNTDOWN, COUNTERS, PENDING, SAVED, SENSITIVE, SHARED, STATUS, THREAD_READ_ONLY, USER,
    count, mask, resume,
};
use crate::entry;
use core::arch::naked_asm;
use entresol_abi::hypercall::Function;
use entresol_vcpu::psr;

/// `hvc #0`, and its function that is worth a path.
const HVC: u32 = 0xe140_0070;

/// Trap words of p0 to p7, and `hvc`. 37 instructions and 10 for each register; all registers
/// and `stm {sp, lr}^` in [`all`] and [`pair`].
///
/// (1.) AL, else `hvc`; 2. a mode with registers of its own: `r7` is User mode's bank, for `r13`
/// at offset 52; 3. the lists with a path of their own; 4. no write-back, without pc; the list in
/// `r8`, the base in `r10`; 5. their number in `r11`; 6. the lowest address; 7. store or load,
/// upwards.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(super) unsafe extern "C" fn multiple() {
    naked_asm!(
        // 1.
        kernels!(),
        "lsr r3, r2, #25",
        "cmp r3, #0x76",
        "bne 8f",
        // 2.
        "and r5, r4, #0xf",
        "ldr r6, ={banks}",
        "ldrb r5, [r6, r5]",
        "ldrb r7, [r6]",
        "cmp r5, r7",
        "bls {slow}",
        // 3.
        "ldr r0, =0xf7ff",
        "bics r3, r0, r2",              // 1: all but r0
        "cmpne r3, #1",
        "beq {all}",
        "and r3, r0, r2",
        "cmp r3, #0xc000",
        "beq {pair}",
        // 4.
        "ldr r7, [sp, #{SHARED}]",
        "sub r7, r7, #52 - {USER}",
        "tst r2, #0x400000",            // W
        "tsteq r2, #0x10000",           // pc
        "bne {slow}",
        "ubfx r8, r2, #12, #4",
        "ubfx r9, r2, #0, #11",
        "orrs r8, r9, r8, lsl #11",
        "beq {slow}",
        "ubfx r9, r2, #17, #4",
        "cmp r9, #15",
        "beq {slow}",
        "ldr r10, [sp, r9, lsl #2]",
        // 5.
        "ldr r0, =0x5555",
        "and r3, r0, r8, lsr #1",
        "sub r11, r8, r3",
        "ldr r0, =0x3333",
        "and r3, r0, r11, lsr #2",
        "and r11, r11, r0",
        "add r11, r11, r3",
        "add r11, r11, r11, lsr #4",
        "ldr r0, =0x0f0f",
        "and r11, r11, r0",
        "add r11, r11, r11, lsr #8",
        "and r11, r11, #0x1f",
        // 6.
        "tst r2, #0x800000",            // U
        "subeq r10, r10, r11, lsl #2",
        "eor r0, r2, r2, lsl #1",       // P and U alike: not from the base itself
        "tst r0, #0x1000000",
        "addeq r10, r10, #4",
        "tst r10, #3",
        "bne {slow}",
        // 7.
        "tst r2, #0x200000",            // L
        "bne 4f",
        "3: rbit r0, r8",
        "clz r0, r0",
        "cmp r0, #13",
        "ldrlo r3, [sp, r0, lsl #2]",
        "ldrhs r3, [r7, r0, lsl #2]",
        ".globl entresol_fast_store",
        "entresol_fast_store:",
        "strt r3, [r10], #4",
        "sub r0, r8, #1",
        "ands r8, r8, r0",
        "bne 3b",
        "b 5f",
        "4: cmp r9, #13",
        "blo {slow}",
        "6: rbit r0, r8",
        "clz r0, r0",
        ".globl entresol_fast_load",
        "entresol_fast_load:",
        "ldrt r3, [r10], #4",
        "cmp r0, #13",
        "strlo r3, [sp, r0, lsl #2]",
        "strhs r3, [r7, r0, lsl #2]",
        "sub r0, r8, #1",
        "ands r8, r8, r0",
        "bne 6b",
        "5:",
        count!("SENSITIVE"),
        resume!(),
        // `hvc #0` by a kernel.
        "8: ldr r5, ={HVC}",
        "cmp r2, r5",
        "bne {slow}",
        mask!(),
        "ldr r5, [sp]",
        "ldr r6, ={YIELD}",
        "cmp r5, r6",
        "bne {slow}",
        "str r4, [sp, #{STATUS}]",
        "b {yielded}",
        HVC = const HVC,
        YIELD = const Function::Yield as u32,
        COUNTERS = const COUNTERS,
        SENSITIVE = const SENSITIVE,
        SHARED = const SHARED,
        USER = const USER,
        STATUS = const STATUS,
        banks = sym BANKS,
        all = sym all,
        pair = sym pair,
        yielded = sym pass_turn,
        slow = sym entry::undefined_saved,
    )
}

/// `ldm rn, {r0 or r1 to r14}^` and `ldm rn, {r0 to pc}^`: `r3` is 1 without r0, else 0. 45 and 48 instructions.
///
/// (1.) A load without write-back; 2. the lowest address in `r10`, as if with r0; 3. without pc:
/// both ends; 4. nothing aborts any more; 5. with pc: a return within the mode, to A32; the new
/// virtual status in `r8`: nothing is due then.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
unsafe extern "C" fn all() {
    naked_asm!(
        // 1.
        "and r6, r2, #0x610000",        // W, L, pc
        "ubfx r9, r2, #17, #4",
        "cmp r9, #15",
        "beq {slow}",
        "ldr r10, [sp, r9, lsl #2]",
        "rsb r11, r3, #15",
        "cmp r6, #0x200000",
        "bne 5f",
        // 2.
        "6: tst r2, #0x800000",         // U
        "subeq r10, r10, r11, lsl #2",
        "eor r0, r2, r2, lsl #1",       // P and U alike: not from the base itself
        "tst r0, #0x1000000",
        "addeq r10, r10, #4",
        "sub r10, r10, r3, lsl #2",
        "tst r10, #3",
        "bne {slow}",
        "cmp r11, #16",
        "beq 7f",
        // 3.
        sampled!(),
        "rsb r3, r11, #15",
        "add r12, r10, #56",
        "add r11, r10, r3, lsl #2",
        ".globl entresol_fast_last",
        "entresol_fast_last:",
        "ldrt r0, [r12]",
        ".globl entresol_fast_first",
        "entresol_fast_first:",
        "ldrt r0, [r11]",
        // 4.
        "add r12, r10, #4",
        "cmp r3, #0",
        "streq r0, [sp]",
        "ldmia r12!, {{r1-r11}}",
        "add r0, sp, #4",
        "stmia r0!, {{r1-r11}}",
        "ldmia r12, {{r3, r4, r5}}",
        "str r3, [r0]",
        "ldr r3, [sp, #{SHARED}]",
        "strd r4, r5, [r3, #{USER}]",
        count!("SENSITIVE"),
        resume!(),
        // 5.
        "5: cmp r6, #0x210000",
        "cmpeq r3, #0",
        "bne {slow}",
        "ldr r5, [sp, #{SHARED}]",
        "ldr r7, [r5, #{SAVED}]",
        "movw r8, #{VIRTUAL}",
        "and r8, r8, r7",
        "eor r9, r8, r4",
        "tst r9, #0x1f",
        "tsteq r7, #0x20",              // T
        "ldreq r9, [sp, #{PENDING}]",
        "bicseq r9, r9, r8",
        "bne {slow}",
        "mov r11, #16",
        "b 6b",
        "7: add r12, r10, #60",
        ".globl entresol_fast_last_pc",
        "entresol_fast_last_pc:",
        "ldrt r11, [r12]",
        ".globl entresol_fast_first_pc",
        "entresol_fast_first_pc:",
        "ldrt r0, [r10]",
        "ldr r9, ={TO_A32}",
        "and r7, r7, r9",
        "bic r7, r7, #0x1f",
        "orr r7, r7, #0x10",
        "msr spsr_cxsf, r7",
        "bic lr, r11, #3",
        "str r8, [sp, #{STATUS}]",
        "str r8, [r5]",
        "ldr r9, [r5, #{THREAD_READ_ONLY}]",
        "mcr p15, 0, r9, c13, c0, 3",   // TPIDRURO
        "ldmia r10!, {{r0-r9}}",
        "stmia sp, {{r0-r9}}",
        "ldmia r10, {{r0-r4}}",
        "add r5, sp, #40",
        "stmia r5, {{r0-r4}}",
        count!("SENSITIVE"),
        resume!(),
        COUNTDOWN = const COUNTDOWN,
        THREAD_READ_ONLY = const THREAD_READ_ONLY,
        SAVED = const SAVED,
        USER = const USER,
        VIRTUAL = const psr::VIRTUAL,
        PENDING = const PENDING,
        TO_A32 = const TO_A32,
        STATUS = const STATUS,
        SHARED = const SHARED,
        COUNTERS = const COUNTERS,
        SENSITIVE = const SENSITIVE,
        slow = sym entry::undefined_saved,
    )
}

/// `stm rn, {sp, lr}^`. 28 instructions.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
unsafe extern "C" fn pair() {
    naked_asm!(
        "tst r2, #0x610000",            // W, L, pc
        "bne {slow}",
        "ubfx r9, r2, #17, #4",
        "cmp r9, #15",
        "beq {slow}",
        sampled!(),
        "ldr r10, [sp, r9, lsl #2]",
        "tst r2, #0x800000",            // U
        "subeq r10, r10, #8",
        "eor r0, r2, r2, lsl #1",       // P and U alike: not from the base itself
        "tst r0, #0x1000000",
        "addeq r10, r10, #4",
        "tst r10, #3",
        "bne {slow}",
        "ldr r3, [sp, #{SHARED}]",
        "ldrd r6, r7, [r3, #{USER}]",
        ".globl entresol_fast_store_sp",
        "entresol_fast_store_sp:",
        "strt r6, [r10], #4",
        ".globl entresol_fast_store_lr",
        "entresol_fast_store_lr:",
        "strt r7, [r10]",
        count!("SENSITIVE"),
        resume!(),
        COUNTDOWN = const COUNTDOWN,
        SHARED = const SHARED,
        USER = const USER,
        COUNTERS = const COUNTERS,
        SENSITIVE = const SENSITIVE,
        slow = sym entry::undefined_saved,
    )
}
