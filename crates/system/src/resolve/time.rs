//! Budgets, periods and time slots: whether they can be kept.
//!
//! What can never be kept is refused; what the analysis cannot promise is warned of.

use super::Checks;
use crate::{
    Budget, Shared, Slot, Vm,
    duration::Duration,
    manifest::{self, Manifest},
    problem::{Problem, nearest},
    timing::{self, Promise, Timing},
};
use entresol_abi::image::MAX_SLOTS;
use std::ops::Range;
use toml::Spanned;

/// Shortest budget, period or slot: far above what its end costs the hypervisor.
const LEAST: u64 = 10_000;
/// Longest: nanoseconds in the image have 32 bits.
const MOST: u64 = 4_000_000_000;

/// Shares are sums of fractions: what rounding may add.
const ROUNDING: f64 = 1e-9;

impl Checks<'_> {
    /// A VM's budget.
    pub(super) fn budget(&mut self, vm: &manifest::Vm) -> Option<Budget> {
        let (budget, period) = match (&vm.budget, &vm.period) {
            (None, None) => return None,
            (Some(budget), Some(period)) => (budget, period),
            (Some(only), None) => {
                let help = "add in which time it comes back, as `period = \"1ms\"`";
                let message = "`budget` without `period` is no bound";
                self.wrong("time::incomplete", only.span(), "this budget", message, help);
                return None;
            }
            (None, Some(only)) => {
                let help = "add how long the VM may run in each, as `budget = \"200us\"`";
                let message = "`period` without `budget` has no effect";
                self.wrong("time::incomplete", only.span(), "this period", message, help);
                return None;
            }
        };
        let checked = Budget {
            budget: self.length("budget", budget)?,
            period: self.length("period", period)?,
        };
        if checked.budget > checked.period {
            let message = format!(
                "`{}` cannot run {} in each {}",
                vm.name.get_ref(),
                budget.get_ref(),
                period.get_ref()
            );
            let problem = Problem::new("time::budget-over-period", message)
                .at(self.source, budget.span(), "longer than")
                .at(self.source, period.span(), "this period")
                .help("use a budget of at most the period");
            self.problems.push(problem);
            return None;
        }
        Some(checked)
    }

    /// A length of time in nanoseconds.
    pub(super) fn length(&mut self, key: &str, length: &Spanned<Duration>) -> Option<u32> {
        self.length_from(LEAST, key, length)
    }

    /// The same from `least` nanoseconds on.
    pub(super) fn length_from(
        &mut self,
        least: u64,
        key: &str,
        length: &Spanned<Duration>,
    ) -> Option<u32> {
        let value = length.get_ref();
        if (least..=MOST).contains(&value.0) {
            return u32::try_from(value.0).ok();
        }
        let message = format!("a {key} of {value} is out of range");
        let help = format!("use {} to {}", Duration(least), Duration(MOST));
        self.wrong("time::out-of-range", length.span(), "here", message, help);
        None
    }

    /// The major frame.
    pub(super) fn slots(&mut self, manifest: &Manifest) -> Vec<Slot> {
        if let Some(slot) = manifest.slot.get(MAX_SLOTS) {
            let message = format!("this system has {} time slots", manifest.slot.len());
            let help = format!("a major frame has at most {MAX_SLOTS}");
            self.wrong("time::too-many-slots", slot.span(), "one too many", message, help);
        }
        let mut slots = Vec::new();
        for slot in &manifest.slot {
            let length = self.length("slot", &slot.get_ref().length);
            let vms = match &slot.get_ref().vms {
                None => u32::MAX,
                Some(names) => names
                    .iter()
                    .map(|name| self.bit("time::unknown-vm", manifest, name))
                    .fold(0, |a, b| a | b),
            };
            slots.extend(length.map(|length| Slot { length, vms }));
        }
        // Where a slot was wrong, who has none cannot be told.
        if !slots.is_empty() && slots.len() == manifest.slot.len() {
            for (index, vm) in manifest.vm.iter().enumerate() {
                if !slots.iter().any(|slot| slot.is_open(index)) {
                    let name = &vm.get_ref().name;
                    let message =
                        format!("`{}` has no time slot and would never run", name.get_ref());
                    let help = "add its name to the `vms` of a [[slot]]";
                    self.wrong("time::no-slot", name.span(), "in no slot", message, help);
                }
            }
        }
        slots
    }

    /// The bit of the VM called `name`; none if there is no such.
    pub(super) fn bit(
        &mut self,
        code: &'static str,
        manifest: &Manifest,
        name: &Spanned<String>,
    ) -> u32 {
        let names = || manifest.vm.iter().map(|vm| vm.get_ref().name.get_ref().as_str());
        if let Some(bit) = (0..32).zip(names()).find(|(_, vm)| vm == name.get_ref()) {
            return 1 << bit.0;
        }
        let help = match nearest(name.get_ref(), names()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("the VMs are: {}", names().collect::<Vec<_>>().join(", ")),
        };
        let message = format!("no VM is called `{}`", name.get_ref());
        self.wrong(code, name.span(), "unknown VM", message, help);
        0
    }

    /// All of it together.
    pub(super) fn schedule(
        &mut self,
        manifest: &Manifest,
        vms: &[Vm],
        slots: &[Slot],
        shared: &[Shared],
    ) {
        if !self.problems.is_empty() {
            return;
        }
        let timing = Timing::new(vms, slots, shared);
        if timing.is_trivial() {
            return;
        }
        let given: Vec<&manifest::Vm> = manifest.vm.iter().map(Spanned::get_ref).collect();
        self.overload(&given, vms);
        self.slots_too_short(&given, &timing);
        if self.problems.is_empty() {
            for (vm, timing) in given.iter().zip(&timing.vms) {
                self.promise(vm, timing);
            }
        }
    }

    /// No priority may be promised more than there is.
    fn overload(&mut self, given: &[&manifest::Vm], vms: &[Vm]) {
        let mut levels: Vec<u32> = vms.iter().map(|vm| vm.priority).collect();
        levels.sort_unstable_by(|a, b| b.cmp(a));
        let cores = 0..crate::cores(vms);
        for (core, level) in cores.flat_map(|core| levels.iter().map(move |level| (core, *level))) {
            let urgent = |vm: &Vm| vm.runs_on(core) && vm.priority >= level;
            let above = || given.iter().zip(vms).filter(|(_, vm)| urgent(vm));
            let shares = above().filter_map(|(_, vm)| vm.budget).map(timing::share);
            let total: f64 = shares.sum();
            if total > 1.0 + ROUNDING {
                let message = format!(
                    "the budgets of priority {level} and above are {:.1} % of the core",
                    total * 100.0
                );
                let mut problem = Problem::new("time::overload", message)
                    .help("use smaller budgets or longer periods");
                for (vm, resolved) in above() {
                    if let (Some(budget), Some(resolved)) = (&vm.budget, resolved.budget) {
                        let remark = format!("{:.1} %", timing::share(resolved) * 100.0);
                        problem = problem.at(self.source, budget.span(), remark);
                    }
                }
                self.problems.push(problem);
                return;
            }
        }
    }

    /// A budget must fit into its VM's slots.
    fn slots_too_short(&mut self, given: &[&manifest::Vm], timing: &Timing) {
        for (vm, timing) in given.iter().zip(&timing.vms) {
            let Some(share) = timing.utilisation else { continue };
            if share > timing.slot_share + ROUNDING {
                let message = format!(
                    "`{}` has a budget of {:.1} % of the core, and its slots are {:.1} %",
                    timing.name,
                    share * 100.0,
                    timing.slot_share * 100.0
                );
                let help = "give it longer slots or a smaller budget";
                self.wrong("time::slots-too-short", budget(vm), "this budget", message, help);
            }
        }
    }

    /// Warns of what cannot be promised.
    fn promise(&mut self, vm: &manifest::Vm, timing: &timing::VmTiming) {
        let name = &timing.name;
        let (code, message, help) = match &timing.promise {
            Promise::Unbounded { by } if timing.budget.is_some() => (
                "time::unbounded",
                format!(
                    "nothing is promised to `{name}`: `{by}`, as urgent or more, has no budget"
                ),
                format!("give `{by}` a budget, or a lower priority than `{name}`"),
            ),
            Promise::Budget { response } if Some(*response) > timing.period.map(u64::from) => (
                "time::late",
                format!("`{name}` may get its budget only after {}", Duration(*response)),
                "use a longer period, shorter periods of more urgent VMs, or more slots for it"
                    .to_owned(),
            ),
            Promise::Blocked { by } => (
                "time::blocked",
                format!(
                    "nothing is promised to `{name}`: `{by}`, which may hold a lock that it wants, may be kept from running"
                ),
                format!(
                    "give VMs as urgent as `{name}` on the core of `{by}` budgets, or use revocable locks"
                ),
            ),
            Promise::Never => (
                "time::starved",
                format!("`{name}` may never run: more urgent VMs may take all the time"),
                "give them smaller budgets, or this one a higher priority".to_owned(),
            ),
            _ => return,
        };
        let warning = Problem::new(code, message)
            .at(self.source, budget(vm), "of this VM")
            .help(help)
            .warning();
        self.warnings.push(warning);
    }
}

/// Where a VM's budget is written, else its name.
fn budget(vm: &manifest::Vm) -> Range<usize> {
    vm.budget.as_ref().map_or(vm.name.span(), Spanned::span)
}
