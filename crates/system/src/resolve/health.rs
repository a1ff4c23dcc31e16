//! What can befall a VM, what follows, and who takes over.

use super::{Checks, GUEST_MEMORY, devices};
use crate::{
    Shared, View, Vm,
    health::{self, Event},
    manifest::{self, Access, Manifest, Policy},
};
use toml::Spanned;

/// What the manifest says of an event, if anything.
const fn given(vm: &manifest::Vm, event: Event) -> Option<&Spanned<Policy>> {
    match event {
        Event::Fault => &vm.on_fault,
        Event::Watchdog => &vm.on_watchdog,
        Event::Heartbeat => &vm.on_heartbeat,
        Event::Deadline => &vm.on_deadline,
        Event::Budget => &vm.on_budget,
        Event::Panic => &vm.on_panic,
        Event::Reset => &vm.on_reset,
        Event::Off => &vm.on_off,
    }
    .as_ref()
}

impl Checks<'_> {
    /// What follows each event, by its number.
    pub(super) fn policies(&mut self, vm: &manifest::Vm, watchdog: bool) -> health::Policies {
        let useless = [
            (&vm.on_watchdog, watchdog, "watchdog", "add \"watchdog\" to `devices`"),
            (&vm.on_heartbeat, vm.heartbeat.is_some(), "heartbeat", "add `heartbeat = \"10ms\"`"),
            (&vm.on_budget, vm.budget.is_some(), "budget", "add `budget` and `period`"),
        ];
        for (policy, has, what, add) in useless {
            let Some(policy) = policy.as_ref().filter(|_| !has) else { continue };
            let message = format!("`on-{what}` has no effect: this VM has no {what}");
            let help = format!("{add}, or remove `on-{what}`");
            self.wrong("manifest::useless-key", policy.span(), "here", message, help);
        }
        let on_fault = vm.on_fault.as_ref().map_or(Policy::Stop, |policy| *policy.get_ref());
        health::ALL.map(|event| {
            let Some(policy) = given(vm, event) else { return health::default(event, on_fault) };
            let ends = matches!(event, Event::Fault | Event::Reset | Event::Off);
            if ends && policy.get_ref().goes_on() {
                let message = format!("a VM cannot go on after `on-{}`", health::name(event));
                let help = "use \"stop\", \"restart\", \"fail-over\" or \"reset-machine\"";
                self.wrong("health::cannot-go-on", policy.span(), "here", message, help);
            }
            *policy.get_ref()
        })
    }

    /// How often it is to show that it is alive, in nanoseconds; 0 for never.
    pub(super) fn heartbeat(&mut self, vm: &manifest::Vm) -> u32 {
        vm.heartbeat.as_ref().and_then(|length| self.length("heartbeat", length)).unwrap_or(0)
    }

    /// How many restarts are allowed, and in how many milliseconds.
    pub(super) fn restarts(&mut self, vm: &manifest::Vm, policies: health::Policies) -> (u32, u32) {
        let counted = health::ALL.into_iter().zip(policies).any(|(event, policy)| match policy {
            Policy::FailOver => true,
            Policy::Restart => event != Event::Reset,
            _ => false,
        });
        let restarts = vm.restarts.as_ref();
        if let Some(restarts) = restarts.filter(|_| !counted) {
            let message = "`restarts` has no effect: this VM is not restarted on a fault";
            let help = "add `on-fault = \"restart\"`, or remove `restarts`";
            self.wrong("manifest::useless-key", restarts.span(), "here", message, help);
        }
        let number = restarts.map_or(0, |restarts| *restarts.get_ref());
        let Some(within) = &vm.restarts_within else { return (number, 0) };
        if number == 0 {
            let message = "`restarts-within` has no effect: restarts are not limited";
            let help = "add how many are allowed in that time, as `restarts = 3`";
            self.wrong("manifest::useless-key", within.span(), "here", message, help);
        }
        let milliseconds = u32::try_from(within.get_ref().0 / 1_000_000);
        match milliseconds {
            Ok(milliseconds @ 1..) => (number, milliseconds),
            _ => {
                let message = format!("{} is out of range", within.get_ref());
                let help = "use \"1ms\" to \"4294967s\"";
                self.wrong("time::out-of-range", within.span(), "here", message, help);
                (number, 0)
            }
        }
    }

    /// Makes pairs of `vms`, whose devices, regions and controllers are known, and gives backups
    /// what is the pair's.
    pub(super) fn pairs(&mut self, manifest: &Manifest, vms: &mut [Vm], regions: &mut [Shared]) {
        for (primary, entry) in manifest.vm.iter().enumerate() {
            let Some(name) = &entry.get_ref().backup else { continue };
            let bit = self.bit("health::unknown-vm", manifest, name);
            let backup = usize::try_from(bit.trailing_zeros()).unwrap_or(usize::MAX);
            if let Ok([a, b]) = vms.get_disjoint_mut([primary, backup]) {
                self.pair(name, [(a, primary), (b, backup)], regions);
            } else if backup == primary {
                let help = "name another VM, with the same image perhaps";
                let message = format!("`{}` cannot be its own backup", name.get_ref());
                self.wrong("health::pair", name.span(), "here", message, help);
            }
        }
        for (index, entry) in manifest.vm.iter().enumerate() {
            self.can_follow(entry.get_ref(), index, vms);
        }
    }

    fn pair(
        &mut self,
        name: &Spanned<String>,
        [(a, primary), (b, backup)]: [(&mut Vm, usize); 2],
        regions: &mut [Shared],
    ) {
        if let Some(vm) = [&*a, &*b].into_iter().find(|vm| vm.partner.is_some()) {
            let message = format!("`{}` belongs to two pairs", vm.name);
            let help = "a VM has one partner: remove one `backup`";
            self.wrong("health::pair", name.span(), "here", message, help);
            return;
        }
        if let Some(vm) = [&*a, &*b].into_iter().find(|vm| vm.vcpus() > 1) {
            let message = format!("`{}` has two vCPUs, and belongs to no pair", vm.name);
            let help = "give it one core";
            self.wrong("cores::pair", name.span(), "here", message, help);
        }
        if let Some(vm) = [&*a, &*b].into_iter().find(|vm| vm.vcpus() > 1) {
            let message = format!("`{}` has several vCPUs and cannot be one of a pair", vm.name);
            let help = format!("give `{}` one core, or no backup", vm.name);
            self.wrong("health::pair", name.span(), "here", message, help);
        }
        if a.core != b.core {
            let message = format!("`{}` and its backup are on different cores", a.name);
            let help = format!("give `{}` the core {}", b.name, a.core);
            self.wrong("health::pair", name.span(), "here", message, help);
        }
        if a.priority != b.priority {
            let message = format!(
                "`{}` has priority {} and its backup {}: whoever is less urgent takes over when the \
                 other has been restarted",
                a.name, a.priority, b.priority
            );
            let problem = crate::Problem::new("health::pair", message)
                .at(self.source, name.span(), "this backup")
                .help("give both the same priority")
                .warning();
            self.warnings.push(problem);
        }
        (a.partner, b.partner, b.is_backup) = (Some(backup), Some(primary), true);
        let mut taken = devices::board([b.uart, b.rtc, b.watchdog]);
        taken.push(("its memory".to_owned(), GUEST_MEMORY..GUEST_MEMORY + u64::from(b.memory), 0));
        let range = |at: u32, len: u64| u64::from(at)..u64::from(at) + len;
        taken.extend(b.passthrough.iter().map(|given| {
            (given.device.name.clone(), range(given.at, given.device.size.0), given.irq)
        }));
        let region = |view: &View| {
            let region = regions.get(view.region);
            (region.map_or_else(String::new, |r| r.name.clone()), region.map_or(0, |r| r.len))
        };
        let place = |view: &View| {
            let (name, len) = region(view);
            (name, range(view.at, u64::from(len)), view.irq)
        };
        taken.extend(b.shared.iter().map(place));
        let mut new = Vec::new();
        for given in &mut a.passthrough {
            given.paired = true;
            new.push((given.device.name.clone(), range(given.at, given.device.size.0), given.irq));
            b.passthrough.push(given.clone());
        }
        let both = b.shared.clone();
        for view in &mut a.shared {
            if !both.iter().any(|other| other.region == view.region) {
                view.paired = true;
                new.push(place(view));
                b.shared.push(*view);
            }
        }
        for (what, at, irq) in new {
            let clash = taken.iter().find(|(_, range, other)| {
                range.start < at.end && at.start < range.end || irq != 0 && irq == *other
            });
            if let Some((other, ..)) = clash {
                let message = format!(
                    "`{}` cannot take over `{what}`: in it, address or interrupt are those of {other}",
                    b.name
                );
                let help = "move one of them: both VMs of a pair see it at the same place";
                self.wrong("health::overlap", name.span(), "this backup", message, help);
            }
        }
        if b.passthrough.len() + b.shared.len() > devices::MOST_DEVICES {
            let most = devices::MOST_DEVICES;
            let message = format!("`{}` would have more than {most} devices and regions", b.name);
            let help = "join regions, or give a device to another VM";
            self.wrong("health::too-many", name.span(), "this backup", message, help);
        }
        for view in b.shared.iter().filter(|view| view.paired && view.access == Access::ReadWrite) {
            if let Some(region) = regions.get_mut(view.region).filter(|r| r.locks.is_some()) {
                region.holders |=
                    1_u32.checked_shl(u32::try_from(backup).unwrap_or(32)).unwrap_or(0);
            }
        }
    }

    /// Whether what is to follow can: somebody takes over, somebody is told.
    fn can_follow(&mut self, entry: &manifest::Vm, index: usize, vms: &[Vm]) {
        let bit = 1_u32.checked_shl(u32::try_from(index).unwrap_or(32)).unwrap_or(0);
        let has_partner = vms.get(index).is_some_and(|vm| vm.partner.is_some());
        let told = vms
            .iter()
            .any(|vm| (vm.controls & bit != 0 || vm.partner == Some(index)) && vm.control_irq != 0);
        let name = entry.name.get_ref();
        for policy in health::ALL.into_iter().filter_map(|event| given(entry, event)) {
            match policy.get_ref() {
                Policy::FailOver if !has_partner => {
                    let message = format!("nobody takes over from `{name}`");
                    let help = format!("add `backup = \"...\"` to `{name}`, or use \"restart\"");
                    self.wrong("health::no-backup", policy.span(), "here", message, help);
                }
                Policy::Notify if !told => {
                    let message = format!("nobody is told of `{name}`");
                    let help = format!(
                        "add `controls = [\"{name}\"]` and `control-irq` to another VM, or use \"log\""
                    );
                    self.wrong("health::nobody-told", policy.span(), "here", message, help);
                }
                _ => {}
            }
        }
    }
}
