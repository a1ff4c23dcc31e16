//! Trapped instructions: finds what they mean and does it.
//!
//! `vcpu` gives an instruction its meaning for the processor; what that leads to outside
//! of it, in the shadow, in the caches, on the board, is done here.
//!
//! # Invariants
//!
//! - What is done for a guest's application was asked of the guest's own tables first.
//! - An instruction is tried again at most `4 *` [`ATTEMPTS`] times.

use crate::code;
use crate::cp15;
use crate::guarded;
use crate::hypervisor::{Hypervisor, halt};
use crate::shadow::Attempt;
use crate::trap::ATTEMPTS;
use crate::work::Work;
use entresol_abi::image::MAX_VMS;
use entresol_abi::timer::Register;
use entresol_hv::board::Board;
use entresol_hv::health::Notice;
use entresol_hv::platform::Platform;
use entresol_isa::op::{Condition, InstructionSet, Op, Width};
use entresol_isa::{a32, t32, trapword};
use entresol_vcpu::{Abort, Exception, Memory, Outcome, Purpose, Timer, check, it_condition, psr};

/// A trapped instruction, given its meaning.
struct Trapped {
    op: Op,
    condition: Condition,
    length: u32,
    word: u32,
}

impl Hypervisor {
    /// The instruction at pc, if it is one that traps; `known` is what the guest has there
    /// if that is promoted.
    #[inline(never)]
    fn trapped(&mut self, known: Option<u32>) -> Option<Trapped> {
        let vcpu = &self.guest_called().vcpu;
        let (pc, flags, privileged) = (vcpu.pc, vcpu.psr, vcpu.privileged());
        if flags & psr::T == 0 {
            let word = match known {
                Some(original) => original,
                None => guarded::word(pc)?,
            };
            let original = match trapword::decode_a32(word) {
                Some(original) if privileged || self.runs_from_code(pc) => original,
                _ => word,
            };
            let condition = Condition((original >> 28) as u8);
            return Some(Trapped {
                op: a32::decode(original)?,
                condition,
                length: 4,
                word: original,
            });
        }
        if let Some(word) = known {
            let op = t32::decode_wide(word)?;
            return Some(Trapped { op, condition: Condition::ALWAYS, length: 4, word });
        }
        let mut first = guarded::half(pc)?;
        let condition = it_condition(flags);
        if first == u32::from(code::STRADDLING) && pc & 0xfff == code::LAST_HALF {
            first = u32::from(self.straddling(pc)?);
        }
        if !t32::is_wide(first as u16) {
            let original = match trapword::decode_narrow(first as u16) {
                Some(original) if privileged || self.runs_from_code(pc) => original,
                _ => first as u16,
            };
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
        let mapping = memory.walk(&linear, &guest.vcpu.cp15, pc);
        let page = mapping.ok().and_then(|mapping| memory.page(mapping.gpa));
        page.is_some_and(|page| guest.shadow.pages.is_code(&linear, page))
    }

    /// The guest's own first half of the instruction at `pc`; see [`code::STRADDLING`].
    fn straddling(&mut self, pc: u32) -> Option<u16> {
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let linear = Self::linear(&mut self.view);
        let memory = guest.shadow.memory;
        let mapping = memory.walk(&linear, &guest.vcpu.cp15, pc).ok()?;
        code::straddling(&guest.shadow, &linear, mapping.gpa)
    }

    /// A return led to T32 code: looks whether scans overlooked it.
    #[inline(never)]
    fn entered_t32(&mut self) {
        let vcpu = &self.guest_called().vcpu;
        if !vcpu.privileged() {
            return;
        }
        let pc = vcpu.pc;
        let mut at = pc;
        let overlooked = entresol_rewrite::overlooked(|| {
            let half = guarded::half(at).filter(|_| (at ^ pc) & !0xfff == 0);
            at = at.wrapping_add(2);
            half.map(|half| half as u16)
        });
        if !overlooked {
            return;
        }
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let linear = Self::linear(&mut self.view);
        let memory = guest.shadow.memory;
        let mapping = memory.walk(&linear, &guest.vcpu.cp15, pc);
        let Some((at, page)) = mapping.ok().and_then(|it| Some((it.gpa, memory.page(it.gpa)?)))
        else {
            return;
        };
        // What was not scanned at all will be.
        if guest.shadow.pages.scanned(&linear, page, InstructionSet::T32) {
            drop(linear);
            self.work(Work::Scan(at, InstructionSet::T32));
        }
    }

    /// What trapped has no meaning: it is the guest's own undefined instruction, unless
    /// its second half is on a page that is not mapped yet or is not what it was.
    #[inline(never)]
    fn meaningless(&mut self) {
        if self.is_taken_away() {
            return;
        }
        let vcpu = &self.guest_called().vcpu;
        let (pc, thumb) = (vcpu.pc, vcpu.thumb());
        if !thumb || pc & 0xfff != code::LAST_HALF || self.straddling(pc).is_none() {
            return self.inject(Exception::Undefined);
        }
        if guarded::half(pc.wrapping_add(2)).is_none() {
            return self.fetch(pc.wrapping_add(2));
        }
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let mut linear = Self::linear(&mut self.view);
        let memory = guest.shadow.memory;
        if let Ok(mapping) = memory.walk(&linear, &guest.vcpu.cp15, pc) {
            code::forget_straddling(&mut guest.shadow, &mut linear, mapping.gpa);
        }
    }

    /// Whether the page of the instruction at pc was taken away by the other vCPU since it trapped: it
    /// is to be fetched again.
    pub(crate) fn is_taken_away(&mut self) -> bool {
        let guest = self.guest_called();
        guest.siblings.is_some() && guarded::half(guest.vcpu.pc).is_none()
    }

    /// Emulates the instruction at pc, which is `known` if it is promoted. Returns false if the guest
    /// is to take an interrupt of the machine first: nothing is done then.
    pub(crate) fn emulate(&mut self, known: Option<u32>) -> bool {
        let Some(trapped) = self.trapped(known) else {
            self.meaningless();
            return true;
        };
        if cp15::is_interrupted() {
            self.gives_way();
            return false;
        }
        self.perform(&trapped)
    }

    fn perform(&mut self, trapped: &Trapped) -> bool {
        let guest = self.guest_called();
        if !trapped.condition.passes(guest.vcpu.psr) {
            guest.vcpu.advance(trapped.length);
            return true;
        }
        let mut unprivileged = false;
        let mut width = Width::Word;
        if let Op::Unprivileged(transfer) = &trapped.op {
            width = transfer.width;
            let planned = guest.vcpu.plan(transfer);
            let attempt = if transfer.load { Attempt::Read } else { Attempt::Write };
            let allowed = self.application_may(planned.address, attempt).and_then(|()| {
                match next_page(planned.address, transfer.width) {
                    Some(next) => self.application_may(next, attempt),
                    None => Ok(()),
                }
            });
            match allowed {
                Ok(()) => unprivileged = true,
                Err(exception) => {
                    self.inject(exception);
                    return true;
                }
            }
        }
        let was_privileged = self.guest_called().vcpu.privileged();
        let mut attempts = 0;
        loop {
            let (outcome, wanted, timer) = self.execute(trapped.op, trapped.length, unprivileged);
            self.rearm |= timer;
            match (outcome, wanted) {
                (Outcome::Retry, Some((address, attempt))) if attempts < ATTEMPTS * 4 => {
                    attempts += 1;
                    let next = next_page(address, width);
                    if !self.data_for_hypervisor(address, attempt)
                        || next.is_some_and(|next| !self.data_for_hypervisor(next, attempt))
                    {
                        return true;
                    }
                }
                (outcome, _) => {
                    if !self.conclude(outcome, trapped) {
                        return false;
                    }
                    self.mirror_thread_registers(&trapped.op);
                    if outcome == Outcome::Jumped && self.guest_called().vcpu.thumb() {
                        self.entered_t32();
                    }
                    break;
                }
            }
        }
        if was_privileged != self.guest_called().vcpu.privileged() {
            self.update_float();
        }
        true
    }

    /// The thread registers that User mode can read are kept in the machine, too.
    #[inline]
    fn mirror_thread_registers(&mut self, op: &Op) {
        let Op::Coprocessor(access) = op else { return };
        if access.cp() != 15 || access.read() || access.crn() != 13 {
            return;
        }
        let cp15 = &self.guest_called().vcpu.cp15;
        match access.opc2() {
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
        self.give_way_called();
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let linear = Self::linear(&mut self.view);
        let memory = guest.shadow.memory;
        let cp15 = &guest.vcpu.cp15;
        let write = attempt == Attempt::Write;
        let purpose = if write { Purpose::Write } else { Purpose::Read };
        memory
            .walk(&linear, cp15, address)
            .and_then(|mapping| check(&mapping, cp15, false, purpose))
            .map_err(|fault| Exception::DataAbort { dfsr: fault.dfsr(write), dfar: address })
    }

    /// Does what an emulated instruction leads to; as [`emulate`](Self::emulate).
    fn conclude(&mut self, outcome: Outcome, trapped: &Trapped) -> bool {
        match outcome {
            Outcome::Next | Outcome::Jumped => self.counters().sensitive += 1,
            Outcome::Effect(effect) => {
                self.counters().cp15 += 1;
                self.effect(effect);
            }
            Outcome::Inject(exception) => self.inject(exception),
            Outcome::Wait => return self.wait(trapped.length),
            Outcome::WaitForEvent => {
                if self.guest().siblings.is_some() {
                    cp15::let_others_go_on();
                }
                self.scheduler().expire();
                self.reschedule = true;
            }
            Outcome::Hypercall { .. } => self.hypercall(),
            Outcome::Retry => {}
            Outcome::UnknownRegister => {
                let pc = self.guest_called().vcpu.pc;
                self.notice(Notice::UnknownRegister { instruction: trapped.word, pc });
                self.inject(Exception::Undefined);
            }
            Outcome::Unsupported => self.inject(Exception::Undefined),
        }
        true
    }
}

/// The page that an access goes on in, if it reaches over the end of one.
const fn next_page(address: u32, width: Width) -> Option<u32> {
    let last = match width {
        Width::Byte => 0,
        Width::Half => 1,
        Width::Word => 3,
        Width::Double => 7,
    };
    let next = address.wrapping_add(last) & !0xfff;
    if next == address & !0xfff { None } else { Some(next) }
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
        // An instruction may make sixteen accesses: it is begun again.
        if cp15::is_interrupted() {
            return Err(Abort::Retry);
        }
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
        if cp15::is_interrupted() {
            return Err(Abort::Retry);
        }
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
        self.board.count(self.platform.now())
    }

    fn read(&self, register: Register) -> u64 {
        let now = self.platform.now();
        self.board.read_timer(register, now)
    }

    fn write(&mut self, register: Register, value: u64) {
        let now = self.platform.now();
        self.board.set_timer(register, value, now);
        self.timer = true;
    }
}
