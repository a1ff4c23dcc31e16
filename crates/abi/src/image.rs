//! The tables at the start of a bootable image.
//!
//! In the machine's memory, at a multiple of 1 MiB called *load*:
//!
//! ```text
//! load              the hypervisor's binary, linked at window::BASE
//! load + RESERVED   Header, tables, payloads (guest images), 4 KiB aligned
//! header.pools      page-table pools and per-page records, filled by the hypervisor
//! header.shared     memory that VMs share, zeros at first
//! vm.host           guest memory, one range per VM, at multiples of 1 MiB
//! ```
//!
//! A [`Header`] names every table by offset and count, so that the hypervisor
//! walks the image in place: no parsing, no allocation, no pointers to relocate.
//!
//! # Invariants
//!
//! Established by `entresol-image`. [`Header::check`] re-checks the first three on
//! the target, because a stale image beside a fresh hypervisor is the one mistake
//! nobody can see on a serial line.
//!
//! 1. `magic` and `abi` match this crate.
//! 2. Every table, name and payload lies inside `image_len`.
//! 3. There are 1 to [`MAX_VMS`] VMs and at most [`MAX_SLOTS`] time slots.
//! 4. No two ranges of the machine's memory overlap: window, image, pools,
//!    shared memory, VMs.
//! 5. A VM's core is one the machine has, below [`MAX_CORES`].
//! 6. A load lies inside its VM's memory.

use crate::health::EVENTS;
use crate::{GuestPhys, HostPhys};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Marks the first word of the tables: `ENTR` in memory order.
pub const MAGIC: u32 = u32::from_le_bytes(*b"ENTR");

/// Version of the layout described by this crate.
pub const ABI_VERSION: u32 = 11;

/// Most VMs in one image.
pub const MAX_VMS: usize = 8;

/// Most cores that run VMs.
pub const MAX_CORES: usize = 4;

/// Most time slots in one image.
pub const MAX_SLOTS: usize = 32;

/// Where a table lies, in bytes from the header's first byte.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Table {
    /// Offset of the first entry, a multiple of 4.
    pub offset: u32,
    /// Number of entries.
    pub count: u32,
}

/// A range of physical memory.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Range {
    /// First byte.
    pub base: HostPhys,
    /// Length in bytes.
    pub len: u32,
}

/// First structure of an image.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Header {
    /// Always [`MAGIC`].
    pub magic: u32,
    /// Always [`ABI_VERSION`].
    pub abi: u32,
    /// Length of header, tables and payloads together, in bytes.
    pub image_len: u32,
    /// Build identifier (a hash of manifest and inputs), printed at boot.
    pub build: u32,
    /// The physical address of the hypervisor's binary, a multiple of 1 MiB.
    pub load: HostPhys,
    /// Memory for page-table pools and per-page records, a multiple of 1 MiB.
    pub pools: Range,
    /// Memory that VMs share, whole MiB; [`Passthrough`]s tell who sees which part.
    pub shared: Range,
    /// The machine's memory, as a table of [`Range`].
    pub ram: Table,
    /// The machine.
    pub machine: Machine,
    /// The VMs, as a table of [`Vm`].
    pub vms: Table,
    /// The time slots of the major frame, as a table of [`Slot`]; none: no slots.
    pub slots: Table,
}

/// A time slot of the major frame; the slots follow each other and repeat.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Slot {
    /// Length in nanoseconds, not 0.
    pub length: u32,
    /// Who may run in it: bit *n* for the VM with index *n*.
    pub vms: u32,
}

