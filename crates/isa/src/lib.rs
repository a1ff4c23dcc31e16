//! Which ARMv7-A instructions a deprivileged kernel must not execute as they are.
//!
//! This crate answers one question about one instruction word. It does not
//! disassemble, does not know where code is, and does not patch.
//!
//! # Why not a disassembler
//!
//! A disassembler prints; a rewriter needs a *decision* for every one of the
//! 2^32 words, including those the architecture calls unpredictable. So each
//! instruction set is one table of mask/value rows copied from the encoding
//! diagrams (ARM DDI 0406C, chapters A5, A6 and B9), checked against two
//! independent disassemblers over half a million words.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod a32;
pub mod op;
pub mod t32;

/// What a sensitive instruction does that user mode cannot.
///
/// "Silent" classes do not trap when executed in user mode: they compute
/// something else. Those are the ones a rewriter must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Changes the processor state or mode (`cps`, `setend`). Silent.
    ChangeState,
    /// Reads CPSR or SPSR (`mrs`). Silent for CPSR.
    ReadStatus,
    /// Writes CPSR or SPSR (`msr`). Silent.
    WriteStatus,
    /// Accesses another mode's registers (`mrs`/`msr` banked). Undefined in user mode.
    Banked,
    /// Transfers user registers (`ldm ^`, `stm ^`). Unpredictable in user mode.
    UserRegisters,
    /// Returns from an exception (`ldm pc ^`, `subs pc`, `rfe`, `eret`). Unpredictable in user mode.
    Return,
    /// Stores the return state (`srs`). Unpredictable in user mode.
    StoreReturn,
    /// Accesses memory as user mode (`ldrt` and friends). Silent: the access is
    /// checked against the deprivileged kernel instead of its user.
    Unprivileged,
    /// Calls a supervisor, hypervisor or monitor (`svc`, `hvc`, `smc`).
    Call,
    /// Waits (`wfi`, `wfe`). Silent: executes as written and stalls the processor.
    Wait,
    /// Reads or writes a floating-point status register (`vmrs`, `vmsr`). Traps
    /// for the privileged ones.
    FloatStatus,
    /// Accesses the system coprocessors p14 or p15. Traps, except for what the
    /// architecture opens to user mode.
    Coprocessor,
    /// Enters Jazelle (`bxj`).
    Jazelle,
}

/// One row of an encoding table: `word & mask == value`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) mask: u32,
    pub(crate) value: u32,
    pub(crate) class: Class,
}

impl Row {
    pub(crate) const fn new(mask: u32, value: u32, class: Class) -> Self {
        assert!(value & !mask == 0, "a row that can never match");
        Self { mask, value, class }
    }

    pub(crate) const fn matches(self, word: u32) -> bool {
        word & self.mask == self.value
    }
}
