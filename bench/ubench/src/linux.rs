//! System calls of Linux on 32-bit ARM (EABI), as few as the workload needs.
//!
//! Numbers: `arch/arm/tools/syscall.tbl`. All `unsafe` of the program is here. Results
//! are the kernel's: negative is `-errno`, and the workload, being a measurement on a
//! known kernel, has no use for them but to stop.

use core::arch::{asm, naked_asm};

/// Signal number.
pub(crate) const SIGUSR1: u32 = 10;
const SIGCHLD: u32 = 17;
const SA_RESTORER: u32 = 0x0400_0000;
const CLONE_VM: u32 = 0x100;
const CLONE_VFORK: u32 = 0x4000;
const CLONE_CHILD_CLEARTID: u32 = 0x0020_0000;
const CLONE_CHILD_SETTID: u32 = 0x0100_0000;
const PROT_READ_WRITE: u32 = 3;
const MAP_PRIVATE_ANONYMOUS: u32 = 0x22;
const CLOCK_MONOTONIC: u32 = 1;

const EXIT_GROUP: u32 = 248;
const READ: u32 = 3;
const WRITE: u32 = 4;
const GETPID: u32 = 20;
const KILL: u32 = 37;
const PIPE: u32 = 42;
const GETPPID: u32 = 64;
const WAIT4: u32 = 114;
const CLONE: u32 = 120;
const RT_SIGACTION: u32 = 174;
const MMAP2: u32 = 192;
const SET_ROBUST_LIST: u32 = 338;
const RSEQ: u32 = 398;
const CLOCK_NANOSLEEP64: u32 = 407;

/// A time or a duration, as the 64-bit calls take it.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Time {
    /// Seconds.
    pub(crate) seconds: i64,
    /// Nanoseconds.
    pub(crate) nanoseconds: i64,
}

/// The signature before an abort handler of a restartable sequence (none is used).
const RSEQ_SIGNATURE: u32 = 0xe7f5_def3;

/// `struct rseq`: where the kernel keeps the processor number of a thread.
#[repr(C, align(32))]
struct RestartableSequences([u32; 8]);
static mut RSEQ_AREA: RestartableSequences = RestartableSequences([0; 8]);

/// Registers a restartable-sequences area, as Debian's C library does at start: from then
/// on every context switch and signal costs the kernel a few hundred instructions more.
pub(crate) fn register_rseq() {
    let area = (&raw mut RSEQ_AREA).addr() as u32;
    // SAFETY: the kernel owns the area from now on; nothing here reads it.
    unsafe { syscall(RSEQ, area, 32, 0, RSEQ_SIGNATURE, 0) };
}

/// `struct sigaction` of the `rt_` calls.
#[repr(C)]
struct Action {
    handler: u32,
    flags: u32,
    restorer: u32,
    mask: [u32; 2],
}

/// One system call through a function, as every C library makes it: part of the cost
/// that the workload defines.
///
/// # Safety
///
/// The kernel may read or write what the arguments point to.
#[unsafe(naked)]
unsafe extern "C" fn syscall(number: u32, a: u32, b: u32, c: u32, d: u32, e: u32) -> i32 {
    naked_asm!(
        "mov ip, sp",
        "push {{r4, r5, r6, r7}}",
        "mov r7, r0",
        "mov r0, r1",
        "mov r1, r2",
        "mov r2, r3",
        "ldm ip, {{r3, r4}}",
        "svc #0",
        "pop {{r4, r5, r6, r7}}",
        "bx lr",
    )
}

/// Ends the process.
pub(crate) fn exit(status: u32) -> ! {
    loop {
        // SAFETY: no memory is involved.
        unsafe { syscall(EXIT_GROUP, status, 0, 0, 0, 0) };
    }
}

/// The parent's process number: the cheapest call the kernel does not answer in user space.
pub(crate) fn getppid() {
    // SAFETY: no memory is involved.
    unsafe { syscall(GETPPID, 0, 0, 0, 0, 0) };
}

/// A pipe: its reading and its writing end.
pub(crate) fn pipe() -> (u32, u32) {
    let mut ends = [0_u32; 2];
    // SAFETY: the kernel writes the two words of `ends`.
    unsafe { syscall(PIPE, ends.as_mut_ptr().addr() as u32, 0, 0, 0, 0) };
    let [read, write] = ends;
    (read, write)
}

/// Reads one byte.
pub(crate) fn read_byte(end: u32) {
    let mut byte = [0_u8; 1];
    // SAFETY: the kernel writes `byte`.
    unsafe { syscall(READ, end, byte.as_mut_ptr().addr() as u32, 1, 0, 0) };
}

/// Writes one byte.
pub(crate) fn write_byte(end: u32) {
    let byte = [0_u8; 1];
    // SAFETY: the kernel reads `byte`.
    unsafe { syscall(WRITE, end, byte.as_ptr().addr() as u32, 1, 0, 0) };
}

