//! One VM passes its turn to its equal: the switch of VMs without anything else.
//!
//! Budget `switch.vm`. What a guest needs that did not run since its state was renewed is
//! renewed already, so only what stays in the machine changes. No TLB and no cache operation:
//! each view has an ASID of its own.

use crate::guest::{Guest, Run};
use crate::hypervisor::{ENTRESOL_OBSERVED, Hypervisor, core};
use crate::{cp15, entry};
use entresol_abi::image::MAX_VMS;

/// `hvc` with the function Yield, by a kernel; pc is behind it.
pub(crate) extern "C" fn yielded(_: *mut Guest) -> *mut Guest {
    // SAFETY: the one handler that runs.
    let hypervisor = unsafe { core() };
    hypervisor.counters().hypercalls += 1;
    hypervisor.guest().vcpu.regs[0] = 0;
    let now = hypervisor.platform().now();
    match hypervisor.scheduler.pass(now) {
        Some(next) => hypervisor.turn_to(next.index()),
        None if hypervisor.scheduler.has_equal() => {
            hypervisor.scheduler.expire();
            hypervisor.reschedule = true;
            hypervisor.leave()
        }
        None => hypervisor.leave_unchanged(),
    }
}

impl Hypervisor {
    /// Loads the guest the scheduler has just turned to.
    #[inline]
    fn turn_to(&mut self, index: usize) -> *mut Guest {
        let index = index % MAX_VMS;
        // The timer may ring too early, not too late.
        let due = self.scheduler.deadline();
        if self.armed.is_none_or(|armed| due.is_some_and(|due| due < armed)) {
            self.arm();
        }
        let next = &self.guests[index];
        let simple = next.run == Run::Running && next.fast_is_known();
        if !simple || self.float_open || next.vcpu.float_enabled() {
            self.reschedule = true;
            return self.leave();
        }
        // SAFETY: handlers do not nest; the host only reads.
        let observed = unsafe { ENTRESOL_OBSERVED.get() };
        observed.vm_switches = observed.vm_switches.wrapping_add(1);
        self.guest().vcpu.cp15.tpidrurw = cp15::thread_user();
        self.loaded = index;
        let guest = self.guest();
        // SAFETY: both registers are only the guest's.
        unsafe { cp15::set_thread_user(guest.vcpu.cp15.tpidrurw) };
        // SAFETY: as above.
        unsafe { cp15::set_thread_read_only(guest.vcpu.cp15.tpidruro) };
        let guest: *mut Guest = guest;
        // SAFETY: Supervisor mode; guests are static.
        unsafe { entry::set_guest(guest) };
        // B2.2: a reservation of the old guest must not let the new one's store succeed.
        cp15::clear_exclusive();
        self.leave_unchanged()
    }
}
