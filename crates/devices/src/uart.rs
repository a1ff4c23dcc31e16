//! The UART that carries all consoles, whichever the machine has.

use crate::cadence::{self, Cadence};
use crate::pl011::{self, Pl011};
use entresol_hv::console::Serial;

/// Bytes of registers that either UART uses.
pub const BYTES: u32 = 0x1000;
/// Values of [`entresol_abi::image::Machine::uart`], fixed by
/// [`entresol_abi::image::Uart`].
mod kind {
    pub(super) const PL011: u32 = 0;
    pub(super) const CADENCE: u32 = 1;
}

const _: () = assert!(pl011::BYTES <= BYTES && cadence::BYTES <= BYTES);

/// The machine's UART.
#[derive(Debug)]
pub enum Uart {
    /// ARM PrimeCell PL011.
    Pl011(Pl011),
    /// Cadence, of the Zynq-7000.
    Cadence(Cadence),
}

impl Uart {
    /// Takes the UART that the image describes: `kind` is [`entresol_abi::image::Machine::uart`].
    /// `None` for a number that names no UART.
    ///
    /// # Safety
    ///
    /// The contract of [`crate::mmio::Registers::new`] holds for [`BYTES`] at `base`,
    /// and these are the registers of the UART that `kind` names.
    #[must_use]
    pub unsafe fn new(kind: u32, base: *mut u32) -> Option<Self> {
        match kind {
            kind::PL011 => {
                // SAFETY: the caller's promise.
                Some(Self::Pl011(unsafe { Pl011::new(base) }))
            }
            kind::CADENCE => {
                // SAFETY: the caller's promise.
                Some(Self::Cadence(unsafe { Cadence::new(base) }))
            }
            _ => None,
        }
    }

    /// Enables the UART and its receive interrupt.
    pub fn init(&mut self) {
        match self {
            Self::Pl011(uart) => uart.init(),
            Self::Cadence(uart) => uart.init(),
        }
    }

    /// Asks for an interrupt when there is room to send, or no longer.
    pub fn set_transmit_interrupt(&mut self, enabled: bool) {
        match self {
            Self::Pl011(uart) => uart.set_transmit_interrupt(enabled),
            Self::Cadence(uart) => uart.set_transmit_interrupt(enabled),
        }
    }

    /// Withdraws the interrupt. Call before fetching what was received, until nothing is
    /// left: a byte that arrives later interrupts again.
    pub fn acknowledge(&mut self) {
        match self {
            Self::Pl011(uart) => uart.acknowledge(),
            Self::Cadence(uart) => uart.acknowledge(),
        }
    }
}

impl Serial for Uart {
    fn put(&mut self, byte: u8) -> bool {
        match self {
            Self::Pl011(uart) => uart.put(byte),
            Self::Cadence(uart) => uart.put(byte),
        }
    }

    fn get(&mut self) -> Option<u8> {
        match self {
            Self::Pl011(uart) => uart.get(),
            Self::Cadence(uart) => uart.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use entresol_abi::image;

    #[test]
    #[expect(clippy::as_conversions, reason = "the numbers of the contract")]
    fn the_image_names_a_uart_by_the_contracts_number() {
        assert_eq!(kind::PL011, image::Uart::Pl011 as u32);
        assert_eq!(kind::CADENCE, image::Uart::Cadence as u32);
        let words = vec![0_u32; 1024].leak().as_mut_ptr();
        // SAFETY: the memory is leaked, so it stays, and nobody else knows of it.
        assert!(unsafe { Uart::new(2, words) }.is_none());
        // SAFETY: as above; no UART was made of it.
        assert!(matches!(unsafe { Uart::new(1, words) }, Some(Uart::Cadence(_))));
    }
}
