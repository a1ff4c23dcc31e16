//! What interrupts of the machine do, and what arms the next.
//!
//! # Invariants
//!
//! - An interrupt is settled with work bounded by the number of VMs and the consoles'
//!   burst.
//! - A level interrupt of a passed-through device stays masked in the machine from its
//!   delivery until the guest ends it.

use crate::cores;
use crate::guest::Run;
use crate::hypervisor::{ENTRESOL_OBSERVED, Hypervisor};
use entresol_abi::image::{MAX_CORES, MAX_VMS};
use entresol_hv::NEVER;
use entresol_hv::console::channel;
use entresol_hv::link::Forwarded;
use entresol_hv::platform::Interrupt;
use entresol_hv::scheduler::Id;

/// Microseconds in which the express leads to its guest's handler.
const HANDLED: u32 = 1;

impl Hypervisor {
    /// Settles one interrupt of the machine.
    #[inline(always)]
    pub(crate) fn interrupted(&mut self) {
        // SAFETY: as in `counters`.
        let observed = unsafe { ENTRESOL_OBSERVED.get() };
        observed.interrupts = observed.interrupts.wrapping_add(1);
        match self.platform().acknowledge() {
            Interrupt::Timer => self.timer_fired(),
            Interrupt::Serial => self.serial_fired(),
            Interrupt::Core => self.core_called(),
            Interrupt::Sibling => self.sibling_called(),
            Interrupt::Device(irq) => self.device_fired(irq),
            Interrupt::Spurious => {}
        }
    }

    /// The armed deadline has come.
    #[inline]
    fn timer_fired(&mut self) {
        let armed = core::mem::replace(&mut self.armed, NEVER);
        self.arm_for_express();
        // What is due now still is after the express.
        self.give_way_called();
        let guest = self.guest();
        if armed != NEVER && guest.board.deadline() == armed && guest.board.ring() {
            if matches!(guest.run, Run::Waiting) {
                self.wake(self.loaded);
            }
            self.arm_at(self.express.rest);
        } else {
            let now = self.update_boards();
            // Who is chosen anew is armed for, too.
            self.rearm |= !self.reschedule;
            if self.line_at <= now {
                // One order at a time: between two the scheduler is asked who runs.
                self.obey_console();
                self.move_line();
            }
        }
    }

    /// Brings the boards up to date whose deadline has come, and the scheduler; as of when.
    #[inline(never)]
    fn update_boards(&mut self) -> u64 {
        // Before the express is looked for: if it is due by then, it is not taken for one of these.
        let mut now = self.now();
        self.give_way_called();
        // A timer may interrupt some time after the counter has reached its deadline.
        if self.expects_express(now) {
            now = now.min(self.express.deadline.wrapping_sub(1));
        }
        for index in 0..self.count {
            let Some(guest) = self.guests.get_mut(index) else { continue };
            if guest.board.deadline() <= now {
                // The short way is for one timer and real time.
                if guest.board.has_virtual_time() || !guest.board.ring() {
                    self.update_board(index);
                }
                self.wake(index);
                self.give_way_called();
                if let Some(event) = self.guests[index % MAX_VMS].board.take_failure(now) {
                    self.befall(index, event);
                    self.give_way_called();
                    self.update_board(index);
                }
            }
        }
        if self.scheduler().deadline() <= now {
            self.reschedule = true;
        }
        if self.locks.deadline() <= now {
            self.settle_locks();
        }
        now
    }

    /// Brings a board up to date in pieces: what is due still is so when the timer is armed again.
    #[inline(never)]
    pub(crate) fn update_board(&mut self, index: usize) {
        let index = index % MAX_VMS;
        let now = self.now();
        self.guests[index].board.update_devices(now);
        self.give_way_called();
        let board = &mut self.guests[index].board;
        board.update_deadlines(now);
        let deadline = board.take_deadline();
        self.give_way_called();
        self.guests[index].board.set_deadline(deadline);
    }

    fn serial_fired(&mut self) {
        self.platform().notify_sent(false);
        if self.core != 0 {
            self.settle_locks();
        }
        // A line that takes bytes at once would interrupt until all are sent.
        if self.turns.is_urgent() {
            self.receive();
            self.move_line_later();
        } else {
            self.move_line();
        }
    }

