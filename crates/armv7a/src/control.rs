//! What one VM orders another, what befalls a VM, and who is told of it.
//!
//! An order is left on the board that cores share, and found by the core of the VM it is for.
//! A run is ended when the VM has its turn: only what is loaded can be.

use crate::cores;
use crate::guest::{Due, Run};
use crate::hypervisor::Hypervisor;
use entresol_abi::console::{Channel, Order};
use entresol_abi::control;
use entresol_abi::health::{Event, Policy};
use entresol_abi::hypercall::psci;
use entresol_abi::image::{MAX_VMS, flags};
use entresol_hv::health::{End, Fault};
use entresol_hv::link::State;
use entresol_hv::scheduler::Id;

impl Hypervisor {
    /// The loaded guest gives VM `index` an order, or asks for its state. Returns its result.
    pub(crate) fn control(&mut self, index: u32, order: u32) -> u32 {
        if index as usize >= self.count || order > control::EVENT {
            return psci::INVALID_PARAMETERS;
        }
        let vm = &self.guest().vm;
        let asks = matches!(order, control::STATE | control::EVENT) && vm.partner == index + 1;
        if !asks && vm.controls >> index & 1 == 0 {
            return psci::DENIED;
        }
        match order {
            control::STATE => return cores::board().starts(index as usize),
            control::EVENT => return cores::board().event(index as usize),
            _ => {}
        }
        self.order(index, order);
        psci::SUCCESS
    }

    fn order(&mut self, index: u32, order: u32) {
        cores::board().order(index as usize, order);
        let core = self.guests[index as usize % MAX_VMS].vm.core;
        if core == self.core { self.settle_locks() } else { self.platform().call(core) }
    }

    /// Gives a VM the next order that came by the console, if there is one and it is one, and answers.
    #[cold]
    #[inline(never)]
    pub(crate) fn obey_console(&mut self) {
        let Some(byte) = self.console.get(Channel(0)) else { return };
        let Some(Order { vm, order }) = Order::of(byte) else { return };
        let allowed = self.guests[usize::from(vm) % MAX_VMS].vm.flags & flags::ORDERED != 0;
        if allowed {
            self.order(u32::from(vm), u32::from(order));
        }
        let refused = if allowed { 0 } else { Order::REFUSED };
        self.console.put(Channel(0), byte & !Order::REFUSED | refused);
    }

    /// Carries out what was ordered for VM `index` of this core.
    #[cold]
    #[inline(never)]
    pub(crate) fn obey(&mut self, index: usize, order: u32) {
        let Some(id) = Id::new(index) else { return };
        self.keep(index);
        self.scheduler().set_paused(id, order == control::PAUSE);
        self.reschedule = true;
        let (core, image, hz) = (self.core, self.image, self.platform().hz());
        self.pause_sibling(index, order == control::PAUSE);
        let guest = &mut self.guests[index % MAX_VMS];
        match (order, guest.run) {
            (control::START | control::RESTART, Run::Off { .. }) => {
                guest.restore(image, hz, true);
                self.turns.ready(id);
                if core != 0 {
                    cores::link(core).set_state(State::Running);
                }
            }
            (control::START, _) if guest.due == Due::Stop => guest.due = Due::Restart,
            (control::STOP | control::RESTART, run) if !matches!(run, Run::Off { .. }) => {
                guest.due = if order == control::STOP { Due::Stop } else { Due::Restart };
                self.wake(index);
            }
            _ => {}
        }
    }

    /// Does to the loaded guest what it was ordered, or what follows from what befell it.
    #[cold]
    pub(crate) fn settle_due(&mut self) {
        let pc = self.guest().vcpu.pc;
        let end = match core::mem::replace(&mut self.guest().due, Due::Nothing) {
            Due::Befallen(event) => End::Fault(Fault::Befallen { event, pc }),
            due => End::Ordered { restart: due == Due::Restart },
        };
        self.end(end);
    }

    /// Something befell VM `index`, which may not run now. If its run is to end, it does when it
    /// has its turn; its partner need not wait for that.
    #[cold]
    #[inline(never)]
    pub(crate) fn befall(&mut self, index: usize, event: Event) {
        let guest = &mut self.guests[index % MAX_VMS];
        if guest.due != Due::Nothing || !guest.lives() {
            return;
        }
        match self.note_event(index, event) {
            Policy::Ignore => return,
            Policy::Notify => return self.settle_locks(),
            Policy::FailOver => self.ended |= 1 << (index % MAX_VMS),
            _ => {}
        }
        self.guests[index % MAX_VMS].due = Due::Befallen(event);
        self.reschedule = true;
        self.wake(index);
    }

    /// Notes that something befell VM `index`, and tells of it if that is all;
    /// [`Hypervisor::settle_locks`] is to follow then. Returns what is to follow.
    pub(crate) fn note_event(&mut self, index: usize, event: Event) -> Policy {
        let health = &mut self.guests[index % MAX_VMS].health;
        cores::board().note_event(index, health.record(event));
        let policy = health.policy(event);
        if policy == Policy::Notify {
            self.tell_of(index);
        }
        policy
    }

    /// Tells of VM `index` who is to hear of it. [`Hypervisor::settle_locks`] is to follow.
    pub(crate) fn tell_of(&mut self, index: usize) {
        cores::board().tell(self.guests[index % MAX_VMS].vm.told);
        self.locks.announce();
    }

    /// The partner of VM `index`, if it runs or is about to, has from now on what is the pair's.
    /// Nothing happens, and it returns false, if it has already. It is told by [`Hypervisor::tell_of`].
    pub(crate) fn hand_over(&mut self, index: usize) -> bool {
        let other = (self.guests[index % MAX_VMS].vm.partner as usize).wrapping_sub(1);
        let Some(partner) = self.guests.get(other) else { return false };
        let passive = self.guests[index % MAX_VMS].shadow.passthrough.passive;
        if matches!(partner.run, Run::Off { .. }) || passive {
            return false;
        }
        let lives = partner.lives();
        self.let_interrupt(index, false);
        // Until both have changed it is done again.
        self.give_way_called();
        self.guests[other % MAX_VMS].shadow.passthrough.passive = false;
        if lives {
            self.let_interrupt(other, true);
        }
        self.guests[index % MAX_VMS].shadow.passthrough.passive = true;
        true
    }

    /// Lets the machine's devices of VM `index`, those that it has now, interrupt, or keeps them from it.
    pub(crate) fn let_interrupt(&mut self, index: usize, open: bool) {
        let Some(platform) = &mut self.platform else { return };
        let guest = &mut self.guests[index % MAX_VMS];
        for line in &mut guest.interrupts {
            let Some(line) = line else { continue };
            if line.paired && guest.shadow.passthrough.passive {
                continue;
            }
            line.delivered = false;
            if open {
                platform.unmask(line.machine);
            } else {
                platform.mask(line.machine);
            }
        }
    }
}
