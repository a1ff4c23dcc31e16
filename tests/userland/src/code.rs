//! Code that a program writes itself: seen after the cache-flush system call.

use crate::linux::{self, Pages};
use crate::{Wrong, ensure, process};

/// `bx lr`.
const RETURN: u32 = 0xe12f_ff1e;
/// `mov r0, #0` in its low eight bits' form.
const MOVE: u32 = 0xe3a0_0000;

/// Checks A32, T32, code over two pages, and memory that is written or executed in turns.
pub(crate) fn check() -> Result<(), Wrong> {
    let pages = linux::map(2, linux::READ_WRITE_EXECUTE, false);
    let work = |number: u32| (0..500).all(|round| arm(pages, 8, (round + number) & 0xff));
    ensure(work(0), "A32 code rewritten in place")?;
    ensure(process::at_once(2, work), "A32 code rewritten in two processes")?;
    let over = |round: u32| arm(pages, linux::PAGE / 4 - 1, round & 0xff);
    ensure((0..100).all(over), "A32 code over two pages")?;
    ensure((0..200).all(|round| thumb(pages, round & 0xff)), "T32 code rewritten in place")?;
    for round in 0..100 {
        pages.protect(linux::READ_WRITE);
        put(pages, 32, [MOVE | round, RETURN]);
        pages.protect(linux::READ_EXECUTE);
        ensure(call(pages.base + 128) == round, "code written and executed in turns")?;
    }
    pages.unmap();
    let fresh = |round: u32| {
        let pages = linux::map(1, linux::READ_WRITE_EXECUTE, false);
        let right = arm(pages, 0, round);
        pages.unmap();
        right
    };
    ensure((0..100).all(fresh), "code in fresh pages at an old address")
}

fn put(pages: Pages, index: usize, words: [u32; 2]) {
    (index..).zip(words).for_each(|(index, word)| pages.put(index, word));
    let start = (pages.base + index * 4) as u32;
    linux::call(linux::CACHEFLUSH, [start, start + 8, 0]);
}

fn arm(pages: Pages, index: usize, value: u32) -> bool {
    put(pages, index, [MOVE | value, RETURN]);
    call(pages.base + index * 4) == value
}

fn thumb(pages: Pages, value: u32) -> bool {
    // movs r0, #value; nop; bx lr; nop
    put(pages, 64, [0xbf00_2000 | value, 0xbf00_4770]);
    call(pages.base + 64 * 4 + 1) == value
}

fn call(address: usize) -> u32 {
    let function = core::ptr::with_exposed_provenance::<()>(address);
    // SAFETY: the words just written there are a function of this type.
    let function: extern "C" fn() -> u32 = unsafe { core::mem::transmute(function) };
    function()
}
