//! One core's hypervisor: its VMs, and who of them runs.
//!
//! Joins the policy of `hv` to the guests of this architecture. What a guest's traps
//! ask for is in [`trap`](crate::trap), what the machine's interrupts do in
//! [`interrupts`](crate::interrupts), how runs end and start in
//! [`restore`](crate::restore).
//!
//! # Invariants
//!
//! - Interrupts are masked whenever this code runs: every method runs to its end, and
//!   each is bounded by the number of VMs or the consoles' burst. What takes longer is
//!   [`work`](crate::work).
//! - `loaded` is the guest the entry code saves.
//! - A guest is ready in the scheduler exactly if it is running or being restored; it may
//!   still have to wait for its budget or its slot.

use crate::cores;
use crate::exclusive::Exclusive;
use crate::express::Express;
use crate::float;
use crate::guest::{Due, Guest, Run};
use crate::linear::Linear;
use crate::maintenance::{self, Current};
use crate::work::{Said, Work};
use crate::{cp15, entry};
use entresol_abi::HostPhys;
use entresol_abi::console::Channel;
use entresol_abi::health::Event;
use entresol_abi::image::{MAX_CORES, MAX_VMS};
use entresol_abi::observe::{Observed, VmCounters};
use entresol_hv::NEVER;
use entresol_hv::console::Console;
use entresol_hv::health::{Fault, Notice};
use entresol_hv::link::{Relay, State};
use entresol_hv::locks::Locks;
use entresol_hv::platform::Platform;
use entresol_hv::scheduler::{Exhausted, Id, Scheduler};
use entresol_hv::sentence::Value::Text;
use entresol_vcpu::{Mode, TlbOp};

/// Counters for the host; see `abi::observe`.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.observed")]
pub(crate) static ENTRESOL_OBSERVED: Exclusive<Observed> = Exclusive::new(Observed::ZERO);

/// The one core's state.
pub(crate) static CORE: Exclusive<Hypervisor> = Exclusive::new(Hypervisor::EMPTY);

/// Everything that runs on a core. What is small comes first: its offsets fit instructions.
#[repr(C)]
pub(crate) struct Hypervisor {
    pub(crate) count: usize,
    /// The core's number; 0 is the boot core, which has the serial line.
    pub(crate) core: u32,
    /// How many cores run VMs.
    pub(crate) cores: u32,
    /// Ticks in a microsecond, in 65536ths.
    pub(crate) microsecond: u32,
    pub(crate) platform: Option<&'static mut dyn Platform>,
    pub(crate) image: HostPhys,
    /// The guest that the entry code saves.
    pub(crate) loaded: usize,
    /// The view that is current.
    pub(crate) view: Current,
    /// Whose registers the floating-point unit holds; null for nobody's. A pointer for the
    /// entry code; here it is compared only.
    pub(crate) float_holder: *const Guest,
    /// Whether floating-point instructions run.
    pub(crate) float_open: bool,
    /// Bit *n*: the UART of VM *n* may hold bytes for which its console had no room;
    /// bit [`LINKS`] + *n*: so may the link of core *n*.
    pub(crate) held: u32,
    /// When the line goes on that waits while somebody urgent runs; else [`NEVER`].
    pub(crate) line_at: u64,
    /// Whether the scheduler must be asked before a guest runs again.
    pub(crate) reschedule: bool,
    /// The next piece of what [`Hypervisor::settle_locks`] asks for; past the last VM if there is none.
    pub(crate) unsettled: usize,
    /// The next piece of its first, which is about locks.
    pub(crate) contention: usize,
    /// Bit *n*: the end of VM *n* is to be announced; [`NEWS`](crate::siblings::NEWS): news, to vCPUs.
    pub(crate) ended: u32,
    /// Bit *n*: VM *n* is to hear of something.
    pub(crate) told: u32,
    /// Who runs passes its turn once all that is settled.
    pub(crate) passes: bool,
    /// Deadline the timer is armed for.
    pub(crate) armed: u64,
    /// Whether the timer must be armed anew before a guest runs again.
    pub(crate) rearm: bool,
    /// What the timer's interrupt will do.
    pub(crate) express: Express,
    pub(crate) locks: Locks,
    /// The boot core's ends of the links, by the number of the other core.
    pub(crate) relays: [Relay; MAX_CORES],
    /// To be asked by [`Hypervisor::scheduler`].
    pub(crate) turns: Scheduler,
    pub(crate) console: Console,
    pub(crate) guests: [Guest; MAX_VMS],
}

