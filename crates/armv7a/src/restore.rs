//! How a VM's run ends, and how it starts again from its image, step by step.
//!
//! A restart clears and copies as much memory as the VM has. It takes the VM's turns for
//! it, a bounded step at a time, so others run as if the VM ran.

use crate::cores;
use crate::fast::Fast;
use crate::guest::{LastException, Restore, Run};
use crate::hypervisor::{Hypervisor, name};
use crate::maintenance;
use entresol_abi::console::Channel;
use entresol_abi::image::{Load, MAX_VMS};
use entresol_abi::{GuestPhys, HostPhys};
use entresol_hv::health::{Action, End, Fault, Notices, Report};
use entresol_hv::scheduler::Id;

/// Bytes restored in one step.
const STEP: u32 = 0x1000;

impl Hypervisor {
    /// Ends the run of the loaded guest.
    #[cold]
    #[inline(never)]
    pub(crate) fn end(&mut self, end: End) {
        if let End::Fault(_) = end {
            self.counters().faults += 1;
        }
        let index = self.loaded;
        let guest = self.guest();
        let action = guest.health.decide(end);
        let vm = guest.vm;
        guest.run = match action {
            Action::Restart => Run::Restoring(Restore::Clear(0)),
            Action::Stop { well } => Run::Off { well },
            Action::ResetMachine => Run::Off { well: false },
        };
        guest.board.reset(0, 1, 0);
        self.locks.live(cores::board(), index, 0);
        self.settle_locks();
        let report = Report { vm: name(&vm.name), end, action };
        report.say(&mut self.console.writer(Channel(0)));
        self.end_line();
        if let (Action::Stop { .. }, Some(id)) = (action, Id::new(index)) {
            self.scheduler().block(id);
        }
        if action == Action::ResetMachine {
            self.flush();
            self.platform().reset();
        }
        self.reschedule = true;
    }

    /// Ends it by a fault.
    pub(crate) fn fault(&mut self, fault: Fault) {
        self.end(End::Fault(fault));
    }

    /// One step of restoring the loaded guest; the last one starts it.
    pub(crate) fn restore(&mut self, step: Restore) {
        if step == Restore::Begin {
            return self.begin();
        }
        let image = self.image;
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let vm = &guest.vm;
        let mut linear = Self::linear(&mut self.view);
        let linear = &mut linear;
        let next = match step {
            Restore::Clear(from) if from < vm.memory_len => {
                let len = STEP.min(vm.memory_len - from);
                linear.zero(HostPhys(vm.host.0 + from), len);
                Restore::Clear(from + len)
            }
            Restore::Clear(_) => Restore::Copy { load: 0, from: 0 },
            Restore::Copy { load, from } if load < vm.loads.count => {
                let at = image.0 + vm.loads.offset + load * size_of::<Load>() as u32;
                let word = |n: u32| linear.load::<u32>(HostPhys(at + n * 4));
                let (offset, len, to) = (word(0), word(1), word(2));
                let step = STEP.min(len - from.min(len));
                let source = HostPhys(image.0 + offset + from);
                // Checked at boot by `Header::check`; where it goes is checked here.
                let memory = &guest.shadow.memory;
                let last = to + from + step.max(1) - 1;
                let ends = (memory.host(GuestPhys(to + from)), memory.host(GuestPhys(last)));
                if let (Some(first), Some(_)) = ends {
                    linear.copy(source, first, step);
                }
                if from + step >= len {
                    Restore::Copy { load: load + 1, from: 0 }
                } else {
                    Restore::Copy { load, from: from + step }
                }
            }
            Restore::Copy { .. } => Restore::Forget(0),
            Restore::Forget(page) => guest
                .shadow
                .pages
                .forget(linear, page, STEP / 8)
                .map_or(Restore::Reset, Restore::Forget),
            Restore::Reset => {
                guest.shadow.reset(linear);
                // What was copied may be code that ran from these addresses before.
                maintenance::instructions_written(vm.host, 0);
                Restore::Begin
            }
            Restore::Begin => Restore::Begin,
        };
        guest.run = Run::Restoring(next);
    }

    /// Starts the loaded guest, whose memory is as its image says.
    fn begin(&mut self) {
        let hz = self.platform().hz();
        let now = self.platform().now();
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let vm = guest.vm;
        guest.vcpu.reset(vm.entry.0, 0, vm.r1, vm.r2.0);
        guest.renewed();
        guest.board.reset(now, hz, vm.flags);
        guest.notices = Notices::new();
        guest.last = LastException::default();
        guest.fast = Fast::EMPTY;
        guest.devices.forget();
        guest.run = Run::Running;
        for line in guest.interrupts.iter_mut().flatten() {
            line.delivered = false;
        }
        if self.float_holder == &raw const self.guests[self.loaded % MAX_VMS] {
            self.float_holder = core::ptr::null();
        }
        self.counters().starts += 1;
        let (index, starts) = (self.loaded, self.counters().starts);
        self.locks.live(cores::board(), index, starts);
        self.make_current();
        let lines = self.guest().interrupts;
        for line in lines.iter().flatten() {
            self.platform().unmask(line.machine);
        }
        self.deliver(self.loaded);
    }
}
