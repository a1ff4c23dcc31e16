//! What a guest's traps mean and what is done about them.
//!
//! One handler for each exception of the machine; the entry code saved the guest and
//! resumes the one a handler returns. Instructions are given their meaning by `vcpu`,
//! mappings by [`shadow`](crate::shadow), devices by `hv`.
//!
//! # Invariants
//!
//! - Every handler ends with [`Hypervisor::leave`].
//! - A guest's address is used only through its own view ([`guarded`]) or after a walk
//!   of its tables.
//! - No loop here runs longer than [`ATTEMPTS`] times.

use crate::code;
use crate::cp15;
use crate::guarded;
use crate::guest::Guest;
use crate::hypervisor::{Hypervisor, core, halt};
use crate::maintenance::{self, View};
use crate::shadow::{Attempt, Resolved, Shadow};
use entresol_abi::GuestPhys;
use entresol_abi::image::MAX_VMS;
use entresol_hv::board::Board;
use entresol_hv::bus;
use entresol_hv::health::{Access as Did, End, Fault, Notice, Who};
use entresol_hv::hypercall::{self, Request};
use entresol_hv::platform::Platform;
use entresol_hv::timer as board_timer;
use entresol_isa::op::{Access, Condition, Coprocessor, InstructionSet, Op, Width};
use entresol_isa::{a32, t32, trapword};
use entresol_vcpu::cp15::timer::Register;
use entresol_vcpu::walk;
use entresol_vcpu::{
    Abort, CacheOp, Cause, Context, Effect, Exception, Memory, Outcome, Purpose, Timer, TlbOp,
    check, fsr, it_condition, psr,
};

/// How often one access may need something new: code made data, a fill, a second page.
const ATTEMPTS: u32 = 6;

/// FSR for a place where nothing is: synchronous external abort, not translation.
const EXTERNAL: u32 = 0x008;

/// An undefined instruction: something sensitive, or the guest's own.
pub(crate) extern "C" fn undefined(_: *mut Guest) -> *mut Guest {
    // SAFETY: the one handler that runs.
    let hypervisor = unsafe { core() };
    hypervisor.check_origin(1);
    let vcpu = &mut hypervisor.guest().vcpu;
    vcpu.pc = vcpu.pc.wrapping_sub(if vcpu.thumb() { 2 } else { 4 });
    hypervisor.emulate();
    hypervisor.leave()
}

/// `svc`: the guest kernel's business.
pub(crate) extern "C" fn supervisor_call(_: *mut Guest) -> *mut Guest {
    // SAFETY: the one handler that runs.
    let hypervisor = unsafe { core() };
    let vcpu = &mut hypervisor.guest().vcpu;
    vcpu.pc = vcpu.pc.wrapping_sub(if vcpu.thumb() { 2 } else { 4 });
    hypervisor.inject(Exception::SupervisorCall);
    hypervisor.leave()
}

/// A fetch failed.
pub(crate) extern "C" fn prefetch_abort(_: *mut Guest) -> *mut Guest {
    // SAFETY: the one handler that runs.
    let hypervisor = unsafe { core() };
    hypervisor.check_origin(3);
    let status = cp15::instruction_fault_status();
    let address = cp15::instruction_fault_address();
    if is_mapping_fault(status) {
        hypervisor.fetch(address);
    } else {
        // A breakpoint, or an external abort of a passed-through device.
        hypervisor.inject(Exception::PrefetchAbort { ifsr: status, ifar: address });
    }
    hypervisor.leave()
}

/// A load or store failed.
pub(crate) extern "C" fn data_abort(_: *mut Guest) -> *mut Guest {
    // SAFETY: the one handler that runs.
    let hypervisor = unsafe { core() };
    let status = cp15::data_fault_status();
    let address = cp15::data_fault_address();
    if is_mapping_fault(status) {
        let attempt = if status & 1 << 11 == 0 { Attempt::Read } else { Attempt::Write };
        hypervisor.data(address, attempt);
    } else {
        hypervisor.inject(Exception::DataAbort { dfsr: status, dfar: address });
    }
    hypervisor.leave()
}

