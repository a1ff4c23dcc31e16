//! The result of a check, for people and programs: memory, interrupts, health, timing.
//!
//! [`Report`] is what `entresol check` prints: as text by [`std::fmt::Display`], as
//! JSON by serde. Addresses are numbers in JSON.

mod health;

use crate::{
    System,
    layout::Span,
    manifest::{Access, Locks, Size},
    timing::Timing,
};
pub use health::Health;
use serde::Serialize;
use std::fmt;

/// A checked system.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The machine's name.
    pub machine: String,
    /// The machine's memory, in order.
    pub memory: Vec<Area>,
    /// Interrupts in use, in order.
    pub interrupts: Vec<Interrupt>,
    /// The virtual machines.
    pub vms: Vec<VmReport>,
    /// What the schedule promises, if budgets or slots were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
    /// Memory used by the hypervisor.
    pub hypervisor: Hypervisor,
}

/// A range of the machine's memory.
#[derive(Clone, Debug, Serialize)]
pub struct Area {
    /// First byte.
    pub base: u64,
    /// Length in bytes.
    pub len: u64,
    /// What it holds.
    pub what: String,
}

/// An interrupt of the machine.
#[derive(Clone, Debug, Serialize)]
pub struct Interrupt {
    /// Its number at the machine's GIC.
    pub number: u32,
    /// The device that raises it.
    pub device: String,
    /// Who gets it.
    pub owner: String,
    /// Its number in the VM that gets it.
    pub guest_number: Option<u32>,
}

/// A virtual machine.
#[derive(Clone, Debug, Serialize)]
pub struct VmReport {
    /// Its name.
    pub name: String,
    /// Format of its binary.
    pub format: String,
    /// Its priority.
    pub priority: u32,
    /// The core that runs it.
    pub core: u32,
    /// The core of its vCPU 1; the same if it has none.
    pub second_core: u32,
    /// First instruction; bit 0 means T32.
    pub entry: u32,
    /// Its physical memory and devices, in order.
    pub memory: Vec<Area>,
    /// Bytes of pools the hypervisor keeps for it.
    pub pools: u32,
    /// Pairs of views kept at once.
    pub view_pairs: u32,
    /// Second-level shadow tables kept at once.
    pub shadow_tables: u32,
    /// Replaced instructions at once.
    pub sites: u32,
    /// Whether the console may give it orders.
    pub ordered: bool,
    /// What follows when something befalls it.
    pub health: Health,
}

/// Memory used by the hypervisor: RAM outside guests.
#[derive(Clone, Debug, Serialize)]
pub struct Hypervisor {
    /// What its binary takes of its window, if it was there to be measured.
    pub size: Option<HypervisorSize>,
    /// Bytes set aside for its window.
    pub window: u64,
    /// Bytes of tables and payloads.
    pub image: u64,
    /// Bytes of page-table pools and records.
    pub pools: u64,
}

/// What the hypervisor's binary takes of its window.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
pub struct HypervisorSize {
    /// Bytes of code.
    pub text: u64,
    /// Bytes of code, data, stacks and all other static storage.
    pub memory: u64,
}

impl Report {
    /// Reports on `system`; `size` is that of the hypervisor's binary, if known.
    #[must_use]
    pub fn new(system: &System, size: Option<HypervisorSize>) -> Self {
        let layout = &system.layout;
        let area =
            |span: Span, what: &str| Area { base: span.base, len: span.len, what: what.into() };
        let mut memory = vec![
            area(layout.hypervisor, "hypervisor"),
            area(layout.image, "tables and guests' files"),
            area(layout.pools, "page-table pools"),
        ];
        let (start, mut end) = (layout.shared.base, layout.shared.base);
        for region in &system.shared {
            let (base, len) = (start + u64::from(region.offset), u64::from(region.len));
            memory.push(Area { base, len, what: format!("shared: {}", region.name) });
            end = base + len;
        }
        if end < layout.shared.end() {
            let rest = Span { base: end, len: layout.shared.end() - end };
            memory.push(area(rest, "shared: rest"));
        }
        for (vm, span) in system.vms.iter().zip(&layout.vms) {
            memory.push(area(*span, &format!("memory of {}", vm.name)));
        }
        memory.extend(unused(system, &memory));
        memory.sort_by_key(|area| area.base);
        Self {
            machine: system.machine.name.clone(),
            memory,
            interrupts: interrupts(system),
            vms: system.vms.iter().map(|vm| VmReport::new(vm, system)).collect(),
            timing: Some(Timing::new(&system.vms, &system.slots, &system.shared))
                .filter(|t| !t.is_trivial()),
            hypervisor: Hypervisor {
                size,
                window: layout.hypervisor.len,
                image: layout.image.len,
                pools: layout.pools.len,
            },
        }
    }
}

/// What of the machine's memory nothing lies in.
fn unused(system: &System, used: &[Area]) -> Vec<Area> {
    let mut unused = Vec::new();
    for ram in &system.machine.ram {
        let mut base = u64::from(ram.base);
        let end = base + ram.size.0;
        let mut inside: Vec<&Area> =
            used.iter().filter(|area| area.base >= base && area.base < end).collect();
        inside.sort_by_key(|area| area.base);
        for area in inside {
            if area.base > base {
                unused.push(Area { base, len: area.base - base, what: "unused".into() });
            }
            base = area.base + area.len;
        }
        if end > base {
            unused.push(Area { base, len: end - base, what: "unused".into() });
        }
    }
    unused
}

