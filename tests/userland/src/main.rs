//! What a user program may rely on, checked one group at a time.
//!
//! `userland NAME` runs one group of checks, `userland` all of them, `userland drift` none. Prints `ok NAME`, or
//! `FAIL NAME: what`, and ends with status 0 or 1. Groups that share the processor fork, and
//! compute in both processes until each was preempted many times. Nothing here knows
//! of Entresol: the program must pass on a bare machine, too.
#![no_std]
#![no_main]
#![expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a 32-bit program for one kernel: addresses are u32 arguments"
)]

mod clock;
mod code;
mod exclusive;
mod float;
mod linux;
mod memory;
mod process;
mod siblings;
mod signals;
mod threads;
mod trace;

use core::arch::naked_asm;
use core::ffi::{CStr, c_char};
use core::fmt;
use linux::println;

/// What was found wrong.
type Wrong = &'static str;
/// A group of checks.
type Group = fn() -> Result<(), Wrong>;

const GROUPS: &[(&str, Group)] = &[
    ("float", float::check),
    ("signals", signals::check),
    ("memory", memory::check),
    ("exclusive", exclusive::check),
    ("futex", exclusive::check_futex),
    ("threads", threads::check),
    ("siblings", siblings::check),
    ("code", code::check),
    ("clock", clock::check),
    ("ptrace", trace::check),
];

/// Entry: hands the stack the kernel built to [`main`].
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    naked_asm!("mov r0, sp", "bic sp, sp, #7", "b {}", sym main)
}

extern "C" fn main(stack: *const usize) -> ! {
    clock::find(stack);
    let wanted = argument(stack, 1).to_bytes();
    if wanted == b"drift" {
        clock::drift();
    }
    let mut failed = 0;
    for (name, group) in GROUPS {
        if wanted.is_empty() || wanted == name.as_bytes() {
            match group() {
                Ok(()) => println(format_args!("ok {name}")),
                Err(what) => {
                    println(format_args!("FAIL {name}: {what}"));
                    failed = 1;
                }
            }
        }
    }
    linux::exit(failed)
}

fn argument(stack: *const usize, index: usize) -> &'static CStr {
    // SAFETY: the kernel puts argc there (ARM ELF process start).
    let argc = unsafe { stack.read() };
    if index >= argc {
        return c"";
    }
    // SAFETY: argv follows argc and has `argc` entries.
    let slot = unsafe { stack.add(1 + index) };
    // SAFETY: as above.
    let text = unsafe { slot.read() };
    // SAFETY: argv entries are terminated strings that live as long as the process.
    unsafe { CStr::from_ptr(core::ptr::with_exposed_provenance::<c_char>(text)) }
}

/// `Err(what)` unless `condition` holds.
fn ensure(condition: bool, what: Wrong) -> Result<(), Wrong> {
    if condition { Ok(()) } else { Err(what) }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    println(format_args!("FAIL: {}", fmt::from_fn(|f| write!(f, "{info}"))));
    linux::exit(101)
}
