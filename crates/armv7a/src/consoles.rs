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
        for _ in 0..FLUSH {
            self.pump();
            if !self.console.pending() {
                return;
            }
        }
    }

    /// Sends what consoles have, as far as the line takes it.
    pub(crate) fn pump(&mut self) {
        self.pump_bytes(console::BURST);
    }

    /// The same, as the last thing that a handler does.
    pub(crate) fn pump_at_last(&mut self) {
        for _ in 0..console::BURST {
            self.line_gives_way();
            let Some(platform) = &mut self.platform else { return };
            self.console.pump(&mut SerialOf(*platform), 1);
        }
        self.line_gives_way();
        self.pump_bytes(0);
    }

    /// Lets who is more urgent go first: the line interrupts again then, for what is left undone. One that
    /// is a link would do so for ever if nothing is.
    pub(crate) fn line_gives_way(&mut self) {
        if cp15::is_interrupted() {
            let left = self.console.pending() || self.held != 0;
            self.platform().notify_sent(left);
            self.gives_way();
        }
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

    pub(crate) fn pump_bytes(&mut self, bytes: u32) {
        let Some(platform) = &mut self.platform else { return };
        self.console.pump(&mut SerialOf(*platform), bytes);
        if self.console.pending() {
            platform.notify_sent(true);
        }
        if self.held != 0 {
            self.take_held();
        }
    }

    /// Takes what UARTs hold, now that the line has moved. What is left goes on when the line
    /// has moved again: rings that are full wait for the line's interrupt.
    #[cold]
    #[inline(never)]
    fn take_held(&mut self) {
        for index in 0..self.count {
            let bit = 1 << (index % MAX_VMS);
            if self.held & bit != 0 {
                let guest = &mut self.guests[index % MAX_VMS];
                self.console.take_from(console::channel(index), || guest.board.take_tx());
                if self.console.has_room(console::channel(index)) {
                    self.held &= !bit;
                }
                self.wake(index);
            }
        }
        if self.held >> LINKS != 0 {
            self.collect();
        }
        if let Some(platform) = &mut self.platform {
            platform.notify_sent(self.console.pending());
        }
    }

    /// Boot core: moves what other cores have written to the consoles.
    pub(crate) fn collect(&mut self) {
        for core in 1..self.cores {
            let link = cores::link(core);
            let index = core as usize % MAX_CORES;
            let left = self.relays[index].collect(&link.up, &mut self.console);
            self.held = self.held & !(1 << (LINKS + core)) | u32::from(left) << (LINKS + core);
            if link.up.was_refused() {
                self.platform().call(core);
            }
        }
    }
}
