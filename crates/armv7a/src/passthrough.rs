//! The machine's devices that a VM may touch directly.

use entresol_abi::{GuestPhys, HostPhys};

/// Bounded list of devices of the machine that the guest may touch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passthroughs {
    list: [(GuestPhys, HostPhys, u32); 8],
    count: u8,
}

impl Passthroughs {
    pub(crate) const EMPTY: Self = Self { list: [(GuestPhys(0), HostPhys(0), 0); 8], count: 0 };

    /// Adds a range; `false` if there is no room.
    pub(crate) fn add(&mut self, guest: GuestPhys, host: HostPhys, len: u32) -> bool {
        let Some(slot) = self.list.get_mut(usize::from(self.count)) else { return false };
        *slot = (guest, host, len);
        self.count += 1;
        true
    }

    /// Where a guest-physical address of such a device lies in the machine.
    pub(crate) fn host(&self, at: GuestPhys) -> Option<HostPhys> {
        self.list.iter().take(usize::from(self.count)).find_map(|(guest, host, len)| {
            let offset = at.0.wrapping_sub(guest.0);
            (offset < *len).then_some(HostPhys(host.0 + offset))
        })
    }
}
