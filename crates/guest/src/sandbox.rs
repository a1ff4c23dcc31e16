//! Runs a few instructions with a whole processor state, until any exception.
//!
//! [`run`] loads every register of every mode, jumps, and returns what the next
//! exception found: every register of every mode, the exception and how it was entered.
//! Nothing that the instructions do to registers or stacks hurts the caller: no
//! exception mode's stack is used, only memory at fixed addresses.
//!
//! It is slow (each mode is visited twice) and for tests: conformance compares the
//! results, the attack guest survives by them.
//!
//! # Invariants
//!
//! 1. [`run`] is called from supervisor mode with interrupts masked, and not from
//!    a handler: its memory is static.
//! 2. TPIDRPRW is scratch: an exception's first instruction needs one register.

use crate::{cp15, trap, vectors};
use core::arch::naked_asm;
use core::mem::offset_of;

/// Banked registers of an exception mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Bank {
    /// r13.
    pub sp: u32,
    /// r14.
    pub lr: u32,
    /// Saved status.
    pub spsr: u32,
}

/// Everything [`run`] loads and finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct State {
    /// r0 to r12; the last five those of every mode but FIQ.
    pub r: [u32; 13],
    /// Where to start; found: the exception's link register as the processor set it.
    pub pc: u32,
    /// Status to start with; found: the saved status of the exception.
    pub psr: u32,
    /// r13 of User and System mode. Not loaded: [`run`] needs it to jump.
    pub usr_sp: u32,
    /// r14 of User and System mode.
    pub usr_lr: u32,
    /// Supervisor mode.
    pub svc: Bank,
    /// Abort mode.
    pub abt: Bank,
    /// Undefined mode.
    pub und: Bank,
    /// IRQ mode.
    pub irq: Bank,
    /// FIQ mode.
    pub fiq: Bank,
    /// r8 to r12 of FIQ mode.
    pub fiq_r: [u32; 5],
    /// Found: number of the exception's vector.
    pub vector: u32,
    /// Found: status after exception entry.
    pub entry_psr: u32,
    /// Found: DFSR.
    pub dfsr: u32,
    /// Found: IFSR.
    pub ifsr: u32,
    /// Found: DFAR.
    pub dfar: u32,
    /// Found: IFAR.
    pub ifar: u32,
}

/// Vector numbers.
pub mod vector {
    /// Undefined instruction.
    pub const UNDEFINED: u32 = 1;
    /// Supervisor call.
    pub const SVC: u32 = 2;
    /// Prefetch abort.
    pub const PREFETCH: u32 = 3;
    /// Data abort.
    pub const DATA: u32 = 4;
    /// Interrupt.
    pub const IRQ: u32 = 6;
    /// Fast interrupt.
    pub const FIQ: u32 = 7;
}

/// Registers r4 to r11, sp and lr of the caller of [`switch`].
#[repr(C, align(8))]
struct Caller([u32; 10]);

static mut CALLER: Caller = Caller([0; 10]);
static mut LAUNCH: [u32; 2] = [0; 2];
static mut FOUND: State = State::EMPTY;

impl State {
    /// All zero.
    pub const EMPTY: Self = {
        const BANK: Bank = Bank { sp: 0, lr: 0, spsr: 0 };
        Self {
            r: [0; 13],
            pc: 0,
            psr: 0,
            usr_sp: 0,
            usr_lr: 0,
            svc: BANK,
            abt: BANK,
            und: BANK,
            irq: BANK,
            fiq: BANK,
            fiq_r: [0; 5],
            vector: 0,
            entry_psr: 0,
            dfsr: 0,
            ifsr: 0,
            dfar: 0,
            ifar: 0,
        }
    };
}

/// What [`run`] loads into r13 of User and System mode, whatever the state says.
#[must_use]
pub fn initial_usr_sp() -> u32 {
    (&raw const LAUNCH).addr() as u32 + 8
}

