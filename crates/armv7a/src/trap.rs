//! What a guest's traps mean: exceptions, mappings, faults.
//!
//! One handler for each exception of the machine; the entry code saved the guest and
//! resumes the one a handler returns. Trapped instructions are in
//! [`emulate`](crate::emulate), accesses to the board in [`device`](crate::device),
//! mappings in [`shadow`](crate::shadow).
//!
//! # Invariants
//!
//! - Every handler ends with [`Hypervisor::leave`].
//! - A guest's address is used only through its own view ([`guarded`](crate::guarded)) or
//!   after a walk of its tables.
//! - No loop here runs longer than [`ATTEMPTS`] times.

use crate::cp15;
use crate::guest::{Guest, Run};
use crate::hypervisor::{Hypervisor, core};
use crate::maintenance;
use crate::shadow::{Attempt, Resolved};
use crate::stubs::Stopped;
use crate::work::{Access, Work};
use entresol_abi::GuestPhys;
use entresol_abi::image::MAX_VMS;
use entresol_hv::board::Board;
use entresol_hv::health::{Access as Did, Fault, Notice, Who};
use entresol_hv::sentence::Value::{Hex, Text};
use entresol_isa::op::InstructionSet;
use entresol_vcpu::{Cause, Exception, fsr, psr};

/// How often one access may need something new: code made data, a fill, a second page.
pub(crate) const ATTEMPTS: u32 = 6;

/// FSR for a place where nothing is: synchronous external abort, not translation.
const EXTERNAL: u32 = 0x008;
/// DFSR.WnR.
const WROTE: u32 = 1 << 11;

/// An undefined instruction: something sensitive, or the guest's own.
pub(crate) extern "C" fn undefined(loaded: *mut Guest) -> *mut Guest {
    // SAFETY: the one handler that runs.
    let hypervisor = unsafe { core() };
    hypervisor.check_origin(1);
    let vcpu = &mut hypervisor.guest_called().vcpu;
    vcpu.pc = vcpu.pc.wrapping_sub(if vcpu.thumb() { 2 } else { 4 });
    if hypervisor.took_express() {
        return hypervisor.settle_express();
    }
    let stopped = hypervisor.stopped();
    hypervisor.give_way_called();
    let left_out = match stopped {
        Stopped::Outside => {
            let vcpu = &hypervisor.guest_called().vcpu;
            // A branch may be the last instruction of an IT block only (A8.8.18).
            let single = vcpu.psr & psr::IT_MORE == 0;
            let site = vcpu.pc | u32::from(vcpu.thumb());
            let done = hypervisor.emulate(None);
            hypervisor.give_way_called();
            // Unfinished work has its shadow.
            if done && single && matches!(hypervisor.guest_called().run, Run::Running) {
                hypervisor.trapped_at(site);
            }
            !done
        }
        Stopped::Before(original) => !hypervisor.emulate(Some(original)),
        Stopped::Behind => false,
    };
    if left_out {
        // It takes an interrupt first.
        hypervisor.guest_called().goes_on();
        return loaded;
    }
    hypervisor.leave()
}

/// `svc`: the guest kernel's business.
pub(crate) extern "C" fn supervisor_call(_: *mut Guest) -> *mut Guest {
    // SAFETY: the one handler that runs.
    let hypervisor = unsafe { core() };
    let vcpu = &mut hypervisor.guest_called().vcpu;
    vcpu.pc = vcpu.pc.wrapping_sub(if vcpu.thumb() { 2 } else { 4 });
    if hypervisor.took_express() {
        return hypervisor.settle_express();
    }
    hypervisor.stopped();
    hypervisor.inject(Exception::SupervisorCall);
    hypervisor.leave()
}