/// The core's hypervisor.
///
/// # Safety
///
/// The caller is the one handler that runs, and keeps no other reference.
#[inline]
pub(crate) unsafe fn core() -> &'static mut Hypervisor {
    // SAFETY: handlers do not nest, because interrupts stay masked; by the caller's
    // promise this is the only reference.
    unsafe { CORE.get() }
}

impl Hypervisor {
    const EMPTY: Self = Self {
        guests: [const { Guest::EMPTY }; MAX_VMS],
        count: 0,
        core: 0,
        cores: 1,
        relays: [const { Relay::new() }; MAX_CORES],
        turns: Scheduler::new(1_000_000),
        locks: Locks::new(),
        microsecond: 0,
        console: Console::new(),
        platform: None,
        image: HostPhys(0),
        loaded: 0,
        view: Current,
        float_holder: core::ptr::null(),
        float_open: false,
        held: 0,
        line_at: NEVER,
        reschedule: true,
        unsettled: usize::MAX,
        contention: 0,
        ended: 0,
        told: 0,
        passes: false,
        armed: NEVER,
        rearm: false,
        express: Express::NONE,
    };

    /// The machine.
    ///
    /// # Panics
    ///
    /// Never: [`Hypervisor::set_up`] put one there before the first guest ran.
    #[inline(always)]
    pub(crate) fn platform(&mut self) -> &mut dyn Platform {
        match &mut self.platform {
            Some(platform) => *platform,
            None => halt(),
        }
    }

    /// The machine's count: a call, which is shorter than what it does.
    #[inline(never)]
    pub(crate) fn now(&mut self) -> u64 {
        self.platform().now()
    }

    /// The guest that runs, or ran last.
    #[inline]
    pub(crate) fn guest(&mut self) -> &mut Guest {
        // `loaded` is below MAX_VMS always; the remainder costs an AND.
        &mut self.guests[self.loaded % MAX_VMS]
    }

    /// The same as a call: four bytes instead of twenty, where nobody counts instructions.
    #[inline(never)]
    pub(crate) fn guest_called(&mut self) -> &mut Guest {
        self.guest()
    }

