//! A block of 32-bit device registers: the one place that accesses the machine's devices.
//!
//! # Invariants
//!
//! Every offset is checked against the block's length, so that a driver cannot leave the
//! block its constructor was given. With constant offsets the check disappears.

use core::ptr::NonNull;

/// `BYTES` bytes of device registers, owned by one driver.
#[derive(Debug)]
pub struct Registers<const BYTES: u32> {
    base: NonNull<u32>,
}

// SAFETY: registers belong to the machine, not to a thread; the block's constructor was
// promised that this value is the only one to access them.
unsafe impl<const BYTES: u32> Send for Registers<BYTES> {}

impl<const BYTES: u32> Registers<BYTES> {
    /// Takes a block.
    ///
    /// # Safety
    ///
    /// For as long as the value lives, `base` is the address, not null and a multiple of
    /// 4, of `BYTES` bytes that may be read and written by 32-bit volatile accesses
    /// (on the target: mapped as Device memory), and nothing else accesses them.
    #[must_use]
    pub const unsafe fn new(base: *mut u32) -> Self {
        // SAFETY: the caller promises that `base` is not null.
        Self { base: unsafe { NonNull::new_unchecked(base) } }
    }

    /// Reads the register at `offset`; zero past the end of the block.
    #[must_use]
    pub fn read(&self, offset: u32) -> u32 {
        let Some(register) = self.register(offset) else { return 0 };
        // SAFETY: the block is readable by the constructor's contract.
        unsafe { register.read_volatile() }
    }

    /// Writes the register at `offset`; does nothing past the end of the block.
    pub fn write(&mut self, offset: u32, value: u32) {
        let Some(register) = self.register(offset) else { return };
        // SAFETY: the block is writable by the constructor's contract.
        unsafe { register.write_volatile(value) }
    }

    /// The register that contains byte `offset`.
    fn register(&self, offset: u32) -> Option<NonNull<u32>> {
        let index = usize::try_from(offset / 4).ok()?;
        // SAFETY: `offset` is below `BYTES`, so the register lies in the block.
        (offset < BYTES).then(|| unsafe { self.base.add(index) })
    }
}

/// Plain memory that plays a device in tests.
#[cfg(test)]
pub(crate) mod fake {
    use super::Registers;

    /// Registers that hold what is written, of a test's own.
    pub(crate) fn registers<const BYTES: u32>() -> Registers<BYTES> {
        let words = vec![0_u32; usize::try_from(BYTES / 4).unwrap()];
        // SAFETY: the memory is leaked, so it stays, and nobody else knows of it.
        unsafe { Registers::new(words.leak().as_mut_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_cannot_be_left() {
        let mut block: Registers<8> = fake::registers();
        block.write(4, 7);
        block.write(8, 9);
        assert_eq!((block.read(4), block.read(8), block.read(u32::MAX)), (7, 0, 0));
    }
}