/// A fetch failed.
pub(crate) extern "C" fn prefetch_abort(loaded: *mut Guest) -> *mut Guest {
    // SAFETY: the one handler that runs.
    let hypervisor = unsafe { core() };
    hypervisor.check_origin(3);
    if hypervisor.took_express() {
        return hypervisor.settle_express();
    }
    hypervisor.stopped_lightly();
    let status = cp15::instruction_fault_status();
    let address = cp15::instruction_fault_address();
    hypervisor.guest().heed();
    if is_mapping_fault(status) {
        if hypervisor.opened(status, true) {
            hypervisor.guest().goes_on();
            return loaded;
        }
        // Once: the work of what is to be resolved later is not to be forgotten half done.
        let resolved = hypervisor.resolve(address, Attempt::Fetch, true);
        if resolved == Resolved::Filled {
            // Nothing else changed.
            hypervisor.guest().goes_on();
            return loaded;
        }
        hypervisor.guest().pull();
        hypervisor.give_way_called();
        hypervisor.fetched(address, resolved);
    } else {
        // A breakpoint, or an external abort of a passed-through device.
        hypervisor.inject(Exception::PrefetchAbort { ifsr: status, ifar: address });
    }
    hypervisor.leave()
}

/// A load or store failed.
pub(crate) extern "C" fn data_abort(loaded: *mut Guest) -> *mut Guest {
    aborted(loaded, cp15::data_fault_status(), cp15::data_fault_address())
}

/// A load or store of a kernel failed on a page of its board that it touched lately.
pub(crate) extern "C" fn device(
    loaded: *mut Guest,
    _: u32,
    status: u32,
    address: u32,
) -> *mut Guest {
    // SAFETY: the one handler that runs.
    let hypervisor = unsafe { core() };
    let guest = hypervisor.guest();
    let in_stub = guest.vcpu.pc >> 20 == guest.shadow.stubs.hole();
    guest.heed();
    if !hypervisor.took_express()
        && !in_stub
        && let Some(guest) = hypervisor.usual_device(address, status & WROTE != 0)
    {
        return guest;
    }
    aborted(loaded, status, address)
}

fn aborted(loaded: *mut Guest, status: u32, address: u32) -> *mut Guest {
    // SAFETY: the one handler that runs.
    let hypervisor = unsafe { core() };
    if hypervisor.took_express() {
        return hypervisor.settle_express();
    }
    hypervisor.stopped_lightly();
    hypervisor.guest().heed();
    if is_mapping_fault(status) {
        let store = status & WROTE != 0;
        if let Some(guest) = hypervisor.usual_device(address, store) {
            return guest;
        }
        if hypervisor.opened(status, false) {
            hypervisor.guest().goes_on();
            return loaded;
        }
        let attempt = if store { Attempt::Write } else { Attempt::Read };
        return hypervisor.data(loaded, address, attempt);
    }
    hypervisor.inject(Exception::DataAbort { dfsr: status, dfar: address });
    hypervisor.leave()
}

/// An interrupt of the machine.
pub(crate) extern "C" fn interrupt(_: *mut Guest) -> *mut Guest {
    // SAFETY: the one handler that runs.
    let hypervisor = unsafe { core() };
    if hypervisor.took_express() {
        return hypervisor.settle_express();
    }
    hypervisor.stopped_lightly();
    hypervisor.interrupted();
    hypervisor.leave_unchanged()
}

/// The hypervisor itself took an exception: the end, with what is known.
pub(crate) extern "C" fn broken(kind: u32, address: u32, status: u32) -> ! {
    // SAFETY: nothing runs after this.
    let hypervisor = unsafe { core() };
    let kind = match kind {
        1 => "undefined instruction",
        3 => "prefetch abort",
        4 => "data abort",
        7 => "fast interrupt",
        _ => "exception",
    };
    hypervisor.say(
        "entresol is broken: % in the hypervisor at %, status %, DFAR %, DFSR %",
        &[
            Text(kind),
            Hex(address),
            Hex(status),
            Hex(cp15::data_fault_address()),
            Hex(cp15::data_fault_status()),
        ],
    );
    hypervisor.flush();
    hypervisor.platform().power_off(false)
}

/// Whether a fault status is of the kinds that shadow tables cause: translation, access
/// flag, domain, permission.
const fn is_mapping_fault(status: u32) -> bool {
    const KINDS: u32 =
        1 << 0x3 | 1 << 0x5 | 1 << 0x6 | 1 << 0x7 | 1 << 0x9 | 1 << 0xb | 1 << 0xd | 1 << 0xf;
    status & 1 << 10 == 0 && KINDS >> (status & 0xf) & 1 == 1
}

