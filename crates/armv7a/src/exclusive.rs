//! A static that one piece of code at a time may change.
//!
//! Interrupts stay masked while the hypervisor runs and one core runs it, so whatever
//! runs has what it takes to itself. With several cores each gets its own.

use core::cell::UnsafeCell;

/// A value in a static, handed out as `&mut`.
#[repr(transparent)]
pub struct Exclusive<T>(UnsafeCell<T>);

// SAFETY: `get` makes its callers promise that no two references exist at a time.
unsafe impl<T> Sync for Exclusive<T> {}

impl<T> Exclusive<T> {
    /// Holds `value`.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Takes the value.
    ///
    /// # Safety
    ///
    /// No other reference to it is used as long as this one is.
    #[expect(clippy::mut_from_ref, reason = "the caller promises that it is the only one")]
    #[inline]
    pub unsafe fn get(&'static self) -> &'static mut T {
        // SAFETY: the caller's promise.
        unsafe { &mut *self.0.get() }
    }

    /// Where the value lies.
    pub const fn address(&'static self) -> *mut T {
        self.0.get()
    }
}
