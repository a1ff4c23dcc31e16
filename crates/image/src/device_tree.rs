//! The board that each VM is told it runs on.
//!
//! A flattened device tree of the virtual board, which is QEMU's `virt`: one core or two,
//! GICv2, PL011, PL031, generic timer, PSCI by HVC. It does not depend on the machine
//! except for what is passed through. The user's additions are merged last: their
//! nodes are found by path, their properties win. One address cell, one size cell.
//!
//! Bindings: Linux's `Documentation/devicetree/bindings` for `arm,cortex-a15-gic`,
//! `arm,pl011`, `arm,pl031`, `arm,armv7-timer`, `arm,psci`.

use crate::Error;
use dtoolkit::ToPropertyValue;
use dtoolkit::{
    Node as _, Property as _,
    fdt::Fdt,
    model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty},
};
use entresol_system::{
    Passthrough, Shared, Vm,
    manifest::{Access, Property},
    placement,
};

/// Phandles of nodes that others name.
const GIC: u32 = 1;
const APB_CLOCK: u32 = 2;
const FIRST_CLOCK: u32 = 3;

/// Interrupt cells (`interrupt-controller/arm,gic.yaml`).
const SHARED: u32 = 0;
const PRIVATE: u32 = 1;
const EDGE_RISING: u32 = 1;
const LEVEL_HIGH: u32 = 4;
/// The CPUs a private interrupt is wired to, a bit each, from here on.
const TO_CPUS: u32 = 8;

/// Writes the device tree of `vm`.
///
/// # Errors
///
/// When the user's additions cannot be read.
pub fn generate(vm: &Vm, regions: &[Shared]) -> Result<Vec<u8>, Error> {
    let mut tree = DeviceTree::new();
    let root = &mut tree.root;
    set(root, "compatible", &["entresol,virt", "linux,dummy-virt"][..]);
    set(root, "model", "Entresol virtual board");
    set(root, "#address-cells", 1_u32);
    set(root, "#size-cells", 1_u32);
    set(root, "interrupt-parent", GIC);
    root.add_child(chosen(vm));
    root.add_child(memory(vm.memory));
    root.add_child(cpus(vm.vcpus()));
    root.add_child(psci());
    root.add_child(timer(vm.vcpus()));
    root.add_child(gic());
    root.add_child(clock("apb-pclk", APB_CLOCK, 24_000_000));
    if vm.uart {
        root.add_child(uart());
    }
    if vm.rtc {
        root.add_child(rtc());
    }
    if vm.watchdog {
        root.add_child(watchdog());
    }
    if !vm.shared.is_empty() {
        root.add_child(shared(vm, regions));
    }
    for (number, given) in (0..).zip(&vm.passthrough) {
        passthrough(root, given, FIRST_CLOCK + number);
    }
    if let Some(additions) = &vm.device_tree_additions {
        let additions = Fdt::new(additions)
            .map_err(|error| Error::DeviceTree { vm: vm.name.clone(), what: error.to_string() })?;
        merge(root, &DeviceTree::from_fdt(&additions).root);
    }
    Ok(tree.to_dtb())
}

fn node(name: &str) -> DeviceTreeNode {
    DeviceTreeNode::new_unchecked(name)
}

fn set<T: ToPropertyValue>(node: &mut DeviceTreeNode, name: &str, value: T) {
    node.add_property(DeviceTreeProperty::new_unchecked(name, value));
}

/// A property that is there or not.
fn flag(node: &mut DeviceTreeNode, name: &str) {
    set(node, name, [0_u8; 0]);
}

fn chosen(vm: &Vm) -> DeviceTreeNode {
    let mut chosen = node("chosen");
    if !vm.cmdline.is_empty() {
        set(&mut chosen, "bootargs", vm.cmdline.as_str());
    }
    if let Some(initrd) = &vm.initrd {
        set(&mut chosen, "linux,initrd-start", initrd.start);
        set(&mut chosen, "linux,initrd-end", initrd.end);
    }
    if vm.uart {
        set(&mut chosen, "stdout-path", "/pl011@9000000");
    }
    chosen
}

fn memory(len: u32) -> DeviceTreeNode {
    let mut memory = node("memory@40000000");
    set(&mut memory, "device_type", "memory");
    set(&mut memory, "reg", [u32::try_from(placement::MEMORY).unwrap_or(0), len]);
    memory
}

/// Memory shared with other VMs (`reserved-memory/reserved-memory.yaml`): outside the
/// VM's own, so never the kernel's to use.
fn shared(vm: &Vm, regions: &[Shared]) -> DeviceTreeNode {
    let mut reserved = node("reserved-memory");
    set(&mut reserved, "#address-cells", 1_u32);
    set(&mut reserved, "#size-cells", 1_u32);
    flag(&mut reserved, "ranges");
    for view in &vm.shared {
        let Some(region) = regions.get(view.region) else { continue };
        let mut child = node(&format!("{}@{:x}", region.name, view.at));
        set(&mut child, "compatible", "entresol,shared-memory");
        set(&mut child, "reg", [view.at, region.len]);
        flag(&mut child, "no-map");
        if view.access == Access::Read {
            flag(&mut child, "entresol,read-only");
        }
        if let Some(number) = view.irq.checked_sub(32) {
            set(&mut child, "interrupts", [SHARED, number, EDGE_RISING]);
        }
        reserved.add_child(child);
    }
    reserved
}

