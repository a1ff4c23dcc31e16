//! From a guest into the hypervisor and back: vectors, save, restore.
//!
//! Nothing is decided here: what happens most is settled in [`fast`], the handlers in
//! [`trap`](crate::trap) decide the rest.
//!
//! # Why this shape
//!
//! While a guest runs, the stack pointers of the four exception modes all hold the
//! address of its [`Guest`], whose first field is its [`Vcpu`]. So a vector saves the
//! guest with one `stm ^` and no scratch register. Rust runs in Supervisor mode on
//! the core's stack, with interrupts masked; what takes long is [`work`], which
//! has a stack and vectors of its own.
//!
//! # Invariants
//!
//! - A guest runs in User mode only, with interrupts unmasked.
//! - `SP_und`, `SP_abt`, `SP_irq` and, while a guest runs, `SP_svc` are the address of the
//!   guest that [`resume`] was given. Kept by [`set_guest`] and [`resume`].
//! - The only instructions of the hypervisor that may abort are those of
//!   [`guarded`](crate::guarded), and those in [`fast`] that [`guarded_abort`] lists.
//!
//! # Cost
//!
//! In instructions, without the handler: 12 in, 6 out.
//!
//! Manual: ARM DDI 0406C, B1.8 (exceptions), B9.3.5 (LDM user registers).

use crate::express::express;
use crate::fast;
use crate::guarded;
use crate::guest::Guest;
use crate::hypervisor::Hypervisor;
use crate::timer::open_counters_text;
use crate::trap;
use crate::work;
use core::arch::naked_asm;
use core::mem::offset_of;
use entresol_vcpu::Cp15;
use entresol_vcpu::state::Vcpu;

const PC: usize = offset_of!(Guest, vcpu) + offset_of!(Vcpu, pc);
const PSR: usize = offset_of!(Guest, vcpu) + offset_of!(Vcpu, psr);
const STACK: usize = offset_of!(Guest, stack);
pub(crate) const SCRATCH: usize = offset_of!(Guest, scratch);

const _: () = assert!(offset_of!(Guest, vcpu) == 0);
const _: () = assert!(offset_of!(Vcpu, regs) == 0);

/// Calls `$handler(guest) -> guest` for a guest whose registers are saved, then resumes what
/// it returned.
///
/// 1. Where the guest was and its status; 2. Supervisor mode, stack.
macro_rules! saved {
    ($name:ident, $handler:path, $save:literal) => {
        #[unsafe(naked)]
#[instruction_set(arm::a32)]
        pub(crate) unsafe extern "C" fn $name() {
            naked_asm!(
                $save,
                "mrs r1, spsr",
                "str lr, [sp, #{PC}]",
                "str r1, [sp, #{PSR}]",
                "mov r0, sp",
                "cps #0x13",
                "ldr sp, [r0, #{STACK}]",
                "bl {handler}",
                "b {resume}",
                PC = const PC,
                PSR = const PSR,
                STACK = const STACK,
                handler = sym $handler,
                resume = sym resume,
            )
        }
    };
}

// The return address is that of the next instruction for SVC; the preferred return
// address of the others is lr minus an offset (B1.8.3, table B1-7). That of an undefined
// instruction depends on the instruction set, so its handler subtracts. The first four are
// what the fast paths leave over: there, registers are saved and lr is adjusted.
saved!(undefined_saved, trap::undefined, "");
saved!(supervisor_call_saved, trap::supervisor_call, "");
saved!(data_abort_saved, trap::data_abort, "");
saved!(prefetch_abort_saved, trap::prefetch_abort, "");
// These get the word that trapped; DFSR and DFAR.
saved!(timer_saved, Hypervisor::timed, "");
saved!(drop_saved, Hypervisor::invalidated, "");
saved!(space_saved, Hypervisor::changed_space, "");
saved!(device_saved, trap::device, "mov r2, r9\nmov r3, r10");

/// An interrupt: the express, the guest's own timer, or the handler. As in [`saved!`].
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(crate) unsafe extern "C" fn interrupt() {
    naked_asm!(
        "stmia sp, {{r0-r14}}^",
        "sub lr, lr, #4",
        "mrs r1, spsr",
        "str lr, [sp, #{PC}]",
        "str r1, [sp, #{PSR}]",
        "mov r0, sp",
        "cps #0x13",
        "ldr sp, [r0, #{STACK}]",
        "bl {express}",
        "bl {own}",
        "bl {handler}",
        "b {resume}",
        PC = const PC,
        PSR = const PSR,
        STACK = const STACK,
        express = sym express,
        own = sym fast::own::own,
        handler = sym trap::interrupt,
        resume = sym resume,
    )
}

