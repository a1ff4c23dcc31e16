//! From reset to Rust: the first instructions, position independent, MMU off.
//!
//! Builds the linear view's table and the window's, turns the MMU on and continues
//! in the window. Then [`finish`] gives the window its permissions. Not here: anything
//! that depends on the machine.
//!
//! # Invariants
//!
//! - The hypervisor's binary lies at a multiple of 1 MiB in memory (*load*), contiguous,
//!   and `start` is its first byte.
//! - What is entered with: Supervisor mode or another privileged mode, MMU and
//!   data cache off, caches without dirty lines (ARM DDI 0406C, B1.9.1 after reset; the
//!   boot protocol of loaders otherwise).
//! - Symbols of the linker script (`crates/kernel/kernel.ld`) delimit the sections.

use crate::cores;
use crate::cp15;
use crate::entry;
use crate::exclusive::Exclusive;
use crate::linear;
use crate::maintenance::{self, View};
use crate::translation::{
    WALK_ATTRIBUTES, WINDOW_DOMAIN, linear_section, window_device, window_large,
};
use core::arch::naked_asm;
use entresol_abi::{HostPhys, window};

/// ASID of the linear view; guests' views have those from [`FIRST_GUEST_ASID`].
pub const LINEAR_ASID: u32 = 1;

/// First ASID that guests' views may have.
pub const FIRST_GUEST_ASID: u32 = 2;

/// A first-level table.
#[repr(C, align(16384))]
pub struct FirstLevel(pub [u32; 4096]);

/// A second-level table.
#[repr(C, align(1024))]
pub struct SecondLevel(pub [u32; 256]);

/// The linear view's first-level table.
static LINEAR_TABLE: Exclusive<FirstLevel> = Exclusive::new(FirstLevel([0; 4096]));

/// The window's second-level table, in every view.
static WINDOW_TABLE: Exclusive<SecondLevel> = Exclusive::new(SecondLevel([0; 256]));

/// SCTLR: MMU, caches, branch prediction on; alignment checks, TEX remap, access flag,
/// high vectors, big-endian and T32 exceptions off (B4.1.130).
const SCTLR_SET: u32 = 1 << 0 | 1 << 2 | 1 << 11 | 1 << 12;
const SCTLR_CLEAR: u32 = 1 << 1 | 1 << 13 | 1 << 25 | 1 << 28 | 1 << 29 | 1 << 30;

/// Attributes of the boot sections: Normal write-back, shareable, PL1 read-write.
const BOOT_SECTION: u32 = 1 << 16 | 1 << 12 | 0b01 << 10 | (WINDOW_DOMAIN as u32) << 5 | 0b1110;

/// Attributes of the boot large pages: the same, executable, until [`finish`].
const BOOT_LARGE: u32 = window_large(HostPhys(0), true, true);

unsafe extern "C" {
    /// First byte of read-only data; text lies before.
    static __rodata_start: u8;
    /// First byte of what cores share, which may be written, as all that follows.
    static __shared_start: u8;
}

