//! How long a VM waits for locks that others hold.
//!
//! The holder of a lock is as urgent as who waits for it (priority inheritance). So a VM waits for each
//! other holder of a region that it shares, and for each less urgent one on its core that is made more
//! urgent than it by somebody else, as long as that VM holds locks at most in all: the region's
//! `locks-held`. Who keeps a holder from running, on another core, in its budget or its time slots,
//! makes it longer. A revocable lock is taken from a less urgent holder that does not run, which is the
//! hypervisor's time; one that runs, on another core, is waited for.

use super::{Supply, response, slots_of};
use crate::{Shared, Slot, Vm, manifest::Locks, names};

/// What a VM waits for at the worst.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Blocking {
    /// So many nanoseconds in all.
    For(u64),
    /// Nobody knows how long: this VM may be kept from running while it holds a lock.
    By(String),
}

/// What VM `index` waits for. Slots are those of the system.
pub(super) fn blocking(index: usize, vms: &[Vm], slots: &[Slot], shared: &[Shared]) -> Blocking {
    let Some(vm) = vms.get(index) else { return Blocking::For(0) };
    let mut total = 0;
    for (other, holder) in vms.iter().enumerate().filter(|(other, _)| *other != index) {
        let mut longest = 0;
        for region in shared.iter().filter(|region| region.locks.is_some()) {
            let holds = |vm| names(region.holders, vm);
            let held = u64::from(region.held);
            if held == 0 || !holds(other) {
                continue;
            }
            if region.locks == Some(Locks::Revocable) && holder.priority < vm.priority {
                if holds(index) && !holder.runs_on(vm.core) {
                    longest = longest.max(held);
                }
                continue;
            }
            if holds(index) {
                match hold(other, holder, vm, held, vms, slots) {
                    Some(time) => longest = longest.max(time),
                    None => return Blocking::By(holder.name.clone()),
                }
                continue;
            }
            let raised = vms.iter().enumerate().any(|(third, waiting)| {
                third != other && holds(third) && waiting.priority >= vm.priority
            });
            if holder.runs_on(vm.core) && holder.priority < vm.priority && raised {
                longest = longest.max(held);
            }
        }
        total += longest;
    }
    Blocking::For(total)
}

/// How long it takes `holder` to run for `held` nanoseconds while `vm` waits.
fn hold(index: usize, holder: &Vm, vm: &Vm, held: u64, vms: &[Vm], slots: &[Slot]) -> Option<u64> {
    let mut rivals = Vec::new();
    if !holder.runs_on(vm.core) {
        for (other, rival) in vms.iter().enumerate() {
            let urgent = rival.priority >= vm.priority.max(holder.priority);
            if other != index && rival.runs_on(holder.core) && urgent {
                rivals.push(rival.budget?);
            }
        }
    }
    let supply = Supply::new(index, slots_of(holder.core, vms, slots));
    let refills = holder.budget.map_or(0, |budget| {
        let (budget, period) = (u64::from(budget.budget), u64::from(budget.period));
        held.div_ceil(budget) * (period - budget)
    });
    Some(response(held, &rivals, &supply)? + refills)
}
