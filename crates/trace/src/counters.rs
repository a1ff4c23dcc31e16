//! The hypervisor's counters by name, from bytes of the machine's memory.

use entresol_abi::image::MAX_VMS;
use entresol_abi::observe::{MAGIC, Observed, VmCounters};
use serde::Serialize;
use std::mem::offset_of;
use zerocopy::{FromBytes, IntoBytes};

/// A counter of a VM: its name, and its place among the words of [`VmCounters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name of its field.
    pub name: &'static str,
    /// How many words are before it.
    pub word: usize,
}

macro_rules! names {
    ($($field:ident),* $(,)?) => {
        &[$(Name { name: stringify!($field), word: offset_of!(VmCounters, $field) / 4 }),*]
    };
}

/// All counters of a VM, in order.
pub const NAMES: &[Name] = names![
    sensitive, cp15, mmio, fills, reflected, injected, scanned, taken_back, flushes, hypercalls,
    starts, faults, exhausted, overrun,
];

const _: () = assert!(NAMES.len() * 4 == size_of::<VmCounters>());

/// Words of [`Observed`] in front of those of the first VM.
pub const HEAD_WORDS: usize = offset_of!(Observed, vms) / 4;

/// Bytes of [`Observed`] in front of those of the VMs, for each VM, and the number of VMs.
pub const SHAPE: [usize; 3] = [offset_of!(Observed, vms), size_of::<VmCounters>(), MAX_VMS];

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// Its name.
    pub name: &'static str,
    /// What it counted.
    pub count: u32,
}

/// Reads the structure at the start of each of `memories`, one for each core, and adds them up.
#[must_use]
pub fn read(memories: &[impl AsRef<[u8]>]) -> Option<Observed> {
    let mut sum = Observed::ZERO;
    for memory in memories {
        let (observed, _) = Observed::read_from_prefix(memory.as_ref()).ok()?;
        (observed.magic == MAGIC).then_some(())?;
        sum.vm_switches = sum.vm_switches.wrapping_add(observed.vm_switches);
        sum.interrupts = sum.interrupts.wrapping_add(observed.interrupts);
        for (sum, other) in sum.vms.iter_mut().zip(&observed.vms) {
            add(sum, other);
        }
    }
    (!memories.is_empty()).then_some(sum)
}

/// A VM's counters on another core; the longest overrun is the longer one.
fn add(sum: &mut VmCounters, other: &VmCounters) {
    let overrun = sum.overrun.max(other.overrun);
    let added = words(sum).zip(words(other)).map(|(one, other)| one.wrapping_add(other));
    let added: Vec<_> = added.collect();
    if let Ok((counters, _)) = VmCounters::read_from_prefix(added.as_bytes()) {
        *sum = VmCounters { overrun, ..counters };
    }
}

fn words(counters: &VmCounters) -> impl Iterator<Item = u32> {
    let bytes = counters.as_bytes().chunks(4);
    bytes.map(|word| word.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte)))
}

/// The counters of a VM by name, or none if there is no such VM.
#[must_use]
pub fn of_vm(observed: &Observed, vm: usize) -> Vec<Counter> {
    let Some(counters) = observed.vms.get(vm) else { return Vec::new() };
    NAMES
        .iter()
        .zip(words(counters))
        .map(|(name, count)| Counter { name: name.name, count })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_has_its_own_name() {
        let mut observed = Observed::ZERO;
        observed.vms[1].reflected = 0x0102_0304;
        let named = of_vm(&observed, 1);
        assert_eq!(named[4], Counter { name: "reflected", count: 0x0102_0304 });
        assert!(of_vm(&observed, 8).is_empty());
    }

    #[test]
    fn memory_without_the_mark_holds_no_counters() {
        assert!(read(&[Observed::ZERO.as_bytes()]).is_some());
        assert!(read(&[[0; 4096]]).is_none());
        assert!(read(&[b"EOBS"]).is_none());
        assert!(read(&[[0; 0]; 0]).is_none());
    }

    #[test]
    fn cores_count_for_themselves() {
        let mut one = Observed::ZERO;
        one.interrupts = 3;
        one.vms[1] = VmCounters { cp15: 5, overrun: 7, ..VmCounters::default() };
        let sum = read(&[one.as_bytes(), one.as_bytes()]).unwrap();
        assert_eq!((sum.interrupts, sum.vms[1].cp15, sum.vms[1].overrun), (6, 10, 7));
    }
}
