//! Which guest addresses trap, why, and what each costs, seen from outside.
//!
//! A trap begins at a vector and ends at the next, or where a guest goes on. Its address is
//! that of the last instruction before it, its cause what the hypervisor counts meanwhile: stores to its counters are seen as
//! they happen (`entresol_abi::observe`), and name the VM too. What the names of counters
//! are is not known here: the report has their numbers.
//!
//! # Why this shape
//!
//! Version 1 of the plugin API tells neither registers nor contents of memory. What it tells
//! is cheap if nothing is done for each instruction: a block of guest code notes that it
//! began, and the number of instructions executed since names the one that trapped.
//!
//! The VM of a trap that counts nothing is known by where its registers are saved: the first
//! store in the window goes to a place that belongs to one VM and one exception vector.
//! Which VM is learnt from traps that count. A trap that switches VMs is the one's that
//! trapped.
//!
//! Each block and each vector begins with a call that says on which core, as [`cores`] wants it.
//!
//! # Invariants
//!
//! - Every instruction in the window belongs to exactly one line of the report: those
//!   before the first trap to the one without a vector.
//! - An aborted fetch has the address where the guest goes on: the instruction that
//!   jumped there did nothing. An interrupt has no address.

use crate::config::Counters;
use crate::cores::{self, CORES};
use core::ffi::c_uint;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, OnceLock};

/// Vector of an aborted fetch, and of an interrupt (ARM DDI 0406C, table B1-3).
const PREFETCH_ABORT: u32 = 0x0c;
const INTERRUPT: u32 = 0x18;
/// In place of a vector: what ran before the first guest.
const START: u32 = 0x20;
/// No VM is known.
const NOBODY: u32 = u32::MAX;

/// What is known of a core.
struct Core {
    /// The block of guest code that runs or ran last, and what was executed outside before it.
    block: AtomicUsize,
    began: AtomicU64,
    /// Executed inside when a trap ended last.
    seen: AtomicU64,
    /// Of the trap that is under way: its vector, its instruction in the block, where it saved
    /// registers, the counters it touched, and whose.
    vector: AtomicU32,
    position: AtomicU64,
    saved_at: AtomicU64,
    touched: AtomicU32,
    whose: AtomicU32,
}

static MACHINE: [Core; CORES] = [const { Core::new() }; CORES];
/// All cores that a machine has nevertheless.
static MORE: Core = Core::new();

static COUNTERS: OnceLock<Counters> = OnceLock::new();
static FOUND: Mutex<Option<Found>> = Mutex::new(None);

/// What traps have in common that are one line of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    core: usize,
    saved_at: u64,
    vector: u32,
    touched: u32,
    address: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    number: u64,
    instructions: u64,
}

#[derive(Debug, Default)]
struct Found {
    /// Addresses of each block of guest code.
    blocks: Vec<Box<[u32]>>,
    traps: HashMap<Key, Tally>,
    /// Which VM saves its registers where, on which core.
    owners: BTreeMap<(usize, u64), u32>,
}

/// Starts to look.
pub(crate) fn begin(counters: Counters) {
    let _ = COUNTERS.set(counters);
    if let Ok(mut found) = FOUND.lock() {
        *found = Some(Found::default());
    }
}

/// Notes a block of guest code; returns the number for [`at_guest`].
pub(crate) fn block(addresses: impl Iterator<Item = u64>) -> usize {
    let low = |address| u32::try_from(address).unwrap_or(u32::MAX);
    with_found(|found| {
        found.blocks.push(addresses.map(low).collect());
        found.blocks.len() - 1
    })
    .unwrap_or(0)
}

impl Core {
    const fn new() -> Self {
        Self {
            block: AtomicUsize::new(0),
            began: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            vector: AtomicU32::new(START),
            position: AtomicU64::new(0),
            saved_at: AtomicU64::new(0),
            touched: AtomicU32::new(0),
            whose: AtomicU32::new(NOBODY),
        }
    }

    fn numbered(number: usize) -> &'static Self {
        MACHINE.get(number).unwrap_or(&MORE)
    }

    /// The core that executes now.
    fn of(vcpu: c_uint) -> &'static Self {
        Self::numbered(cores::number(vcpu))
    }

    /// A trap of this core, which has executed so much `inside`, ended if that is news: the guest goes on
    /// in `block`.
    fn ended(&self, vcpu: c_uint, inside: u64, block: usize) {
        let before = self.seen.swap(inside, Relaxed);
        if before == inside {
            return;
        }
        with_found(|found| {
            let key = found.key(cores::number(vcpu), block);
            let whose = self.whose.load(Relaxed);
            if whose != NOBODY && key.vector != START {
                found.owners.entry((key.core, key.saved_at)).or_insert(whose);
            }
            let sum = found.traps.entry(key).or_default();
            sum.number += 1;
            sum.instructions += inside - before;
        });
    }
}

