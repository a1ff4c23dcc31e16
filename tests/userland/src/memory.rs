//! Mappings: protection, copies on write, sharing, moving, giving back.

use crate::linux::{self, Pages};
use crate::signals::{SIGSEGV, faults};
use crate::{Wrong, ensure, process};

/// Pages of the larger checks; more than the tables of a megabyte hold.
const MANY: usize = 600;
const WORDS: usize = linux::PAGE / 4;

/// Checks all of it.
pub(crate) fn check() -> Result<(), Wrong> {
    protection()?;
    copies()?;
    shared()?;
    moved()?;
    returned()
}

fn protection() -> Result<(), Wrong> {
    let pages = linux::map(3, linux::READ_WRITE, false);
    for round in 0..200 {
        pages.put(WORDS, round);
        pages.protect(linux::READ);
        let write = || pages.put(WORDS, 0xbad);
        ensure(faults(None, write).1 == SIGSEGV, "a store to what became read-only")?;
        ensure(pages.get(WORDS) == round, "a read of what became read-only")?;
        pages.protect(linux::NONE);
        let read = || _ = pages.get(WORDS);
        ensure(faults(None, read).1 == SIGSEGV, "a load from what became inaccessible")?;
        pages.protect(linux::READ_WRITE);
    }
    ensure(faults(None, || pages.put(WORDS, 1)).0 == 0, "a store to what became writable")?;
    pages.unmap();
    ensure(faults(None, || pages.put(WORDS, 1)).1 == SIGSEGV, "a store to what was unmapped")
}

/// Each process has its own copy of what all had before the fork, and the kernel copies for
/// whoever writes first: sometimes the parent, sometimes a child.
fn copies() -> Result<(), Wrong> {
    let pages = linux::map(MANY, linux::READ_WRITE, false);
    let each = |value: u32, pages: Pages| {
        (0..MANY).all(|page| pages.get(page * WORDS + page % WORDS) == value + page as u32)
    };
    let fill = |value: u32, pages: Pages| {
        (0..MANY).for_each(|page| pages.put(page * WORDS + page % WORDS, value + page as u32));
    };
    fill(1000, pages);
    for round in 0..4 {
        let work = |number: u32| {
            let own = (number + 2) * 10_000 + round;
            let before = each(1000, pages);
            fill(own, pages);
            linux::yield_now();
            before && each(own, pages)
        };
        ensure(process::at_once(4, work), "copies of pages in four processes")?;
        ensure(each(1000, pages), "the parent's pages after its children wrote theirs")?;
    }
    let child = linux::fork(|| {
        (0..50).for_each(|_| linux::yield_now());
        u32::from(!each(1000, pages))
    });
    fill(5000, pages);
    ensure(linux::wait(child) == 0, "a child's pages after its parent wrote its own")?;
    ensure(each(5000, pages), "the parent's pages")?;
    pages.unmap();
    Ok(())
}

fn shared() -> Result<(), Wrong> {
    let pages = linux::map(64, linux::READ_WRITE, true);
    let work = |number: u32| {
        (0..64).for_each(|page| pages.put(page * WORDS + number as usize, number + 7));
        true
    };
    ensure(process::at_once(4, work), "four writers of shared pages")?;
    let right = |page| (0..4).all(|number| pages.get(page * WORDS + number) == number as u32 + 7);
    ensure((0..64).all(right), "what four processes wrote to shared pages")?;
    pages.unmap();
    Ok(())
}

fn moved() -> Result<(), Wrong> {
    const MAY_MOVE: u32 = 1;
    let pages = linux::map(16, linux::READ_WRITE, false);
    (0..16).for_each(|page| pages.put(page * WORDS, page as u32));
    // In its way.
    let length = (16 * linux::PAGE) as u32;
    // SAFETY: the old mapping is not used any more.
    let base = unsafe {
        let to = length * 64;
        linux::syscall(linux::MREMAP, [pages.base as u32, length, to, MAY_MOVE, 0, 0])
    };
    let moved = Pages { base: base as u32 as usize, pages: 16 * 64 };
    ensure((0..16).all(|page| moved.get(page * WORDS) == page as u32), "pages that were moved")?;
    if moved.base != pages.base {
        ensure(faults(None, || pages.put(0, 1)).1 == SIGSEGV, "where moved pages were")?;
    }
    moved.unmap();
    Ok(())
}

fn returned() -> Result<(), Wrong> {
    const DONT_NEED: u32 = 4;
    let pages = linux::map(8, linux::READ_WRITE, false);
    for round in 1..50 {
        (0..8).for_each(|page| pages.put(page * WORDS, round));
        linux::call(linux::MADVISE, [pages.base as u32, (8 * linux::PAGE) as u32, DONT_NEED]);
        let zero = (0..8).all(|page| pages.get(page * WORDS) == 0);
        ensure(zero, "pages given back are zero")?;
    }
    pages.unmap();
    Ok(())
}
