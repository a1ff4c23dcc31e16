//! Which ARMv7-A instructions a deprivileged kernel must not execute as they are.
//!
//! This crate answers questions about one instruction word: is it sensitive
//! ([`a32::classify`], [`t32::classify_wide`]), what does it do ([`a32::decode`]),
//! which memory does it access ([`a32::access`]), and which trapping word stands
//! in for it ([`trapword`]). It does not disassemble, does not know where code is
//! (that is `entresol-rewrite`), and does not execute (that is `entresol-vcpu`).
//!
//! # Why not a disassembler
//!
//! A disassembler prints; a rewriter needs a *decision* for every one of the
//! 2^32 words, including those the architecture calls unpredictable. So each
//! instruction set is one table of mask/value rows copied from the encoding
//! diagrams (ARM DDI 0406C, chapters A5, A6 and B9), checked against an
//! independent disassembler over hundreds of thousands of words.
//!
//! # Why two descriptions of the same encodings
//!
//! The tables are the reference: short enough to be read beside the manual, and
//! enumerable by tests and by the guests that attack us. Walking them costs a
//! hundred instructions, so what runs in the hypervisor (decoding, trap words)
//! selects by bits instead.
//!
//! # Invariants
//!
//! - `decode` answers exactly for the words that `classify` calls sensitive.
//! - A trap word exists exactly for the sensitive words of the classes that
//!   [`Class::is_replaced`] names, and describes its original completely.
//!
//! Both are kept by the tests in `tests/`, not by construction.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod a32;
mod coprocessor;
pub mod hot;
pub mod op;
pub mod t32;
pub mod trapword;

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

impl Class {
    /// Whether user mode runs such an instruction wrongly, or in a way that the
    /// architecture leaves open, so that it must be replaced before it runs.
    ///
    /// The others trap by themselves, or are safe (`bxj` is a branch). `eret`, of
    /// class [`Class::Return`] in A32, traps by itself too where there is no HYP
    /// mode; it alone has no trap word.
    #[must_use]
    pub const fn is_replaced(self) -> bool {
        match self {
            Self::ChangeState
            | Self::ReadStatus
            | Self::WriteStatus
            | Self::UserRegisters
            | Self::Return
            | Self::StoreReturn
            | Self::Unprivileged
            | Self::Wait => true,
            Self::Banked | Self::Call | Self::FloatStatus | Self::Coprocessor | Self::Jazelle => {
                false
            }
        }
    }
}

/// One row of an encoding table: `word & mask == value`.
#[derive(Clone, Copy, Debug)]
struct Row {
    mask: u32,
    value: u32,
    class: Class,
}

impl Row {
    const fn new(mask: u32, value: u32, class: Class) -> Self {
        assert!(value & !mask == 0, "a row that can never match");
        Self { mask, value, class }
    }

    const fn matches(self, word: u32) -> bool {
        word & self.mask == self.value
    }
}

/// One row of an encoding table, with its name: `word & mask == value`.
///
/// A word that matches may still be decided by an earlier row; ask `classify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Fixed bits.
    pub mask: u32,
    /// Their values.
    pub value: u32,
    /// What such instructions do.
    pub class: Class,
    /// The manual's name.
    pub name: &'static str,
}

/// Defines a table of rows and, apart from it, their names: names are only for
/// tools, and a table that carried them would carry them into the hypervisor.
macro_rules! encodings {
    ($rows:ident, $names:ident: $(($mask:literal, $value:literal, $class:ident, $name:literal),)+) => {
        const $rows: &[$crate::Row] =
            &[$($crate::Row::new($mask, $value, $crate::Class::$class)),+];
        const $names: &[&str] = &[$($name),+];
    };
}
use encodings;

/// Joins rows and names again.
fn named<'a>(
    rows: &'a [Row],
    names: &'a [&'static str],
) -> impl Iterator<Item = Encoding> + Clone + 'a {
    rows.iter().zip(names).map(|(row, name)| Encoding {
        mask: row.mask,
        value: row.value,
        class: row.class,
        name,
    })
}

/// The four bits from `shift` upwards: a register number or a condition.
const fn nibble(word: u32, shift: u32) -> u8 {
    let [low, ..] = (word >> shift).to_le_bytes();
    low & 15
}

/// The low five bits: a mode.
const fn mode(word: u32) -> u8 {
    let [low, ..] = word.to_le_bytes();
    low & 31
}

/// The low sixteen bits: a register list.
const fn half(word: u32) -> u16 {
    let [low, high, ..] = word.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// One bit.
const fn bit(word: u32, index: u32) -> bool {
    word >> index & 1 == 1
}
