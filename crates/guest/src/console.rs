//! The console: a PL011, written by polling.
//!
//! Reading and interrupts are left to guests that need them.
//!
//! # Manuals
//!
//! ARM DDI 0183G (PL011), chapter 3.

use crate::board;
use core::fmt::{Arguments, Write};
use core::ptr::with_exposed_provenance_mut;

/// Data register.
const UARTDR: usize = 0x000;
/// Flag register.
const UARTFR: usize = 0x018;
/// Transmit FIFO full.
const UARTFR_TXFF: u32 = 1 << 5;
/// Line control register.
const UARTLCR_H: usize = 0x02c;
/// 8 bits, FIFOs enabled.
const UARTLCR_H_8N1: u32 = 0b111 << 4;
/// Control register.
const UARTCR: usize = 0x030;
/// UART, transmitter and receiver enabled.
const UARTCR_ON: u32 = (1 << 9) | (1 << 8) | 1;

/// The console. Writing may be interleaved with that of an exception handler.
pub struct Console;

/// Turns the UART on.
pub fn init() {
    write(UARTLCR_H, UARTLCR_H_8N1);
    write(UARTCR, UARTCR_ON);
}

/// Prints. Called by [`print!`](crate::print).
pub fn print(text: Arguments<'_>) {
    // Writing to the console cannot fail.
    let _ = Console.write_fmt(text);
}

/// Sends one byte.
pub fn put(byte: u8) {
    while read(UARTFR) & UARTFR_TXFF != 0 {}
    write(UARTDR, u32::from(byte));
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            put(byte);
        }
        Ok(())
    }
}

fn read(register: usize) -> u32 {
    let address = with_exposed_provenance_mut::<u32>(board::UART + register);
    // SAFETY: the board has a PL011 there, and its registers are not memory of Rust's.
    unsafe { address.read_volatile() }
}

fn write(register: usize, value: u32) {
    let address = with_exposed_provenance_mut::<u32>(board::UART + register);
    // SAFETY: the board has a PL011 there, and its registers are not memory of Rust's.
    unsafe { address.write_volatile(value) }
}
