//! The distributor: the state of every interrupt, and which are deliverable.
//!
//! Not responsible for priority masks and preemption (the CPU interface's).
//!
//! State is kept as sets, a bit for each interrupt, as the registers show it, and for
//! each priority level the set of its interrupts. What is deliverable is a set, too:
//! pending, enabled, not active, its group enabled. So a register write changes a word
//! or two, and the most urgent interrupt is found by intersecting the deliverable set
//! with those of the levels in use, most urgent first: one for a kernel that knows one
//! priority, 32 at most. No loop here depends on how many interrupts are pending.
//!
//! # Invariants
//!
//! - `deliverable` is what [`Distributor::refresh`] computes; every change of another
//!   set refreshes the word it changed.
//! - Every interrupt is in the member set of its level and no other; bit *n* of `used`
//!   is set exactly when member set *n* is not empty.
//! - A software interrupt's latch is set exactly when it has a source.
//! - Software interrupts are edge-triggered, enabled and have no line.
//!
//! Manual: ARM IHI 0048B, 4.3 (registers), 1.4.2 and 3.2 (states).

use super::set::{Set, WORDS};
use super::{INTERRUPTS, LEVELS, groups};
use crate::bus::{identification, index, low_byte};

const CTLR: u32 = 0x000;
const TYPER: u32 = 0x004;
const IIDR: u32 = 0x008;
const IGROUPR: u32 = 0x080;
const ISENABLER: u32 = 0x100;
const ICENABLER: u32 = 0x180;
const ISPENDR: u32 = 0x200;
const ICPENDR: u32 = 0x280;
const ISACTIVER: u32 = 0x300;
const ICACTIVER: u32 = 0x380;
const IPRIORITYR: u32 = 0x400;
const ITARGETSR: u32 = 0x800;
const ICFGR: u32 = 0xc00;
const SGIR: u32 = 0xf00;
const CPENDSGIR: u32 = 0xf10;
const SPENDSGIR: u32 = 0xf20;
const PIDR4: u32 = 0xfd0;

/// `GICD_IIDR`: implementer ARM.
const IDENTITY: u32 = 0x0000_043b;
/// `GICD_TYPER`, but for the number of CPUs: no Security Extensions, 32 * (3 + 1) interrupts.
const TYPE: u32 = INTERRUPTS / 32 - 1;
/// Identification registers from [`PIDR4`] on; ICPIDR2 (0xfe8) has version 2 in 7:4.
const IDENTIFICATION: [u8; 12] = [0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0x00, 0x0d, 0xf0, 0x05, 0xb1];
/// Software interrupts in word 0.
const SOFTWARE: u32 = 0xffff;
/// Their number.
const SOFTWARE_COUNT: u32 = 16;

/// The state of the distributor.
///
/// What is large comes last: the offsets of the rest fit short instructions.
#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct Distributor {
    control: u32,
    group: Set,
    enabled: Set,
    /// Made pending by an edge, by software or by a register write.
    pub(super) latched: Set,
    pub(super) line: Set,
    pub(super) active: Set,
    edge: Set,
    pub(super) deliverable: Set,
    /// The groups that distributor and interface both enable.
    forwarded: u32,
    used: u32,
    level: [u8; 128],
    sources: [u8; 16],
    /// Which CPU's this is, and how many there are.
    cpu: u8,
    cpus: u8,
    /// The software interrupt generated last for other CPUs: targets, a bit each; number.
    sent: (u8, u8),
    members: [Set; 32],
}

const _: () = assert!(INTERRUPTS == 128 && LEVELS == 32);

impl Distributor {
    /// The distributor as CPU `cpu` of `cpus` sees it.
    pub(super) const fn new(cpu: u8, cpus: u8) -> Self {
        let mut members = [Set::EMPTY; 32];
        members[0] = Set::FULL;
        Self {
            control: 0,
            group: Set::EMPTY,
            enabled: Set::of_private(SOFTWARE),
            latched: Set::EMPTY,
            line: Set::EMPTY,
            active: Set::EMPTY,
            edge: Set::of_private(SOFTWARE),
            deliverable: Set::EMPTY,
            forwarded: 0,
            members,
            used: 1,
            level: [0; 128],
            sources: [0; 16],
            cpu,
            cpus,
            sent: (0, 0),
        }
    }

