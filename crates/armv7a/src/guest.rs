//! One VM as this architecture runs it: its vCPU, its board, its shadow.
//!
//! Data and the smallest operations on it; [`hypervisor`](crate::hypervisor) decides.

use crate::fast::Fast;
use crate::shadow::Shadow;
use entresol_abi::image::Vm;
use entresol_hv::board::Board;
use entresol_hv::health::Health;
use entresol_vcpu::Vcpu;

/// What a VM is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// Off, after a good or a bad end.
    Off {
        /// Whether it ended well.
        well: bool,
    },
    /// Its memory is being restored; so many bytes are cleared, so many loads copied.
    Restoring {
        /// Bytes of its memory cleared.
        cleared: u32,
        /// Index of the next load.
        load: u32,
        /// Bytes of that load copied.
        copied: u32,
    },
    /// Runs when its turn comes.
    Running,
    /// Waits for an interrupt.
    Waiting,
}

/// A VM with one vCPU. The entry code relies on `vcpu` being first.
#[repr(C)]
pub(crate) struct Guest {
    /// Its processor.
    pub(crate) vcpu: Vcpu,
    /// Top of the core's stack, for the entry code.
    pub(crate) stack: u32,
    /// A word for the entry code.
    pub(crate) scratch: u32,
    /// DACR while it runs.
    pub(crate) dacr: u32,
    /// Where the last exception was taken from; for finding exception loops.
    pub(crate) last: LastException,
    /// What the fast paths need of it.
    pub(crate) fast: Fast,
    /// Its board.
    pub(crate) board: Board,
    /// Its shadow tables.
    pub(crate) shadow: Shadow,
    /// What it is doing.
    pub(crate) run: Run,
    /// Its policy after faults.
    pub(crate) health: Health,
    /// Its description.
    pub(crate) vm: Vm,
    /// Notices given since its start.
    pub(crate) notices: u32,
    /// Interrupts of passed-through devices: machine's number, guest's number, masked.
    pub(crate) interrupts: [Option<Interrupt>; 8],
}

/// A passed-through interrupt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupt {
    pub(crate) machine: u32,
    pub(crate) guest: u32,
    /// Delivered, and masked in the machine until the guest ends it.
    pub(crate) delivered: bool,
}

/// The latest exceptions without a good instruction between.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct LastException {
    /// Where the vector was.
    pub(crate) vector: u32,
    /// How many in a row.
    pub(crate) count: u32,
    /// Where the first came from.
    pub(crate) from: u32,
}

impl Guest {
    pub(crate) const EMPTY: Self = Self {
        vcpu: Vcpu::new(),
        stack: 0,
        scratch: 0,
        dacr: 0,
        last: LastException { vector: 0, count: 0, from: 0 },
        fast: Fast::EMPTY,
        board: Board::new(),
        shadow: Shadow::EMPTY,
        run: Run::Off { well: true },
        health: Health::from_image(0, 0),
        vm: Vm::EMPTY,
        notices: 0,
        interrupts: [None; 8],
    };
}
