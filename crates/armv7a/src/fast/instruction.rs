//! Trapped A32 instructions of guest kernels: which, and those of p15.
//!
//! Only instructions without a condition, and only the registers and operations that
//! kernels use all the time. Budgets `trap.cp15`, `trap.sensitive`, `syscall.down`.
//!
//! # Why a plain load
//!
//! The word that trapped was fetched, so the guest may read it (short descriptors have no
//! execute-only) and the current view maps it. Should the load abort all the same,
//! [`entry::guarded_abort`] goes to the handler.

use super::exception_return::exception_return;
use super::multiple::multiple;
use super::status::{status_immediate, status_register};
use super::{COUNTERS, CP15, DACR, FAST, Fast, STATUS, count, cp15_at, resume};
use crate::entry;
use crate::guarded;
use crate::guest::Guest;
use crate::hypervisor::{CORE, Hypervisor};
use core::arch::naked_asm;
use core::mem::offset_of;
use entresol_vcpu::Cp15;
use entresol_vcpu::cp15::Identity;

/// MRC and MCR of p15 with AL, opc1 0 and CRm 0; Rt, CRn and opc2 left out.
const MASK: u32 = 0xfff0_0f1f;
const READ: u32 = 0xee10_0f10;

/// MCR with AL and opc1 0, Rt left out.
const fn write(crn: u32, crm: u32, opc2: u32) -> u32 {
    0xee00_0f10 | crn << 16 | opc2 << 5 | crm
}

/// By CRn and opc2: the word of the guest that a read with opc1 0 and CRm 0 gives; 0 for what
/// is not simply a word.
static READS: [u8; 128] = {
    const fn word(field: usize) -> u8 {
        (cp15_at(field) / 4) as u8
    }
    const fn identity(field: usize) -> u8 {
        word(offset_of!(Cp15, identity) + field)
    }
    const fn at(crn: usize, opc2: usize) -> usize {
        crn * 8 + opc2
    }
    let mut table = [0; 128];
    table[at(0, 0)] = identity(offset_of!(Identity, midr));
    table[at(0, 1)] = identity(offset_of!(Identity, ctr));
    table[at(0, 5)] = identity(offset_of!(Identity, mpidr));
    table[at(1, 0)] = word(offset_of!(Cp15, sctlr));
    table[at(1, 1)] = word(offset_of!(Cp15, actlr));
    table[at(1, 2)] = word(offset_of!(Cp15, cpacr));
    table[at(2, 0)] = word(offset_of!(Cp15, ttbr0));
    table[at(2, 1)] = word(offset_of!(Cp15, ttbr1));
    table[at(2, 2)] = word(offset_of!(Cp15, ttbcr));
    table[at(3, 0)] = word(offset_of!(Cp15, dacr));
    table[at(5, 0)] = word(offset_of!(Cp15, dfsr));
    table[at(5, 1)] = word(offset_of!(Cp15, ifsr));
    table[at(6, 0)] = word(offset_of!(Cp15, dfar));
    table[at(6, 2)] = word(offset_of!(Cp15, ifar));
    table[at(12, 0)] = word(offset_of!(Cp15, vbar));
    table[at(13, 1)] = word(offset_of!(Cp15, contextidr));
    table[at(13, 4)] = word(offset_of!(Cp15, tpidrprw));
    table
};

const _: () = assert!(cp15_at(size_of::<Cp15>()) < 1024, "a word of it has 8 bits");

/// The vector for undefined instructions. 12 instructions to where the class is known.
///
/// 1. Save; 2. an A32 instruction of a guest; 3. its word; 4. by the coprocessor that it or its
/// trap word names. From here on `r0` is free, `r1` the status, `r2` the word, `r4` the virtual
/// status, `lr` the next instruction.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn undefined() {
    naked_asm!(
        // 1.
        "stmia sp, {{r0-r14}}^",
        "mrs r1, spsr",
        // 2. User mode is 0x10, T is 0x20.
        "tst r1, #0x2f",
        "bne {slow}",
        // 3.
        ".globl entresol_fast_fetch",
        "entresol_fast_fetch:",
        "ldr r2, [lr, #-4]",
        "ldr r4, [sp, #{STATUS}]",
        // 4.
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
        "b {slow}",
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
        system = sym system,
        slow = sym entry::undefined_saved,
    )
}

