//! System calls of Linux on 32-bit ARM (EABI), as few as the checks need.
//!
//! Numbers: `arch/arm/tools/syscall.tbl`; those above 0x000f_0000 are ARM's own
//! (`arch/arm/include/uapi/asm/unistd.h`). Results are the kernel's: negative is `-errno`.

use core::arch::asm;
use core::fmt::{self, Write};

pub(crate) const EXIT: u32 = 1;
pub(crate) const GETPID: u32 = 20;
pub(crate) const PTRACE: u32 = 26;
pub(crate) const KILL: u32 = 37;
pub(crate) const SETITIMER: u32 = 104;
pub(crate) const WAIT4: u32 = 114;
pub(crate) const CLONE: u32 = 120;
pub(crate) const SCHED_YIELD: u32 = 158;
pub(crate) const MREMAP: u32 = 163;
pub(crate) const RT_SIGRETURN: u32 = 173;
pub(crate) const RT_SIGACTION: u32 = 174;
pub(crate) const RT_SIGPROCMASK: u32 = 175;
pub(crate) const SIGALTSTACK: u32 = 186;
pub(crate) const MMAP2: u32 = 192;
pub(crate) const MADVISE: u32 = 220;
pub(crate) const FUTEX: u32 = 240;
pub(crate) const SCHED_SETAFFINITY: u32 = 241;
pub(crate) const CLOCK_GETTIME64: u32 = 403;
pub(crate) const CACHEFLUSH: u32 = 0x000f_0002;
pub(crate) const SET_TLS: u32 = 0x000f_0005;
const WRITE: u32 = 4;
const MUNMAP: u32 = 91;
const MPROTECT: u32 = 125;
const EXIT_GROUP: u32 = 248;

/// Nothing may be done with the pages.
pub(crate) const NONE: u32 = 0;
/// Pages may be read.
pub(crate) const READ: u32 = 1;
/// Pages may be read and written.
pub(crate) const READ_WRITE: u32 = 3;
/// Pages may be read and executed.
pub(crate) const READ_EXECUTE: u32 = 5;
/// Everything may be done with the pages.
pub(crate) const READ_WRITE_EXECUTE: u32 = 7;
/// A page.
pub(crate) const PAGE: usize = 4096;

const SIGCHLD: u32 = 17;
const MAP_SHARED: u32 = 1;
const MAP_PRIVATE: u32 = 2;
const MAP_ANONYMOUS: u32 = 0x20;

/// One system call.
///
/// # Safety
///
/// The kernel may read or write what the arguments point to.
pub(crate) unsafe fn syscall(number: u32, arguments: [u32; 6]) -> i32 {
    let [a, b, c, d, e, f] = arguments;
    let result: i32;
    // SAFETY: the caller's promise; all registers but r0 are kept.
    unsafe {
        asm!(
            "svc #0",
            in("r7") number,
            inlateout("r0") a => result,
            in("r1") b, in("r2") c, in("r3") d, in("r4") e, in("r5") f,
        );
    }
    result
}

/// Ends the process.
pub(crate) fn exit(status: u32) -> ! {
    loop {
        // SAFETY: no memory is involved.
        unsafe { syscall(EXIT_GROUP, [status, 0, 0, 0, 0, 0]) };
    }
}

/// A system call without pointers.
pub(crate) fn call(number: u32, arguments: [u32; 3]) -> i32 {
    let [a, b, c] = arguments;
    // SAFETY: the callers in this program pass numbers and addresses of mappings they own.
    unsafe { syscall(number, [a, b, c, 0, 0, 0]) }
}

/// Runs `child` in a copy of this process; its result is the copy's exit status.
pub(crate) fn fork(child: impl FnOnce() -> u32) -> u32 {
    // SAFETY: the child gets a copy of the stack and goes on with it.
    let process = unsafe { syscall(CLONE, [SIGCHLD, 0, 0, 0, 0, 0]) };
    if process == 0 {
        exit(child());
    }
    process.unsigned_abs()
}

/// Waits for a child; its status as `wait` gives it.
pub(crate) fn wait(process: u32) -> u32 {
    let mut status = u32::MAX;
    // SAFETY: the kernel writes `status`.
    unsafe { syscall(WAIT4, [process, (&raw mut status).addr() as u32, 0, 0, 0, 0]) };
    status
}

