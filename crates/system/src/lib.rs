//! The manifest model: spans, checks, layout.
//!
//! Takes the path of a manifest and gives a [`System`]: plain data in which every
//! name is resolved, every file read and every address decided. What is wrong comes
//! back as [`Problems`], each with the manifest's line and a remedy.
//!
//! Not here: writing device trees and the bootable image (`entresol-image`).
//!
//! # Modules, in the order in which a manifest passes through them
//!
//! - [`manifest`]: what the text says.
//! - [`machine`]: what the board is.
//! - [`guest`]: what a guest's binary is; [`code`] and [`text`]: what of it is code.
//! - [`rewritten`]: what is known of a binary that was rewritten ahead of time.
//! - [`placement`]: where things go in a guest's memory.
//! - [`resolve`]: whether it makes sense.
//! - [`timing`]: what the schedule promises.
//! - [`layout`]: where things go in the machine's memory.
//! - [`report`]: the result for people and programs.
//!
//! And [`template`]: a manifest to start from; [`code`]: what in a binary is code;
//! [`schedule`]: a picture of who runs when; [`duration`]: lengths of time; [`health`]: what can
//! befall a VM.

#![forbid(unsafe_code)]

pub mod code;
pub mod duration;
pub mod guest;
pub mod health;
pub mod layout;
pub mod machine;
pub mod manifest;
pub mod placement;
pub mod problem;
pub mod report;
pub mod resolve;
pub mod rewritten;
pub mod schedule;
pub mod template;
pub mod text;
pub mod timing;

pub use machine::Machine;
pub use problem::{Problem, Problems};
pub use report::Report;

use entresol_abi::image as abi;
use layout::Layout;
use manifest::{Access, Format, Locks, Protection, Rewrite, Time};
use std::{
    ops::Range,
    path::{Path, PathBuf},
};

/// A system, ready to be written.
#[derive(Clone, Debug)]
pub struct System {
    /// The machine it runs on.
    pub machine: Machine,
    /// Its virtual machines; the index is the VM's number.
    pub vms: Vec<Vm>,
    /// The time slots of the major frame; none: no slots.
    pub slots: Vec<Slot>,
    /// Memory that VMs share.
    pub shared: Vec<Shared>,
    /// Where everything lies in the machine's memory.
    pub layout: Layout,
    /// What is no mistake, but should be known.
    pub warnings: Vec<Problem>,
}

/// How many cores `vms` run on: those below the highest that one of them has.
#[must_use]
pub fn cores(vms: &[Vm]) -> u32 {
    vms.iter().map(|vm| vm.core.max(vm.second_core) + 1).max().unwrap_or(1)
}

/// How long a VM may run in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How long, in nanoseconds.
    pub budget: u32,
    /// The period in nanoseconds.
    pub period: u32,
}

/// A time slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its length in nanoseconds.
    pub length: u32,
    /// Who may run in it: bit *n* for the VM with index *n*.
    pub vms: u32,
}

/// Whether bit `vm` is set, that of the VM with this index.
pub(crate) fn names(vms: u32, vm: usize) -> bool {
    u32::try_from(vm).is_ok_and(|vm| vms.checked_shr(vm).unwrap_or(0) & 1 == 1)
}

impl Slot {
    /// Whether the VM with index `vm` may run in it.
    #[must_use]
    pub fn is_open(self, vm: usize) -> bool {
        names(self.vms, vm)
    }
}

/// A virtual machine, ready to be written.
#[derive(Clone, Debug)]
pub struct Vm {
    /// Its name.
    pub name: String,
    /// The file of its binary.
    pub image: PathBuf,
    /// Format of its binary.
    pub format: Format,
    /// Length of its memory, which starts at [`placement::MEMORY`].
    pub memory: u32,
    /// 0 (least urgent) to 31.
    pub priority: u32,
    /// The core that runs it, or its vCPU 0.
    pub core: u32,
    /// The core of its vCPU 1; the same if it has none.
    pub second_core: u32,
    /// How long it may run; absent: without bound.
    pub budget: Option<Budget>,
    /// Whether it has the virtual board's PL011.
    pub uart: bool,
    /// Whether it has the virtual board's PL031.
    pub rtc: bool,
    /// Whether it has the virtual board's SP805.
    pub watchdog: bool,
    /// What follows each event, by its number.
    pub policies: health::Policies,
    /// In how many nanoseconds its heartbeats follow each other, 0 for none.
    pub heartbeat: u32,
    /// How many restarts are allowed, 0 for no limit.
    pub restarts: u32,
    /// In how many milliseconds, 0 for ever.
    pub restarts_within: u32,
    /// Whether it starts with the system.
    pub autostart: bool,
    /// What becomes of instructions that trap.
    pub rewrite: Rewrite,
    /// What keeps its kernel from its applications.
    pub protection: Protection,
    /// What its counters and timers count.
    pub time: Time,
    /// Pages that are not to be scanned, by guest physical address.
    pub rewritten: Vec<rewritten::Run>,
    /// First instruction; bit 0 means T32.
    pub entry: u32,
    /// Kernel command line.
    pub cmdline: String,
    /// What is copied into its memory, without the device tree.
    pub loads: Vec<Load>,
    /// Where the initial file system is.
    pub initrd: Option<Range<u32>>,
    /// Room for the device tree.
    pub device_tree: Range<u32>,
    /// A device tree to be merged into the generated one.
    pub device_tree_additions: Option<Vec<u8>>,
    /// Devices of the machine it has.
    pub passthrough: Vec<Passthrough>,
    /// Memory it shares with others.
    pub shared: Vec<View>,
    /// Whether the console may give it orders.
    pub is_ordered: bool,
    /// Whom it controls: bit *n* for the VM with index *n*.
    pub controls: u32,
    /// The interrupt that tells of their ends, 0 for none.
    pub control_irq: u32,
    /// The index of the other VM of its pair.
    pub partner: Option<usize>,
    /// Whether that has at first what is the pair's.
    pub is_backup: bool,
    /// Sizes of the hypervisor's pools for it.
    pub pools: Pools,
}