/// Runs from `state` until the next exception.
///
/// # Safety
///
/// What runs leaves the caller's memory, translation and devices as they are, or the
/// caller knows how they change. The current mode is supervisor, interrupts are masked.
#[must_use]
pub unsafe fn run(state: &State) -> State {
    let saved = cp15::vbar::read();
    // SAFETY: the sandbox's vectors return to the caller of `switch` below.
    unsafe { trap::set_vectors(sandbox_vectors) }
    // SAFETY: the caller's promise.
    unsafe { switch(state) }
    // SAFETY: these are the vectors from before.
    unsafe { cp15::vbar::write(saved) }
    cp15::isb();
    let found = &raw const FOUND;
    // SAFETY: nothing else runs that could write it.
    unsafe { found.read() }
}

#[unsafe(naked)]
unsafe extern "C" fn switch(state: *const State) {
    naked_asm!(
        // 1. The caller.
        "ldr r1, ={caller}",
        "stm r1, {{r4-r11}}",
        "str sp, [r1, #32]",
        "str lr, [r1, #36]",
        // 2. Every mode's registers.
        "cps #0x11",
        "add r1, r0, #{fiq_r}",
        "ldm r1, {{r8-r12}}",
        "ldr sp, [r0, #{fiq}]",
        "ldr lr, [r0, #{fiq} + 4]",
        "ldr r1, [r0, #{fiq} + 8]",
        "msr spsr_cxsf, r1",
        "cps #0x12",
        "ldr sp, [r0, #{irq}]",
        "ldr lr, [r0, #{irq} + 4]",
        "ldr r1, [r0, #{irq} + 8]",
        "msr spsr_cxsf, r1",
        "cps #0x1b",
        "ldr sp, [r0, #{und}]",
        "ldr lr, [r0, #{und} + 4]",
        "ldr r1, [r0, #{und} + 8]",
        "msr spsr_cxsf, r1",
        "cps #0x17",
        "ldr sp, [r0, #{abt}]",
        "ldr lr, [r0, #{abt} + 4]",
        "ldr r1, [r0, #{abt} + 8]",
        "msr spsr_cxsf, r1",
        "cps #0x13",
        "ldr sp, [r0, #{svc}]",
        "ldr lr, [r0, #{svc} + 4]",
        "ldr r1, [r0, #{svc} + 8]",
        "msr spsr_cxsf, r1",
        "cps #0x1f",
        "ldr lr, [r0, #{usr_lr}]",
        // 3. Jump, with all registers.
        "ldr sp, ={launch}",
        "ldr r1, [r0, #{pc}]",
        "str r1, [sp]",
        "ldr r1, [r0, #{psr}]",
        "str r1, [sp, #4]",
        "clrex",
        "ldm r0, {{r0-r12}}",
        "rfeia sp!",
        ".ltorg",
        caller = sym CALLER,
        launch = sym LAUNCH,
        fiq_r = const offset_of!(State, fiq_r),
        fiq = const offset_of!(State, fiq),
        irq = const offset_of!(State, irq),
        und = const offset_of!(State, und),
        abt = const offset_of!(State, abt),
        svc = const offset_of!(State, svc),
        usr_lr = const offset_of!(State, usr_lr),
        pc = const offset_of!(State, pc),
        psr = const offset_of!(State, psr),
    )
}

macro_rules! entries {
    ($($name:ident $number:literal;)*) => {$(
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                "mcr p15, 0, r0, c13, c0, 4",
                "ldr r0, ={found}",
                "add r0, r0, #4",
                "stm r0, {{r1-r7}}",
                "mov r1, #{number}",
                "b {found_exception}",
                ".ltorg",
                found = sym FOUND,
                number = const $number,
                found_exception = sym found_exception,
            )
        }
    )*};
}

entries! {
    undefined 1;
    svc 2;
    prefetch 3;
    data 4;
    irq 6;
    fiq 7;
}

