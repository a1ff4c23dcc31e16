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
    assert!(crate::image::MAX_CORES == 2, "as many as fit the window's memory");
    assert!(CORE_DATA - BASE + CORE_STRIDE * 2 <= RESERVED);
};

/// First byte of the part of the window that is device registers, 4 KiB each.
pub const DEVICES: u32 = 0xffbe_0000;

/// First byte after the window.
pub const END: u32 = 0xffc0_0000;

/// Bytes of physical memory set aside for the window, at a multiple of 1 MiB.
/// The image's tables start right behind them.
pub const RESERVED: u32 = 0x0010_0000;
