//! The generic timer as a guest sees it through CP15 c14.
//!
//! What the registers mean is the caller's, behind [`Timer`]; this is which there are, and what an
//! application may touch. Virtual and physical count are the same.
//!
//! Manual: ARM DDI 0406C, B8.1 and B8.2.

use super::access::{Read, Written, key, words};
use crate::Effect;
use entresol_abi::timer::{Field, Register};

/// What a guest's timers are made of.
pub trait Timer {
    /// Counts per second.
    fn frequency(&self) -> u32;
    /// Counts since the guest's power-on; never goes back.
    fn count(&self) -> u64;
    /// Reads a register; those of 32 bits have anything above.
    fn read(&self, register: Register) -> u64;
    /// Sets a register, of which the high word means nothing if it has 32 bits; the timer's interrupt
    /// line follows.
    fn write(&mut self, register: Register, value: u64);
}

const CNTFRQ: u32 = key(14, 0, 0, 0);
const CNTKCTL: u32 = key(14, 0, 1, 0);
const CNTP_TVAL: u32 = key(14, 0, 2, 0);
const CNTP_CTL: u32 = key(14, 0, 2, 1);
const CNTV_TVAL: u32 = key(14, 0, 3, 0);
const CNTV_CTL: u32 = key(14, 0, 3, 1);

/// CNTKCTL: application may read CNTPCT, CNTVCT, use the virtual timer, the physical timer.
const PL0PCTEN: u32 = 1;
const PL0VCTEN: u32 = 1 << 1;
const PL0VTEN: u32 = 1 << 8;
const PL0PTEN: u32 = 1 << 9;
/// Bits of CNTKCTL that exist.
const CNTKCTL_BITS: u32 = 0x3ff;

/// Whether a 32-bit register is one of the timer's.
#[inline]
pub(super) const fn is_timer(key: u32) -> bool {
    key >> 12 == 14
}

/// Whether an application may access a 32-bit register.
pub(super) const fn open(cntkctl: u32, read: bool, key: u32) -> bool {
    match key {
        CNTFRQ => read && cntkctl & (PL0PCTEN | PL0VCTEN) != 0,
        CNTP_TVAL | CNTP_CTL => cntkctl & PL0PTEN != 0,
        CNTV_TVAL | CNTV_CTL => cntkctl & PL0VTEN != 0,
        _ => false,
    }
}

pub(super) fn read(timer: &dyn Timer, cntkctl: u32, key: u32) -> Read {
    Read::Value(match key {
        CNTFRQ => timer.frequency(),
        CNTKCTL => cntkctl,
        _ => match register(key) {
            Some(register) => {
                let [low, _] = words(timer.read(register));
                low
            }
            None => return Read::Unknown,
        },
    })
}

pub(super) fn write(timer: &mut dyn Timer, cntkctl: &mut u32, key: u32, value: u32) -> Written {
    match key {
        // Only Secure software may set it; loaders written for it do no harm.
        CNTFRQ => {}
        CNTKCTL => {
            *cntkctl = value & CNTKCTL_BITS;
            return Written::Effect(Effect::CounterAccess);
        }
        _ => match register(key) {
            Some(register) => timer.write(register, u64::from(value)),
            None => return Written::Unknown,
        },
    }
    Written::Done
}

const fn register(key: u32) -> Option<Register> {
    Some(match key {
        CNTP_TVAL => Register::Physical(Field::Value),
        CNTP_CTL => Register::Physical(Field::Control),
        CNTV_TVAL => Register::Virtual(Field::Value),
        CNTV_CTL => Register::Virtual(Field::Control),
        _ => return None,
    })
}

/// The 64-bit registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wide {
    PhysicalCount,
    VirtualCount,
    PhysicalCompare,
    VirtualCompare,
}

impl Wide {
    pub(super) const fn decode(opc1: u8) -> Option<Self> {
        match opc1 {
            0 => Some(Self::PhysicalCount),
            1 => Some(Self::VirtualCount),
            2 => Some(Self::PhysicalCompare),
            3 => Some(Self::VirtualCompare),
            _ => None,
        }
    }

    /// Whether an application may access it.
    pub(super) const fn open(self, cntkctl: u32, read: bool) -> bool {
        match self {
            Self::PhysicalCount => read && cntkctl & PL0PCTEN != 0,
            Self::VirtualCount => read && cntkctl & PL0VCTEN != 0,
            Self::PhysicalCompare => cntkctl & PL0PTEN != 0,
            Self::VirtualCompare => cntkctl & PL0VTEN != 0,
        }
    }

    pub(super) fn read(self, timer: &dyn Timer) -> u64 {
        match self {
            Self::PhysicalCount | Self::VirtualCount => timer.count(),
            Self::PhysicalCompare => timer.read(Register::Physical(Field::Compare)),
            Self::VirtualCompare => timer.read(Register::Virtual(Field::Compare)),
        }
    }

    /// Writes it; false if it cannot be.
    pub(super) fn write(self, timer: &mut dyn Timer, value: u64) -> bool {
        match self {
            Self::PhysicalCount | Self::VirtualCount => return false,
            Self::PhysicalCompare => timer.write(Register::Physical(Field::Compare), value),
            Self::VirtualCompare => timer.write(Register::Virtual(Field::Compare), value),
        }
        true
    }
}