/// What the hypervisor must know of the machine.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Machine {
    /// Name, zero padded.
    pub name: [u8; 16],
    /// Distributor of the GICv2.
    pub gic_distributor: HostPhys,
    /// CPU interface of the GICv2.
    pub gic_cpu: HostPhys,
    /// One of [`Timer`].
    pub timer: u32,
    /// Registers of a memory-mapped timer, else 0.
    pub timer_base: HostPhys,
    /// The timer's interrupt, a GIC interrupt number.
    pub timer_irq: u32,
    /// Ticks per second of the counter.
    pub timer_hz: u32,
    /// One of [`Uart`].
    pub uart: u32,
    /// Registers of the UART that carries all consoles.
    pub uart_base: HostPhys,
    /// The UART's interrupt, a GIC interrupt number.
    pub uart_irq: u32,
    /// One of [`PowerOff`].
    pub power_off: u32,
    /// One of [`Reset`].
    pub reset: u32,
    /// For [`Reset::Registers`]: the page of the registers.
    pub reset_base: HostPhys,
    /// For [`Reset::Registers`]: offsets and what to write there, in this order; those
    /// that are not needed are all zeros.
    pub reset_writes: [[u32; 2]; 2],
    /// Number of cores.
    pub cores: u32,
    /// One of [`Cores`].
    pub start_cores: u32,
}

/// Values of [`Machine::start_cores`]: how other cores than the first are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Cores {
    /// They start with the first, and wait in the hypervisor's first instructions.
    Together = 0,
    /// PSCI `CPU_ON` by `HVC` (ARM DEN 0022); their number is their MPIDR.
    PsciHvc = 1,
}

/// Values of [`Machine::timer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Timer {
    /// The generic timer of the ARMv7-A extensions, by CP15; EL1 physical timer.
    Generic = 0,
    /// The Cortex-A9 MPCore global timer with its comparator (ARM DDI 0407I, 4.3).
    A9Global = 1,
}

/// Values of [`Machine::uart`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Uart {
    /// ARM PrimeCell PL011 (ARM DDI 0183G).
    Pl011 = 0,
    /// Cadence UART of the Zynq-7000 (UG585, appendix B.33).
    Cadence = 1,
}

/// Values of [`Machine::reset`]: how the machine is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reset {
    /// It cannot be: it is turned off instead.
    None = 0,
    /// Two registers are written.
    Registers = 1,
    /// PSCI `SYSTEM_RESET` by `HVC` (ARM DEN 0022).
    PsciHvc = 2,
}

/// Values of [`Machine::power_off`]: what to do when every VM is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PowerOff {
    /// Wait for interrupts for ever.
    Idle = 0,
    /// Semihosting `SYS_EXIT_EXTENDED`: status 0 if every VM ended well, else 1.
    Semihosting = 1,
}

/// One virtual machine.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Vm {
    /// Name, zero padded.
    pub name: [u8; 16],
    /// First guest physical address of its memory, a multiple of 1 MiB.
    pub memory: GuestPhys,
    /// Where that memory lies in the machine, a multiple of 1 MiB.
    pub host: HostPhys,
    /// Length of its memory in bytes, a multiple of 1 MiB.
    pub memory_len: u32,
    /// First instruction; bit 0 set means T32.
    pub entry: GuestPhys,
    /// Initial `r1` (machine type; all ones for a device tree).
    pub r1: u32,
    /// Initial `r2`: the device tree, or 0.
    pub r2: GuestPhys,
    /// Fixed priority: 0 is the least urgent, 31 the most.
    pub priority: u32,
    /// The core that runs it, or its vCPU 0.
    pub core: u32,
    /// The core of its vCPU 1; the same if it has none.
    pub second_core: u32,
    /// Bits of [`flags`].
    pub flags: u32,
    /// What follows each [`Event`](crate::health::Event), by its number: a
    /// [`Policy`](crate::health::Policy).
    pub policies: [u8; EVENTS],
    /// How many restarts are allowed, 0 for no limit.
    pub restarts: u32,
    /// In how many milliseconds, 0 for ever.
    pub restarts_within: u32,
    /// What to copy into its memory before it starts: a table of [`Load`].
    pub loads: Table,
    /// Machine devices and shared memory given to it: a table of [`Passthrough`].
    pub passthrough: Table,
    /// Address-space views it may keep at once (pairs of kernel and application).
    pub view_pairs: u32,
    /// Second-level shadow tables it may keep at once, 1 KiB each.
    pub shadow_tables: u32,
    /// Replaced instructions it may have at once, 8 bytes each.
    pub sites: u32,
    /// How long it may run in each period, in nanoseconds; 0 for no bound.
    pub budget: u32,
    /// That period in nanoseconds, at least the budget.
    pub period: u32,
    /// Whom it controls: bit *n* for the VM with index *n*.
    pub controls: u32,
    /// The interrupt in its GIC that tells of what befell one of those or its partner, 0 for
    /// none.
    pub control_irq: u32,
    /// Who is told of its end and of what befalls it: bit *n* for the VM with index *n*.
    pub told: u32,
    /// In how many ticks of the machine's counter its heartbeats follow each other, 0 for none.
    pub heartbeat: u32,
    /// The other VM of its pair: its index plus 1; 0 for none.
    pub partner: u32,
    /// Code that was rewritten ahead of time: a table of [`Rewritten`].
    pub rewritten: Table,
}

