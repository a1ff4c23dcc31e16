//! Which VMs control which, and how they are told of their ends.

use super::{Checks, devices};
use crate::{Vm, manifest::Manifest, names};

impl Checks<'_> {
    /// Sets who controls whom in `vms`, whose devices and regions are known.
    pub(super) fn control(&mut self, manifest: &Manifest, vms: &mut [Vm]) {
        let ordered = manifest.console_controls.iter();
        let ordered =
            ordered.fold(0, |bits, name| bits | self.bit("control::unknown-vm", manifest, name));
        for (index, vm) in vms.iter_mut().enumerate() {
            vm.is_ordered = names(ordered, index);
        }
        for (entry, vm) in manifest.vm.iter().zip(vms) {
            let entry = entry.get_ref();
            for name in &entry.controls {
                vm.controls |= self.bit("control::unknown-vm", manifest, name);
            }
            let Some(irq) = &entry.control_irq else { continue };
            vm.control_irq = *irq.get_ref();
            let number = vm.control_irq;
            let paired = entry.backup.is_some()
                || manifest.vm.iter().any(|vm| {
                    let backup = vm.get_ref().backup.as_ref();
                    backup.is_some_and(|backup| backup.get_ref() == entry.name.get_ref())
                });
            if entry.controls.is_empty() && !paired {
                let message = "`control-irq` has no effect: this VM controls no other";
                let help =
                    "add `controls = [\"...\"]` or `backup = \"...\"`, or remove `control-irq`";
                self.wrong("manifest::useless-key", irq.span(), "here", message, help);
            }
            if !devices::SHARED_INTERRUPTS.contains(&number) {
                let message = format!("`{}` cannot be told by interrupt {number}", vm.name);
                let help = "use a shared peripheral interrupt, 32 to 127";
                self.wrong("control::interrupt", irq.span(), "here", message, help);
            }
            let board =
                devices::board([vm.uart, vm.rtc, vm.watchdog]).into_iter().map(|(.., irq)| irq);
            let given = vm.passthrough.iter().map(|given| given.irq);
            let shared = vm.shared.iter().map(|view| view.irq);
            if board.chain(given).chain(shared).any(|other| other == number) {
                let message = format!("in `{}`, interrupt {number} has two meanings", vm.name);
                let help = "use one that no device and no region has, such as 120";
                self.wrong("control::interrupt-twice", irq.span(), "here", message, help);
            }
        }
    }
}
