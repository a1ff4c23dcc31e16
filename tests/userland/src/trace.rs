//! A debugger: breakpoints in another process, its registers, its memory.

use crate::linux;
use crate::signals::SIGTRAP;
use crate::{Wrong, ensure};
use core::arch::naked_asm;

const TRACE_ME: u32 = 0;
const PEEK_TEXT: u32 = 1;
const POKE_TEXT: u32 = 4;
const CONTINUE: u32 = 7;
const GET_REGISTERS: u32 = 12;
const SET_REGISTERS: u32 = 13;
const SIGSTOP: u32 = 19;
/// The undefined instruction that the kernel takes for a breakpoint.
const BREAKPOINT: u32 = 0xe7f0_01f0;
const PC: usize = 15;

fn ptrace(request: u32, process: u32, address: u32, data: u32) -> i32 {
    // SAFETY: the callers pass places of this process for what is written.
    unsafe { linux::syscall(linux::PTRACE, [request, process, address, data, 0, 0]) }
}

fn stopped_by(process: u32) -> Option<u32> {
    let status = linux::wait(process);
    (status & 0xff == 0x7f).then_some(status >> 8 & 0xff)
}

/// What is debugged: three steps, each adding to r0.
#[unsafe(naked)]
extern "C" fn traced(value: u32) -> u32 {
    naked_asm!("add r0, r0, #1", "add r0, r0, #2", "add r0, r0, #4", "bx lr")
}

/// Checks that a breakpoint stops a process, which then goes on with what was there.
pub(crate) fn check() -> Result<(), Wrong> {
    let child = linux::fork(|| {
        ptrace(TRACE_ME, 0, 0, 0);
        crate::signals::raise(SIGSTOP);
        core::hint::black_box(traced)(10)
    });
    ensure(stopped_by(child) == Some(SIGSTOP), "a traced process stops")?;
    let place = traced as *const () as u32 + 4;
    let mut original = 0_u32;
    ptrace(PEEK_TEXT, child, place, (&raw mut original).addr() as u32);
    ensure(original == 0xe280_0002, "the code of a traced process")?;
    ptrace(POKE_TEXT, child, place, BREAKPOINT);
    ptrace(CONTINUE, child, 0, 0);
    ensure(stopped_by(child) == Some(SIGTRAP), "a breakpoint stops a process")?;
    let mut registers = [0_u32; 18];
    let at = (&raw mut registers).addr() as u32;
    ptrace(GET_REGISTERS, child, 0, at);
    ensure(registers[0] == 11 && registers[PC] == place, "the registers at a breakpoint")?;
    ptrace(POKE_TEXT, child, place, original);
    let mut changed = registers;
    changed[0] = 20;
    ptrace(SET_REGISTERS, child, 0, (&raw const changed).addr() as u32);
    ptrace(CONTINUE, child, 0, 0);
    ensure(linux::wait(child) >> 8 == 26, "a process goes on behind its breakpoint")?;
    // The copy that was patched was the child's own.
    ensure(traced(10) == 17, "the tracer's own code")
}
