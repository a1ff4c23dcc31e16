//! What one VM orders another: start, stop, restart, pause, resume.
//!
//! An order is left on the board that cores share, and found by the core of the VM it is for.
//! A run is ended when the VM has its turn: only what is loaded can be.

use crate::cores;
use crate::guest::Run;
use crate::hypervisor::Hypervisor;
use entresol_abi::control;
use entresol_abi::hypercall::psci;
use entresol_abi::image::MAX_VMS;
use entresol_hv::health::End;
use entresol_hv::link::State;
use entresol_hv::scheduler::Id;

impl Hypervisor {
    /// The loaded guest gives VM `index` an order, or asks for its state. Returns its result.
    pub(crate) fn control(&mut self, index: u32, order: u32) -> u32 {
        if index as usize >= self.count || order > control::RESUME {
            return psci::INVALID_PARAMETERS;
        }
        if self.guest().vm.controls >> index & 1 == 0 {
            return psci::DENIED;
        }
        if order == control::STATE {
            return cores::board().starts(index as usize);
        }
        cores::board().order(index as usize, order);
        let core = self.guests[index as usize % MAX_VMS].vm.core;
        if core == self.core {
            self.settle_locks()
        } else {
            self.platform().call(core)
        }
        psci::SUCCESS
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
            (control::STOP | control::RESTART, run) if !matches!(run, Run::Off { .. }) => {
                guest.order = order;
                self.wake(index);
            }
            _ => {}
        }
    }

    /// Ends the run of the loaded guest, as it was ordered.
    #[cold]
    pub(crate) fn end_as_ordered(&mut self) {
        let order = core::mem::take(&mut self.guest().order);
        self.end(End::Ordered { restart: order == control::RESTART });
    }

    /// Tells those who control VM `index` that its run ended.
    pub(crate) fn tell_controllers(&mut self, index: usize) {
        for (other, guest) in self.guests.iter().enumerate().take(self.count) {
            if guest.vm.controls >> index & 1 == 1 {
                cores::board().tell(other);
            }
        }
    }
}