impl Vm {
    /// How many vCPUs it has.
    #[must_use]
    pub const fn vcpus(&self) -> u32 {
        if self.second_core == self.core { 1 } else { 2 }
    }

    /// The number of its vCPU on a core.
    #[must_use]
    pub const fn vcpu_on(&self, core: u32) -> Option<u32> {
        if core == self.core {
            Some(0)
        } else if core == self.second_core {
            Some(1)
        } else {
            None
        }
    }

    /// No VM.
    pub const EMPTY: Self = Self {
        name: [0; 16],
        memory: GuestPhys(0),
        host: HostPhys(0),
        memory_len: 0,
        entry: GuestPhys(0),
        r1: 0,
        r2: GuestPhys(0),
        priority: 0,
        core: 0,
        second_core: 0,
        flags: 0,
        policies: [0; EVENTS],
        restarts: 0,
        restarts_within: 0,
        loads: Table { offset: 0, count: 0 },
        passthrough: Table { offset: 0, count: 0 },
        view_pairs: 0,
        shadow_tables: 0,
        sites: 0,
        budget: 0,
        period: 0,
        controls: 0,
        control_irq: 0,
        told: 0,
        heartbeat: 0,
        partner: 0,
        rewritten: Table { offset: 0, count: 0 },
    };
}

/// Bits of [`Vm::flags`].
pub mod flags {
    /// Starts when the system starts.
    pub const AUTOSTART: u32 = 1 << 0;
    /// Has the PL011 of the virtual board.
    pub const UART: u32 = 1 << 1;
    /// Has the PL031 of the virtual board.
    pub const RTC: u32 = 1 << 2;
    /// Has the SP805 of the virtual board.
    pub const WATCHDOG: u32 = 1 << 3;
    /// The console may give it orders ([`Order`](crate::console::Order)).
    pub const ORDERED: u32 = 1 << 4;
    /// Instructions that trap often are promoted to stubs.
    pub const PROMOTE: u32 = 1 << 8;
    /// Those that trapped once are, too. Only with [`PROMOTE`].
    pub const EAGER: u32 = 1 << 9;
    /// One table for kernel and application, told apart by domains, where that is possible.
    pub const DOMAINS: u32 = 1 << 10;
    /// Its clock stands while it is kept from running.
    pub const VIRTUAL_TIME: u32 = 1 << 12;
    /// Ticks of its timers that were missed come one by one.
    pub const CATCH_UP: u32 = 1 << 13;
    /// At first, its partner has what is [`PAIRED`](super::given::PAIRED).
    pub const BACKUP: u32 = 1 << 14;
}

/// Bytes to be copied into a VM's memory before it starts.
///
/// All other bytes of the memory are zero at the first start.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Load {
    /// Offset of the bytes from the header's first byte, a multiple of 4.
    pub offset: u32,
    /// Number of bytes.
    pub len: u32,
    /// Where they go, a multiple of 4.
    pub to: GuestPhys,
    /// Reserved, 0.
    pub reserved: u32,
}

