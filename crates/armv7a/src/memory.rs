//! From guest physical to host physical addresses: the one place that decides.
//!
//! A guest's address is an allegation until [`GuestMemory::host`] turned it into a
//! [`HostPhys`]; nothing else makes one out of a [`GuestPhys`].

use crate::linear::Linear;
use entresol_abi::{GuestPhys, HostPhys};
use entresol_vcpu::{Cp15, Mapping, WalkFault, walk};

/// The memory of one VM: one range, contiguous in the machine.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct GuestMemory {
    /// First guest physical address, a multiple of 1 MiB.
    guest: GuestPhys,
    /// Where it lies, a multiple of 1 MiB.
    host: HostPhys,
    /// Length, a multiple of 1 MiB.
    len: u32,
}

impl GuestMemory {
    pub(crate) const EMPTY: Self = Self { guest: GuestPhys(0), host: HostPhys(0), len: 0 };

    pub(crate) const fn new(guest: GuestPhys, host: HostPhys, len: u32) -> Self {
        Self { guest, host, len }
    }

    /// Where a byte of the guest lies, if it is in the VM's memory.
    #[inline(always)]
    pub(crate) const fn host(&self, at: GuestPhys) -> Option<HostPhys> {
        let offset = at.0.wrapping_sub(self.guest.0);
        if offset < self.len { Some(HostPhys(self.host.0 + offset)) } else { None }
    }

    /// Number of the page of `at`, if it is in the VM's memory.
    #[inline(always)]
    pub(crate) const fn page(&self, at: GuestPhys) -> Option<u32> {
        let offset = at.0.wrapping_sub(self.guest.0);
        if offset < self.len { Some(offset >> 12) } else { None }
    }

    /// Number of the page that lies at `at` in the machine, if it is the VM's.
    #[inline]
    pub(crate) const fn page_of_host(&self, at: HostPhys) -> Option<u32> {
        let offset = at.0.wrapping_sub(self.host.0);
        if offset < self.len { Some(offset >> 12) } else { None }
    }

    /// Where page `number` lies; callers got the number from [`GuestMemory::page`].
    #[inline(always)]
    pub(crate) const fn page_at(&self, number: u32) -> HostPhys {
        HostPhys(self.host.0 + (number << 12))
    }

    /// Number of pages.
    pub(crate) const fn pages(&self) -> u32 {
        self.len >> 12
    }

    /// Walks the guest's own tables. One copy of a long piece of code.
    #[inline(never)]
    pub(crate) fn walk(
        &self,
        linear: &Linear<'_>,
        cp15: &Cp15,
        address: u32,
    ) -> Result<Mapping, WalkFault> {
        walk::walk(cp15, address, |at| self.load(linear, at))
    }

    /// Loads an aligned word of the guest's memory.
    #[inline(always)]
    pub(crate) fn load(&self, linear: &Linear<'_>, at: GuestPhys) -> Option<u32> {
        Some(linear.load(self.host(GuestPhys(at.0 & !3))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_outside_the_memory_has_no_host_address() {
        let memory = GuestMemory::new(GuestPhys(0x4000_0000), HostPhys(0x6100_0000), 0x10_0000);
        assert_eq!(memory.host(GuestPhys(0x4000_1234)), Some(HostPhys(0x6100_1234)));
        assert_eq!(memory.host(GuestPhys(0x400f_ffff)), Some(HostPhys(0x610f_ffff)));
        assert_eq!(memory.host(GuestPhys(0x4010_0000)), None);
        assert_eq!(memory.host(GuestPhys(0x3fff_ffff)), None);
        assert_eq!(memory.host(GuestPhys(0)), None);
    }
}
