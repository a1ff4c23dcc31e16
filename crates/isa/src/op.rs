//! What a decoded instruction does: the vocabulary shared by A32 and T32.
//!
//! Only what must be emulated is described: sensitive instructions, and loads and
//! stores that reach an emulated device.

use bitfield_struct::bitfield;

/// Instruction set state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// 32-bit ARM instructions.
    A32,
    /// 16- and 32-bit Thumb instructions.
    T32,
}

/// A condition field, bits as in the encoding: 0b1110 is always, and so is what 0b1111 stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition(pub u8);

impl Condition {
    /// Always executed.
    pub const ALWAYS: Self = Self(0b1110);

    /// Whether it passes with the flags of `cpsr` (ARM DDI 0406C, A8.3).
    #[must_use]
    pub const fn passes(self, cpsr: u32) -> bool {
        let (n, z, c, v) = (cpsr >> 31 & 1, cpsr >> 30 & 1, cpsr >> 29 & 1, cpsr >> 28 & 1);
        let holds = match self.0 >> 1 & 7 {
            0 => z == 1,
            1 => c == 1,
            2 => n == 1,
            3 => v == 1,
            4 => c == 1 && z == 0,
            5 => n == v,
            6 => n == v && z == 0,
            _ => return true,
        };
        holds != (self.0 & 1 == 1)
    }
}

/// A sensitive instruction, decoded.
///
/// Register numbers are 0 to 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `cps`: changes interrupt masks and mode.
    ChangeState {
        /// Bits 8 (A), 7 (I), 6 (F) of CPSR to set.
        set: u32,
        /// Bits of CPSR to clear.
        clear: u32,
        /// New mode, if any.
        mode: Option<u8>,
    },
    /// `setend`.
    SetEndianness {
        /// Big-endian data.
        big: bool,
    },
    /// `mrs rd, cpsr|spsr`.
    ReadStatus {
        /// Destination.
        rd: u8,
        /// SPSR instead of CPSR.
        spsr: bool,
    },
    /// `msr cpsr|spsr_fields, source`.
    WriteStatus {
        /// Value written.
        source: Source,
        /// Which bytes: bit 0 c, 1 x, 2 s, 3 f.
        fields: u8,
        /// SPSR instead of CPSR.
        spsr: bool,
    },
    /// `ldm rn, {list}^` without pc: loads user-mode registers.
    LoadUser(Multiple),
    /// `stm rn, {list}^`: stores user-mode registers.
    StoreUser(Multiple),
    /// `ldm rn{!}, {list, pc}^`: loads registers and returns from an exception.
    LoadReturn(Multiple),
    /// `movs pc, lr`, `subs pc, lr, #n` and the like: an ALU result to pc, SPSR to CPSR.
    AluReturn {
        /// Bits 24:21 of the A32 encoding.
        opcode: u8,
        /// First operand.
        rn: u8,
        /// Second operand.
        operand: Operand,
    },
    /// `rfe`: loads pc and CPSR. `list` is 0.
    ReturnFrom(Multiple),
    /// `srs`: stores LR and SPSR of the current mode on the stack of `mode`.
    StoreReturn {
        /// Mode whose stack pointer is used.
        mode: u8,
        /// Address mode; `rn` is 13 and `list` 0.
        multiple: Multiple,
    },
    /// `ldrt`, `strbt` and the like: an access with user-mode permissions.
    Unprivileged(Transfer),
    /// `wfi`.
    WaitForInterrupt,
    /// `wfe`.
    WaitForEvent,
    /// `svc #n`.
    SupervisorCall(u32),
    /// `hvc #n`.
    HypervisorCall(u16),
    /// `smc #n`.
    MonitorCall(u8),
    /// `mrc`, `mcr` and their `2` forms.
    Coprocessor(Coprocessor),
    /// `mrrc`, `mcrr` and their `2` forms.
    CoprocessorPair(CoprocessorPair),
    /// `vmrs rt, reg`; rt 15 is the flags.
    ReadFloatStatus {
        /// Destination.
        rt: u8,
        /// 0 FPSID, 1 FPSCR, 6 MVFR1, 7 MVFR0, 8 FPEXC.
        reg: u8,
    },
    /// `vmsr reg, rt`.
    WriteFloatStatus {
        /// Source.
        rt: u8,
        /// As in [`Op::ReadFloatStatus`].
        reg: u8,
    },
    /// Anything that a kernel may not execute either on this processor
    /// (banked `mrs`, `eret`, `bxj` of a mode that does not exist, `cdp`, `ldc` to p14/p15).
    Undefined,
}

