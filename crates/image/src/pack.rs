//! Tables and payloads, in the layout of [`entresol_abi::image`].
//!
//! # Invariants
//!
//! Those of [`entresol_abi::image`]; [`abi::Header::check`] is run over the result in
//! this crate's tests.

use crate::{Error, device_tree};
use entresol_abi::{GuestPhys, HostPhys, image as abi};
use entresol_system::{
    Shared, System, View, Vm,
    layout::Span,
    machine::padded,
    manifest::{Access, Locks},
    placement,
};
use std::borrow::Cow;
use zerocopy::IntoBytes;

/// Payloads start at multiples of this.
const PAGE: usize = 0x1000;

/// Bytes to be copied into a VM's memory.
struct Payload<'a> {
    to: u32,
    bytes: Cow<'a, [u8]>,
}

/// Writes the tables and payloads of `system`.
///
/// # Errors
///
/// A device tree that cannot be merged or is too large.
pub fn pack(system: &System) -> Result<Vec<u8>, Error> {
    let payloads =
        system.vms.iter().map(|vm| payloads(vm, &system.shared)).collect::<Result<Vec<_>, _>>()?;
    let ram: Vec<abi::Range> = system
        .machine
        .ram
        .iter()
        .map(|ram| range(Span { base: u64::from(ram.base), len: ram.size.0 }))
        .collect::<Result<_, _>>()?;

    let slots: Vec<abi::Slot> =
        system.slots.iter().map(|slot| abi::Slot { length: slot.length, vms: slot.vms }).collect();

    // Tables in order: header, RAM, VMs, slots, then loads, passthroughs and rewritten
    // code of each VM.
    let mut cursor = Cursor(size_of::<abi::Header>());
    let ram_table = cursor.table::<abi::Range>(ram.len())?;
    let vms_table = cursor.table::<abi::Vm>(system.vms.len())?;
    let slots_table = cursor.table::<abi::Slot>(slots.len())?;
    let tables: Vec<[abi::Table; 3]> = system
        .vms
        .iter()
        .zip(&payloads)
        .map(|(vm, payloads)| {
            let loads = cursor.table::<abi::Load>(payloads.len())?;
            let passthrough =
                cursor.table::<abi::Passthrough>(vm.passthrough.len() + vm.shared.len())?;
            Ok([loads, passthrough, cursor.table::<abi::Rewritten>(vm.rewritten.len())?])
        })
        .collect::<Result<_, Error>>()?;

    let mut entries = Vec::new();
    let mut data = Payloads::new(cursor.0.next_multiple_of(PAGE));
    let mut vms = Vec::new();
    for (index, vm) in system.vms.iter().enumerate() {
        for payload in payloads.get(index).into_iter().flatten() {
            let load = abi::Load {
                offset: data.add(&payload.bytes)?,
                len: number(payload.bytes.len())?,
                to: GuestPhys(payload.to),
                reserved: 0,
            };
            entries.extend(load.as_bytes());
        }
        for given in &vm.passthrough {
            entries.extend(passthrough(given).as_bytes());
        }
        for view in &vm.shared {
            entries.extend(shared(system, *view)?.as_bytes());
        }
        for run in &vm.rewritten {
            let base = GuestPhys(run.at);
            let (len, linked, sets) = (run.len, run.linked, run.sets);
            entries.extend(abi::Rewritten { base, len, linked, sets }.as_bytes());
        }
        let host = system.layout.vms.get(index).map_or(0, |span| span.base);
        let host = HostPhys(u32::try_from(host).map_err(|_| Error::TooLarge)?);
        let tables = tables.get(index).copied().unwrap_or_default();
        vms.push(describe(system, index, vm, host, tables));
    }
    let Payloads { first, mut data, .. } = data;
    data.resize(data.len().next_multiple_of(4), 0);

    let mut header = abi::Header {
        magic: abi::MAGIC,
        abi: abi::ABI_VERSION,
        image_len: number(first + data.len())?,
        build: 0,
        load: HostPhys(system.machine.load),
        pools: range(system.layout.pools)?,
        shared: range(system.layout.shared)?,
        ram: ram_table,
        machine: system.machine.to_abi(),
        vms: vms_table,
        slots: slots_table,
    };
    let mut rest = [ram.as_bytes(), vms.as_bytes(), slots.as_bytes(), &entries].concat();
    rest.resize(first - size_of::<abi::Header>(), 0);
    rest.extend(data);
    header.build = hash(&[header.as_bytes(), &rest]);
    let mut image = header.as_bytes().to_vec();
    image.extend(rest);
    Ok(image)
}

/// Gives out offsets of tables.
struct Cursor(usize);

impl Cursor {
    fn table<T>(&mut self, count: usize) -> Result<abi::Table, Error> {
        let table = abi::Table { offset: number(self.0)?, count: number(count)? };
        self.0 += count * size_of::<T>();
        Ok(table)
    }
}

/// Payloads, each at a multiple of [`PAGE`], equal ones once.
struct Payloads<'a> {
    /// Offset of the first.
    first: usize,
    data: Vec<u8>,
    placed: Vec<(&'a [u8], u32)>,
}

impl<'a> Payloads<'a> {
    const fn new(first: usize) -> Self {
        Self { first, data: Vec::new(), placed: Vec::new() }
    }

    /// The offset of `bytes`.
    fn add(&mut self, bytes: &'a [u8]) -> Result<u32, Error> {
        if let Some((_, offset)) = self.placed.iter().find(|(placed, _)| *placed == bytes) {
            return Ok(*offset);
        }
        self.data.resize(self.data.len().next_multiple_of(PAGE), 0);
        let offset = number(self.first + self.data.len())?;
        self.data.extend(bytes);
        self.placed.push((bytes, offset));
        Ok(offset)
    }
}

