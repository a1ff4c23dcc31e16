//! Bytes between the boot core, which has the serial line, and another core.
//!
//! Cores share nothing but [`Link`]s. A link has a [`Ring`] for each direction; the framing in
//! it is the line's own ([`entresol_abi::console`]), so the other core treats its end as
//! its serial line, and the boot core's [`Relay`] is what a terminal is to a line. Not here: the
//! interrupts by which cores call each other, which are the platform's.
//!
//! # Invariants
//!
//! - One core sends into a ring and one receives from it.
//! - No byte is lost, and no call missed: a sender that found its receiver caught up is told to
//!   call it; a receiver that made room after a sender was refused is told to call back. Each
//!   writes before it reads what the other writes, both sequentially consistent.
//! - Everything is bounded by [`CAPACITY`].

use crate::console::{BURST, CHANNELS, Console};
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering::SeqCst};
use entresol_abi::console::{Channel, Demultiplexer, Multiplexer};

/// Bytes that a ring holds.
pub const CAPACITY: usize = 256;

/// What became of a byte to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// There was no room; the receiver will call when there is.
    Refused,
    /// It is behind others, which the receiver was called for.
    Queued,
    /// The receiver must be called.
    Call,
}

/// Bytes in order, from one core to another.
#[derive(Debug)]
pub struct Ring {
    /// Bytes ever sent, modulo 2³²; written by the sender.
    sent: AtomicU32,
    /// Bytes ever received; written by the receiver.
    received: AtomicU32,
    /// 1 after a byte was refused; the receiver sets it back.
    refused: AtomicU32,
    bytes: [AtomicU8; CAPACITY],
}

impl Ring {
    /// Nothing in it.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            sent: AtomicU32::new(0),
            received: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            bytes: [const { AtomicU8::new(0) }; CAPACITY],
        }
    }

    fn slot(&self, count: u32) -> Option<&AtomicU8> {
        self.bytes.get(usize::try_from(count).unwrap_or(0) % CAPACITY)
    }

    /// Bytes for which there is room.
    #[inline(never)]
    fn room(&self) -> u32 {
        let used = self.sent.load(SeqCst).wrapping_sub(self.received.load(SeqCst));
        u32::try_from(CAPACITY).unwrap_or(0).saturating_sub(used)
    }

    /// Sends a byte.
    pub fn send(&self, byte: u8) -> Sent {
        self.send_all(&[byte])
    }

    /// Sends all of `bytes` or none.
    fn send_all(&self, bytes: &[u8]) -> Sent {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if self.room() < len {
            self.refused.store(1, SeqCst);
            // It may have made room before it could see that.
            if self.room() < len {
                return Sent::Refused;
            }
        }
        let first = self.sent.load(SeqCst);
        for (byte, count) in bytes.iter().zip(0..) {
            if let Some(slot) = self.slot(first.wrapping_add(count)) {
                slot.store(*byte, SeqCst);
            }
        }
        self.sent.store(first.wrapping_add(len), SeqCst);
        if self.received.load(SeqCst) == first { Sent::Call } else { Sent::Queued }
    }

    /// The next byte, if one has come.
    pub fn receive(&self) -> Option<u8> {
        let count = self.received.load(SeqCst);
        if self.sent.load(SeqCst) == count {
            return None;
        }
        let byte = self.slot(count).map(|slot| slot.load(SeqCst));
        self.received.store(count.wrapping_add(1), SeqCst);
        byte
    }

    /// Whether the sender was refused since this was asked last, and must be called. To be
    /// asked after [`Ring::receive`] made room.
    pub fn was_refused(&self) -> bool {
        let refused = self.refused.load(SeqCst) != 0;
        if refused {
            self.refused.store(0, SeqCst);
        }
        refused
    }

    /// Whether there is room for a byte; if not, the receiver will call when there is.
    #[must_use]
    pub fn has_room(&self) -> bool {
        if self.room() == 0 {
            self.refused.store(1, SeqCst);
        }
        self.room() > 0
    }

    /// Whether the receiver has taken all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sent.load(SeqCst) == self.received.load(SeqCst)
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

/// How far a core's VMs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// One of them at least may still run.
    Running,
    /// All are off, `well` or not.
    Ended {
        /// Whether all ended well.
        well: bool,
    },
}

