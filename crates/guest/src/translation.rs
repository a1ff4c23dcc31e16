//! Translation tables in the short-descriptor format, and turning the MMU on.
//!
//! Tables are statics of the guest, mapped where they lie in memory (virtual address
//! equals physical address for everything a guest's kernel uses).
//!
//! # Manuals
//!
//! ARM DDI 0406C, B3.5 (short-descriptor format), B3.7 (access permissions).

use crate::cp15;
use core::ptr;

/// How memory is accessed. TEX remap is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Normal, write-back, write-allocate.
    Normal,
    /// Device.
    Device,
}

/// Who may access a mapping, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// AP\[2:0\].
    pub ap: u32,
    /// Not executable.
    pub xn: bool,
    /// Domain; of the first-level entry only.
    pub domain: u32,
    /// Type of memory.
    pub memory: Memory,
    /// Belongs to the current ASID only.
    pub not_global: bool,
}

impl Access {
    /// The kernel's memory: PL1 only.
    pub const KERNEL: Self =
        Self { ap: 0b001, xn: false, domain: 0, memory: Memory::Normal, not_global: false };
    /// Device registers: PL1 only.
    pub const DEVICE: Self = Self { memory: Memory::Device, xn: true, ..Self::KERNEL };
    /// An application's memory, readable and writable by it.
    pub const APPLICATION: Self = Self { ap: 0b011, not_global: true, ..Self::KERNEL };

    fn ap_low(self) -> u32 {
        self.ap & 0b11
    }

    fn ap_high(self) -> u32 {
        (self.ap >> 2) & 1
    }

    /// TEX, C and B as (TEX, CB).
    fn type_bits(self) -> (u32, u32) {
        match self.memory {
            Memory::Normal => (0b001, 0b11),
            Memory::Device => (0b000, 0b01),
        }
    }
}

/// A first-level table.
#[repr(C, align(0x4000))]
pub struct Level1([u32; 4096]);

/// A second-level table.
#[repr(C, align(0x400))]
pub struct Level2([u32; 256]);

impl Level1 {
    /// Maps nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; 4096])
    }

    /// Maps the megabyte at `virt` to the one at `phys`.
    pub fn section(&mut self, virt: usize, phys: usize, access: Access) {
        let (tex, cb) = access.type_bits();
        let descriptor = (phys as u32 & 0xfff0_0000)
            | (u32::from(access.not_global) << 17)
            | (access.ap_high() << 15)
            | (tex << 12)
            | (access.ap_low() << 10)
            | (access.domain << 5)
            | (u32::from(access.xn) << 4)
            | (cb << 2)
            | 0b10;
        self.set(virt, descriptor);
    }

    /// Lets `table` map the megabyte at `virt`.
    pub fn table(&mut self, virt: usize, table: &Level2, domain: u32) {
        let base = ptr::from_ref(table).addr();
        self.set(virt, base as u32 | (domain << 5) | 0b01);
    }

    /// Maps what `other` maps.
    pub fn copy_from(&mut self, other: &Self) {
        self.0 = other.0;
    }

    /// Sets the descriptor of the megabyte at `virt`.
    pub fn set(&mut self, virt: usize, descriptor: u32) {
        if let Some(slot) = self.0.get_mut(virt >> 20) {
            // SAFETY: a reference can be written; volatile because the MMU reads it.
            unsafe { ptr::from_mut(slot).write_volatile(descriptor) }
        }
    }
}

impl Default for Level1 {
    fn default() -> Self {
        Self::new()
    }
}

impl Level2 {
    /// Maps nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; 256])
    }

    /// Maps the 4 KiB at `virt` to those at `phys`.
    pub fn page(&mut self, virt: usize, phys: usize, access: Access) {
        let (tex, cb) = access.type_bits();
        let descriptor = (phys as u32 & 0xffff_f000)
            | (u32::from(access.not_global) << 11)
            | (access.ap_high() << 9)
            | (tex << 6)
            | (access.ap_low() << 4)
            | (cb << 2)
            | 0b10
            | u32::from(access.xn);
        self.set(virt, descriptor);
    }

    /// Maps the 64 KiB at `virt` to those at `phys`.
    pub fn large_page(&mut self, virt: usize, phys: usize, access: Access) {
        let (tex, cb) = access.type_bits();
        let descriptor = (phys as u32 & 0xffff_0000)
            | (u32::from(access.xn) << 15)
            | (tex << 12)
            | (u32::from(access.not_global) << 11)
            | (access.ap_high() << 9)
            | (access.ap_low() << 4)
            | (cb << 2)
            | 0b01;
        let first = virt & !0xffff;
        for page in 0..16 {
            self.set(first + page * 0x1000, descriptor);
        }
    }

    /// Sets the descriptor of the 4 KiB at `virt`.
    pub fn set(&mut self, virt: usize, descriptor: u32) {
        if let Some(slot) = self.0.get_mut((virt >> 12) & 0xff) {
            // SAFETY: a reference can be written; volatile because the MMU reads it.
            unsafe { ptr::from_mut(slot).write_volatile(descriptor) }
        }
    }
}

impl Default for Level2 {
    fn default() -> Self {
        Self::new()
    }
}

/// Turns the MMU and the caches on, with `table` for ASID `asid`; all domains clients.
///
/// # Safety
///
/// `table` maps everything the guest uses, at its physical address.
pub unsafe fn enable(table: *const Level1, asid: u32) {
    // SAFETY: the MMU is off, so nothing is translated yet.
    unsafe { cp15::ttbcr::write(0) }
    // SAFETY: as above.
    unsafe { cp15::dacr::write(0x5555_5555) }
    // SAFETY: as above.
    unsafe { cp15::ttbr0::write(table.addr() as u32) }
    // SAFETY: as above.
    unsafe { cp15::contextidr::write(asid) }
    invalidate_all();
    // SAFETY: the caller's promise: every address still means what it did.
    unsafe { cp15::sctlr::write(cp15::sctlr::read() | SCTLR_ON) }
    cp15::isb();
}

/// SCTLR: I, Z, C, M.
const SCTLR_ON: u32 = (1 << 12) | (1 << 11) | (1 << 2) | 1;

/// Makes `table` with `asid` the current one.
///
/// # Safety
///
/// `table` maps what the caller uses, at the same addresses as the current one.
pub unsafe fn switch(table: *const Level1, asid: u32) {
    // SAFETY: ASID 0 is reserved: it never has entries of its own.
    unsafe { cp15::contextidr::write(0) }
    cp15::isb();
    // SAFETY: the caller's promise.
    unsafe { cp15::ttbr0::write(table.addr() as u32) }
    cp15::isb();
    // SAFETY: the entries of `asid` are of this table.
    unsafe { cp15::contextidr::write(asid) }
    cp15::isb();
}

/// Forgets every translation.
pub fn invalidate_all() {
    cp15::dsb();
    // SAFETY: TLBs hold copies only.
    unsafe { cp15::tlbiall::write(0) }
    // SAFETY: instruction caches hold copies only.
    unsafe { cp15::iciallu::write(0) }
    // SAFETY: predictions are hints.
    unsafe { cp15::bpiall::write(0) }
    cp15::dsb();
    cp15::isb();
}

/// Forgets the translations of one page, in every address space.
pub fn invalidate(virt: usize) {
    cp15::dsb();
    // SAFETY: TLBs hold copies only.
    unsafe { cp15::tlbimvaa::write(virt as u32 & 0xffff_f000) }
    // SAFETY: predictions are hints.
    unsafe { cp15::bpiall::write(0) }
    cp15::dsb();
    cp15::isb();
}
