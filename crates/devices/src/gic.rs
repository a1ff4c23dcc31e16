//! The machine's interrupt controller, a GICv2.
//!
//! All interrupts are in group 0, where the reset of a GIC without Security Extensions,
//! or of one seen from Secure state, leaves them; a core that starts in Non-secure state
//! sees its own group's registers at the same place. They are signalled as IRQ and
//! handled at one priority: the hypervisor runs with interrupts masked and never nests,
//! so hardware preemption would have nobody to preempt.
//!
//! An interrupt costs one read of `GICC_IAR` and one write of `GICC_EOIR`.
//!
//! Manual: ARM IHI 0048B (GICv2), chapter 4.

use crate::mmio::Registers;

/// Bytes of the distributor's frame.
pub const DISTRIBUTOR_BYTES: u32 = 0x1000;
/// Bytes of the CPU interface's frame that are used: up to `GICC_RPR`. The Cortex-A9's
/// is 0x100 long, with the global timer right behind it.
pub const INTERFACE_BYTES: u32 = 0x100;

/// Distributor registers.
mod gicd {
    pub(super) const CTLR: u32 = 0x000;
    pub(super) const TYPER: u32 = 0x004;
    pub(super) const IGROUPR: u32 = 0x080;
    pub(super) const ISENABLER: u32 = 0x100;
    pub(super) const ICENABLER: u32 = 0x180;
    pub(super) const ICPENDR: u32 = 0x280;
    pub(super) const ICACTIVER: u32 = 0x380;
    pub(super) const IPRIORITYR: u32 = 0x400;
    pub(super) const ITARGETSR: u32 = 0x800;
    pub(super) const ICFGR: u32 = 0xc00;
    pub(super) const SGIR: u32 = 0xf00;
}

/// CPU interface registers.
mod gicc {
    pub(super) const CTLR: u32 = 0x00;
    pub(super) const PMR: u32 = 0x04;
    pub(super) const BPR: u32 = 0x08;
    pub(super) const IAR: u32 = 0x0c;
    pub(super) const EOIR: u32 = 0x10;
}

/// `GICD_CTLR` and `GICC_CTLR`: group 0 (or the only one visible) is enabled.
const ENABLE: u32 = 1 << 0;
/// Interrupt numbers from here on mean that there is nothing (1022, 1023) or are
/// reserved.
const SPECIAL: u32 = 1020;
/// The priority of every interrupt, in the middle so that either half is left to use.
const PRIORITY: u32 = 0xa0;
/// Four of them, as `GICD_IPRIORITYR` holds them.
const PRIORITIES: u32 = PRIORITY * 0x0101_0101;

/// How an interrupt's line is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Pending while the line is high.
    Level,
    /// Pending from a rising edge on.
    Edge,
}

/// An acknowledged interrupt, to be given back by [`Gic::end`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an interrupt that is not ended blocks all others"]
pub struct Acknowledged(u32);

impl Acknowledged {
    /// Its number.
    #[must_use]
    pub const fn irq(&self) -> u32 {
        self.0 & 0x3ff
    }

    /// For a software interrupt: the CPU that sent it.
    #[must_use]
    pub const fn source(&self) -> u32 {
        self.0 >> 10 & 7
    }
}

/// The machine's GIC, as the core it runs on sees it.
#[derive(Debug)]
pub struct Gic {
    distributor: Registers<DISTRIBUTOR_BYTES>,
    interface: Registers<INTERFACE_BYTES>,
}

impl Gic {
    /// Takes the GIC.
    ///
    /// # Safety
    ///
    /// The contract of [`Registers::new`] holds for the distributor's
    /// [`DISTRIBUTOR_BYTES`] at `distributor` and the CPU interface's
    /// [`INTERFACE_BYTES`] at `interface`.
    #[must_use]
    pub const unsafe fn new(distributor: *mut u32, interface: *mut u32) -> Self {
        Self {
            // SAFETY: the caller's promise.
            distributor: unsafe { Registers::new(distributor) },
            // SAFETY: the caller's promise.
            interface: unsafe { Registers::new(interface) },
        }
    }