/// Runs `child` in a copy of this process and returns the copy's number.
pub(crate) fn fork(child: impl FnOnce()) -> u32 {
    // The word a C library lets the kernel keep the thread's number in.
    let mut thread = [0_u32; 4];
    let thread = thread.as_mut_ptr().addr() as u32;
    let flags = CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | SIGCHLD;
    // SAFETY: the child gets a copy of the stack and goes on with it.
    let process = unsafe { syscall(CLONE, flags, 0, 0, 0, thread) };
    if process == 0 {
        // SAFETY: the kernel only notes the address, and reads it when the child ends.
        unsafe { syscall(SET_ROBUST_LIST, thread, 12, 0, 0, 0) };
        child();
        exit(0);
    }
    process.unsigned_abs()
}

/// Starts and ends a process that shares this one's memory.
pub(crate) fn vfork_exit() -> u32 {
    let process: u32;
    // SAFETY: the child uses no stack: it ends itself with the next instruction but two.
    unsafe {
        asm!(
            "mov r7, {clone}",
            "svc #0",
            "cmp r0, #0",
            "moveq r7, {exit}",
            "svceq #0",
            clone = const CLONE,
            exit = const EXIT_GROUP,
            inout("r0") CLONE_VM | CLONE_VFORK | SIGCHLD => process,
            in("r1") 0, in("r2") 0, in("r3") 0, in("r4") 0,
            out("r7") _,
        );
    }
    process
}

/// Waits for the end of a child.
pub(crate) fn wait(process: u32) {
    // SAFETY: null pointers: nothing is written.
    unsafe { syscall(WAIT4, process, 0, 0, 0, 0) };
}

/// Installs a handler for SIGUSR1 that does nothing.
pub(crate) fn handle_sigusr1() {
    extern "C" fn handler(_signal: u32) {}
    let action = Action {
        handler: handler as *const () as u32,
        flags: SA_RESTORER,
        restorer: restorer as *const () as u32,
        mask: [0; 2],
    };
    // SAFETY: the kernel reads `action`; handler and restorer obey the signal's ABI.
    unsafe { syscall(RT_SIGACTION, SIGUSR1, (&raw const action).addr() as u32, 0, 8, 0) };
}

/// Returns from a signal handler: `sigreturn`.
#[unsafe(naked)]
extern "C" fn restorer() {
    naked_asm!("mov r7, #119", "svc #0")
}

/// Sends SIGUSR1 to itself.
pub(crate) fn raise_sigusr1() {
    // SAFETY: no memory is involved.
    let own = unsafe { syscall(GETPID, 0, 0, 0, 0, 0) };
    // SAFETY: no memory is involved; the handler touches none.
    unsafe { syscall(KILL, own.unsigned_abs(), SIGUSR1, 0, 0, 0) };
}

/// Maps fresh zero pages and writes to the first byte of each, from the second on;
/// `before` and `after` run around those writes.
pub(crate) fn touch_pages(pages: usize, before: impl FnOnce(), after: impl FnOnce()) {
    const PAGE: usize = 4096;
    let length = (pages + 1) * PAGE;
    let (prot, flags) = (PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS);
    let none = u32::MAX;
    // SAFETY: a fresh mapping; the sixth argument is wherever r5 points, ignored.
    let base = unsafe { syscall(MMAP2, 0, length as u32, prot, flags, none) };
    let base = core::ptr::with_exposed_provenance_mut::<u8>(base as u32 as usize);
    // SAFETY: inside the mapping.
    unsafe { base.write_volatile(1) };
    before();
    for page in 1..=pages {
        // SAFETY: inside the mapping.
        let byte = unsafe { base.add(page * PAGE) };
        // SAFETY: inside the mapping, which nothing else uses.
        unsafe { byte.write_volatile(1) };
    }
    after();
}

/// Sleeps.
pub(crate) fn sleep(nanoseconds: i64) {
    let time = Time { seconds: 0, nanoseconds };
    let time = (&raw const time).addr() as u32;
    // SAFETY: the kernel reads `time`.
    unsafe { syscall(CLOCK_NANOSLEEP64, CLOCK_MONOTONIC, 0, time, 0, 0) };
}

/// Executes the mark instruction, numbered (below 4096) by the address read just before it.
#[unsafe(naked)]
pub(crate) extern "C" fn mark(number: u32) {
    // r9 is the ABI's to keep; the page this code is in is there to be read.
    naked_asm!(
        "mov r1, r9",
        "mov r9, pc",
        "lsr r9, r9, #12",
        "lsl r9, r9, #12",
        ".inst 0xe7d99000", // ldrb r9, [r9, r0]
        ".inst 0xe1899009", // orr r9, r9, r9
        "mov r9, r1",
        "bx lr",
    )
}