/// A device of the machine given to one VM, or memory it shares with others.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Passthrough {
    /// Its registers in the machine, a multiple of 4 KiB.
    pub host: HostPhys,
    /// Where the VM sees them, a multiple of 4 KiB.
    pub guest: GuestPhys,
    /// Length in bytes, a multiple of 4 KiB.
    pub len: u32,
    /// The machine's GIC interrupt number, 0 for none.
    pub host_irq: u32,
    /// The interrupt number in the VM's GIC, 0 for none. That of shared memory is raised by
    /// the hypervisor.
    pub guest_irq: u32,
    /// Bits of [`given`].
    pub flags: u32,
}

/// Bits of [`Passthrough::flags`].
pub mod given {
    /// Bit *n*: the VM with index *n* may hold locks in this memory.
    pub const HOLDERS: u32 = 0xff;
    /// Memory, not a device.
    pub const MEMORY: u32 = 1 << 8;
    /// Only to be read.
    pub const READ_ONLY: u32 = 1 << 9;
    /// Its locks can be taken from their holders.
    pub const REVOCABLE: u32 = 1 << 10;
    /// One of a pair of VMs has it at a time.
    pub const PAIRED: u32 = 1 << 11;
}

/// Bytes of pool memory that a VM needs, exact: what the hypervisor carves at boot.
///
/// Each pair of views has two first-level tables of 16 KiB. Shadow tables are 1 KiB with 32 bytes
/// of record. Both exist for each vCPU. Sites are 8 bytes. Each page of guest memory has a record of 8 bytes. With
/// [`flags::PROMOTE`] there are pages of [`STUBS`] stubs of 64 bytes with 16 bytes of record,
/// one second-level table, and 4 bytes for each page of guest memory.
#[must_use]
pub const fn pool_bytes(vm: &Vm) -> u32 {
    let views = vm.view_pairs * 2 * 0x4000;
    let tables = vm.shadow_tables * (0x400 + 0x20);
    let sites = vm.sites * 8;
    let pages = (vm.memory_len >> 12) * 8;
    // Each part starts at a multiple of 16 KiB.
    vm.vcpus() * (round(views) + round(tables))
        + round(sites)
        + round(pages)
        + round(stub_bytes(vm))
}

/// Stubs a VM may have at once, those that cannot be used included.
pub const STUBS: u32 = 1024;

/// Bytes of the part of the pools that is for stubs.
#[must_use]
pub const fn stub_bytes(vm: &Vm) -> u32 {
    if vm.flags & flags::PROMOTE == 0 {
        return 0;
    }
    STUBS * (64 + 16) + 0x400 + (vm.memory_len >> 12) * 4
}

const fn round(bytes: u32) -> u32 {
    (bytes + 0x3fff) & !0x3fff
}

/// Pages of code of a VM in which every sensitive instruction was replaced before: they are
/// not scanned when the VM's kernel runs them in one of `sets`, at `linked` or, with the MMU off,
/// where they are.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Rewritten {
    /// First byte, at a multiple of 4 KiB.
    pub base: GuestPhys,
    /// Length in bytes, a multiple of 4 KiB.
    pub len: u32,
    /// The virtual address at which the VM's kernel runs it.
    pub linked: u32,
    /// Bit 0: A32; bit 1: T32.
    pub sets: u32,
}

/// Why an image cannot be booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadImage {
    /// Shorter than a header, or misaligned.
    Truncated,
    /// The first word is not [`MAGIC`].
    Magic(u32),
    /// Packed for another [`ABI_VERSION`].
    Abi(u32),
    /// A table or payload reaches past the end of the image.
    Table(Table),
    /// No VM, or more than [`MAX_VMS`].
    Vms(u32),
    /// More than [`MAX_SLOTS`] time slots.
    Slots(u32),
    /// A core beyond [`MAX_CORES`].
    Core(u32),
}

