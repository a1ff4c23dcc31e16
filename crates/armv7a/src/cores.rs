//! Several cores: each runs a hypervisor of its own.
//!
//! What [`window::CORE_DATA`] holds exists once for each core and is seen by each at the same
//! addresses, so no code here knows which core it runs on, and no two share a lock. What they do
//! share is in this module: a [`Link`] for each core but the first, and where cores wait to be
//! let go. The boot core builds the others' data and tables ([`prepare`]) and sets them off
//! ([`release`]).
//!
//! Not here: how a core that is off is turned on, which is the machine's.
//!
//! # Invariants
//!
//! - `.shared` is one page of memory for all cores, with one cacheability everywhere.
//! - A core's memory is written by the boot core only before [`release`], and cleaned to memory
//!   before: the core reads its tables first with its caches off.

use crate::boot::{self, FirstLevel, SecondLevel};
use crate::{cp15, maintenance};
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use entresol_abi::HostPhys;
use entresol_abi::image::MAX_CORES;
use entresol_abi::window;
use entresol_hv::link::Link;
use entresol_hv::locks::Board;

/// The links by the number of their core; the first is nobody's.
#[unsafe(link_section = ".shared")]
static LINKS: [Link; MAX_CORES] = [const { Link::new() }; MAX_CORES];

/// What cores know of each other's locks.
#[unsafe(link_section = ".shared")]
static BOARD: Board = Board::new();

/// What cores know of each other's locks.
pub(crate) fn board() -> &'static Board {
    &BOARD
}

/// Cores below this number may go on.
#[unsafe(link_section = ".shared")]
pub(crate) static RELEASED: AtomicU32 = AtomicU32::new(0);

/// The link between the boot core and `core`.
#[must_use]
#[inline(never)]
pub fn link(core: u32) -> &'static Link {
    &LINKS[core as usize % MAX_CORES]
}

/// Makes what this core wrote visible to a core that it interrupts (ARM IHI 0048B, 3.1.2: the
/// interrupt is a store to a device).
pub fn written() {
    cp15::dsb();
}

unsafe extern "C" {
    static __data_start: u8;
    static __data_end: u8;
    static __bss_start: u8;
    static __end: u8;
}

/// Where in memory `address` of the window lies for `core`.
#[inline(never)]
pub(crate) fn host(load: HostPhys, core: u32, address: u32) -> HostPhys {
    let own = if address >= window::CORE_DATA { core * window::CORE_STRIDE } else { 0 };
    HostPhys(load.0 + (address - window::BASE) + own)
}

/// Gives `core` its data as the binary has it, and the tables it starts with.
///
/// # Safety
///
/// On the boot core, before it changes any static of `.data`; the binary's megabyte at `load`
/// is mapped at its own address.
pub(crate) unsafe fn prepare(load: HostPhys, core: u32) {
    let [start, end, zeros, last] =
        [&raw const __data_start, &raw const __data_end, &raw const __bss_start, &raw const __end];
    let to = |address: *const u8| host(load, core, address as u32).0 as *mut u8;
    let len = |from: *const u8, to: *const u8| to as usize - from as usize;
    // SAFETY: both are memory of the binary's megabyte; they do not overlap, by `host`.
    unsafe { core::ptr::copy_nonoverlapping(start, to(start), len(start, end)) };
    // SAFETY: as above.
    unsafe { to(zeros).write_bytes(0, len(zeros, last)) };
    let (linear, window) = boot::tables();
    let linear = to(linear.cast()).cast::<FirstLevel>();
    let window = to(window.cast()).cast::<SecondLevel>();
    // SAFETY: the core's tables, which nobody else refers to; zeros are a table.
    let linear = unsafe { &mut *linear };
    // SAFETY: as above.
    let window = unsafe { &mut *window };
    boot::fill(linear, window, load, core);
    let first = host(load, core, window::CORE_DATA);
    maintenance::for_a_core_without_caches(first.0, window::CORE_STRIDE);
}

/// Lets the cores below `count` go on.
pub fn release(count: u32) {
    RELEASED.store(count, SeqCst);
    let at = (&raw const RELEASED) as u32;
    maintenance::for_a_core_without_caches(at, 4);
    cp15::send_event();
}
