//! How the VMs and the hypervisor share one serial line without waiting for it.
//!
//! Each channel has a ring of its own in each direction. A full ring delays its VM
//! ([`Console::take_from`]) and nobody else; a byte put all the same, or never read, is
//! dropped and counted. The line goes round the channels, and leaves one at
//! the end of a text line or of [`TURN`] bytes, so that lines stay whole and a flood
//! delays the others by one turn each.
//!
//! Nothing here loops longer than its caller says: what the line does not take now goes with the next
//! call ([`Console::pump`]).
//!
//! The framing is [`entresol_abi::console`]'s.

use crate::sentence::Sink;
use entresol_abi::console::{Channel, Demultiplexer, Framed, Multiplexer};
use entresol_abi::image::MAX_VMS;

/// Channels: the hypervisor's and one for each VM.
pub const CHANNELS: usize = MAX_VMS + 1;
const _: () = assert!(CHANNELS <= 10, "a channel is one digit on the line");
/// Bytes of a channel that wait for the line.
pub const OUTPUT: usize = 512;
/// Bytes of a channel that wait for the VM.
pub const INPUT: usize = 64;
/// Most bytes of a channel before the line goes to the next one.
pub const TURN: u32 = 96;
/// Most bytes sent or received in one go: it is done with interrupts masked.
pub const BURST: u32 = 4;
/// Goes in which what has arrived is received: more than a line's FIFO holds, because what stays in it
/// interrupts no more.
pub const GOES: u32 = 16;

/// A serial line, never waited for.
pub trait Serial {
    /// Sends a byte; false when the line cannot take it now.
    fn put(&mut self, byte: u8) -> bool;

    /// A byte that has arrived.
    fn get(&mut self) -> Option<u8>;
}

/// The channel of a VM's console.
#[must_use]
pub fn channel(vm: usize) -> Channel {
    Channel(u8::try_from(vm + 1).unwrap_or(u8::MAX))
}

/// A channel's bit in a word of channels.
const fn bit(channel: u8) -> u32 {
    1 << (channel % 32)
}

/// Bytes in order, the newest dropped when full.
#[derive(Clone, Debug)]
struct Ring<const N: usize> {
    bytes: [u8; N],
    first: usize,
    len: usize,
    dropped: u32,
}

impl<const N: usize> Ring<N> {
    const EMPTY: Self = Self { bytes: [0; N], first: 0, len: 0, dropped: 0 };

    fn push(&mut self, byte: u8) {
        match self.bytes.get_mut((self.first + self.len) % N) {
            Some(slot) if self.len < N => {
                *slot = byte;
                self.len += 1;
            }
            _ => self.dropped = self.dropped.saturating_add(1),
        }
    }

    /// As `push` of each byte.
    fn push_all(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            let end = (self.first + self.len) % N;
            let room = (N - self.len).min(N - end).min(rest.len());
            let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            if now.is_empty() {
                break;
            }
            if let Some(slots) = self.bytes.get_mut(end..end + room) {
                slots.copy_from_slice(now);
            }
            self.len += room;
            rest = later;
        }
        self.dropped = self.dropped.saturating_add(u32::try_from(rest.len()).unwrap_or(u32::MAX));
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.first).copied().filter(|_| self.len > 0)
    }

    fn pop(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.first = (self.first + 1) % N;
        self.len -= 1;
        Some(byte)
    }
}

/// What was lost on a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Bytes the VM wrote.
    pub output: u32,
    /// Bytes for the VM.
    pub input: u32,
}

/// All consoles on one line.
///
/// What is large comes last: the offsets of the rest fit short instructions.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Console {
    multiplexer: Multiplexer,
    demultiplexer: Demultiplexer,
    /// Bit *n*: output of channel *n* waits. Kept by `put` and `next`.
    waiting: u32,
    /// What is left to send of the last byte's framing.
    framed: Option<Framed>,
    sent: usize,
    /// The channel that has the line, and how many bytes of its turn are left.
    turn: u8,
    left: u32,
    output: [Ring<OUTPUT>; CHANNELS],
    input: [Ring<INPUT>; CHANNELS],
}

