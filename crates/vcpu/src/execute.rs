//! Emulating one sensitive instruction.
//!
//! The caller has decoded it and found that its condition passes. What an
//! instruction does with memory goes through [`Memory`], with timers through
//! [`Timer`]; what else the hypervisor must do is in the [`Outcome`].
//!
//! # Why an application gets here at all
//!
//! Application code is not rewritten: its `cps` and `msr` do on the real processor
//! what they do here. But what traps by itself comes from either, so each
//! instruction decides for both.
//!
//! # Invariants
//!
//! - After [`Outcome::Retry`], [`Outcome::Inject`] and [`Outcome::UnknownRegister`] nothing has changed
//!   (stores of `stm ^` and `srs` aside, which are repeated).
//!
//! Manual: ARM DDI 0406C, B9.3 (system instructions), A8.8 (others).

use entresol_isa::op::{Multiple, Op, Operand, Source};

use crate::cp15::Timer;
use crate::exception::Exception;
use crate::memory::Memory;
use crate::mode::{Mode, psr};
use crate::outcome::{Effect, Outcome};
use crate::state::Vcpu;
use crate::transfer::Whose;

/// CPSR bits that `mrs` shows: all but the execution state T, J and IT (B9.3.8).
const READABLE: u32 = 0xf8ff_03df;

/// Opcodes of the two returns kernels use.
const SUB: u8 = 0b0010;
const MOV: u8 = 0b1101;

const UNDEFINED: Outcome = Outcome::Inject(Exception::Undefined);

/// What an emulated instruction may reach. Not a type parameter: the instructions worth one
/// have paths of their own, and the others would be there several times.
pub trait Machine: Memory + Timer {}

impl<M: Memory + Timer> Machine for M {}

impl Vcpu {
    /// Executes `op`, an instruction of `length` bytes at pc.
    #[inline(never)]
    pub fn execute(&mut self, op: Op, length: u32, machine: &mut dyn Machine) -> Outcome {
        match op {
            Op::ChangeState { set, clear, mode } => self.change_state(set, clear, mode, length),
            Op::WriteStatus { source, fields, spsr } => {
                self.write_status(source, fields, spsr, length)
            }
            Op::ReadStatus { rd, spsr } => self.read_status(rd, spsr, length),
            Op::AluReturn { opcode, rn, operand } => {
                if !self.mode().has_spsr() {
                    return UNDEFINED;
                }
                let pc = match (opcode, operand) {
                    // movs pc, rm and subs pc, rn, #n: what kernels use.
                    (MOV, Operand::Shifted { rm, kind: 0, amount: 0 }) => self.register(rm),
                    (SUB, Operand::Immediate(value)) => self.register(rn).wrapping_sub(value),
                    _ => match self.compute(opcode, rn, operand) {
                        Some(pc) => pc,
                        None => return UNDEFINED,
                    },
                };
                self.return_by_spsr(pc);
                Outcome::Jumped
            }
            Op::Coprocessor(access) => self.coprocessor(access, length, machine),
            Op::CoprocessorPair(access) => self.coprocessor_pair(access, length, machine),
            Op::LoadReturn(multiple) => self.load_return(&multiple, machine),
            Op::LoadUser(multiple) => self
                .load_multiple(&multiple, Whose::User, length, machine)
                .unwrap_or_else(Outcome::from),
            Op::StoreUser(multiple) => self
                .store_multiple(&multiple, Whose::User, length, machine)
                .unwrap_or_else(Outcome::from),
            Op::ReturnFrom(multiple) => self.return_from(&multiple, machine),
            Op::StoreReturn { mode, multiple } => {
                self.store_return(mode, &multiple, length, machine)
            }
            Op::Unprivileged(transfer) => {
                self.transfer(&transfer, false, length, machine).unwrap_or_else(Outcome::from)
            }
            Op::SetEndianness { big } => {
                self.advance(length);
                self.psr = if big { self.psr | psr::E } else { self.psr & !psr::E };
                Outcome::Next
            }
            Op::WaitForInterrupt => Outcome::Wait,
            Op::WaitForEvent => {
                self.advance(length);
                Outcome::WaitForEvent
            }
            Op::SupervisorCall(_) => {
                self.advance_it();
                Outcome::Inject(Exception::SupervisorCall)
            }
            Op::HypervisorCall(immediate) => self.call(false, immediate, length),
            Op::MonitorCall(immediate) => self.call(true, u16::from(immediate), length),
            Op::ReadFloatStatus { rt, reg } => self.read_float_status(rt, reg, length),
            Op::WriteFloatStatus { rt, reg } => self.write_float_status(rt, reg, length),
            Op::Undefined => UNDEFINED,
        }
    }

    /// `cps` (B9.3.2). An application's does nothing.
    #[inline]
    fn change_state(&mut self, set: u32, clear: u32, mode: Option<u8>, length: u32) -> Outcome {
        const MASKS: u32 = psr::A | psr::I | psr::F;
        if self.privileged() {
            self.status = self.status & !(clear & MASKS) | set & MASKS;
            if let Some(mode) = mode.and_then(|bits| Mode::decode(u32::from(bits))) {
                self.set_mode(mode);
            }
        }
        self.advance(length);
        Outcome::Next
    }

