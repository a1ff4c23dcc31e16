//! The timer's interrupt for the most urgent guest that waits: decided before it comes.
//!
//! Budgets `irq.latency.median`, `irq.latency.max`. While a guest waits, nothing of it changes but by
//! [`Hypervisor::wake`]. So what its timer's interrupt will do to it is worked out when it begins to
//! wait, by the code that does it ([`Hypervisor::prepare`]), and [`express`] only puts it in
//! place: from the entry code, or wherever the hypervisor looks for an interrupt. What the rest of
//! the hypervisor needs to know is made up for by the next handler, first of all
//! ([`Hypervisor::settle_express`]): it does what would have been done, for the moment at which it
//! should have been.
//!
//! Whether the guest may run is the scheduler's to say: [`Gate::admits`], here in assembly. Tests of
//! `hv` show that it is picked then, and that the board does what [`Board::rings`] says.
//!
//! # Invariants
//!
//! - [`Express::guest`] is null, or waits as it did when it was prepared. Kept by
//!   [`Hypervisor::wake`], the only way in which a wait ends that is not one for a lock.
//! - After [`express`] no handler does anything before `settle_express`. Until then only the timer
//!   interrupts, so that nothing comes before the guest's handler; it does at [`Express::next`], if the
//!   guest makes no trap.
//! - Where [`express`] is called, what follows can be left out if the scheduler is asked later.
//!
//! [`Gate::admits`]: entresol_hv::scheduler::Gate::admits
//! [`Board::rings`]: entresol_hv::board::Board::rings

use crate::cp15;
use crate::fast::turn;
use crate::guest::{Guest, Run};
use crate::hypervisor::{CORE, ENTRESOL_OBSERVED, Hypervisor};
use crate::stubs::Stopped;
use core::arch::naked_asm;
use core::mem::offset_of;
use entresol_abi::image::MAX_VMS;
use entresol_hv::NEVER;
use entresol_hv::gic::Gic;
use entresol_hv::scheduler::{Gate, Id, Scheduler};
use entresol_rewrite::stub::shared;
use entresol_vcpu::mode::{Mode, bank};
use entresol_vcpu::psr;
use entresol_vcpu::state::Vcpu;

/// Where the entry code finds the machine's timer and interrupt controller.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Wires {
    /// Registers of the GIC's CPU interface.
    pub interrupts: *mut u32,
    /// Registers of the Cortex-A9's global timer; null for the generic timer.
    pub timer: *mut u32,
    /// The timer's interrupt, the most urgent of the machine.
    pub timer_irq: u32,
}

/// What is decided beforehand.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Express {
    /// Whom it is for, or null.
    pub(crate) guest: *mut Guest,
    /// When it is due.
    pub(crate) deadline: u64,
    /// What the timer is armed for then.
    pub(crate) next: u64,
    /// What it is armed for when the loaded guest's own timer has come.
    pub(crate) rest: u64,
    /// Which guest that was.
    pub(crate) rest_of: usize,
    /// The guest whose own timer that is, if the entry code may settle it ([`own`]); or null.
    ///
    /// [`own`]: crate::fast::own
    pub(crate) own: *mut Guest,
    /// When it was taken.
    at: u64,
    /// Of the interrupted guest: `r13`, `r14`, `pc`, `psr`, `status`, `pending`.
    state: [u32; STATE],
    /// SPSR of its mode.
    spsr: u32,
    vectors: u32,
    /// The machine's SCTLR.
    control: u32,
    pub(crate) priority: u32,
    /// Its bit in a set of guests.
    pub(crate) bit: u32,
    pub(crate) wires: Wires,
    /// Who was loaded when it was taken; [`NOBODY`] once that is settled.
    displaced: usize,
    /// Whether the guest takes the interrupt; else it has masked it, and goes on.
    enters: bool,
}

const STATE: usize = 6;
/// In GICC_PMR, which keeps off those that are not more urgent: the timer's interrupt is, at 0x80.
const TIMER_ONLY: u32 = 0xa0;
/// No guest, in [`Express::displaced`].
const NOBODY: usize = usize::MAX;
/// Who made room is settled.
const UNLOADED: usize = usize::MAX - 1;
/// The scheduler was told who runs.
const SCHEDULED: usize = usize::MAX - 2;