    /// Brings the GIC into a known state on the boot core: everything disabled, not
    /// pending, group 0, one priority, shared interrupts to this core; then enables
    /// distributor and interface.
    pub fn init(&mut self) {
        self.distributor.write(gicd::CTLR, 0);
        let words = (self.distributor.read(gicd::TYPER) & 0x1f) + 1;
        // Register 0 of ITARGETSR names this core; zero on a uniprocessor (4.3.12).
        let targets = self.distributor.read(gicd::ITARGETSR);
        for word in 0..words {
            let offset = word * 4;
            self.distributor.write(gicd::ICENABLER + offset, u32::MAX);
            self.distributor.write(gicd::ICPENDR + offset, u32::MAX);
            self.distributor.write(gicd::ICACTIVER + offset, u32::MAX);
            self.distributor.write(gicd::IGROUPR + offset, 0);
            for quarter in (word * 32..word * 32 + 32).step_by(4) {
                self.distributor.write(gicd::IPRIORITYR + quarter, PRIORITIES);
                if word > 0 {
                    self.distributor.write(gicd::ITARGETSR + quarter, targets);
                }
            }
        }
        self.distributor.write(gicd::CTLR, ENABLE);
        self.enable_interface();
    }

    /// Brings what belongs to another core than the boot core into the same state: its
    /// private interrupts, whose registers are its own, and its interface. After
    /// [`Gic::init`] on the boot core.
    pub fn init_core(&mut self) {
        self.distributor.write(gicd::ICENABLER, u32::MAX);
        self.distributor.write(gicd::ICPENDR, u32::MAX);
        self.distributor.write(gicd::ICACTIVER, u32::MAX);
        self.distributor.write(gicd::IGROUPR, 0);
        for quarter in (0..32).step_by(4) {
            self.distributor.write(gicd::IPRIORITYR + quarter, PRIORITIES);
        }
        self.enable_interface();
    }

    fn enable_interface(&mut self) {
        self.interface.write(gicc::PMR, 0xff);
        self.interface.write(gicc::BPR, 0);
        self.interface.write(gicc::CTLR, ENABLE);
    }

    /// Sends a shared interrupt to one core.
    pub fn set_target(&mut self, irq: u32, core: u32) {
        let register = gicd::ITARGETSR + irq / 4 * 4;
        let shift = irq % 4 * 8;
        let word = self.distributor.read(register) & !(0xff << shift);
        self.distributor.write(register, word | 1 << (core % 8) << shift);
    }

    /// Enables an interrupt.
    pub fn enable(&mut self, irq: u32) {
        self.distributor.write(gicd::ISENABLER + irq / 32 * 4, 1 << (irq % 32));
    }

    /// Disables an interrupt: it may become pending but is not signalled.
    pub fn disable(&mut self, irq: u32) {
        self.distributor.write(gicd::ICENABLER + irq / 32 * 4, 1 << (irq % 32));
    }

    /// Sets how a shared interrupt's line is read; others are fixed.
    pub fn set_trigger(&mut self, irq: u32, trigger: Trigger) {
        let register = gicd::ICFGR + irq / 16 * 4;
        let edge = 2 << (irq % 16 * 2);
        let word = self.distributor.read(register);
        let word = match trigger {
            Trigger::Edge => word | edge,
            Trigger::Level => word & !edge,
        };
        self.distributor.write(register, word);
    }

    /// Sets an interrupt's priority; 0 is the most urgent.
    pub fn set_priority(&mut self, irq: u32, priority: u8) {
        let register = gicd::IPRIORITYR + irq / 4 * 4;
        let shift = irq % 4 * 8;
        let word = self.distributor.read(register) & !(0xff << shift);
        self.distributor.write(register, word | u32::from(priority) << shift);
    }

    /// Acknowledges the most urgent interrupt; `None` if it went away meanwhile.
    pub fn acknowledge(&mut self) -> Option<Acknowledged> {
        let value = self.interface.read(gicc::IAR);
        (value & 0x3ff < SPECIAL).then_some(Acknowledged(value))
    }

