//! The memory that a VM's shadow takes, carved out of what the image sets aside.
//!
//! # Invariants
//!
//! - The parts and their sizes are those that `abi::image::pool_bytes` counts.

use entresol_abi::HostPhys;
use entresol_abi::image::{self, Vm};

/// Where the pools of one VM lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pools {
    pub(crate) base: HostPhys,
    pub(crate) pairs: u32,
    pub(crate) tables_at: HostPhys,
    pub(crate) tables: u32,
    pub(crate) sites_at: HostPhys,
    pub(crate) sites: u32,
    pub(crate) pages_at: HostPhys,
    pub(crate) stubs_at: HostPhys,
    pub(crate) first_asid: u32,
}

impl Pools {
    /// Carves the pools of `vm` at `next`, as `abi::image::pool_bytes` counts them, and ASIDs
    /// for its views at `asid`. vCPU 1 has views and tables of its own, with the same ASIDs.
    pub(crate) fn carve(next: &mut u32, asid: &mut u32, vm: &Vm, cpu: u32) -> Self {
        let mut part = |bytes: u32| {
            let at = HostPhys(*next);
            *next += (bytes + 0x3fff) & !0x3fff;
            at
        };
        let mut own = || {
            let views = part(vm.view_pairs * 2 * FIRST_LEVEL_LEN);
            (views, part(vm.shadow_tables * (SECOND_LEVEL_LEN + RECORD_LEN)))
        };
        let (mut base, mut tables_at) = own();
        if vm.vcpus() > 1 {
            let second = own();
            if cpu != 0 {
                (base, tables_at) = second;
            }
        }
        let pools = Self {
            base,
            pairs: vm.view_pairs,
            tables_at,
            tables: vm.shadow_tables,
            sites_at: part(vm.sites * 8),
            sites: vm.sites,
            pages_at: part((vm.memory_len >> 12) * 8),
            stubs_at: part(image::stub_bytes(vm)),
            first_asid: *asid,
        };
        *asid += vm.view_pairs * 2;
        pools
    }
}
/// Bytes of a first-level table.
const FIRST_LEVEL_LEN: u32 = 0x4000;
/// Bytes of a second-level table.
const SECOND_LEVEL_LEN: u32 = 0x400;
/// Bytes of the record of a second-level table.
const RECORD_LEN: u32 = 0x20;
