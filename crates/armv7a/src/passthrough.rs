//! What of the machine a VM may touch beside its own memory: devices, and memory it shares.
//!
//! Nothing here is ever executable: a page of code must be writable nowhere while it runs, and
//! of shared memory only each VM's own mappings are known.

use crate::translation::Memory;
use entresol_abi::image::{Passthrough, given};
use entresol_abi::{GuestPhys, HostPhys};

/// Bounded list of what the guest may touch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passthroughs {
    list: [Given; 9],
    count: u8,
    /// Whether the VM's partner has what is the pair's.
    pub(crate) passive: bool,
}

/// One range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    guest: GuestPhys,
    pub(crate) host: HostPhys,
    len: u32,
    /// Bits of [`given`].
    flags: u32,
    /// The interrupt by which the hypervisor tells of it, or 0.
    irq: u32,
}

impl Given {
    /// What kind of memory it is.
    pub(crate) const fn kind(self) -> Memory {
        if self.flags & given::MEMORY != 0 { Memory::Normal } else { Memory::Device }
    }

    /// Whether it may be written.
    pub(crate) const fn writable(self) -> bool {
        self.flags & given::READ_ONLY == 0
    }
}

impl Passthroughs {
    pub(crate) const EMPTY: Self = Self {
        list: [Given { guest: GuestPhys(0), host: HostPhys(0), len: 0, flags: 0, irq: 0 }; 9],
        count: 0,
        passive: false,
    };

    /// Adds a range, unless there is no room.
    pub(crate) fn add(&mut self, range: &Passthrough) {
        let Some(slot) = self.list.get_mut(usize::from(self.count)) else { return };
        let Passthrough { host, guest, len, flags, guest_irq: irq, .. } = *range;
        *slot = Given { guest, host, len, flags, irq };
        self.count += 1;
    }

    /// The range of a guest-physical address, with where that address lies in the machine.
    pub(crate) fn at(&self, at: GuestPhys) -> Option<Given> {
        self.list.iter().take(usize::from(self.count)).find_map(|given| {
            let offset = at.0.wrapping_sub(given.guest.0);
            let host = HostPhys(given.host.0 + offset);
            let has = !self.passive || given.flags & given::PAIRED == 0;
            (has && offset < given.len).then_some(Given { host, ..*given })
        })
    }

    /// The word of the lock at a guest-physical address, who may hold it, and whether it can
    /// be taken from them.
    pub(crate) fn lock(&self, at: GuestPhys) -> Option<(HostPhys, u32, bool)> {
        let Given { host, flags, .. } = self.at(at)?;
        let holders = flags & given::HOLDERS;
        (at.0 & 3 == 0 && holders != 0).then_some((host, holders, flags & given::REVOCABLE != 0))
    }

    /// The interrupts by which the hypervisor tells of something: of locks in memory, and the one
    /// of an entry without memory that tells of ends of VMs.
    #[inline(never)]
    pub(crate) fn told(&self) -> impl Iterator<Item = u32> {
        let told = |given: &Given| given.flags & given::HOLDERS != 0 && given.irq != 0;
        self.list.iter().filter(move |given| told(given)).map(|given| given.irq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_is_memory_and_may_be_read_only() {
        let mut list = Passthroughs::EMPTY;
        let device =
            Passthrough { guest: GuestPhys(0x1000), len: 0x1000, ..Passthrough::default() };
        list.add(&device);
        list.add(&Passthrough {
            host: HostPhys(0x6000_0000),
            guest: GuestPhys(0x3000_0000),
            len: 0x2000,
            flags: given::MEMORY | given::READ_ONLY,
            ..Passthrough::default()
        });
        let shared = list.at(GuestPhys(0x3000_1234)).unwrap();
        assert_eq!(shared.host, HostPhys(0x6000_1234));
        assert!(shared.kind() == Memory::Normal && !shared.writable());
        assert!(list.at(GuestPhys(0x1800)).unwrap().kind() == Memory::Device);
        assert!(list.at(GuestPhys(0x3000_2000)).is_none());
    }

    #[test]
    fn a_backup_has_what_is_the_pairs_only_while_it_is_not_passive() {
        let mut list = Passthroughs::EMPTY;
        let paired = Passthrough { len: 0x1000, flags: given::PAIRED, ..Passthrough::default() };
        list.add(&paired);
        list.add(&Passthrough { guest: GuestPhys(0x1000), len: 0x1000, ..paired });
        list.add(&Passthrough { guest: GuestPhys(0x2000), flags: 0, ..paired });
        let has =
            |list: &Passthroughs| [0, 0x1fff, 0x2000].map(|at| list.at(GuestPhys(at)).is_some());
        assert_eq!(has(&list), [true; 3]);
        list.passive = true;
        assert_eq!(has(&list), [false, false, true]);
    }
}
