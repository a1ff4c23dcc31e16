//! Threads: their own thread registers, one memory, one lock.

use crate::exclusive::{lock, unlock};
use crate::linux::{self, Pages};
use crate::{Wrong, ensure};
use core::arch::{asm, naked_asm};
use core::sync::atomic::Ordering::SeqCst;

const THREADS: usize = 4;
const STACK_PAGES: usize = 4;
const ROUNDS: u32 = 300;
/// VM, FS, FILES, SIGHAND, THREAD, SYSVSEM.
const FLAGS: u32 = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000;

/// Word of the lock, the counter, those that are done, and those that were wrong.
const LOCK: usize = 0;
const COUNTER: usize = 1;
const DONE: usize = 2;
const WRONG: usize = 3;
/// First of the threads' arguments.
const ARGUMENTS: usize = 8;

/// Checks all of it.
pub(crate) fn check() -> Result<(), Wrong> {
    let pages = linux::map(1, linux::READ_WRITE, false);
    let stacks = linux::map(STACK_PAGES * THREADS, linux::READ_WRITE, false);
    for number in 0..THREADS {
        let top = stacks.base + (number + 1) * STACK_PAGES * linux::PAGE - 16;
        pages.put(ARGUMENTS + number, number as u32);
        // SAFETY: a fresh stack; `run` ends the thread.
        unsafe { start(top as u32, pages.base as u32, number as u32, run) };
    }
    while pages.atomic(DONE).load(SeqCst) < THREADS as u32 {
        linux::yield_now();
    }
    ensure(pages.get(WRONG) == 0, "thread registers of four threads")?;
    ensure(pages.get(COUNTER) == THREADS as u32 * ROUNDS, "what four threads counted")
}

extern "C" fn run(base: u32, number: u32) -> ! {
    let pages = Pages { base: base as usize, pages: 1 };
    let own = 0x4000_0000 + number * 0x1000;
    linux::call(linux::SET_TLS, [own, 0, 0]);
    // SAFETY: the register is the thread's to use.
    unsafe { asm!("mcr p15, 0, {}, c13, c0, 2", in(reg) own + 1) };
    for round in 0..ROUNDS {
        lock(pages, LOCK);
        pages.put(COUNTER, pages.get(COUNTER) + 1);
        if round % 8 == 0 {
            linux::yield_now();
        }
        unlock(pages, LOCK);
        let (read_only, user, helper): (u32, u32, u32);
        // SAFETY: reads registers; the helper keeps all but r0.
        unsafe {
            asm!(
                "mrc p15, 0, {}, c13, c0, 3",
                "mrc p15, 0, {}, c13, c0, 2",
                "blx {}",
                out(reg) read_only, out(reg) user, in(reg) 0xffff_0fe0_u32,
                out("r0") helper, out("lr") _,
            );
        }
        if read_only != own || user != own + 1 || helper != own {
            pages.atomic(WRONG).fetch_add(1, SeqCst);
        }
    }
    pages.atomic(DONE).fetch_add(1, SeqCst);
    loop {
        linux::call(linux::EXIT, [0; 3]);
    }
}

/// Starts a thread with `run(base, number)` on its stack.
///
/// # Safety
///
/// The stack is fresh, and `run` ends the thread.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn start(
    stack: u32,
    base: u32,
    number: u32,
    run: extern "C" fn(u32, u32) -> !,
) -> i32 {
    naked_asm!(
        "push {{r4, r5, r6, r7, r8, lr}}",
        "mov r5, r1",
        "mov r6, r2",
        "mov r8, r3",
        "mov r1, r0",
        "ldr r0, ={flags}",
        "mov r2, #0",
        "mov r3, #0",
        "mov r4, #0",
        "mov r7, #{clone}",
        "svc #0",
        "cmp r0, #0",
        "popne {{r4, r5, r6, r7, r8, pc}}",
        "mov r0, r5",
        "mov r1, r6",
        "bx r8",
        flags = const FLAGS,
        clone = const linux::CLONE,
    )
}
