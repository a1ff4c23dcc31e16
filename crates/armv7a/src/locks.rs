//! Locks between VMs, on this architecture: their words, interrupts and turns.
//!
//! Who gets a lock is [`entresol_hv::locks`]'s to say. Here an address becomes a word, once,
//! in [`Passthroughs::lock`](crate::passthrough::Passthroughs::lock).

use crate::cores;
use crate::guest::Run;
use crate::hypervisor::Hypervisor;
use crate::linear::Linear;
use entresol_abi::hypercall::psci;
use entresol_abi::image::MAX_VMS;
use entresol_abi::lock::AGAIN;
use entresol_abi::{GuestPhys, HostPhys};
use entresol_hv::bus::Width;
use entresol_hv::locks::{Claim, Words};
use entresol_hv::scheduler::Id;

/// `GICD_ISPENDR`: sets interrupts pending (ARM IHI 0048B, 4.3.7).
const ISPENDR: u32 = 0x200;

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
        let now = self.platform().now();
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
        self.settle_locks();
        if self.locks.is_waiting(index) {
            self.guest().run = Run::Waiting;
            if let Some(id) = Id::new(index) {
                self.scheduler().block(id);
            }
            self.reschedule = true;
        }
    }

    /// Microseconds as ticks, without a division, which takes thousands of instructions.
    #[inline(never)]
    pub(crate) fn ticks_of(&self, microseconds: u32) -> u64 {
        (u64::from(microseconds) * u64::from(self.microsecond)) >> 16
    }

    /// Brings all locks up to date, after anything changed that concerns them.
    #[inline(never)]
    pub(crate) fn settle_locks(&mut self) {
        let now = self.platform().now();
        self.scheduler();
        let (guests, turns) = (&mut self.guests, &mut self.turns);
        let mut linear = Linear::enter(&mut self.view);
        let mut woken = false;
        let call = self.locks.settle(cores::board(), &mut linear, now, &mut |vm, result| {
            let guest = &mut guests[vm % MAX_VMS];
            guest.vcpu.regs[0] = result;
            // Who only just asked runs still.
            if guest.run == Run::Waiting {
                guest.run = Run::Running;
                guest.board.keep(now);
                woken = true;
                if let Some(id) = Id::new(vm) {
                    turns.ready(id);
                }
            }
        });
        drop(linear);
        let mut changed = woken;
        for index in 0..self.count {
            if let Some(id) = Id::new(index).filter(|_| self.is_own(index)) {
                changed |= self.turns.set_priority(id, self.locks.urgency(index));
                let (news, order) = cores::board().take(index);
                if order != 0 {
                    self.obey(index, order);
                }
                if news {
                    self.tell(index);
                }
            }
        }
        for core in 0..self.cores {
            if call && core != self.core {
                self.platform().call(core);
            }
        }
        self.reschedule |= changed;
    }

    /// Interrupts a VM by all interrupts that tell of something: it is to look what it was.
    fn tell(&mut self, index: usize) {
        let guest = &mut self.guests[index % MAX_VMS];
        if !guest.lives() {
            return;
        }
        for irq in guest.shadow.passthrough.told() {
            let word = ISPENDR + irq / 32 * 4;
            guest.board.gic.write_distributor(word, Width::Word, 1 << (irq % 32));
        }
        self.wake(index);
    }
}