/// A data abort in a privileged mode. A guarded access returns failure to its caller; one of a
/// fast path goes to the handler; any other is the end. Only `r0` to `r3` may be lost:
/// those of a guarded access.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(crate) unsafe extern "C" fn guarded_abort() {
    naked_asm!(
        "sub lr, lr, #8",
        "ldr r2, ={first}",
        "sub r2, lr, r2",
        "cmp r2, #{len}",
        "ldrlo lr, ={failed}",
        "movslo pc, lr",
        "ldr r2, =entresol_fast_device",
        "cmp r2, lr",
        "ldreq lr, =entresol_fast_again",
        "movseq pc, lr",
        "adr r2, 6f",
        "5: ldr r3, [r2], #4",
        "cmp r3, #0",
        "beq {broken}",
        "cmp r3, lr",
        "bne 5b",
        "ldr lr, ={saved}",
        "movs pc, lr",
        "6: .word entresol_fast_fetch, entresol_fast_sample, entresol_fast_loop",
        ".word entresol_fast_load, entresol_fast_store",
        ".word entresol_fast_first, entresol_fast_last",
        ".word entresol_fast_first_pc, entresol_fast_last_pc",
        ".word entresol_fast_store_sp, entresol_fast_store_lr",
        ".word 0",
        first = sym guarded::load_word,
        len = const guarded::CODE_LEN,
        failed = sym guarded::failed,
        saved = sym undefined_saved,
        broken = sym broken_data_abort,
    )
}

/// Resumes a guest: 1. its status; 2. its registers; 3. User mode.
///
/// # Safety
///
/// `guest` is the one of the last [`set_guest`], its view is current, and its `psr` is a
/// legal return state for User mode.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(crate) unsafe extern "C" fn resume(guest: *mut Guest) -> ! {
    naked_asm!(
        "mov sp, r0",
        "ldr r1, [sp, #{PSR}]",
        "ldr lr, [sp, #{PC}]",
        "msr spsr_cxsf, r1",
        "ldmia sp, {{r0-r14}}^",
        "movs pc, lr",
        PC = const PC,
        PSR = const PSR,
    )
}

/// Makes `guest` the one that exceptions save, and that has opened counters.
///
/// # Safety
///
/// Supervisor mode; `guest` lives until another takes its place.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(crate) unsafe extern "C" fn set_guest(guest: *mut Guest) {
    naked_asm!(
        "cps #0x17",
        "mov sp, r0",
        "cps #0x1b",
        "mov sp, r0",
        "cps #0x12",
        "mov sp, r0",
        "cps #0x13",
        open_counters_text!("r0"),
        "bx lr",
        COUNTER = const offset_of!(Guest, counter),
        COUNTER_CONTROL = const offset_of!(Guest, vcpu) + offset_of!(Vcpu, cp15)
            + offset_of!(Cp15, cntkctl),
    )
}

/// Calls [`trap::broken`] with what broke: an exception of the hypervisor itself.
macro_rules! broken {
    ($name:ident, $kind:literal) => {
        #[unsafe(naked)]
#[instruction_set(arm::a32)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                concat!("mov r0, #", $kind),
                "mov r1, lr",
                "mrs r2, spsr",
                "cps #0x13",
                "b {broken}",
                broken = sym trap::broken,
            )
        }
    };
}

broken!(broken_reset, 0);
broken!(broken_data_abort, 4);
broken!(broken_reserved, 5);
broken!(broken_fast_interrupt, 7);

/// Exception vectors that differ in what handles undefined instructions, `svc` and interrupts.
///
/// # Safety
///
/// Not to be called; for VBAR.
macro_rules! vectors {
    ($name:ident, $undefined:path, $supervisor_call:path, $interrupt:path) => {
        #[unsafe(naked)]
#[instruction_set(arm::a32)]
        #[unsafe(link_section = ".text.vectors")]
        pub(crate) unsafe extern "C" fn $name() {
            naked_asm!(
                ".p2align 5",
                "b {reset}",
                "b {undefined}",
                "b {supervisor_call}",
                "b {prefetch_abort}",
                "b {data_abort}",
                "b {reserved}",
                "b {interrupt}",
                "b {fast_interrupt}",
                reset = sym broken_reset,
                undefined = sym $undefined,
                supervisor_call = sym $supervisor_call,
                prefetch_abort = sym fast::abort::prefetch_abort,
                data_abort = sym fast::abort::data_abort,
                reserved = sym broken_reserved,
                interrupt = sym $interrupt,
                fast_interrupt = sym broken_fast_interrupt,
            )
        }
    };
}

vectors!(vectors, fast::instruction::undefined, fast::system_call::supervisor_call, interrupt);
vectors!(
    vectors_sampling,
    fast::instruction::undefined_sampling,
    fast::system_call::supervisor_call,
    interrupt
);
vectors!(
    vectors_joint,
    fast::instruction::undefined,
    fast::system_call::supervisor_call_joint,
    interrupt
);
vectors!(
    vectors_joint_sampling,
    fast::instruction::undefined_sampling,
    fast::system_call::supervisor_call_joint,
    interrupt
);
vectors!(
    vectors_working,
    fast::instruction::undefined,
    fast::system_call::supervisor_call,
    work::interrupted
);