vectors! {
    /// The vectors while [`run`] is in progress.
    sandbox_vectors: undefined undefined, svc svc, prefetch prefetch, data data, irq irq, fiq fiq,
}

/// Common rest of the handlers: `r0` is 4 bytes into `FOUND`, which has r1 to r7, `r1` the vector.
#[unsafe(naked)]
unsafe extern "C" fn found_exception() {
    naked_asm!(
        // 3'. How the exception was entered.
        "sub r0, r0, #4",
        "str r1, [r0, #{vector}]",
        "str lr, [r0, #{pc}]",
        "mrc p15, 0, r1, c13, c0, 4",
        "str r1, [r0]",
        "mrs r1, cpsr",
        "str r1, [r0, #{entry_psr}]",
        "mrs r1, spsr",
        "str r1, [r0, #{psr}]",
        "mrc p15, 0, r1, c5, c0, 0",
        "str r1, [r0, #{dfsr}]",
        "mrc p15, 0, r1, c5, c0, 1",
        "str r1, [r0, #{ifsr}]",
        "mrc p15, 0, r1, c6, c0, 0",
        "str r1, [r0, #{dfar}]",
        "mrc p15, 0, r1, c6, c0, 2",
        "str r1, [r0, #{ifar}]",
        // 2'. Every mode's registers.
        "cpsid aif, #0x1f",
        "add r1, r0, #32",
        "stm r1, {{r8-r12}}",
        "str sp, [r0, #{usr_lr} - 4]",
        "str lr, [r0, #{usr_lr}]",
        "cps #0x11",
        "add r1, r0, #{fiq_r}",
        "stm r1, {{r8-r12}}",
        "str sp, [r0, #{fiq}]",
        "str lr, [r0, #{fiq} + 4]",
        "mrs r1, spsr",
        "str r1, [r0, #{fiq} + 8]",
        "cps #0x12",
        "str sp, [r0, #{irq}]",
        "str lr, [r0, #{irq} + 4]",
        "mrs r1, spsr",
        "str r1, [r0, #{irq} + 8]",
        "cps #0x1b",
        "str sp, [r0, #{und}]",
        "str lr, [r0, #{und} + 4]",
        "mrs r1, spsr",
        "str r1, [r0, #{und} + 8]",
        "cps #0x17",
        "str sp, [r0, #{abt}]",
        "str lr, [r0, #{abt} + 4]",
        "mrs r1, spsr",
        "str r1, [r0, #{abt} + 8]",
        "cps #0x13",
        "str sp, [r0, #{svc}]",
        "str lr, [r0, #{svc} + 4]",
        "mrs r1, spsr",
        "str r1, [r0, #{svc} + 8]",
        // 1'. The caller.
        "ldr r1, ={caller}",
        "ldm r1, {{r4-r11}}",
        "ldr sp, [r1, #32]",
        "ldr lr, [r1, #36]",
        "bx lr",
        ".ltorg",
        caller = sym CALLER,
        vector = const offset_of!(State, vector),
        pc = const offset_of!(State, pc),
        psr = const offset_of!(State, psr),
        entry_psr = const offset_of!(State, entry_psr),
        dfsr = const offset_of!(State, dfsr),
        ifsr = const offset_of!(State, ifsr),
        dfar = const offset_of!(State, dfar),
        ifar = const offset_of!(State, ifar),
        usr_lr = const offset_of!(State, usr_lr),
        fiq_r = const offset_of!(State, fiq_r),
        fiq = const offset_of!(State, fiq),
        irq = const offset_of!(State, irq),
        und = const offset_of!(State, und),
        abt = const offset_of!(State, abt),
        svc = const offset_of!(State, svc),
    )
}

/// Where the sandbox's vectors are, with bit 0 set if they are T32: for guests that test
/// other places for vectors.
#[must_use]
pub fn vectors_address() -> u32 {
    sandbox_vectors as *const () as usize as u32
}
