//! VMs with two vCPUs, each on a core of its own: what one does to the other.
//!
//! Each is a [`Guest`] of its core's hypervisor, with its own registers, timer, CPU interface and
//! shadow. What they share is little ([`Siblings`]). The board is vCPU 0's: the other asks for
//! accesses and waits. Shadows and what is known of pages are touched by [`work`](crate::work)
//! alone, under the VM's lock, each vCPU's by both. A VM's life is vCPU 0's: its end halts the
//! other, and the other's end is its.
//!
//! # Invariants
//!
//! - News are heard when a vCPU has its turn ([`Hypervisor::hear`]): they cost its own time.
//! - Waits for the other vCPU are work, so interruptible, and end when the VM's run ends.
//! - The other vCPU's [`Guest`] is reached in the linear view: each core's data lies where
//!   [`cores::host`] says.
//!
//! Manual: ARM DEN 0022 (PSCI), chapter 5.

use crate::cores;
use crate::cp15;
use crate::guest::{Due, Guest, Run};
use crate::hypervisor::Hypervisor;
use crate::shadow::{Attempt, Shadow};
use crate::trap::{did, external};
use crate::work::Work;
use core::mem::offset_of;
use entresol_abi::hypercall::psci;
use entresol_abi::image::MAX_VMS;
use entresol_abi::{GuestPhys, HostPhys};
use entresol_hv::bus;
use entresol_hv::gic::Gic;
use entresol_hv::health::End;
use entresol_hv::link::State;
use entresol_hv::scheduler::Id;
use entresol_hv::siblings::{self, Power, Siblings, news};
use entresol_isa::op::{Access, Width};
use entresol_vcpu::{Abort, Cause, Exception, Memory, Outcome, fsr};

/// In [`Hypervisor::ended`]: another core has news for vCPUs of this one.
pub(crate) const NEWS: usize = 31;

/// What the vCPUs of each VM share.
#[unsafe(link_section = ".shared")]
static SIBLINGS: [Siblings; MAX_VMS] = [const { Siblings::new() }; MAX_VMS];

/// An access to the board that vCPU 0 makes; if it loads, to be completed with its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Far {
    access: Access,
    loads: bool,
    length: u32,
    at: GuestPhys,
    address: u32,
}

impl Guest {
    /// Makes it vCPU `cpu` of VM `index`, on `core`. Its shadow is set up.
    #[inline(never)]
    pub(crate) fn join(&mut self, index: usize, cpu: u32, core: u32, load: HostPhys) {
        if self.vm.vcpus() == 1 {
            return;
        }
        self.cpu = cpu;
        let siblings = &SIBLINGS[index % MAX_VMS];
        self.siblings = Some(siblings);
        // Multiprocessing extensions, not of a uniprocessor (B4.1.106).
        self.vcpu.cp15.identity.mpidr = 1 << 31 | cpu;
        self.board.gic = Gic::of(cpu as u8, 2);
        let other = self.vm.core ^ self.vm.second_core ^ core;
        let own = (&raw const *self) as u32;
        let peer = cores::host(load, other, own).0 + offset_of!(Self, shadow) as u32;
        self.shadow.set_peer(peer as *mut Shadow);
        if cpu != 0 {
            siblings.set_power(Power::Off);
            cp15::send_event();
        }
    }

    /// Takes the lock without which the shadow of one of two vCPUs may not be touched, for a moment,
    /// if it is free. [`Shadow::share`] has nothing new then.
    #[inline(never)]
    pub(crate) fn try_lock(&self) -> bool {
        self.siblings.is_none_or(Siblings::try_lock)
    }

    /// Gives it back.
    #[inline(never)]
    pub(crate) fn unlock(&self) {
        if let Some(siblings) = self.siblings {
            siblings.unlock();
            cp15::dsb();
            cp15::send_event();
        }
    }

    /// The core of the other vCPU.
    const fn other_core(&self) -> u32 {
        if self.cpu == 0 { self.vm.second_core } else { self.vm.core }
    }
}

