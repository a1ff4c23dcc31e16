//! Memory that VMs share: who sees it where, and that nothing else is there.
//!
//! A region is at the same address in all its VMs unless the manifest says otherwise:
//! addresses in it mean the same to all. What two VMs write, neither may execute; that
//! is the hypervisor's to see to.

use super::{Checks, GUEST_MEMORY, devices};
use crate::{
    Shared, View, Vm,
    manifest::{self, Access, Locks, Manifest, Sharer},
    problem::nearest,
};
use toml::Spanned;

/// Where regions are unless the manifest says: below every VM's memory, where boards
/// have no devices.
const DEFAULT: u64 = 0x3000_0000;
/// Least of `locks-held`, in nanoseconds.
const SHORTEST: u64 = 1000;
/// Unit of sizes and addresses.
const PAGE: u64 = 0x1000;
/// Most of all regions together.
const MOST: u64 = 0x1000_0000;

impl Checks<'_> {
    /// All regions; `vms` are given what they see of them.
    pub(super) fn shared(&mut self, manifest: &Manifest, vms: &mut [Vm]) -> Vec<Shared> {
        let mut regions: Vec<Shared> = Vec::new();
        let mut offset = 0;
        for (index, entry) in manifest.shared.iter().enumerate() {
            let shared = entry.get_ref();
            self.name("region", &shared.name);
            let earlier = manifest.shared.iter().take(index).map(|entry| &entry.get_ref().name);
            if let Some(first) =
                earlier.into_iter().find(|first| first.get_ref() == shared.name.get_ref())
            {
                let message = format!("two regions are called `{}`", shared.name.get_ref());
                let help = "give each a name of its own";
                self.clash("shared::name-twice", first.span(), shared.name.span(), message, help);
            }
            let len = self.region_size(shared, offset);
            let mut holders = 0;
            for sharer in shared.vms.get_ref() {
                let Some(number) = self.sharer(manifest, sharer) else { continue };
                let Some(vm) = vms.get_mut(number) else { continue };
                let view = View {
                    region: index,
                    at: sharer
                        .get_ref()
                        .at
                        .or(shared.at.as_ref().map(|at| *at.get_ref()))
                        .unwrap_or(super::low(DEFAULT + offset)),
                    access: sharer.get_ref().access,
                    irq: sharer
                        .get_ref()
                        .irq
                        .or(shared.irq.as_ref().map(|irq| *irq.get_ref()))
                        .unwrap_or(0),
                    paired: false,
                };
                self.place(shared, sharer, (vm, view, len), &regions);
                if shared.locks.is_some() && view.access == Access::ReadWrite {
                    if vm.vcpus() > 1 {
                        let message = format!("`{}` has two vCPUs and cannot hold locks", vm.name);
                        let help = "give it one core, or read-only access";
                        self.wrong("cores::locks", sharer.span(), "this VM", message, help);
                    }
                    holders |= 1_u32.checked_shl(u32::try_from(number).unwrap_or(32)).unwrap_or(0);
                }
                vm.shared.push(view);
            }
            regions.push(Shared {
                name: shared.name.get_ref().clone(),
                len: super::low(len),
                offset: super::low(offset),
                locks: shared.locks.as_ref().map(|locks| *locks.get_ref()),
                held: self.locks_held(shared),
                holders,
            });
            offset += len;
        }
        regions
    }

    /// For how many nanoseconds locks are held, 0 if that is not said.
    fn locks_held(&mut self, shared: &manifest::Shared) -> u32 {
        let Some(held) = &shared.locks_held else { return 0 };
        if shared.locks.as_ref().is_none_or(|locks| *locks.get_ref() != Locks::Inherit) {
            let message = "`locks-held` has no effect: nobody waits for these locks";
            let help = "add `locks = \"inherit\"`, or remove `locks-held`";
            self.wrong("manifest::useless-key", held.span(), "here", message, help);
        }
        self.length_from(SHORTEST, "locks-held", held).unwrap_or(0)
    }

    fn region_size(&mut self, shared: &manifest::Shared, before: u64) -> u64 {
        let size = shared.size.get_ref().0;
        if size == 0 || !size.is_multiple_of(PAGE) {
            let message = format!("{} to share is not a multiple of 4 KiB", shared.size.get_ref());
            let help = format!("use \"{}K\"", size.next_multiple_of(PAGE).max(PAGE) / 1024);
            self.wrong("shared::not-whole", shared.size.span(), "this size", message, help);
            return PAGE;
        }
        if size > MOST - before {
            let message = "VMs cannot share more than 256 MiB".to_owned();
            let help = "share less, or give one VM the memory";
            self.wrong("shared::too-large", shared.size.span(), "this size", message, help);
            return PAGE;
        }
        size
    }

    /// The index of the VM that shares.
    fn sharer(&mut self, manifest: &Manifest, sharer: &Spanned<Sharer>) -> Option<usize> {
        let names = || manifest.vm.iter().map(|vm| vm.get_ref().name.get_ref().as_str());
        let name = sharer.get_ref().vm.as_str();
        let found = names().position(|vm| vm == name);
        if found.is_none() {
            let help = match nearest(name, names()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("the VMs are: {}", names().collect::<Vec<_>>().join(", ")),
            };
            let message = format!("no VM is called `{name}`");
            self.wrong("shared::unknown-vm", sharer.span(), "unknown VM", message, help);
        }
        found
    }

    /// Whether a region can be where it is to be in a VM.
    fn place(
        &mut self,
        shared: &manifest::Shared,
        sharer: &Spanned<Sharer>,
        (vm, view, len): (&Vm, View, u64),
        regions: &[Shared],
    ) {
        let name = shared.name.get_ref();
        let at = u64::from(view.at);
        let range = at..at + len;
        if at & (PAGE - 1) != 0 || range.end > 0xffb0_0000 {
            let message = format!("`{name}` cannot be at {at:#010x} in `{}`", vm.name);
            let help = "set `at` to a multiple of 0x1000 below 0xffb00000";
            self.wrong("shared::address", sharer.span(), "this VM", message, help);
        }
        if view.irq != 0 && !devices::SHARED_INTERRUPTS.contains(&view.irq) {
            let message = format!("`{name}` cannot have interrupt {} in `{}`", view.irq, vm.name);
            let help = "set `irq` to a shared peripheral interrupt, 32 to 127";
            self.wrong("shared::interrupt", sharer.span(), "this VM", message, help);
        }
        if vm.passthrough.len() + vm.shared.len() >= devices::MOST_DEVICES {
            let most = devices::MOST_DEVICES;
            let message = format!("`{}` has more than {most} devices and regions", vm.name);
            let help = "join regions, or give a device to another VM";
            self.wrong("shared::too-many", sharer.span(), "one too many", message, help);
        }
        let memory = GUEST_MEMORY..GUEST_MEMORY + u64::from(vm.memory);
        let mut taken = devices::board([vm.uart, vm.rtc, vm.watchdog]);
        taken.push(("its memory".to_owned(), memory, 0));
        taken.extend(vm.passthrough.iter().map(|given| {
            let at = u64::from(given.at);
            (given.device.name.clone(), at..at + given.device.size.0, given.irq)
        }));
        taken.extend(vm.shared.iter().map(|other| {
            // A VM named twice has the region itself here already.
            let (name, len) =
                regions.get(other.region).map_or((name.clone(), super::low(len)), |region| {
                    (region.name.clone(), region.len)
                });
            let at = u64::from(other.at);
            (name, at..at + u64::from(len), other.irq)
        }));
        for (other, other_range, other_irq) in taken {
            if range.start < other_range.end && other_range.start < range.end {
                let message = format!("in `{}`, `{name}` at {at:#010x} overlaps {other}", vm.name);
                let help = format!("move it: {{ vm = \"{}\", at = 0x38000000 }}", vm.name);
                self.wrong("shared::overlap", sharer.span(), "this VM", message, help);
            }
            if view.irq != 0 && view.irq == other_irq {
                let message = format!(
                    "in `{}`, `{name}` and {other} both have interrupt {}",
                    vm.name, view.irq
                );
                let help = format!("renumber it: {{ vm = \"{}\", irq = 112 }}", vm.name);
                self.wrong("shared::interrupt-twice", sharer.span(), "this VM", message, help);
            }
        }
    }
}
