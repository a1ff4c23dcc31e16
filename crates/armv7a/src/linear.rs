//! The linear view: all of the machine's memory, by physical address.
//!
//! Entered by holding a [`Linear`], left when it is dropped. Guests do not run
//! meanwhile, so it should not be held long.
//!
//! # Invariants
//!
//! - At most one [`Linear`] exists on a core; [`Linear::enter`] takes the core's
//!   [`Current`] view by exclusive reference for as long as it lives.
//! - It maps memory only, at addresses below the window, never executable.
//! - Addresses given to it come from two places only: pool memory handed out by
//!   [`PoolArray`], and guest memory through
//!   [`GuestMemory`](crate::memory::GuestMemory). Neither overlaps Rust objects.

use crate::exclusive::Exclusive;
use crate::maintenance::{Current, View, switch};
use core::arch::asm;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use entresol_abi::HostPhys;

/// A type that memory of any content is a value of.
///
/// # Safety
///
/// Any bit pattern is a value, and there are no padding bytes.
pub(crate) unsafe trait Word: Copy {}
// SAFETY: an integer.
unsafe impl Word for u8 {}
// SAFETY: an integer.
unsafe impl Word for u16 {}
// SAFETY: an integer.
unsafe impl Word for u32 {}

/// Proof that the linear view is current.
pub(crate) struct Linear<'core> {
    back: View,
    _core: PhantomData<&'core mut Current>,
}

/// Where the linear view's table lies; set once at boot.
static LINEAR: Exclusive<View> = Exclusive::new(View { base: 0, asid: 0 });

/// Names the linear view's table.
///
/// # Safety
///
/// Called once, before any [`Linear`]; the table maps the window as every view and
/// all memory below it at equal addresses, tagged with `view.asid`.
pub(crate) unsafe fn set(view: View) {
    // SAFETY: by the caller's promise nothing reads it yet.
    unsafe { *LINEAR.get() = view };
}

/// The linear view itself.
#[inline(never)]
pub(crate) fn view() -> View {
    // SAFETY: written once at boot, before any call of this.
    unsafe { *LINEAR.get() }
}

impl<'core> Linear<'core> {
    /// Enters the linear view; `current` is what the core returns to.
    #[inline(always)]
    pub(crate) fn enter(current: &'core mut Current) -> Self {
        let back = current.view();
        // SAFETY: by the contract of `set`.
        unsafe { switch(view()) };
        Self { back, _core: PhantomData }
    }

    /// Says that it is entered, which whoever entered it will leave.
    ///
    /// # Safety
    ///
    /// It is entered whenever this is used.
    pub(crate) unsafe fn entered() -> core::mem::ManuallyDrop<Self> {
        let back = View { base: 0, asid: 0 };
        core::mem::ManuallyDrop::new(Self { back, _core: PhantomData })
    }

    /// Leaves it, in line: for the paths that are counted.
    #[inline(always)]
    pub(crate) fn leave(self) {
        // SAFETY: as in `drop`, which is not to happen again.
        unsafe { switch(self.back) };
        core::mem::forget(self);
    }

    /// Loads from physical memory.
    #[inline(always)]
    pub(crate) fn load<T: Word>(&self, at: HostPhys) -> T {
        // SAFETY: mapped while `self` lives; any bytes are a `T`; by the module's
        // second and third invariants no Rust object is there.
        unsafe { core::ptr::read_volatile(at.0 as *const T) }
    }

    /// Stores to physical memory.
    #[inline(always)]
    pub(crate) fn store<T: Word>(&mut self, at: HostPhys, value: T) {
        // SAFETY: as in `load`; `&mut self` excludes a borrow from `page`.
        unsafe { core::ptr::write_volatile(at.0 as *mut T, value) };
    }

    /// Stores `new` where `old` is, unless that changes meanwhile (A3.4: the exclusive monitor;
    /// a failure may have no reason).
    #[inline]
    pub(crate) fn exchange(&mut self, at: HostPhys, old: u32, new: u32) -> bool {
        // SAFETY: as in `store`; guests of other cores access the word at once with others, by
        // stores that are single-copy atomic.
        let word = unsafe { AtomicU32::from_ptr(at.0 as *mut u32) };
        word.compare_exchange_weak(old, new, SeqCst, SeqCst).is_ok()
    }

