//! The registers of one virtual processor and how its modes bank them.
//!
//! Holds and moves state; what exceptions, instructions and system registers do
//! with it is in the neighbouring modules. Nothing here touches the machine.
//!
//! # Why this shape
//!
//! Entry code in assembly saves and loads a guest by offsets into this structure
//! (`offset_of!`), and most traps are settled without leaving it. So what the real
//! processor needs is kept ready: `regs`, `pc` and `psr` are loaded as they are,
//! and what only the guest believes in (mode and masks) is apart in `status`.
//!
//! # Invariants
//!
//! Kept by the methods here; assembly that writes fields keeps them too:
//!
//! - `psr` is a legal return state for real User mode: bits 4:0 are `0x10`, A, I, F
//!   and J are 0, bits 23:20 are 0.
//! - `status` has bits 8:6 and 4:0 only, and the mode is one of the seven of
//!   [`Mode`].
//! - `regs[13]` and `regs[14]` belong to the current virtual mode and its bank's `sp`
//!   and `lr` are stale. `regs[8..13]` belong to it too: outside FIQ mode `fiq_regs`
//!   holds FIQ's, in FIQ mode everyone else's. An `spsr` is always in its bank.
//!
//! Manuals: ARM DDI 0406C, B1.3 (modes and registers), B1.3.3 (program status).

use crate::cp15::Cp15;
use crate::mode::{Mode, bank, psr};

/// Registers a mode has to itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Bank {
    /// `r13`; stale while the mode is current.
    pub sp: u32,
    /// `r14`; stale while the mode is current.
    pub lr: u32,
    /// Saved status. That of User and System does not exist; reads see 0.
    pub spsr: u32,
}

/// Floating-point and SIMD registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Vfp {
    /// `d0` to `d31`.
    pub d: [u64; 32],
    /// Status and control.
    pub fpscr: u32,
    /// Exception register as the guest sees it.
    pub fpexc: u32,
}

/// One virtual processor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Vcpu {
    /// `r0` to `r14` of the current virtual mode.
    pub regs: [u32; 15],
    /// Address of the next instruction.
    pub pc: u32,
    /// Status the real processor runs the guest with; see [`psr::REAL`].
    pub psr: u32,
    /// Mode and masks the guest believes in; see [`psr::VIRTUAL`].
    pub status: u32,
    /// Exceptions pending now, as in ISR: bits [`psr::A`], [`psr::I`] and [`psr::F`]. Set by the
    /// hypervisor; see [`Vcpu::deliverable`].
    pub pending: u32,
    /// Registers of the modes that are not current, by index of [`bank`].
    pub banks: [Bank; bank::COUNT],
    /// `r8` to `r12`: FIQ's outside FIQ mode, everyone else's in it.
    pub fiq_regs: [u32; 5],
    /// System control registers.
    pub cp15: Cp15,
    /// Floating-point registers while another owns the unit.
    pub vfp: Vfp,
}

impl Default for Vcpu {
    fn default() -> Self {
        Self::new()
    }
}

