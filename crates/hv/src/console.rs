//! How the VMs and the hypervisor share one serial line without waiting for it.
//!
//! Each channel has a ring of its own in each direction. A byte that finds its ring
//! full is dropped and counted: a VM that floods its console, or never reads it, loses
//! its own bytes and nobody else's. The line goes round the channels, and leaves one at
//! the end of a text line or of [`TURN`] bytes, so that lines stay whole and a flood
//! delays the others by one turn each.
//!
//! Nothing here loops longer than [`BURST`] bytes: what the line does not take now goes
//! with the next call ([`Console::pump`]).
//!
//! The framing is [`entresol_abi::console`]'s.

use core::fmt;
use entresol_abi::console::{Channel, Demultiplexer, Framed, Multiplexer};
use entresol_abi::image::MAX_VMS;

/// Channels: the hypervisor's and one for each VM.
pub const CHANNELS: usize = MAX_VMS + 1;
/// Bytes of a channel that wait for the line.
pub const OUTPUT: usize = 512;
/// Bytes of a channel that wait for the VM.
pub const INPUT: usize = 64;
/// Most bytes of a channel before the line goes to the next one.
pub const TURN: u32 = 96;
/// Most bytes moved by one call.
pub const BURST: u32 = 64;

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
#[derive(Clone, Debug)]
pub struct Console {
    multiplexer: Multiplexer,
    demultiplexer: Demultiplexer,
    output: [Ring<OUTPUT>; CHANNELS],
    input: [Ring<INPUT>; CHANNELS],
    /// What is left to send of the last byte's framing.
    framed: Option<Framed>,
    sent: usize,
    /// The channel that has the line, and how many bytes of its turn are left.
    turn: usize,
    left: u32,
}

impl Console {
    /// Nothing to send, nothing received.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            multiplexer: Multiplexer::new(),
            demultiplexer: Demultiplexer::new(),
            output: [Ring::EMPTY; CHANNELS],
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
        }
    }

    /// Text for a channel, to be written with `write!`.
    pub fn writer(&mut self, channel: Channel) -> Writer<'_> {
        Writer { console: self, channel }
    }

    /// Sends what waits, as far as the line takes it and up to [`BURST`] bytes.
    pub fn pump(&mut self, serial: &mut impl Serial) {
        for _ in 0..BURST {
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
        self.framed.is_some() || self.output.iter().any(|ring| ring.len > 0)
    }

    /// Takes what has arrived, up to [`BURST`] bytes, to be fetched by [`Console::get`].
    pub fn receive(&mut self, serial: &mut impl Serial) {
        for _ in 0..BURST {
            let Some(byte) = serial.get() else { return };
            let Some((channel, byte)) = self.demultiplexer.push(byte) else { continue };
            if let Some(ring) = self.input.get_mut(usize::from(channel.0)) {
                ring.push(byte);
            }
        }
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
        let waits = |ring: Option<&Ring<OUTPUT>>| ring.is_some_and(|ring| ring.len > 0);
        if self.left == 0 || !waits(self.output.get(self.turn)) {
            let others = (self.turn + 1..CHANNELS).chain(0..=self.turn);
            self.turn = others.into_iter().find(|&turn| waits(self.output.get(turn)))?;
            self.left = TURN;
        }
        let byte = self.output.get_mut(self.turn)?.pop()?;
        self.left = if byte == b'\n' { 0 } else { self.left - 1 };
        Some((Channel(u8::try_from(self.turn).ok()?), byte))
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

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.console.put(self.channel, byte);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;

    /// A line that takes `room` more bytes.
    #[derive(Default)]
    struct Line {
        sent: Vec<u8>,
        room: usize,
        arrived: Vec<u8>,
    }

    impl Line {
        fn with_room(room: usize) -> Self {
            Self { room, ..Self::default() }
        }

        fn text(&self, channel: u8) -> String {
            let mut demultiplexer = Demultiplexer::new();
            let bytes = self.sent.iter().filter_map(|byte| demultiplexer.push(*byte));
            bytes.filter(|(c, _)| c.0 == channel).map(|(_, byte)| char::from(byte)).collect()
        }
    }

    impl Serial for Line {
        fn put(&mut self, byte: u8) -> bool {
            let taken = self.room > 0;
            if taken {
                self.room -= 1;
                self.sent.push(byte);
            }
            taken
        }

        fn get(&mut self) -> Option<u8> {
            (!self.arrived.is_empty()).then(|| self.arrived.remove(0))
        }
    }

    #[test]
    fn a_line_that_fills_in_the_middle_of_a_frame_goes_on_where_it_stopped() {
        let mut console = Console::new();
        write!(console.writer(channel(0)), "hello").unwrap();
        let mut line = Line::default();
        while console.pending() {
            line.room = 1;
            console.pump(&mut line);
        }
        assert_eq!(line.text(1), "hello");
    }

    #[test]
    fn a_flood_delays_the_others_by_one_turn_and_loses_only_its_own_bytes() {
        let mut console = Console::new();
        let mut line = Line::default();
        for n in 0..10_000 {
            console.put(channel(0), b'x');
            if n == 5_000 {
                writeln!(console.writer(channel(1)), "quiet").unwrap();
            }
            line.room += usize::from(n % 4 == 0);
            console.pump(&mut line);
        }
        assert_eq!(line.text(2), "quiet\n");
        assert_eq!(console.dropped(channel(1)), Dropped::default());
        assert!(console.dropped(channel(0)).output > 6_000);
    }

    #[test]
    fn lines_of_two_channels_stay_whole() {
        let mut console = Console::new();
        write!(console.writer(channel(0)), "one\ntwo\n").unwrap();
        writeln!(console.writer(channel(1)), "three").unwrap();
        let mut line = Line::with_room(1000);
        console.pump(&mut line);
        assert_eq!(line.sent, b"\x1e1one\n\x1e2three\n\x1e1two\n");
    }

    #[test]
    fn one_call_moves_a_bounded_number_of_bytes() {
        let mut console = Console::new();
        for _ in 0..OUTPUT {
            console.put(channel(0), b'x');
        }
        let mut line = Line::with_room(10_000);
        console.pump(&mut line);
        assert!(line.sent.len() <= usize::try_from(BURST).unwrap() * 4);
        assert!(console.pending());
    }

    #[test]
    fn input_goes_to_its_channel_and_waits_until_it_is_accepted() {
        let mut console = Console::new();
        let mut line = Line { arrived: b"\x1e2ab\x1e1c\x1e9x".to_vec(), ..Line::default() };
        console.receive(&mut line);
        assert_eq!(console.get(channel(0)), Some(b'c'));
        let mut taken = Vec::new();
        console.deliver(channel(1), |byte| {
            taken.is_empty() && {
                taken.push(byte);
                true
            }
        });
        assert_eq!(taken, b"a");
        assert!(console.has_input(channel(1)));
        assert_eq!(console.get(channel(1)), Some(b'b'));
        assert_eq!(console.get(channel(1)), None);
    }

    #[test]
    fn input_nobody_reads_is_dropped_and_counted() {
        let mut console = Console::new();
        let mut line = Line { arrived: vec![b'x'; INPUT + 3], ..Line::default() };
        console.receive(&mut line);
        console.receive(&mut line);
        assert_eq!(console.dropped(Channel(0)), Dropped { output: 0, input: 3 });
    }

    #[test]
    fn a_channel_that_does_not_exist_is_ignored() {
        let mut console = Console::new();
        console.put(Channel(200), b'x');
        assert!(!console.pending());
        assert_eq!(console.get(Channel(200)), None);
    }
}
