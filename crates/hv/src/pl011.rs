//! Virtual PL011 UART: the console a guest sees.
//!
//! Not responsible for where bytes go: the caller takes what was sent after each write
//! ([`Pl011::take_tx`]) and brings what was received ([`Pl011::push_rx`]).
//!
//! The line is infinitely fast and has no modem. As on QEMU's `virt`, for which guests
//! are built: sending and receiving work whether or not the UART is enabled (early
//! consoles rely on it), and the receive interrupt is raised by every byte, whatever
//! `UARTIFLS` asks for, so it needs no time-out. The transmit interrupt is raised when
//! the FIFO drains to its trigger level, that is, after every write. There is no DMA,
//! no loop-back and no SIR.
//!
//! Manual: ARM DDI 0183G, chapter 3.

use crate::bus::{Device, Lanes, Width, index, low_byte};

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
        }
    }

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
        accepted
    }

    /// The next byte the guest has sent. Called until `None` after every write.
    pub fn take_tx(&mut self) -> Option<u8> {
        let byte = self.transmit.pop();
        if byte.is_some() && self.transmit.len <= self.transmit_trigger() {
            self.raw |= interrupts::TRANSMIT;
        }
        byte
    }

    /// Level of the combined interrupt.
    #[must_use]
    pub const fn irq(&self) -> bool {
        self.raw & self.mask != 0
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

    const fn flags(&self) -> u32 {
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
        receive | transmit
    }

    fn receive(&mut self) -> u32 {
        if let Some(byte) = self.receive.pop() {
            self.last = byte;
        }
        if self.receive.len == 0 {
            self.raw &= !interrupts::RECEIVE;
        }
        u32::from(self.last)
    }

    fn send(&mut self, byte: u8) {
        self.transmit.push(byte, self.depth());
        if self.transmit.len > self.transmit_trigger() {
            self.raw &= !interrupts::TRANSMIT;
        }
    }

    fn set_line_control(&mut self, value: u32) {
        if (self.line_control ^ value) & FIFO_ENABLE != 0 {
            self.receive = Fifo::EMPTY;
            self.raw &= !interrupts::RECEIVE;
        }
        self.line_control = value & 0xff;
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
            FR => self.flags(),
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
            PERIPHERAL_ID..0x1000 => IDENTIFICATION
                .get(index((lanes.register - PERIPHERAL_ID) >> 2))
                .copied()
                .map_or(0, u32::from),
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
