//! A guest kernel's acknowledgement and end of an interrupt of its board, and its looks at its UART's flags.
//!
//! Budgets `linux.tick`, `mmio.uart`: Linux acknowledges twice for each interrupt and ends once, and looks
//! twice at the flags for each byte. What is left to do once it is known that an access is one of the former is
//! what [`quick`] says; anything else is [`device`](super::device)'s.
//!
//! # Why a plain load
//!
//! As in [`instruction`](super::instruction): the word at pc was fetched. Should the load abort all the
//! same, [`entry::guarded_abort`] has the guest try again.

use super::device::Devices;
use super::{COUNTERS, DOMAINS, PENDING, SHARED, count, resume};
use crate::entry;
use crate::express::Express;
use crate::guest::Guest;
use crate::hypervisor::{CORE, Hypervisor};
use crate::shadow;
use core::arch::naked_asm;
use core::mem::offset_of;
use entresol_abi::observe::VmCounters;
use entresol_hv::board::{Board, GIC_INTERFACE, UART};
use entresol_hv::gic::{Gic, quick};
use entresol_hv::pl011::Pl011;
use entresol_rewrite::stub::shared;

const DEVICE: usize = offset_of!(Guest, devices) + Devices::FIRST;

/// A kernel's load or store on a page of its board that it touched lately, as
/// [`data_abort`](super::abort::data_abort) left it: `r0` leads to what is known of the page, `r1` is
/// the status, `r9` DFSR, `r10` DFAR, `lr` pc. 55 instructions to acknowledge, 45 if there is
/// nothing, 60 to end, 50 for the flags.
///
/// (1.) Its interrupt controller's interface or its UART, with the domains it was found under; not in a stub; A32,
/// little-endian, and no express to be settled; 2. LDR or STR of a word, without write-back, not of
/// pc; 3. acknowledge, if anything is to be; 4. end; 5. the load or store did not succeed; 6. flags, by LDR or
/// LDRH.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(super) unsafe extern "C" fn interface() {
    naked_asm!(
        // 1.
        "ldr r4, [r0, #{DEVICE} + 4]",
        "movw r7, #{INTERFACE}",
        "cmp r7, r4, lsr #12",
        "movwne r7, #{UART}",
        "cmpne r7, r4, lsr #12",
        "bne {slow}",
        "ldr r5, [r0, #{DEVICE} + 8]",
        "ldr r3, [sp, #{SHARED}]",
        "ldr r6, [r3, #{DOMAINS}]",
        "cmp r6, r5",
        "bne {slow}",
        "movw r5, #{HOLE}",
        "ldr r5, [sp, r5]",
        "cmp r5, lr, lsr #20",
        "beq {slow}",
        "ldr r6, ={core} + {DISPLACED}",
        "ldr r6, [r6]",
        "cmn r6, #1",
        "tsteq r1, #0x220",
        "bne {slow}",
        // 2.
        "mov r8, r1",
        "mov r12, lr",
        ".globl entresol_fast_device",
        "entresol_fast_device:",
        "ldr r2, [lr]",
        "movw r7, #{UART}",
        "cmp r7, r4, lsr #12",
        "ubfx r6, r2, #12, #4",
        "ubfx r5, r10, #0, #12",
        "lsr r7, r2, #20",
        "bic r7, r7, #8",               // U
        "movw r4, #0xe51",
        "beq 6f",
        "cmp r6, #15",
        "beq {slow}",
        "movw r12, #{GIC}",
        "add r12, r12, sp",
        "subs r5, r5, #0x0c",           // GICC_IAR
        "beq 3f",
        "sub r4, r4, #1",
        "cmp r5, #4",                   // GICC_EOIR
        "cmpeq r7, r4",
        "beq 4f",
        "b {slow}",
        // 3.
        "3: cmp r7, r4",
        "bne {slow}",
        "ldr r5, [r12, #{BEST}]",
        "tst r5, #0x300",
        "bne 9f",
        "ldr r7, [r12, #{QUICK}]",
        "cmp r7, #0",
        "beq {slow}",
        "ldr r4, [r12, #{QUICK} + 4]",
        "ldr r2, [r12, #{PRIORITIES}]",
        "orr r2, r2, r4",
        "str r2, [r12, #{PRIORITIES}]",
        "ldr r2, [r12, #{ACTIVE}]",
        "orr r2, r2, r7",
        "str r2, [r12, #{ACTIVE}]",
        "mov r2, #0",
        "str r2, [r12, #{DELIVERABLE}]",
        "str r2, [sp, #{PENDING}]",
        "str r2, [r3, #{SHARED_PENDING}]",
        "mvn r4, #0",
        "movw r7, #{SPURIOUS}",
        "stmia r12, {{r2, r4, r7}}",    // inputs, first, best
        "9: str r5, [sp, r6, lsl #2]",
        "8:",
        count!("MMIO"),
        "add lr, lr, #4",
        resume!(),
        // 4.
        "4: ldr r5, [sp, r6, lsl #2]",
        "ldr r4, [r12, #{FIRST}]",
        "ldrd r6, r7, [r12, #{PRIORITIES}]",
        "cmn r4, #1",
        "cmpeq r7, #0",
        "bne {slow}",
        "cmp r5, #32",
        "bhs {slow}",
        "ldr r4, [r12, #{CONTROL}]",
        "subs r7, r6, #1",
        "blo {slow}",
        "tst r4, #{SPLIT}",
        "bne {slow}",
        "ldr r2, [r12, #{LATCHED}]",
        "ldr r3, [r12, #{LINE}]",
        "mov r4, #1",
        "orr r2, r2, r3",
        "tst r2, r4, lsl r5",
        "bne {slow}",
        "and r6, r6, r7",
        "str r6, [r12, #{PRIORITIES}]",
        "ldr r2, [r12, #{ACTIVE}]",
        "bic r2, r2, r4, lsl r5",
        "str r2, [r12, #{ACTIVE}]",
        "b 8b",
        // 5.
        ".globl entresol_fast_again",
        "entresol_fast_again:",
        "msr spsr_cxsf, r8",
        "mov lr, r12",
        resume!(),
        // 6.
        "6: cmp r7, r4",
        "beq 7f",
        "movw r4, #0xe15",
        "cmp r7, r4",
        "andeq r2, r2, #0xf0",
        "cmpeq r2, #0xb0",
        "bne {slow}",
        "7: cmp r5, #0x18",             // UARTFR
        "bne {slow}",
        "cmp r6, #15",
        "beq {slow}",
        "movw r5, #{FLAGS}",
        "ldr r5, [sp, r5]",
        "b 9b",
        UART = const UART.0 >> 12,
        FLAGS = const offset_of!(Guest, board) + offset_of!(Board, uart) + Pl011::FLAGS,
        DEVICE = const DEVICE,
        SHARED = const SHARED,
        INTERFACE = const GIC_INTERFACE.0 >> 12,
        DOMAINS = const DOMAINS,
        HOLE = const offset_of!(Guest, shadow) + shadow::HOLE,
        DISPLACED = const offset_of!(Hypervisor, express) + Express::DISPLACED,
        GIC = const offset_of!(Guest, board) + offset_of!(Board, gic),
        BEST = const quick::BEST,
        QUICK = const quick::QUICK,
        PRIORITIES = const quick::PRIORITIES,
        ACTIVE = const quick::ACTIVE,
        DELIVERABLE = const quick::DELIVERABLE,
        PENDING = const PENDING,
        SHARED_PENDING = const shared::PENDING,
        SPURIOUS = const entresol_hv::gic::SPURIOUS,
        FIRST = const quick::FIRST,
        CONTROL = const quick::CONTROL,
        SPLIT = const quick::SPLIT,
        LATCHED = const quick::LATCHED,
        LINE = const quick::LINE,
        COUNTERS = const COUNTERS,
        MMIO = const offset_of!(VmCounters, mmio),
        core = sym CORE,
        slow = sym entry::device_saved,
    )
}

const _: () = assert!(Gic::IRQ == entresol_vcpu::psr::I, "as stubs see what is pending");