    /// Borrows a page of physical memory as words.
    #[inline]
    pub(crate) fn page(&self, at: HostPhys) -> &[u32; 1024] {
        // SAFETY: as in `load`; `at` is that of a page, so aligned; stores need
        // `&mut self`, and no guest runs while `self` lives.
        unsafe { &*((at.0 & !0xfff) as *const [u32; 1024]) }
    }

    /// Fills `[at, at + len)` with zeros; both multiples of 4.
    #[inline]
    pub(crate) fn zero(&mut self, at: HostPhys, len: u32) {
        let (blocks, rest) = (len / 32, len % 32);
        // SAFETY: as in `store`. Eight words at a time: tables of 16 KiB are cleared with
        // interrupts masked.
        unsafe {
            asm!(
                "b 3f",
                "2: stmia {at}!, {{r0, r1, r2, r3, r4, r5, r8, r12}}",
                "3: subs {blocks}, {blocks}, #1",
                "bhs 2b",
                at = inout(reg) at.0 => _,
                blocks = inout(reg) blocks => _,
                in("r0") 0, in("r1") 0, in("r2") 0, in("r3") 0,
                in("r4") 0, in("r5") 0, in("r8") 0, in("r12") 0,
                options(nostack),
            );
        }
        let tail = at.0 + blocks * 32;
        for offset in (0..rest).step_by(4) {
            self.store(HostPhys(tail + offset), 0u32);
        }
    }

    /// Copies `len` bytes of tables, a multiple of 32, that do not overlap.
    #[inline]
    pub(crate) fn copy_blocks(&mut self, from: HostPhys, to: HostPhys, len: u32) {
        // SAFETY: as in `load` and `store`.
        unsafe {
            asm!(
                "2: ldmia {from}!, {{r0, r1, r2, r3, r4, r5, r8, r12}}",
                "stmia {to}!, {{r0, r1, r2, r3, r4, r5, r8, r12}}",
                "subs {len}, {len}, #32",
                "bhi 2b",
                from = inout(reg) from.0 => _,
                to = inout(reg) to.0 => _,
                len = inout(reg) len => _,
                out("r0") _, out("r1") _, out("r2") _, out("r3") _,
                out("r4") _, out("r5") _, out("r8") _, out("r12") _,
                options(nostack),
            );
        }
    }

    /// Copies `len` bytes that do not overlap.
    #[inline]
    pub(crate) fn copy(&mut self, from: HostPhys, to: HostPhys, len: u32) {
        // SAFETY: as in `load` and `store`; the ranges belong to the image and to a
        // guest, which do not overlap (`abi::image`, invariant 4).
        unsafe {
            core::ptr::copy_nonoverlapping(from.0 as *const u8, to.0 as *mut u8, len as usize);
        }
    }
}

impl Drop for Linear<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: it was current before and guests' views map the window alike.
        unsafe { switch(self.back) };
    }
}

/// An array in pool memory of items of `STRIDE` bytes, reached through the linear view.
///
/// # Invariants
///
/// - Indices are below `count`: callers get them from numbers that this crate handed out,
///   or from a check against the guest's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolArray<const STRIDE: u32> {
    base: HostPhys,
    count: u32,
}

impl<const STRIDE: u32> PoolArray<STRIDE> {
    pub(crate) const EMPTY: Self = Self { base: HostPhys(0), count: 0 };

    /// Where its base lies in it.
    pub(crate) const BASE: usize = core::mem::offset_of!(Self, base);

    /// `count` items at `base`.
    pub(crate) const fn new(base: HostPhys, count: u32) -> Self {
        Self { base, count }
    }

    /// Address of item `index`.
    #[inline(always)]
    pub(crate) const fn at(self, index: u32) -> HostPhys {
        debug_assert!(index < self.count || self.count == 0);
        HostPhys(self.base.0 + index * STRIDE)
    }

    /// Address of the byte behind the last item.
    pub(crate) const fn end(self) -> HostPhys {
        HostPhys(self.base.0 + self.count * STRIDE)
    }

    /// Number of items.
    pub(crate) const fn count(self) -> u32 {
        self.count
    }
}