impl Vcpu {
    /// A processor in reset, about to execute address 0.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            regs: [0; 15],
            pc: 0,
            psr: Mode::USER.bits(),
            status: Mode::SUPERVISOR.bits() | psr::A | psr::I | psr::F,
            pending: 0,
            banks: [Bank { sp: 0, lr: 0, spsr: 0 }; bank::COUNT],
            fiq_regs: [0; 5],
            cp15: Cp15::new(),
            vfp: Vfp { d: [0; 32], fpscr: 0, fpexc: 0 },
        }
    }

    /// Resets it: Supervisor mode, everything masked, MMU off, low vectors. `entry` is the
    /// first instruction (bit 0 selects T32), the rest the first registers. The
    /// identity of the processor stays.
    pub fn reset(&mut self, entry: u32, r0: u32, r1: u32, r2: u32) {
        let identity = self.cp15.identity;
        *self = Self::new();
        self.cp15.identity = identity;
        self.regs[0] = r0;
        self.regs[1] = r1;
        self.regs[2] = r2;
        if entry & 1 == 1 {
            self.psr |= psr::T;
            self.pc = entry & !1;
        } else {
            self.pc = entry & !3;
        }
    }

    /// CPSR as the architecture defines it.
    #[inline]
    #[must_use]
    pub const fn cpsr(&self) -> u32 {
        self.psr & psr::REAL | self.status
    }

    /// Current mode.
    #[inline]
    #[must_use]
    pub const fn mode(&self) -> Mode {
        Mode::of_status(self.status)
    }

    /// Whether the guest's kernel runs, not its application.
    #[inline]
    #[must_use]
    pub const fn privileged(&self) -> bool {
        self.status & psr::MODE != Mode::USER.bits()
    }

    /// Whether instructions are T32.
    #[inline]
    #[must_use]
    pub const fn thumb(&self) -> bool {
        self.psr & psr::T != 0
    }

    /// Whether data are big-endian.
    #[inline]
    #[must_use]
    pub const fn big_endian(&self) -> bool {
        self.psr & psr::E != 0
    }

    /// `rn` of the current mode; 15 is the value an instruction reads: 8 bytes ahead
    /// in A32, 4 in T32.
    #[inline]
    #[must_use]
    pub fn register(&self, n: u8) -> u32 {
        match self.regs.get(usize::from(n)) {
            Some(value) => *value,
            None => self.pc.wrapping_add(if self.thumb() { 4 } else { 8 }),
        }
    }

    /// Writes `rn` of the current mode. Writing 15 is a branch, not a register write,
    /// and ignored here.
    #[inline]
    pub fn set_register(&mut self, n: u8, value: u32) {
        if let Some(register) = self.regs.get_mut(usize::from(n)) {
            *register = value;
        }
    }

    /// `rn` of User mode, whatever the mode is. For 15, see [`Vcpu::register`].
    pub(crate) fn user_register(&self, n: u8) -> u32 {
        let mode = self.mode();
        match n {
            8..=12 if mode == Mode::FIQ => {
                self.fiq_regs.get(usize::from(n - 8)).copied().unwrap_or_default()
            }
            13 if mode.has_spsr() => self.banks[bank::USER].sp,
            14 if mode.has_spsr() => self.banks[bank::USER].lr,
            _ => self.register(n),
        }
    }

    /// `r13` of `mode`, current or not.
    #[must_use]
    pub fn stack_pointer(&self, mode: Mode) -> u32 {
        if mode.bank() == self.mode().bank() {
            self.regs[13]
        } else {
            self.banks.get(mode.bank()).map_or(0, |bank| bank.sp)
        }
    }

    /// Writes `r13` of `mode`, current or not.
    pub fn set_stack_pointer(&mut self, mode: Mode, value: u32) {
        if mode.bank() == self.mode().bank() {
            self.regs[13] = value;
        } else if let Some(bank) = self.banks.get_mut(mode.bank()) {
            bank.sp = value;
        }
    }

    /// Changes the mode: the registers of the old one go to its bank, those of the new
    /// one come from theirs. Masks stay.
    #[inline]
    pub fn set_mode(&mut self, new: Mode) {
        let old = self.mode();
        if old == new {
            return;
        }
        self.status = self.status & !psr::MODE | new.bits();
        let (from, to) = (old.bank(), new.bank());
        if from == to {
            return;
        }
        if let Some(bank) = self.banks.get_mut(from) {
            bank.sp = self.regs[13];
            bank.lr = self.regs[14];
        }
        if let Some(bank) = self.banks.get(to) {
            self.regs[13] = bank.sp;
            self.regs[14] = bank.lr;
        }
        if from == bank::FIQ || to == bank::FIQ {
            self.swap_fiq_registers();
        }
    }

    #[cold]
    fn swap_fiq_registers(&mut self) {
        for (register, other) in self.regs.iter_mut().skip(8).zip(self.fiq_regs.iter_mut()) {
            core::mem::swap(register, other);
        }
    }

    /// Writes CPSR as `msr` does (`CPSRWriteByInstr`, ARM DDI 0406C, B1.3.3): `fields` bit 0
    /// to 3 select its bytes. An application changes flags, GE and E only. No one
    /// changes the execution state (T, J, IT) this way. A mode that does not exist
    /// (UNPREDICTABLE) leaves the mode as it is.
    #[inline]
    pub fn write_cpsr(&mut self, value: u32, fields: u8) {
        let bytes = byte_mask(fields);
        let real = bytes & (psr::FLAGS | psr::GE | psr::E);
        self.psr = self.psr & !real | value & real;
        if !self.privileged() {
            return;
        }
        let masks = bytes & (psr::A | psr::I | psr::F);
        self.status = self.status & !masks | value & masks;
        if fields & 1 == 1
            && let Some(mode) = Mode::decode(value)
        {
            self.set_mode(mode);
        }
    }

    /// SPSR of the current mode. User and System have none (UNPREDICTABLE): 0.
    #[inline]
    #[must_use]
    pub fn spsr(&self) -> u32 {
        self.banks.get(self.mode().bank()).map_or(0, |bank| bank.spsr)
    }

    /// Writes SPSR of the current mode as `msr` does (`SPSRWriteByInstr`, ARM DDI 0406C,
    /// B1.3.3). User and System have none (UNPREDICTABLE): ignored.
    #[inline]
    pub fn set_spsr(&mut self, value: u32, fields: u8) {
        let index = self.mode().bank();
        if index == bank::USER {
            return;
        }
        let bytes = byte_mask(fields) & 0xff0f_ffff;
        if let Some(bank) = self.banks.get_mut(index) {
            bank.spsr = bank.spsr & !bytes | value & bytes;
        }
    }
}

/// Bits of the bytes selected by `fields`, bit n for byte n.
#[inline]
#[must_use]
fn byte_mask(fields: u8) -> u32 {
    // Bit n of four goes to bit 8n, then fills its byte.
    let spread = (u32::from(fields & 0xf) * 0x0020_4081) & 0x0101_0101;
    spread * 0xff
}
