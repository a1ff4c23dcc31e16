//! Signals: faults told with their address, repaired or skipped; timers; other stacks.
//!
//! Layouts: `struct sigaction`, `siginfo` and `ucontext` of 32-bit ARM
//! (`arch/arm/include/uapi/asm/sigcontext.h`).

use crate::linux::{self, Pages};
use crate::{Wrong, ensure};
use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

pub(crate) const SIGILL: u32 = 4;
pub(crate) const SIGTRAP: u32 = 5;
const SIGBUS: u32 = 7;
const SIGUSR1: u32 = 10;
pub(crate) const SIGSEGV: u32 = 11;
const SIGALRM: u32 = 14;
const SA_SIGINFO: u32 = 4;
const SA_ONSTACK: u32 = 0x0800_0000;
const SA_RESTORER: u32 = 0x0400_0000;
const SA_NODEFER: u32 = 0x4000_0000;

/// Words of `ucontext` before `r0`, and of the registers behind it.
const CONTEXT_R0: usize = 8;
const CONTEXT_PC: usize = CONTEXT_R0 + 15;
const CONTEXT_PSR: usize = CONTEXT_R0 + 16;

/// What the last fault was.
static SIGNAL: AtomicU32 = AtomicU32::new(0);
static ADDRESS: AtomicU32 = AtomicU32::new(0);
static COUNT: AtomicU32 = AtomicU32::new(0);
/// Pages that the handler makes writable, in place of skipping the instruction.
static REPAIR: AtomicU32 = AtomicU32::new(0);
static REPAIR_PAGES: AtomicU32 = AtomicU32::new(0);
static STACK_SEEN: AtomicU32 = AtomicU32::new(0);

/// A handler in assembly or Rust.
pub(crate) type Handler = unsafe extern "C" fn(u32, *const u32, *mut u32);

#[repr(C)]
struct Action {
    handler: u32,
    flags: u32,
    restorer: u32,
    mask: [u32; 2],
}

/// Installs a handler.
pub(crate) fn handle(signal: u32, handler: Handler, flags: u32) {
    let action = Action {
        handler: handler as *const () as u32,
        flags: SA_SIGINFO | SA_RESTORER | flags,
        restorer: restorer as *const () as u32,
        mask: [0; 2],
    };
    let action = (&raw const action).addr() as u32;
    // SAFETY: the kernel reads `action`; handler and restorer obey the signal's ABI.
    unsafe { linux::syscall(linux::RT_SIGACTION, [signal, action, 0, 8, 0, 0]) };
}

#[unsafe(naked)]
extern "C" fn restorer() {
    naked_asm!("mov r7, #{}", "svc #0", const linux::RT_SIGRETURN)
}

/// Notes the fault, then repairs it or skips the instruction of four bytes.
unsafe extern "C" fn fault(signal: u32, info: *const u32, context: *mut u32) {
    const SI_ADDR: usize = 3;
    SIGNAL.store(signal, Relaxed);
    // SAFETY: the kernel hands a whole siginfo over.
    let address = unsafe { info.add(SI_ADDR) };
    // SAFETY: as above.
    ADDRESS.store(unsafe { address.read() }, Relaxed);
    COUNT.fetch_add(1, Relaxed);
    STACK_SEEN.store((&raw const signal).addr() as u32, Relaxed);
    let repair = REPAIR.load(Relaxed);
    if repair != 0 {
        let pages = REPAIR_PAGES.load(Relaxed) as usize;
        return Pages { base: repair as usize, pages }.protect(linux::READ_WRITE);
    }
    // SAFETY: the kernel hands a whole ucontext over.
    let pc = unsafe { context.add(CONTEXT_PC) };
    // SAFETY: as above; the program counter of the interrupted code.
    let next = unsafe { pc.read() }.wrapping_add(4);
    // SAFETY: as above.
    unsafe { pc.write(next) };
}

/// Runs `act`; how many faults it met, of which kind the last was, and where.
pub(crate) fn faults(repair: Option<Pages>, act: impl FnOnce()) -> (u32, u32, u32) {
    for signal in [SIGILL, SIGTRAP, SIGBUS, SIGSEGV] {
        handle(signal, fault, SA_NODEFER);
    }
    REPAIR.store(repair.map_or(0, |pages| pages.base as u32), Relaxed);
    REPAIR_PAGES.store(repair.map_or(0, |pages| pages.pages as u32), Relaxed);
    COUNT.store(0, Relaxed);
    SIGNAL.store(0, Relaxed);
    act();
    (COUNT.load(Relaxed), SIGNAL.load(Relaxed), ADDRESS.load(Relaxed))
}