/// The first instruction. Goes to `kernel_main(load, core, tables)` of the binary, in the window.
///
/// 1. The first core goes on; the others wait to be released ([`cores`](crate::cores)).
/// 2. Caches, TLB and MMU off and empty.
/// 3. First core: zero `.bss`.
/// 4. Tables: the binary's two megabytes and the next at their own addresses, and the window. Those of
///    other cores are there already.
/// 5. MMU on.
/// 6. Jump to the window, stack, vectors.
///
/// # Safety
///
/// Only as the entry point of a bootable image.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.boot")]
pub unsafe extern "C" fn start() -> ! {
    naked_asm!(
        "b 1f",
        ".word 0",                      // `window::TABLES`
        "1: cpsid aif, #0x13",
        "adr r4, {start}",              // load: `start` is the binary's first byte
        "movw r5, #:lower16:{base}",
        "movt r5, #:upper16:{base}",
        "sub r5, r4, r5",               // from window address to physical address
        // 1. With the MMU and caches off, so the word is read from memory.
        "mrc p15, 0, r9, c0, c0, 5",    // MPIDR
        "ands r9, r9, #3",              // the core's number
        "beq 3f",
        "ldr r0, ={released}",
        "add r0, r0, r5",
        "2: ldr r1, [r0]",
        "cmp r9, r1",
        "blo 3f",
        "wfe",
        "b 2b",
        "3:",
        // 2. B3.10, B2.2.9: nothing cached may survive into the new translation.
        "mrc p15, 0, r0, c1, c0, 0",
        "bic r0, r0, #1",
        "bic r0, r0, #4",
        "bic r0, r0, #0x1000",
        "mcr p15, 0, r0, c1, c0, 0",
        "isb",
        "mov r0, #0",
        "mcr p15, 0, r0, c7, c5, 0",    // ICIALLU
        "mcr p15, 0, r0, c7, c5, 6",    // BPIALL
        "mcr p15, 0, r0, c8, c7, 0",    // TLBIALL
        // Level 1 data cache, by set and way (B4.2.1): it is undefined after reset.
        "mcr p15, 2, r0, c0, c0, 0",    // CSSELR: level 1, data
        "isb",
        "mrc p15, 1, r1, c0, c0, 0",    // CCSIDR
        "and r2, r1, #7",
        "add r2, r2, #4",               // log2 of the line length
        "ubfx r3, r1, #3, #10",         // ways - 1
        "ubfx r10, r1, #13, #15",       // sets - 1
        "clz r6, r3",                   // position of the way; 32 if there is one
        "4: mov r7, r10",
        "5: lsl r8, r3, r6",
        "orr r8, r8, r7, lsl r2",
        "mcr p15, 0, r8, c7, c6, 2",    // DCISW
        "subs r7, r7, #1",
        "bge 5b",
        "subs r3, r3, #1",
        "bge 4b",
        "dsb",
        "isb",
        // Take part in coherency where there is something to take part in: on A5, A7, A9 and
        // A15 this is ACTLR.SMP, without which shareable memory is not cached.
        "mrc p15, 0, r0, c1, c0, 1",
        "orr r0, r0, #0x40",
        "mcr p15, 0, r0, c1, c0, 1",
        // 3.
        "cmp r9, #0",
        "bne 8f",
        "ldr r0, =__bss_start",
        "ldr r1, =__bss_end",
        "add r0, r0, r5",
        "add r1, r1, r5",
        "mov r2, #0",
        "6: cmp r0, r1",
        "strlo r2, [r0], #4",
        "blo 6b",
        // 4.
        "ldr r6, ={linear}",
        "add r6, r6, r5",
        "ldr r7, ={window}",
        "add r7, r7, r5",
        "ldr r0, ={section}",
        "orr r0, r0, r4",
        "lsr r1, r4, #20",
        "str r0, [r6, r1, lsl #2]",
        "add r0, r0, #0x100000",
        "add r1, r1, #1",
        "str r0, [r6, r1, lsl #2]",
        "add r0, r0, #0x100000",
        "add r1, r1, #1",
        "str r0, [r6, r1, lsl #2]",
        "ldr r0, ={table}",
        "orr r0, r0, r7",
        "movw r1, #{entry}",
        "str r0, [r6, r1]",
        "ldr r0, ={large}",
        "orr r0, r0, r4",
        "mov r1, #0",
        "7: bic r2, r1, #15",
        "add r2, r0, r2, lsl #12",
        "str r2, [r7, r1, lsl #2]",
        "add r1, r1, #1",
        "cmp r1, #{pages}",
        "blo 7b",
        "b 9f",
        "8: ldr r6, ={linear}",
        "add r6, r6, r5",
        "mov r0, #{stride}",
        "mla r6, r9, r0, r6",
        // 5.
        "9:",
        "mov r0, #0",
        "mcr p15, 0, r0, c2, c0, 2",    // TTBCR: one table
        "mov r1, #0x40000000",
        "mcr p15, 0, r1, c3, c0, 0",    // DACR: domain 15 is a client
        "mov r1, #{asid}",
        "mcr p15, 0, r1, c13, c0, 1",   // CONTEXTIDR
        "orr r1, r6, #{walk}",
        "mcr p15, 0, r1, c2, c0, 0",    // TTBR0
        "dsb",
        "isb",
        "mrc p15, 0, r0, c1, c0, 0",
        "ldr r1, ={clear}",
        "bic r0, r0, r1",
        "ldr r1, ={set}",
        "orr r0, r0, r1",
        "mcr p15, 0, r0, c1, c0, 0",
        "isb",
        // 6.
        "ldr sp, =__stack_top",
        "ldr r1, ={vectors}",
        "mcr p15, 0, r1, c12, c0, 0",   // VBAR
        "isb",
        "mov r0, r4",
        "mov r1, r9",
        "ldr r2, [r4, #{tables}]",
        "ldr r12, =kernel_main",
        "bx r12",
        start = sym start,
        tables = const window::TABLES,
        base = const window::BASE,
        entry = const (window::BASE >> 20) * 4,
        stride = const window::CORE_STRIDE,
        released = sym cores::RELEASED,
        linear = sym LINEAR_TABLE,
        window = sym WINDOW_TABLE,
        section = const BOOT_SECTION,
        table = const (WINDOW_DOMAIN as u32) << 5 | 1,
        large = const BOOT_LARGE,
        pages = const (window::MEMORY_END - window::BASE) >> 12,
        asid = const LINEAR_ASID,
        walk = const WALK_ATTRIBUTES,
        clear = const SCTLR_CLEAR,
        set = const SCTLR_SET,
        vectors = sym entry::vectors,
    )
}

/// Where a core's tables lie in the window: first level of the linear view, second level of
/// the window.
pub(crate) const fn tables() -> (*mut FirstLevel, *mut SecondLevel) {
    (LINEAR_TABLE.address(), WINDOW_TABLE.address())
}