fn cpus(count: u32) -> DeviceTreeNode {
    let mut cpus = node("cpus");
    set(&mut cpus, "#address-cells", 1_u32);
    set(&mut cpus, "#size-cells", 0_u32);
    for number in 0..count {
        let mut cpu = node(&format!("cpu@{number}"));
        set(&mut cpu, "device_type", "cpu");
        set(&mut cpu, "compatible", "arm,armv7");
        set(&mut cpu, "reg", number);
        set(&mut cpu, "enable-method", "psci");
        cpus.add_child(cpu);
    }
    cpus
}

fn psci() -> DeviceTreeNode {
    let mut psci = node("psci");
    set(&mut psci, "compatible", "arm,psci-0.2");
    set(&mut psci, "method", "hvc");
    psci
}

fn timer(cpus: u32) -> DeviceTreeNode {
    let mut timer = node("timer");
    set(&mut timer, "compatible", "arm,armv7-timer");
    let flags = ((1 << cpus) - 1) << TO_CPUS | LEVEL_HIGH;
    let interrupts: Vec<u32> =
        [13, 14, 11, 10].into_iter().flat_map(|number| [PRIVATE, number, flags]).collect();
    set(&mut timer, "interrupts", interrupts);
    flag(&mut timer, "always-on");
    timer
}

fn gic() -> DeviceTreeNode {
    let mut gic = node("intc@8000000");
    set(&mut gic, "compatible", "arm,cortex-a15-gic");
    set(&mut gic, "reg", [0x0800_0000_u32, 0x1_0000, 0x0801_0000, 0x1_0000]);
    set(&mut gic, "#interrupt-cells", 3_u32);
    set(&mut gic, "#address-cells", 0_u32);
    flag(&mut gic, "interrupt-controller");
    set(&mut gic, "phandle", GIC);
    gic
}

fn clock(name: &str, phandle: u32, hz: u32) -> DeviceTreeNode {
    let mut clock = node(name);
    set(&mut clock, "compatible", "fixed-clock");
    set(&mut clock, "#clock-cells", 0_u32);
    set(&mut clock, "clock-frequency", hz);
    set(&mut clock, "phandle", phandle);
    clock
}

fn uart() -> DeviceTreeNode {
    let mut uart = node("pl011@9000000");
    set(&mut uart, "compatible", &["arm,pl011", "arm,primecell"][..]);
    set(&mut uart, "reg", [0x0900_0000_u32, 0x1000]);
    set(&mut uart, "interrupts", [SHARED, 1, LEVEL_HIGH]);
    set(&mut uart, "clocks", [APB_CLOCK, APB_CLOCK]);
    set(&mut uart, "clock-names", &["uartclk", "apb_pclk"][..]);
    uart
}

fn watchdog() -> DeviceTreeNode {
    let mut watchdog = node("watchdog@9020000");
    set(&mut watchdog, "compatible", &["arm,sp805", "arm,primecell"][..]);
    set(&mut watchdog, "reg", [0x0902_0000_u32, 0x1000]);
    set(&mut watchdog, "interrupts", [SHARED, 3, LEVEL_HIGH]);
    set(&mut watchdog, "clocks", [APB_CLOCK, APB_CLOCK]);
    set(&mut watchdog, "clock-names", &["wdog_clk", "apb_pclk"][..]);
    watchdog
}

fn rtc() -> DeviceTreeNode {
    let mut rtc = node("pl031@9010000");
    set(&mut rtc, "compatible", &["arm,pl031", "arm,primecell"][..]);
    set(&mut rtc, "reg", [0x0901_0000_u32, 0x1000]);
    set(&mut rtc, "interrupts", [SHARED, 2, LEVEL_HIGH]);
    set(&mut rtc, "clocks", APB_CLOCK);
    set(&mut rtc, "clock-names", "apb_pclk");
    rtc
}

/// A device of the machine, and the clock it wants.
fn passthrough(root: &mut DeviceTreeNode, given: &Passthrough, clock_phandle: u32) {
    let device = &given.device;
    let mut child = node(&format!("{}@{:x}", device.name, given.at));
    let compatible: Vec<&str> = device.compatible.iter().map(String::as_str).collect();
    if !compatible.is_empty() {
        set(&mut child, "compatible", compatible.as_slice());
    }
    set(&mut child, "reg", [given.at, u32::try_from(device.size.0).unwrap_or(u32::MAX)]);
    if let Some(number) = given.irq.checked_sub(32) {
        set(&mut child, "interrupts", [SHARED, number, LEVEL_HIGH]);
    }
    if let Some(hz) = device.clock_hz {
        root.add_child(clock(&format!("{}-clock", device.name), clock_phandle, hz));
        set(&mut child, "clocks", vec![clock_phandle; device.clock_names.len().max(1)]);
    }
    let clock_names: Vec<&str> = device.clock_names.iter().map(String::as_str).collect();
    if !clock_names.is_empty() {
        set(&mut child, "clock-names", clock_names.as_slice());
    }
    for (name, value) in &device.properties {
        match value {
            Property::Flag(true) => flag(&mut child, name),
            Property::Flag(false) => {}
            Property::Cell(cell) => set(&mut child, name, *cell),
            Property::Text(text) => set(&mut child, name, text.as_str()),
            Property::Cells(cells) => set(&mut child, name, cells.clone()),
            Property::Texts(texts) => {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                set(&mut child, name, texts.as_slice());
            }
        }
    }
    root.add_child(child);
}

/// Lays `over` on `base`: properties replace, nodes are found by name.
fn merge(base: &mut DeviceTreeNode, over: &DeviceTreeNode) {
    for property in over.properties() {
        base.add_property(DeviceTreeProperty::new_unchecked(property.name(), property.value()));
    }
    for child in over.children() {
        match base.child_mut(child.name()) {
            Some(existing) => merge(existing, child),
            None => base.add_child(child.clone()),
        }
    }
}