    /// Whether a register is the reading CPU's own, or the same for all.
    pub(super) const fn is_private(register: u32) -> bool {
        match register {
            CTLR => false,
            IGROUPR..IPRIORITYR => register & 0x7c == 0,
            IPRIORITYR..ICFGR => register & 0x3ff < 0x20,
            ICFGR..0xd00 => register < 0xc08,
            _ => true,
        }
    }

    pub(super) const fn cpu(&self) -> (u8, u8) {
        (self.cpu, self.cpus)
    }

    pub(super) const fn control(&self) -> u32 {
        self.control
    }

    pub(super) const fn set_control(&mut self, control: u32) {
        self.control = control & groups::BOTH;
    }

    /// The software interrupt generated last for other CPUs, once: targets and number.
    pub(super) fn take_sent(&mut self) -> (u8, u8) {
        core::mem::take(&mut self.sent)
    }

    /// CPU `source` generated the software interrupts `set` for this one.
    pub(super) fn receive(&mut self, source: u32, set: u32) {
        let mut set = set & SOFTWARE;
        while set != 0 {
            self.set_sources(set.trailing_zeros(), |sources| sources | low_byte(1 << (source & 7)));
            set &= set - 1;
        }
    }

    /// Drives a line; false if nothing changed.
    #[inline(always)]
    pub(super) fn set_line(&mut self, irq: u32, level: bool) -> bool {
        if self.line.contains(irq) == level || !(SOFTWARE_COUNT..INTERRUPTS).contains(&irq) {
            return false;
        }
        if level {
            self.line.insert(irq);
            if self.edge.contains(irq) {
                self.latched.insert(irq);
            }
        } else {
            self.line.remove(irq);
        }
        self.refresh(irq / 32);
        true
    }

    /// Raises the level-sensitive line of a private interrupt, by its bit, that is known to be enabled
    /// and forwarded; `false`, and nothing done, if it is active, or high already.
    #[inline(always)]
    pub(super) fn raise_quickly(&mut self, bit: u32) -> bool {
        let line = self.line.word(0);
        let idle = (line | self.active.word(0)) & bit == 0;
        if idle {
            self.line.set_word(0, line | bit);
            self.deliverable.set_word(0, bit);
        }
        idle
    }

    /// Whether an interrupt is pending, enabled, forwarded and not active.
    #[inline(always)]
    pub(super) fn is_deliverable(&self, irq: u32) -> bool {
        self.deliverable.contains(irq)
    }

    /// The most urgent deliverable interrupt with its level: the lowest number of the
    /// lowest level.
    #[inline(always)]
    pub(super) fn first(&self) -> Option<(u32, u32)> {
        if self.deliverable.is_empty() {
            return None;
        }
        let mut levels = self.used;
        while levels != 0 {
            let level = levels.trailing_zeros();
            levels &= levels - 1;
            let members = self.members.get(index(level))?;
            if let Some(irq) = members.first_common(&self.deliverable) {
                return Some((irq, level));
            }
        }
        None
    }

    /// The bit in word 0 of the one interrupt that is deliverable, if it is one, there, and not latched:
    /// to make it active changes these sets by that bit, and nothing else. 0 if not.
    #[inline(always)]
    pub(super) fn alone(&self) -> u32 {
        match self.deliverable.only_word() {
            word if word.is_power_of_two() => word & !self.latched.word(0),
            _ => 0,
        }
    }

    /// Whether an interrupt is deliverable once it is pending.
    pub(super) fn would_deliver(&self, irq: u32) -> bool {
        let group = if self.group_one(irq) { groups::ONE } else { groups::ZERO };
        self.enabled.contains(irq) && !self.active.contains(irq) && self.forwarded & group != 0
    }

    /// The groups enabled here.
    pub(super) const fn enabled_groups(&self) -> u32 {
        self.control
    }

    /// Says which groups are enabled here and in the interface.
    pub(super) fn forward(&mut self, groups: u32) {
        if self.forwarded != groups {
            self.forwarded = groups;
            for word in 0..WORDS {
                self.refresh(word);
            }
        }
    }

    pub(super) fn level(&self, irq: u32) -> u32 {
        self.level.get(index(irq)).copied().map_or(0, u32::from)
    }

