//! One VM passes its turn to its equal, and nothing else happens: a switch of VMs.
//!
//! Budget `switch.vm`. Only what stays in the machine changes. No TLB and no cache operation:
//! each view has an ASID of its own. Who comes next is known beforehand: the scheduler's
//! rings change only when it is asked, and then each guest's [`Guest::turn`] is noted. That a
//! turn was passed is told to the scheduler before it is asked again
//! ([`Hypervisor::scheduler`]); the new guest's slice begins then.
//!
//! # Invariants
//!
//! - A guest to pass the turn to is running, known to the fast paths, and may not use floating
//!   point; nor may one that passes it.
//! - [`Vcpu::pending`] of every guest is true, loaded or not.

use super::{
    APPLICATION, COUNTERS, FAST, Fast, HYPERCALLS, KERNEL, MACHINE_DACR, PC, PENDING, PSR, STATUS,
    cp15_at, resume,
};
use crate::entry;
use crate::guest::{Due, Guest, Run};
use crate::hypervisor::{CORE, ENTRESOL_OBSERVED, Hypervisor};
use crate::maintenance::switch_to_return_text;
use crate::timer::open_counters_text;
use core::arch::naked_asm;
use core::mem::offset_of;
use entresol_abi::image::MAX_VMS;
use entresol_abi::observe::Observed;
use entresol_hv::scheduler::{Id, Scheduler};
use entresol_vcpu::Cp15;

/// `hvc` with the function Yield, by a kernel; entered as the paths of trap words are. 63
/// instructions, the return included.
///
/// (1.) The next guest in `r8`, which no pending interrupt concerns, its virtual status in `r4`; 2.
/// the call is done; save what [`entry::resume`] loads; 3. thread registers, who may read the counter;
/// 4. the stack pointers of the exceptions; 5. who is loaded; 6. its view; 7. its domains; 8. go.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(super) unsafe extern "C" fn pass_turn() {
    naked_asm!(
        // 1.
        "add r12, sp, #{FAST}",
        "ldr r8, [r12, #{NEXT}]",
        "cmp r8, #0",
        "beq {slow}",
        "ldr r4, [r8, #{STATUS}]",
        "ldr r5, [r8, #{PENDING}]",
        "bics r5, r5, r4",
        "bne {slow}",
        // 2.
        "ldr r6, [sp, #{COUNTERS}]",
        "ldr r7, [r6, #{HYPERCALLS}]",
        "add r7, r7, #1",
        "str r7, [r6, #{HYPERCALLS}]",
        "mov r5, #0",
        "str r5, [sp]",
        "str lr, [sp, #{PC}]",
        "str r1, [sp, #{PSR}]",
        "mov r0, sp",
        "b {swap}",
        FAST = const FAST,
        NEXT = const offset_of!(Fast, next),
        STATUS = const STATUS,
        PENDING = const PENDING,
        COUNTERS = const COUNTERS,
        HYPERCALLS = const HYPERCALLS,
        PC = const PC,
        PSR = const PSR,
        swap = sym swap,
        slow = sym entry::undefined_saved,
    )
}

