//! A guest kernel's `ldm ^` and `stm ^`: the registers of its application, at every system
//! call; and `hvc`.
//!
//! Accesses are unprivileged, so the current view decides, as for the guest itself. One that
//! aborts goes to the handler ([`entry::guarded_abort`]), which starts again: so a load is
//! made here only if its base is a register that it does not load.

use super::{BANKS, COUNTERS, SENSITIVE, count, resume};
use crate::entry;
use core::arch::naked_asm;
use entresol_abi::hypercall::Function;

/// `hvc #0`, and its function that is worth a path.
const HVC: u32 = 0xe140_0070;

/// Trap words of p0 to p7, and `hvc`. 37 instructions and 10 for each register.
///
/// 1. `hvc`; 2. AL, no write-back, without pc; 3. a mode with registers of its own: `r7` is User
/// mode's bank, for `r13` at offset 52; 4. the list in `r8`, the base in `r10`; 5. their number
/// in `r11`; 6. the lowest address; 7. store or load, upwards.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn multiple() {
    naked_asm!(
        // 1.
        "ldr r5, ={HVC}",
        "cmp r2, r5",
        "beq 8f",
        // 2.
        "lsr r3, r2, #25",
        "cmp r3, #0x76",
        "bne {slow}",
        "tst r2, #0x400000",            // W
        "tsteq r2, #0x10000",           // pc
        "bne {slow}",
        // 3.
        "and r5, r4, #0xf",
        "ldr r6, ={banks}",
        "ldrb r5, [r6, r5]",
        "ldrb r7, [r6]",
        "cmp r5, r7",
        "bls {slow}",
        "add r7, sp, r7",
        "sub r7, r7, #52",
        // 4.
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
        "8: tst r4, #0xf",
        "beq {slow}",
        "ldr r5, [sp]",
        "ldr r6, ={YIELD}",
        "cmp r5, r6",
        "bne {slow}",
        "b {yielded}",
        HVC = const HVC,
        YIELD = const Function::Yield as u32,
        COUNTERS = const COUNTERS,
        SENSITIVE = const SENSITIVE,
        banks = sym BANKS,
        yielded = sym entry::yield_saved,
        slow = sym entry::undefined_saved,
    )
}