/// Fills the tables of `core`, which are zero, as [`start`] does its own.
pub(crate) fn fill(linear: &mut FirstLevel, table: &mut SecondLevel, load: HostPhys, core: u32) {
    for nth in 0..=window::RESERVED >> 20 {
        let megabyte = (load.0 >> 20) + nth;
        linear.0[megabyte as usize % 4096] = BOOT_SECTION | megabyte << 20;
    }
    let at = cores::host(load, core, WINDOW_TABLE.address() as u32);
    linear.0[(window::BASE >> 20) as usize] = crate::translation::table(at, WINDOW_DOMAIN);
    for page in 0..(window::MEMORY_END - window::BASE) >> 12 {
        let first = cores::host(load, core, window::BASE + ((page & !15) << 12));
        table.0[page as usize] = window_large(first, true, true);
    }
}

/// Closes what User mode could reach and nobody saves: one VM could tell another by it.
fn close_user_registers() {
    // SAFETY: counters are nobody's (B4.1.126: no access from User mode).
    unsafe { cp15::set_performance_user_access(0) };
    // ID_PFR0.State3 is ThumbEE (B4.1.93).
    if cp15::processor_feature_0() >> 12 & 0xf != 0 {
        // SAFETY: just read that it is there.
        unsafe { cp15::close_thumb_ee() };
    }
}

/// The window's second-level table under construction.
pub struct Window {
    next_device: u32,
    load: HostPhys,
    core: u32,
}

impl Window {
    /// Takes over after [`start`].
    ///
    /// # Safety
    ///
    /// Called once, first thing in `kernel_main`, with what that was given.
    #[must_use]
    pub unsafe fn take(load: u32, core: u32) -> Self {
        Self { next_device: window::DEVICES, load: HostPhys(load), core }
    }

    /// Gives the cores below `count` what they start with.
    ///
    /// # Safety
    ///
    /// On the boot core, before [`Window::finish`] and before any static that is not zero at
    /// first was changed.
    pub unsafe fn prepare_cores(&self, count: u32) {
        for core in 1..count {
            // SAFETY: the caller's promise; `start` mapped the binary's megabyte.
            unsafe { cores::prepare(self.load, core) };
        }
    }

    /// Borrows the image's tables.
    ///
    /// # Safety
    ///
    /// `len` bytes at `at` are mapped at their own address, and nothing ever writes to them.
    #[must_use]
    pub unsafe fn image(&self, at: HostPhys, len: u32) -> &'static [u8] {
        // SAFETY: the caller's promise.
        unsafe { core::slice::from_raw_parts(at.0 as *const u8, len as usize) }
    }

    /// Maps all memory ranges into the linear view and fixes the window's permissions:
    /// text read-only and executable, constants read-only, data never executable.
    pub fn finish(&mut self, ram: &[entresol_abi::image::Range]) {
        // SAFETY: no other reference to the tables exists; the table walker is not Rust.
        let table = unsafe { LINEAR_TABLE.get() };
        for range in ram {
            let first = range.base.0 >> 20;
            let count = range.len >> 20;
            for megabyte in first..(first + count).min(window::BASE >> 20) {
                table.0[megabyte as usize] = linear_section(HostPhys(megabyte << 20));
            }
        }
        // SAFETY: as above.
        let window = unsafe { WINDOW_TABLE.get() };
        let rodata = (&raw const __rodata_start) as u32;
        let shared = (&raw const __shared_start) as u32;
        for page in 0..(window::MEMORY_END - window::BASE) >> 12 {
            let at = window::BASE + ((page & !15) << 12);
            let host = cores::host(self.load, self.core, at);
            window.0[page as usize] = window_large(host, at >= shared, at < rodata);
        }
        maintenance::forget_all();
        let base = cores::host(self.load, self.core, LINEAR_TABLE.address() as u32).0;
        // SAFETY: the table of `start`, which maps the window and, as of now, all memory.
        unsafe { linear::set(View { base: base | WALK_ATTRIBUTES, asid: LINEAR_ASID }) };
        // SAFETY: full access; FPEXC.EN decides from here on (B1.11.1).
        unsafe { cp15::set_coprocessor_access(0xf << 20) };
        close_user_registers();
        cp15::isb();
    }

    /// Maps the page of device registers at `at`; returns where, or `None` if the
    /// window's 32 pages for devices are used up.
    pub fn device(&mut self, at: HostPhys) -> Option<*mut u32> {
        // SAFETY: no other reference to the table exists.
        let window = unsafe { WINDOW_TABLE.get() };
        let page = HostPhys(at.0 & !0xfff);
        let entry = window_device(page);
        let known = (window::DEVICES..self.next_device)
            .step_by(0x1000)
            .find(|address| window.0[(address >> 12 & 0xff) as usize] == entry);
        let address = match known {
            Some(address) => address,
            None if self.next_device < window::END => {
                let address = self.next_device;
                self.next_device += 0x1000;
                window.0[(address >> 12 & 0xff) as usize] = entry;
                maintenance::entries_written();
                address
            }
            None => return None,
        };
        Some((address + (at.0 & 0xfff)) as *mut u32)
    }

    /// The window's first-level entry, for the views of guests.
    #[must_use]
    pub fn entry(&self) -> u32 {
        let at = cores::host(self.load, self.core, WINDOW_TABLE.address() as u32);
        crate::translation::table(at, WINDOW_DOMAIN)
    }
}