    /// `mrs` (B9.3.8). SPSR of a mode that has none is UNPREDICTABLE: undefined for an
    /// application, 0 in System mode.
    #[inline]
    fn read_status(&mut self, rd: u8, spsr: bool, length: u32) -> Outcome {
        let value = if !spsr {
            self.cpsr() & READABLE
        } else if self.privileged() {
            self.spsr()
        } else {
            return UNDEFINED;
        };
        self.set_register(rd, value);
        self.advance(length);
        Outcome::Next
    }

    /// `msr` (B9.3.11, B9.3.12).
    #[inline]
    fn write_status(&mut self, source: Source, fields: u8, spsr: bool, length: u32) -> Outcome {
        let value = match source {
            Source::Register(register) => self.register(register),
            Source::Immediate(value) => value,
        };
        if !spsr {
            self.write_cpsr(value, fields);
        } else if self.privileged() {
            self.set_spsr(value, fields);
        } else {
            return UNDEFINED;
        }
        self.advance(length);
        Outcome::Next
    }

    /// `ldm {.., pc}^` (B9.3.5).
    #[inline(never)]
    fn load_return(&mut self, multiple: &Multiple, memory: &mut dyn Memory) -> Outcome {
        if !self.mode().has_spsr() {
            return UNDEFINED;
        }
        let pc = match self.load_listed(multiple, Whose::Current, memory) {
            Ok(pc) => pc,
            Err(abort) => return abort.into(),
        };
        let spsr = self.spsr();
        self.return_to(pc, spsr);
        Outcome::Jumped
    }

    /// `rfe` (B9.3.13).
    #[inline(never)]
    fn return_from(&mut self, multiple: &Multiple, memory: &mut dyn Memory) -> Outcome {
        if !self.privileged() {
            return UNDEFINED;
        }
        let planned = self.plan_block(multiple, self.register(multiple.rn()), 8);
        let mut loaded = [0; 2];
        if let Err(abort) = self.load_list(&mut loaded, planned.address, memory) {
            return abort.into();
        }
        let [pc, cpsr] = loaded;
        if multiple.writeback() {
            self.set_register(multiple.rn(), planned.writeback);
        }
        self.return_to(pc, cpsr);
        Outcome::Jumped
    }

    /// `srs` (B9.3.16).
    #[inline(never)]
    fn store_return(
        &mut self,
        mode: u8,
        multiple: &Multiple,
        length: u32,
        memory: &mut dyn Memory,
    ) -> Outcome {
        let Some(target) = Mode::decode(u32::from(mode)).filter(|_| self.mode().has_spsr()) else {
            return UNDEFINED;
        };
        let planned = self.plan_block(multiple, self.stack_pointer(target), 8);
        let values = [self.regs[14], self.spsr()];
        if let Err(abort) = self.store_list(&values, planned.address, memory) {
            return abort.into();
        }
        if multiple.writeback() {
            self.set_stack_pointer(target, planned.writeback);
        }
        self.advance(length);
        Outcome::Next
    }

    /// `hvc`, `smc`: undefined for an application.
    fn call(&mut self, smc: bool, immediate: u16, length: u32) -> Outcome {
        if !self.privileged() {
            return UNDEFINED;
        }
        self.advance(length);
        Outcome::Hypercall { smc, immediate }
    }

    /// Whether CPACR lets the current mode use floating point (B1.11.1).
    #[must_use]
    pub const fn float_allowed(&self) -> bool {
        match self.cp15.cpacr >> 20 & 0xf {
            0b1111 => true,
            0b0101 => self.privileged(),
            _ => false,
        }
    }

    /// Whether floating-point instructions execute: CPACR allows and FPEXC.EN is set.
    #[must_use]
    pub const fn float_enabled(&self) -> bool {
        self.float_allowed() && self.vfp.fpexc & FPEXC_EN != 0
    }

    /// `vmrs` (A8.8.348, B9.3.18).
    #[inline(never)]
    fn read_float_status(&mut self, rt: u8, reg: u8, length: u32) -> Outcome {
        if reg == FPSCR {
            return self.use_float();
        }
        if !self.float_allowed() || !self.privileged() {
            return UNDEFINED;
        }
        let identity = &self.cp15.identity;
        let value = match reg {
            0 => identity.fpsid,
            6 => identity.mvfr1,
            7 => identity.mvfr0,
            FPEXC => self.vfp.fpexc,
            _ => return UNDEFINED,
        };
        self.complete_read(rt, value, length)
    }

    /// `vmsr` (A8.8.349, B9.3.19).
    #[inline(never)]
    fn write_float_status(&mut self, rt: u8, reg: u8, length: u32) -> Outcome {
        if reg == FPSCR {
            return self.use_float();
        }
        if !self.float_allowed() || !self.privileged() {
            return UNDEFINED;
        }
        match reg {
            // FPSID: ignored.
            0 => {
                self.advance(length);
                Outcome::Next
            }
            FPEXC => {
                // The rest belongs to subarchitectures with support code.
                self.vfp.fpexc = self.register(rt) & FPEXC_EN;
                self.advance(length);
                Outcome::Effect(Effect::FloatAccess)
            }
            _ => UNDEFINED,
        }
    }

    /// An access to the unit's own state trapped: because the guest may not, or because
    /// the unit holds another's.
    const fn use_float(&self) -> Outcome {
        if self.float_enabled() { Outcome::Effect(Effect::FloatUnit) } else { UNDEFINED }
    }
}

/// Numbers of `vmrs`, and the enable bit.
const FPSCR: u8 = 1;
const FPEXC: u8 = 8;
const FPEXC_EN: u32 = 1 << 30;
