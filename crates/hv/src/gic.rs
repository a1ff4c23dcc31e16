//! Virtual GICv2: the interrupt controller a guest sees.
//!
//! Two register frames, the `distributor` and the CPU `interface`, joined here:
//! after every change the most urgent interrupt that the vCPU would take is worked out
//! once and kept, so that [`Gic::asserted`], asked at every return to a guest, is one
//! load.
//!
//! With several vCPUs each has a `Gic` of its own: what is banked per CPU is word 0 of each set,
//! the software interrupts' sources and the whole of `Interface`. Shared interrupts go to vCPU 0,
//! as those of a GIC whose targets are wired; so only its `Gic` has any, and the registers of
//! these ([`Gic::is_private`]) are to be asked for there. Software interrupts for other vCPUs are
//! handed out ([`Gic::take_sent`]) and in ([`Gic::receive`]).
//!
//! 128 interrupts, 32 priority levels as on the Cortex-A9, two groups without the
//! Security Extensions as on QEMU's `virt`. An active interrupt that is pending again
//! waits until it is deactivated.
//!
//! # Invariants
//!
//! `first`, `best` and `inputs` are what `Gic::settle` computes; every method that changes
//! the distributor or the interface ends with it. So does the entry code, which settles the two
//! accesses that a guest makes for every interrupt by itself where that is a matter of a few words:
//! see [`quick`].
//!
//! Manual: ARM IHI 0048B (GICv2).

mod distributor;
mod interface;
pub mod quick;
mod set;

use crate::bus::{Lanes, Width};
use distributor::Distributor;
use interface::Interface;

/// Number of interrupts: 16 by software, 16 private to the CPU, 96 shared.
pub const INTERRUPTS: u32 = 128;
/// Number of priority levels; level *n* is priority `8 * n`.
pub const LEVELS: u32 = 32;
/// `GICC_IAR` when there is nothing to acknowledge.
pub const SPURIOUS: u32 = 1023;
/// `GICC_IAR` when what is pending must be acknowledged through `GICC_AIAR`.
pub const OTHER_GROUP: u32 = 1022;

/// The two interrupt groups, as bits of `GICD_CTLR` and `GICC_CTLR`.
mod groups {
    pub(super) const ZERO: u32 = 1 << 0;
    pub(super) const ONE: u32 = 1 << 1;
    pub(super) const BOTH: u32 = ZERO | ONE;
}

/// A virtual GICv2 as one vCPU sees it.
///
/// What is large comes last: the offsets of the rest fit short instructions.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Gic {
    /// Inputs of the vCPU that are asserted: [`Gic::IRQ`], [`Gic::FIQ`].
    inputs: u32,
    /// The most urgent deliverable interrupt, behind its level: the lower the more urgent; or
    /// [`NOTHING`].
    first: u32,
    /// The interrupt that the vCPU would acknowledge now, or [`SPURIOUS`].
    best: u32,
    /// Its bit, and that of its priority, if it is [`quick`] to acknowledge; else 0.
    quick: [u32; 2],
    /// The line that last asserted an input when nothing was active or deliverable, in
    /// [`first`](Self::first)'s form, and these two then; [`NOTHING`] if what decides that may have changed.
    usual: u32,
    usual_inputs: u32,
    usual_priority: u32,
    interface: Interface,
    distributor: Distributor,
}

/// In [`Gic::first`]: no interrupt is deliverable.
const NOTHING: u32 = u32::MAX;
/// Where the level is in [`Gic::first`], behind the interrupt.
const LEVEL: u32 = 8;
const LINE_MASK: u32 = (1 << LEVEL) - 1;

impl Gic {
    /// The IRQ input in [`Gic::inputs`], at the place of CPSR.I.
    pub const IRQ: u32 = 1 << 7;
    /// The FIQ input, at that of CPSR.F.
    pub const FIQ: u32 = 1 << 6;

    /// The vCPU's inputs that are asserted.
    #[must_use]
    pub const fn inputs(&self) -> u32 {
        self.inputs
    }

    /// The state after reset: nothing enabled, nothing pending.
    #[must_use]
    pub const fn new() -> Self {
        Self::of(0, 1)
    }

    /// The same for vCPU `cpu` of `cpus`, at most 8.
    #[must_use]
    pub const fn of(cpu: u8, cpus: u8) -> Self {
        Self {
            distributor: Distributor::new(cpu & 7, cpus),
            interface: Interface::new(),
            first: NOTHING,
            best: SPURIOUS,
            quick: [0; 2],
            usual: NOTHING,
            usual_inputs: 0,
            usual_priority: 0,
            inputs: 0,
        }
    }