/// An interrupt of the machine.
pub(crate) extern "C" fn interrupt(_: *mut Guest) -> *mut Guest {
    // SAFETY: the one handler that runs.
    let hypervisor = unsafe { core() };
    hypervisor.interrupted();
    hypervisor.leave()
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
    hypervisor.say(format_args!(
        "entresol is broken: {kind} in the hypervisor at {address:#010x}, status {status:#010x}, \
         DFAR {:#010x}, DFSR {:#x}",
        cp15::data_fault_address(),
        cp15::data_fault_status(),
    ));
    hypervisor.platform().power_off(false)
}

/// Whether a fault status is of the kinds that shadow tables cause: translation, access
/// flag, domain, permission.
const fn is_mapping_fault(status: u32) -> bool {
    const KINDS: u32 =
        1 << 0x3 | 1 << 0x5 | 1 << 0x6 | 1 << 0x7 | 1 << 0x9 | 1 << 0xb | 1 << 0xd | 1 << 0xf;
    status & 1 << 10 == 0 && KINDS >> (status & 0xf) & 1 == 1
}

/// A trapped instruction, given its meaning.
struct Trapped {
    op: Op,
    condition: Condition,
    length: u32,
    word: u32,
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
        self.counters().reflected += 1;
        let guest = self.guest();
        let from = guest.vcpu.pc;
        guest.vcpu.enter(exception);
        cp15::clear_exclusive();
        // A vector that faults at its first instruction is entered again and again.
        let vector = guest.vcpu.pc;
        let again = from == guest.last.vector;
        guest.last.count = if again { guest.last.count + 1 } else { 0 };
        guest.last.vector = vector;
        if !again {
            guest.last.from = from;
        }
        if guest.last.count >= 16 {
            let pc = guest.last.from;
            let fault = match exception {
                Exception::PrefetchAbort { .. } => Fault::NoVector { vector, pc },
                _ => Fault::ExceptionLoop { vector, pc },
            };
            self.fault(fault);
        }
    }

    /// The instruction at pc, if it is one that traps.
    #[inline]
    fn trapped(&mut self) -> Option<Trapped> {
        let vcpu = &self.guest().vcpu;
        let (pc, flags, privileged) = (vcpu.pc, vcpu.psr, vcpu.privileged());
        if flags & psr::T == 0 {
            let word = guarded::word(pc)?;
            let original = match trapword::decode_a32(word) {
                Some(original) if privileged || self.runs_from_code(pc) => original,
                _ => word,
            };
            let (condition, op) = a32::decode(original)?;
            return Some(Trapped { op, condition, length: 4, word: original });
        }
        let first = guarded::half(pc)?;
        let condition = it_condition(flags);
        if !t32::is_wide(first as u16) {
            let original = trapword::decode_narrow(first as u16).unwrap_or(first as u16);
            let op = t32::decode_narrow(original)?;
            return Some(Trapped { op, condition, length: 2, word: u32::from(original) });
        }
        let word = first << 16 | guarded::half(pc.wrapping_add(2))?;
        let original = match trapword::decode_wide(word) {
            Some(original) if privileged || self.runs_from_code(pc) => original,
            _ => word,
        };
        let op = t32::decode_wide(original)?;
        Some(Trapped { op, condition, length: 4, word: original })
    }

    /// Whether the page of `pc` was scanned, so that what looks like a trap word is one. An
    /// application's pages usually were not.
    fn runs_from_code(&mut self, pc: u32) -> bool {
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let linear = Self::linear(&mut self.view);
        let memory = guest.shadow.memory;
        let mapping = walk::walk(&guest.vcpu.cp15, pc, |at| memory.load(&linear, at));
        let page = mapping.ok().and_then(|mapping| memory.page(mapping.gpa));
        page.is_some_and(|page| guest.shadow.pages.is_code(&linear, page))
    }

    /// Emulates the instruction at pc.
    fn emulate(&mut self) {
        let Some(trapped) = self.trapped() else {
            return self.inject(Exception::Undefined);
        };
        let guest = self.guest();
        if !trapped.condition.passes(guest.vcpu.psr) {
            return guest.vcpu.advance(trapped.length);
        }
        let mut unprivileged = false;
        if let Op::Unprivileged(transfer) = &trapped.op {
            let planned = guest.vcpu.plan(transfer);
            let attempt = if transfer.load { Attempt::Read } else { Attempt::Write };
            match self.application_may(planned.address, attempt) {
                Ok(()) => unprivileged = true,
                Err(exception) => return self.inject(exception),
            }
        }
        let was_privileged = self.guest().vcpu.privileged();
        let mut attempts = 0;
        loop {
            let (outcome, wanted, timer) = self.execute(trapped.op, trapped.length, unprivileged);
            if timer {
                self.arm();
            }
            match (outcome, wanted) {
                (Outcome::Retry, Some((address, attempt))) if attempts < ATTEMPTS * 4 => {
                    attempts += 1;
                    if !self.data_for_hypervisor(address, attempt) {
                        return;
                    }
                }
                (outcome, _) => {
                    self.conclude(outcome, &trapped);
                    self.mirror_thread_registers(&trapped.op);
                    break;
                }
            }
        }
        if was_privileged != self.guest().vcpu.privileged() {
            self.update_float();
        }
    }

    /// The thread registers that User mode can read are kept in the machine, too.
    #[inline]
    fn mirror_thread_registers(&mut self, op: &Op) {
        let Op::Coprocessor(Coprocessor { cp: 15, read: false, crn: 13, opc2, .. }) = op else {
            return;
        };
        let cp15 = &self.guest().vcpu.cp15;
        match opc2 {
            // SAFETY: the register is only the guest's.
            2 => unsafe { cp15::set_thread_user(cp15.tpidrurw) },
            // SAFETY: as above.
            3 => unsafe { cp15::set_thread_read_only(cp15.tpidruro) },
            _ => {}
        }
    }

    fn execute(
        &mut self,
        op: Op,
        length: u32,
        unprivileged: bool,
    ) -> (Outcome, Option<(u32, Attempt)>, bool) {
        let index = self.loaded % MAX_VMS;
        let Some(platform) = &mut self.platform else { halt() };
        let guest = &mut self.guests[index];
        let privileged = guest.vcpu.privileged();
        let mut machine = Machine {
            board: &mut guest.board,
            platform: &mut **platform,
            privileged,
            unprivileged,
            wanted: None,
            timer: false,
        };
        let outcome = guest.vcpu.execute(op, length, &mut machine);
        (outcome, machine.wanted, machine.timer)
    }

    /// Whether the guest's application might do what its kernel does in its name.
    fn application_may(&mut self, address: u32, attempt: Attempt) -> Result<(), Exception> {
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let linear = Self::linear(&mut self.view);
        let memory = guest.shadow.memory;
        let cp15 = &guest.vcpu.cp15;
        let write = attempt == Attempt::Write;
        let purpose = if write { Purpose::Write } else { Purpose::Read };
        walk::walk(cp15, address, |at| memory.load(&linear, at))
            .and_then(|mapping| check(&mapping, cp15, false, purpose))
            .map_err(|fault| Exception::DataAbort { dfsr: fault.dfsr(write), dfar: address })
    }

    /// Does what an emulated instruction leads to.
    fn conclude(&mut self, outcome: Outcome, trapped: &Trapped) {
        match outcome {
            Outcome::Next | Outcome::Jumped => self.counters().sensitive += 1,
            Outcome::Effect(effect) => {
                self.counters().cp15 += 1;
                self.effect(effect);
            }
            Outcome::Inject(exception) => self.inject(exception),
            Outcome::Wait => self.wait(),
            Outcome::WaitForEvent => {
                self.scheduler.expire();
                self.reschedule = true;
            }
            Outcome::Hypercall { .. } => self.hypercall(),
            Outcome::Retry => {}
            Outcome::UnknownRegister => {
                let pc = self.guest().vcpu.pc;
                self.notice(Notice::UnknownRegister { instruction: trapped.word, pc });
                self.inject(Exception::Undefined);
            }
            Outcome::Unsupported => self.inject(Exception::Undefined),
        }
    }

    fn effect(&mut self, effect: Effect) {
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        match effect {
            Effect::Context { register: Context::Dacr, old } => {
                let new = guest.vcpu.cp15.dacr;
                guest.dacr = Shadow::domains(&guest.vcpu.cp15);
                if guest.shadow.domains_matter(old, new) {
                    guest.shadow.drop_all(&mut Self::linear(&mut self.view));
                }
            }
            Effect::Context { register, old } => {
                let cp15 = &guest.vcpu.cp15;
                let on = cp15.sctlr & 1 != 0;
                let asid = cp15.contextidr as u8;
                let linear = &mut Self::linear(&mut self.view);
                match register {
                    Context::Sctlr => {
                        guest.dacr = Shadow::domains(cp15);
                        if (old ^ cp15.sctlr) & !1 & SCTLR_TRANSLATION != 0 {
                            guest.shadow.drop_all(linear);
                        }
                        if on {
                            guest.shadow.activate_asid(linear, asid);
                        } else {
                            guest.shadow.activate_off(linear);
                        }
                    }
                    Context::Contextidr if on => guest.shadow.activate_asid(linear, asid),
                    // The TLB, so the shadow too, is tagged by ASID; a guest that changes tables
                    // under one invalidates.
                    Context::Contextidr | Context::Ttbr0 | Context::Prrr | Context::Nmrr => {}
                    Context::Ttbr1 | Context::Ttbcr | Context::Dacr => {
                        guest.shadow.drop_all(linear)
                    }
                }
            }
            Effect::Tlb(op) => {
                let linear = &mut Self::linear(&mut self.view);
                match op {
                    TlbOp::All => guest.shadow.drop_all(linear),
                    TlbOp::Asid(asid) => guest.shadow.drop_asid(linear, asid),
                    TlbOp::Address { va, .. } | TlbOp::AddressAllAsids(va) => {
                        guest.shadow.drop_address(linear, va);
                    }
                }
            }
            Effect::Cache(op) => self.cache(op),
            Effect::Translate(request) => {
                let linear = Self::linear(&mut self.view);
                let memory = guest.shadow.memory;
                walk::translate(&mut guest.vcpu, request, |at| memory.load(&linear, at));
            }
            Effect::Barrier => cp15::dsb(),
            Effect::FloatAccess | Effect::FloatUnit => self.update_float(),
        }
    }

    /// Maintains caches for the guest.
    fn cache(&mut self, op: CacheOp) {
        match op {
            CacheOp::InstructionAll | CacheOp::InstructionAddress(_) => {
                maintenance::forget_instructions();
            }
            CacheOp::Branch => maintenance::forget_branches(),
            CacheOp::SetWay(way) => maintenance::flush_set_way(way),
            CacheOp::CleanAddress(address)
            | CacheOp::CleanAddressUnification(address)
            | CacheOp::InvalidateAddress(address)
            | CacheOp::CleanInvalidateAddress(address) => {
                // An invalidation cleans first: the line may hold what is not the guest's.
                if !guarded::flush_line(address) && self.data_for_hypervisor(address, Attempt::Read)
                {
                    let _ = guarded::flush_line(address);
                }
            }
        }
    }

    /// A fetch at `address` failed in the guest's current view.
    fn fetch(&mut self, address: u32) {
        for _ in 0..ATTEMPTS {
            let guest = &mut self.guests[self.loaded % MAX_VMS];
            let privileged = guest.vcpu.privileged();
            let set = if guest.vcpu.thumb() { InstructionSet::T32 } else { InstructionSet::A32 };
            let mut linear = Self::linear(&mut self.view);
            let cp15 = &guest.vcpu.cp15;
            let resolved =
                guest.shadow.resolve(&mut linear, cp15, address, Attempt::Fetch, privileged);
            match resolved {
                Resolved::Filled | Resolved::Unchanged => {
                    drop(linear);
                    self.counters().fills += 1;
                    return;
                }
                Resolved::Unscanned(at) => {
                    code::scan(&mut guest.shadow, &mut linear, at, set);
                    drop(linear);
                    self.counters().scanned += 1;
                }
                Resolved::Fault(fault) => {
                    drop(linear);
                    return self
                        .inject(Exception::PrefetchAbort { ifsr: fault.ifsr(), ifar: address });
                }
                Resolved::Board(at) => {
                    drop(linear);
                    self.tell_nothing(at, Did::Executed);
                    return self.inject(Exception::PrefetchAbort { ifsr: EXTERNAL, ifar: address });
                }
                Resolved::Window => {
                    drop(linear);
                    return self.touched_window(address, Did::Executed);
                }
                Resolved::WritesCode(_) => return,
            }
        }
    }

    /// An access of the guest failed in its current view.
    fn data(&mut self, address: u32, attempt: Attempt) {
        let mut attempt = attempt;
        for _ in 0..ATTEMPTS {
            match self.resolve_data(address, attempt) {
                Resolved::Filled => return,
                Resolved::Unchanged if attempt == Attempt::Read => {
                    // It may be read already: a store that the machine reported as a load, as
                    // QEMU does for store-exclusive.
                    attempt = Attempt::Write;
                }
                Resolved::Unchanged => return,
                Resolved::WritesCode(at) => {
                    if self.store_to_code(at, address) {
                        return;
                    }
                    self.take_back(at);
                }
                Resolved::Fault(fault) => {
                    let dfsr = fault.dfsr(attempt == Attempt::Write);
                    return self.inject(Exception::DataAbort { dfsr, dfar: address });
                }
                Resolved::Board(at) => return self.device(at, address, attempt),
                Resolved::Window => return self.touched_window(address, did(attempt)),
                Resolved::Unscanned(_) => return,
            }
        }
    }

    /// Makes a guarded access at `address` possible; `false` if an exception was injected
    /// instead.
    fn data_for_hypervisor(&mut self, address: u32, attempt: Attempt) -> bool {
        match self.resolve_data(address, attempt) {
            Resolved::Filled | Resolved::Unchanged | Resolved::Unscanned(_) => true,
            Resolved::WritesCode(at) => {
                self.take_back(at);
                true
            }
            Resolved::Fault(fault) => {
                let dfsr = fault.dfsr(attempt == Attempt::Write);
                self.inject(Exception::DataAbort { dfsr, dfar: address });
                false
            }
            Resolved::Board(at) => {
                self.tell_nothing(at, did(attempt));
                self.inject(Exception::DataAbort { dfsr: external(attempt), dfar: address });
                false
            }
            Resolved::Window => {
                self.touched_window(address, did(attempt));
                false
            }
        }
    }

    #[inline]
    fn resolve_data(&mut self, address: u32, attempt: Attempt) -> Resolved {
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let privileged = guest.vcpu.privileged();
        let mut linear = Self::linear(&mut self.view);
        let resolved =
            guest.shadow.resolve(&mut linear, &guest.vcpu.cp15, address, attempt, privileged);
        drop(linear);
        if resolved == Resolved::Filled {
            self.counters().fills += 1;
        }
        resolved
    }

    fn take_back(&mut self, at: GuestPhys) {
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        code::take_back(&mut guest.shadow, &mut Self::linear(&mut self.view), at);
        self.counters().taken_back += 1;
    }

    /// The guest touched the window: its own tables cannot map anything there, so it is
    /// told that they do not; with its MMU off it cannot be told.
    fn touched_window(&mut self, address: u32, access: Did) {
        let (who, pc) = self.culprit();
        if self.guest().vcpu.cp15.sctlr & 1 == 0 {
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
        let vcpu = &self.guest().vcpu;
        (if vcpu.privileged() { Who::Kernel } else { Who::Application }, vcpu.pc)
    }

    fn tell_nothing(&mut self, address: GuestPhys, access: Did) {
        let (who, pc) = self.culprit();
        self.notice(Notice::Nothing { who, access, address, pc });
    }

    /// A load or store reached the board at `at`, by the virtual address `address`.
    fn device(&mut self, at: GuestPhys, address: u32, attempt: Attempt) {
        if !Board::is_device(at) {
            self.tell_nothing(at, did(attempt));
            return self.inject(Exception::DataAbort { dfsr: external(attempt), dfar: address });
        }
        let Some((access, length)) = self.access_at_pc() else {
            return self.inject(Exception::DataAbort { dfsr: external(attempt), dfar: address });
        };
        self.counters().mmio += 1;
        let outcome = self.access_board(&access, length, at, address);
        match outcome {
            Outcome::Next | Outcome::Jumped => {}
            Outcome::Inject(exception) => {
                self.tell_nothing(at, did(attempt));
                self.inject(exception);
            }
            _ => self.inject(Exception::DataAbort { dfsr: external(attempt), dfar: address }),
        }
        self.after_board(at);
    }

    /// The load or store at pc.
    fn access_at_pc(&mut self) -> Option<(Access, u32)> {
        let vcpu = &self.guest().vcpu;
        let pc = vcpu.pc;
        if !vcpu.thumb() {
            return Some((a32::access(guarded::word(pc)?)?.1, 4));
        }
        let first = guarded::half(pc)?;
        if t32::is_wide(first as u16) {
            let word = first << 16 | guarded::half(pc.wrapping_add(2))?;
            Some((t32::access_wide(word)?, 4))
        } else {
            Some((t32::access_narrow(first as u16)?, 2))
        }
    }

    /// Makes a store to the page of code at `at` for the guest if it must be made in place,
    /// because the storing instruction is on that page. `false` if it need not, or cannot.
    fn store_to_code(&mut self, at: GuestPhys, address: u32) -> bool {
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let memory = guest.shadow.memory;
        let set = if guest.vcpu.thumb() { InstructionSet::T32 } else { InstructionSet::A32 };
        let linear = Self::linear(&mut self.view);
        let pc = walk::walk(&guest.vcpu.cp15, guest.vcpu.pc, |at| memory.load(&linear, at));
        let at_pc = pc.ok().map(|mapping| mapping.gpa);
        drop(linear);
        let Some(pc) = at_pc.filter(|pc| memory.page(*pc) == memory.page(at)) else { return false };
        let Some((access, length)) = self.access_at_pc() else { return false };
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let mut bus = CodeBus {
            shadow: &mut guest.shadow,
            view: &mut self.view,
            page: address & !0xfff,
            at: at.0 & !0xfff,
            entry: (pc, set),
        };
        matches!(guest.vcpu.access(&access, length, &mut bus), Outcome::Next | Outcome::Jumped)
    }

    fn access_board(
        &mut self,
        access: &Access,
        length: u32,
        at: GuestPhys,
        address: u32,
    ) -> Outcome {
        let now = self.platform().now();
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let mut bus =
            Bus { board: &mut guest.board, now, page: address & !0xfff, at: at.0 & !0xfff };
        guest.vcpu.access(access, length, &mut bus)
    }

    /// Moves what an access to the board set in motion.
    fn after_board(&mut self, at: GuestPhys) {
        let index = self.loaded;
        let guest = &mut self.guests[index % MAX_VMS];
        match at.0 >> 16 {
            0x0900 => {
                let mut sent = false;
                while let Some(byte) = guest.board.take_tx() {
                    self.console.put(entresol_hv::console::channel(index), byte);
                    sent = true;
                }
                if sent {
                    self.pump();
                } else {
                    self.deliver(index);
                }
            }
            0x0801 => self.rearm_devices(),
            0x0901 => self.arm(),
            _ => {}
        }
    }

    fn hypercall(&mut self) {
        self.counters().hypercalls += 1;
        let index = self.loaded;
        let [number, a, b, c, ..] = self.guest().vcpu.regs;
        let result = match hypercall::decode([number, a, b, c]) {
            Err(refusal) => {
                if let hypercall::Refusal::NoSuchFunction(number) = refusal {
                    let pc = self.guest().vcpu.pc.wrapping_sub(4);
                    self.notice(Notice::UndefinedCall { number, pc });
                }
                refusal.result()
            }
            Ok(request) => match request {
                Request::Answer(value) => value,
                Request::Wait => {
                    self.guest().vcpu.regs[0] = 0;
                    return self.wait();
                }
                Request::CpuOff | Request::SystemOff => return self.end(End::Off),
                Request::SystemReset => return self.end(End::Reset),
                Request::Exit(status) => return self.end(End::Exit(status)),
                Request::VmIndex => index as u32,
                Request::ConsolePut(byte) => {
                    self.console.put(entresol_hv::console::channel(index), byte);
                    self.pump();
                    0
                }
                Request::ConsoleGet => self
                    .console
                    .get(entresol_hv::console::channel(index))
                    .map_or(entresol_abi::hypercall::NONE, u32::from),
                Request::Yield => {
                    self.scheduler.expire();
                    self.reschedule = true;
                    0
                }
                Request::Starts => self.counters().starts,
            },
        };
        self.guest().vcpu.regs[0] = result;
    }
}