/// A block of the hypervisor begins.
pub(crate) extern "C" fn at_window(vcpu: c_uint, _number: usize) {
    cores::executed(vcpu);
}

/// A block of guest code begins.
pub(crate) extern "C" fn at_guest(vcpu: c_uint, block: usize) {
    let (core, executed) = (Core::of(vcpu), cores::executed(vcpu));
    core.ended(vcpu, executed.inside, block);
    core.block.store(block, Relaxed);
    core.began.store(executed.outside(), Relaxed);
}

/// An exception is taken to `vector`; the instruction there is not counted yet.
pub(crate) extern "C" fn at_vector(vcpu: c_uint, vector: usize) {
    let (core, executed) = (Core::of(vcpu), cores::executed(vcpu));
    // If anything: no guest instruction executed since the last one.
    core.ended(vcpu, executed.inside, usize::MAX);
    core.vector.store(u32::try_from(vector).unwrap_or(START), Relaxed);
    core.position.store(executed.outside() - core.began.load(Relaxed), Relaxed);
    core.saved_at.store(0, Relaxed);
    core.touched.store(0, Relaxed);
    core.whose.store(NOBODY, Relaxed);
}

/// The hypervisor stores something.
pub(crate) extern "C" fn at_store(vcpu: c_uint, _info: u32, address: u64, _number: usize) {
    let core = Core::of(vcpu);
    if core.saved_at.load(Relaxed) == 0 {
        core.saved_at.store(address, Relaxed);
    }
    let Some((vm, bit)) = COUNTERS.get().and_then(|counters| counters.find(address)) else {
        return;
    };
    let touched = core.touched.load(Relaxed);
    if let Some(vm) = vm
        && touched & Counters::SWITCHES == 0
        && core.whose.load(Relaxed) == NOBODY
    {
        core.whose.store(vm, Relaxed);
    }
    core.touched.store(touched | 1 << bit, Relaxed);
}

/// The report: a line for each VM, vector, set of counters and address.
pub(crate) fn report() -> Report {
    Report { lines: with_found(|found| found.lines()).unwrap_or_default() }
}

/// The text of a report.
pub(crate) struct Report {
    lines: Vec<(Option<u32>, Key, Tally)>,
}

impl Found {
    /// What the trap that is under way on a core is counted as, if the guest goes on in `next`.
    fn key(&self, number: usize, next: usize) -> Key {
        let core = Core::numbered(number);
        let vector = core.vector.load(Relaxed);
        let at = |block: usize, index: usize| self.blocks.get(block)?.get(index).copied();
        let position = usize::try_from(core.position.load(Relaxed)).unwrap_or(0);
        let address = match vector {
            START | INTERRUPT => None,
            PREFETCH_ABORT => at(next, 0),
            _ => at(core.block.load(Relaxed), position.wrapping_sub(1)),
        };
        Key {
            core: number,
            saved_at: core.saved_at.load(Relaxed),
            vector,
            touched: core.touched.load(Relaxed),
            address: address.unwrap_or(0),
        }
    }

    fn lines(&self) -> Vec<(Option<u32>, Key, Tally)> {
        // The machine may end, or wait for ever, in the hypervisor.
        let last = (0..=CORES).filter_map(|number| {
            let executed = cores::executed(c_uint::try_from(number).unwrap_or(0));
            let instructions = executed.inside - Core::numbered(number).seen.load(Relaxed);
            let tally = Tally { number: 1, instructions };
            (instructions != 0).then(|| (self.key(number, usize::MAX), tally))
        });
        let owner = |key: &Key| self.owners.get(&(key.core, key.saved_at)).copied();
        let traps = self.traps.iter().map(|(key, tally)| (*key, *tally)).chain(last);
        let mut lines: Vec<_> = traps.map(|(key, tally)| (owner(&key), key, tally)).collect();
        lines.sort_by_key(|(vm, key, _)| (*vm, *key));
        lines
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (vm, Key { vector, touched, address, .. }, Tally { number, instructions }) in
            &self.lines
        {
            f.write_str("trap vm ")?;
            match vm {
                Some(vm) => write!(f, "{vm}")?,
                None => f.write_str("?")?,
            }
            writeln!(
                f,
                " vector {vector:#04x} counters {touched:#x} address {address:#010x} \
                 number {number} instructions {instructions}"
            )?;
        }
        Ok(())
    }
}

fn with_found<T>(act: impl FnOnce(&mut Found) -> T) -> Option<T> {
    FOUND.lock().ok()?.as_mut().map(act)
}
