//! What sequences are made of, in both instruction sets: the state of the generator.
//!
//! The rules keep a sequence from what the manual leaves open, so that whatever runs it must do
//! the same:
//!
//! - r7 is the address of the scratch page and no destination, and neither is r13;
//! - a status is written from a register that was loaded with one just before;
//! - what needs a saved status is used only in modes that have one, whatever conditions passed.

use core::ptr;
use entresol_guest::cp15;
use entresol_guest::random::Random;

/// The modes a sequence may be in.
pub(crate) const MODES: [u32; 6] = [0x11, 0x12, 0x13, 0x17, 0x1b, 0x1f];
const SYSTEM: u32 = 0x1f;
const USER: u32 = 0x10;
/// CPSR.I, CPSR.F.
const MASKS: u32 = 0xc0;

/// A sequence being written to memory.
pub(crate) struct Code {
    begin: usize,
    at: usize,
    pub(crate) random: Random,
    /// Whether the mode has a saved status for certain.
    pub(crate) has_spsr: bool,
    /// The mode it is in, unless a condition did not pass.
    mode: u32,
}

impl Code {
    /// Begins at `at`, to be entered in `mode`.
    pub(crate) fn new(random: Random, at: usize, mode: u32) -> Self {
        Self { begin: at, at, random, has_spsr: mode != SYSTEM, mode }
    }

    pub(crate) fn word(&mut self, word: u32) {
        // SAFETY: callers write to the pages of code, which nothing else uses.
        unsafe { ptr::with_exposed_provenance_mut::<u32>(self.at).write_volatile(word) }
        self.at += 4;
    }

    pub(crate) fn half(&mut self, half: u32) {
        // SAFETY: as in `word`.
        unsafe { ptr::with_exposed_provenance_mut::<u16>(self.at).write_volatile(half as u16) }
        self.at += 2;
    }

    /// A 32-bit T32 instruction, first halfword on top.
    pub(crate) fn wide(&mut self, word: u32) {
        self.half(word >> 16);
        self.half(word);
    }

    /// Makes it safe to execute.
    pub(crate) fn finish(&self) {
        cp15::code_written(self.begin, self.at - self.begin);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.at - self.begin
    }

    /// One of r0 to r6.
    pub(crate) fn low(&mut self) -> u32 {
        self.random.below(7)
    }

    /// A mode to change to, and notes it. `certainly` if no condition guards the change.
    pub(crate) fn mode(&mut self, certainly: bool) -> u32 {
        let user = self.random.once_in(40);
        let mode = MODES[self.random.below(MODES.len() as u32) as usize];
        let mode = if user { USER } else { mode };
        let has = mode != SYSTEM && mode != USER;
        self.has_spsr = has && (certainly || self.has_spsr);
        self.mode = mode;
        mode
    }

    /// A status of the mode it is in already, probably.
    pub(crate) fn same_mode(&mut self) -> u32 {
        self.mode | self.random.word() & MASKS
    }

    /// A status: a mode and masks.
    pub(crate) fn status(&mut self, certainly: bool) -> u32 {
        let masks = self.random.word() & MASKS;
        self.mode(certainly) | masks
    }

    /// Coprocessor accesses without a condition: CRn, opc2, CRm as they stand in the word.
    pub(crate) fn system_register(&mut self) -> u32 {
        const READ: u32 = 0x0010_0000;
        const REGISTERS: [u32; 12] = [
            0x000d_0050 | READ, // TPIDRURW
            0x000d_0070 | READ, // TPIDRURO
            0x000d_0090 | READ, // TPIDRPRW
            0x0003_0010 | READ, // DACR
            0x0005_0010 | READ, // DFSR
            0x0006_0010 | READ, // DFAR
            0x000d_0030 | READ, // CONTEXTIDR
            0x000d_0050,
            0x000d_0090,
            0x0005_0010,
            0x0006_0010,
            0x0007_00ba, // DMB
        ];
        let register = REGISTERS[self.random.below(REGISTERS.len() as u32) as usize];
        0x0e00_0f00 | register | self.low() << 12
    }
}
