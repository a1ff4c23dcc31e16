//! A naive GIC: a list of interrupts, searched for every question.

use super::*;
use crate::bus::index;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Copy, Default)]
struct Interrupt {
    enabled: bool,
    latched: bool,
    line: bool,
    edge: bool,
    active: bool,
    group_one: bool,
    priority: u32,
    sources: u32,
}

struct Reference {
    interrupts: Vec<Interrupt>,
    distributor_groups: u32,
    control: u32,
    mask: u32,
    bpr: u32,
    abpr: u32,
    /// Active group priorities with their group.
    active: BTreeSet<(u32, bool)>,
}

impl Reference {
    fn new() -> Self {
        let mut interrupts = vec![Interrupt::default(); 128];
        for software in interrupts.iter_mut().take(16) {
            software.enabled = true;
            software.edge = true;
        }
        Self {
            interrupts,
            distributor_groups: 0,
            control: 0,
            mask: 0,
            bpr: 2,
            abpr: 3,
            active: BTreeSet::new(),
        }
    }

    fn at(&mut self, irq: u32) -> &mut Interrupt {
        &mut self.interrupts[index(irq)]
    }

    fn group_priority(&self, priority: u32, group_one: bool) -> u32 {
        let low_bits = if group_one && self.control & 16 == 0 { self.abpr } else { self.bpr + 1 };
        priority >> low_bits << low_bits
    }

    fn running(&self) -> u32 {
        self.active.first().map_or(0x100, |(priority, _)| *priority)
    }

    fn highest_pending(&self) -> Option<u32> {
        let deliverable = |interrupt: &Interrupt| {
            let pending =
                interrupt.latched || interrupt.sources != 0 || (interrupt.line && !interrupt.edge);
            let group = if interrupt.group_one { 2 } else { 1 };
            pending
                && interrupt.enabled
                && !interrupt.active
                && self.distributor_groups & self.control & group != 0
        };
        (0..128_u32).filter(|irq| deliverable(&self.interrupts[index(*irq)])).min_by_key(|irq| {
            let interrupt = &self.interrupts[index(*irq)];
            (interrupt.priority, *irq)
        })
    }

    fn signalled(&self) -> Option<u32> {
        self.highest_pending().filter(|irq| {
            let interrupt = &self.interrupts[index(*irq)];
            interrupt.priority < self.mask
                && self.group_priority(interrupt.priority, interrupt.group_one) < self.running()
        })
    }

    fn acknowledge(&mut self) -> u32 {
        let Some(irq) = self.signalled() else { return 1023 };
        let interrupt = self.interrupts[index(irq)];
        if interrupt.group_one && self.control & 4 == 0 {
            return 1022;
        }
        let entered =
            (self.group_priority(interrupt.priority, interrupt.group_one), interrupt.group_one);
        self.active.insert(entered);
        let interrupt = self.at(irq);
        interrupt.active = true;
        interrupt.latched = false;
        let source = interrupt.sources.trailing_zeros() & 7;
        if interrupt.sources != 0 {
            interrupt.sources &= interrupt.sources - 1;
            return irq | source << 10;
        }
        irq
    }

    fn end(&mut self, irq: u32) {
        if self.active.pop_first().is_some() && self.control & 0x200 == 0 {
            self.at(irq).active = false;
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Line(u32, bool),
    Enable(u32, bool),
    Pend(u32, bool),
    Activate(u32, bool),
    Priority(u32, u32),
    Group(u32, bool),
    Edge(u32, bool),
    Software(u32, u32),
    Control(u32),
    DistributorControl(u32),
    Mask(u32),
    Points(u32, u32),
    Acknowledge,
    /// Ends the interrupt acknowledged last.
    End,
    EndOther(u32),
    Deactivate(u32),
}

/// A few interrupts, so that they meet; among them all kinds.
fn irq() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0, 3, 15, 16, 27, 31, 32, 33, 63, 64, 127])
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (irq(), any::<bool>()).prop_map(|(irq, on)| Step::Line(irq, on)),
        6 => (irq(), any::<bool>()).prop_map(|(irq, on)| Step::Enable(irq, on)),
        2 => (irq(), any::<bool>()).prop_map(|(irq, on)| Step::Pend(irq, on)),
        1 => (irq(), any::<bool>()).prop_map(|(irq, on)| Step::Activate(irq, on)),
        4 => (irq(), 0_u32..256).prop_map(|(irq, priority)| Step::Priority(irq, priority)),
        1 => (irq(), any::<bool>()).prop_map(|(irq, on)| Step::Group(irq, on)),
        1 => (irq(), any::<bool>()).prop_map(|(irq, on)| Step::Edge(irq, on)),
        3 => (0_u32..16, 0_u32..256).prop_map(|(irq, sources)| Step::Software(irq, sources)),
        2 => prop::sample::select(vec![1_u32, 3, 7, 0xf, 0x17, 0x207, 0x1f]).prop_map(Step::Control),
        1 => (0_u32..4).prop_map(Step::DistributorControl),
        1 => (0_u32..256).prop_map(|mask| Step::Mask(mask | 0x80)),
        1 => (0_u32..8, 0_u32..8).prop_map(|(bpr, abpr)| Step::Points(bpr, abpr)),
        8 => Just(Step::Acknowledge),
        8 => Just(Step::End),
        1 => irq().prop_map(Step::EndOther),
        2 => irq().prop_map(Step::Deactivate),
    ]
}

