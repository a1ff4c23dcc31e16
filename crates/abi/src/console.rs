//! How the consoles of all VMs share one serial line.
//!
//! The line carries bytes of one *channel* at a time. [`MARK`] followed by
//! `b'0' + channel` selects the channel of all bytes that follow; [`MARK`] [`MARK`]
//! is one literal [`MARK`]; [`MARK`] followed by anything else is dropped with that
//! byte. Both directions use the same framing. Channel 0 is the hypervisor, channel
//! `n` the VM with index `n - 1`. Each direction starts on channel 0.
//!
//! On channel 0 a byte from 0x80 on is an [`Order`], which the hypervisor sends back when it has
//! carried it out or refused it; it says nothing else but ASCII there.

/// Introduces a channel change: ASCII record separator.
pub const MARK: u8 = 0x1e;

/// A selected console: 0 is the hypervisor, `n` the VM with index `n - 1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channel(pub u8);

/// An order that a VM is given by the console, one byte: bit 7 is set, bit 6 in an answer that
/// refuses, bits 5 to 3 are one of [`control`](crate::control), bits 2 to 0 the VM's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Index of the VM, 0 to 7.
    pub vm: u8,
    /// [`START`](crate::control::START) to [`RESUME`](crate::control::RESUME).
    pub order: u8,
}

impl Order {
    /// Set in the answer if the VM is not the console's to order.
    pub const REFUSED: u8 = 0x40;

    /// The byte that gives the order, and answers that it was carried out.
    #[must_use]
    pub const fn byte(self) -> u8 {
        0x80 | self.order << 3 | self.vm
    }

    /// The order that a byte is, or answers if it is [`Order::REFUSED`] or not.
    #[must_use]
    pub const fn of(byte: u8) -> Option<Self> {
        let (vm, order) = (byte & 7, byte >> 3 & 7);
        let known = 1 <= order && order <= 5;
        if byte & 0x80 != 0 && known { Some(Self { vm, order }) } else { None }
    }
}

/// Frames bytes of channels into one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Multiplexer {
    current: Channel,
}

/// Up to four bytes of the stream. Aligned, so that it is copied as two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(4))]
pub struct Framed {
    bytes: [u8; 4],
    len: u8,
}

impl Framed {
    /// The bytes to send.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(usize::from(self.len)) {
            *slot = byte;
            self.len += 1;
        }
    }
}

impl Multiplexer {
    /// A stream that starts on channel 0.
    #[must_use]
    pub const fn new() -> Self {
        Self { current: Channel(0) }
    }

    /// Frames one byte of `channel`.
    pub fn frame(&mut self, channel: Channel, byte: u8) -> Framed {
        let mut framed = Framed { bytes: [0; 4], len: 0 };
        if channel != self.current {
            self.current = channel;
            framed.push(MARK);
            framed.push(b'0' + channel.0);
        }
        if byte == MARK {
            framed.push(MARK);
        }
        framed.push(byte);
        framed
    }
}

/// Takes a stream apart again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demultiplexer {
    current: Channel,
    marked: bool,
}

impl Demultiplexer {
    /// A stream that starts on channel 0.
    #[must_use]
    pub const fn new() -> Self {
        Self { current: Channel(0), marked: false }
    }

    /// Takes one byte of the stream; returns the byte of a channel it completes.
    pub fn push(&mut self, byte: u8) -> Option<(Channel, u8)> {
        match (core::mem::replace(&mut self.marked, false), byte) {
            (false, MARK) => {
                self.marked = true;
                None
            }
            (false, _) | (true, MARK) => Some((self.current, byte)),
            (true, b'0'..=b'9') => {
                self.current = Channel(byte - b'0');
                None
            }
            (true, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{RESUME, START};
    use crate::image::MAX_VMS;

    #[test]
    fn an_order_is_one_byte_that_is_no_text() {
        for byte in 0..=u8::MAX {
            let Some(order) = Order::of(byte) else { continue };
            assert_eq!(order.byte() | byte & Order::REFUSED, byte);
            assert!(byte >= 0x80 && byte != MARK);
            assert!((START..=RESUME).contains(&u32::from(order.order)));
        }
        assert_eq!((0..=u8::MAX).filter_map(Order::of).count(), 2 * 5 * MAX_VMS);
    }

    #[test]
    fn what_was_framed_is_taken_apart_again() {
        let sent = [(0, b'a'), (0, MARK), (3, MARK), (3, b'1'), (1, b'b'), (0, b'0')];
        let mut multiplexer = Multiplexer::new();
        let mut demultiplexer = Demultiplexer::new();
        let mut received = Vec::new();
        for (channel, byte) in sent {
            for byte in multiplexer.frame(Channel(channel), byte).as_slice() {
                received.extend(demultiplexer.push(*byte));
            }
        }
        assert_eq!(received, sent.map(|(channel, byte)| (Channel(channel), byte)));
    }
}