/// MRC of p15. 24 instructions.
///
/// 1. Is it a read that the table knows, by a kernel, to a register that is not pc; 2. do it.
#[unsafe(naked)]
unsafe extern "C" fn system() {
    naked_asm!(
        // 1.
        "tst r4, #0xf",
        "beq {slow}",
        "ldr r3, ={MASK}",
        "and r3, r3, r2",
        "ldr r5, ={READ}",
        "cmp r3, r5",
        "bne {write}",
        "ubfx r5, r2, #16, #4",
        "ubfx r6, r2, #5, #3",
        "add r5, r6, r5, lsl #3",
        "ldr r6, ={reads}",
        "ldrb r5, [r6, r5]",
        "ubfx r6, r2, #12, #4",
        "cmp r5, #0",
        "cmpne r6, #15",
        "beq {slow}",
        // 2.
        "ldr r5, [sp, r5, lsl #2]",
        "str r5, [sp, r6, lsl #2]",
        count!("CP15"),
        resume!(),
        MASK = const MASK,
        READ = const READ,
        COUNTERS = const COUNTERS,
        CP15 = const CP15,
        reads = sym READS,
        write = sym system_write,
        slow = sym entry::undefined_saved,
    )
}

/// MCR of p15 by a kernel.
///
/// 1. Which; the value in `r0`; 2. thread registers; 3. DACR, if shadow entries stay as they
/// are ([`Shadow::domains_matter`](crate::shadow::Shadow::domains_matter)); 4. a line of a
/// cache, if it is mapped; 5. branch predictions.
#[unsafe(naked)]
unsafe extern "C" fn system_write() {
    naked_asm!(
        // 1.
        "ubfx r0, r2, #12, #4",
        "cmp r0, #15",
        "beq {slow}",
        "ldr r0, [sp, r0, lsl #2]",
        "bic r2, r2, #0xf000",
        "ldr r3, ={FLUSH}",
        "cmp r2, r3",
        "ldrne r3, ={CLEAN}",
        "cmpne r2, r3",
        "ldrne r3, ={CLEAN_UNIFICATION}",
        "cmpne r2, r3",
        "beq 4f",
        "ldr r3, ={INSTRUCTION}",
        "cmp r2, r3",
        "beq 6f",
        "ldr r3, ={TPIDRURO}",
        "cmp r2, r3",
        "beq 2f",
        "ldr r3, ={DOMAINS}",
        "cmp r2, r3",
        "beq 3f",
        "ldr r3, ={BRANCHES}",
        "cmp r2, r3",
        "beq 5f",
        "ldr r3, ={TPIDRPRW}",
        "cmp r2, r3",
        "bne {slow}",
        // 2.
        "str r0, [sp, #{KERNEL_THREAD}]",
        "b 9f",
        "2: str r0, [sp, #{THREAD}]",
        "mcr p15, 0, r0, c13, c0, 3",   // TPIDRURO
        "b 9f",
        // 3.
        "3: ldr r3, [sp, #{DACR}]",
        "eors r5, r0, r3",
        "beq 9f",
        "add r12, sp, #{FAST}",
        "ldr r6, [r12]",                // slow: the MMU may be off
        "ldr r7, [r12, #{BAKED}]",
        "tst r5, r7",
        "cmpeq r6, #0",
        "bne {slow}",
        "and r3, r3, r3, lsr #1",       // managers
        "and r5, r0, r0, lsr #1",
        "eor r3, r3, r5",
        "ldr r7, =0x55555555",
        "tst r3, r7",
        "bne {slow}",
        "str r0, [sp, #{DACR}]",
        "and r0, r0, r7",
        "orr r0, r0, #0x40000000",      // the window's domain is a client
        "str r0, [sp, #{MACHINE_DACR}]",
        "ldr r3, ={core} + {CORE_DACR}",
        "str r0, [r3]",
        "mcr p15, 0, r0, c3, c0, 0",    // DACR
        "isb",
        "b 9f",
        // 4.
        "6: mov r8, lr",
        "bl {invalidate}",
        "b 7f",
        "4: mov r8, lr",
        "bl {flush}",
        "7: mov lr, r8",
        "cmp r1, #0",
        "bne 9f",
        "b {slow}",
        // 5.
        "5: mcr p15, 0, r0, c7, c5, 6", // BPIALL
        "9:",
        count!("CP15"),
        resume!(),
        FLUSH = const write(7, 14, 1),
        CLEAN = const write(7, 10, 1),
        CLEAN_UNIFICATION = const write(7, 11, 1),
        INSTRUCTION = const write(7, 5, 1),
        BRANCHES = const write(7, 5, 6),
        TPIDRURO = const write(13, 0, 3),
        TPIDRPRW = const write(13, 0, 4),
        DOMAINS = const write(3, 0, 0),
        THREAD = const cp15_at(offset_of!(Cp15, tpidruro)),
        KERNEL_THREAD = const cp15_at(offset_of!(Cp15, tpidrprw)),
        DACR = const DACR,
        FAST = const FAST,
        BAKED = const offset_of!(Fast, baked),
        MACHINE_DACR = const offset_of!(Guest, dacr),
        CORE_DACR = const offset_of!(Hypervisor, dacr),
        COUNTERS = const COUNTERS,
        CP15 = const CP15,
        core = sym CORE,
        flush = sym guarded::flush_data_line,
        invalidate = sym guarded::invalidate_instruction_line,
        slow = sym entry::undefined_saved,
    )
}