/// Memory that VMs share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Its name.
    pub name: String,
    /// Length in bytes, whole pages.
    pub len: u32,
    /// Offset in [`Layout::shared`].
    pub offset: u32,
    /// What happens to holders of its locks; absent: there are none.
    pub locks: Option<Locks>,
    /// How long at most a VM holds them in all, while others wait, in nanoseconds; 0 if that is not known.
    pub held: u32,
    /// Who may hold its locks: bit *n* for the VM with index *n*.
    pub holders: u32,
}

/// How a VM sees shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Index in [`System::shared`].
    pub region: usize,
    /// Its address in the VM.
    pub at: u32,
    /// What the VM may do.
    pub access: Access,
    /// The interrupt in the VM's GIC by which the VM is told, 0 for none.
    pub irq: u32,
    /// Whether one of a pair of VMs has it at a time.
    pub paired: bool,
}

/// Bytes copied into a guest's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Where they go, a multiple of 4.
    pub to: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A device of the machine given to a VM.
#[derive(Clone, Debug)]
pub struct Passthrough {
    /// The device.
    pub device: machine::Device,
    /// Its address in the VM.
    pub at: u32,
    /// Its interrupt in the VM's GIC, 0 for none.
    pub irq: u32,
    /// Whether one of a pair of VMs has it at a time.
    pub paired: bool,
}

/// Sizes of the hypervisor's pools for a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pools {
    /// Pairs of views kept at once.
    pub view_pairs: u32,
    /// Second-level shadow tables kept at once.
    pub shadow_tables: u32,
    /// Replaced instructions at once.
    pub sites: u32,
}

impl Rewrite {
    /// As bits of [`abi::Vm::flags`].
    #[must_use]
    pub const fn flags(self) -> u32 {
        match self {
            Self::Trap => 0,
            Self::Adaptive => abi::flags::PROMOTE,
            Self::Eager => abi::flags::PROMOTE | abi::flags::EAGER,
        }
    }
}

impl Protection {
    /// As bits of [`abi::Vm::flags`].
    #[must_use]
    pub const fn flags(self) -> u32 {
        match self {
            Self::Tables => 0,
            Self::Domains | Self::Auto => abi::flags::DOMAINS,
        }
    }
}

impl Time {
    /// As bits of [`abi::Vm::flags`].
    #[must_use]
    pub const fn flags(self) -> u32 {
        match self {
            Self::Physical => 0,
            Self::Virtual => abi::flags::VIRTUAL_TIME,
            Self::CatchUp => abi::flags::CATCH_UP,
        }
    }
}

impl Vm {
    /// Whether one of its vCPUs is on a core.
    #[must_use]
    pub const fn runs_on(&self, core: u32) -> bool {
        self.core == core || self.second_core == core
    }

    /// How many vCPUs it has.
    #[must_use]
    pub const fn vcpus(&self) -> u32 {
        if self.core == self.second_core { 1 } else { 2 }
    }

    /// Bytes of pool memory the hypervisor needs for it.
    #[must_use]
    pub fn pool_bytes(&self) -> u32 {
        abi::pool_bytes(&abi::Vm {
            core: self.core,
            second_core: self.second_core,
            flags: self.rewrite.flags(),
            memory_len: self.memory,
            view_pairs: self.pools.view_pairs,
            shadow_tables: self.pools.shadow_tables,
            sites: self.pools.sites,
            ..abi::Vm::default()
        })
    }
}

/// Reads the manifest at `path`, and all it names.
///
/// `machine` replaces the manifest's machine, if given: a name, or the path of a
/// description relative to the current directory.
///
/// # Errors
///
/// Every mistake found.
pub fn load(path: &Path, machine: Option<&str>) -> Result<System, Problems> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Problem::new("manifest::unreadable", format!("cannot read {}: {error}", path.display()))
            .help("name a manifest; `entresol new` writes one")
    })?;
    let source = problem::source(&path.display().to_string(), &text);
    let directory = path.parent().unwrap_or(Path::new(""));
    let manifest = problem::parse(&source, &text)?;
    resolve::resolve(&manifest, &source, directory, machine)
}
