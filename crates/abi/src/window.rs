//! Where the hypervisor lives: one window of 1 MiB near the top of every view.
//!
//! A guest cannot use these virtual addresses; a mapping it makes there is never
//! shadowed. It is a megabyte of its own, because what shares a megabyte shares a domain. The machine's memory behind the window is physically contiguous,
//! from the address the image was built for.

/// First byte of the window.
pub const BASE: u32 = 0xffb0_0000;

/// First byte after the part of the window that is memory.
pub const MEMORY_END: u32 = 0xffbe_0000;

/// First byte of the part of the window that each core has for itself: data and stack.
/// Core *n* has *n* times [`CORE_STRIDE`] bytes further in memory what it sees here.
pub const CORE_DATA: u32 = 0xffb4_0000;

/// Bytes of memory that each core has for itself.
pub const CORE_STRIDE: u32 = 0x6_0000;

const _: () = {
    assert!(crate::image::MAX_CORES == 4, "as many as fit the window's memory");
    assert!(CORE_DATA - BASE + CORE_STRIDE * 4 <= RESERVED);
    assert!(reserved(2) == 0x10_0000 && reserved(4) == RESERVED);
};

/// First byte of the part of the window that is device registers, 4 KiB each.
pub const DEVICES: u32 = 0xffbe_0000;

/// First byte after the window.
pub const END: u32 = 0xffc0_0000;

/// Most bytes of physical memory that are set aside for the window.
pub const RESERVED: u32 = 0x0020_0000;

/// Bytes of physical memory set aside for the window of so many cores, at a multiple of 1 MiB.
/// The image's tables start right behind them.
#[must_use]
pub const fn reserved(cores: u32) -> u32 {
    (CORE_DATA - BASE + cores * CORE_STRIDE).next_multiple_of(0x10_0000)
}

/// Where in the hypervisor's binary the image's builder writes [`reserved`]: a word.
pub const TABLES: u32 = 4;