/// SCTLR bits that change what the guest's tables mean: EE, TRE, AFE.
const SCTLR_TRANSLATION: u32 = 1 << 25 | 1 << 28 | 1 << 29;

const fn did(attempt: Attempt) -> Did {
    match attempt {
        Attempt::Read => Did::Read,
        Attempt::Write => Did::Wrote,
        Attempt::Fetch => Did::Executed,
    }
}

const fn external(attempt: Attempt) -> u32 {
    fsr(Cause::External, 0, matches!(attempt, Attempt::Write))
}

/// What an emulated instruction may use: the guest's memory by its own view, its timer.
struct Machine<'a> {
    board: &'a mut Board,
    platform: &'a mut dyn Platform,
    privileged: bool,
    /// Accesses with an application's permissions were checked already.
    unprivileged: bool,
    /// The access that failed.
    wanted: Option<(u32, Attempt)>,
    /// The timer was written.
    timer: bool,
}

impl Machine<'_> {
    fn allowed(&self, privileged: bool) -> bool {
        privileged == self.privileged || self.unprivileged
    }
}

impl Memory for Machine<'_> {
    fn load(&mut self, address: u32, width: Width, privileged: bool) -> Result<u32, Abort> {
        let loaded = match width {
            _ if !self.allowed(privileged) => None,
            Width::Byte => guarded::byte(address),
            Width::Half => guarded::half(address),
            Width::Word | Width::Double => guarded::word(address),
        };
        loaded.ok_or_else(|| {
            self.wanted = Some((address, Attempt::Read));
            Abort::Retry
        })
    }

    fn store(
        &mut self,
        address: u32,
        width: Width,
        value: u32,
        privileged: bool,
    ) -> Result<(), Abort> {
        let stored = match width {
            _ if !self.allowed(privileged) => false,
            Width::Byte => guarded::put_byte(address, value),
            Width::Half => guarded::put_half(address, value),
            Width::Word | Width::Double => guarded::put_word(address, value),
        };
        if stored {
            return Ok(());
        }
        self.wanted = Some((address, Attempt::Write));
        Err(Abort::Retry)
    }
}