impl Console {
    /// Nothing to send, nothing received.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            multiplexer: Multiplexer::new(),
            demultiplexer: Demultiplexer::new(),
            output: [Ring::EMPTY; CHANNELS],
            waiting: 0,
            input: [Ring::EMPTY; CHANNELS],
            framed: None,
            sent: 0,
            turn: 0,
            left: TURN,
        }
    }

    /// Queues a byte of a channel. Bytes of channels that do not exist are lost.
    pub fn put(&mut self, channel: Channel, byte: u8) {
        if let Some(ring) = self.output.get_mut(usize::from(channel.0)) {
            ring.push(byte);
            self.waiting |= bit(channel.0);
        }
    }

    /// Queues a line of a channel, in a few copies.
    pub fn put_line(&mut self, channel: Channel, line: &[u8]) {
        if let Some(ring) = self.output.get_mut(usize::from(channel.0)) {
            ring.push_all(line);
            self.waiting |= bit(channel.0);
        }
    }

    /// Queues what `next` gives, as long as there is room: the rest stays where it is, as
    /// in a virtual UART's FIFO, and the guest waits for the line as for a real one. Returns
    /// whether it took anything.
    pub fn take_from(&mut self, channel: Channel, mut next: impl FnMut() -> Option<u8>) -> bool {
        let mut any = false;
        while self.has_room(channel)
            && let Some(byte) = next()
        {
            self.put(channel, byte);
            any = true;
        }
        any
    }

    /// Bytes of a channel that would not be dropped.
    #[must_use]
    pub fn room(&self, channel: Channel) -> usize {
        self.output.get(usize::from(channel.0)).map_or(0, |ring| OUTPUT - ring.len)
    }

    /// Whether the next byte of a channel would not be dropped.
    #[must_use]
    pub fn has_room(&self, channel: Channel) -> bool {
        self.room(channel) > 0
    }

    /// Takes text for a channel.
    pub fn writer(&mut self, channel: Channel) -> Writer<'_> {
        Writer { console: self, channel }
    }

    /// Sends what waits, as far as the line takes it and up to so many bytes.
    pub fn pump(&mut self, serial: &mut impl Serial, bytes: u32) {
        for _ in 0..bytes {
            if !self.flush(serial) {
                return;
            }
            let Some((channel, byte)) = self.next() else { return };
            self.framed = Some(self.multiplexer.frame(channel, byte));
            self.sent = 0;
        }
    }

    /// Whether something waits for the line.
    #[must_use]
    pub fn pending(&self) -> bool {
        self.framed.is_some() || self.waiting != 0
    }

    /// Takes what has arrived, up to so many bytes, to be fetched by [`Console::get`]. Returns how many
    /// it took.
    pub fn receive(&mut self, serial: &mut impl Serial, bytes: u32) -> u32 {
        for taken in 0..bytes {
            let Some(byte) = serial.get() else { return taken };
            let Some((channel, byte)) = self.demultiplexer.push(byte) else { continue };
            if let Some(ring) = self.input.get_mut(usize::from(channel.0)) {
                ring.push(byte);
            }
        }
        bytes
    }

    /// The next byte for a channel.
    pub fn get(&mut self, channel: Channel) -> Option<u8> {
        self.input.get_mut(usize::from(channel.0))?.pop()
    }

    /// Whether a byte waits for a channel.
    #[must_use]
    pub fn has_input(&self, channel: Channel) -> bool {
        self.input.get(usize::from(channel.0)).is_some_and(|ring| ring.len > 0)
    }

    /// Hands a channel's bytes to `accept` until it refuses one, which stays.
    pub fn deliver(&mut self, channel: Channel, mut accept: impl FnMut(u8) -> bool) {
        let Some(ring) = self.input.get_mut(usize::from(channel.0)) else { return };
        while ring.peek().is_some_and(&mut accept) {
            ring.pop();
        }
    }

    /// What a channel has lost so far.
    #[must_use]
    pub fn dropped(&self, channel: Channel) -> Dropped {
        let channel = usize::from(channel.0);
        Dropped {
            output: self.output.get(channel).map_or(0, |ring| ring.dropped),
            input: self.input.get(channel).map_or(0, |ring| ring.dropped),
        }
    }

    /// Sends the rest of the last byte's framing; false when the line is busy.
    fn flush(&mut self, serial: &mut impl Serial) -> bool {
        let Some(framed) = &self.framed else { return true };
        while let Some(&byte) = framed.as_slice().get(self.sent) {
            if !serial.put(byte) {
                return false;
            }
            self.sent += 1;
        }
        self.framed = None;
        true
    }

    /// The next byte to send, of the channel whose turn it is.
    fn next(&mut self) -> Option<(Channel, u8)> {
        if self.waiting == 0 {
            return None;
        }
        if self.left == 0 || self.waiting & bit(self.turn) == 0 {
            let later = self.waiting & !bit(self.turn).wrapping_mul(2).wrapping_sub(1);
            let candidates = if later != 0 { later } else { self.waiting };
            self.turn = u8::try_from(candidates.trailing_zeros()).ok()?;
            self.left = TURN;
        }
        let ring = self.output.get_mut(usize::from(self.turn))?;
        let byte = ring.pop()?;
        if ring.len == 0 {
            self.waiting &= !bit(self.turn);
        }
        self.left = if byte == b'\n' { 0 } else { self.left - 1 };
        Some((Channel(self.turn), byte))
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes text to a channel of a [`Console`].
#[derive(Debug)]
pub struct Writer<'a> {
    console: &'a mut Console,
    channel: Channel,
}

impl Sink for Writer<'_> {
    fn put(&mut self, byte: u8) {
        self.console.put(self.channel, byte);
    }
}

#[cfg(test)]
pub(crate) mod tests;