/// Source of a status write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A register.
    Register(u8),
    /// An immediate, expanded.
    Immediate(u32),
}

/// Second operand of an ALU instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// An immediate, expanded.
    Immediate(u32),
    /// A register shifted by a constant: `kind` 0 LSL, 1 LSR, 2 ASR, 3 ROR as encoded
    /// (LSR and ASR by 0 mean 32, ROR by 0 means RRX).
    Shifted {
        /// Register.
        rm: u8,
        /// Kind of shift.
        kind: u8,
        /// Encoded amount.
        amount: u8,
    },
    /// A register shifted by the low byte of another.
    ShiftedByRegister {
        /// Register.
        rm: u8,
        /// Kind of shift.
        kind: u8,
        /// Register that holds the amount.
        rs: u8,
    },
}

/// Transfer of several registers, its fields where A32 has them.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Multiple {
    /// Registers, bit n for rn.
    pub list: u16,
    /// Base register.
    #[bits(4)]
    pub rn: u8,
    __: bool,
    /// Write the base back.
    pub writeback: bool,
    __: bool,
    /// Upwards rather than downwards.
    pub up: bool,
    /// Before (`..b`) rather than after (`..a`).
    pub before: bool,
    #[bits(7)]
    __: u8,
}

/// Access to one coprocessor register, its fields where both sets have them.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Coprocessor {
    /// Second register.
    #[bits(4)]
    pub crm: u8,
    __: bool,
    /// Second opcode.
    #[bits(3)]
    pub opc2: u8,
    /// Coprocessor, 14 or 15.
    #[bits(4)]
    pub cp: u8,
    /// Core register.
    #[bits(4)]
    pub rt: u8,
    /// First register.
    #[bits(4)]
    pub crn: u8,
    /// Read (`mrc`) rather than write.
    pub read: bool,
    /// First opcode.
    #[bits(3)]
    pub opc1: u8,
    __: u8,
}

/// Access to a 64-bit coprocessor register, its fields where both sets have them.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CoprocessorPair {
    /// Register.
    #[bits(4)]
    pub crm: u8,
    /// Opcode.
    #[bits(4)]
    pub opc1: u8,
    /// Coprocessor, 14 or 15.
    #[bits(4)]
    pub cp: u8,
    /// Core register of the low word.
    #[bits(4)]
    pub rt: u8,
    /// Core register of the high word.
    #[bits(4)]
    pub rt2: u8,
    /// Read (`mrrc`) rather than write.
    pub read: bool,
    #[bits(11)]
    __: u16,
}

impl Multiple {
    /// Of an encoding that has the fields in these places.
    pub(crate) const fn of(word: u32) -> Self {
        Self::from_bits(word & 0x01af_ffff)
    }
}

/// Width of a transfer in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Half,
    /// 32 bits.
    Word,
    /// Two words (`ldrd`, `strd`): the second register is `rt2`.
    Double,
}

/// Offset of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// A constant.
    Immediate(u32),
    /// A register shifted by a constant, as in [`Operand::Shifted`].
    Register {
        /// Register.
        rm: u8,
        /// Kind of shift.
        kind: u8,
        /// Encoded amount.
        amount: u8,
    },
}

/// Load or store of one register (or a pair).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Load rather than store.
    pub load: bool,
    /// Width in memory.
    pub width: Width,
    /// Sign-extend what is loaded.
    pub signed: bool,
    /// Register.
    pub rt: u8,
    /// Second register of [`Width::Double`] (else equal to `rt`).
    pub rt2: u8,
    /// Base register; 15 is the aligned pc.
    pub rn: u8,
    /// Offset from the base.
    pub offset: Offset,
    /// Add the offset rather than subtract it.
    pub add: bool,
    /// Use base plus offset as the address (pre-indexed or offset addressing).
    pub index: bool,
    /// Write base plus offset back.
    pub writeback: bool,
}

/// A load or store that may reach an emulated device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// One register or a pair.
    Transfer(Transfer),
    /// Several registers.
    Multiple {
        /// Load rather than store.
        load: bool,
        /// Which and where.
        multiple: Multiple,
    },
    /// `ldrex` and the like, `swp`: never legal on a device; reported, not emulated.
    Exclusive,
}
