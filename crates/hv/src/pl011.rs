//! Virtual PL011 UART: the console a guest sees.
//!
//! Not responsible for where bytes go: the caller takes what was sent after each write
//! ([`Pl011::take_tx`]) and brings what was received ([`Pl011::push_rx`]). Bytes it does
//! not take fill the FIFO, and the guest waits as it would for a real line.
//!
//! The line is as fast as the caller takes bytes, and has no modem. As on QEMU's `virt`,
//! for which guests are built: sending and receiving work whether or not the UART is
//! enabled (early consoles rely on it), and the receive interrupt is raised by every
//! byte, whatever `UARTIFLS` asks for, so it needs no time-out. The transmit interrupt
//! is raised when the FIFO drains to its trigger level: after every write, if it is
//! emptied each time. There is no DMA, no loop-back and no SIR.
//!
//! Manual: ARM DDI 0183G, chapter 3.

use crate::bus::{Device, Lanes, Width, identification, index, low_byte};

const DR: u32 = 0x000;
const FR: u32 = 0x018;
const ILPR: u32 = 0x020;
const IBRD: u32 = 0x024;
const FBRD: u32 = 0x028;
const LCRH: u32 = 0x02c;
const CR: u32 = 0x030;
const IFLS: u32 = 0x034;
const IMSC: u32 = 0x038;
const RIS: u32 = 0x03c;
const MIS: u32 = 0x040;
const ICR: u32 = 0x044;
const DMACR: u32 = 0x048;
const PERIPHERAL_ID: u32 = 0xfe0;

/// `UARTFR` bits.
mod flags {
    pub(super) const RECEIVE_EMPTY: u32 = 1 << 4;
    pub(super) const TRANSMIT_FULL: u32 = 1 << 5;
    pub(super) const RECEIVE_FULL: u32 = 1 << 6;
    pub(super) const TRANSMIT_EMPTY: u32 = 1 << 7;
    pub(super) const BUSY: u32 = 1 << 3;
}

/// `UARTRIS` bits.
mod interrupts {
    pub(super) const RECEIVE: u32 = 1 << 4;
    pub(super) const TRANSMIT: u32 = 1 << 5;
    pub(super) const ALL: u32 = 0x7ff;
}

/// `UARTLCR_H.FEN`: both FIFOs are enabled.
const FIFO_ENABLE: u32 = 1 << 4;
/// `UARTPeriphID0` to `UARTPCellID3`: part 0x011, ARM, revision 3 (32-byte FIFOs).
const IDENTIFICATION: [u8; 8] = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];
/// Bytes in a FIFO of this revision, 3.3.10.
const DEPTH: u32 = 32;

/// Bytes in order, at most [`DEPTH`] of them.
#[derive(Clone, Debug)]
struct Fifo {
    bytes: [u8; 32],
    first: u32,
    len: u32,
}

impl Fifo {
    const EMPTY: Self = Self { bytes: [0; 32], first: 0, len: 0 };

    /// Appends a byte unless there are `depth` already.
    fn push(&mut self, byte: u8, depth: u32) -> bool {
        if self.len >= depth {
            return false;
        }
        if let Some(slot) = self.bytes.get_mut(index((self.first + self.len) % DEPTH)) {
            *slot = byte;
        }
        self.len += 1;
        true
    }

    fn pop(&mut self) -> Option<u8> {
        if self.len == 0 {
            return None;
        }
        let byte = self.bytes.get(index(self.first)).copied();
        self.first = (self.first + 1) % DEPTH;
        self.len -= 1;
        byte
    }
}

/// A virtual PL011.
#[derive(Clone, Debug)]
pub struct Pl011 {
    receive: Fifo,
    transmit: Fifo,
    /// The byte last read, which an empty FIFO shows again.
    last: u8,
    low_power: u32,
    integer_baud: u32,
    fraction_baud: u32,
    line_control: u32,
    control: u32,
    levels: u32,
    mask: u32,
    raw: u32,
    dma: u32,
    /// `UARTFR`, which follows from the FIFOs.
    flags: u32,
}

