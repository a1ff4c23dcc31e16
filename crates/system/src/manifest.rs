//! What a manifest says, as written: names, paths and numbers with their places.
//!
//! This module only gives the text a shape. Whether it makes sense is judged by
//! [`crate::resolve`], which is why nearly every value keeps its [`Spanned`] place.

use crate::duration::Duration;
use serde::{Deserialize, Deserializer, de};
use std::{collections::BTreeMap, fmt, path::PathBuf};
use toml::Spanned;

/// A manifest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    /// A machine's name, or the path of its description (ending in `.toml`).
    pub machine: Spanned<String>,
    /// The virtual machines.
    #[serde(default)]
    pub vm: Vec<Spanned<Vm>>,
    /// The time slots of the major frame, in order; none: no slots.
    #[serde(default)]
    pub slot: Vec<Spanned<Slot>>,
    /// Memory that several VMs see.
    #[serde(default)]
    pub shared: Vec<Spanned<Shared>>,
    /// Names of the VMs that the console may give orders.
    #[serde(default)]
    pub console_controls: Vec<Spanned<String>>,
}

/// Memory that several VMs see.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Shared {
    /// Its name.
    pub name: Spanned<String>,
    /// Its size.
    pub size: Spanned<Size>,
    /// Its address in every VM that gives no other.
    pub at: Option<Spanned<u32>>,
    /// Its interrupt in every VM that gives no other.
    pub irq: Option<Spanned<u32>>,
    /// Whether there are locks in it, and what happens to their holders.
    pub locks: Option<Spanned<Locks>>,
    /// How long at most a VM holds them in all, while another waits.
    pub locks_held: Option<Spanned<Duration>>,
    /// Who sees it.
    pub vms: Spanned<Vec<Spanned<Sharer>>>,
}

/// What follows when an urgent VM waits for a lock.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Locks {
    /// The holder is as urgent until it releases the lock.
    Inherit,
    /// The lock is taken from the holder, which is told.
    Revocable,
}

/// What a VM may do with shared memory.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read.
    Read,
    /// Read and write.
    #[default]
    ReadWrite,
}

/// A VM that sees shared memory: written as its name, or as a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharer {
    /// The VM's name.
    pub vm: String,
    /// The memory's address in it.
    pub at: Option<u32>,
    /// What it may do.
    pub access: Access,
    /// The memory's interrupt in the VM's GIC.
    pub irq: Option<u32>,
}

impl<'de> Deserialize<'de> for Sharer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            vm: String,
            at: Option<u32>,
            #[serde(default)]
            access: Access,
            irq: Option<u32>,
        }
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Sharer;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a VM's name or a table { vm, at, access, irq }")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Sharer, E> {
                Ok(Sharer { vm: name.to_owned(), at: None, access: Access::ReadWrite, irq: None })
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Sharer, A::Error> {
                let table = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let Table { vm, at, access, irq } = table;
                Ok(Sharer { vm, at, access, irq })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A time slot.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Slot {
    /// How long it is.
    pub length: Spanned<Duration>,
    /// Names of the VMs that may run in it; absent: all.
    pub vms: Option<Vec<Spanned<String>>>,
}

/// One virtual machine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Vm {
    /// Its name.
    pub name: Spanned<String>,
    /// The guest's binary; relative paths start at the manifest.
    pub image: Spanned<PathBuf>,
    /// The binary's format, when it is not to be detected.
    pub format: Option<Spanned<Format>>,
    /// Where a raw binary goes in the guest's memory.
    pub load: Option<Spanned<u32>>,
    /// A raw binary's first instruction; bit 0 means T32.
    pub entry: Option<Spanned<u32>>,
    /// Distance of a Linux `Image` from the start of memory.
    pub text_offset: Option<Spanned<u32>>,
    /// Initial RAM file system.
    pub initrd: Option<Spanned<PathBuf>>,
    /// Kernel command line.
    pub cmdline: Option<Spanned<String>>,
    /// Size of its memory.
    pub memory: Spanned<Size>,
    /// 0 (least urgent) to 31.
    pub priority: Option<Spanned<i64>>,
    /// The core that runs it; 0 is the first.
    pub core: Option<Spanned<u32>>,
    /// The cores of its vCPUs, if there are two.
    pub cores: Option<Spanned<Vec<u32>>>,
    /// How long it may run in each period.
    pub budget: Option<Spanned<Duration>>,
    /// That period.
    pub period: Option<Spanned<Duration>>,
    /// Names of the VMs it controls.
    #[serde(default)]
    pub controls: Vec<Spanned<String>>,
    /// The interrupt that tells of their ends.
    pub control_irq: Option<Spanned<u32>>,
    /// Devices of the virtual board.
    pub devices: Option<Vec<Spanned<String>>>,
    /// Devices of the machine.
    #[serde(default)]
    pub passthrough: Vec<Spanned<Passthrough>>,
    /// What follows a fault.
    pub on_fault: Option<Spanned<Policy>>,
    /// How many restarts are allowed, 0 for no limit.
    pub restarts: Option<Spanned<u32>>,
    /// In which time.
    pub restarts_within: Option<Spanned<Duration>>,
    /// What follows the bite of its watchdog; none: what follows a fault.
    pub on_watchdog: Option<Spanned<Policy>>,
    /// How often it is to show that it is alive.
    pub heartbeat: Option<Spanned<Duration>>,
    /// What follows when it does not; none: what follows a fault.
    pub on_heartbeat: Option<Spanned<Policy>>,
    /// What follows when it misses a deadline that it set.
    pub on_deadline: Option<Spanned<Policy>>,
    /// What follows when its budget is used up.
    pub on_budget: Option<Spanned<Policy>>,
    /// What follows when it says that it cannot go on; none: what follows a fault.
    pub on_panic: Option<Spanned<Policy>>,
    /// What follows when it asks for a reset.
    pub on_reset: Option<Spanned<Policy>>,
    /// What follows when it turns itself off.
    pub on_off: Option<Spanned<Policy>>,
    /// The VM that takes over when it fails.
    pub backup: Option<Spanned<String>>,
    /// Whether it starts with the system.
    pub autostart: Option<bool>,
    /// What becomes of instructions that trap.
    pub rewrite: Option<Spanned<Rewrite>>,
    /// What keeps its kernel from its applications.
    pub protection: Option<Spanned<Protection>>,
    /// What its counters and timers count.
    pub time: Option<Spanned<Time>>,
    /// Whether pages that were rewritten ahead of time are scanned all the same.
    pub scan: Option<Spanned<Scan>>,
    /// A flattened device tree merged into the generated one.
    pub device_tree: Option<Spanned<PathBuf>>,
    /// Sizes of the hypervisor's pools for it.
    #[serde(default)]
    pub limits: Limits,
}