/// What the boot core shares with another core.
#[derive(Debug, Default)]
pub struct Link {
    /// To the boot core.
    pub up: Ring,
    /// From the boot core.
    pub down: Ring,
    /// 0 running, 1 ended badly, 2 ended well.
    state: AtomicU32,
}

impl Link {
    /// Nothing sent, nothing ended.
    #[must_use]
    pub const fn new() -> Self {
        Self { up: Ring::new(), down: Ring::new(), state: AtomicU32::new(0) }
    }

    /// What the other core said of itself.
    #[must_use]
    pub fn state(&self) -> State {
        match self.state.load(SeqCst) {
            0 => State::Running,
            state => State::Ended { well: state == 2 },
        }
    }

    /// Says so; returns whether that is news.
    #[inline(never)]
    pub fn set_state(&self, state: State) -> bool {
        let news = self.state() != state;
        let number = match state {
            State::Running => 0,
            State::Ended { well } => 1 + u32::from(well),
        };
        self.state.store(number, SeqCst);
        news
    }
}

/// Longest line of a hypervisor that is kept whole.
const LINE: usize = 256;

/// The hypervisors' channel: lines of several cores meet there.
const HYPERVISOR: Channel = Channel(0);

/// What became of what arrived for another core's VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The other core must be called.
    pub news: bool,
    /// There may be more of it.
    pub left: bool,
}

/// The boot core's end of a link.
#[derive(Clone, Debug)]
pub struct Relay {
    up: Demultiplexer,
    down: Multiplexer,
    /// A byte for which the console had no room.
    waiting: Option<(Channel, u8)>,
    /// A line of the other core's hypervisor, which goes to the console as a whole.
    line: [u8; LINE],
    len: usize,
}

impl Relay {
    /// Nothing on its way.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            up: Demultiplexer::new(),
            down: Multiplexer::new(),
            waiting: None,
            line: [0; LINE],
            len: 0,
        }
    }

    /// Moves what the other core sent into the console, as far as that has room, up to so many bytes.
    /// Returns whether something may be left.
    pub fn collect(&mut self, ring: &Ring, console: &mut Console, bytes: u32) -> bool {
        for _ in 0..bytes {
            if let Some((channel, byte)) = self.waiting {
                if !self.put(console, channel, byte) {
                    return true;
                }
                self.waiting = None;
                // A line is put in a go of its own.
                if byte == b'\n' {
                    break;
                }
            }
            let Some(byte) = ring.receive() else { return false };
            let exists = |(channel, _): &(Channel, u8)| usize::from(channel.0) < CHANNELS;
            self.waiting = self.up.push(byte).filter(exists);
            if byte == b'\n' {
                break;
            }
        }
        true
    }

    /// Puts a byte; false when there is no room for it.
    fn put(&mut self, console: &mut Console, channel: Channel, byte: u8) -> bool {
        if channel != HYPERVISOR {
            let room = console.room(channel) > 0;
            if room {
                console.put(channel, byte);
            }
            return room;
        }
        if byte == b'\n' || self.len == LINE {
            if console.room(channel) <= self.len {
                return false;
            }
            let line = self.line.get(..self.len).unwrap_or(&[]);
            console.put_line(channel, line);
            self.len = 0;
        }
        match self.line.get_mut(self.len) {
            Some(slot) if byte != b'\n' => {
                *slot = byte;
                self.len += 1;
            }
            _ => console.put(channel, byte),
        }
        true
    }

    /// Moves what arrived for `channel` to the other core, as far as there is room, up to a burst.
    pub fn forward(&mut self, ring: &Ring, console: &mut Console, channel: Channel) -> Forwarded {
        let (mut news, mut bytes) = (false, BURST);
        console.deliver(channel, |byte| {
            if bytes == 0 {
                return false;
            }
            bytes -= 1;
            let mut next = self.down;
            let framed = next.frame(channel, byte);
            let sent = ring.send_all(framed.as_slice());
            if sent != Sent::Refused {
                self.down = next;
            }
            news |= sent == Sent::Call;
            sent != Sent::Refused
        });
        Forwarded { news, left: bytes == 0 }
    }
}

impl Default for Relay {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
