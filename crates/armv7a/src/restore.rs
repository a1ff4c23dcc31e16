//! How a VM's run ends, and how it starts again from its image, step by step.
//!
//! A restart clears and copies as much memory as the VM has. It takes the VM's turns for
//! it, a bounded step at a time, so others run as if the VM ran.

use crate::guest::Run;
use crate::hypervisor::{Hypervisor, name};
use crate::maintenance;
use crate::shadow::Shadow;
use entresol_abi::image::{Load, MAX_VMS};
use entresol_abi::{GuestPhys, HostPhys};
use entresol_hv::health::{Action, End, Fault, Report};
use entresol_hv::scheduler::Id;

/// Bytes restored in one step.
const STEP: u32 = 0x1000;

impl Hypervisor {
    /// Ends the run of the loaded guest.
    pub(crate) fn end(&mut self, end: End) {
        if let End::Fault(_) = end {
            self.counters().faults += 1;
        }
        let index = self.loaded;
        let guest = self.guest();
        let action = guest.health.decide(end);
        let vm = guest.vm;
        guest.run = match action {
            Action::Restart => Run::Restoring { cleared: 0, load: 0, copied: 0 },
            Action::Stop { well } => Run::Off { well },
            Action::ResetMachine => Run::Off { well: false },
        };
        guest.board.reset(0, 1, 0);
        self.say(format_args!("{}", Report { vm: name(&vm.name), end, action }));
        if let (Action::Stop { .. }, Some(id)) = (action, Id::new(index)) {
            self.scheduler.block(id);
        }
        if action == Action::ResetMachine {
            self.platform().reset();
        }
        self.reschedule = true;
    }

    /// Ends it by a fault.
    pub(crate) fn fault(&mut self, fault: Fault) {
        self.end(End::Fault(fault));
    }

    /// One step of restoring the loaded guest; the last one starts it.
    pub(crate) fn restore(&mut self, cleared: u32, load: u32, copied: u32) {
        let image = self.image;
        let hz = self.platform().hz();
        let now = self.platform().now();
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let vm = guest.vm;
        let mut linear = Self::linear(&mut self.view);
        if cleared < vm.memory_len {
            let len = STEP.min(vm.memory_len - cleared);
            linear.zero(HostPhys(vm.host.0 + cleared), len);
            guest.run = Run::Restoring { cleared: cleared + len, load, copied };
            return;
        }
        if load < vm.loads.count {
            let at = image.0 + vm.loads.offset + load * size_of::<Load>() as u32;
            let word = |n: u32| linear.load::<u32>(HostPhys(at + n * 4));
            let (offset, len, to) = (word(0), word(1), word(2));
            let step = STEP.min(len - copied.min(len));
            let source = HostPhys(image.0 + offset + copied);
            // Checked at boot by `Header::check`; where it goes is checked here.
            if let (Some(first), Some(_)) = (
                guest.shadow.memory.host(GuestPhys(to + copied)),
                guest.shadow.memory.host(GuestPhys(to + copied + step.max(1) - 1)),
            ) {
                linear.copy(source, first, step);
            }
            guest.run = if copied + step >= len {
                Run::Restoring { cleared, load: load + 1, copied: 0 }
            } else {
                Run::Restoring { cleared, load, copied: copied + step }
            };
            return;
        }
        guest.shadow.reset(&mut linear);
        // What was copied may be code that ran from these addresses before.
        maintenance::instructions_written(vm.host, 0);
        drop(linear);
        guest.vcpu.reset(vm.entry.0, 0, vm.r1, vm.r2.0);
        guest.dacr = Shadow::domains(&guest.vcpu.cp15);
        guest.board.reset(now, hz, vm.flags);
        guest.notices = 0;
        guest.last = crate::guest::LastException::default();
        guest.fast = crate::fast::Fast::EMPTY;
        guest.run = Run::Running;
        for line in guest.interrupts.iter_mut().flatten() {
            line.delivered = false;
        }
        if self.float_owner == Some(self.loaded) {
            self.float_owner = None;
        }
        self.counters().starts += 1;
        self.make_current();
        let lines = self.guest().interrupts;
        for line in lines.iter().flatten() {
            self.platform().unmask(line.machine);
        }
        self.deliver(self.loaded);
    }
}