    /// Ends an interrupt.
    #[expect(clippy::needless_pass_by_value, reason = "an interrupt is ended once")]
    pub fn end(&mut self, interrupt: Acknowledged) {
        self.interface.write(gicc::EOIR, interrupt.0);
    }

    /// Sends software interrupt `irq` (0 to 15) to the cores in `targets`, a bit each.
    pub fn send(&mut self, irq: u32, targets: u8) {
        self.distributor.write(gicd::SGIR, u32::from(targets) << 16 | irq & 0xf);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake;

    fn gic() -> Gic {
        Gic { distributor: fake::registers(), interface: fake::registers() }
    }

    #[test]
    fn initialisation_enables_both_halves_and_no_interrupt() {
        let mut gic = gic();
        gic.distributor.write(gicd::TYPER, 2);
        gic.distributor.write(gicd::ITARGETSR, 0x0101_0101);
        gic.init();
        assert_eq!(gic.distributor.read(gicd::CTLR), 1);
        assert_eq!(gic.interface.read(gicc::CTLR), 1);
        assert_eq!(gic.interface.read(gicc::PMR), 0xff);
        assert_eq!(gic.distributor.read(gicd::ISENABLER), 0);
        assert_eq!(gic.distributor.read(gicd::IPRIORITYR + 92), 0xa0a0_a0a0);
        assert_eq!(gic.distributor.read(gicd::IPRIORITYR + 96), 0, "past the last interrupt");
        assert_eq!(gic.distributor.read(gicd::ITARGETSR + 32), 0x0101_0101);
    }

    #[test]
    fn an_interrupt_is_a_bit_of_its_word_and_a_byte_of_its_priority() {
        let mut gic = gic();
        gic.enable(37);
        assert_eq!(gic.distributor.read(gicd::ISENABLER + 4), 1 << 5);
        gic.disable(95);
        assert_eq!(gic.distributor.read(gicd::ICENABLER + 8), 1 << 31);
        gic.set_priority(37, 0x20);
        assert_eq!(gic.distributor.read(gicd::IPRIORITYR + 36), 0x2000);
        gic.set_trigger(37, Trigger::Edge);
        assert_eq!(gic.distributor.read(gicd::ICFGR + 8), 1 << 11);
        gic.set_trigger(37, Trigger::Level);
        assert_eq!(gic.distributor.read(gicd::ICFGR + 8), 0);
    }

    #[test]
    fn a_spurious_acknowledge_is_no_interrupt() {
        let mut gic = gic();
        gic.interface.write(gicc::IAR, 1023);
        assert_eq!(gic.acknowledge(), None);
        gic.interface.write(gicc::IAR, 1 << 10 | 3);
        let interrupt = gic.acknowledge().unwrap();
        assert_eq!((interrupt.irq(), interrupt.source()), (3, 1));
        gic.end(interrupt);
        assert_eq!(gic.interface.read(gicc::EOIR), 1 << 10 | 3);
    }

    #[test]
    fn another_core_initialises_only_what_is_its_own() {
        let mut gic = gic();
        gic.init_core();
        assert_eq!(gic.distributor.read(gicd::CTLR), 0);
        assert_eq!(gic.distributor.read(gicd::ITARGETSR + 32), 0);
        assert_eq!(gic.distributor.read(gicd::IPRIORITYR + 28), 0xa0a0_a0a0);
        assert_eq!(gic.interface.read(gicc::CTLR), 1);
    }

    #[test]
    fn a_shared_interrupt_goes_to_one_core() {
        let mut gic = gic();
        gic.distributor.write(gicd::ITARGETSR + 36, 0x0101_0101);
        gic.set_target(38, 2);
        assert_eq!(gic.distributor.read(gicd::ITARGETSR + 36), 0x0104_0101);
    }

    #[test]
    fn a_software_interrupt_names_its_targets() {
        let mut gic = gic();
        gic.send(5, 0b10);
        assert_eq!(gic.distributor.read(gicd::SGIR), 0x0002_0005);
    }
}