/// Before work of vCPU `cpu`: has what it needs of the other. `false` if the VM's run ended, which
/// is to be heard first.
#[inline(never)]
pub(crate) fn prepare(siblings: &Siblings, cpu: u32, work: &Work) -> bool {
    let ready = || match work {
        Work::Say(_) => true,
        Work::Await(_) => !siblings.waits(),
        // The other has to be off, and so has no work.
        Work::Restore { .. } => siblings.power() == Power::Off && siblings.try_lock(),
        _ => siblings.try_lock(),
    };
    while !ready() {
        if siblings.news(cpu) & news::HALT != 0 {
            return false;
        }
        cp15::wait_for_event();
    }
    true
}

/// After it.
pub(crate) fn conclude(siblings: &Siblings, shadow: &Shadow, work: &Work) {
    if !matches!(work, Work::Say(_) | Work::Await(_)) {
        shadow.share();
        siblings.unlock();
        cp15::dsb();
        cp15::send_event();
    }
}

impl Hypervisor {
    /// Has news for the other vCPU of the loaded guest.
    fn tell_sibling(&mut self, news: u32) {
        let guest = self.guest();
        let (other, core) = (guest.cpu ^ 1, guest.other_core());
        if guest.siblings.is_some_and(|siblings| siblings.tell(other, news)) {
            self.platform().call_sibling(core);
            cp15::let_others_go_on();
        }
    }

    /// Another core has news for vCPUs of this one.
    #[cold]
    #[inline(never)]
    pub(crate) const fn sibling_called(&mut self) {
        self.ended |= 1 << NEWS;
        self.reschedule = true;
    }

    /// A piece of what follows: hands on the news for one vCPU.
    #[cold]
    pub(crate) fn hand_on_news(&mut self) {
        for index in 0..self.count {
            let guest = &mut self.guests[index % MAX_VMS];
            let (Some(siblings), Some(id)) = (guest.siblings, Id::new(index)) else { continue };
            if guest.cpu != 0 && self.turns.is_paused(id) != siblings.is_paused() {
                self.turns.set_paused(id, siblings.is_paused());
            }
            let off = matches!(guest.run, Run::Off { .. });
            if siblings.news(guest.cpu) == 0 || (guest.called && !off) {
                continue;
            }
            if !off {
                guest.called = true;
                return self.wake(index);
            }
            let news = siblings.take(guest.cpu, u32::MAX);
            if guest.cpu != 0 && news & news::HALT != 0 {
                siblings.set_power(Power::Off);
                cp15::send_event();
            } else if guest.cpu != 0 && news & news::ON != 0 {
                let hz = self.platform().hz();
                let guest = &mut self.guests[index % MAX_VMS];
                guest.give(Work::TurnOn { hz });
                guest.run = Run::Restoring;
                self.turns.ready(id);
                if self.core != 0 {
                    cores::link(self.core).set_state(State::Running);
                }
            }
            return;
        }
        self.ended &= !(1 << NEWS);
    }

    /// The loaded guest, whose turn it is, hears the news.
    #[cold]
    #[inline(never)]
    pub(crate) fn hear(&mut self) {
        let guest = self.guest();
        let Some(siblings) = guest.siblings else { return };
        // One in a go, software interrupts together and last.
        let all = siblings.news(guest.cpu);
        let first = all & news::OTHERS & (all & news::OTHERS).wrapping_neg();
        let news = siblings.take(guest.cpu, if first == 0 { all } else { first });
        guest.called = siblings.news(guest.cpu) != 0;
        match first {
            news::HALT => self.turn_off(),
            news::ENDED => {
                let other = guest.shadow.peer as u32 - offset_of!(Guest, shadow) as u32;
                let linear = Self::linear(&mut self.view);
                // SAFETY: in the linear view, by `join`. The other vCPU is off and is turned on by
                // this one only.
                let end = unsafe { (*(other as *const Guest)).unfinished.end };
                drop(linear);
                self.end(end);
            }
            news::ACCESS => self.access_for_other(siblings),
            news::CONTROL => guest.board.gic.set_control(siblings.control()),
            _ => guest.board.gic.receive(guest.cpu ^ 1, news),
        }
    }