/// Opens domains; whether any of them was not.
pub(crate) fn open(bits: u32) -> bool {
    let now = cp15::domain_access();
    if now & bits == bits {
        return false;
    }
    // SAFETY: the window's domain stays what it is.
    unsafe { maintenance::set_domains(now | bits) };
    true
}

impl Hypervisor {
    /// Stops if the hypervisor itself, not a guest, took exception `kind`.
    #[inline]
    fn check_origin(&mut self, kind: u32) {
        let vcpu = &self.guest().vcpu;
        if vcpu.psr & psr::MODE != 0x10 {
            broken(kind, vcpu.pc, vcpu.psr);
        }
    }

    /// The guest takes an exception.
    pub(crate) fn inject(&mut self, exception: Exception) {
        let counters = self.counters();
        counters.reflected = counters.reflected.wrapping_add(1);
        let reflected = counters.reflected;
        let guest = self.guest_called();
        // It may have made room for another since it trapped.
        guest.pull();
        guest.promotion.entered = true;
        let from = guest.vcpu.pc;
        guest.vcpu.enter(exception);
        cp15::clear_exclusive();
        // A vector that faults at its first instruction is entered again and again.
        let vector = guest.vcpu.pc;
        let before = core::mem::replace(&mut guest.last.reflected, reflected);
        let again = from == guest.last.vector && reflected == before.wrapping_add(1);
        guest.last.count = if again { guest.last.count + 1 } else { 0 };
        guest.last.vector = vector;
        if !again {
            guest.last.from = from;
        }
        if guest.last.count >= 16 {
            // It faults again.
            self.give_way_called();
            let guest = self.guest_called();
            let pc = guest.last.from;
            let fault = match exception {
                Exception::PrefetchAbort { .. } => Fault::NoVector { vector, pc },
                _ => Fault::ExceptionLoop { vector, pc },
            };
            self.fault(fault);
        }
    }

    /// A fetch at `address` failed in the guest's current view.
    pub(crate) fn fetch(&mut self, address: u32) {
        let resolved = self.resolve(address, Attempt::Fetch, true);
        self.fetched(address, resolved);
    }

    fn fetched(&mut self, address: u32, resolved: Resolved) {
        match resolved {
            Resolved::Fault(fault) => {
                self.inject(Exception::PrefetchAbort { ifsr: fault.ifsr(), ifar: address });
            }
            Resolved::Board(at) => {
                self.tell_nothing(address, at, Did::Executed);
                self.inject(Exception::PrefetchAbort { ifsr: EXTERNAL, ifar: address });
            }
            Resolved::Window => self.touched_window(address, Did::Executed),
            _ => {}
        }
    }

    /// An access of the loaded guest failed in its current view. Returns the guest to resume.
    fn data(&mut self, loaded: *mut Guest, address: u32, attempt: Attempt) -> *mut Guest {
        let mut attempt = attempt;
        let mut resolved = self.resolve(address, attempt, true);
        if resolved == Resolved::Unchanged && attempt == Attempt::Read {
            // It may be read already: a store that the machine reported as a load, as QEMU does
            // for store-exclusive.
            attempt = Attempt::Write;
            resolved = self.resolve(address, attempt, true);
        }
        if resolved == Resolved::Filled {
            // Nothing else changed.
            self.guest().goes_on();
            return loaded;
        }
        self.guest().pull();
        self.give_way_called();
        match resolved {
            Resolved::WritesCode(at) => self.store_to_code(at, address),
            Resolved::Fault(fault) => {
                let dfsr = fault.dfsr(attempt == Attempt::Write);
                self.inject(Exception::DataAbort { dfsr, dfar: address });
            }
            Resolved::Board(at) => self.device(at, address, attempt),
            Resolved::Window => self.touched_window(address, did(attempt)),
            _ => {}
        }
        self.leave()
    }

    /// Makes a guarded access at `address` possible; `false` if an exception was injected
    /// instead, or the guest is to try again.
    pub(crate) fn data_for_hypervisor(&mut self, address: u32, attempt: Attempt) -> bool {
        if self.opened(cp15::data_fault_status(), false) {
            return true;
        }
        match self.resolve(address, attempt, false) {
            Resolved::Filled | Resolved::Unchanged => return true,
            Resolved::Fault(fault) => {
                let dfsr = fault.dfsr(attempt == Attempt::Write);
                self.inject(Exception::DataAbort { dfsr, dfar: address });
            }
            Resolved::Board(at) => {
                self.tell_nothing(address, at, did(attempt));
                self.inject(Exception::DataAbort { dfsr: external(attempt), dfar: address });
            }
            Resolved::Window => self.touched_window(address, did(attempt)),
            _ => {}
        }
        false
    }