    /// Its counters.
    #[inline(never)]
    pub(crate) fn counters(&mut self) -> &'static mut VmCounters {
        // SAFETY: handlers do not nest; the host only reads.
        let observed = unsafe { ENTRESOL_OBSERVED.get() };
        &mut observed.vms[self.loaded % MAX_VMS]
    }

    /// Enters the linear view.
    #[inline(never)]
    pub(crate) fn linear(view: &mut Current) -> Linear<'_> {
        Linear::enter(view)
    }

    /// Whether this core runs a VM, or its vCPU 0.
    pub(crate) fn is_own(&self, index: usize) -> bool {
        self.guests[index % MAX_VMS].vm.core == self.core
    }

    /// Tells of something that the guest was told by its processor, before it goes on.
    #[cold]
    #[inline(never)]
    pub(crate) fn notice(&mut self, notice: Notice) {
        let (now, hz) = (self.now(), self.platform().hz());
        let guest = self.guest();
        if let Some(before) = guest.notices.admit(&notice, now, hz)
            && matches!(guest.run, Run::Running)
        {
            guest.give(Work::Say(Said::Notice(notice, before)));
            guest.run = Run::Working;
            self.reschedule = true;
        }
    }

    /// The loaded guest waits for an interrupt, unless one is pending, by the instruction of `length` bytes
    /// at pc. That none can come is a fault: nothing else would ever end the wait. Returns false if it is to
    /// take an interrupt of the machine first: nothing is done then.
    pub(crate) fn wait(&mut self, length: u32) -> bool {
        let index = self.loaded;
        let now = self.now();
        // A timer may have come to its end since the last interrupt of the machine.
        if self.guest_called().board.deadline() <= now {
            self.update_board(index);
        }
        let guest = self.guest_called();
        let pc = guest.vcpu.pc;
        let pending = guest.board.irq() || guest.board.fiq();
        let rings = guest.board.rings();
        let may_wake = pending || rings != NEVER || guest.may_wake(now);
        if !pending && cp15::is_interrupted() {
            self.gives_way();
            return false;
        }
        let guest = self.guest_called();
        guest.vcpu.advance(length);
        if pending {
            return true;
        }
        if !may_wake {
            self.fault(Fault::Stuck { pc });
            return true;
        }
        guest.run = Run::Waiting;
        if let Some(id) = Id::new(index) {
            self.scheduler().block(id);
        }
        self.reschedule = true;
        // Before it makes room: what comes meanwhile interrupts it.
        self.prepare(index, rings);
        true
    }

    /// Lets a waiting guest run if its board interrupts it.
    pub(crate) fn wake(&mut self, index: usize) {
        let Some(guest) = self.guests.get_mut(index) else { return };
        guest.note_pending();
        let due = guest.due != Due::Nothing || guest.called;
        if matches!(guest.run, Run::Waiting) && (due || guest.vcpu.pending != 0) {
            let for_lock = self.locks.is_waiting(index);
            // Only what it takes ends a wait for a lock: else it would ask again at once.
            if for_lock && !due && guest.vcpu.pending & !guest.status() == 0 {
                return;
            }
            guest.run = Run::Running;
            if let Some(id) = Id::new(index) {
                self.scheduler().ready(id);
                self.reschedule = true;
            }
            if index != self.loaded {
                self.keep(index);
            }
            if for_lock {
                self.locks.leave(cores::board(), index);
                self.settle_locks();
            }
        }
        self.forget_express(index);
    }

    /// A guest that is ready does not run: its time stands, if it is virtual.
    pub(crate) fn keep(&mut self, index: usize) {
        if self.guests[index % MAX_VMS].board.has_virtual_time() {
            let now = self.now();
            self.keep_at(index, now);
        }
    }

    /// The same, since `now`.
    pub(crate) fn keep_at(&mut self, index: usize, now: u64) {
        let guest = &mut self.guests[index % MAX_VMS];
        if guest.board.has_virtual_time() && matches!(guest.run, Run::Running | Run::Working) {
            guest.board.keep(now);
        }
    }

    /// What runs next. Returns with that guest loaded.
    fn choose(&mut self) {
        loop {
            // What led here may have taken long.
            self.poll();
            if self.settle_piece() {
                continue;
            }
            // Orders wait for their time.
            let orders = self.console.has_input(Channel(0));
            if self.line_at != NEVER && !orders && !self.turns.is_urgent() {
                self.move_line();
                continue;
            }
            let now = self.now();
            while self.scheduler().advance(now) {
                self.give_way_called();
            }
            if let Some(exhausted) = self.turns.take_exhausted() {
                count_exhausted(exhausted);
                self.befall(exhausted.id.index(), Event::Budget);
                continue;
            }
            let id = self.turns.decide(now);
            // Before the express is looked for, or the scheduler is asked again: that another guest is
            // loaded than the one it picked means that a turn was passed.
            if let Some(id) = id {
                self.load(id.index());
            }
            self.give_way_called();
            if self.locks.run(id.map_or(0, |id| 1 << id.index())) {
                self.settle_locks();
                continue;
            }
            self.turns.heed_refills();
            let Some(id) = id else {
                self.keep(self.loaded);
                self.idle();
                continue;
            };
            let index = id.index();
            self.give_way_called();
            let board = &mut self.guest().board;
            board.let_run(now);
            if board.deadline() <= now {
                self.update_board(index);
            }
            self.arm();
            // What is left out if the express is taken here is done before the guest runs again.
            if self.poll() {
                continue;
            }
            match self.guests.get(index).map(|guest| guest.run) {
                Some(Run::Working | Run::Restoring | Run::Ending(_)) => self.work_on(),
                _ if self.guest().due != Due::Nothing => self.settle_due(),
                _ if self.guest().called => self.hear(),
                _ => {
                    self.note_turns();
                    if self.poll() {
                        continue;
                    }
                    self.reschedule = false;
                    return;
                }
            }
        }
    }

    /// Nothing can run: waits for an interrupt, which [`Hypervisor::poll`] settles, or ends the machine
    /// if all is off.
    fn idle(&mut self) {
        if let Some(well) = self.all_off() {
            self.ended(well);
        }
        self.arm();
        cp15::dsb();
        cp15::wait_for_interrupt();
        self.poll();
    }

    /// Whether all ended well, if all VMs of this core are off.
    fn all_off(&self) -> Option<bool> {
        let mut well = true;
        for guest in self.guests.iter().take(self.count) {
            let Run::Off { well: this } = guest.run else { return None };
            well &= this;
        }
        Some(well)
    }

    /// All VMs of this core are off. When those of every core are, that is the machine's end.
    fn ended(&mut self, mut well: bool) {
        if self.core != 0 {
            // Its last words first.
            if !self.console.pending() && cores::link(self.core).set_state(State::Ended { well }) {
                self.platform().call(0);
            }
            return;
        }
        for core in 1..self.cores {
            let State::Ended { well: this } = cores::link(core).state() else { return };
            well &= this;
        }
        self.hold_links();
        self.flush();
        let how = if well { "all ended well" } else { "not all ended well" };
        self.say("every vm is off: %", &[Text(how)]);
        self.flush();
        self.platform().power_off(well);
    }

    /// Loads a guest: its registers, its thread registers, its domains. No TLB and no cache
    /// operation; its views have ASIDs of their own.
    fn load(&mut self, index: usize) {
        if index == self.loaded {
            return;
        }
        // SAFETY: as in `counters`.
        let observed = unsafe { ENTRESOL_OBSERVED.get() };
        observed.vm_switches = observed.vm_switches.wrapping_add(1);
        self.keep(self.loaded);
        let old = self.guest();
        old.vcpu.cp15.tpidrurw = cp15::thread_user();
        old.unload();
        self.loaded = index;
        self.make_current();
        // B2.2: a reservation of the old guest must not let the new one's store succeed.
        cp15::clear_exclusive();
    }

    /// Puts the loaded guest's registers that stay in the machine where they belong.
    pub(crate) fn make_current(&mut self) {
        let guest = self.guest();
        // SAFETY: both registers are only the guest's.
        unsafe { cp15::set_thread_user(guest.vcpu.cp15.tpidrurw) };
        // SAFETY: as above.
        unsafe { cp15::set_thread_read_only(guest.vcpu.cp15.tpidruro) };
        // The express changes the rest; it is put in place again before the guest runs.
        self.give_way_called();
        self.renew_vectors();
        let guest = self.guest();
        cp15::set_alignment_check(guest.vcpu.cp15.sctlr & cp15::SCTLR_A != 0);
        let guest: *mut Guest = guest;
        // SAFETY: Supervisor mode; guests are static.
        unsafe { entry::set_guest(guest) };
        self.update_float();
    }

    /// Lets exceptions lead to what knows the loaded guest's tables.
    #[inline(never)]
    pub(crate) fn renew_vectors(&mut self) {
        let guest = self.guest();
        let vectors = guest.vectors();
        guest.promotion.note_vectors(vectors);
        // SAFETY: it handles every exception.
        unsafe { cp15::set_vector_base(vectors) };
    }

    /// Gives the floating-point unit to the loaded guest, or closes it.
    pub(crate) fn update_float(&mut self) {
        let index = self.loaded % MAX_VMS;
        self.float_open = self.guests[index].vcpu.float_enabled();
        if !self.float_open {
            float::set_enabled(false);
            return;
        }
        float::set_enabled(true);
        let (holder, loaded) = (self.float_holder, &raw const self.guests[index]);
        if holder != loaded {
            if let Some(owner) = self.guests.iter_mut().find(|guest| core::ptr::eq(*guest, holder))
            {
                float::save(&mut owner.vcpu.vfp);
            }
            float::load(&self.guests[index].vcpu.vfp);
            self.float_holder = loaded;
        }
    }

    /// The last thing of every trap: who runs, what interrupts it, in which view. Returns
    /// the guest to resume.
    #[inline]
    pub(crate) fn leave(&mut self) -> *mut Guest {
        self.give_way_called();
        self.guest().heed();
        if self.rearm {
            if self.unsettled <= self.count {
                self.settle_pieces();
            }
            if self.guest().board.is_overdue() {
                self.update_board(self.loaded);
            }
            self.rearm = false;
            self.arm();
            self.give_way_called();
        }
        if self.reschedule {
            // It may come back by a path that renews nothing.
            self.renew();
            self.give_way_called();
            self.choose();
        }
        self.renew();
        self.give_way_called();
        self.settle()
    }

    #[inline]
    pub(crate) fn renew(&mut self) {
        let counters: *mut VmCounters = self.counters();
        let index = self.loaded;
        self.guest().renew_fast(counters, index);
    }

    /// The same for a trap that did not touch the guest's system registers and its shadow.
    #[inline(never)]
    pub(crate) fn leave_unchanged(&mut self) -> *mut Guest {
        if self.reschedule | self.rearm {
            return self.leave();
        }
        self.give_way();
        self.settle()
    }

    /// The same, after work that may be interrupted.
    #[cold]
    #[inline(never)]
    fn leave_after(&mut self, work: Work) -> *mut Guest {
        self.guest().give(work);
        self.guest().run = Run::Working;
        self.reschedule = true;
        self.leave()
    }

    /// What interrupts the loaded guest, in which view it goes on.
    #[inline]
    fn settle(&mut self) -> *mut Guest {
        let index = self.loaded % MAX_VMS;
        let guest = &mut self.guests[index];
        guest.note_pending();
        let status = guest.status();
        if guest.vcpu.pending & !status != 0 {
            guest.interrupt(status);
            cp15::clear_exclusive();
            // SAFETY: as in `counters`.
            let observed = unsafe { ENTRESOL_OBSERVED.get() };
            observed.vms[index].injected += 1;
        }
        if guest.promotion.lazy && guest.take_due() {
            return self.leave_after(Work::Drop(Some(TlbOp::All)));
        }
        guest.publish();
        if guest.vcpu.mode() == Mode::FIQ && guest.shadow.forbid_fiq() {
            return self.leave_after(Work::EnterFiq);
        }
        self.enter_view(index)
    }

    /// Makes the view and the domains of the guest of this index, which is loaded, current.
    #[inline(always)]
    pub(crate) fn enter_view(&mut self, index: usize) -> *mut Guest {
        let guest = &mut self.guests[index % MAX_VMS];
        let view = guest.fast_view();
        // Each ASID has one table.
        if view.asid != self.view.asid() {
            // SAFETY: a view of the guest's shadow, tagged with the ASID of its root.
            unsafe { maintenance::switch(view) };
        }
        let now = cp15::domain_access();
        if (now != guest.dacr || guest.promotion.lazy || guest.fast.apart == 0)
            && let Some(dacr) = guest.domains(now)
        {
            // SAFETY: `Shadow::domains` keeps the window's domain a client.
            unsafe { maintenance::set_domains(dacr) };
        }
        guest
    }

    /// Takes over the machine and runs its VMs for ever.
    pub(crate) fn run(&mut self) -> ! {
        self.choose();
        self.make_current();
        let guest = self.leave();
        // SAFETY: `leave` made its view current, `load` named it to the entry code.
        unsafe { entry::resume(guest) }
    }
}

/// Counts that a VM was stopped at the end of its budget.
pub(crate) fn count_exhausted(Exhausted { id, late }: Exhausted) {
    // SAFETY: as in `Hypervisor::counters`.
    let observed = unsafe { ENTRESOL_OBSERVED.get() };
    let counters = &mut observed.vms[id.index()];
    counters.exhausted = counters.exhausted.wrapping_add(1);
    counters.overrun = counters.overrun.max(u32::try_from(late).unwrap_or(u32::MAX));
}

/// A zero-padded name as text.
pub(crate) fn name(bytes: &[u8; 16]) -> &str {
    let len = bytes.iter().position(|byte| !matches!(byte, 1..=0x7f)).unwrap_or(bytes.len());
    // SAFETY: all of it is ASCII.
    unsafe { core::str::from_utf8_unchecked(bytes.get(..len).unwrap_or_default()) }
}

/// Nothing is left to do.
pub fn halt() -> ! {
    loop {
        cp15::wait_for_interrupt();
    }
}
