//! Copies and clears for the compiler, which calls them by the names of the run-time ABI.
//!
//! Small, for what is copied is: the library's take six times the text. Only words that are
//! aligned are moved as such, two at a time, or put together: sentences go into a ring while
//! interrupts are masked.
//!
//! Manual: ARM IHI 0043, 5.3.4 (memory copying, clearing, and setting).

use core::arch::naked_asm;

/// Copies `len` bytes.
///
/// (1.) All but the last words, if both ends are aligned; 2. bytes; 3. if there are some more and only
/// the source is not aligned, words out of parts of two, four at a time and singly.
///
/// # Safety
///
/// As [`core::ptr::copy_nonoverlapping`].
#[unsafe(no_mangle)]
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(crate) unsafe extern "C" fn __aeabi_memcpy(to: *mut u8, from: *const u8, len: usize) {
    naked_asm!(
        // Functions, so that calls from T32 change the instruction set.
        ".global __aeabi_memcpy4, __aeabi_memcpy8",
        ".type __aeabi_memcpy4, %function",
        ".type __aeabi_memcpy8, %function",
        // 1.
        "orr r3, r0, r1",
        "tst r3, #3",
        "bne 3f",
        "__aeabi_memcpy4:",
        "__aeabi_memcpy8:",
        "subs r2, r2, #8",
        "1: ldmhs r1!, {{r3, r12}}",
        "stmhs r0!, {{r3, r12}}",
        "subshs r2, r2, #8",
        "bhs 1b",
        "tst r2, #4",
        "ldrne r3, [r1], #4",
        "strne r3, [r0], #4",
        "ands r2, r2, #3",
        "bxeq lr",
        // 2.
        "2: subs r2, r2, #1",
        "ldrbhs r3, [r1], #1",
        "strbhs r3, [r0], #1",
        "bhi 2b",
        "bx lr",
        // 3.
        "3: tst r0, #3",
        "beq 4f",
        "subs r2, r2, #1",
        "ldrbhs r3, [r1], #1",
        "strbhs r3, [r0], #1",
        "bhi 3b",
        "bx lr",
        "4: ands r3, r1, #3",
        "beq __aeabi_memcpy4",
        "cmp r2, #4",
        "blo 2b",
        "push {{r4-r10}}",
        "lsl r3, r3, #3", // bits of the first word that are not wanted
        "rsb r4, r3, #32",
        "bic r1, r1, #3",
        "ldr r5, [r1], #4",
        "b 6f",
        "5: ldmia r1!, {{r7-r10}}",
        "lsr r5, r5, r3",
        "orr r5, r5, r7, lsl r4",
        "lsr r6, r7, r3",
        "orr r6, r6, r8, lsl r4",
        "lsr r7, r8, r3",
        "orr r7, r7, r9, lsl r4",
        "lsr r8, r9, r3",
        "orr r8, r8, r10, lsl r4",
        "stmia r0!, {{r5-r8}}",
        "mov r5, r10",
        "6: subs r2, r2, #16",
        "bhs 5b",
        "adds r2, r2, #12",
        "bmi 8f",
        "7: lsr r12, r5, r3",
        "ldr r5, [r1], #4",
        "orr r12, r12, r5, lsl r4",
        "str r12, [r0], #4",
        "subs r2, r2, #4",
        "bhs 7b",
        "8: add r2, r2, #4",
        "sub r1, r1, #4",
        "add r1, r1, r3, lsr #3",
        "pop {{r4-r10}}",
        "b 2b",
    )
}

/// Clears `len` bytes; as [`__aeabi_memcpy`].
///
/// # Safety
///
/// As [`core::ptr::write_bytes`].
#[unsafe(no_mangle)]
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(crate) unsafe extern "C" fn __aeabi_memclr(to: *mut u8, len: usize) {
    naked_asm!(
        // Functions, so that calls from T32 change the instruction set.
        ".global __aeabi_memclr4, __aeabi_memclr8",
        ".type __aeabi_memclr4, %function",
        ".type __aeabi_memclr8, %function",
        // 1.
        "tst r0, #3",
        "mov r3, #0",
        "bne 2f",
        "__aeabi_memclr4:",
        "__aeabi_memclr8:",
        "mov r3, #0",
        "mov r12, #0",
        "subs r1, r1, #8",
        "1: stmhs r0!, {{r3, r12}}",
        "subshs r1, r1, #8",
        "bhs 1b",
        "tst r1, #4",
        "strne r3, [r0], #4",
        "and r1, r1, #3",
        // 2.
        "2: subs r1, r1, #1",
        "strbhs r3, [r0], #1",
        "bhi 2b",
        "bx lr",
    )
}
