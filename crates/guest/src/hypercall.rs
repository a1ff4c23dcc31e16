//! What a guest asks of Entresol, and of PSCI, by `HVC #0`.
//!
//! Without Entresol, PSCI answers its own calls and refuses the others; a board
//! without PSCI has only semihosting to end a run.

use crate::board;
use core::arch::asm;
use entresol_abi::hypercall::{Function, NOT_SUPPORTED};

/// Makes the call `number` with three arguments; returns `r0`.
///
/// The number is not checked: refusing a bad one is the hypervisor's task.
#[must_use]
pub fn raw(number: u32, arguments: [u32; 3]) -> u32 {
    let result;
    // SAFETY: the callee preserves every other register and touches no memory that
    // the arguments do not name; no function of the interface takes an address.
    unsafe {
        asm!(
            ".arch_extension virt",
            "hvc #0",
            inout("r0") number => result,
            in("r1") arguments[0],
            in("r2") arguments[1],
            in("r3") arguments[2],
            options(nostack, preserves_flags),
        );
    }
    result
}

/// Makes the call `function` with one argument.
#[must_use]
pub fn call(function: Function, argument: u32) -> u32 {
    raw(function as u32, [argument, 0, 0])
}

/// Whether Entresol is below.
#[must_use]
pub fn is_present() -> bool {
    board::IS_VIRTUAL_BOARD && call(Function::Version, 0) != NOT_SUPPORTED
}

/// Gives another VM an order of [`entresol_abi::control`], or asks for its state.
#[must_use]
pub fn control(vm: u32, order: u32) -> u32 {
    raw(Function::VmControl as u32, [vm, order, 0])
}

/// This VM is alive, and will say so again in the time that the manifest gives (`heartbeat`).
pub fn heartbeat() {
    let _ = call(Function::Heartbeat, 0);
}

/// By `microseconds` from now this will have been called again; 0: nothing more is promised.
pub fn deadline(microseconds: u32) {
    let _ = call(Function::Deadline, microseconds);
}

/// This VM cannot go on, for the reason `code`. Returns only if the manifest lets it go on.
pub fn panic(code: u32) {
    let _ = call(Function::Panic, code);
}

/// Whether this VM has what is its pair's; the backup has not.
#[must_use]
pub fn is_active() -> bool {
    call(Function::Role, 0) != 0
}

/// How often this VM was started, from 1; 1 without Entresol.
#[must_use]
pub fn starts() -> u32 {
    if is_present() { call(Function::Starts, 0) } else { 1 }
}

/// Ends the run. Without Entresol the status is lost where PSCI ends it.
pub fn exit(status: u32) -> ! {
    if board::IS_VIRTUAL_BOARD {
        let _ = call(Function::Exit, status);
        let _ = call(Function::PsciSystemOff, 0);
    } else {
        semihosting_exit(status);
    }
    loop {
        core::hint::spin_loop();
    }
}

/// `SYS_EXIT_EXTENDED` with `ADP_Stopped_ApplicationExit` (Arm 100863, 6.8).
fn semihosting_exit(status: u32) {
    let block = [0x2_0026, status];
    // SAFETY: the call reads `block` and does not return.
    unsafe {
        asm!("svc #0x123456", in("r0") 0x20, in("r1") block.as_ptr());
    }
}