impl Express {
    pub(crate) const NONE: Self = Self {
        guest: core::ptr::null_mut(),
        deadline: 0,
        next: 0,
        rest: NEVER,
        rest_of: NOBODY,
        own: core::ptr::null_mut(),
        at: 0,
        state: [0; STATE],
        spsr: 0,
        vectors: 0,
        control: 0,
        priority: 0,
        bit: 0,
        enters: false,
        wires: Wires {
            interrupts: core::ptr::null_mut(),
            timer: core::ptr::null_mut(),
            timer_irq: 0,
        },
        displaced: NOBODY,
    };

    /// Where the entry code finds that: a word, all bits set.
    pub(crate) const DISPLACED: usize = offset_of!(Self, displaced);

    /// Whether it was taken and not settled.
    #[inline(always)]
    pub(crate) const fn is_unsettled(&self) -> bool {
        self.displaced != NOBODY
    }
}

const _: () = assert!(offset_of!(Vcpu, pending) - SP == (STATE - 1) * 4 && SP == 13 * 4);
const SP: usize = offset_of!(Vcpu, regs) + 13 * 4;

impl Guest {
    /// What the express needs of its processor.
    fn state(&self) -> [u32; STATE] {
        let Vcpu { regs, pc, psr, status, pending, .. } = &self.vcpu;
        [regs[13], regs[14], *pc, *psr, *status, *pending]
    }

    fn set_state(&mut self, state: [u32; STATE]) {
        let vcpu = &mut self.vcpu;
        [vcpu.regs[13], vcpu.regs[14], vcpu.pc, vcpu.psr, vcpu.status, vcpu.pending] = state;
    }
}

impl Hypervisor {
    /// Prepares for the timer of who begins to wait, which [`rings`], if it is not less urgent than whom the
    /// express is for.
    ///
    /// [`rings`]: entresol_hv::board::Board::rings
    #[inline(never)]
    pub(crate) fn prepare(&mut self, index: usize, deadline: u64) {
        let index = index % MAX_VMS;
        let priority = Id::new(index).map_or(0, |id| self.turns.priority(id));
        let guest = &mut self.guests[index];
        let usual = matches!(guest.run, Run::Waiting)
            && !self.locks.is_waiting(index)
            && !guest.promotion.lazy
            && guest.siblings.is_none()
            && guest.vcpu.mode() != Mode::FIQ
            && guest.vcpu.privileged();
        if !usual || deadline == NEVER {
            return;
        }
        if !self.express.guest.is_null() && self.express.priority > priority {
            return;
        }
        guest.unload();
        // It takes the interrupt, and forgets it again; what is in the bank of its mode, and of User
        // mode in the shared page, matters only once it has taken it.
        let (before, bank) = (guest.state(), guest.vcpu.banks[bank::IRQ]);
        guest.vcpu.pending = Gic::IRQ;
        self.express.enters = guest.vcpu.deliverable().is_some();
        guest.vcpu.enter_pending();
        self.express.state = guest.state();
        self.express.spsr = guest.vcpu.spsr();
        guest.publish_user();
        guest.set_state(before);
        guest.vcpu.banks[bank::IRQ].spsr = bank.spsr;
        guest.turn = core::ptr::null_mut();
        let aligned = guest.vcpu.cp15.sctlr & cp15::SCTLR_A;
        self.express.control = cp15::system_control() & !cp15::SCTLR_A | aligned;
        self.express.vectors = guest.vectors();
        guest.promotion.note_vectors(self.express.vectors);
        self.express.deadline = deadline;
        self.express.priority = priority;
        self.turns.set_asking(priority);
        self.express.bit = 1 << index;
        self.express.guest = guest;
    }

    /// Looks for an interrupt of the machine and settles it, if it is not the express. Whoever
    /// calls this asks the scheduler afterwards.
    #[inline(never)]
    pub(crate) fn poll(&mut self) -> bool {
        let pending = cp15::is_interrupted();
        if pending {
            self.try_express();
            self.interrupted();
            self.give_way_called();
        }
        pending
    }

    /// Does not return if the express takes the interrupt of the machine that is pending. What follows
    /// may be left out if the scheduler is asked before the loaded guest runs again.
    pub(crate) fn try_express(&mut self) {
        let guest: *mut Guest = self.guest();
        // SAFETY: the guest's registers are saved.
        unsafe { express(guest, self) };
    }

