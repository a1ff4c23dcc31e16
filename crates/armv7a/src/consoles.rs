//! The consoles of VMs and the hypervisor's own, on the core's serial line.
//!
//! Moves bytes; how consoles share the line is [`entresol_hv::console`]'s to say.

use crate::cores;
use crate::cp15;
use crate::hypervisor::Hypervisor;
use entresol_abi::console::Channel;
use entresol_abi::image::{MAX_CORES, MAX_VMS};
use entresol_hv::NEVER;
use entresol_hv::console::{self, Serial};
use entresol_hv::platform::Platform;
use entresol_hv::sentence;
use entresol_hv::sentence::Value;

/// Bursts in which all consoles are sent, at least.
const FLUSH: usize = console::CHANNELS * console::OUTPUT * 4 / console::BURST as usize;
/// Microseconds from burst to burst of the line while somebody urgent runs.
const PACE: u32 = 250;
/// Bytes of a link that are moved in a go, with interrupts masked; one may put a whole line.
const GO: u32 = console::BURST / 2;
/// First bit of links in [`Hypervisor::held`].
const LINKS: u32 = 16;

/// A serial line that is part of a platform.
pub(crate) struct SerialOf<'a>(pub(crate) &'a mut dyn Platform);

impl Serial for SerialOf<'_> {
    fn put(&mut self, byte: u8) -> bool {
        self.0.put(byte)
    }

    fn get(&mut self) -> Option<u8> {
        self.0.get()
    }
}

impl Hypervisor {
    /// Says something on the hypervisor's console.
    #[cold]
    #[inline(never)]
    pub(crate) fn say(&mut self, text: &str, values: &[Value<'_>]) {
        sentence::say(&mut self.console.writer(Channel(0)), text, values);
        self.end_line();
    }

    /// Ends a line of the hypervisor's own console, and sends what it can.
    pub(crate) fn end_line(&mut self) {
        sentence::say(&mut self.console.writer(Channel(0)), "\r\n", &[]);
        self.pump();
    }

    /// Sends all that waits, before the machine goes.
    pub(crate) fn flush(&mut self) {
        // Nobody goes first any more.
        self.express.guest = core::ptr::null_mut();
        for _ in 0..FLUSH {
            self.pump();
            self.take_held();
            if !self.console.pending() && self.held == 0 {
                return;
            }
        }
    }

    /// Sends what consoles have, as far as the line takes it.
    pub(crate) fn pump(&mut self) {
        let Some(platform) = &mut self.platform else { return };
        self.console.pump(&mut SerialOf(*platform), console::BURST);
        self.await_line();
    }

    /// The same, as the last thing that a handler does, which also takes what UARTs and links hold, now
    /// that the line has moved. What is left goes on when the line has moved again: rings that are
    /// full wait for the line's interrupt.
    pub(crate) fn pump_at_last(&mut self) {
        for _ in 0..console::BURST {
            self.line_gives_way();
            let Some(platform) = &mut self.platform else { return };
            self.console.pump(&mut SerialOf(*platform), 1);
        }
        self.take_held();
        self.await_line();
    }

    /// Takes what UARTs and links hold, and hands on what was typed.
    #[inline(never)]
    fn take_held(&mut self) {
        let mut held = self.held;
        while held != 0 {
            let bit = held.trailing_zeros();
            held &= held - 1;
            self.line_gives_way();
            if let Some(core) = bit.checked_sub(LINKS) {
                self.collect(core);
                continue;
            }
            if self.is_own(bit as usize) {
                self.take_sent(bit as usize);
            }
            self.deliver(bit as usize);
        }
    }

    /// Lets who is more urgent go first: the line interrupts again then, for what is left undone. One that
    /// is a link would do so for ever if nothing is.
    pub(crate) fn line_gives_way(&mut self) {
        if cp15::is_interrupted() {
            self.await_line();
            self.gives_way();
        }
    }

    /// The line interrupts when it can take more, if there is more.
    #[inline(never)]
    fn await_line(&mut self) {
        let left = self.console.pending() || self.held != 0;
        self.platform().notify_sent(left);
    }

    /// The line moves on, whoever runs: what has arrived, and some bytes.
    #[cold]
    #[inline(never)]
    pub(crate) fn move_line(&mut self) {
        self.line_at = NEVER;
        self.receive();
        if self.console.has_input(Channel(0)) {
            self.move_line_later();
        }
        self.pump_at_last();
    }

    pub(crate) fn move_line_later(&mut self) {
        self.line_at = self.now() + self.ticks_of(PACE);
        self.rearm = true;
    }

    /// Takes what has arrived, a few bytes in a go. What stays in a FIFO interrupts no more: if somebody
    /// more urgent comes, the timer does.
    pub(crate) fn receive(&mut self) {
        for _ in 0..console::GOES {
            let Some(platform) = &mut self.platform else { return };
            let taken = self.console.receive(&mut SerialOf(*platform), console::BURST);
            if taken != 0 {
                for index in 0..self.count {
                    self.deliver(index);
                }
            }
            if taken < console::BURST {
                return;
            }
            if cp15::is_interrupted() {
                let at = core::mem::replace(&mut self.line_at, 0);
                self.rearm = true;
                self.gives_way();
                self.line_at = at;
            }
        }
    }

    /// Takes what the UART of a VM holds, as far as there is room; whether that was anything.
    pub(crate) fn take_sent(&mut self, index: usize) -> bool {
        let (guest, channel) = (&mut self.guests[index % MAX_VMS], console::channel(index));
        let sent = self.console.take_from(channel, || guest.board.take_tx());
        let left = !self.console.has_room(channel);
        self.hold(index as u32, left);
        sent
    }

    /// Boot core: another core may have written to the consoles, or made room for what was typed. This
    /// core's own VMs are looked at, too: to tell them apart takes more code.
    pub(crate) fn hold_links(&mut self) {
        self.held |= ((1 << self.cores) - 2) << LINKS | ((1 << self.count) - 1);
    }

    /// Whether something is left that goes on when the line has moved.
    #[inline(never)]
    pub(crate) fn hold(&mut self, bit: u32, left: bool) {
        self.held = self.held & !(1 << bit) | u32::from(left) << bit;
    }

    /// Boot core: moves what another core has written to the consoles, a bit of it.
    fn collect(&mut self, core: u32) {
        let link = cores::link(core);
        let relay = &mut self.relays[core as usize % MAX_CORES];
        let left = relay.collect(&link.up, &mut self.console, GO);
        self.hold(LINKS + core, left);
        if !left && link.up.was_refused() {
            self.platform().call(core);
        }
    }
}
