//! The CPU interface: which interrupt may interrupt what the CPU is doing.
//!
//! Knows priorities and groups, not interrupts: those are the distributor's.
//!
//! Active priorities are a bit for each preemption level and group, as `GICC_APR0` and
//! `GICC_NSAPR0` show them. The running priority is the lowest bit set; an end of
//! interrupt clears that bit. So nesting needs no stack and cannot overflow.
//!
//! Manual: ARM IHI 0048B, 4.4 (registers), 3.3 (prioritization).

use super::{LEVELS, groups};

const CTLR: u32 = 0x00;
const PMR: u32 = 0x04;
const BPR: u32 = 0x08;
pub(super) const IAR: u32 = 0x0c;
pub(super) const EOIR: u32 = 0x10;
const RPR: u32 = 0x14;
pub(super) const HPPIR: u32 = 0x18;
const ABPR: u32 = 0x1c;
pub(super) const AIAR: u32 = 0x20;
pub(super) const AEOIR: u32 = 0x24;
pub(super) const AHPPIR: u32 = 0x28;
const APR0: u32 = 0xd0;
const NSAPR0: u32 = 0xe0;
const IIDR: u32 = 0xfc;
pub(super) const DIR: u32 = 0x1000;

/// `GICC_CTLR.AckCtl`: `GICC_IAR` acknowledges group 1, too.
const ACK_CONTROL: u32 = 1 << 2;
/// `GICC_CTLR.FIQEn`: group 0 asserts FIQ.
const FIQ_ENABLE: u32 = 1 << 3;
/// `GICC_CTLR.CBPR`: `GICC_BPR` holds for group 1, too.
const COMMON_BPR: u32 = 1 << 4;
/// `GICC_CTLR.EOImode`: `GICC_EOIR` only drops the priority.
pub(super) const EOI_MODE: u32 = 1 << 9;
/// Bits of `GICC_CTLR` that hold what is written.
const CONTROL: u32 = groups::BOTH | ACK_CONTROL | FIQ_ENABLE | COMMON_BPR | EOI_MODE;

/// Implemented bits of a priority: the upper five.
const PRIORITY: u32 = 0xf8;
/// `GICC_RPR` when no interrupt is active.
const IDLE: u32 = 0xff;
/// Least binary points: every implemented priority bit preempts.
const LEAST_BPR: u32 = 2;
const LEAST_ABPR: u32 = 3;
/// `GICC_IIDR`: architecture version 2, implementer ARM, as on QEMU's `virt`.
const IDENTITY: u32 = 0x0002_043b;

/// The state of one CPU interface.
#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct Interface {
    pub(super) control: u32,
    mask: u32,
    bpr: u32,
    abpr: u32,
    /// Active preemption levels of group 0 and group 1.
    pub(super) active: [u32; 2],
}

impl Interface {
    pub(super) const fn new() -> Self {
        Self { control: 0, mask: 0, bpr: LEAST_BPR, abpr: LEAST_ABPR, active: [0, 0] }
    }

    pub(super) const fn enabled_groups(&self) -> u32 {
        self.control & groups::BOTH
    }

    pub(super) const fn ack_control(&self) -> bool {
        self.control & ACK_CONTROL != 0
    }

    pub(super) const fn fiq_enabled(&self) -> bool {
        self.control & FIQ_ENABLE != 0
    }

    pub(super) const fn split_end(&self) -> bool {
        self.control & EOI_MODE != 0
    }

    /// Whether an interrupt of `level` would interrupt the CPU.
    #[inline(always)]
    pub(super) fn accepts(&self, level: u32, group_one: bool) -> bool {
        level * 8 < self.mask && self.preemption_level(level, group_one) < self.running()
    }

    /// Enters `level`'s preemption level.
    pub(super) fn raise_priority(&mut self, level: u32, group_one: bool) {
        let bit = 1 << (self.preemption_level(level, group_one) % LEVELS);
        let [zero, one] = &mut self.active;
        *(if group_one { one } else { zero }) |= bit;
    }

    /// The bit of `level`'s preemption level in group 0.
    #[inline(always)]
    pub(super) const fn priority(&self, level: u32) -> u32 {
        1 << (self.preemption_level(level, false) % LEVELS)
    }

    /// Leaves the running preemption level; false if none was active.
    pub(super) fn drop_priority(&mut self) -> bool {
        let [zero, one] = &mut self.active;
        let lowest = (*zero | *one) & (*zero | *one).wrapping_neg();
        let group = if *zero & lowest != 0 { zero } else { one };
        *group &= !lowest;
        lowest != 0
    }

    pub(super) fn read(&self, register: u32) -> u32 {
        let [zero, one] = self.active;
        match register {
            CTLR => self.control,
            PMR => self.mask,
            BPR => self.bpr,
            RPR if zero | one == 0 => IDLE,
            RPR => self.running() * 8,
            ABPR => self.abpr,
            APR0 => zero,
            NSAPR0 => one,
            IIDR => IDENTITY,
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, register: u32, mask: u32, value: u32) {
        let [zero, one] = &mut self.active;
        match register {
            CTLR => self.control = (self.control & !mask | value) & CONTROL,
            PMR => self.mask = (self.mask & !mask | value) & PRIORITY,
            BPR => self.bpr = ((self.bpr & !mask | value) & 7).max(LEAST_BPR),
            ABPR => self.abpr = ((self.abpr & !mask | value) & 7).max(LEAST_ABPR),
            APR0 => *zero = *zero & !mask | value,
            NSAPR0 => *one = *one & !mask | value,
            _ => {}
        }
    }

    /// The running preemption level; one past the last when the CPU is idle.
    const fn running(&self) -> u32 {
        let [zero, one] = self.active;
        (zero | one).trailing_zeros()
    }

    /// The part of a level that decides preemption, ARM IHI 0048B 3.3.3.
    #[inline(always)]
    const fn preemption_level(&self, level: u32, group_one: bool) -> u32 {
        // Group 1's own binary point counts from one bit higher.
        let point = match group_one && self.control & COMMON_BPR == 0 {
            true => self.abpr - 1,
            false => self.bpr,
        };
        level >> (point - LEAST_BPR) << (point - LEAST_BPR)
    }
}
