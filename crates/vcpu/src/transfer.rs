//! Loads and stores: addresses, values and results, apart from memory itself.
//!
//! For instructions whose access the machine cannot make as written: to an
//! emulated device, or with the permissions of the guest's application. The two
//! halves (what to access; what to do with the result) are usable alone, for a
//! device that answers later; [`Vcpu::access`] puts them together.
//!
//! # Invariants
//!
//! - No state changes before every access of an instruction has succeeded, so that
//!   any of them may end in a retry. Accesses already made are made again.
//!
//! Manual: ARM DDI 0406C, A8.8 (by instruction), A8.4 (shifts), B9.3.

use entresol_isa::op::{Access, Multiple, Offset, Transfer, Width};

use crate::memory::{Abort, Memory};
use crate::mode::{Mode, psr};
use crate::outcome::Outcome;
use crate::shift::shift_by_constant;
use crate::state::Vcpu;

/// Whose registers an instruction transfers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The current mode's.
    Current,
    /// User mode's.
    User,
}

/// Where an instruction transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// First (lowest) address.
    pub address: u32,
    /// New value of the base register, whether written back or not.
    pub writeback: u32,
}

impl Vcpu {
    /// Address of a transfer and of its base register afterwards.
    #[must_use]
    pub fn plan(&self, transfer: &Transfer) -> Planned {
        let base =
            if transfer.rn == 15 { self.register(15) & !3 } else { self.register(transfer.rn) };
        let offset = match transfer.offset {
            Offset::Immediate(value) => value,
            Offset::Register { rm, kind, amount } => {
                shift_by_constant(self.register(rm), kind, amount, self.psr & psr::C != 0)
            }
        };
        let moved =
            if transfer.add { base.wrapping_add(offset) } else { base.wrapping_sub(offset) };
        Planned { address: if transfer.index { moved } else { base }, writeback: moved }
    }

    /// What a store puts in memory, in memory's byte order; the second word is for
    /// [`Width::Double`].
    #[must_use]
    pub fn store_value(&self, transfer: &Transfer) -> [u32; 2] {
        let mask = match transfer.width {
            Width::Byte => 0xff,
            Width::Half => 0xffff,
            Width::Word | Width::Double => u32::MAX,
        };
        [transfer.rt, transfer.rt2]
            .map(|register| self.in_order(transfer.width, self.register(register) & mask))
    }

    /// Ends a transfer of `length` bytes of instruction: gives `loaded` (in memory's byte
    /// order; ignored for a store) to the registers and writes the base back.
    pub fn finish(
        &mut self,
        transfer: &Transfer,
        planned: Planned,
        loaded: [u32; 2],
        length: u32,
    ) -> Outcome {
        if transfer.writeback && transfer.rn != 15 {
            self.set_register(transfer.rn, planned.writeback);
        }
        if !transfer.load {
            self.advance(length);
            return Outcome::Next;
        }
        let [first, second] = loaded.map(|word| self.in_order(transfer.width, word));
        if transfer.width == Width::Double {
            self.set_register(transfer.rt, first);
            self.set_register(transfer.rt2, second);
        } else {
            let value = extend(first, transfer.width, transfer.signed);
            if transfer.rt == 15 {
                return self.load_pc(value, length);
            }
            self.set_register(transfer.rt, value);
        }
        self.advance(length);
        Outcome::Next
    }

    /// Makes a transfer with the permissions of the current mode, or of the application.
    #[inline(never)]
    pub(crate) fn transfer(
        &mut self,
        transfer: &Transfer,
        privileged: bool,
        length: u32,
        memory: &mut dyn Memory,
    ) -> Result<Outcome, Abort> {
        let planned = self.plan(transfer);
        let (width, count) = match transfer.width {
            Width::Double => (Width::Word, 2),
            width => (width, 1),
        };
        let aligned = transfer.width == Width::Double;
        self.check_alignment(planned.address, width, aligned, !transfer.load)?;
        let addresses = [planned.address, planned.address.wrapping_add(4)];
        let mut loaded = [0; 2];
        if transfer.load {
            for (address, word) in addresses.iter().zip(loaded.iter_mut()).take(count) {
                *word = memory.load(*address, width, privileged)?;
            }
        } else {
            for (address, word) in addresses.iter().zip(self.store_value(transfer)).take(count) {
                memory.store(*address, width, word, privileged)?;
            }
        }
        Ok(self.finish(transfer, planned, loaded, length))
    }

    /// Addresses of a transfer of several registers.
    #[must_use]
    pub fn plan_multiple(&self, multiple: &Multiple) -> Planned {
        self.plan_block(multiple, self.register(multiple.rn()), multiple.list().count_ones() * 4)
    }

    /// Addresses of a block of `size` bytes at `base`.
    #[inline]
    pub(crate) const fn plan_block(&self, multiple: &Multiple, base: u32, size: u32) -> Planned {
        let (start, writeback) = if multiple.up() {
            (base, base.wrapping_add(size))
        } else {
            (base.wrapping_sub(size), base.wrapping_sub(size))
        };
        // Increment before and decrement after are a word higher.
        let address =
            if multiple.before() == multiple.up() { start.wrapping_add(4) } else { start };
        Planned { address, writeback }
    }