/// Writes a bit of a set or clear register.
fn write_bit(gic: &mut Gic, set: u32, clear: u32, irq: u32, on: bool) {
    let register = if on { set } else { clear };
    gic.write_distributor(register + irq / 32 * 4, Width::Word, 1 << (irq % 32));
}

fn apply(gic: &mut Gic, model: &mut Reference, taken: &mut Vec<u32>, step: Step) {
    match step {
        Step::Line(irq, on) => {
            gic.set_line(irq, on);
            let interrupt = model.at(irq);
            if irq >= 16 {
                interrupt.latched |= on && !interrupt.line && interrupt.edge;
                interrupt.line = on;
            }
        }
        Step::Enable(irq, on) => {
            write_bit(gic, 0x100, 0x180, irq, on);
            model.at(irq).enabled = on || irq < 16;
        }
        Step::Pend(irq, on) => {
            write_bit(gic, 0x200, 0x280, irq, on);
            model.at(irq).latched = on && irq >= 16;
        }
        Step::Activate(irq, on) => {
            write_bit(gic, 0x300, 0x380, irq, on);
            model.at(irq).active = on;
        }
        Step::Priority(irq, priority) => {
            gic.write_distributor(0x400 + irq, Width::Byte, priority);
            model.at(irq).priority = priority & 0xf8;
        }
        Step::Group(irq, on) => {
            let register = 0x80 + irq / 32 * 4;
            let word = gic.read_distributor(register, Width::Word) & !(1 << (irq % 32));
            let bit = u32::from(on) << (irq % 32);
            gic.write_distributor(register, Width::Word, word | bit);
            model.at(irq).group_one = on;
        }
        Step::Edge(irq, on) => {
            let register = 0xc00 + irq / 16 * 4;
            let shift = irq % 16 * 2;
            let word = gic.read_distributor(register, Width::Word) & !(2 << shift);
            let bit = u32::from(on) << 1 << shift;
            gic.write_distributor(register, Width::Word, word | bit);
            model.at(irq).edge = on || irq < 16;
        }
        Step::Software(irq, sources) => {
            gic.write_distributor(0xf20 + irq, Width::Byte, sources);
            model.at(irq).sources |= sources;
        }
        Step::Control(control) => {
            gic.write_interface(0x00, Width::Word, control);
            model.control = control;
        }
        Step::DistributorControl(groups) => {
            gic.write_distributor(0x000, Width::Word, groups);
            model.distributor_groups = groups;
        }
        Step::Mask(mask) => {
            gic.write_interface(0x04, Width::Word, mask);
            model.mask = mask & 0xf8;
        }
        Step::Points(bpr, abpr) => {
            gic.write_interface(0x08, Width::Word, bpr);
            gic.write_interface(0x1c, Width::Word, abpr);
            (model.bpr, model.abpr) = (bpr.max(2), abpr.max(3));
        }
        Step::Acknowledge => {
            let value = gic.read_interface(0x0c, Width::Word);
            assert_eq!(value, model.acknowledge());
            if value < 1020 || value >> 10 != 0 {
                taken.push(value);
            }
        }
        Step::End => {
            let value = taken.pop().unwrap_or(1023);
            gic.write_interface(0x10, Width::Word, value);
            if value & 0x3ff < 128 {
                model.end(value & 0x3ff);
            }
        }
        Step::EndOther(irq) => {
            gic.write_interface(0x10, Width::Word, irq);
            model.end(irq);
        }
        Step::Deactivate(irq) => {
            gic.write_interface(0x1000, Width::Word, irq);
            if model.control & 0x200 != 0 {
                model.at(irq).active = false;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn behaves_as_a_list_of_interrupts_would(steps in prop::collection::vec(steps(), 0..120)) {
        let mut gic = ready();
        let mut model = Reference::new();
        (model.distributor_groups, model.control, model.mask) = (1, 1, 0xf8);
        let mut taken = vec![];
        for step in steps {
            apply(&mut gic, &mut model, &mut taken, step);
            let signalled = model.signalled();
            let fast = signalled
                .is_some_and(|irq| model.control & 8 != 0 && !model.interrupts[index(irq)].group_one);
            prop_assert_eq!(gic.asserted(), signalled.is_some() && !fast);
            prop_assert_eq!(gic.fiq(), fast);
            prop_assert_eq!(
                gic.read_interface(0x14, Width::Word),
                model.running().min(0xff)
            );
            let highest = match model.highest_pending() {
                None => 1023,
                Some(irq) if model.interrupts[index(irq)].group_one && model.control & 4 == 0 => 1022,
                Some(irq) => irq,
            };
            prop_assert_eq!(gic.read_interface(0x18, Width::Word) & 0x3ff, highest);
        }
    }
}
