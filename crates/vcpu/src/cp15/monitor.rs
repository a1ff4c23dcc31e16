//! Performance monitors: registers that a guest may set up, and that count nothing.
//!
//! Not an emulation of events. PMCR says that there are no event counters, and the
//! cycle counter stays at 0: guests that measure use the generic timer.
//!
//! Manual: ARM DDI 0406C, C12.8 (registers), C12.4.2 (access by applications).

use super::access::{Read, Written, key};
use crate::state::Vcpu;

const PMCR: u32 = key(9, 0, 12, 0);
const PMCNTENSET: u32 = key(9, 0, 12, 1);
const PMCNTENCLR: u32 = key(9, 0, 12, 2);
const PMOVSR: u32 = key(9, 0, 12, 3);
const PMSWINC: u32 = key(9, 0, 12, 4);
const PMSELR: u32 = key(9, 0, 12, 5);
const PMCEID0: u32 = key(9, 0, 12, 6);
const PMCEID1: u32 = key(9, 0, 12, 7);
const PMCCNTR: u32 = key(9, 0, 13, 0);
const PMXEVTYPER: u32 = key(9, 0, 13, 1);
const PMXEVCNTR: u32 = key(9, 0, 13, 2);
const PMUSERENR: u32 = key(9, 0, 14, 0);
const PMINTENSET: u32 = key(9, 0, 14, 1);
const PMINTENCLR: u32 = key(9, 0, 14, 2);

/// PMCR: implementer, and number of event counters 0.
const PMCR_IDENTITY: u32 = 0x4109_0000;
/// PMCR: E, D, X, DP. P and C are commands and read as 0.
const PMCR_WRITABLE: u32 = 0x39;
/// The one counter there is: cycles.
const CYCLES: u32 = 1 << 31;

impl Vcpu {
    /// Whether an application may access a register, if it is a monitor's.
    pub(super) const fn open_monitor(&self, read: bool, key: u32) -> bool {
        match key {
            PMUSERENR => read,
            PMCR | PMCNTENSET | PMCNTENCLR | PMOVSR | PMSWINC | PMSELR | PMCCNTR | PMXEVTYPER
            | PMXEVCNTR => self.cp15.pmuserenr & 1 == 1,
            PMCEID0 | PMCEID1 => read && self.cp15.pmuserenr & 1 == 1,
            _ => false,
        }
    }

    pub(super) const fn read_monitor(&self, key: u32) -> Read {
        let cp15 = &self.cp15;
        Read::Value(match key {
            PMCR => PMCR_IDENTITY | cp15.pmcr,
            PMCNTENSET | PMCNTENCLR => cp15.pmcntenset,
            PMOVSR | PMCEID0 | PMCEID1 | PMCCNTR | PMXEVTYPER | PMXEVCNTR => 0,
            PMSELR => cp15.pmselr,
            PMUSERENR => cp15.pmuserenr,
            PMINTENSET | PMINTENCLR => cp15.pmintenset,
            PMSWINC => return Read::Undefined,
            _ => return Read::Unknown,
        })
    }

    pub(super) const fn write_monitor(&mut self, key: u32, value: u32) -> Written {
        let cp15 = &mut self.cp15;
        match key {
            PMCR => cp15.pmcr = value & PMCR_WRITABLE,
            PMCNTENSET => cp15.pmcntenset |= value & CYCLES,
            PMCNTENCLR => cp15.pmcntenset &= !value,
            PMSELR => cp15.pmselr = value & 0x1f,
            PMUSERENR => cp15.pmuserenr = value & 1,
            PMINTENSET => cp15.pmintenset |= value & CYCLES,
            PMINTENCLR => cp15.pmintenset &= !value,
            PMOVSR | PMSWINC | PMCCNTR | PMXEVTYPER | PMXEVCNTR => {}
            PMCEID0 | PMCEID1 => return Written::Undefined,
            _ => return Written::Unknown,
        }
        Written::Done
    }
}