    /// Gives way to the express, if that came meanwhile: where what follows may be left out because
    /// the loaded guest, which is not the one it is for, executes its instruction again or has
    /// nothing more to be done for it.
    #[inline(always)]
    pub(crate) fn give_way(&mut self) {
        if cp15::is_interrupted() {
            self.gives_way();
        }
    }

    /// The same as a call, where nobody counts instructions.
    #[inline(never)]
    pub(crate) fn give_way_called(&mut self) {
        self.give_way();
    }

    /// The same while the instruction at `pc`, by which pc has advanced already, may be executed again.
    #[cold]
    #[inline(never)]
    pub(crate) fn give_way_at(&mut self, pc: u32) {
        let behind = core::mem::replace(&mut self.guest_called().vcpu.pc, pc);
        self.give_way_called();
        self.guest_called().vcpu.pc = behind;
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn gives_way(&mut self) {
        let guest = self.guest();
        if matches!(guest.run, Run::Waiting) {
            self.try_express();
        } else {
            // Until it is renewed, which it is before it runs again, no turn is passed to it.
            let counters = core::mem::replace(&mut guest.fast.counters, core::ptr::null_mut());
            self.try_express();
            self.guest().fast.counters = counters;
        }
    }

    /// Arms the timer for the express, if it may come, until all is known that it is to be armed for.
    #[inline]
    pub(crate) fn arm_for_express(&mut self) {
        let free = self.turns.gate.levels >> (self.express.priority % 32) == 0;
        if free && !self.express.guest.is_null() {
            self.arm_at(self.express.deadline);
        }
    }

    /// Whether the express is taken if its interrupt comes `now`.
    pub(crate) fn expects_express(&self, now: u64) -> bool {
        let Express { guest, bit, priority, .. } = self.express;
        let id = Id::new(bit.trailing_zeros() as usize);
        !guest.is_null() && id.is_some_and(|id| self.turns.gate.admits(id, priority, now))
    }

    /// Guest `index`, which waited, was woken or may not be interrupted any more as it was
    /// prepared to be.
    pub(crate) fn forget_express(&mut self, index: usize) {
        let guest = &raw mut self.guests[index % MAX_VMS];
        let waits = matches!(self.guests[index % MAX_VMS].run, Run::Waiting);
        if guest == self.express.guest
            && (!waits || self.guests[index % MAX_VMS].board.rings() == NEVER)
        {
            self.express.guest = core::ptr::null_mut();
        }
    }

    /// Whether the express was taken and not settled.
    #[inline(always)]
    pub(crate) fn took_express(&self) -> bool {
        self.express.is_unsettled()
    }

    /// Makes up for what the express left out: who made room; then, each time that the guest has
    /// trapped again, who runs, and what interrupts it. The guest to resume.
    #[cold]
    #[inline(never)]
    pub(crate) fn settle_express(&mut self) -> *mut Guest {
        let Express { displaced, at, next, enters, .. } = self.express;
        let index = self.loaded % MAX_VMS;
        if displaced == SCHEDULED {
            self.express.displaced = NOBODY;
            // SAFETY: GICC_PMR follows GICC_CTLR.
            let mask = unsafe { self.express.wires.interrupts.add(1) };
            // SAFETY: all may interrupt again; handlers do not nest.
            unsafe { mask.write_volatile(0xff) };
            // SAFETY: as in `counters`.
            let observed = unsafe { ENTRESOL_OBSERVED.get() };
            observed.interrupts = observed.interrupts.wrapping_add(1);
            observed.vms[index].injected += u32::from(enters);
            let guest = &mut self.guests[index];
            guest.board.ring();
            guest.note_pending();
            self.update_float();
            self.armed = next;
            self.give_way_called();
            self.turns.heed_refills();
            self.arm();
            if self.reschedule {
                // At once, and not where the guest may happen to trap next.
                self.arm_at(at);
            }
            return self.guest();
        }
        if displaced == index {
            // SAFETY: as above.
            let observed = unsafe { ENTRESOL_OBSERVED.get() };
            observed.vm_switches = observed.vm_switches.wrapping_sub(1);
            self.express.displaced = UNLOADED;
        } else if displaced < SCHEDULED {
            self.loaded = displaced;
            if self.makes_room(at) {
                self.express.displaced = UNLOADED;
            }
            self.loaded = index;
            // What it left undone may have changed the register, which is another's by now.
            // SAFETY: the register is only the loaded guest's.
            unsafe { cp15::set_thread_read_only(self.guest().vcpu.cp15.tpidruro) };
            return self.guest();
        }
        if self.turns.advance(at) {
            return self.guest();
        }
        self.express.displaced = SCHEDULED;
        self.guest().run = Run::Running;
        if let Some(id) = Id::new(index) {
            self.turns.ready(id);
            let other = self.turns.decide(at) != Some(id);
            // What was left is settled where the scheduler is asked.
            let settles = self.unsettled <= self.count || self.ended != 0;
            let left = settles || self.turns.has_exhausted();
            self.reschedule |= self.locks.run(1 << index) | other | left;
        }
        self.guest()
    }

    /// Who is loaded made room at `at`: takes a step; whether that was the last.
    fn makes_room(&mut self, at: u64) -> bool {
        if self.pass_to_loaded(at) {
            return false;
        }
        let guest = self.guest();
        let pulled = guest.promotion.pulled;
        // Who has work to be done is in no stub, and its shadow is the work's.
        if matches!(guest.run, Run::Running)
            && guest.vcpu.privileged()
            && guest.is_in_stub()
            && (!pulled || self.leave_stub() != Stopped::Outside)
        {
            return false;
        }
        self.guest().heed();
        self.keep_at(self.loaded, at);
        self.guest().unload();
        true
    }
}

/// Arms the timer, which has come, for what is in `r4` and `r5`; in `r2` are the registers of the
/// Cortex-A9's or null; changes `r6`.
macro_rules! arm {
    () => {
        // In the order of `devices::timer`; CNTP_CVAL.
        concat!(
            "cmp r2, #0\nbeq 4f\n",
            "mov r6, #1\nstr r6, [r2, #0x08]\nstr r4, [r2, #0x10]\nstr r5, [r2, #0x14]\n",
            "str r6, [r2, #0x0c]\nmov r6, #7\nstr r6, [r2, #0x08]\nb 5f\n",
            "4: mcrr p15, 2, r4, r5, c14\nisb\n5:"
        )
    };
}

pub(crate) use arm;

/// Takes the timer's interrupt if it is the one prepared for; returns if not, and leaves `r0` as
/// it is. `loaded` is the guest that is loaded, whose registers are saved. About 100 instructions,
/// the return to the guest included.
///
/// (1.) Is it due; 2. [`Gate::admits`]; 3. acknowledge, arm, keep others off, end; 4. the guest as interrupted: `r13`
/// to `pending`, its shared page; 5. the machine's registers; 6. who is loaded and the rest as
/// when a turn is passed.
///
/// # Safety
///
/// Supervisor mode, interrupts masked; see the module's invariants.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(crate) unsafe extern "C" fn express(loaded: *mut Guest, hypervisor: *mut Hypervisor) {
    naked_asm!(
        // 1. The Cortex-A9's timer: its event flag, its count.
        "ldr r12, ={core} + {EXPRESS}",
        "ldr r3, [r12, #{GUEST}]",
        "cmp r3, #0",
        "bxeq lr",
        "ldr r3, [r12, #{TIMER}]",
        "cmp r3, #0",
        "beq 2f",
        "ldr r1, [r3, #0x0c]",
        "tst r1, #1",
        "bxeq lr",
        "1: ldr r2, [r3, #4]",
        "ldr r1, [r3]",
        "ldr r3, [r3, #4]",
        "cmp r3, r2",
        "ldrne r3, [r12, #{TIMER}]",
        "bne 1b",
        "b 3f",
        // The generic timer: CNTP_CTL.ISTATUS, CNTPCT.
        "2: mrc p15, 0, r1, c14, c2, 1",
        "tst r1, #4",
        "bxeq lr",
        "isb",
        "mrrc p15, 0, r1, r2, c14",
        "3: ldr r3, [r12, #{DEADLINE}]",
        "subs r3, r1, r3",
        "ldr r3, [r12, #{DEADLINE} + 4]",
        "sbcs r3, r2, r3",
        "bxlo lr",
        // 2.
        "str r1, [r12, #{AT}]",
        "str r2, [r12, #{AT} + 4]",
        "ldr r3, ={core} + {GATE}",
        "ldr r3, [r3, #{UNTIL}]",
        "subs r1, r1, r3",
        "ldr r3, ={core} + {GATE}",
        "ldr r3, [r3, #{UNTIL} + 4]",
        "sbcs r1, r2, r3",
        "bxhs lr",
        "ldr r3, ={core} + {GATE}",
        "ldmia r3, {{r1, r2}}",         // levels, able
        "ldr r3, [r12, #{PRIORITY}]",
        "lsrs r1, r1, r3",
        "bxne lr",
        "ldr r3, [r12, #{BIT}]",
        "tst r2, r3",
        "bxeq lr",
        // 3. GICC_HPPIR, GICC_IAR, GICC_EOIR. The timer may be due before the controller knows: what
        // is acknowledged then may be a software interrupt, which comes once.
        "ldr r3, [r12, #{INTERRUPTS}]",
        "ldr r1, [r3, #0x18]",
        "ldr r2, [r12, #{IRQ}]",
        "cmp r1, r2",
        "bxne lr",
        "ldr r1, [r3, #0x0c]",
        "ldrd r4, r5, [r12, #{NEXT}]",
        "ldr r2, [r12, #{TIMER}]",
        arm!(),
        "mov r2, #{TIMER_ONLY}",
        "str r2, [r3, #0x04]",          // GICC_PMR
        "str r1, [r3, #0x10]",
        // 4.
        "ldr r8, [r12, #{GUEST}]",
        "ldr r1, ={core} + {LOADED}",
        "ldr r1, [r1]",
        "str r1, [r12, #{DISPLACED}]",
        "mov r1, #0",
        "str r1, [r12, #{GUEST}]",
        "str r1, [r12, #{OWN}]",
        "add r9, r12, #{STATE}",
        "ldmia r9, {{r1-r7}}",          // STATE, then SPSR
        "add r9, r8, #{SP}",
        "stmia r9, {{r1-r6}}",
        "ldr r9, [r8, #{SHARED}]",
        "str r5, [r9, #{STATUS}]",
        "str r6, [r9, #{PENDING}]",
        "str r7, [r9, #{SAVED}]",
        "mov r4, r5",
        // 5. VBAR; SCTLR.A; floating point is closed until it is wanted.
        "ldr r1, [r12, #{VECTORS}]",
        "mcr p15, 0, r1, c12, c0, 0",
        "ldr r1, [r12, #{CONTROL}]",
        "mcr p15, 0, r1, c1, c0, 0",
        "mov r1, #0",
        ".fpu neon",
        "vmsr fpexc, r1",
        // 6.
        "b {swap}",
        EXPRESS = const offset_of!(Hypervisor, express),
        GUEST = const offset_of!(Express, guest),
        DEADLINE = const offset_of!(Express, deadline),
        NEXT = const offset_of!(Express, next),
        OWN = const offset_of!(Express, own),
        AT = const offset_of!(Express, at),
        STATE = const offset_of!(Express, state),
        VECTORS = const offset_of!(Express, vectors),
        CONTROL = const offset_of!(Express, control),
        PRIORITY = const offset_of!(Express, priority),
        BIT = const offset_of!(Express, bit),
        DISPLACED = const offset_of!(Express, displaced),
        TIMER_ONLY = const TIMER_ONLY,
        LOADED = const offset_of!(Hypervisor, loaded),
        INTERRUPTS = const offset_of!(Express, wires) + offset_of!(Wires, interrupts),
        TIMER = const offset_of!(Express, wires) + offset_of!(Wires, timer),
        IRQ = const offset_of!(Express, wires) + offset_of!(Wires, timer_irq),
        GATE = const offset_of!(Hypervisor, turns) + offset_of!(Scheduler, gate),
        UNTIL = const offset_of!(Gate, until),
        SP = const SP,
        SHARED = const crate::fast::SHARED,
        STATUS = const shared::STATUS,
        PENDING = const shared::PENDING,
        SAVED = const shared::SAVED,
        core = sym CORE,
        swap = sym turn::swap,
    )
}

const _: () = assert!(offset_of!(Gate, levels) == 0 && offset_of!(Gate, able) == 4);
const _: () = assert!(offset_of!(Express, spsr) == offset_of!(Express, state) + STATE * 4);
const _: () = assert!(Gic::IRQ == psr::I, "as stubs see what is pending");