impl Pl011 {
    /// The state after reset.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            receive: Fifo::EMPTY,
            transmit: Fifo::EMPTY,
            last: 0,
            low_power: 0,
            integer_baud: 0,
            fraction_baud: 0,
            line_control: 0,
            control: 0x300,
            levels: 0x12,
            mask: 0,
            raw: 0,
            dma: 0,
            flags: flags::RECEIVE_EMPTY | flags::TRANSMIT_EMPTY,
        }
    }

    /// Where `UARTFR` is kept, which the entry code reads by itself.
    pub const FLAGS: usize = core::mem::offset_of!(Self, flags);

    /// Resets everything; bytes in the FIFOs are lost.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// A byte arrives. False when the FIFO is full: offer it again later.
    pub fn push_rx(&mut self, byte: u8) -> bool {
        let accepted = self.receive.push(byte, self.depth());
        if accepted {
            self.raw |= interrupts::RECEIVE;
        }
        self.settle();
        accepted
    }

    /// The next byte the guest has sent. Called after every write until `None`, or until
    /// there is no room for more.
    pub fn take_tx(&mut self) -> Option<u8> {
        let byte = self.transmit.pop();
        if byte.is_some() && self.transmit.len <= self.transmit_trigger() {
            self.raw |= interrupts::TRANSMIT;
        }
        self.settle();
        byte
    }

    /// Level of the combined interrupt.
    #[must_use]
    pub const fn irq(&self) -> bool {
        self.raw & self.mask != 0
    }

    /// Whether a byte that arrives would interrupt.
    #[must_use]
    pub const fn listens(&self) -> bool {
        self.mask & interrupts::RECEIVE != 0
    }

    /// Bytes a FIFO holds: one with the FIFOs disabled.
    const fn depth(&self) -> u32 {
        if self.line_control & FIFO_ENABLE != 0 { DEPTH } else { 1 }
    }

    /// `UARTIFLS.TXIFLSEL`, 3.3.9; without FIFOs, empty.
    const fn transmit_trigger(&self) -> u32 {
        if self.line_control & FIFO_ENABLE == 0 {
            return 0;
        }
        match self.levels & 7 {
            0 => DEPTH / 8,
            1 => DEPTH / 4,
            2 => DEPTH / 2,
            3 => DEPTH * 3 / 4,
            _ => DEPTH * 7 / 8,
        }
    }

    /// Works out `UARTFR`.
    #[inline(never)]
    const fn settle(&mut self) {
        let receive = match self.receive.len {
            0 => flags::RECEIVE_EMPTY,
            len if len >= self.depth() => flags::RECEIVE_FULL,
            _ => 0,
        };
        let transmit = match self.transmit.len {
            0 => flags::TRANSMIT_EMPTY,
            len if len >= self.depth() => flags::TRANSMIT_FULL | flags::BUSY,
            _ => flags::BUSY,
        };
        self.flags = receive | transmit;
    }

    fn receive(&mut self) -> u32 {
        if let Some(byte) = self.receive.pop() {
            self.last = byte;
        }
        if self.receive.len == 0 {
            self.raw &= !interrupts::RECEIVE;
        }
        self.settle();
        u32::from(self.last)
    }

    fn send(&mut self, byte: u8) {
        self.transmit.push(byte, self.depth());
        if self.transmit.len > self.transmit_trigger() {
            self.raw &= !interrupts::TRANSMIT;
        }
        self.settle();
    }

    fn set_line_control(&mut self, value: u32) {
        if (self.line_control ^ value) & FIFO_ENABLE != 0 {
            self.receive = Fifo::EMPTY;
            self.raw &= !interrupts::RECEIVE;
        }
        self.line_control = value & 0xff;
        self.settle();
    }
}

impl Default for Pl011 {
    fn default() -> Self {
        Self::new()
    }
}

impl Device for Pl011 {
    fn read(&mut self, offset: u32, width: Width, _now: u64) -> u32 {
        let lanes = Lanes::new(offset, width);
        let word = match lanes.register {
            DR => self.receive(),
            FR => self.flags,
            ILPR => self.low_power,
            IBRD => self.integer_baud,
            FBRD => self.fraction_baud,
            LCRH => self.line_control,
            CR => self.control,
            IFLS => self.levels,
            IMSC => self.mask,
            RIS => self.raw,
            MIS => self.raw & self.mask,
            DMACR => self.dma,
            PERIPHERAL_ID..0x1000 => identification(&IDENTIFICATION, PERIPHERAL_ID, lanes.register),
            _ => 0,
        };
        lanes.extract(word)
    }

