//! Taking an exception in the guest, and returning from one.
//!
//! The state afterwards is what the architecture says, bit for bit; when to take
//! which exception is for others to decide, except for the order of pending
//! interrupts.
//!
//! # Invariants
//!
//! - [`Vcpu::pc`] is the instruction that caused the exception, or for interrupts the
//!   next one to execute. Link registers are computed from it.
//! - The caller clears the machine's exclusive monitor before the guest runs on, as
//!   every real exception return does in effect.
//!
//! Manuals: ARM DDI 0406C, B1.8 (handling), B1.9 (by exception), B1.8.3 (return).

use crate::mode::{Mode, psr};
use crate::state::Vcpu;

/// An exception a guest can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// Undefined instruction (B1.9.2).
    Undefined,
    /// `svc` (B1.9.4). The IT state is that of the next instruction already: the machine's
    /// own exception advanced it.
    SupervisorCall,
    /// A fetch failed (B1.9.7).
    PrefetchAbort {
        /// Fault status.
        ifsr: u32,
        /// Fault address.
        ifar: u32,
    },
    /// A data access failed (B1.9.8).
    DataAbort {
        /// Fault status.
        dfsr: u32,
        /// Fault address.
        dfar: u32,
    },
    /// Interrupt (B1.9.10).
    Irq,
    /// Fast interrupt (B1.9.12).
    Fiq,
}

/// SCTLR.V: high vectors.
const SCTLR_V: u32 = 1 << 13;
/// SCTLR.EE: big-endian exceptions.
const SCTLR_EE: u32 = 1 << 25;
/// SCTLR.TE: exceptions in T32.
const SCTLR_TE: u32 = 1 << 30;
/// Where high vectors are.
const HIGH_VECTORS: u32 = 0xffff_0000;

impl Vcpu {
    /// Takes `exception`.
    #[inline]
    pub fn enter(&mut self, exception: Exception) {
        // Distances of LR: 4 or 2 where the manual says "PC - 4 or PC - 2", that is the
        // next instruction in A32 and 2 bytes on in T32; else the same in both.
        let narrow = if self.thumb() { 2 } else { 4 };
        match exception {
            Exception::SupervisorCall => self.take(Mode::SUPERVISOR, psr::I, 0x08, narrow),
            Exception::Irq => self.take(Mode::IRQ, psr::A | psr::I, 0x18, 4),
            Exception::Undefined => self.take(Mode::UNDEFINED, psr::I, 0x04, narrow),
            Exception::PrefetchAbort { ifsr, ifar } => {
                self.cp15.ifsr = ifsr;
                self.cp15.ifar = ifar;
                self.take(Mode::ABORT, psr::A | psr::I, 0x0c, 4);
            }
            Exception::DataAbort { dfsr, dfar } => {
                self.cp15.dfsr = dfsr;
                self.cp15.dfar = dfar;
                self.take(Mode::ABORT, psr::A | psr::I, 0x10, 8);
            }
            Exception::Fiq => self.take(Mode::FIQ, psr::A | psr::I | psr::F, 0x1c, 4),
        }
    }

    /// Takes the pending interrupt that [`Vcpu::deliverable`] names, if there is one. Returns
    /// the CPSR before, which is the SPSR then.
    #[inline(always)]
    pub fn enter_pending(&mut self) -> u32 {
        let due = self.pending & !self.status;
        let before = self.cpsr();
        if due & psr::F != 0 {
            self.enter(Exception::Fiq);
        } else if due & psr::I != 0 {
            // In line: the one that has to be quick.
            self.take_in_line(Mode::IRQ, psr::A | psr::I, 0x18, 4);
        }
        before
    }

    #[inline(never)]
    fn take(&mut self, mode: Mode, masks: u32, vector: u32, distance: u32) {
        self.take_in_line(mode, masks, vector, distance);
    }

