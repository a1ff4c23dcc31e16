//! Exclusive stores over pages that are copied on write, read-only, or shared; futexes.
//!
//! A store-exclusive to a page that may not be written must end in a copy or a signal: it
//! must not be tried for ever.

use crate::linux::{self, Pages};
use crate::signals::{SIGSEGV, faults};
use crate::{Wrong, ensure, process};
use core::arch::asm;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

pub(crate) const FUTEX_WAIT: u32 = 0;
pub(crate) const FUTEX_WAKE: u32 = 1;

/// Checks exclusive stores.
pub(crate) fn check() -> Result<(), Wrong> {
    let pages = linux::map(8, linux::READ_WRITE, false);
    (0..8).for_each(|page| pages.put(page * 1024, 100));
    read_only(pages)?;
    // The first thing each process does to its copy is an exclusive store.
    let work = |number: u32| {
        let add =
            |page: usize| (0..1000).all(|_| pages.atomic(page * 1024).fetch_add(1, SeqCst) >= 100);
        let added = (0..8).all(add);
        add_to_pair(pages.word(16));
        let pair = pages.get(16) == 0x4011 && pages.get(17) == 2;
        added && pair && pages.get(1024) == 1100 && number < 4
    };
    for _ in 0..8 {
        ensure(process::at_once(4, work), "exclusive stores to copied pages")?;
        ensure((0..8).all(|page| pages.get(page * 1024) == 100), "the parent's own page")?;
    }
    let shared = linux::map(1, linux::READ_WRITE, true);
    let work = |_| (0..30_000).all(|_| shared.atomic(9).fetch_add(1, SeqCst) < 120_000);
    ensure(process::at_once(4, work), "exclusive stores to a shared page")?;
    ensure(shared.get(9) == 120_000, "a sum of four processes")?;
    helpers(shared)
}

/// LDREX is allowed, STREX is not.
///
/// What comes between the two takes the monitor: then STREX says so, which needs no access
/// and so no fault, and both are tried again.
fn read_only(pages: Pages) -> Result<(), Wrong> {
    let place = pages.word(3 * 1024);
    for round in 0..20 {
        pages.protect(linux::READ);
        let store = || {
            // SAFETY: the store faults, and the handler skips it.
            unsafe {
                asm!(
                    "1: ldrex {v}, [{p}]",
                    "add {v}, {v}, #1",
                    "mov {r}, #0",
                    "strex {r}, {v}, [{p}]",
                    "cmp {r}, #0",
                    "bne 1b",
                    p = in(reg) place, v = out(reg) _, r = out(reg) _,
                );
            }
        };
        let found = faults(None, store);
        ensure(
            found == (1, SIGSEGV, place.addr() as u32),
            "an exclusive store to a read-only page",
        )?;
        pages.protect(linux::READ_WRITE);
        ensure(pages.get(3 * 1024) == 100, "what it left there")?;
        ensure(
            round < 20 && faults(None, || pages.put(9, 1)).0 == 0,
            "the page is writable again",
        )?;
    }
    Ok(())
}

/// Doubleword, halfword and byte forms, each tried until nothing came between.
fn add_to_pair(place: *mut u32) {
    // SAFETY: `place` is aligned to eight and mapped.
    unsafe {
        asm!(
            "1: ldrexd r2, r3, [{p}]",
            "add r2, r2, #1",
            "add r3, r3, #2",
            "strexd {f}, r2, r3, [{p}]",
            "cmp {f}, #0",
            "bne 1b",
            "2: ldrexh r2, [{p}]",
            "add r2, r2, #0x4000",
            "strexh {f}, r2, [{p}]",
            "cmp {f}, #0",
            "bne 2b",
            "3: ldrexb r2, [{p}]",
            "add r2, r2, #16",
            "strexb {f}, r2, [{p}]",
            "cmp {f}, #0",
            "bne 3b",
            "clrex",
            p = in(reg) place, f = out(reg) _, out("r2") _, out("r3") _,
        );
    }
}

/// The kernel's helpers in the page of the vectors: barrier, and compare and exchange.
fn helpers(shared: Pages) -> Result<(), Wrong> {
    const EXCHANGE: u32 = 0xffff_0fc0;
    const BARRIER: u32 = 0xffff_0fa0;
    let version: u32;
    // SAFETY: a word of a page that every process may read.
    unsafe { asm!("ldr {0}, [{0}]", inout(reg) 0xffff_0ffc_u32 => version) };
    ensure(version >= 3, "the version of the kernel's helpers")?;
    shared.put(20, 1);
    for round in 1..1000 {
        let failed: u32;
        // SAFETY: the helper's ABI: old, new, place; it clobbers r3, ip, lr and the flags.
        unsafe {
            asm!(
                "blx {b}",
                "blx {f}",
                f = in(reg) EXCHANGE, b = in(reg) BARRIER,
                inout("r0") round => failed, in("r1") round + 1, in("r2") shared.word(20),
                out("r3") _, out("r12") _, out("lr") _,
            );
        }
        ensure(failed == 0 && shared.get(20) == round + 1, "the kernel's compare and exchange")?;
    }
    Ok(())
}

/// Waits for a word, or wakes who does.
pub(crate) fn futex(pages: Pages, index: usize, operation: u32, value: u32) {
    let place = pages.word(index).addr() as u32;
    // SAFETY: the kernel reads the word; no time limit.
    unsafe { linux::syscall(linux::FUTEX, [place, operation, value, 0, 0, 0]) };
}

/// A lock of one word: free, taken, taken with others waiting.
pub(crate) fn lock(pages: Pages, index: usize) {
    let word = pages.atomic(index);
    if word.compare_exchange(0, 1, SeqCst, Relaxed).is_err() {
        while word.swap(2, SeqCst) != 0 {
            futex(pages, index, FUTEX_WAIT, 2);
        }
    }
}

/// Releases [`lock`].
pub(crate) fn unlock(pages: Pages, index: usize) {
    if pages.atomic(index).swap(0, SeqCst) == 2 {
        futex(pages, index, FUTEX_WAKE, 1);
    }
}

/// Checks futexes between processes.
pub(crate) fn check_futex() -> Result<(), Wrong> {
    let pages = linux::map(1, linux::READ_WRITE, true);
    let work = |_| {
        for round in 0..400 {
            lock(pages, 0);
            let value = pages.get(1);
            if round % 16 == 0 {
                // Others meet a taken lock.
                linux::yield_now();
            }
            pages.put(1, value + 1);
            unlock(pages, 0);
        }
        true
    };
    ensure(process::at_once(4, work), "four processes with a lock")?;
    ensure(pages.get(1) == 1600, "what they did under the lock")?;
    let work = |number: u32| {
        for round in 0..300 {
            while pages.atomic(2).load(SeqCst) != 2 * round + number {
                futex(pages, 2, FUTEX_WAIT, 2 * round + 1 - number);
            }
            pages.atomic(2).fetch_add(1, SeqCst);
            futex(pages, 2, FUTEX_WAKE, 1);
        }
        true
    };
    ensure(process::at_once(2, work), "two processes in turns")
}