    /// Resets everything, lines included: their owners set them again.
    pub fn reset(&mut self) {
        let (cpu, cpus) = self.cpu();
        *self = Self::of(cpu, cpus);
    }

    /// Which vCPU's it is, and of how many.
    #[must_use]
    pub const fn cpu(&self) -> (u8, u8) {
        self.distributor.cpu()
    }

    /// Whether a register of the distributor is each vCPU's own, or the same for all.
    #[must_use]
    pub const fn is_private(offset: u32) -> bool {
        Distributor::is_private(offset & !3)
    }

    /// `GICD_CTLR`, which is vCPU 0's.
    #[must_use]
    pub const fn control(&self) -> u32 {
        self.distributor.control()
    }

    /// Has another vCPU follow it.
    pub fn set_control(&mut self, control: u32) {
        self.distributor.set_control(control);
        self.settle_groups();
    }

    /// The software interrupt generated last for other vCPUs, once: targets, a bit each, and
    /// number.
    pub fn take_sent(&mut self) -> (u8, u8) {
        self.distributor.take_sent()
    }

    /// vCPU `source` generated software interrupts for this one: a bit each.
    pub fn receive(&mut self, source: u32, set: u32) {
        self.distributor.receive(source, set);
        self.settle();
    }

    /// What the entry code does to the line of a private interrupt that is active.
    #[cfg(test)]
    pub(crate) fn lower_quickly(&mut self, irq: u32) {
        let line = &mut self.distributor.line;
        line.set_word(0, line.word(0) & !(1 << irq));
    }

    /// Drives the line of a private or shared interrupt. Other numbers have no line.
    pub fn set_line(&mut self, irq: u32, level: bool) {
        if level {
            self.raise(irq);
        } else if self.distributor.set_line(irq, false) {
            self.settle();
        }
    }

    /// Raises the line of a private interrupt, as [`set_line`](Self::set_line) does: a short way if it
    /// leads to what it led to before.
    #[inline]
    pub fn raise_line<const LINE: u32>(&mut self) {
        let bit = 1 << (LINE % 32);
        let same = self.usual & LINE_MASK == LINE
            && self.first == NOTHING
            && self.interface.active == [0; 2]
            && self.distributor.raise_quickly(bit);
        if !same {
            return self.raise(LINE);
        }
        (self.inputs, self.first, self.best) = (self.usual_inputs, self.usual, LINE);
        self.quick = [bit, self.usual_priority];
    }

    #[inline(never)]
    fn raise(&mut self, irq: u32) {
        if !self.distributor.set_line(irq, true) {
            return;
        }
        // It makes nothing else less urgent: it competes with the first only.
        if self.distributor.is_deliverable(irq) {
            let rank = self.distributor.level(irq) << LEVEL | irq;
            if rank < self.first {
                let alone = self.first == NOTHING && self.interface.active == [0; 2];
                self.first = rank;
                self.assert_first();
                if alone && self.best == irq && self.quick[0] != 0 {
                    self.usual = rank;
                    (self.usual_inputs, self.usual_priority) = (self.inputs, self.quick[1]);
                }
            } else {
                self.quick[0] = 0;
            }
        }
    }

    /// Whether the vCPU's IRQ input is asserted.
    #[must_use]
    pub const fn asserted(&self) -> bool {
        self.inputs & Self::IRQ != 0
    }

    /// Whether the vCPU's FIQ input is asserted (group 0 with `GICC_CTLR.FIQEn`).
    #[must_use]
    pub const fn fiq(&self) -> bool {
        self.inputs & Self::FIQ != 0
    }

    /// Whether the vCPU's input would be asserted if this interrupt became pending now.
    #[must_use]
    pub fn would_assert(&self, irq: u32) -> bool {
        let distributor = &self.distributor;
        distributor.would_deliver(irq)
            && self.interface.accepts(distributor.level(irq), distributor.group_one(irq))
    }

    /// Whether the vCPU would be interrupted by this interrupt, as [`Gic::IRQ`] and by nothing else,
    /// if its line rose now.
    #[must_use]
    pub fn would_interrupt(&self, irq: u32) -> bool {
        let fiq = self.interface.fiq_enabled() && !self.group_one(irq);
        self.first == NOTHING && !fiq && self.would_assert(irq)
    }

    /// Whether an interrupt was acknowledged and not ended.
    #[must_use]
    pub fn is_active(&self, irq: u32) -> bool {
        self.distributor.is_active(irq)
    }