    pub(super) fn group_one(&self, irq: u32) -> bool {
        self.group.contains(irq)
    }

    /// The CPU a pending software interrupt would be acknowledged from; else 0.
    pub(super) fn source(&self, irq: u32) -> u32 {
        match self.sources.get(index(irq)) {
            Some(&sources) if sources != 0 => sources.trailing_zeros(),
            _ => 0,
        }
    }

    /// Whether an interrupt is active.
    pub(super) fn is_active(&self, irq: u32) -> bool {
        self.active.contains(irq)
    }

    /// Makes a pending interrupt active; returns the source of a software interrupt.
    pub(super) fn activate(&mut self, irq: u32) -> u32 {
        let source = self.source(irq);
        match self.sources.get_mut(index(irq)) {
            Some(sources) => {
                *sources &= sources.wrapping_sub(1);
                if *sources == 0 {
                    self.latched.remove(irq);
                }
            }
            None => self.latched.remove(irq),
        }
        self.active.insert(irq);
        self.refresh(irq / 32);
        source
    }

    pub(super) fn deactivate(&mut self, irq: u32) {
        self.active.remove(irq);
        self.refresh(irq / 32);
    }

    pub(super) fn read(&self, register: u32) -> u32 {
        let word = (register >> 2) % 32;
        match register {
            CTLR => self.control,
            TYPER => TYPE | u32::from(self.cpus.saturating_sub(1)) << 5,
            IIDR => IDENTITY,
            IGROUPR..ISENABLER => self.group.word(word),
            ISENABLER..ISPENDR => self.enabled.word(word),
            ISPENDR..ISACTIVER => self.pending(word),
            ISACTIVER..IPRIORITYR => self.active.word(word),
            IPRIORITYR..ITARGETSR => bytes(&self.level, register - IPRIORITYR) << 3,
            // The private ones name this CPU, because that is where software learns its own
            // mask. Shared interrupts go to CPU 0, statically (4.3.12); RAZ if that is all.
            ITARGETSR..0x820 => 0x0101_0101 << self.cpu,
            0x820..0x880 if self.cpus > 1 => 0x0101_0101,
            ICFGR..0xd00 => self.configuration((register - ICFGR) >> 2),
            CPENDSGIR..SPENDSGIR => bytes(&self.sources, register - CPENDSGIR),
            SPENDSGIR..0xf30 => bytes(&self.sources, register - SPENDSGIR),
            PIDR4..0x1000 => identification(&IDENTIFICATION, PIDR4, register),
            _ => 0,
        }
    }

    /// Writes the bits `mask` of a register; `value` is zero elsewhere.
    pub(super) fn write(&mut self, register: u32, mask: u32, value: u32) {
        let word = (register >> 2) % 32;
        // Software interrupts ignore the set and clear registers (4.3.5 to 4.3.8).
        let settable = if word == 0 { value & !SOFTWARE } else { value };
        match register {
            CTLR => self.control = (self.control & !mask | value) & groups::BOTH,
            IGROUPR..ISENABLER => self.group.set_word(word, self.group.word(word) & !mask | value),
            ISENABLER..ICENABLER => {
                self.enabled.set_word(word, self.enabled.word(word) | settable);
            }
            ICENABLER..ISPENDR => {
                self.enabled.set_word(word, self.enabled.word(word) & !settable);
            }
            ISPENDR..ICPENDR => self.latched.set_word(word, self.latched.word(word) | settable),
            ICPENDR..ISACTIVER => self.latched.set_word(word, self.latched.word(word) & !settable),
            ISACTIVER..ICACTIVER => self.active.set_word(word, self.active.word(word) | value),
            ICACTIVER..IPRIORITYR => self.active.set_word(word, self.active.word(word) & !value),
            IPRIORITYR..ITARGETSR => return self.set_levels(register - IPRIORITYR, mask, value),
            ICFGR..0xd00 => return self.configure((register - ICFGR) >> 2, mask, value),
            SGIR => return self.generate(value),
            CPENDSGIR..0xf30 => {
                let first = register % SOFTWARE_COUNT;
                for (irq, byte) in (first..first + 4).zip(value.to_le_bytes()) {
                    let set = register >= SPENDSGIR;
                    self.set_sources(irq, |old| if set { old | byte } else { old & !byte });
                }
                return;
            }
            _ => return,
        }
        self.refresh(word);
    }

