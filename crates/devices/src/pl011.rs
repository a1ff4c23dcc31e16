//! The machine's PL011 UART.
//!
//! The line's rate and format stay as firmware left them, because the UART's clock is
//! not the hypervisor's to know. Sending never waits; receiving interrupts.
//!
//! Manual: ARM DDI 0183G, 3.3.

use crate::mmio::Registers;
use entresol_hv::console::Serial;

/// Bytes of the frame.
pub const BYTES: u32 = 0x1000;

const DR: u32 = 0x000;
const FR: u32 = 0x018;
const LCRH: u32 = 0x02c;
const CR: u32 = 0x030;
const IMSC: u32 = 0x038;
const ICR: u32 = 0x044;

/// `UARTFR`: nothing received.
const RECEIVE_EMPTY: u32 = 1 << 4;
/// `UARTFR`: no room to send.
const TRANSMIT_FULL: u32 = 1 << 5;
/// `UARTLCR_H`: FIFOs enabled, 8 bits a word.
const FIFOS_8_BITS: u32 = 1 << 4 | 3 << 5;
/// `UARTCR`: UART, sender and receiver enabled.
const ENABLE: u32 = 1 << 0 | 1 << 8 | 1 << 9;
/// `UARTIMSC`: bytes received; bytes waiting below the FIFO's trigger level.
const RECEIVE: u32 = 1 << 4 | 1 << 6;
/// `UARTIMSC`: room to send.
const TRANSMIT: u32 = 1 << 5;

/// The machine's PL011.
#[derive(Debug)]
pub struct Pl011 {
    registers: Registers<BYTES>,
}

impl Pl011 {
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

    /// Enables the UART with its FIFOs, and the receive interrupt.
    pub fn init(&mut self) {
        self.registers.write(IMSC, 0);
        self.registers.write(ICR, 0x7ff);
        self.registers.write(LCRH, FIFOS_8_BITS);
        self.registers.write(CR, ENABLE);
        self.registers.write(IMSC, RECEIVE);
    }

    /// Asks for an interrupt when there is room to send, or no longer.
    pub fn set_transmit_interrupt(&mut self, enabled: bool) {
        self.registers.write(IMSC, if enabled { RECEIVE | TRANSMIT } else { RECEIVE });
    }

    /// Withdraws the interrupt. Call before fetching what was received, so that a byte
    /// that arrives later interrupts again. That there is room to send stays: if nothing is sent now, it
    /// would not be said again (ARM DDI 0183G, 2.8.3).
    pub fn acknowledge(&mut self) {
        self.registers.write(ICR, 0x7ff & !TRANSMIT);
    }
}

impl Serial for Pl011 {
    fn put(&mut self, byte: u8) -> bool {
        let room = self.registers.read(FR) & TRANSMIT_FULL == 0;
        if room {
            self.registers.write(DR, u32::from(byte));
        }
        room
    }

    fn get(&mut self) -> Option<u8> {
        if self.registers.read(FR) & RECEIVE_EMPTY != 0 {
            return None;
        }
        let [byte, ..] = self.registers.read(DR).to_le_bytes();
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmio::fake;

    #[test]
    fn a_full_fifo_takes_nothing() {
        let mut uart = Pl011 { registers: fake::registers() };
        uart.registers.write(FR, TRANSMIT_FULL);
        assert!(!uart.put(b'x'));
        assert_eq!(uart.registers.read(DR), 0);
        uart.registers.write(FR, 0);
        assert!(uart.put(b'x'));
        assert_eq!(uart.registers.read(DR), u32::from(b'x'));
    }

    #[test]
    fn errors_received_with_a_byte_are_not_part_of_it() {
        let mut uart = Pl011 { registers: fake::registers() };
        uart.registers.write(DR, 0xf41);
        assert_eq!(uart.get(), Some(b'A'));
        uart.registers.write(FR, RECEIVE_EMPTY);
        assert_eq!(uart.get(), None);
    }

    #[test]
    fn that_there_is_room_to_send_is_not_forgotten() {
        let mut uart = Pl011 { registers: fake::registers() };
        uart.acknowledge();
        assert_eq!(uart.registers.read(ICR), 0x7df);
    }

    #[test]
    fn the_transmit_interrupt_comes_and_goes_without_the_receive_interrupt() {
        let mut uart = Pl011 { registers: fake::registers() };
        uart.init();
        assert_eq!(uart.registers.read(IMSC), 0x50);
        uart.set_transmit_interrupt(true);
        assert_eq!(uart.registers.read(IMSC), 0x70);
        uart.set_transmit_interrupt(false);
        assert_eq!(uart.registers.read(IMSC), 0x50);
    }
}