    /// Reads `GICC_IAR`: makes the most urgent interrupt active and names it.
    pub fn acknowledge(&mut self) -> u32 {
        match self.best {
            SPURIOUS => SPURIOUS,
            irq if self.group_one(irq) && !self.interface.ack_control() => OTHER_GROUP,
            irq => self.activate(irq),
        }
    }

    /// Writes `GICC_EOIR`: drops the running priority and, unless `EOImode` splits the
    /// two, deactivates the interrupt.
    pub fn end(&mut self, value: u32) {
        let irq = value & 0x3ff;
        if irq >= INTERRUPTS || !self.interface.drop_priority() {
            return;
        }
        if !self.interface.split_end() {
            self.distributor.deactivate(irq);
        }
        self.settle();
    }

    /// Reads the distributor's frame.
    #[must_use]
    pub fn read_distributor(&self, offset: u32, width: Width) -> u32 {
        let lanes = Lanes::new(offset, width);
        lanes.extract(self.distributor.read(lanes.register))
    }

    /// Writes the distributor's frame.
    pub fn write_distributor(&mut self, offset: u32, width: Width, value: u32) {
        let lanes = Lanes::new(offset, width);
        self.distributor.write(lanes.register, lanes.mask, lanes.place(value));
        self.settle_groups();
    }

    /// Reads the CPU interface's frame; `GICC_IAR` and `GICC_AIAR` acknowledge.
    pub fn read_interface(&mut self, offset: u32, width: Width) -> u32 {
        let lanes = Lanes::new(offset, width);
        let word = match lanes.register {
            interface::IAR => self.acknowledge(),
            interface::AIAR => self.acknowledge_group_one(),
            interface::HPPIR => self.highest_pending(),
            interface::AHPPIR => {
                self.first().filter(|irq| self.group_one(*irq)).unwrap_or(SPURIOUS)
            }
            register => self.interface.read(register),
        };
        lanes.extract(word)
    }

    /// Writes the CPU interface's frame.
    pub fn write_interface(&mut self, offset: u32, width: Width, value: u32) {
        let lanes = Lanes::new(offset, width);
        let value = lanes.place(value);
        match lanes.register {
            interface::EOIR | interface::AEOIR => self.end(value),
            interface::DIR => {
                if self.interface.split_end() {
                    self.distributor.deactivate(value & 0x3ff);
                    self.settle();
                }
            }
            register => {
                self.interface.write(register, lanes.mask, value);
                self.settle_groups();
            }
        }
    }

    fn group_one(&self, irq: u32) -> bool {
        self.distributor.group_one(irq)
    }

    /// The most urgent pending interrupt of the enabled groups.
    fn first(&self) -> Option<u32> {
        self.distributor.first().map(|(irq, _)| irq)
    }

    fn highest_pending(&self) -> u32 {
        match self.first() {
            None => SPURIOUS,
            Some(irq) if self.group_one(irq) && !self.interface.ack_control() => OTHER_GROUP,
            Some(irq) => irq | self.distributor.source(irq) << 10,
        }
    }

    fn acknowledge_group_one(&mut self) -> u32 {
        match self.best {
            irq if irq != SPURIOUS && self.group_one(irq) => self.activate(irq),
            _ => SPURIOUS,
        }
    }

    fn activate(&mut self, irq: u32) -> u32 {
        self.interface.raise_priority(self.distributor.level(irq), self.group_one(irq));
        let source = self.distributor.activate(irq);
        self.settle();
        irq | source << 10
    }

    /// Works out what the vCPU would take now, after groups may have changed.
    fn settle_groups(&mut self) {
        let groups = self.distributor.enabled_groups() & self.interface.enabled_groups();
        self.distributor.forward(groups);
        self.usual = NOTHING;
        self.settle();
    }

    /// Works out what the vCPU would take now.
    #[inline(never)]
    fn settle(&mut self) {
        let first = self.distributor.first();
        self.first = first.map_or(NOTHING, |(irq, level)| level << LEVEL | irq);
        self.assert_first();
    }

    /// Asserts what the first interrupt asserts.
    #[inline(always)]
    fn assert_first(&mut self) {
        (self.best, self.inputs) = (SPURIOUS, 0);
        if self.first == NOTHING {
            return;
        }
        let (level, irq) = (self.first >> LEVEL, self.first & LINE_MASK);
        let group_one = self.distributor.group_one(irq);
        if self.interface.accepts(level, group_one) {
            self.best = irq;
            let fiq = self.interface.fiq_enabled() && !group_one;
            self.inputs = if fiq { Self::FIQ } else { Self::IRQ };
            let alone = if group_one { 0 } else { self.distributor.alone() };
            self.quick = [alone, self.interface.priority(level)];
        }
    }
}

impl Default for Gic {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