    /// Makes the access of a load or store with the permissions of the current mode.
    /// [`Access::Exclusive`] has no meaning outside normal memory.
    pub fn access(&mut self, access: &Access, length: u32, memory: &mut dyn Memory) -> Outcome {
        let result = match access {
            Access::Transfer(transfer) => {
                self.transfer(transfer, self.privileged(), length, memory)
            }
            Access::Multiple { load: true, multiple } => {
                self.load_multiple(multiple, Whose::Current, length, memory)
            }
            Access::Multiple { load: false, multiple } => {
                self.store_multiple(multiple, Whose::Current, length, memory)
            }
            Access::Exclusive => return Outcome::Unsupported,
        };
        result.unwrap_or_else(Outcome::from)
    }

    /// Loads registers. User mode's are loaded without pc, and without writeback.
    pub(crate) fn load_multiple(
        &mut self,
        multiple: &Multiple,
        whose: Whose,
        length: u32,
        memory: &mut dyn Memory,
    ) -> Result<Outcome, Abort> {
        let pc = self.load_listed(multiple, whose, memory)?;
        if multiple.list() >> 15 != 0 {
            return Ok(self.load_pc(pc, length));
        }
        self.advance(length);
        Ok(Outcome::Next)
    }

    /// Loads registers and writes the base back. Returns the last word, which is pc's if that is
    /// among them.
    #[inline(never)]
    pub(crate) fn load_listed(
        &mut self,
        multiple: &Multiple,
        whose: Whose,
        memory: &mut dyn Memory,
    ) -> Result<u32, Abort> {
        let planned = self.plan_multiple(multiple);
        let mut loaded = [0; 16];
        let words = listed(multiple, &mut loaded);
        self.load_list(words, planned.address, memory)?;
        if multiple.writeback() && whose == Whose::Current {
            self.set_register(multiple.rn(), planned.writeback);
        }
        // User mode's are System mode's.
        let mode = self.mode();
        if whose == Whose::User && mode.has_spsr() {
            self.set_mode(Mode::SYSTEM);
        }
        // An iterator over the list takes twice as long.
        let mut list = u32::from(multiple.list());
        for word in words.iter() {
            let [register, ..] = list.trailing_zeros().to_le_bytes();
            list &= list.wrapping_sub(1);
            self.set_register(register, *word);
        }
        self.set_mode(mode);
        Ok(words.last().copied().unwrap_or_default())
    }

    /// Stores registers. User mode's are stored without writeback.
    pub(crate) fn store_multiple(
        &mut self,
        multiple: &Multiple,
        whose: Whose,
        length: u32,
        memory: &mut dyn Memory,
    ) -> Result<Outcome, Abort> {
        let planned = self.plan_multiple(multiple);
        let mut values = [0; 16];
        let words = listed(multiple, &mut values);
        for (register, word) in registers(multiple.list()).zip(words.iter_mut()) {
            *word = match whose {
                Whose::Current => self.register(register),
                Whose::User => self.user_register(register),
            };
        }
        self.store_list(words, planned.address, memory)?;
        if multiple.writeback() && whose == Whose::Current {
            self.set_register(multiple.rn(), planned.writeback);
        }
        self.advance(length);
        Ok(Outcome::Next)
    }

    /// Loads words.
    pub(crate) fn load_list(
        &self,
        words: &mut [u32],
        address: u32,
        memory: &mut dyn Memory,
    ) -> Result<(), Abort> {
        self.check_alignment(address, Width::Word, true, false)?;
        let mut next = address;
        for word in words {
            *word = self.load_word(memory, next)?;
            next = next.wrapping_add(4);
        }
        Ok(())
    }

    /// Stores words.
    pub(crate) fn store_list(
        &self,
        values: &[u32],
        address: u32,
        memory: &mut dyn Memory,
    ) -> Result<(), Abort> {
        self.check_alignment(address, Width::Word, true, true)?;
        let mut next = address;
        for value in values {
            self.store_word(memory, next, *value)?;
            next = next.wrapping_add(4);
        }
        Ok(())
    }

    /// A load of pc branches and selects the instruction set by bit 0 (`LoadWritePC`).
    fn load_pc(&mut self, value: u32, length: u32) -> Outcome {
        self.advance(length);
        if value & 1 == 1 {
            self.psr |= psr::T;
            self.pc = value & !1;
        } else {
            // A load of pc ends an IT block; one that does not is UNPREDICTABLE.
            self.psr &= !(psr::T | psr::IT);
            self.pc = value & !3;
        }
        Outcome::Jumped
    }
}

/// As many of `words` as a transfer has registers.
fn listed<'a>(multiple: &Multiple, words: &'a mut [u32; 16]) -> &'a mut [u32] {
    let [count, ..] = multiple.list().count_ones().to_le_bytes();
    words.get_mut(..usize::from(count)).unwrap_or_default()
}

/// Numbers of the registers in a list, ascending.
#[inline]
pub(crate) fn registers(mut list: u16) -> impl Iterator<Item = u8> {
    core::iter::from_fn(move || {
        if list == 0 {
            return None;
        }
        let [register, ..] = list.trailing_zeros().to_le_bytes();
        list &= list - 1;
        Some(register)
    })
}

/// What `ldrb`, `ldrsh` and the like make of what they loaded.
const fn extend(value: u32, width: Width, signed: bool) -> u32 {
    let unused = match width {
        Width::Byte => 24,
        Width::Half => 16,
        Width::Word | Width::Double => 0,
    };
    let high = value << unused;
    if signed { (high.cast_signed() >> unused).cast_unsigned() } else { high >> unused }
}
