//! What sequences are made of, in both instruction sets: the state of the generator.
//!
//! The rules keep a sequence from what the manual leaves open, so that whatever runs it must do
//! the same:
//!
//! - r7 is the address of the scratch page and no destination, and neither is r13;
//! - a status is written from a register that was loaded with one just before;
//! - what needs a saved status is used only in modes that have one, whatever conditions passed.

use crate::PLACE;
use core::ptr;
use entresol_guest::cp15;
use entresol_guest::random::Random;

/// The modes a sequence may be in.
pub(crate) const MODES: [u32; 6] = [0x11, 0x12, 0x13, 0x17, 0x1b, 0x1f];
const SYSTEM: u32 = 0x1f;
const USER: u32 = 0x10;
/// CPSR.I, CPSR.F.
const MASKS: u32 = 0xc0;

/// Most instructions of a sequence.
pub(crate) const MOST: usize = 160;

/// A sequence being written to memory.
pub(crate) struct Code {
    begin: usize,
    at: usize,
    /// What was written: what is read back may have been replaced.
    halves: [u16; PLACE / 2],
    /// Where instructions begin that are executed for certain, if all before them go on.
    starts: [u16; MOST],
    count: usize,
    /// What comes next is under a condition of an IT block.
    guarded: bool,
    pub(crate) random: Random,
    /// Whether the mode has a saved status for certain.
    pub(crate) has_spsr: bool,
    /// The mode it is in, unless a condition did not pass.
    mode: u32,
}

impl Code {
    /// Begins at `at`, to be entered in `mode`.
    pub(crate) fn new(random: Random, at: usize, mode: u32) -> Self {
        let has_spsr = mode != SYSTEM;
        Self {
            begin: at,
            at,
            halves: [0; PLACE / 2],
            starts: [0; MOST],
            count: 0,
            guarded: false,
            random,
            has_spsr,
            mode,
        }
    }

    fn start(&mut self) {
        if !core::mem::take(&mut self.guarded)
            && let Some(slot) = self.starts.get_mut(self.count)
        {
            *slot = (self.at - self.begin) as u16;
            self.count += 1;
        }
    }

    /// Offsets of instructions, but those under an IT block.
    pub(crate) fn starts(&self) -> &[u16] {
        &self.starts[..self.count]
    }

    /// The two halfwords at an offset.
    pub(crate) fn halves_at(&self, offset: u16) -> [u16; 2] {
        let half = |index| self.halves.get(index).copied().unwrap_or(0);
        let index = usize::from(offset) / 2;
        [half(index), half(index + 1)]
    }

    pub(crate) fn word(&mut self, word: u32) {
        self.start();
        self.put_half(word);
        self.put_half(word >> 16);
    }

    pub(crate) fn half(&mut self, half: u32) {
        self.start();
        self.put_half(half);
    }

    fn put_half(&mut self, half: u32) {
        let index = self.bytes() / 2;
        if let Some(slot) = self.halves.get_mut(index) {
            *slot = half as u16;
        }
        // SAFETY: callers write to the pages of code, which nothing else uses.
        unsafe { ptr::with_exposed_provenance_mut::<u16>(self.at).write_volatile(half as u16) }
        self.at += 2;
    }

    /// A 32-bit T32 instruction, first halfword on top.
    pub(crate) fn wide(&mut self, word: u32) {
        self.start();
        self.put_half(word >> 16);
        self.put_half(word);
    }

    /// `it` with a condition.
    pub(crate) fn if_then(&mut self, condition: u32) {
        self.half(0xbf08 | condition << 4);
        self.guarded = true;
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
