//! Locks between VMs, on this architecture: their words, interrupts and turns.
//!
//! Who gets a lock is [`entresol_hv::locks`]'s to say. Here an address becomes a word, once,
//! in [`Passthroughs::lock`](crate::passthrough::Passthroughs::lock).

use crate::cores;
use crate::guest::Run;
use crate::hypervisor::Hypervisor;
use crate::linear::Linear;
use crate::siblings::NEWS;
use entresol_abi::hypercall::psci;
use entresol_abi::image::MAX_VMS;
use entresol_abi::lock::AGAIN;
use entresol_abi::{GuestPhys, HostPhys};
use entresol_hv::bus::Width;
use entresol_hv::locks::{Claim, Words};
use entresol_hv::scheduler::Id;

/// `GICD_ISPENDR`: sets interrupts pending (ARM IHI 0048B, 4.3.7).
const ISPENDR: u32 = 0x200;
/// In [`Hypervisor::contention`]: who gets a lock is known.
const CONTENDED: usize = usize::MAX;

impl Words for Linear<'_> {
    #[inline(never)]
    fn load(&self, at: u32) -> u32 {
        Linear::load(self, HostPhys(at))
    }

    fn replace(&mut self, at: u32, old: u32, new: u32) -> bool {
        self.exchange(HostPhys(at), old, new)
    }
}

impl Hypervisor {
    /// The loaded guest waits for the lock at `at`, at most `microseconds`. Its result is in
    /// its `r0` when it runs again.
    pub(crate) fn wait_for_lock(&mut self, at: u32, microseconds: u32) {
        let index = self.loaded;
        let now = self.now();
        let guest = self.guest();
        let Some((lock, holders, revocable)) = guest.shadow.passthrough.lock(GuestPhys(at)) else {
            guest.vcpu.regs[0] = psci::INVALID_PARAMETERS;
            return;
        };
        guest.vcpu.regs[0] = AGAIN;
        if guest.board.deadline() <= now {
            guest.board.update(now);
        }
        guest.note_pending();
        if guest.vcpu.pending & !guest.status() != 0 {
            return;
        }
        let deadline = now + self.ticks_of(microseconds);
        let claim = Claim { lock: lock.0, holders, revocable, deadline };
        self.locks.wait(cores::board(), index, claim);
        // Before it goes on it has the lock, or makes room.
        self.guest().run = Run::Waiting;
        self.settle_locks();
    }

    /// Microseconds as ticks, without a division, which takes thousands of instructions.
    #[inline(never)]
    pub(crate) fn ticks_of(&self, microseconds: u32) -> u64 {
        (u64::from(microseconds) * u64::from(self.microsecond)) >> 16
    }

    /// Something changed that concerns locks, or who is to hear of something: before a guest runs,
    /// all of them are brought up to date.
    pub(crate) fn settle_locks(&mut self) {
        (self.unsettled, self.contention) = (0, 0);
        self.rearm = true;
    }

    /// Settles that as long as who is loaded goes on, before it does.
    #[cold]
    #[inline(never)]
    pub(crate) fn settle_pieces(&mut self) {
        while !self.reschedule && self.settle_piece() {
            self.give_way_called();
        }
    }

    /// Settles what is to be before a guest runs, one piece of it; false if there is nothing.
    #[inline(never)]
    pub(crate) fn settle_piece(&mut self) -> bool {
        if self.ended != 0 {
            match self.ended.trailing_zeros() as usize {
                NEWS => self.hand_on_news(),
                index => self.announce_end(index),
            }
            return true;
        }
        let piece = self.unsettled;
        if piece > self.count {
            return false;
        }
        match piece.checked_sub(1) {
            None => self.settle_waits(),
            Some(index) => self.settle_turn(index),
        }
        if self.unsettled > self.count && core::mem::take(&mut self.passes) {
            self.scheduler().expire();
        }
        true
    }

    /// Who waits for a lock may have it by now: a piece of that.
    fn settle_waits(&mut self) {
        if self.contention == CONTENDED {
            return self.contended();
        }
        let now = self.now();
        self.scheduler();
        let (guests, turns) = (&mut self.guests, &mut self.turns);
        let mut woken = false;
        let mut linear = Linear::enter(&mut self.view);
        let (board, piece) = (cores::board(), self.contention);
        let next = self.locks.settle(piece, board, &mut linear, now, &mut |vm, result| {
            let guest = &mut guests[vm % MAX_VMS];
            guest.vcpu.regs[0] = result;
            guest.run = Run::Running;
            // Who only just asked has made no room.
            if let Some(id) = Id::new(vm).filter(|id| !turns.is_ready(*id)) {
                guest.board.keep(now);
                woken = true;
                turns.ready(id);
            }
        });
        drop(linear);
        self.reschedule |= woken;
        self.contention = next.unwrap_or(CONTENDED);
    }

    /// The last piece of that: who asked for a lock and did not get it makes room, other cores look.
    fn contended(&mut self) {
        (self.unsettled, self.contention) = (1, 0);
        self.scheduler();
        for id in (0..self.count).filter_map(Id::new) {
            if self.locks.is_waiting(id.index()) && self.turns.is_ready(id) {
                self.turns.block(id);
                self.reschedule = true;
            }
        }
        // No turn may be passed that could be before.
        self.reschedule |= self.locks.is_watched(self.loaded);
        let call = self.locks.take_call();
        for core in 0..self.cores {
            if call && core != self.core {
                self.platform().call(core);
            }
        }
    }

    /// How urgent a VM is, what it is ordered; then, if it is to hear of something, that.
    fn settle_turn(&mut self, index: usize) {
        let next = self.unsettled + 1;
        let Some(id) = Id::new(index).filter(|_| self.is_own(index)) else {
            self.unsettled = next;
            return;
        };
        self.reschedule |= self.turns.set_priority(id, self.locks.urgency(index));
        let bit = 1 << (index % MAX_VMS);
        if self.told & bit != 0 {
            self.tell(index);
            self.told &= !bit;
            self.unsettled = next;
            return self.wake(index);
        }
        let (news, order) = cores::board().take(index);
        if news {
            self.told |= bit;
        } else {
            self.unsettled = next;
        }
        if order != 0 {
            self.obey(index, order);
        }
    }

    /// Interrupts a VM by all interrupts that tell of something: it is to look what it was.
    fn tell(&mut self, index: usize) {
        for nth in 0.. {
            let guest = &mut self.guests[index % MAX_VMS];
            let irq = guest.shadow.passthrough.told().nth(nth);
            let Some(irq) = irq.filter(|_| guest.lives()) else { return };
            let word = ISPENDR + irq / 32 * 4;
            guest.board.gic.write_distributor(word, Width::Word, 1 << (irq % 32));
            // All are told again then.
            self.give_way_called();
        }
    }
}
