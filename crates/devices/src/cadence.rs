//! The machine's Cadence UART, of the Zynq-7000.
//!
//! The line's rate and format stay as firmware left them; only sender and receiver are
//! enabled. Sending never waits; receiving interrupts with every byte.
//!
//! Manual: UG585 (Zynq-7000 TRM), chapter 19 and appendix B.33.

use crate::mmio::Registers;
use entresol_hv::console::Serial;

/// Bytes of the frame.
pub const BYTES: u32 = 0x1000;

const CONTROL: u32 = 0x00;
const INTERRUPT_ENABLE: u32 = 0x08;
const INTERRUPT_DISABLE: u32 = 0x0c;
const INTERRUPT_STATUS: u32 = 0x14;
const RECEIVE_TIMEOUT: u32 = 0x1c;
const RECEIVE_TRIGGER: u32 = 0x20;
const CHANNEL_STATUS: u32 = 0x2c;
const FIFO: u32 = 0x30;

/// `CONTROL`: receiver and sender enabled, neither disabled.
const ENABLE: u32 = 1 << 2 | 1 << 4;
/// `CONTROL`: the bits that reset and disable receiver and sender.
const RESET_AND_DISABLE: u32 = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 5;
/// Interrupts: the receive FIFO has reached its trigger level; time-out.
const RECEIVE: u32 = 1 << 0 | 1 << 8;
/// Interrupts: the transmit FIFO is empty.
const TRANSMIT: u32 = 1 << 3;
/// All interrupts, UG585 B.33 (`Interrupt_Mask_reg0`).
const ALL: u32 = 0x1fff;
/// `CHANNEL_STATUS`: nothing received.
const RECEIVE_EMPTY: u32 = 1 << 1;
/// `CHANNEL_STATUS`: no room to send.
const TRANSMIT_FULL: u32 = 1 << 4;

/// The machine's Cadence UART.
#[derive(Debug)]
pub struct Cadence {
    registers: Registers<BYTES>,
}

impl Cadence {
    /// Takes the UART.
    ///
    /// # Safety
    ///
    /// The contract of [`Registers::new`] holds for [`BYTES`] at `base`.
    #[must_use]
    pub const unsafe fn new(base: *mut u32) -> Self {
        // SAFETY: the caller's promise.
        Self { registers: unsafe { Registers::new(base) } }
    }

    /// Enables sender and receiver, and an interrupt with every byte received.
    pub fn init(&mut self) {
        self.registers.write(INTERRUPT_DISABLE, ALL);
        self.registers.write(INTERRUPT_STATUS, ALL);
        let control = self.registers.read(CONTROL) & !RESET_AND_DISABLE;
        self.registers.write(CONTROL, control | ENABLE);
        self.registers.write(RECEIVE_TRIGGER, 1);
        self.registers.write(RECEIVE_TIMEOUT, 0);
        self.registers.write(INTERRUPT_ENABLE, RECEIVE);
    }

    /// Asks for an interrupt when there is room to send, or no longer.
    pub fn set_transmit_interrupt(&mut self, enabled: bool) {
        let register = if enabled { INTERRUPT_ENABLE } else { INTERRUPT_DISABLE };
        self.registers.write(register, TRANSMIT);
    }

    /// Withdraws the interrupt. Call before fetching what was received, so that a byte
    /// that arrives later interrupts again. Where the status follows the FIFO's level
    /// (QEMU), it is set again at once, and one more interrupt comes that finds nothing. That there is
    /// room to send stays: if nothing is sent now, it would not be said again.
    pub fn acknowledge(&mut self) {
        self.registers.write(INTERRUPT_STATUS, ALL & !TRANSMIT);
    }
}

impl Serial for Cadence {
    fn put(&mut self, byte: u8) -> bool {
        let room = self.registers.read(CHANNEL_STATUS) & TRANSMIT_FULL == 0;
        if room {
            self.registers.write(FIFO, u32::from(byte));
        }
        room
    }

    fn get(&mut self) -> Option<u8> {
        if self.registers.read(CHANNEL_STATUS) & RECEIVE_EMPTY != 0 {
            return None;
        }
        let [byte, ..] = self.registers.read(FIFO).to_le_bytes();
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake;

    #[test]
    fn initialisation_keeps_what_firmware_set_and_enables_both_ways() {
        let mut uart = Cadence { registers: fake::registers() };
        // Reset value: both disabled, stop break (UG585 B.33).
        uart.registers.write(CONTROL, 0x128);
        uart.init();
        assert_eq!(uart.registers.read(CONTROL), 0x114);
        assert_eq!(uart.registers.read(INTERRUPT_ENABLE), RECEIVE);
    }

    #[test]
    fn a_full_fifo_takes_nothing_and_an_empty_one_gives_nothing() {
        let mut uart = Cadence { registers: fake::registers() };
        uart.registers.write(CHANNEL_STATUS, TRANSMIT_FULL | RECEIVE_EMPTY);
        assert!(!uart.put(b'x'));
        assert_eq!(uart.get(), None);
        uart.registers.write(CHANNEL_STATUS, 0);
        assert!(uart.put(b'x'));
        assert_eq!(uart.get(), Some(b'x'));
    }
}
