//! One VM as this architecture runs it: its vCPU, its board, its shadow.
//!
//! Data and the smallest operations on it; [`hypervisor`](crate::hypervisor) decides.

use crate::exclusive::Exclusive;
use crate::fast::Fast;
use crate::fast::device::Devices;
use crate::promote::{self, HeatMap, Promotion};
use crate::shadow::Shadow;
use crate::work::Unfinished;
use entresol_abi::health::Event;
use entresol_abi::image::{MAX_VMS, Vm};
use entresol_hv::board::Board;
use entresol_hv::gic::Gic;
use entresol_hv::health::{Action, Health, Notices};
use entresol_hv::siblings::Siblings;
use entresol_vcpu::{Vcpu, psr};

/// What a VM is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// Off, after a good or a bad end.
    Off {
        /// Whether it ended well.
        well: bool,
    },
    /// Its memory is being restored; then it starts.
    Restoring,
    /// Runs when its turn comes.
    Running,
    /// Waits for an interrupt.
    Waiting,
    /// Runs when its unfinished work is done.
    Working,
    /// Its run ended, which is being put into words; then this is done.
    Ending(Action),
}

/// What is to become of a VM when its turn comes: only what is loaded can be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// It runs on.
    Nothing,
    /// It was ordered to stop.
    Stop,
    /// It was ordered to start anew.
    Restart,
    /// What follows when this befell it.
    Befallen(Event),
}

/// A page that a guest and its stubs share with the hypervisor.
#[derive(Debug)]
#[repr(C, align(4096))]
pub(crate) struct Shared([u32; 1024]);

/// One for each VM, also for those that do not promote: the fast paths do not ask.
static SHARED: [Exclusive<Shared>; MAX_VMS] =
    [const { Exclusive::new(Shared([0; 1024])) }; MAX_VMS];

/// The shared page of a VM.
pub(crate) fn shared_page(vm: usize) -> *mut Shared {
    SHARED[vm % MAX_VMS].address()
}

/// A VM, or one of its vCPUs. The entry code relies on `vcpu` being first.
#[repr(C)]
pub(crate) struct Guest {
    /// Its processor.
    pub(crate) vcpu: Vcpu,
    /// Top of the core's stack, for the entry code.
    pub(crate) stack: u32,
    /// A word for the entry code.
    pub(crate) scratch: u32,
    /// Bits of CNTKCTL that are its own; 0 if there is no such register.
    pub(crate) counter: u32,
    /// DACR with which it runs, in one table its kernel: `Shadow::domains`.
    pub(crate) dacr: u32,
    /// Where the last exception was taken from; for finding exception loops.
    pub(crate) last: LastException,
    /// What the fast paths need of it.
    pub(crate) fast: Fast,
    /// Its promotions.
    pub(crate) promotion: Promotion,
    /// Who comes next if it passes its turn; null if that is not simple.
    pub(crate) turn: *mut Self,
    /// Pages of its board that its kernel touched lately.
    pub(crate) devices: Devices,
    /// What it is doing.
    pub(crate) run: Run,
    /// What is to become of it.
    pub(crate) due: Due,
    /// Which of its VM's vCPUs it is, and what these share if there are two.
    pub(crate) cpu: u32,
    pub(crate) siblings: Option<&'static Siblings>,
    /// There may be news from the other vCPU, for its turn.
    pub(crate) called: bool,
    /// Its board.
    pub(crate) board: Board,
    /// Its shadow tables.
    pub(crate) shadow: Shadow,
    /// Its work; see [`Run`].
    pub(crate) unfinished: Unfinished,
    /// Its policy after faults.
    pub(crate) health: Health,
    /// Its description.
    pub(crate) vm: Vm,
    /// Which notices may be given.
    pub(crate) notices: Notices,
    /// Interrupts of passed-through devices: none behind a gap.
    pub(crate) interrupts: [Option<Interrupt>; 8],
    /// Samples of its traps. Last, because it is large: offsets of the rest stay short.
    pub(crate) heat: HeatMap,
}

/// A passed-through interrupt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupt {
    pub(crate) machine: u32,
    pub(crate) guest: u32,
    /// One of a pair of VMs has it at a time.
    pub(crate) paired: bool,
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
    /// How many were reflected then: if others were meanwhile, it is no loop.
    pub(crate) reflected: u32,
}

impl Guest {
    pub(crate) const EMPTY: Self = Self {
        vcpu: Vcpu::new(),
        stack: 0,
        scratch: 0,
        counter: 0,
        dacr: 0,
        last: LastException { vector: 0, count: 0, from: 0, reflected: 0 },
        fast: Fast::EMPTY,
        promotion: Promotion::EMPTY,
        turn: core::ptr::null_mut(),
        devices: Devices::EMPTY,
        board: Board::new(),
        shadow: Shadow::EMPTY,
        run: Run::Off { well: true },
        unfinished: Unfinished::NONE,
        due: Due::Nothing,
        cpu: 0,
        siblings: None,
        called: false,
        health: Health::from_image(&Vm::EMPTY),
        vm: Vm::EMPTY,
        notices: Notices::new(),
        interrupts: [None; 8],
        heat: promote::COLD,
    };

    /// Whether its run has begun and not ended.
    #[inline(never)]
    pub(crate) const fn lives(&self) -> bool {
        matches!(self.run, Run::Running | Run::Waiting | Run::Working)
    }

    /// Whether anything can end a wait for an interrupt that begins now.
    pub(crate) fn may_wake(&self, now: u64) -> bool {
        let gic = &self.board.gic;
        self.board.may_wake(now)
            || self.siblings.is_some()
            || self.shadow.passthrough.told().any(|irq| gic.would_assert(irq))
            || self.interrupts.iter().flatten().any(|line| gic.would_assert(line.guest))
    }

    /// Notes what its board has pending for its processor.
    #[inline]
    pub(crate) fn note_pending(&mut self) {
        const _: () = assert!(Gic::IRQ == psr::I && Gic::FIQ == psr::F);
        self.vcpu.pending = self.board.gic.inputs();
        self.publish_pending();
    }
}