impl Timer for Machine<'_> {
    fn frequency(&self) -> u32 {
        self.platform.hz()
    }

    fn count(&self) -> u64 {
        self.platform.now()
    }

    fn read(&self, register: Register) -> u64 {
        let now = self.platform.now();
        self.board.read_timer(board_register(register), now)
    }

    fn write(&mut self, register: Register, value: u64) {
        let now = self.platform.now();
        self.board.write_timer(board_register(register), value, now);
        self.timer = true;
    }
}

const fn board_register(register: Register) -> board_timer::Register {
    match register {
        Register::PhysicalControl => board_timer::Register::PhysicalControl,
        Register::PhysicalCompare => board_timer::Register::PhysicalCompare,
        Register::VirtualControl => board_timer::Register::VirtualControl,
        Register::VirtualCompare => board_timer::Register::VirtualCompare,
    }
}

/// The board as memory, for the one page an access reached.
struct Bus<'a> {
    board: &'a mut Board,
    now: u64,
    page: u32,
    at: u32,
}

impl Bus<'_> {
    fn place(&self, address: u32, write: bool) -> Result<GuestPhys, Abort> {
        if address & !0xfff == self.page {
            Ok(GuestPhys(self.at | address & 0xfff))
        } else {
            Err(Abort::Fault { fsr: fsr(Cause::External, 0, write), far: address })
        }
    }
}