    /// Boot core: another wrote, read or ended, or its locks changed.
    #[cold]
    #[inline(never)]
    fn core_called(&mut self) {
        self.settle_locks();
        self.hold_links();
        self.pump_at_last();
    }

    /// Gives a guest what was typed for it, as far as its board, or its core, takes it.
    pub(crate) fn deliver(&mut self, index: usize) {
        let Some(guest) = self.guests.get_mut(index) else { return };
        let core = guest.vm.core;
        if core != self.core {
            let (relay, link) = (&mut self.relays[core as usize % MAX_CORES], cores::link(core));
            if self.core == 0 {
                let Forwarded { news, left } =
                    relay.forward(&link.down, &mut self.console, channel(index));
                if news {
                    self.platform().call(core);
                }
                self.hold(index as u32, left);
            }
            return;
        }
        self.console.deliver(channel(index), |byte| guest.board.push_rx(byte));
        self.wake(index);
    }

    fn device_fired(&mut self, irq: u32) {
        for index in 0..self.count {
            let Some(guest) = self.guests.get_mut(index) else { continue };
            let passive = guest.shadow.passthrough.passive;
            for line in guest.interrupts.iter_mut().flatten() {
                if line.machine == irq && !(line.paired && passive) {
                    line.delivered = true;
                    guest.board.gic.set_line(line.guest, true);
                }
            }
            self.wake(index);
        }
    }

    /// The loaded guest ended an interrupt: passed-through devices may interrupt again, but
    /// for those whose interrupt it is still handling.
    pub(crate) fn rearm_devices(&mut self) {
        let index = self.loaded % MAX_VMS;
        let Some(platform) = &mut self.platform else { return };
        let guest = &mut self.guests[index];
        for line in guest.interrupts.iter_mut().map_while(Option::as_mut) {
            if line.delivered && !guest.board.gic.is_active(line.guest) {
                line.delivered = false;
                guest.board.gic.set_line(line.guest, false);
                platform.unmask(line.machine);
            }
        }
    }

    /// Arms the timer for what comes first: a board's deadline or the scheduler's; and says what it
    /// is armed for when the loaded guest's own timer has come, and if the express is taken: what
    /// others wait for that are as urgent, and the end of what its guest may run.
    #[inline(never)]
    pub(crate) fn arm(&mut self) {
        let turns = self.scheduler().deadline();
        self.give_way_called();
        let waits = self.locks.deadline().min(self.line_at);
        let (mut own, mut rest, mut next) = (NEVER, turns.min(waits), waits);
        let running = self.turns.running();
        for index in 0..self.count {
            // It is armed again after the express.
            self.give_way_called();
            let board = &self.guests[index % MAX_VMS].board;
            let (deadline, Some(id)) = (board.deadline(), Id::new(index)) else { continue };
            if deadline == NEVER {
                continue;
            }
            // What interrupts the less urgent can wait until they may run.
            let priority = if board.may_ring_late() { self.turns.priority(id) } else { u32::MAX };
            if self.express.bit >> index & 1 == 1 {
                next = next.min(self.express.deadline.saturating_add(self.turns.allowance(id)));
            } else if priority >= self.express.priority {
                next = next.min(deadline);
            }
            if index == self.loaded && priority != u32::MAX {
                own = deadline;
            } else if priority >= running {
                rest = rest.min(deadline);
            }
        }
        (self.express.rest, self.express.rest_of) = (rest, self.loaded);
        // Nothing comes before its handler; what is kept off meanwhile does not wait for long.
        let soon = self.ticks_of(HANDLED);
        let due = self.express.deadline;
        let next = next.max(due.wrapping_add(soon)).min(due.wrapping_add(soon << 6));
        self.express.next = next.min(self.turns.gate.until);
        self.arm_own(own);
    }

    /// Arms the timer for the loaded guest's own or for what else there is, which is known.
    pub(crate) fn arm_own(&mut self, own: u64) {
        let guest = self.guest();
        // The entry code knows nothing of a clock that stands.
        self.express.own = if own == NEVER { core::ptr::null_mut() } else { guest };
        self.arm_at(self.express.rest.min(own));
    }

    /// Arms the timer, unless it is armed for that.
    #[inline]
    pub(crate) fn arm_at(&mut self, deadline: u64) {
        if deadline != self.armed {
            self.armed = deadline;
            self.platform().arm(deadline);
        }
    }
}
