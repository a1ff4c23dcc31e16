//! A guest that only executes, to see from outside when it does: measures time slots.
//!
//! The first VM passes `at_slot` every ten instructions, the other does the same elsewhere. So what
//! is longer than ten instructions from one passage to the next is the time in which the first did
//! not run. No other guest has code at that address: seen from outside, it would pass there, too.
//! Ends never.
#![no_std]
#![no_main]

assembly::guest!(
    labels: "at_slot",
    r#"
_start:
    ldr     r0, =0x86000001                 // VmIndex
    hvc     #0
    cmp     r0, #0
    bne     2f
    b       at_slot
    .ltorg
    .balign 0x8000
at_slot:
    .rept   9
    nop
    .endr
    b       at_slot
2:  .rept   9
    nop
    .endr
    b       2b
    "#
);
