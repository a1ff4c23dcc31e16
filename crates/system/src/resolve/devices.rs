//! A VM's devices: those of the virtual board and those of the machine.
//!
//! A machine's device appears in the VM where the machine has it, same address and
//! same interrupt, unless the manifest says otherwise: a driver with fixed addresses
//! works, and nothing is decided behind the integrator's back.

use super::Checks;
use crate::{
    Passthrough,
    machine::Machine,
    manifest::{self, Manifest},
    problem::nearest,
};
use std::ops::Range;
use toml::Spanned;

/// What the virtual board has below its memory: name, addresses, interrupt.
const BOARD: [(&str, Range<u64>, u32); 5] = [
    ("the interrupt controller", 0x0800_0000..0x0802_0000, 0),
    ("the board's uart", 0x0900_0000..0x0900_1000, 33),
    ("the board's rtc", 0x0901_0000..0x0901_1000, 34),
    ("the board's watchdog", 0x0902_0000..0x0902_1000, 35),
    ("virtio", 0x0a00_0000..0x0a00_4000, 0),
];

/// Most devices of the machine and shared regions that one VM can have: `armv7a` keeps them
/// in a table.
pub(super) const MOST_DEVICES: usize = 8;

/// Shared peripheral interrupts of the virtual board's GIC, which has 128 interrupts.
pub(super) const SHARED_INTERRUPTS: Range<u32> = 32..128;

/// What the board of a VM has: name, addresses, interrupt.
pub(super) fn board([uart, rtc, watchdog]: [bool; 3]) -> Vec<(String, Range<u64>, u32)> {
    let has = |name: &str| {
        (uart || !name.ends_with("uart"))
            && (rtc || !name.ends_with("rtc"))
            && (watchdog || !name.ends_with("watchdog"))
    };
    let there = BOARD.into_iter().filter(|(name, ..)| has(name));
    there.map(|(name, range, irq)| (name.to_owned(), range, irq)).collect()
}

impl Checks<'_> {
    /// Whether the VM has the board's UART, RTC and watchdog.
    pub(super) fn board_devices(&mut self, vm: &manifest::Vm) -> [bool; 3] {
        let Some(devices) = &vm.devices else { return [true, true, false] };
        for (index, device) in devices.iter().enumerate() {
            let name = device.get_ref().as_str();
            if let Some(first) = devices.iter().take(index).find(|first| first.get_ref() == name) {
                let message = format!("the VM gets the device `{name}` twice");
                let (first, second) = (first.span(), device.span());
                self.clash("device::twice", first, second, message, "remove one of them");
            }
            if !["uart", "rtc", "watchdog"].contains(&name) {
                let message = format!("the virtual board has no device `{name}`");
                let help = "use \"uart\", \"rtc\" or \"watchdog\"; a device of the machine goes to \
                            `passthrough`";
                self.wrong("device::unknown", device.span(), "unknown device", message, help);
            }
        }
        let has = |name: &str| devices.iter().any(|device| device.get_ref() == name);
        [has("uart"), has("rtc"), has("watchdog")]
    }

    /// The machine's devices that the VM gets.
    pub(super) fn passthrough(
        &mut self,
        vm: &manifest::Vm,
        machine: &Machine,
        devices: [bool; 3],
        memory: u64,
    ) -> Vec<Passthrough> {
        let mut taken = board(devices);
        taken.push(("its memory".into(), super::GUEST_MEMORY..super::GUEST_MEMORY + memory, 0));
        let mut given = Vec::new();
        if let Some(entry) = vm.passthrough.get(MOST_DEVICES) {
            let message = format!("the VM gets {} of the machine's devices", vm.passthrough.len());
            let help = format!("a VM can have at most {MOST_DEVICES}; give some to another VM");
            self.wrong("device::too-many", entry.span(), "one too many", message, help);
        }
        for entry in &vm.passthrough {
            let Some(passthrough) = self.known_device(entry, machine) else { continue };
            let (at, irq) = (u64::from(passthrough.at), passthrough.irq);
            let range = at..at + passthrough.device.size.0;
            let name = &passthrough.device.name;
            if at & 0xfff != 0 || range.end > 0xffb0_0000 {
                let message = format!("`{name}` cannot be at {at:#010x} in the VM");
                let help = "set `at` to a multiple of 0x1000 below 0xffb00000";
                self.wrong("device::address", entry.span(), "this device", message, help);
            }
            if irq != 0 && !SHARED_INTERRUPTS.contains(&irq) {
                let message = format!("`{name}` cannot have interrupt {irq} in the VM");
                let help = "set `irq` to a shared peripheral interrupt, 32 to 127";
                self.wrong("device::interrupt", entry.span(), "this device", message, help);
            }
            for (other, other_range, other_irq) in &taken {
                if range.start < other_range.end && other_range.start < range.end {
                    let message = format!("in this VM, `{name}` at {at:#010x} overlaps {other}");
                    let help = format!("move it: {{ device = \"{name}\", at = 0x0b000000 }}");
                    self.wrong("device::overlap", entry.span(), "this device", message, help);
                }
                if irq != 0 && irq == *other_irq {
                    let message =
                        format!("in this VM, `{name}` and {other} both have interrupt {irq}");
                    let help = format!("renumber it: {{ device = \"{name}\", irq = 96 }}");
                    self.wrong(
                        "device::interrupt-twice",
                        entry.span(),
                        "this device",
                        message,
                        help,
                    );
                }
            }
            taken.push((name.clone(), range, irq));
            given.push(passthrough);
        }
        given
    }

    fn known_device(
        &mut self,
        entry: &Spanned<manifest::Passthrough>,
        machine: &Machine,
    ) -> Option<Passthrough> {
        let wanted = entry.get_ref();
        let Some(device) = machine.device.iter().find(|device| device.name == wanted.device) else {
            let names: Vec<&str> = machine.device.iter().map(|d| d.name.as_str()).collect();
            let near = nearest(&wanted.device, names.iter().copied())
                .map(|near| format!("did you mean \"{near}\"? "))
                .unwrap_or_default();
            let message = format!("{} has no device `{}` to give", machine.name, wanted.device);
            let help = format!("{near}It can give: {}", names.join(", "));
            self.wrong("device::unknown", entry.span(), "unknown device", message, help);
            return None;
        };
        Some(Passthrough {
            device: device.clone(),
            at: wanted.at.unwrap_or(device.base),
            irq: if device.irq == 0 { 0 } else { wanted.irq.unwrap_or(device.irq) },
            paired: false,
        })
    }

    /// A machine's device belongs to one VM.
    pub(super) fn devices_given_twice(&mut self, manifest: &Manifest) {
        let given = || manifest.vm.iter().flat_map(|vm| &vm.get_ref().passthrough);
        for (index, entry) in given().enumerate() {
            let name = &entry.get_ref().device;
            if let Some(first) = given().take(index).find(|first| first.get_ref().device == *name) {
                let message = format!("the machine's device `{name}` is given twice");
                let help = "give it to one VM; a device and its interrupt cannot be shared";
                self.clash("device::twice", first.span(), entry.span(), message, help);
            }
        }
    }
}
