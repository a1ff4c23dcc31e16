//! Applications at PL0: entered like a call, left by their exceptions.
//!
//! [`enter`] runs an application until it makes a supervisor call or commits a fault,
//! and returns which. Interrupts do not end it: the guest's own interrupt handler
//! returns into the application. An application may be of either instruction set, whatever
//! the kernel is; the assembly here keeps to what both have, so no LDM with ^.
//!
//! # Invariants
//!
//! 1. One application runs at a time, on the one processor: [`enter`] is not called by a
//!    handler. `CONTEXT` belongs to the call of [`enter`] in progress.

use core::arch::naked_asm;
use core::mem::offset_of;

/// Why an application stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stop {
    /// Undefined instruction.
    Undefined = 1,
    /// Supervisor call; its arguments are in the registers.
    Call = 2,
    /// It fetched what it may not.
    Prefetch = 3,
    /// It accessed what it may not.
    Data = 4,
}

/// The registers of an application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Registers {
    /// r0 to r12.
    pub r: [u32; 13],
    /// Stack pointer.
    pub sp: u32,
    /// Link register.
    pub lr: u32,
    /// Where it continues; after an exception, that exception's link register.
    pub pc: u32,
    /// Its status register; the mode must be User.
    pub psr: u32,
    stop: u32,
}

impl Registers {
    /// Starts at `pc` in User mode, interrupts let in; every other register is 0. Bit 0 of
    /// `pc` tells T32, as for a branch.
    #[must_use]
    pub fn at(pc: u32) -> Self {
        Self { pc: pc & !1, psr: 0x10 | (pc & 1) << 5, ..Self::default() }
    }
}

static mut CONTEXT: *mut Registers = core::ptr::null_mut();

/// Runs the application from `registers` until its next exception.
///
/// `registers` then hold what it left; `pc` is the exception's link register as the
/// processor set it: the next instruction for a call.
///
/// # Safety
///
/// The current table maps the kernel, and `registers.psr` is of User mode. The guest's
/// vectors are those of this module for everything but interrupts.
pub unsafe fn enter(registers: &mut Registers) -> Stop {
    // SAFETY: the caller's promise.
    unsafe { switch(registers) };
    match registers.stop {
        1 => Stop::Undefined,
        2 => Stop::Call,
        3 => Stop::Prefetch,
        _ => Stop::Data,
    }
}

#[unsafe(naked)]
unsafe extern "C" fn switch(registers: *mut Registers) {
    naked_asm!(
        // 1. Keep the kernel's registers.
        "push {{r4-r11, lr}}",
        "ldr r1, ={context}",
        "str r0, [r1]",
        // 2. The application's: sp and lr, status, the rest.
        "cps #0x1f",
        "ldr sp, [r0, #{sp}]",
        "ldr lr, [r0, #{lr}]",
        "cps #0x13",
        "ldr lr, [r0, #{pc}]",
        "ldr r1, [r0, #{psr}]",
        "msr spsr_cxsf, r1",
        "ldm r0, {{r0-r12}}",
        "movs pc, lr",
        ".ltorg",
        context = sym CONTEXT,
        sp = const offset_of!(Registers, sp),
        lr = const offset_of!(Registers, lr),
        pc = const offset_of!(Registers, pc),
        psr = const offset_of!(Registers, psr),
    )
}

macro_rules! stops {
    ($($(#[$doc:meta])* $name:ident $number:literal in $mode:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// Reached from a vector table only, while [`enter`] runs an application.
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            naked_asm!(
                // 2'. The application's registers.
                "push {{r0, r1}}",
                "ldr r0, ={context}",
                "ldr r0, [r0]",
                "str lr, [r0, #{pc}]",
                "add lr, r0, #8",
                "stm lr, {{r2-r12}}",
                "cps #0x1f",
                "str sp, [r0, #{sp}]",
                "str lr, [r0, #{lr}]",
                "cps #{mode}",
                "mrs r2, spsr",
                "str r2, [r0, #{psr}]",
                "mov r2, #{number}",
                "str r2, [r0, #{stop}]",
                "pop {{r2, r3}}",
                "stm r0, {{r2, r3}}",
                // 1'. The kernel's, in its own mode.
                "cps #0x13",
                "pop {{r4-r11, pc}}",
                ".ltorg",
                context = sym CONTEXT,
                number = const $number,
                mode = const $mode,
                sp = const offset_of!(Registers, sp),
                lr = const offset_of!(Registers, lr),
                pc = const offset_of!(Registers, pc),
                psr = const offset_of!(Registers, psr),
                stop = const offset_of!(Registers, stop),
            )
        }
    )*};
}

stops! {
    /// Handler of undefined instructions.
    undefined 1 in 0x1b;
    /// Handler of supervisor calls.
    call 2 in 0x13;
    /// Handler of prefetch aborts.
    prefetch 3 in 0x17;
    /// Handler of data aborts.
    data 4 in 0x17;
}
