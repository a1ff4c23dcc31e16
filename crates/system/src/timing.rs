//! What a schedule promises: shares, worst cases, and what the slots leave open.
//!
//! A VM with a budget is taken for a periodic task that needs its whole budget in each
//! period; a sporadic server never looks worse to others. Response times come from the
//! usual recurrence: in a time *t* each VM of equal or higher priority takes at most
//! budget * ceil(*t* / period). With slots, only the time of a VM's own slots counts, from
//! the worst moment on, the end of one of them.
//!
//! What a VM waits for locks is counted as its own time, the hypervisor's is not: see the book's chapter on
//! time for what to add. Not here: what is refused or warned of, which `resolve` decides.

mod blocking;

use crate::{Budget, Shared, Slot, Vm, duration::Duration};
use blocking::{Blocking, blocking};
use serde::Serialize;
use std::fmt;

/// After how many steps the recurrence is given up.
const STEPS: u32 = 100_000;
/// And beyond which time: above an hour, in nanoseconds.
const FAR: u64 = 1 << 42;

/// What the schedule promises.
#[derive(Clone, Debug, Serialize)]
pub struct Timing {
    /// Length of the major frame in nanoseconds, 0 without slots.
    pub frame: u64,
    /// The slots, in order.
    pub slots: Vec<SlotTiming>,
    /// Sum of the budgets' shares of each core, 1 for all of it.
    pub utilisation: Vec<f64>,
    /// The VMs, in the manifest's order.
    pub vms: Vec<VmTiming>,
}

/// A slot.
#[derive(Clone, Debug, Serialize)]
pub struct SlotTiming {
    /// Its start in the frame, in nanoseconds.
    pub start: u64,
    /// Its length in nanoseconds.
    pub length: u32,
    /// Names of the VMs that may run in it.
    pub vms: Vec<String>,
}

/// A VM.
#[derive(Clone, Debug, Serialize)]
pub struct VmTiming {
    /// Its name.
    pub name: String,
    /// Its priority.
    pub priority: u32,
    /// How long it may run in each period, in nanoseconds; absent: without bound.
    pub budget: Option<u32>,
    /// That period in nanoseconds.
    pub period: Option<u32>,
    /// Its budget's share of the core.
    pub utilisation: Option<f64>,
    /// Its slots' share of the frame.
    pub slot_share: f64,
    /// The longest time between two of its slots, in nanoseconds.
    pub slot_gap: u64,
    /// How long it waits for locks of others, in nanoseconds; part of what it can rely on.
    #[serde(skip_serializing_if = "is_zero")]
    pub blocking: u64,
    /// What it can rely on.
    pub promise: Promise,
}

/// What a VM can rely on, at the worst.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Promise {
    /// It has run for its whole budget so many nanoseconds after it wanted to.
    Budget {
        /// Nanoseconds.
        response: u64,
    },
    /// It begins to run so many nanoseconds after it wanted to, and has no budget.
    Start {
        /// Nanoseconds.
        response: u64,
    },
    /// Nothing: a VM of equal or higher priority has no budget.
    Unbounded {
        /// Its name.
        by: String,
    },
    /// Nothing: a VM that may hold a lock of it can be kept from running for ever.
    Blocked {
        /// Its name.
        by: String,
    },
    /// Nothing: those of equal or higher priority may take all the time of its slots.
    Never,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Timing {
    /// Analyses a schedule. Slots, if there are any, have a length.
    #[must_use]
    pub fn new(vms: &[Vm], slots: &[Slot], shared: &[Shared]) -> Self {
        let mut start = 0;
        let mut slot_timings = Vec::new();
        for slot in slots {
            let open = vms.iter().enumerate().filter(|(index, _)| slot.is_open(*index));
            let names = open.map(|(_, vm)| vm.name.clone()).collect();
            slot_timings.push(SlotTiming { start, length: slot.length, vms: names });
            start += u64::from(slot.length);
        }
        Self {
            frame: start,
            slots: slot_timings,
            utilisation: (0..crate::cores(vms))
                .map(|core| {
                    let own = vms.iter().filter(|vm| vm.runs_on(core));
                    own.filter_map(|vm| vm.budget).map(share).fold(0.0, |sum, share| sum + share)
                })
                .collect(),
            vms: (0..).zip(vms).map(|(index, vm)| analyse(index, vm, vms, slots, shared)).collect(),
        }
    }

    /// Whether there is anything to say.
    #[must_use]
    pub fn is_trivial(&self) -> bool {
        self.slots.is_empty() && self.vms.iter().all(|vm| vm.budget.is_none())
    }
}