/// Format of a guest's binary.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// ELF32 for ARM, loaded by physical addresses.
    Elf,
    /// Linux's self-extracting kernel.
    #[serde(rename = "zImage", alias = "zimage")]
    ZImage,
    /// Linux's uncompressed kernel.
    #[serde(rename = "Image", alias = "image")]
    Image,
    /// Bytes at an address.
    Raw,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elf => "ELF",
            Self::ZImage => "zImage",
            Self::Image => "Image",
            Self::Raw => "raw",
        })
    }
}

/// What follows when something befalls a VM.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Stop it.
    Stop,
    /// Start it again from its image.
    Restart,
    /// Reset the machine.
    ResetMachine,
    /// Start it again, and its partner takes over.
    FailOver,
    /// It goes on, and that is said.
    Log,
    /// It goes on, and those that control it are told.
    Notify,
    /// It goes on.
    Ignore,
}

/// What becomes of instructions that trap again and again.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Rewrite {
    /// They trap.
    Trap,
    /// Those that trap often are promoted to stubs, which do not.
    #[default]
    Adaptive,
    /// All that can be are promoted when they trapped once.
    Eager,
}

/// What keeps a guest's kernel from its applications.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// A table of its own for each.
    #[default]
    Tables,
    /// One table, and domains; tables if the guest does what domains cannot express.
    Domains,
    /// What is known to be best, as far as it is possible.
    Auto,
}

/// What a VM's counters and timers count.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Time {
    /// Real time.
    #[default]
    Physical,
    /// The time it is not kept from running.
    Virtual,
    /// Real time; ticks that were missed come one by one.
    CatchUp,
}

/// Whether pages that were rewritten ahead of time are scanned all the same.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Scan {
    /// They are.
    On,
    /// Not where everything was decided.
    Off,
}

/// A device of the machine given to a VM: written as its name, or as a table when
/// the VM is to see it elsewhere than the machine does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passthrough {
    /// The device's name.
    pub device: String,
    /// Its address in the VM.
    pub at: Option<u32>,
    /// Its interrupt number in the VM's GIC.
    pub irq: Option<u32>,
}

impl<'de> Deserialize<'de> for Passthrough {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            device: String,
            at: Option<u32>,
            irq: Option<u32>,
        }
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Passthrough;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a device's name or a table { device, at, irq }")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Passthrough, E> {
                Ok(Passthrough { device: name.to_owned(), at: None, irq: None })
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Passthrough, A::Error> {
                let table = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Passthrough { device: table.device, at: table.at, irq: table.irq })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Sizes of the hypervisor's pools for a VM.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Pairs of views (guest address spaces) kept at once.
    pub view_pairs: Option<Spanned<u32>>,
    /// Second-level shadow tables kept at once.
    pub shadow_tables: Option<Spanned<u32>>,
    /// Replaced instructions at once.
    pub sites: Option<Spanned<u32>>,
}

/// Extra device-tree properties, by name.
pub type Properties = BTreeMap<String, Property>;

/// Value of a device-tree property.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged, expecting = "expected `true`, a number, a string, or a list of either")]
pub enum Property {
    /// There or not.
    Flag(bool),
    /// A cell.
    Cell(u32),
    /// A string.
    Text(String),
    /// Cells.
    Cells(Vec<u32>),
    /// Strings.
    Texts(Vec<String>),
}

/// A number of bytes: `65536`, `"64K"`, `"64M"`, `"1G"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= 1 << 20 && bytes % (1 << 20) == 0 => {
                write!(f, "{} MiB", bytes >> 20)
            }
            bytes if bytes >= 1 << 10 && bytes % (1 << 10) == 0 => {
                write!(f, "{} KiB", bytes >> 10)
            }
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("size: {text:?} is not a size");
        let text_end = text.trim().trim_end_matches("iB").trim_end_matches('B');
        let (digits, shift) = match text_end.char_indices().last() {
            Some((at, 'K' | 'k')) => (text_end.get(..at), 10),
            Some((at, 'M' | 'm')) => (text_end.get(..at), 20),
            Some((at, 'G' | 'g')) => (text_end.get(..at), 30),
            _ => (Some(text_end), 0),
        };
        let number: u64 = digits.ok_or_else(bad)?.trim().parse().map_err(|_| bad())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(bad)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"64M\" or a number of bytes")
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Size, E> {
                u64::try_from(value)
                    .map(Size)
                    .map_err(|_| E::custom(format!("size: {value} is negative")))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Size, E> {
                value.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, bytes) in [("64M", 64 << 20), ("1G", 1 << 30), ("4096", 4096), ("16 KiB", 16384)]
        {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "M", "64X", "-1M", "99999999999G"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