fn interrupts(system: &System) -> Vec<Interrupt> {
    let machine = &system.machine;
    let own = |number, device: &str| Interrupt {
        number,
        device: device.into(),
        owner: "hypervisor".into(),
        guest_number: None,
    };
    let mut interrupts = vec![own(machine.timer.irq, "timer"), own(machine.uart.irq, "console")];
    for vm in &system.vms {
        let has =
            |given: &&crate::Passthrough| given.device.irq != 0 && !(given.paired && vm.is_backup);
        for given in vm.passthrough.iter().filter(has) {
            interrupts.push(Interrupt {
                number: given.device.irq,
                device: given.device.name.clone(),
                owner: match vm.partner.and_then(|index| system.vms.get(index)) {
                    Some(backup) if given.paired => format!("{} or {}", vm.name, backup.name),
                    _ => vm.name.clone(),
                },
                guest_number: Some(given.irq),
            });
        }
    }
    interrupts.sort_by_key(|interrupt| interrupt.number);
    interrupts
}

impl VmReport {
    fn new(vm: &crate::Vm, system: &System) -> Self {
        let area = |base: u32, len: u64, what: &str| Area {
            base: u64::from(base),
            len,
            what: what.to_owned(),
        };
        let mut memory = vec![
            area(0x0800_0000, 0x1_0000, "interrupt distributor"),
            area(0x0801_0000, 0x1_0000, "interrupt CPU interface"),
            area(0x4000_0000, u64::from(vm.memory), "memory"),
        ];
        if vm.uart {
            memory.push(area(0x0900_0000, 0x1000, "uart, interrupt 33"));
        }
        if vm.rtc {
            memory.push(area(0x0901_0000, 0x1000, "rtc, interrupt 34"));
        }
        if vm.watchdog {
            memory.push(area(0x0902_0000, 0x1000, "watchdog, interrupt 35"));
        }
        for given in &vm.passthrough {
            let irq =
                if given.irq == 0 { String::new() } else { format!(", interrupt {}", given.irq) };
            let what = format!("{} of the machine{irq}", given.device.name);
            memory.push(area(given.at, given.device.size.0, &what));
        }
        for view in &vm.shared {
            let Some(region) = system.shared.get(view.region) else { continue };
            let mut what = format!("shared: {}", region.name);
            if view.access == Access::Read {
                what += ", read-only";
            }
            if view.irq != 0 {
                what += &format!(", interrupt {}", view.irq);
            }
            what += match region.locks {
                Some(Locks::Inherit) => ", locks",
                Some(Locks::Revocable) => ", revocable locks",
                None => "",
            };
            memory.push(area(view.at, u64::from(region.len), &what));
        }
        for load in &vm.loads {
            let is_initrd = vm.initrd.as_ref().is_some_and(|initrd| initrd.start == load.to);
            let what = if is_initrd { "  initrd" } else { "  image" };
            memory.push(area(load.to, u64::try_from(load.bytes.len()).unwrap_or(0), what));
        }
        let tree = &vm.device_tree;
        memory.push(area(tree.start, u64::from(tree.end - tree.start), "  device tree"));
        memory.sort_by_key(|area| (area.base, std::cmp::Reverse(area.len)));
        Self {
            name: vm.name.clone(),
            format: vm.format.to_string(),
            priority: vm.priority,
            core: vm.core,
            second_core: vm.second_core,
            entry: vm.entry,
            memory,
            pools: vm.pool_bytes(),
            view_pairs: vm.pools.view_pairs,
            shadow_tables: vm.pools.shadow_tables,
            sites: vm.pools.sites,
            ordered: vm.is_ordered,
            health: Health::new(vm, &system.vms),
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.base + self.len.max(1) - 1;
        let size = Size(self.len).to_string();
        write!(f, "  {:#010x}..={last:#010x} {size:>12}  {}", self.base, self.what)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Memory of {}", self.machine)?;
        for area in &self.memory {
            writeln!(f, "{area}")?;
        }
        writeln!(f, "\nInterrupts")?;
        for Interrupt { number, device, owner, guest_number } in &self.interrupts {
            write!(f, "  {number:>4}  {device:<12} {owner}")?;
            match guest_number {
                Some(guest) => writeln!(f, ", there {guest}")?,
                None => writeln!(f)?,
            }
        }
        for vm in &self.vms {
            let core = match (vm.core, vm.second_core) {
                (0, 0) => String::new(),
                (core, second) if core == second => format!(", core {core}"),
                (core, second) => format!(", cores {core} and {second}"),
            };
            writeln!(f, "\nVM {} ({}, priority {}{core})", vm.name, vm.format, vm.priority)?;
            for area in &vm.memory {
                writeln!(f, "{area}")?;
            }
            let set = if vm.entry & 1 == 1 { "T32" } else { "A32" };
            writeln!(f, "  entry {:#010x} ({set})", vm.entry & !1)?;
            writeln!(
                f,
                "  pools {}: {} view pairs, {} shadow tables, {} replaced instructions",
                Size(u64::from(vm.pools)),
                vm.view_pairs,
                vm.shadow_tables,
                vm.sites
            )?;
            if vm.ordered {
                writeln!(f, "  takes orders from the console")?;
            }
            if !vm.health.is_trivial() {
                write!(f, "{}", vm.health)?;
            }
        }
        if let Some(timing) = &self.timing {
            write!(f, "{timing}")?;
        }
        let Hypervisor { size, window, image, pools } = &self.hypervisor;
        writeln!(f, "\nRAM outside guests")?;
        write!(f, "  hypervisor {}", Size(*window))?;
        match size {
            Some(HypervisorSize { text, memory }) => {
                writeln!(f, ", of which {memory} bytes in use, text {text} bytes")?;
            }
            None => writeln!(f, "; what it uses of them is unknown: it is not built")?,
        }
        writeln!(f, "  tables and guests' files {}", Size(*image))?;
        write!(f, "  page-table pools {}", Size(*pools))
    }
}