/// A budget's share of the core.
pub(crate) fn share(budget: Budget) -> f64 {
    f64::from(budget.budget) / f64::from(budget.period)
}

/// The slots that a core keeps: a core none of whose VMs is in one has none.
pub(crate) fn slots_of<'a>(core: u32, vms: &[Vm], slots: &'a [Slot]) -> &'a [Slot] {
    let own = |slot: &Slot| {
        vms.iter().enumerate().any(|(index, vm)| vm.runs_on(core) && slot.is_open(index))
    };
    if slots.iter().any(own) { slots } else { &[] }
}

fn analyse(index: usize, vm: &Vm, vms: &[Vm], slots: &[Slot], shared: &[Shared]) -> VmTiming {
    let blocking = blocking(index, vms, slots, shared);
    let slots = slots_of(vm.core, vms, slots);
    let supply = Supply::new(index, slots);
    let (blocking, promise) = match blocking {
        Blocking::For(time) => (time, promise(index, vm, time, vms, slots, &supply)),
        Blocking::By(by) => (0, Promise::Blocked { by }),
    };
    VmTiming {
        name: vm.name.clone(),
        priority: vm.priority,
        budget: vm.budget.map(|budget| budget.budget),
        period: vm.budget.map(|budget| budget.period),
        utilisation: vm.budget.map(share),
        slot_share: supply.share(),
        slot_gap: supply.gap(),
        blocking,
        promise,
    }
}

fn promise(
    index: usize,
    vm: &Vm,
    blocking: u64,
    vms: &[Vm],
    slots: &[Slot],
    supply: &Supply,
) -> Promise {
    let mut rivals = Vec::new();
    for (other, rival) in vms.iter().enumerate() {
        let meets =
            slots.is_empty() || slots.iter().any(|slot| slot.is_open(index) && slot.is_open(other));
        if other == index || !rival.runs_on(vm.core) || rival.priority < vm.priority || !meets {
            continue;
        }
        match rival.budget {
            Some(budget) => rivals.push(budget),
            None => return Promise::Unbounded { by: rival.name.clone() },
        }
    }
    let own = vm.budget.map_or(1, |budget| u64::from(budget.budget)) + blocking;
    match (response(own, &rivals, supply), vm.budget) {
        (None, _) => Promise::Never,
        (Some(response), Some(_)) => Promise::Budget { response },
        // The one nanosecond is not part of the wait.
        (Some(response), None) => Promise::Start { response: response - 1 },
    }
}

/// The longest time until `own` nanoseconds are done beside `rivals`.
fn response(own: u64, rivals: &[Budget], supply: &Supply) -> Option<u64> {
    let demand = |time: u64| {
        let taken = |rival: &Budget| time.div_ceil(rival.period.into()) * u64::from(rival.budget);
        own + rivals.iter().map(taken).sum::<u64>()
    };
    let from = |start: u64| {
        let mut time = supply.time(start, own)?;
        for _ in 0..STEPS {
            let next = supply.time(start, demand(time))?;
            if next == time {
                return Some(time);
            }
            if next > FAR {
                return None;
            }
            time = next;
        }
        None
    };
    supply.worst_starts().into_iter().map(from).try_fold(0, |worst, time| Some(worst.max(time?)))
}

/// The time of one VM's slots.
struct Supply {
    /// Length of the frame, 0 without slots.
    frame: u64,
    /// First and past-the-end nanosecond of its slots, neighbours joined.
    open: Vec<(u64, u64)>,
}