/// Checks all of it.
pub(crate) fn check() -> Result<(), Wrong> {
    let pages = linux::map(2, linux::NONE, false);
    let place = pages.word(5);
    let at = place.addr() as u32;
    // SAFETY: a fault is what is asked for; the handler skips the instruction.
    let read = || unsafe { asm!("ldr {0}, [{0}]", inout(reg) place => _) };
    ensure(faults(None, read) == (1, SIGSEGV, at), "a load from a page without access")?;
    // SAFETY: as above.
    let write = || unsafe { asm!("str {0}, [{0}]", in(reg) place) };
    ensure(faults(None, write) == (1, SIGSEGV, at), "a store to a page without access")?;
    ensure(faults(Some(pages), write) == (1, SIGSEGV, at), "a store whose page is repaired")?;
    ensure(pages.get(5) == at, "what was stored after the repair")?;
    // SAFETY: as above.
    let undefined = || unsafe { asm!("udf #77") };
    ensure(faults(None, undefined).1 == SIGILL, "an undefined instruction")?;
    let kernel = core::ptr::with_exposed_provenance::<u32>(0xc030_8000);
    // SAFETY: as above.
    let kernel_read = || unsafe { asm!("ldr {0}, [{0}]", inout(reg) kernel => _) };
    ensure(faults(None, kernel_read) == (1, SIGSEGV, 0xc030_8000), "a load from the kernel")?;
    privileged()?;
    jump(pages)?;
    on_another_stack()?;
    blocked()?;
    timers()
}

/// What a program may not execute is undefined to it, whatever it is to its kernel.
fn privileged() -> Result<(), Wrong> {
    // SAFETY: in each, the handler skips the instruction.
    let read_sctlr = || unsafe { asm!("mrc p15, 0, r0, c1, c0, 0", out("r0") _) };
    ensure(faults(None, read_sctlr).1 == SIGILL, "a read of SCTLR")?;
    // SAFETY: as above.
    let flush = || unsafe { asm!("mcr p15, 0, {0}, c8, c7, 0", in(reg) 0) };
    ensure(faults(None, flush).1 == SIGILL, "a TLB invalidation")?;
    // SAFETY: without privilege, changes nothing but the flags, which are declared lost.
    let mode = || unsafe { asm!("cps #0x13", "msr cpsr_c, #0xd3", "cpsid if") };
    ensure(faults(None, mode).0 == 0, "mode changes without an effect")?;
    let psr: u32;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, cpsr", out(reg) psr) };
    ensure(psr & 0xff == 0x10, "the mode that a program sees")
}

/// A jump to nowhere; the handler cannot skip it, so it goes back by hand.
fn jump(pages: Pages) -> Result<(), Wrong> {
    handle(SIGSEGV, back_to_lr, SA_NODEFER);
    COUNT.store(0, Relaxed);
    let target = pages.word(100).addr() as u32;
    // SAFETY: the handler comes back through lr.
    unsafe { asm!("blx {}", in(reg) target, out("lr") _) };
    ensure(COUNT.load(Relaxed) == 1, "a jump to a page without code")?;
    ensure(ADDRESS.load(Relaxed) == target, "the address of such a jump")
}

unsafe extern "C" fn back_to_lr(_: u32, info: *const u32, context: *mut u32) {
    COUNT.fetch_add(1, Relaxed);
    // SAFETY: the kernel hands a whole siginfo over.
    let address = unsafe { info.add(3) };
    // SAFETY: as above.
    ADDRESS.store(unsafe { address.read() }, Relaxed);
    // SAFETY: the kernel hands a whole ucontext over.
    let lr = unsafe { context.add(CONTEXT_PC - 1) };
    // SAFETY: as above.
    let lr = unsafe { lr.read() };
    // SAFETY: as above.
    let pc = unsafe { context.add(CONTEXT_PC) };
    // SAFETY: the caller's next instruction.
    unsafe { pc.write(lr) };
}

fn on_another_stack() -> Result<(), Wrong> {
    let stack = linux::map(4, linux::READ_WRITE, false);
    let description = [stack.base as u32, 0, 4 * linux::PAGE as u32];
    let description = (&raw const description).addr() as u32;
    // SAFETY: the kernel reads the three words.
    unsafe { linux::syscall(linux::SIGALTSTACK, [description, 0, 0, 0, 0, 0]) };
    handle(SIGUSR1, usr1, SA_ONSTACK);
    raise(SIGUSR1);
    let seen = STACK_SEEN.load(Relaxed) as usize;
    ensure(seen > stack.base && seen < stack.base + 4 * linux::PAGE, "a handler on its own stack")
}