fn number(value: usize) -> Result<u32, Error> {
    u32::try_from(value).map_err(|_| Error::TooLarge)
}

fn range(span: Span) -> Result<abi::Range, Error> {
    let low = |value| u32::try_from(value).map_err(|_| Error::TooLarge);
    Ok(abi::Range { base: HostPhys(low(span.base)?), len: low(span.len)? })
}

/// What is copied into a VM's memory: its files and its device tree.
fn payloads<'a>(vm: &'a Vm, shared: &[Shared]) -> Result<Vec<Payload<'a>>, Error> {
    let tree = device_tree::generate(vm, shared)?;
    let room = usize::try_from(vm.device_tree.end - vm.device_tree.start).unwrap_or(0);
    if tree.len() > room {
        return Err(Error::LargeTree { vm: vm.name.clone(), len: tree.len(), room });
    }
    let files = vm.loads.iter().map(|load| Payload { to: load.to, bytes: Cow::from(&load.bytes) });
    Ok(files.chain([Payload { to: vm.device_tree.start, bytes: Cow::from(tree) }]).collect())
}

fn passthrough(given: &entresol_system::Passthrough) -> abi::Passthrough {
    abi::Passthrough {
        host: HostPhys(given.device.base),
        guest: GuestPhys(given.at),
        len: u32::try_from(given.device.size.0).unwrap_or(u32::MAX),
        host_irq: given.device.irq,
        guest_irq: given.irq,
        flags: if given.paired { abi::given::PAIRED } else { 0 },
    }
}

/// What a VM sees of memory that it shares.
fn shared(system: &System, view: View) -> Result<abi::Passthrough, Error> {
    let region = system.shared.get(view.region).ok_or(Error::TooLarge)?;
    let abi::Range { base, .. } = range(system.layout.shared)?;
    let mut flags = abi::given::MEMORY;
    if view.paired {
        flags |= abi::given::PAIRED;
    }
    match (view.access, region.locks) {
        (Access::Read, _) => flags |= abi::given::READ_ONLY,
        (_, None) => {}
        (_, Some(Locks::Inherit)) => flags |= region.holders,
        (_, Some(Locks::Revocable)) => flags |= region.holders | abi::given::REVOCABLE,
    }
    Ok(abi::Passthrough {
        host: HostPhys(base.0 + region.offset),
        guest: GuestPhys(view.at),
        len: region.len,
        host_irq: 0,
        guest_irq: view.irq,
        flags,
    })
}

#[expect(clippy::as_conversions, reason = "numbers of enums without fields")]
fn describe(
    system: &System,
    index: usize,
    vm: &Vm,
    host: HostPhys,
    tables: [abi::Table; 3],
) -> abi::Vm {
    let [loads, passthrough, rewritten] = tables;
    let flag = |set: bool, bit: u32| if set { bit } else { 0 };
    abi::Vm {
        name: padded(&vm.name),
        memory: GuestPhys(u32::try_from(placement::MEMORY).unwrap_or(0)),
        host,
        memory_len: vm.memory,
        entry: GuestPhys(vm.entry),
        r1: u32::MAX,
        r2: GuestPhys(vm.device_tree.start),
        priority: vm.priority,
        core: vm.core,
        second_core: vm.second_core,
        flags: flag(vm.autostart, abi::flags::AUTOSTART)
            | flag(vm.uart, abi::flags::UART)
            | flag(vm.rtc, abi::flags::RTC)
            | flag(vm.watchdog, abi::flags::WATCHDOG)
            | flag(vm.is_ordered, abi::flags::ORDERED)
            | flag(vm.is_backup, abi::flags::BACKUP)
            | vm.rewrite.flags()
            | vm.protection.flags()
            | vm.time.flags(),
        policies: vm.policies.map(|policy| policy.to_abi() as u8),
        restarts: vm.restarts,
        restarts_within: vm.restarts_within,
        loads,
        passthrough,
        view_pairs: vm.pools.view_pairs,
        shadow_tables: vm.pools.shadow_tables,
        sites: vm.pools.sites,
        rewritten,
        budget: vm.budget.map_or(0, |budget| budget.budget),
        period: vm.budget.map_or(0, |budget| budget.period),
        controls: vm.controls,
        control_irq: vm.control_irq,
        told: told(system, index),
        heartbeat: ticks(vm.heartbeat, system.machine.timer.hz),
        partner: vm.partner.and_then(|index| u32::try_from(index + 1).ok()).unwrap_or(0),
    }
}

/// Who is told of the VM with this index: those that control it, and its partner.
fn told(system: &System, index: usize) -> u32 {
    let hears = |vm: &Vm| {
        let bit =
            u32::try_from(index).map_or(0, |index| vm.controls.checked_shr(index).unwrap_or(0));
        bit & 1 == 1 || vm.partner == Some(index)
    };
    (0..32).zip(&system.vms).filter(|(_, vm)| hears(vm)).fold(0, |told, (bit, _)| told | 1 << bit)
}

/// Nanoseconds as ticks, rounded up.
fn ticks(ns: u32, hz: u32) -> u32 {
    u32::try_from((u64::from(ns) * u64::from(hz)).div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

/// 32-bit FNV-1a: tells images apart, protects nothing.
fn hash(parts: &[&[u8]]) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    parts.iter().copied().flatten().fold(0x811c_9dc5, step)
}