    fn write(&mut self, offset: u32, width: Width, value: u32, _now: u64) {
        let lanes = Lanes::new(offset, width);
        let value = lanes.place(value);
        match lanes.register {
            DR => self.send(low_byte(value)),
            ILPR => self.low_power = value & 0xff,
            IBRD => self.integer_baud = value & 0xffff,
            FBRD => self.fraction_baud = value & 0x3f,
            LCRH => self.set_line_control(value),
            CR => self.control = value & 0xff87,
            IFLS => self.levels = value & 0x3f,
            IMSC => self.mask = value & interrupts::ALL,
            ICR => self.raw &= !value,
            DMACR => self.dma = value & 7,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uart: &mut Pl011, offset: u32) -> u32 {
        uart.read(offset, Width::Word, 0)
    }

    fn write(uart: &mut Pl011, offset: u32, value: u32) {
        uart.write(offset, Width::Word, value, 0);
    }

    fn with_fifos() -> Pl011 {
        let mut uart = Pl011::new();
        write(&mut uart, LCRH, 0x70);
        uart
    }

    #[test]
    fn an_early_console_needs_no_initialisation() {
        let mut uart = Pl011::new();
        for byte in *b"hi" {
            // earlycon waits for room, writes, and waits for the end of the byte.
            assert_eq!(read(&mut uart, FR) & flags::TRANSMIT_FULL, 0);
            uart.write(DR, Width::Byte, u32::from(byte), 0);
            assert_eq!(uart.take_tx(), Some(byte));
            assert_eq!(read(&mut uart, FR) & flags::BUSY, 0);
        }
        assert_eq!(uart.take_tx(), None);
    }

    #[test]
    fn linux_recognises_an_arm_pl011_with_deep_fifos() {
        let mut uart = Pl011::new();
        let mut word =
            |from: u32| (0..4).fold(0, |id, n| id | read(&mut uart, from + 4 * n) << (8 * n));
        assert_eq!(word(0xfe0) & 0x000f_ffff, 0x0004_1011);
        assert_eq!(word(0xff0), 0xb105_f00d);
    }

    #[test]
    fn the_transmit_interrupt_follows_every_write_and_is_cleared_by_hand() {
        let mut uart = with_fifos();
        write(&mut uart, IMSC, interrupts::TRANSMIT);
        assert!(!uart.irq(), "nothing was sent yet");
        write(&mut uart, DR, 1);
        uart.take_tx();
        assert!(uart.irq());
        write(&mut uart, ICR, interrupts::TRANSMIT);
        assert!(!uart.irq());
        write(&mut uart, DR, 1);
        uart.take_tx();
        write(&mut uart, IMSC, 0);
        assert!(!uart.irq());
        assert_eq!((read(&mut uart, RIS), read(&mut uart, MIS)), (0x20, 0));
    }

    #[test]
    fn bytes_nobody_takes_fill_the_fifo() {
        let mut uart = with_fifos();
        for byte in 0..40 {
            write(&mut uart, DR, byte);
        }
        assert_ne!(read(&mut uart, FR) & flags::TRANSMIT_FULL, 0);
        let taken: Vec<u8> = std::iter::from_fn(|| uart.take_tx()).collect();
        assert_eq!(taken, (0..32).collect::<Vec<u8>>());
    }

    #[test]
    fn the_receive_interrupt_is_there_until_the_fifo_is_empty() {
        let mut uart = with_fifos();
        write(&mut uart, IMSC, interrupts::RECEIVE);
        assert!(uart.push_rx(b'a') && uart.push_rx(b'b'));
        assert!(uart.irq());
        assert_eq!(read(&mut uart, DR), u32::from(b'a'));
        assert!(uart.irq());
        assert_eq!(read(&mut uart, DR), u32::from(b'b'));
        assert!(!uart.irq());
        assert_ne!(read(&mut uart, FR) & flags::RECEIVE_EMPTY, 0);
    }

    #[test]
    fn a_byte_that_arrives_after_the_interrupt_was_cleared_raises_it_again() {
        let mut uart = with_fifos();
        write(&mut uart, IMSC, interrupts::RECEIVE);
        uart.push_rx(b'a');
        write(&mut uart, ICR, interrupts::RECEIVE);
        assert!(!uart.irq());
        uart.push_rx(b'b');
        assert!(uart.irq());
    }

    #[test]
    fn a_full_receiver_refuses_and_loses_nothing() {
        let mut uart = Pl011::new();
        assert!(uart.push_rx(b'a'));
        assert!(!uart.push_rx(b'b'), "one byte deep without FIFOs");
        let mut uart = with_fifos();
        assert_eq!((0..100).filter(|byte| uart.push_rx(*byte)).count(), 32);
        assert_ne!(read(&mut uart, FR) & flags::RECEIVE_FULL, 0);
        let read: Vec<u32> = (0..32).map(|_| read(&mut uart, DR)).collect();
        assert_eq!(read, (0..32).collect::<Vec<u32>>());
    }

    proptest::proptest! {
        #[test]
        fn flags_tell_what_is_in_the_fifos(
            steps in proptest::collection::vec((0_u32..6, proptest::prelude::any::<u8>()), 0..200)
        ) {
            let mut uart = Pl011::new();
            for (what, byte) in steps {
                match what {
                    0 | 1 => write(&mut uart, DR, u32::from(byte)),
                    2 => { uart.take_tx(); }
                    3 => { uart.push_rx(byte); }
                    4 => { read(&mut uart, DR); }
                    _ if byte < 64 => write(&mut uart, LCRH, u32::from(byte)),
                    _ => {}
                }
                let shown = read(&mut uart, FR);
                let Pl011 { receive, transmit, .. } = &uart;
                let is = |flag: u32| shown & flag != 0;
                proptest::prop_assert_eq!(is(flags::RECEIVE_EMPTY), receive.len == 0);
                proptest::prop_assert_eq!(is(flags::RECEIVE_FULL), receive.len >= uart.depth());
                proptest::prop_assert_eq!(is(flags::TRANSMIT_EMPTY), transmit.len == 0);
                proptest::prop_assert_eq!(is(flags::TRANSMIT_FULL), transmit.len >= uart.depth());
                proptest::prop_assert_eq!(is(flags::BUSY), transmit.len != 0);
            }
        }
    }

    #[test]
    fn registers_hold_what_is_written() {
        let mut uart = Pl011::new();
        for (offset, value) in [(IBRD, 0x1234), (FBRD, 0x3f), (CR, 0x301), (IFLS, 0x24)] {
            write(&mut uart, offset, value);
            assert_eq!(read(&mut uart, offset), value);
        }
        assert_eq!(read(&mut uart, 0x04), 0, "no receive errors, ever");
    }
}
