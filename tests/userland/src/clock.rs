//! The vDSO's clock, which reads the counter in user mode, against the kernel's.

use crate::linux;
use crate::{Wrong, ensure, process};
use core::arch::asm;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const CLOCK_MONOTONIC: u32 = 1;
const AT_SYSINFO_EHDR: usize = 33;

/// The vDSO's ELF header; 0 if the kernel offers none.
static VDSO: AtomicUsize = AtomicUsize::new(0);

type ClockGetTime = extern "C" fn(u32, *mut [u32; 2]) -> i32;

fn word(address: usize) -> usize {
    // SAFETY: the callers read the stack that the kernel made, or the vDSO it mapped.
    unsafe { core::ptr::with_exposed_provenance::<usize>(address).read() }
}

/// Finds the vDSO in the vector behind the environment.
pub(crate) fn find(stack: *const usize) {
    let stack = stack.expose_provenance();
    let mut at = stack + (word(stack) + 2) * 4;
    while word(at) != 0 {
        at += 4;
    }
    at += 4;
    while word(at) != 0 {
        if word(at) == AT_SYSINFO_EHDR {
            VDSO.store(word(at + 4), Relaxed);
        }
        at += 8;
    }
}

/// The address of a symbol of the vDSO (ELF: program headers, dynamic section, symbols).
/// The kernel takes the clock's name away if user mode cannot read the counter.
fn symbol(name: &CStr) -> Option<usize> {
    const DYNAMIC: usize = 2;
    const HASH: usize = 4;
    const STRINGS: usize = 5;
    const SYMBOLS: usize = 6;
    let base = Some(VDSO.load(Relaxed)).filter(|base| *base != 0)?;
    let headers = base + word(base + 28);
    let count = word(base + 44) & 0xffff;
    let header = (0..count).map(|index| headers + index * 32).find(|at| word(*at) == DYNAMIC)?;
    let dynamic = base + word(header + 4);
    let entry = |tag| {
        let mut entries = (0..64).map(|index| dynamic + index * 8);
        entries.find(|at| word(*at) == tag).map(|at| base + word(at + 4))
    };
    let (hash, strings, symbols) = (entry(HASH)?, entry(STRINGS)?, entry(SYMBOLS)?);
    let mut all = (0..word(hash + 4)).map(|index| symbols + index * 16);
    let found = all.find(|at| {
        let text = core::ptr::with_exposed_provenance::<c_char>(strings + word(*at));
        // SAFETY: a terminated string of the vDSO's table.
        unsafe { CStr::from_ptr(text) == name }
    });
    found.map(|at| base + word(at + 4))
}

/// Nanoseconds by the kernel.
fn by_call() -> u64 {
    let mut time = [0_u32; 4];
    let place = (&raw mut time).addr() as u32;
    // SAFETY: the kernel writes two 64-bit words.
    unsafe { linux::syscall(linux::CLOCK_GETTIME64, [CLOCK_MONOTONIC, place, 0, 0, 0, 0]) };
    u64::from(time[0]) * 1_000_000_000 + u64::from(time[2])
}

/// The virtual counter and its frequency.
fn counter() -> (u64, u64) {
    let (low, high, hz): (u32, u32, u32);
    // SAFETY: reads registers; the kernel allows the counter to programs.
    unsafe {
        asm!(
            "isb",
            "mrrc p15, 1, {}, {}, c14",
            "mrc p15, 0, {}, c14, c0, 0",
            out(reg) low, out(reg) high, out(reg) hz,
        );
    }
    (u64::from(high) << 32 | u64::from(low), u64::from(hz))
}

/// Compares the kernel's clock with time that another VM writes to shared memory, for ever:
/// prints once a second by how much more or less has passed here since the start.
pub(crate) fn drift() -> ! {
    const SHARED: u32 = 0x3000_0000;
    let shared = linux::map_physical(SHARED);
    let other = || loop {
        let version = shared.get(0);
        let time = u64::from(shared.get(2)) << 32 | u64::from(shared.get(1));
        if version.is_multiple_of(2) && version == shared.get(0) && version != 0 {
            return time;
        }
    };
    // Both at once: it was not interrupted in between.
    let both = || loop {
        let before = by_call();
        let theirs = other();
        if by_call() - before < 50_000 {
            return (before, theirs);
        }
    };
    let start = both();
    loop {
        linux::sleep(1);
        let now = both();
        let (here, there) = (now.0 - start.0, now.1 - start.1);
        let off = here.abs_diff(there) / 1000;
        linux::println(format_args!("linux: {} s off={off} us", here / 1_000_000_000));
    }
}

/// Checks clock and counter.
pub(crate) fn check() -> Result<(), Wrong> {
    let function = symbol(c"__vdso_clock_gettime").ok_or("the vDSO has no clock")?;
    let function = core::ptr::with_exposed_provenance::<()>(function);
    // SAFETY: a function of the vDSO, of this type by its name.
    let function: ClockGetTime = unsafe { core::mem::transmute(function) };
    let by_function = move || {
        let mut time = [0; 2];
        let result = function(CLOCK_MONOTONIC, &raw mut time);
        let [seconds, nanoseconds] = time;
        (result == 0).then(|| u64::from(seconds) * 1_000_000_000 + u64::from(nanoseconds))
    };
    let work = |_| {
        let mut last = 0;
        (0..5000).all(|_| {
            let before = by_call();
            let between = by_function().unwrap_or_default();
            let after = by_call();
            let right = last <= before && before <= between && between <= after;
            last = after;
            right
        })
    };
    ensure(process::at_once(2, work), "the vDSO's clock lies between two of the kernel's")?;
    let (start, hz) = counter();
    let clock = by_call();
    while by_call() < clock + 50_000_000 {}
    let passed = by_call() - clock;
    let counted = (counter().0 - start) * 1_000_000_000 / hz;
    ensure(counted.abs_diff(passed) < passed / 20, "counter and clock go at one speed")
}