    /// Makes the access to the board that vCPU 1 asks for.
    fn access_for_other(&mut self, siblings: &Siblings) {
        let Some(access) = siblings.asked() else { return };
        let now = self.now();
        let at = GuestPhys(access.at);
        let width = match access.bytes {
            1 => bus::Width::Byte,
            2 => bus::Width::Half,
            _ => bus::Width::Word,
        };
        let board = &mut self.guest().board;
        let loaded = match access.store {
            None => board.read(at, width, now),
            Some(value) => board.write(at, width, value, now).map(|()| 0),
        };
        siblings.answer(loaded.ok());
        cp15::let_others_go_on();
        // Last, because the express may leave it out.
        self.after_board(at);
    }

    /// The loaded vCPU 1 makes an access to what is vCPU 0's.
    #[cold]
    #[inline(never)]
    pub(crate) fn ask_first(&mut self, access: &Access, length: u32, at: GuestPhys, address: u32) {
        self.give_way_called();
        let mut bus = Remote::new(address, at, None);
        let guest = self.guest();
        let outcome = guest.vcpu.access(access, length, &mut bus);
        let (Outcome::Next | Outcome::Jumped | Outcome::Retry, Some(asked), Some(siblings)) =
            (outcome, bus.asked, guest.siblings)
        else {
            return self.refuse_far(address, at);
        };
        siblings.ask(asked);
        self.tell_sibling(news::ACCESS);
        let loads = asked.store.is_none();
        self.work(Work::Await(Far { access: *access, loads, length, at, address }));
    }

    /// vCPU 0 has made the access, or the VM's run has ended.
    pub(crate) fn answered(&mut self, far: &Far) {
        let guest = self.guest();
        let Some(answer) = guest.siblings.and_then(Siblings::take_answer) else { return };
        if !far.loads {
            return;
        }
        if answer.is_none() {
            return self.refuse_far(far.address, far.at);
        }
        let mut bus = Remote::new(far.address, far.at, answer);
        let outcome = guest.vcpu.access(&far.access, far.length, &mut bus);
        if !matches!(outcome, Outcome::Next | Outcome::Jumped) {
            // More than one load.
            self.refuse_far(far.address, far.at);
        }
    }

    fn refuse_far(&mut self, address: u32, at: GuestPhys) {
        self.tell_nothing(address, at, did(Attempt::Read));
        self.give_way_called();
        let dfsr = external(Attempt::Read);
        self.inject(Exception::DataAbort { dfsr, dfar: address });
    }

    /// What a write to the distributor means for the other vCPU.
    pub(crate) fn after_distributor(&mut self) {
        let guest = self.guest();
        let Some(siblings) = guest.siblings else { return };
        let (targets, irq) = guest.board.gic.take_sent();
        let control = guest.board.gic.control();
        if targets != 0 {
            self.tell_sibling(1 << irq);
        } else if guest.cpu == 0 && control != siblings.control() {
            siblings.set_control(control);
            self.tell_sibling(news::CONTROL);
        }
    }

    /// PSCI's `CPU_ON` of the loaded guest.
    pub(crate) fn cpu_on(&mut self, cpu: u32, entry: u32, context: u32) -> u32 {
        let guest = self.guest();
        if cpu >= guest.vm.vcpus() || guest.shadow.memory.host(GuestPhys(entry)).is_none() {
            return psci::INVALID_PARAMETERS;
        }
        let Some(siblings) = guest.siblings.filter(|_| cpu != guest.cpu && cpu != 0) else {
            return psci::ALREADY_ON;
        };
        if let Err(refused) = siblings.turn_on(entry, context) {
            return refused;
        }
        self.tell_sibling(news::ON);
        psci::SUCCESS
    }

