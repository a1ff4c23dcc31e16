//! Where things go in the machine's memory.
//!
//! ```text
//! load              the hypervisor's binary, 1 MiB set aside
//! load + 1 MiB      tables and payloads
//! pools             page tables and records of the hypervisor, whole MiB
//! shared            memory that VMs share, whole MiB
//! VMs               one range each, whole MiB, in the manifest's order
//! ```
//!
//! # Invariants
//!
//! 1. No two ranges overlap; every range is in the machine's RAM.
//! 2. All but the tables start and end at multiples of 1 MiB.

use crate::machine::Machine;
use entresol_abi::window;

const MIB: u64 = 1 << 20;

/// What the hypervisor keeps in its pools besides what it keeps per VM: its own
/// tables of the linear view, and slack for alignment.
const POOLS_FIXED: u64 = 0x8000 + 0x1_0000;

/// A range of the machine's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub base: u64,
    /// Length in bytes.
    pub len: u64,
}

impl Span {
    /// First byte behind it.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.base + self.len
    }
}

/// Where everything lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The hypervisor's binary.
    pub hypervisor: Span,
    /// Room for tables and payloads.
    pub image: Span,
    /// Pools.
    pub pools: Span,
    /// Memory that VMs share.
    pub shared: Span,
    /// Memory of each VM.
    pub vms: Vec<Span>,
}

/// Something does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// The VM whose memory it is; `None` for the hypervisor and its image.
    pub vm: Option<usize>,
    /// Bytes wanted.
    pub wanted: u64,
    /// The largest piece left.
    pub left: u64,
}

/// What each VM needs.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Bytes of payloads, each rounded up to 4 KiB, and of their table entries.
    pub payloads: u64,
    /// Bytes of pools.
    pub pools: u64,
    /// Bytes of memory, whole MiB.
    pub memory: u64,
}

/// Finds a place for everything, on so many cores; `shared` is how many bytes VMs share.
///
/// # Errors
///
/// The first thing that does not fit.
pub fn lay_out(machine: &Machine, cores: u32, vms: &[Needs], shared: u64) -> Result<Layout, Full> {
    let load = u64::from(machine.load);
    let mut free: Vec<Span> = machine
        .ram
        .iter()
        .map(|ram| Span { base: u64::from(ram.base), len: ram.size.0 })
        .map(|ram| if (ram.base..ram.end()).contains(&load) { from(ram, load) } else { ram })
        .collect();
    // The image is contiguous: take its range first.
    free.sort_by_key(|ram| (!(ram.base..ram.end()).contains(&load), ram.base));
    // The header and the tables of up to MAX_VMS VMs, and the gap to the payloads.
    let tables = 0x2000;
    let image_len = (tables + vms.iter().map(|vm| vm.payloads).sum::<u64>()).next_multiple_of(MIB);
    let pools_len =
        (POOLS_FIXED + vms.iter().map(|vm| vm.pools).sum::<u64>()).next_multiple_of(MIB);
    let reserved = u64::from(window::reserved(cores));
    let shared_len = shared.next_multiple_of(MIB);
    let wanted = reserved + image_len + pools_len + shared_len;
    let whole = take(&mut free, wanted).map_err(|left| Full { vm: None, wanted, left })?;
    let hypervisor = Span { base: whole.base, len: reserved };
    let image = Span { base: hypervisor.end(), len: image_len };
    let pools = Span { base: image.end(), len: pools_len };
    let shared = Span { base: pools.end(), len: shared_len };
    let place = |(index, vm): (usize, &Needs)| {
        let full = |left| Full { vm: Some(index), wanted: vm.memory, left };
        take(&mut free, vm.memory).map_err(full)
    };
    let vms = vms.iter().enumerate().map(place).collect::<Result<_, _>>()?;
    Ok(Layout { hypervisor, image, pools, shared, vms })
}

fn from(span: Span, base: u64) -> Span {
    Span { base, len: span.end() - base }
}

/// Takes `len` bytes from the first range that has them, else says how much is left.
fn take(free: &mut [Span], len: u64) -> Result<Span, u64> {
    let left = free.iter().map(|span| span.len).max().unwrap_or(0);
    let span = free.iter_mut().find(|span| span.len >= len).ok_or(left)?;
    let taken = Span { base: span.base, len };
    *span = from(*span, taken.end());
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(memory: u64) -> Needs {
        Needs { payloads: 0x1000, pools: 0x10_0000, memory: memory * MIB }
    }

    #[test]
    fn ranges_follow_each_other_without_gaps() {
        let machine = Machine::named("vexpress-a9").unwrap().unwrap();
        let layout = lay_out(&machine, 1, &[needs(64), needs(1)], 0).unwrap();
        assert_eq!(layout.hypervisor, Span { base: 0x6000_0000, len: MIB });
        assert_eq!(layout.image, Span { base: 0x6010_0000, len: MIB });
        assert_eq!(layout.pools, Span { base: 0x6020_0000, len: 3 * MIB });
        assert_eq!(layout.vms[0], Span { base: 0x6050_0000, len: 64 * MIB });
        assert_eq!(layout.vms[1], Span { base: 0x6450_0000, len: MIB });
    }

    #[test]
    fn the_vm_that_does_not_fit_is_named_with_what_is_left() {
        let machine = Machine::named("vexpress-a9").unwrap().unwrap();
        let full = lay_out(&machine, 1, &[needs(1000), needs(64)], 0).unwrap_err();
        assert_eq!(full, Full { vm: Some(1), wanted: 64 * MIB, left: 19 * MIB });
    }
}
