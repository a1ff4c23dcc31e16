//! `mcr`, `mrc`, `mcrr`, `mrrc`: who may access what, and what becomes of it.
//!
//! Values are read in `read`, written in `write`; here is the frame around both:
//! privilege, the core registers, the program counter.
//!
//! # Why keys
//!
//! The four numbers that name a register are packed in one word, so that a match on
//! them is a tree of compares of constants. The registers a kernel touches at every
//! switch or interrupt come before the tree.
//!
//! Manuals: ARM DDI 0406C, B3.15 to B3.17, B4.2 (operations), B8 (timer), C12.5 (PMU).

use entresol_isa::op::{Coprocessor, CoprocessorPair};

use crate::cp15::timer::{self, Timer};
use crate::exception::Exception;
use crate::mode::psr;
use crate::outcome::{Context, Effect, Outcome};
use crate::state::Vcpu;

/// Names a register: CRn, opc1, CRm, opc2, a hexadecimal digit each.
#[inline]
pub(super) const fn key(crn: u32, opc1: u32, crm: u32, opc2: u32) -> u32 {
    crn << 12 | opc1 << 8 | crm << 4 | opc2
}

/// What a write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing more to do.
    Done,
    /// The hypervisor has to act.
    Effect(Effect),
    /// The architecture makes the access undefined.
    Undefined,
    /// Nobody knows the register.
    Unknown,
}

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The value.
    Value(u32),
    /// The architecture makes the access undefined.
    Undefined,
    /// Nobody knows the register.
    Unknown,
}

const TPIDRPRW: u32 = key(13, 0, 0, 4);
const DACR: u32 = key(3, 0, 0, 0);

impl Vcpu {
    /// Emulates `mcr` or `mrc` of `length` bytes on p14 or p15.
    #[inline]
    pub fn coprocessor(
        &mut self,
        access: Coprocessor,
        length: u32,
        timer: &mut dyn Timer,
    ) -> Outcome {
        let key = key(
            u32::from(access.crn()),
            u32::from(access.opc1()),
            u32::from(access.crm()),
            u32::from(access.opc2()),
        );
        if access.cp() == 15 && self.privileged() {
            if access.read() && key == TPIDRPRW {
                let value = self.cp15.tpidrprw;
                return self.complete_read(access.rt(), value, length);
            }
            if !access.read() && key == DACR {
                let value = self.register(access.rt());
                self.advance(length);
                let old = core::mem::replace(&mut self.cp15.dacr, value);
                return if old == value {
                    Outcome::Next
                } else {
                    Outcome::Effect(Effect::Context { register: Context::Dacr, old })
                };
            }
        }
        self.any_coprocessor(access, key, length, timer)
    }

    fn any_coprocessor(
        &mut self,
        access: Coprocessor,
        key: u32,
        length: u32,
        timer: &mut dyn Timer,
    ) -> Outcome {
        let allowed = self.privileged()
            || match access.cp() {
                14 => access.read() && super::debug::open(key),
                _ => self.open(access.read(), key),
            };
        if !allowed {
            return Outcome::Inject(Exception::Undefined);
        }
        if access.read() {
            let read = match access.cp() {
                14 => self.read_debug(key),
                15 => self.read_system(key, timer),
                _ => Read::Undefined,
            };
            match read {
                Read::Value(value) => self.complete_read(access.rt(), value, length),
                Read::Undefined => Outcome::Inject(Exception::Undefined),
                Read::Unknown => Outcome::UnknownRegister,
            }
        } else {
            let value = self.register(access.rt());
            let written = match access.cp() {
                14 => self.write_debug(key, value),
                15 => self.write_system(key, value, timer),
                _ => Written::Undefined,
            };
            match written {
                Written::Done => {
                    self.advance(length);
                    Outcome::Next
                }
                Written::Effect(effect) => {
                    self.advance(length);
                    Outcome::Effect(effect)
                }
                Written::Undefined => Outcome::Inject(Exception::Undefined),
                Written::Unknown => Outcome::UnknownRegister,
            }
        }
    }

    /// Gives `value` to `rt`, or to the flags for 15, and ends the instruction.
    #[inline]
    pub(crate) fn complete_read(&mut self, rt: u8, value: u32, length: u32) -> Outcome {
        if rt == 15 {
            const NZCV: u32 = 0xf << 28;
            self.psr = self.psr & !NZCV | value & NZCV;
        } else {
            self.set_register(rt, value);
        }
        self.advance(length);
        debug_assert!(self.psr & psr::J == 0, "a guest in Jazelle state");
        Outcome::Next
    }

    /// Whether an application may access a register of p15.
    fn open(&self, read: bool, key: u32) -> bool {
        const TPIDRURW: u32 = super::access::key(13, 0, 0, 2);
        const TPIDRURO: u32 = super::access::key(13, 0, 0, 3);
        const ISB: u32 = super::access::key(7, 0, 5, 4);
        const DSB: u32 = super::access::key(7, 0, 10, 4);
        const DMB: u32 = super::access::key(7, 0, 10, 5);
        match key {
            TPIDRURW => true,
            TPIDRURO => read,
            ISB | DSB | DMB => !read,
            _ if timer::is_timer(key) => timer::open(self.cp15.cntkctl, read, key),
            _ => self.open_monitor(read, key),
        }
    }

    /// Emulates `mcrr` or `mrrc` of `length` bytes on p14 or p15: the 64-bit registers of the
    /// generic timer are the only ones.
    pub fn coprocessor_pair(
        &mut self,
        access: CoprocessorPair,
        length: u32,
        timer: &mut dyn Timer,
    ) -> Outcome {
        let Some(register) =
            timer::Wide::decode(access.opc1()).filter(|_| access.cp() == 15 && access.crm() == 14)
        else {
            return if access.cp() == 15 && self.privileged() {
                Outcome::UnknownRegister
            } else {
                Outcome::Inject(Exception::Undefined)
            };
        };
        if !self.privileged() && !register.open(self.cp15.cntkctl, access.read()) {
            return Outcome::Inject(Exception::Undefined);
        }
        if access.read() {
            let [low, high] = words(register.read(timer));
            self.set_register(access.rt(), low);
            self.set_register(access.rt2(), high);
        } else {
            let low = u64::from(self.register(access.rt()));
            let high = u64::from(self.register(access.rt2()));
            if !register.write(timer, high << 32 | low) {
                return Outcome::Inject(Exception::Undefined);
            }
        }
        self.advance(length);
        Outcome::Next
    }
}

/// Low and high word.
#[inline]
pub(super) const fn words(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}
