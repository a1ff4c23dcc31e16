//! The vCPUs of a core: their numbers, sets of them, something for each.

use crate::bus;
use core::ops::{Index, IndexMut};
use entresol_abi::image::MAX_VMS;

/// Most vCPUs of one core.
pub const MAX_VCPUS: usize = MAX_VMS;
const _: () = assert!(MAX_VCPUS.is_power_of_two() && MAX_VCPUS <= 32);

/// A vCPU of this core, below [`MAX_VCPUS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(pub(super) u8);

impl Id {
    /// The vCPU with this index; `None` when there can be none.
    #[must_use]
    pub fn new(index: usize) -> Option<Self> {
        u8::try_from(index).ok().filter(|_| index < MAX_VCPUS).map(Self)
    }

    /// Its index, below [`MAX_VCPUS`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0) & (MAX_VCPUS - 1)
    }

    /// Its bit in a set of vCPUs.
    pub(super) const fn bit(self) -> u32 {
        1 << (self.0 % 32)
    }
}

/// Something for each vCPU.
#[derive(Clone, Debug)]
pub(super) struct PerVcpu<T>(pub(super) [T; MAX_VCPUS]);

#[expect(clippy::indexing_slicing, reason = "Id::index is below the length, a power of two")]
impl<T> Index<Id> for PerVcpu<T> {
    type Output = T;

    fn index(&self, id: Id) -> &T {
        &self.0[id.index()]
    }
}

#[expect(clippy::indexing_slicing, reason = "Id::index is below the length, a power of two")]
impl<T> IndexMut<Id> for PerVcpu<T> {
    fn index_mut(&mut self, id: Id) -> &mut T {
        &mut self.0[id.index()]
    }
}

/// The vCPUs in a set.
pub(super) fn members(set: u32) -> impl Iterator<Item = Id> {
    let mut members = bus::members(set);
    core::iter::from_fn(move || members.next().and_then(Id::new))
}
