//! Counters that the host reads from the machine's memory, at no cost to guests.
//!
//! One [`Observed`] lies at the start of the hypervisor's writable data; its symbol is
//! `ENTRESOL_OBSERVED`, its first word [`MAGIC`].

use crate::image::MAX_VMS;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Marks the counters: `EOBS` in memory order.
pub const MAGIC: u32 = u32::from_le_bytes(*b"EOBS");

/// Counters of the whole machine.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Observed {
    /// Always [`MAGIC`].
    pub magic: u32,
    /// Switches from one VM to another.
    pub vm_switches: u32,
    /// Physical interrupts taken.
    pub interrupts: u32,
    /// Reserved, 0.
    pub reserved: u32,
    /// Counters of each VM.
    pub vms: [VmCounters; MAX_VMS],
}

/// Counters of one VM.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VmCounters {
    /// Sensitive instructions emulated after a trap.
    pub sensitive: u32,
    /// CP15 accesses emulated.
    pub cp15: u32,
    /// Device accesses emulated.
    pub mmio: u32,
    /// Shadow entries filled.
    pub fills: u32,
    /// Exceptions reflected to the guest kernel.
    pub reflected: u32,
    /// Interrupts injected.
    pub injected: u32,
    /// Pages scanned for sensitive instructions, or found to be rewritten ahead of time.
    pub scanned: u32,
    /// Pages taken back after a write.
    pub taken_back: u32,
    /// Times all shadow tables were dropped.
    pub flushes: u32,
    /// Hypercalls.
    pub hypercalls: u32,
    /// Starts.
    pub starts: u32,
    /// Faults that ended a run.
    pub faults: u32,
    /// Times it was stopped at the end of its budget.
    pub exhausted: u32,
    /// The longest it ran beyond a budget, in ticks of the counter.
    pub overrun: u32,
}

impl Observed {
    /// All counters zero.
    pub const ZERO: Self = Self {
        magic: MAGIC,
        vm_switches: 0,
        interrupts: 0,
        reserved: 0,
        vms: [VmCounters {
            sensitive: 0,
            cp15: 0,
            mmio: 0,
            fills: 0,
            reflected: 0,
            injected: 0,
            scanned: 0,
            taken_back: 0,
            flushes: 0,
            hypercalls: 0,
            starts: 0,
            faults: 0,
            exhausted: 0,
            overrun: 0,
        }; MAX_VMS],
    };
}