/// Gives the processor away.
pub(crate) fn yield_now() {
    call(SCHED_YIELD, [0; 3]);
}

/// Maps fresh zero pages; processes forked later share them if `shared`.
pub(crate) fn map(pages: usize, protection: u32, shared: bool) -> Pages {
    let kind = MAP_ANONYMOUS | if shared { MAP_SHARED } else { MAP_PRIVATE };
    let length = (pages * PAGE) as u32;
    // SAFETY: a fresh mapping.
    let base = unsafe { syscall(MMAP2, [0, length, protection, kind, u32::MAX, 0]) };
    Pages { base: base as u32 as usize, pages }
}

/// Maps a fresh zero page at an address where there is nothing.
pub(crate) fn map_at(base: usize, protection: u32) {
    const MAP_FIXED: u32 = 0x10;
    let kind = MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED;
    // SAFETY: a fresh mapping.
    unsafe { syscall(MMAP2, [base as u32, PAGE as u32, protection, kind, u32::MAX, 0]) };
}

/// Maps a page of physical memory that is not the kernel's, to be read.
pub(crate) fn map_physical(address: u32) -> Pages {
    const OPEN: u32 = 5;
    let path = c"/dev/mem".as_ptr().addr() as u32;
    // SAFETY: the kernel reads the path.
    let file = unsafe { syscall(OPEN, [path, 0, 0, 0, 0, 0]) }.unsigned_abs();
    let (length, page) = (PAGE as u32, address / PAGE as u32);
    // SAFETY: a fresh mapping.
    let base = unsafe { syscall(MMAP2, [0, length, READ, MAP_SHARED, file, page]) };
    Pages { base: base as u32 as usize, pages: 1 }
}

/// Sleeps.
pub(crate) fn sleep(seconds: u32) {
    const CLOCK_NANOSLEEP64: u32 = 407;
    const CLOCK_MONOTONIC: u32 = 1;
    let time = [seconds, 0, 0, 0];
    let time = (&raw const time).addr() as u32;
    // SAFETY: the kernel reads two 64-bit words.
    unsafe { syscall(CLOCK_NANOSLEEP64, [CLOCK_MONOTONIC, 0, time, 0, 0, 0]) };
}

/// Pages mapped by [`map`]; they stay until unmapped by hand.
#[derive(Clone, Copy)]
pub(crate) struct Pages {
    pub(crate) base: usize,
    pub(crate) pages: usize,
}

impl Pages {
    /// The address of word `index`.
    pub(crate) fn word(self, index: usize) -> *mut u32 {
        assert!(index * 4 < self.pages * PAGE, "a word of the mapping");
        core::ptr::with_exposed_provenance_mut(self.base + index * 4)
    }

    /// Reads a word.
    pub(crate) fn get(self, index: usize) -> u32 {
        // SAFETY: inside the mapping; a fault is a signal, which is what is checked.
        unsafe { self.word(index).read_volatile() }
    }

    /// Writes a word.
    pub(crate) fn put(self, index: usize, value: u32) {
        // SAFETY: as above.
        unsafe { self.word(index).write_volatile(value) }
    }

    /// A word as an atomic.
    pub(crate) fn atomic(self, index: usize) -> &'static core::sync::atomic::AtomicU32 {
        // SAFETY: inside the mapping, aligned, and used only as an atomic while borrowed.
        unsafe { core::sync::atomic::AtomicU32::from_ptr(self.word(index)) }
    }

    /// Changes what may be done with all pages.
    pub(crate) fn protect(self, protection: u32) {
        call(MPROTECT, [self.base as u32, (self.pages * PAGE) as u32, protection]);
    }

    /// Removes the mapping.
    pub(crate) fn unmap(self) {
        call(MUNMAP, [self.base as u32, (self.pages * PAGE) as u32, 0]);
    }
}

struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the kernel reads `text`.
        unsafe { syscall(WRITE, [1, text.as_ptr().addr() as u32, text.len() as u32, 0, 0, 0]) };
        Ok(())
    }
}

/// Prints a line.
pub(crate) fn println(text: fmt::Arguments<'_>) {
    // Writing never fails.
    let _ = Console.write_fmt(text);
    let _ = Console.write_str("\n");
}