    #[inline(always)]
    fn take_in_line(&mut self, mode: Mode, masks: u32, vector: u32, distance: u32) {
        let saved = self.cpsr();
        let link = self.pc.wrapping_add(distance);
        self.set_mode(mode);
        self.regs[14] = link;
        if let Some(bank) = self.banks.get_mut(mode.bank()) {
            bank.spsr = saved;
        }
        self.status |= masks;
        self.psr &= !(psr::IT | psr::E | psr::T);
        let sctlr = self.cp15.sctlr;
        if sctlr & (SCTLR_TE | SCTLR_EE) != 0 {
            if sctlr & SCTLR_TE != 0 {
                self.psr |= psr::T;
            }
            if sctlr & SCTLR_EE != 0 {
                self.psr |= psr::E;
            }
        }
        let base = if sctlr & SCTLR_V == 0 { self.cp15.vbar } else { HIGH_VECTORS };
        self.pc = base.wrapping_add(vector);
    }

    /// Returns to `pc` with `cpsr`, as every exception return does (`CPSRWriteByInstr` with
    /// all fields and `BranchWritePC`).
    ///
    /// What is UNPREDICTABLE stays harmless: a mode that does not exist leaves the mode
    /// as it is, Jazelle and ThumbEE states are left out, IT state without T32 is
    /// dropped, the address is aligned.
    pub fn return_to(&mut self, pc: u32, cpsr: u32) {
        self.resume(pc, cpsr);
    }

    /// [`Vcpu::return_to`] with SPSR, in line: for the return every kernel makes after every
    /// interrupt and system call.
    #[inline(always)]
    pub fn return_by_spsr(&mut self, pc: u32) {
        let spsr = self.spsr();
        self.resume(pc, spsr);
    }

    #[inline(always)]
    fn resume(&mut self, pc: u32, cpsr: u32) {
        let real = if cpsr & psr::T == 0 { psr::REAL & !psr::IT } else { psr::REAL };
        self.psr = cpsr & real | Mode::USER.bits();
        let masks = psr::A | psr::I | psr::F;
        self.status = self.status & !masks | cpsr & masks;
        if let Some(mode) = Mode::decode(cpsr) {
            self.set_mode(mode);
        }
        self.pc = pc & if cpsr & psr::T == 0 { !3 } else { !1 };
    }

    /// The pending interrupt to take now, if one is not masked. A fast interrupt goes
    /// first, as on Cortex-A9.
    #[inline]
    #[must_use]
    pub const fn deliverable(&self) -> Option<Exception> {
        let due = self.pending & !self.status;
        if due & psr::F != 0 {
            Some(Exception::Fiq)
        } else if due & psr::I != 0 {
            Some(Exception::Irq)
        } else {
            None
        }
    }

    /// Ends an instruction of `length` bytes: pc to the next one, IT state too
    /// (`ITAdvance`, A2.5.2). Also what to do with one whose condition failed.
    #[inline]
    pub fn advance(&mut self, length: u32) {
        self.pc = self.pc.wrapping_add(length);
        self.advance_it();
    }

    #[inline]
    pub(crate) fn advance_it(&mut self) {
        if self.psr & psr::IT != 0 {
            self.psr = advance_it(self.psr);
        }
    }
}

/// The condition that IT state in `psr` gives to the instruction; always outside an IT
/// block.
#[inline]
#[must_use]
pub fn it_condition(psr: u32) -> entresol_isa::op::Condition {
    let state = it_state(psr);
    if state & 0xf == 0 {
        entresol_isa::op::Condition::ALWAYS
    } else {
        entresol_isa::op::Condition((state >> 4 & 0xf).to_le_bytes()[0])
    }
}

/// `psr` with the IT state of the next instruction.
#[inline]
#[must_use]
pub const fn advance_it(psr: u32) -> u32 {
    let state = it_state(psr);
    let next = if state & 7 == 0 { 0 } else { state & 0xe0 | state << 1 & 0x1f };
    psr & !psr::IT | (next & 3) << 25 | (next >> 2) << 10
}

/// IT\[7:0\] of a status value.
#[inline]
const fn it_state(psr: u32) -> u32 {
    (psr >> 25 & 3) | (psr >> 10 & 0x3f) << 2
}