unsafe extern "C" fn usr1(signal: u32, _: *const u32, _: *mut u32) {
    STACK_SEEN.store((&raw const signal).addr() as u32, Relaxed);
    COUNT.fetch_add(1, Relaxed);
}

/// Sends a signal to this process.
pub(crate) fn raise(signal: u32) {
    let own = linux::call(linux::GETPID, [0; 3]).unsigned_abs();
    linux::call(linux::KILL, [own, signal, 0]);
}

fn blocked() -> Result<(), Wrong> {
    handle(SIGUSR1, usr1, 0);
    COUNT.store(0, Relaxed);
    let mask = |how: u32| {
        let set = [1_u32 << (SIGUSR1 - 1), 0];
        let set = (&raw const set).addr() as u32;
        // SAFETY: the kernel reads the set.
        unsafe { linux::syscall(linux::RT_SIGPROCMASK, [how, set, 0, 8, 0, 0]) };
    };
    mask(0);
    raise(SIGUSR1);
    ensure(COUNT.load(Relaxed) == 0, "a blocked signal waits")?;
    mask(1);
    ensure(COUNT.load(Relaxed) == 1, "a signal comes when unblocked")
}

/// A timer's handler interrupts T32 code inside of IT blocks, which goes on as before.
fn timers() -> Result<(), Wrong> {
    let timer = Timer::start(destroy_float);
    let before = COUNT.load(Relaxed);
    let odd = count_odd(2_000_000);
    let interrupted = COUNT.load(Relaxed) - before;
    timer.stop();
    ensure(odd == 1_000_000, "conditional T32 code under interrupts")?;
    ensure(interrupted >= 3, "a timer's signals come")
}

/// Counts odd numbers below `limit`, in T32, with IT blocks.
#[unsafe(naked)]
extern "C" fn count_odd(limit: u32) -> u32 {
    naked_asm!(
        "adr r1, 1f + 1",
        "bx r1",
        ".thumb",
        ".balign 4",
        "1:",
        "movs r1, #0",
        "movs r2, #0",
        "2:",
        "lsls r3, r0, #31",
        "itete mi",
        "addmi r1, #1",
        "addpl r2, #1",
        "addmi.w r2, r2, #0",
        "addpl.w r1, r1, #0",
        "subs r0, #1",
        "bne 2b",
        "mov r0, r1",
        "bx lr",
        ".arm",
    )
}

/// A timer that sends SIGALRM every two milliseconds.
#[derive(Debug)]
pub(crate) struct Timer;

impl Timer {
    /// Starts it.
    pub(crate) fn start(handler: Handler) -> Self {
        handle(SIGALRM, handler, 0);
        Self::set(2000);
        Self
    }

    /// Stops it.
    pub(crate) fn stop(self) {
        Self::set(0);
    }

    fn set(microseconds: u32) {
        let value = [0, microseconds, 0, microseconds];
        let value = (&raw const value).addr() as u32;
        // SAFETY: the kernel reads the four words.
        unsafe { linux::syscall(linux::SETITIMER, [0, value, 0, 0, 0, 0]) };
    }
}

/// Destroys all registers of VFP and NEON, and its modes, and counts.
pub(crate) unsafe extern "C" fn destroy_float(_: u32, _: *const u32, context: *mut u32) {
    // SAFETY: the kernel restores all of them when the handler returns.
    unsafe { destroy() };
    COUNT.fetch_add(1, Relaxed);
    // SAFETY: the kernel hands a whole ucontext over.
    let psr = unsafe { context.add(CONTEXT_PSR) };
    // SAFETY: as above.
    SIGNAL.store(unsafe { psr.read() }, Relaxed);
}

#[unsafe(naked)]
unsafe extern "C" fn destroy() {
    naked_asm!(
        ".fpu neon",
        "mvn r0, #0",
        "vdup.32 q0, r0",
        "vmov q1, q0",
        "vmov q2, q0",
        "vmov q3, q0",
        "vmov q4, q0",
        "vmov q5, q0",
        "vmov q6, q0",
        "vmov q7, q0",
        "vmov q8, q0",
        "vmov q9, q0",
        "vmov q10, q0",
        "vmov q11, q0",
        "vmov q12, q0",
        "vmov q13, q0",
        "vmov q14, q0",
        "vmov q15, q0",
        "mov r0, #0xf0000000",
        "vmsr fpscr, r0",
        "bx lr",
    )
}