impl Header {
    /// Reads the header at the start of `image`, which may be cut off behind it.
    ///
    /// # Errors
    ///
    /// When it is none, or one of another version.
    pub fn read(image: &[u8]) -> Result<&Self, BadImage> {
        let (header, _) = Self::ref_from_prefix(image).map_err(|_| BadImage::Truncated)?;
        if header.magic != MAGIC {
            return Err(BadImage::Magic(header.magic));
        }
        if header.abi != ABI_VERSION {
            return Err(BadImage::Abi(header.abi));
        }
        Ok(header)
    }

    /// Reads the header at the start of the whole `image` and checks all that it names.
    ///
    /// # Errors
    ///
    /// What is wrong with the first invariant that does not hold.
    pub fn check(image: &[u8]) -> Result<&Self, BadImage> {
        let header = Self::read(image)?;
        table::<Range>(image, header.ram)?;
        let vms = table::<Vm>(image, header.vms)?;
        if vms.is_empty() || vms.len() > MAX_VMS {
            return Err(BadImage::Vms(header.vms.count));
        }
        if table::<Slot>(image, header.slots)?.len() > MAX_SLOTS {
            return Err(BadImage::Slots(header.slots.count));
        }
        for vm in vms {
            for number in [vm.core, vm.second_core] {
                if usize::try_from(number).map_or(true, |core| core >= MAX_CORES) {
                    return Err(BadImage::Core(number));
                }
            }
            for load in table::<Load>(image, vm.loads)? {
                table::<u8>(image, Table { offset: load.offset, count: load.len })?;
            }
            table::<Passthrough>(image, vm.passthrough)?;
            table::<Rewritten>(image, vm.rewritten)?;
        }
        Ok(header)
    }
}

/// Borrows the entries of `table` from `image`, which starts with its header.
///
/// # Errors
///
/// [`BadImage::Table`] when the table is misaligned or reaches past the end.
pub fn table<T>(image: &[u8], table: Table) -> Result<&[T], BadImage>
where
    T: FromBytes + Immutable + KnownLayout,
{
    let entries = || {
        let start = usize::try_from(table.offset).ok()?;
        let count = usize::try_from(table.count).ok()?;
        let (entries, _) = <[T]>::ref_from_prefix_with_elems(image.get(start..)?, count).ok()?;
        Some(entries)
    };
    entries().ok_or(BadImage::Table(table))
}

const _: () = assert!(size_of::<Header>() == 148);
const _: () = assert!(size_of::<Machine>() == 88);
const _: () = assert!(size_of::<Vm>() == 136);
const _: () = assert!(size_of::<Slot>() == 8);
const _: () = assert!(cfg!(target_endian = "little"));

#[cfg(test)]
mod tests {
    use super::*;

    fn header(vms: u32) -> Header {
        let end = u32::try_from(size_of::<Header>()).unwrap();
        Header {
            magic: MAGIC,
            abi: ABI_VERSION,
            image_len: end + 136 * vms,
            vms: Table { offset: end, count: vms },
            ..Header::default()
        }
    }

    #[test]
    fn reads_what_the_image_builder_wrote() {
        let vm = Vm { entry: GuestPhys(0x4000_8000), ..Vm::default() };
        let image = [header(1).as_bytes(), vm.as_bytes()].concat();
        // Vec<u8> is not aligned by promise: copy into words.
        let words: Vec<u32> =
            image.chunks(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
        let read = Header::check(words.as_bytes()).unwrap();
        assert_eq!(table::<Vm>(words.as_bytes(), read.vms).unwrap(), [vm]);
    }

    #[test]
    fn refuses_a_table_past_the_end() {
        let header = header(1);
        assert_eq!(Header::check(header.as_bytes()), Err(BadImage::Table(header.vms)));
    }
}