    /// PSCI's `AFFINITY_INFO`.
    pub(crate) fn affinity_info(&mut self, cpu: u32) -> u32 {
        let guest = self.guest();
        match guest.siblings {
            _ if cpu >= guest.vm.vcpus() => psci::INVALID_PARAMETERS,
            Some(siblings) if cpu != 0 => siblings.power() as u32,
            _ => Power::On as u32,
        }
    }

    /// PSCI's `CPU_OFF` of one of two. The first cannot be: the board is its.
    pub(crate) fn cpu_off(&mut self) {
        if self.guest().cpu == 0 {
            self.guest().vcpu.regs[0] = psci::DENIED;
        } else {
            self.turn_off();
        }
    }

    /// The loaded vCPU 1 is off.
    fn turn_off(&mut self) {
        let guest = self.guest();
        guest.board.silence();
        guest.run = Run::Off { well: true };
        guest.called = false;
        if let Some(siblings) = guest.siblings {
            // What is told from now on interrupts again.
            siblings.take(1, u32::MAX);
            siblings.set_power(Power::Off);
            cp15::send_event();
        }
        if let Some(id) = Id::new(self.loaded) {
            self.scheduler().block(id);
        }
        self.reschedule = true;
    }

    /// The run of the loaded vCPU 1 ends, and with it that of the VM, which is vCPU 0's to end.
    pub(crate) fn end_by_first(&mut self, end: End) {
        // For vCPU 0 to read.
        self.guest().unfinished.end = end;
        self.turn_off();
        self.tell_sibling(news::ENDED);
    }

    /// The VM of the loaded vCPU 0 ends: so does vCPU 1.
    pub(crate) fn halt_sibling(&mut self) {
        let siblings = self.guest().siblings;
        if siblings.is_some_and(|it| matches!(it.power(), Power::On | Power::Pending)) {
            self.tell_sibling(news::HALT);
        }
    }

    /// Pauses vCPU 1 with VM `index`, whose vCPU 0 is this core's, or has it go on.
    pub(crate) fn pause_sibling(&mut self, index: usize, paused: bool) {
        let guest = &self.guests[index % MAX_VMS];
        let core = guest.other_core();
        if let Some(siblings) = guest.siblings {
            siblings.set_paused(paused);
            self.platform().call_sibling(core);
        }
    }

    /// The loaded guest begins.
    pub(crate) fn begin_sibling(&mut self) {
        let guest = self.guest();
        let Some(siblings) = guest.siblings else { return };
        if guest.cpu == 0 {
            // Of its run before.
            guest.called = false;
            siblings.take(0, u32::MAX);
            siblings.set_control(0);
        } else {
            guest.due = Due::Nothing;
            siblings.take_answer();
            guest.board.gic.set_control(siblings.control());
            siblings.set_power(Power::On);
        }
    }
}

/// What is vCPU 0's of the board, for the one access that is asked for; a load has an answer the
/// second time.
struct Remote {
    page: u32,
    at: u32,
    asked: Option<siblings::Access>,
    answer: Option<u32>,
}

impl Remote {
    const fn new(address: u32, at: GuestPhys, answer: Option<u32>) -> Self {
        Self { page: address & !0xfff, at: at.0 & !0xfff, asked: None, answer }
    }

    fn ask(&mut self, address: u32, width: Width, store: Option<u32>) -> Result<(), Abort> {
        if address & !0xfff != self.page || self.asked.is_some() {
            let fsr = fsr(Cause::External, 0, store.is_some());
            return Err(Abort::Fault { fsr, far: address });
        }
        let bytes = crate::device::bus_width(width).bytes();
        self.asked = Some(siblings::Access { at: self.at | address & 0xfff, bytes, store });
        Ok(())
    }
}

impl Memory for Remote {
    fn load(&mut self, address: u32, width: Width, _: bool) -> Result<u32, Abort> {
        if let Some(value) = self.answer.take() {
            return Ok(value);
        }
        self.ask(address, width, None)?;
        Err(Abort::Retry)
    }

    fn store(&mut self, address: u32, width: Width, value: u32, _: bool) -> Result<(), Abort> {
        self.ask(address, width, Some(value))
    }
}