/// The saved guest in `r0` makes room for the one in `r8`, whose virtual status is in `r4`: what
/// follows 2.
///
/// # Safety
///
/// A privileged mode, interrupts masked; what else the machine holds of a guest is right.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(crate) unsafe extern "C" fn swap() {
    naked_asm!(
        // 3.
        "mrc p15, 0, r6, c13, c0, 2",   // TPIDRURW
        "str r6, [r0, #{THREAD_USER}]",
        "ldr r6, [r8, #{THREAD_USER}]",
        "mcr p15, 0, r6, c13, c0, 2",
        "ldr r6, [r8, #{THREAD}]",
        "mcr p15, 0, r6, c13, c0, 3",   // TPIDRURO
        open_counters_text!("r8"),
        // 4.
        "cps #0x17",
        "mov sp, r8",
        "cps #0x12",
        "mov sp, r8",
        "cps #0x1b",
        "mov sp, r8",
        "cps #0x13",
        "clrex",                        // B2.2
        // 5.
        "add r12, r8, #{FAST}",
        "ldr r2, [r12, #{INDEX}]",
        "ldr r3, ={core} + {LOADED}",
        "str r2, [r3]",
        "ldr r3, ={observed}",
        "ldr r2, [r3, #{SWITCHES}]",
        "add r2, r2, #1",
        "str r2, [r3, #{SWITCHES}]",
        // 6.
        "tst r4, #0xf",                 // User mode is 0x10
        "addeq r3, r12, #{APPLICATION}",
        "addne r3, r12, #{KERNEL}",
        "ldmia r3, {{r5, r6}}",
        switch_to_return_text!("r5", "r6", "r7"),
        // 7.
        "ldr r2, [r8, #{DACR}]",
        "mcr p15, 0, r2, c3, c0, 0",    // DACR; the return is a context synchronisation
        // 8. As [`entry::resume`].
        "mov sp, r8",
        "ldr r1, [sp, #{PSR}]",
        "ldr lr, [sp, #{PC}]",
        "msr spsr_cxsf, r1",
        resume!(),
        FAST = const FAST,
        INDEX = const offset_of!(Fast, index),
        APPLICATION = const APPLICATION,
        KERNEL = const KERNEL,
        THREAD_USER = const cp15_at(offset_of!(Cp15, tpidrurw)),
        THREAD = const cp15_at(offset_of!(Cp15, tpidruro)),
        DACR = const MACHINE_DACR,
        COUNTER = const offset_of!(Guest, counter),
        COUNTER_CONTROL = const cp15_at(offset_of!(Cp15, cntkctl)),
        LOADED = const offset_of!(Hypervisor, loaded),
        SWITCHES = const offset_of!(Observed, vm_switches),
        core = sym CORE,
        observed = sym ENTRESOL_OBSERVED,
        PC = const PC,
        PSR = const PSR,
    )
}

impl Hypervisor {
    /// The scheduler, told if a turn was passed since it was asked.
    #[inline]
    pub(crate) fn scheduler(&mut self) -> &mut Scheduler {
        if self.turns.current().is_some_and(|id| id.index() != self.loaded) {
            let now = self.now();
            self.pass_to_loaded(now);
        }
        &mut self.turns
    }

    /// Tells it that who is loaded runs, from `now` on; false if it knew.
    pub(crate) fn pass_to_loaded(&mut self, now: u64) -> bool {
        let news = self.turns.current().is_some_and(|id| id.index() != self.loaded);
        if news && let Some(id) = Id::new(self.loaded) {
            self.turns.turned(id, now);
            self.locks.run(1 << id.index());
        }
        news
    }

    /// Notes for each guest who comes next when it passes its turn, if the loaded one can pass it:
    /// else nobody can before they are noted again.
    pub(crate) fn note_turns(&mut self) {
        if Id::new(self.loaded).and_then(|id| self.turns.next_of(id)).is_none() {
            let guest = self.guest();
            guest.turn = core::ptr::null_mut();
            guest.fast.next = core::ptr::null_mut();
            return;
        }
        for index in 0..self.count {
            // All are noted anew before the scheduler is done.
            self.give_way_called();
            let guest = &self.guests[index % MAX_VMS];
            let promotes = guest.promotion.on;
            // A turn that is passed unseen would not be told to its clock, nor to who wants its lock.
            let unseen = !guest.board.has_virtual_time()
                && !guest.shadow.joint.on
                && !self.locks.is_watched(index);
            let next = Id::new(index).and_then(|id| self.turns.next_of(id));
            let next = next.map(|next| &mut self.guests[next.index() % MAX_VMS]);
            let next = next.filter(|next| {
                // The vectors of those that promote are others.
                matches!(next.run, Run::Running)
                    && next.due == Due::Nothing
                    && !next.called
                    && next.fast_is_known()
                    && !next.vcpu.float_enabled()
                    && next.promotion.on == promotes
                    && unseen
                    && !next.board.has_virtual_time()
                    && !next.shadow.joint.on
            });
            let turn = next.map_or(core::ptr::null_mut(), |next| &raw mut *next);
            let guest = &mut self.guests[index % MAX_VMS];
            guest.turn = turn;
            // It may be passed to a guest that renews nothing before it passes it on.
            guest.fast.next = guest.next_turn();
        }
    }
}