    /// Finds out what an attempt of the loaded guest needs, and does it if it is the shadow's
    /// business. `own`: the instruction at pc makes the access itself.
    #[inline(never)]
    fn resolve(&mut self, address: u32, attempt: Attempt, own: bool) -> Resolved {
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let (privileged, thumb, pc) = (guest.vcpu.privileged(), guest.vcpu.thumb(), guest.vcpu.pc);
        let set = if thumb { InstructionSet::T32 } else { InstructionSet::A32 };
        let pc = own.then_some(pc);
        // That a pool was found full is told before the guest goes on.
        if !self.work(Work::Resolve(Access { address, attempt, privileged, set, pc }))
            || self.reschedule
        {
            return Resolved::Later;
        }
        self.guest().unfinished.resolved
    }

    /// Opens what the guest's DACR has open for its kernel and the machine's has not, if that is all
    /// that a fault with this status is about; and, not to fetch, what its application may touch, too:
    /// see [`Shadow::to_open`](crate::shadow::Shadow::to_open).
    #[inline]
    fn opened(&mut self, status: u32, fetch: bool) -> bool {
        const DOMAIN: u32 = 0x9;
        const KIND: u32 = 1 << 10 | 0xd;
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        if status & KIND != DOMAIN || !guest.vcpu.privileged() {
            return false;
        }
        let both = if fetch { 0 } else { guest.shadow.to_open(&guest.vcpu.cp15, status) };
        let opened = open(guest.dacr | both);
        if opened {
            guest.enforces(guest.vcpu.cp15.dacr);
        }
        opened
    }

    /// Goes on with two tables, if the guest has been given these.
    #[inline(never)]
    pub(crate) fn parted(&mut self) {
        if let Some(why) = self.guest_called().shadow.joint.parted.take() {
            self.renew();
            self.renew_vectors();
            self.enter_view(self.loaded);
            self.notice(Notice::TwoTables { why });
        }
    }

    /// The guest touched the window: its own tables cannot map anything there, so it is
    /// told that they do not; with its MMU off it cannot be told.
    #[cold]
    #[inline(never)]
    fn touched_window(&mut self, address: u32, access: Did) {
        let (who, pc) = self.culprit();
        if self.guest_called().vcpu.cp15.sctlr & 1 == 0 {
            return self.fault(Fault::Window { who, access, address, pc });
        }
        self.notice(Notice::Window { who, access, address, pc });
        let status = fsr(Cause::TranslationSection, 0, access == Did::Wrote);
        self.inject(match access {
            Did::Executed => Exception::PrefetchAbort { ifsr: status, ifar: address },
            _ => Exception::DataAbort { dfsr: status, dfar: address },
        });
    }

    fn culprit(&mut self) -> (Who, u32) {
        let vcpu = &self.guest_called().vcpu;
        (if vcpu.privileged() { Who::Kernel } else { Who::Application }, vcpu.pc)
    }

    /// The guest's virtual `address` is `at`, where it has nothing.
    #[cold]
    #[inline(never)]
    pub(crate) fn tell_nothing(&mut self, address: u32, at: GuestPhys, access: Did) {
        let (who, pc) = self.culprit();
        let mapped = self.guest_called().vcpu.cp15.sctlr & 1 != 0;
        self.notice(if mapped && !Board::is_device(at) {
            Notice::ForeignMapping { address, to: at, pc }
        } else {
            Notice::Nothing { who, access, address: at, pc }
        });
    }
}

pub(crate) const fn did(attempt: Attempt) -> Did {
    match attempt {
        Attempt::Read => Did::Read,
        Attempt::Write => Did::Wrote,
        Attempt::Fetch => Did::Executed,
    }
}

pub(crate) const fn external(attempt: Attempt) -> u32 {
    fsr(Cause::External, 0, matches!(attempt, Attempt::Write))
}
