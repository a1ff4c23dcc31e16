//! The machine below, as policy needs it: owned here, implemented by the binary.
//!
//! One clock, one interrupt controller, one serial line. What a processor is and how
//! it changes guests belongs to the layer of the architecture.

use crate::console::Serial;

/// An interrupt of the machine, acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// The core's one-shot timer.
    Timer,
    /// The serial line: on other cores than the boot core, their link to it.
    Serial,
    /// On the boot core: another core sent bytes, took some, or ended.
    Core,
    /// Another vCPU of a VM, on another core, wants something.
    Sibling,
    /// Another device's; its number.
    Device(u32),
    /// None after all.
    Spurious,
}

/// The machine's devices that belong to the hypervisor.
pub trait Platform: Serial {
    /// The counter, in ticks since reset.
    fn now(&self) -> u64;

    /// Ticks per second.
    fn hz(&self) -> u32;

    /// Arms the one-shot timer for a count.
    fn arm(&mut self, deadline: u64);

    /// Acknowledges the most urgent pending interrupt, once. A device's stays masked until
    /// [`Platform::unmask`]; the others are settled.
    fn acknowledge(&mut self) -> Interrupt;

    /// Interrupts another core: `Interrupt::Core` there if it is the boot core, else
    /// `Interrupt::Serial`. What this core wrote before is visible to it.
    fn call(&mut self, core: u32);

    /// Interrupts another core with `Interrupt::Sibling`. What this core wrote before is visible
    /// to it.
    fn call_sibling(&mut self, core: u32);

    /// Has a device's interrupt, level-triggered, go to a core. Only before
    /// [`Platform::start_cores`]: the registers are shared.
    fn route(&mut self, irq: u32, core: u32);

    /// Lets the cores below `count` go on from where they wait. Boot core only, once.
    fn start_cores(&mut self, count: u32);

    /// Lets a device interrupt (again).
    fn unmask(&mut self, irq: u32);

    /// Keeps a device from interrupting.
    fn mask(&mut self, irq: u32);

    /// Whether the line should interrupt when it can take a byte.
    fn notify_sent(&mut self, wanted: bool);

    /// Ends the machine: every VM is off. `well` is whether all ended well.
    fn power_off(&mut self, well: bool) -> !;

    /// Resets the machine.
    fn reset(&mut self) -> !;
}