    /// Pending bits of a word: latched, or a level-sensitive line that is high.
    fn pending(&self, word: u32) -> u32 {
        self.latched.word(word) | self.line.word(word) & !self.edge.word(word)
    }

    /// Works out which interrupts of a word are deliverable.
    #[inline(always)]
    fn refresh(&mut self, word: u32) {
        let group = self.group.word(word);
        let zero = if self.forwarded & groups::ZERO != 0 { !group } else { 0 };
        let one = if self.forwarded & groups::ONE != 0 { group } else { 0 };
        let deliverable =
            self.pending(word) & self.enabled.word(word) & !self.active.word(word) & (zero | one);
        self.deliverable.set_word(word, deliverable);
    }

    /// Changes the levels of up to four interrupts from `first` on, to the upper bits of each byte.
    fn set_levels(&mut self, first: u32, mut mask: u32, mut value: u32) {
        for irq in first..first + 4 {
            let level = value >> 3 & 0x1f;
            let old = self.level(irq) % LEVELS;
            if mask & 1 != 0 && old != level {
                if let Some(slot) = self.level.get_mut(index(irq)) {
                    *slot = low_byte(level);
                }
                if let Some(members) = self.members.get_mut(index(old)) {
                    members.remove(irq);
                    if members.is_empty() {
                        self.used &= !(1 << old);
                    }
                }
                if let Some(members) = self.members.get_mut(index(level)) {
                    members.insert(irq);
                }
                self.used |= 1 << level;
            }
            (mask, value) = (mask >> 8, value >> 8);
        }
    }

    /// `GICD_ICFGR`: two bits for each of 16 interrupts, the upper one is edge.
    fn configuration(&self, register: u32) -> u32 {
        let half = self.edge.word(register / 2) >> (register % 2 * 16);
        spread(half & 0xffff) << 1
    }

    fn configure(&mut self, register: u32, mask: u32, value: u32) {
        // Software interrupts are always edge-triggered.
        if register == 0 || register >= INTERRUPTS / 16 {
            return;
        }
        let (word, shift) = (register / 2, register % 2 * 16);
        let half = gather((self.configuration(register) & !mask | value) >> 1);
        self.edge.set_word(word, self.edge.word(word) & !(0xffff << shift) | half << shift);
        self.refresh(word);
    }

    /// `GICD_SGIR`, 4.3.15.
    fn generate(&mut self, value: u32) {
        let own = 1_u32 << self.cpu;
        let all = (1 << self.cpus) - 1;
        let targets = all
            & match value >> 24 & 3 {
                0 => value >> 16,
                1 => !own,
                2 => own,
                _ => 0,
            };
        if targets & own != 0 {
            self.set_sources(value & 0xf, |sources| sources | low_byte(own));
        }
        self.sent = (low_byte(targets & !own), low_byte(value & 0xf));
    }

    fn set_sources(&mut self, irq: u32, change: impl Fn(u8) -> u8) {
        let Some(sources) = self.sources.get_mut(index(irq)) else { return };
        *sources = change(*sources);
        if *sources == 0 {
            self.latched.remove(irq);
        } else {
            self.latched.insert(irq);
        }
        self.refresh(irq / 32);
    }
}

/// Moves bit *n* of a half word to bit *2n*.
const fn spread(half: u32) -> u32 {
    let word = (half | half << 8) & 0x00ff_00ff;
    let word = (word | word << 4) & 0x0f0f_0f0f;
    let word = (word | word << 2) & 0x3333_3333;
    (word | word << 1) & 0x5555_5555
}

/// Moves bit *2n* of a word to bit *n*; the others are lost.
const fn gather(word: u32) -> u32 {
    let word = word & 0x5555_5555;
    let word = (word | word >> 1) & 0x3333_3333;
    let word = (word | word >> 2) & 0x0f0f_0f0f;
    let word = (word | word >> 4) & 0x00ff_00ff;
    (word | word >> 8) & 0xffff
}

/// Four byte registers as one word.
fn bytes(registers: &[u8], offset: u32) -> u32 {
    let byte = |n| registers.get(index(offset + n)).copied().unwrap_or(0);
    u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
}
