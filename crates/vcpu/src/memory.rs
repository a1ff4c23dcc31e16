//! Memory as an emulated instruction reaches it.
//!
//! Translation, permission and devices are behind [`Memory`]; here are only byte
//! order and alignment, which depend on the guest's state.
//!
//! Manual: ARM DDI 0406C, A3.2 (alignment), A3.3 (endianness), B2.4.4 (`MemA`, `MemU`).

use entresol_isa::op::Width;

use crate::exception::Exception;
use crate::fault::{Cause, fsr};
use crate::outcome::Outcome;
use crate::state::Vcpu;

/// A guest's memory, by virtual address.
pub trait Memory {
    /// Loads a byte, halfword or word in little-endian order, at any address. `privileged`
    /// says with whose permissions: the guest's kernel or its application.
    ///
    /// # Errors
    ///
    /// See [`Abort`].
    fn load(&mut self, address: u32, width: Width, privileged: bool) -> Result<u32, Abort>;

    /// Stores, in the same terms. Only the bytes of `width` matter.
    ///
    /// # Errors
    ///
    /// See [`Abort`].
    fn store(
        &mut self,
        address: u32,
        width: Width,
        value: u32,
        privileged: bool,
    ) -> Result<(), Abort>;
}

/// Why an access did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// The guest takes a data abort.
    Fault {
        /// Fault status, see [`fsr`].
        fsr: u32,
        /// Fault address.
        far: u32,
    },
    /// The mapping changed under the instruction: execute it again from the start.
    Retry,
}

impl From<Abort> for Outcome {
    #[inline]
    fn from(abort: Abort) -> Self {
        match abort {
            Abort::Fault { fsr, far } => {
                Self::Inject(Exception::DataAbort { dfsr: fsr, dfar: far })
            }
            Abort::Retry => Self::Retry,
        }
    }
}

const SCTLR_A: u32 = 1 << 1;

impl Vcpu {
    /// Faults if `address` is not a multiple of what `width` asks for: always when
    /// `aligned`, else if the guest checks alignment.
    pub(crate) const fn check_alignment(
        &self,
        address: u32,
        width: Width,
        aligned: bool,
        write: bool,
    ) -> Result<(), Abort> {
        let mask = match width {
            Width::Byte => 0,
            Width::Half => 1,
            Width::Word | Width::Double => 3,
        };
        if address & mask == 0 || !(aligned || self.cp15.sctlr & SCTLR_A != 0) {
            return Ok(());
        }
        Err(Abort::Fault { fsr: fsr(Cause::Alignment, 0, write), far: address })
    }

    /// A value in the guest's byte order, from or to memory's.
    pub(crate) const fn in_order(&self, width: Width, value: u32) -> u32 {
        match width {
            Width::Byte => value,
            _ if !self.big_endian() => value,
            Width::Half => value.swap_bytes() >> 16,
            Width::Word | Width::Double => value.swap_bytes(),
        }
    }

    /// Loads an aligned word with the permissions of the current mode.
    pub(crate) fn load_word(&self, memory: &mut dyn Memory, address: u32) -> Result<u32, Abort> {
        let value = memory.load(address, Width::Word, self.privileged())?;
        Ok(self.in_order(Width::Word, value))
    }

    /// Stores an aligned word with the permissions of the current mode.
    pub(crate) fn store_word(
        &self,
        memory: &mut dyn Memory,
        address: u32,
        value: u32,
    ) -> Result<(), Abort> {
        memory.store(address, Width::Word, self.in_order(Width::Word, value), self.privileged())
    }
}
