//! How a VM's run ends, and how it starts again from its image.
//!
//! A restart clears and copies as much memory as the VM has. That is [`work`](crate::work) of the
//! VM, so others run as if the VM ran.

use crate::cores;
use crate::cp15;
use crate::fast::Fast;
use crate::guest::{Due, Guest, LastException, Run};
use crate::hypervisor::Hypervisor;
use crate::linear::Linear;
use crate::maintenance;
use crate::shadow::Shadow;
use crate::work::{Said, Work};
use entresol_abi::image::{Load, MAX_VMS, Vm};
use entresol_abi::{GuestPhys, HostPhys};
use entresol_hv::health::{Action, End, Fault, Notices};
use entresol_hv::scheduler::Id;
use entresol_hv::siblings::Siblings;

impl Guest {
    /// Restores its memory and starts when its turn comes. The first start does not `clear` it:
    /// memory outside the loads is as the machine left it.
    #[inline(never)]
    pub(crate) fn restore(&mut self, image: HostPhys, hz: u32, clear: bool) {
        self.give(Work::Restore { image, hz, clear });
        self.run = Run::Restoring;
    }

    /// Makes its processor and what was noted of it as at the start: work, after its memory.
    pub(crate) fn reset(&mut self, hz: u32) {
        let vm = &self.vm;
        let second = self.siblings.filter(|_| self.cpu != 0).map(Siblings::beginning);
        let (entry, r0) = second.unwrap_or((vm.entry.0, 0));
        self.vcpu.reset(entry, r0, vm.r1, vm.r2.0);
        self.renewed();
        self.board.clear(hz);
        self.notices = Notices::new();
        self.last = LastException::default();
        self.fast = Fast::EMPTY;
        self.devices.forget();
        for line in self.interrupts.iter_mut().flatten() {
            line.delivered = false;
        }
    }
}

impl Hypervisor {
    /// Ends the run of the loaded guest.
    #[cold]
    #[inline(never)]
    pub(crate) fn end(&mut self, end: End) {
        if let End::Fault(_) = end {
            self.counters().faults += 1;
        }
        if self.guest().cpu != 0 {
            return self.end_by_first(end);
        }
        let (now, hz) = (self.now(), self.platform().hz());
        let index = self.loaded;
        let action = self.guest().health.decide(end, now, hz);
        match end.event() {
            // That was noted when it befell.
            None => {}
            _ if matches!(end, End::Fault(Fault::Befallen { .. })) => {}
            Some(event) => drop(self.note_event(index, event)),
        }
        let mut run = Run::Ending(action);
        match action {
            Action::GoOn { told: false } => return self.settle_locks(),
            Action::GoOn { .. } => run = Run::Working,
            _ => {}
        }
        self.reschedule = true;
        let guest = self.guest();
        guest.unfinished.end = end;
        guest.give(Work::Say(Said::Report(action)));
        guest.run = run;
        if run == Run::Working {
            return;
        }
        guest.board.silence();
        if let Due::Befallen(_) = guest.due {
            guest.due = Due::Nothing;
        }
        self.halt_sibling();
        self.ended |= 1 << (index % MAX_VMS);
    }

    /// The run of VM `index` ended, or is about to and its partner takes over at once: that it does, that
    /// the VM's devices are quiet and its locks free, and who hears of it. One piece of that.
    #[cold]
    pub(crate) fn announce_end(&mut self, index: usize) {
        let run = self.guests[index % MAX_VMS].run;
        let stays = matches!(run, Run::Ending(Action::Restart | Action::ResetMachine));
        if !stays && self.hand_over(index) {
            return;
        }
        self.ended &= !(1 << (index % MAX_VMS));
        if let Run::Ending(_) = run {
            self.let_interrupt(index, false);
            self.locks.live(cores::board(), index, 0);
        }
        self.tell_of(index);
        // Its equals, of whom one may take over, run before what is left to do of it.
        self.passes |= self.loaded == index;
        self.settle_locks();
    }

    /// Ends it by a fault.
    pub(crate) fn fault(&mut self, fault: Fault) {
        self.end(End::Fault(fault));
    }

    /// Does what follows the end of the loaded guest's run.
    pub(crate) fn follow(&mut self, action: Action) {
        let (image, hz) = (self.image, self.platform().hz());
        let index = self.loaded;
        let guest = self.guest();
        match action {
            Action::Restart | Action::FailOver => guest.restore(image, hz, true),
            Action::Stop { well } => {
                // Ordered while it ended.
                if core::mem::replace(&mut guest.due, Due::Nothing) == Due::Restart {
                    return guest.restore(image, hz, true);
                }
                guest.run = Run::Off { well };
                if let Some(id) = Id::new(index) {
                    self.scheduler().block(id);
                }
            }
            Action::ResetMachine => {
                self.flush();
                self.platform().reset();
            }
            Action::GoOn { .. } => {}
        }
    }

    /// Starts the loaded guest, whose memory is as its image says.
    pub(crate) fn begin(&mut self) {
        let now = self.now();
        let index = self.loaded;
        // Until it runs this may be done again; the rest may not.
        self.guest().give(Work::Nothing);
        self.let_interrupt(index, true);
        self.give_way_called();
        let guest = &mut self.guests[index % MAX_VMS];
        guest.board.start(now, guest.vm.flags);
        // What was the machine's when it was kept from being restored.
        guest.vcpu.cp15.tpidrurw = 0;
        // SAFETY: the register is only the loaded guest's.
        unsafe { cp15::set_thread_user(0) };
        guest.run = Run::Running;
        if self.float_holder == &raw const self.guests[self.loaded % MAX_VMS] {
            self.float_holder = core::ptr::null();
        }
        self.begin_sibling();
        if self.guest().cpu == 0 {
            self.counters().starts += 1;
            let starts = self.counters().starts;
            self.locks.live(cores::board(), index, starts);
        }
        self.deliver(index);
        self.give_way_called();
        self.make_current();
    }
}

/// Makes a VM's memory what its image says, and forgets what was known of it.
pub(crate) fn restore(
    shadow: &mut Shadow,
    linear: &mut Linear<'_>,
    vm: &Vm,
    image: HostPhys,
    clear: bool,
) {
    if clear {
        linear.zero(vm.host, vm.memory_len);
    }
    for load in 0..vm.loads.count {
        let at = image.0 + vm.loads.offset + load * size_of::<Load>() as u32;
        let word = |n: u32| linear.load::<u32>(HostPhys(at + n * 4));
        let (offset, len, to) = (word(0), word(1), word(2));
        // Checked at boot by `Header::check`; where it goes is checked here.
        let last = to + len.max(1) - 1;
        let ends = (shadow.memory.host(GuestPhys(to)), shadow.memory.host(GuestPhys(last)));
        if let (Some(first), Some(_)) = ends {
            linear.copy(HostPhys(image.0 + offset), first, len);
        }
    }
    shadow.pages.forget(linear);
    shadow.reset(linear);
    if let Some(peer) = shadow.peer() {
        peer.reset(linear);
    }
    // What was copied may be code that ran from these addresses before.
    maintenance::instructions_written(vm.host, 0);
}
