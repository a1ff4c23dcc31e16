//! How the consoles of all VMs share one serial line.
//!
//! The line carries bytes of one *channel* at a time. [`MARK`] followed by
//! `b'0' + channel` selects the channel of all bytes that follow; [`MARK`] [`MARK`]
//! is one literal [`MARK`]; [`MARK`] followed by anything else is dropped with that
//! byte. Both directions use the same framing. Channel 0 is the hypervisor, channel
//! `n` the VM with index `n - 1`. Each direction starts on channel 0.

/// Introduces a channel change: ASCII record separator.
pub const MARK: u8 = 0x1e;

/// A selected console: 0 is the hypervisor, `n` the VM with index `n - 1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channel(pub u8);

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
