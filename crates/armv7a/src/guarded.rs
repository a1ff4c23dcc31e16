//! Accesses to a guest's memory through its own view, which may fail.
//!
//! `ldrt` and `strt` obey the permissions of User mode even here, so the current view
//! decides as it would for the guest. One that aborts returns `false` in place of its
//! result; what to do about the missing mapping is the caller's business.
//!
//! # Invariants
//!
//! - These functions are contiguous, in this order, and [`failed`] is the last:
//!   the entry code recognises them by address. The linker script keeps their section.
//! - They use `r0` to `r3` only.
//!
//! Manual: ARM DDI 0406C, A8.8.92 (LDRT).

use core::arch::naked_asm;

/// Bytes of code that may abort: [`load_word`] up to [`failed`].
pub(crate) const CODE_LEN: u32 = 8 * 16;

/// What a guarded load returns in `r0` and `r1`: the value, and 1 if it succeeded.
type Loaded = u64;

/// Declares a guarded access of four instructions.
macro_rules! guarded {
    ($name:ident, $section:literal, load $text:literal) => {
        #[unsafe(naked)]
        #[unsafe(link_section = $section)]
        pub(crate) unsafe extern "C" fn $name(address: u32) -> Loaded {
            naked_asm!($text, "mov r1, #1", "bx lr", "nop")
        }
    };
    ($name:ident, $section:literal, store $text:literal) => {
        #[unsafe(naked)]
        #[unsafe(link_section = $section)]
        pub(crate) unsafe extern "C" fn $name(address: u32, value: u32) -> Loaded {
            naked_asm!($text, "mov r1, #1", "bx lr", "nop")
        }
    };
}

guarded!(load_word, ".text.guarded.0", load "ldrt r0, [r0]");
guarded!(load_half, ".text.guarded.1", load "ldrht r0, [r0], #0");
guarded!(load_byte, ".text.guarded.2", load "ldrbt r0, [r0]");
guarded!(store_word, ".text.guarded.3", store "strt r1, [r0]");
guarded!(store_half, ".text.guarded.4", store "strht r1, [r0], #0");
guarded!(store_byte, ".text.guarded.5", store "strbt r1, [r0]");

/// Cleans and invalidates the data-cache line of an address (DCCIMVAC, B4.2.1).
#[unsafe(naked)]
#[unsafe(link_section = ".text.guarded.6")]
pub(crate) unsafe extern "C" fn flush_data_line(address: u32) -> Loaded {
    naked_asm!("mcr p15, 0, r0, c7, c14, 1", "mov r1, #1", "bx lr", "nop")
}

/// Invalidates the instruction-cache line of an address (ICIMVAU, B4.2.1).
#[unsafe(naked)]
#[unsafe(link_section = ".text.guarded.7")]
pub(crate) unsafe extern "C" fn invalidate_instruction_line(address: u32) -> Loaded {
    naked_asm!("mcr p15, 0, r0, c7, c5, 1", "mov r1, #1", "bx lr", "nop")
}

/// Where a guarded access that aborted returns to its caller from.
#[unsafe(naked)]
#[unsafe(link_section = ".text.guarded.8")]
pub(crate) unsafe extern "C" fn failed() {
    naked_asm!("mov r1, #0", "bx lr")
}

/// Value of a guarded access that succeeded.
#[inline]
fn value(loaded: Loaded) -> Option<u32> {
    if loaded >> 32 == 0 { None } else { Some(loaded as u32) }
}

/// Loads a word of the guest; `None` if its view does not allow it now.
#[inline]
pub(crate) fn word(address: u32) -> Option<u32> {
    // SAFETY: an abort is caught, and User permissions keep the hypervisor's memory out.
    value(unsafe { load_word(address) })
}

/// Loads a halfword of the guest.
#[inline]
pub(crate) fn half(address: u32) -> Option<u32> {
    // SAFETY: as in `word`.
    value(unsafe { load_half(address) })
}

/// Loads a byte of the guest.
#[inline]
pub(crate) fn byte(address: u32) -> Option<u32> {
    // SAFETY: as in `word`.
    value(unsafe { load_byte(address) })
}

/// Stores a word of the guest; `false` if its view does not allow it now.
#[inline]
pub(crate) fn put_word(address: u32, value: u32) -> bool {
    // SAFETY: as in `word`; guest memory is no Rust object.
    unsafe { store_word(address, value) >> 32 != 0 }
}

/// Stores a halfword of the guest.
#[inline]
pub(crate) fn put_half(address: u32, value: u32) -> bool {
    // SAFETY: as in `put_word`.
    unsafe { store_half(address, value) >> 32 != 0 }
}

/// Stores a byte of the guest.
#[inline]
pub(crate) fn put_byte(address: u32, value: u32) -> bool {
    // SAFETY: as in `put_word`.
    unsafe { store_byte(address, value) >> 32 != 0 }
}

/// Writes the cache line of an address back and drops it; `false` if the current view does
/// not map it.
pub(crate) fn flush_line(address: u32) -> bool {
    // SAFETY: writing back loses nothing, and an abort is caught.
    unsafe { flush_data_line(address) >> 32 != 0 }
}