const fn bus_width(width: Width) -> bus::Width {
    match width {
        Width::Byte => bus::Width::Byte,
        Width::Half => bus::Width::Half,
        Width::Word | Width::Double => bus::Width::Word,
    }
}

impl Memory for Bus<'_> {
    fn load(&mut self, address: u32, width: Width, _: bool) -> Result<u32, Abort> {
        let at = self.place(address, false)?;
        self.board
            .read(at, bus_width(width), self.now)
            .map_err(|_| Abort::Fault { fsr: fsr(Cause::External, 0, false), far: address })
    }

    fn store(&mut self, address: u32, width: Width, value: u32, _: bool) -> Result<(), Abort> {
        let at = self.place(address, true)?;
        self.board
            .write(at, bus_width(width), value, self.now)
            .map_err(|_| Abort::Fault { fsr: fsr(Cause::External, 0, true), far: address })
    }
}

/// A page of code as memory that is stored to in place.
struct CodeBus<'a> {
    shadow: &'a mut Shadow,
    view: &'a mut View,
    page: u32,
    at: u32,
    entry: (GuestPhys, InstructionSet),
}

impl Memory for CodeBus<'_> {
    fn load(&mut self, _: u32, _: Width, _: bool) -> Result<u32, Abort> {
        Err(Abort::Retry)
    }

    fn store(&mut self, address: u32, width: Width, value: u32, _: bool) -> Result<(), Abort> {
        if address & !0xfff != self.page {
            return Err(Abort::Retry);
        }
        let at = GuestPhys(self.at | address & 0xfff);
        let mut linear = Hypervisor::linear(self.view);
        let bytes = bus_width(width).bytes();
        code::store(self.shadow, &mut linear, at, bytes, value, Some(self.entry));
        Ok(())
    }
}
