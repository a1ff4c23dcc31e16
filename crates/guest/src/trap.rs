//! Exceptions: a vector table, and a stack for every mode.
//!
//! A guest names its handlers in [`vectors!`](crate::vectors); each is a naked function that the
//! processor reaches by one branch, so a guest controls the first instruction of its
//! handlers. There is no common frame: [`app`](crate::app) saves what an
//! application needs, [`sandbox`](crate::sandbox) everything.
//!
//! Exceptions are taken in the instruction set that the table is compiled for, A32 or T32
//! (`-C target-feature=+thumb-mode`). So the assembly here and in the modules that define
//! handlers keeps to what both sets have.
//!
//! # Invariants
//!
//! 1. Exceptions of one mode do not nest: each mode's stack starts where [`install`]
//!    put it.

use crate::{cp15, hypercall, println};
use core::arch::naked_asm;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// Bytes of the stack of each exception mode.
const STACK_LEN: usize = 0x800;

#[repr(C, align(8))]
struct Stacks([[u8; STACK_LEN]; 4]);

static mut STACKS: Stacks = Stacks([[0; STACK_LEN]; 4]);

/// A vector table: eight branches of 4 bytes, at a multiple of 32 bytes.
pub type Vectors = unsafe extern "C" fn();

/// Defines a vector table from the handlers' names.
#[macro_export]
macro_rules! vectors {
    ($(#[$doc:meta])* $name:ident: undefined $und:path, svc $svc:path, prefetch $pabt:path,
     data $dabt:path, irq $irq:path, fiq $fiq:path $(,)?) => {
        $(#[$doc])*
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            ::core::arch::naked_asm!(
                ".balign 32",
                "b {fiq}", // Not used: reset.
                "b {und}",
                "b {svc}",
                "b {pabt}",
                "b {dabt}",
                "b {fiq}", // Not used: hypervisor call.
                "b {irq}",
                "b {fiq}",
                und = sym $und,
                svc = sym $svc,
                pabt = sym $pabt,
                dabt = sym $dabt,
                irq = sym $irq,
                fiq = sym $fiq,
            )
        }
    };
}

static ABORTS: AtomicU32 = AtomicU32::new(0);

/// How many loads and stores [`leave_out`] has left out.
pub fn aborts() -> u32 {
    ABORTS.load(SeqCst)
}

/// A handler of data aborts: a load or store in A32 that aborted is left out, and counted.
///
/// # Safety
///
/// Reached from a vector table only.
#[unsafe(naked)]
pub unsafe extern "C" fn leave_out() {
    naked_asm!(
        "push {{r0, r1}}",
        "ldr r0, ={aborts}",
        "ldr r1, [r0]",
        "add r1, r1, #1",
        "str r1, [r0]",
        "pop {{r0, r1}}",
        "subs pc, lr, #4",
        ".ltorg",
        aborts = sym ABORTS,
    )
}

/// Gives every exception mode a stack, and installs the vector table.
///
/// # Safety
///
/// `vectors` is a table made by [`vectors!`](crate::vectors) whose handlers return as their exception
/// demands. The current mode is supervisor mode.
pub unsafe fn install(vectors: Vectors) {
    // SAFETY: no exception mode is in use before its first exception.
    unsafe { set_stacks() }
    // SAFETY: the caller's promise.
    unsafe { set_vectors(vectors) }
}

/// Installs a vector table alone, with the instruction set that exceptions are taken in.
///
/// # Safety
///
/// As for [`install`], and its handlers have the stacks they use.
pub unsafe fn set_vectors(vectors: Vectors) {
    /// SCTLR.TE: exceptions are taken in T32.
    const THUMB_EXCEPTIONS: u32 = 1 << 30;
    // The address of a function in T32 has bit 0 set.
    let address = vectors as usize as u32;
    // SAFETY: the caller's promise.
    unsafe { cp15::vbar::write(address & !1) }
    // All tables of a guest are of one set, so it is never reset.
    if address & 1 != 0 && cp15::sctlr::read() & THUMB_EXCEPTIONS == 0 {
        // SAFETY: the table is of that set.
        unsafe { cp15::sctlr::write(cp15::sctlr::read() | THUMB_EXCEPTIONS) }
    }
    cp15::isb();
}

#[unsafe(naked)]
unsafe extern "C" fn set_stacks() {
    naked_asm!(
        "ldr r0, ={stacks}",
        "mrs r1, cpsr",
        "cps #0x11", // FIQ
        "add r0, r0, #{len}",
        "mov sp, r0",
        "cps #0x12", // IRQ
        "add r0, r0, #{len}",
        "mov sp, r0",
        "cps #0x17", // Abort
        "add r0, r0, #{len}",
        "mov sp, r0",
        "cps #0x1b", // Undefined
        "add r0, r0, #{len}",
        "mov sp, r0",
        "msr cpsr_c, r1",
        "bx lr",
        ".ltorg",
        stacks = sym STACKS,
        len = const STACK_LEN,
    )
}

/// An interrupt vector that calls a function and goes on where it came: `name => function`. With
/// `name => counted function`, that gets what the virtual counter showed first of all.
#[macro_export]
macro_rules! interrupt {
    ($(#[$doc:meta])* $vis:vis $name:ident => counted $handle:path) => {
        // A counter value in r0 and r1 is a 64-bit argument.
        $crate::interrupt!(@ $(#[$doc])* $vis $name, "mrrc p15, 1, r0, r1, c14", $handle);
    };
    ($(#[$doc:meta])* $vis:vis $name:ident => $handle:path) => {
        $crate::interrupt!(@ $(#[$doc])* $vis $name, "", $handle);
    };
    (@ $(#[$doc:meta])* $vis:vis $name:ident, $first:literal, $handle:path) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// Reached from a vector table only.
        #[unsafe(naked)]
        $vis unsafe extern "C" fn $name() {
            ::core::arch::naked_asm!(
                "push {{r0-r3, r12, lr}}",
                $first,
                "bl {handle}",
                "pop {{r0-r3, r12, lr}}",
                "subs pc, lr, #4",
                handle = sym $handle,
            )
        }
    };
}

/// A handler for exceptions that must not happen: says where, and ends the run.
///
/// # Safety
///
/// Reached from a vector table only.
#[unsafe(naked)]
pub unsafe extern "C" fn unexpected() {
    naked_asm!(
        "mov r0, lr",
        "mrs r1, spsr",
        "mrs r2, cpsr",
        "b {report}",
        report = sym report,
    )
}

extern "C" fn report(lr: u32, spsr: u32, cpsr: u32) -> ! {
    println!("unexpected exception: lr={lr:08x} spsr={spsr:08x} cpsr={cpsr:08x}");
    println!(
        "  dfsr={:08x} dfar={:08x} ifsr={:08x} ifar={:08x}",
        cp15::dfsr::read(),
        cp15::dfar::read(),
        cp15::ifsr::read(),
        cp15::ifar::read()
    );
    hypercall::exit(102)
}

/// Lets interrupts in.
#[inline]
pub fn unmask_interrupts() {
    // SAFETY: the guest has installed its vectors before it asks for interrupts.
    unsafe { core::arch::asm!("cpsie i", options(nostack, preserves_flags)) }
}

/// Keeps interrupts out.
#[inline]
pub fn mask_interrupts() {
    // SAFETY: masking has no effect but to delay.
    unsafe { core::arch::asm!("cpsid i", options(nostack, preserves_flags)) }
}

/// Waits until an interrupt is pending, masked or not.
#[inline]
pub fn wait_for_interrupt() {
    // SAFETY: it only waits.
    unsafe { core::arch::asm!("dsb sy", "wfi", options(nostack, preserves_flags)) }
}