impl Supply {
    fn new(vm: usize, slots: &[Slot]) -> Self {
        let mut open: Vec<(u64, u64)> = Vec::new();
        let mut frame = 0;
        for slot in slots {
            let end = frame + u64::from(slot.length);
            if slot.is_open(vm) {
                match open.last_mut() {
                    Some((_, last)) if *last == frame => *last = end,
                    _ => open.push((frame, end)),
                }
            }
            frame = end;
        }
        Self { frame, open }
    }

    fn total(&self) -> u64 {
        self.open.iter().map(|(start, end)| end - start).sum()
    }

    #[expect(clippy::as_conversions, reason = "a share for people; frames are far below 2^52")]
    fn share(&self) -> f64 {
        if self.frame == 0 { 1.0 } else { self.total() as f64 / self.frame as f64 }
    }

    /// The longest time without a slot.
    fn gap(&self) -> u64 {
        let wait = |start| self.time(start, 1).map(|time| time - 1);
        self.worst_starts().into_iter().filter_map(wait).max().unwrap_or(0)
    }

    /// From when on waiting is longest: the end of one of its slots.
    fn worst_starts(&self) -> Vec<u64> {
        if self.open.is_empty() {
            return vec![0];
        }
        self.open.iter().map(|(_, end)| *end).collect()
    }

    /// How long after `start`, at most a frame, its slots have given `wanted` (not 0);
    /// `None` if they never do.
    fn time(&self, start: u64, wanted: u64) -> Option<u64> {
        if self.frame == 0 {
            return Some(wanted);
        }
        let frames = (wanted - 1).checked_div(self.total())?;
        let mut left = wanted - frames * self.total();
        for turn in 0..=1 {
            for (open, end) in &self.open {
                let end = end + turn * self.frame;
                let open = (open + turn * self.frame).max(start);
                let here = end.saturating_sub(open);
                if left <= here {
                    return Some(open + left - start + frames * self.frame);
                }
                left -= here;
            }
        }
        None
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\nTiming, worst cases without the hypervisor's own time")?;
        match self.utilisation.as_slice() {
            [share] => writeln!(f, "\n  budgets {:.1} % of the core", share * 100.0)?,
            shares => {
                for (core, share) in shares.iter().enumerate() {
                    write!(f, "\n  budgets {:.1} % of core {core}", share * 100.0)?;
                }
                writeln!(f)?;
            }
        }
        if self.frame > 0 {
            writeln!(f, "  major frame {}", Duration(self.frame))?;
        }
        for SlotTiming { start, length, vms } in &self.slots {
            let (start, length) = (Duration(*start), Duration(u64::from(*length)));
            writeln!(f, "    {length} from {start}: {}", vms.join(", "))?;
        }
        self.vms.iter().try_for_each(|vm| vm.line(f, self.frame > 0))
    }
}

impl VmTiming {
    fn line(&self, f: &mut fmt::Formatter<'_>, slots: bool) -> fmt::Result {
        write!(f, "  {} (priority {}): ", self.name, self.priority)?;
        match (self.budget, self.period) {
            (Some(budget), Some(period)) => {
                let (budget, period) = (Duration(budget.into()), Duration(period.into()));
                let share = self.utilisation.unwrap_or(0.0) * 100.0;
                write!(f, "{budget} in each {period}, {share:.1} %; ")?;
            }
            _ => write!(f, "no budget; ")?,
        }
        if slots {
            write!(f, "slots {:.1} %", self.slot_share * 100.0)?;
            match self.slot_gap {
                0 => write!(f, "; ")?,
                gap => write!(f, ", at most {} apart; ", Duration(gap))?,
            }
        }
        if self.blocking != 0 {
            write!(f, "waits for locks for at most {}; ", Duration(self.blocking))?;
        }
        match &self.promise {
            Promise::Budget { response } => {
                writeln!(f, "has had its budget after {}", Duration(*response))
            }
            Promise::Start { response: 0 } => writeln!(f, "runs at once"),
            Promise::Start { response } => writeln!(f, "runs after {}", Duration(*response)),
            Promise::Unbounded { by } => writeln!(f, "no promise, {by} has no budget"),
            Promise::Blocked { by } => {
                writeln!(f, "no promise, {by} may never release a lock")
            }
            Promise::Never => writeln!(f, "no promise, it may never run"),
        }
    }
}

#[cfg(test)]
mod tests;
