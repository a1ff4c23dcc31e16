//! The traps that happen most, settled in assembly.
//!
//! Each path here has the effect of the handler in [`trap`](crate::trap) that it saves, and
//! gives way to that handler for everything unusual before it has changed anything. Here
//! are what the paths share and the state they need; the paths are in the modules below.
//!
//! # Invariants
//!
//! - A path runs on no stack, with interrupts masked, in the mode of its exception.
//! - What it leaves in the machine (domains, thread registers) it also leaves in the core's state,
//!   so that the handlers never know the difference.
//! - [`Fast`] is true while a guest runs: [`Hypervisor::leave`](crate::hypervisor::Hypervisor) renews it.
//! - [`Vcpu::pending`] is true while a guest runs, so a path that unmasks interrupts sees
//!   whether one is due, and gives way.
//!
//! Manual: ARM DDI 0406C, B1.3 and B1.8 (modes, exceptions), B4.1 (registers).

pub(crate) mod abort;
pub(crate) mod device;
mod domains;
mod exception_return;
mod fill;
pub(crate) mod instruction;
mod interface;
mod invalidate;
mod multiple;
pub(crate) mod own;
mod status;
mod system;
pub(crate) mod system_call;
mod timer;
pub(crate) mod turn;

use crate::guest::{Guest, LastException};
use crate::linear;
use crate::maintenance::View;
use crate::memory::GuestMemory;
use crate::promote::Promotion;
use crate::shadow::{Shadow, Side};
use crate::stubs::Wrote;
use core::mem::offset_of;
use entresol_abi::observe::VmCounters;
use entresol_rewrite::stub::shared;
use entresol_vcpu::mode::bank;
use entresol_vcpu::state::{Bank, Vcpu};
use entresol_vcpu::{Cp15, psr};

/// What the paths need of a guest, in the order in which they load it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Fast {
    /// Its counters, and the machine's DACR when its kernel is entered.
    calls: *mut VmCounters,
    enter: u32,
    /// Not 0: only the handlers know how to change this guest's privilege. But [`JOINT`].
    slow: u32,
    /// Where its exception vectors are.
    vectors: u32,
    /// The view of its kernel.
    kernel: View,
    /// The view of all memory.
    linear: View,
    /// Its memory, for walks of its tables.
    memory: GuestMemory,
    /// The view of its application.
    application: View,
    /// Its counters.
    pub(crate) counters: *mut VmCounters,
    /// What its DACR is when it returns to its application without more ado; what the machine's is
    /// then; what its kernel finds enforced when it is entered.
    opened: u32,
    leave: u32,
    closed: u32,
    /// What its kernel was seen to make of its DACR, taking rights away; managers if nothing.
    pub(crate) closes: u32,
    /// Bits of DACR that only the handlers may change: where entries depend on them.
    fixed: u32,
    /// The same with one table, where `fixed` is all.
    fixed_joint: u32,
    /// How many roots there are between the view of its kernel and that of its application.
    pub(crate) apart: u32,
    /// Who comes next if it passes its turn and nothing else is to be done; null if it is.
    pub(crate) next: *mut Guest,
    /// Its number.
    index: usize,
    /// Not 0: only the handlers know how to change this guest's address space.
    fixed_space: u32,
}

const _: () = assert!(offset_of!(Fast, counters) == offset_of!(Fast, application) + 8);
const _: () = assert!(OPENED == offset_of!(Fast, counters) + 4);
const _: () = assert!(LEAVE == OPENED + 4 && offset_of!(Fast, closed) == LEAVE + 4);
const _: () =
    assert!(shared::THREAD_READ_ONLY == shared::SAVED + 4 && shared::SAVED.is_multiple_of(8));

impl Fast {
    pub(crate) const EMPTY: Self = Self {
        calls: core::ptr::null_mut(),
        enter: 0,
        slow: 1,
        vectors: 0,
        kernel: View { base: 0, asid: 0 },
        linear: View { base: 0, asid: 0 },
        memory: GuestMemory::EMPTY,
        application: View { base: 0, asid: 0 },
        counters: core::ptr::null_mut(),
        opened: 0,
        leave: 0,
        closed: 0,
        closes: !0,
        fixed: !0,
        fixed_joint: !0,
        apart: 1,
        next: core::ptr::null_mut(),
        index: 0,
        fixed_space: 1,
    };
}

/// In [`Fast::slow`]: its kernel and its application have one table.
const JOINT: u32 = 1 << 31;

/// SCTLR.M, and the bits of SCTLR that make exceptions or walks unusual: V, EE, AFE, TE.
const SCTLR_M: u32 = 1 << 0;
const SCTLR_V: u32 = 1 << 13;
const SCTLR_UNUSUAL: u32 = 1 << 25 | 1 << 29 | 1 << 30;
const HIGH_VECTORS: u32 = 0xffff_0000;

/// CPACR's field for cp10, and its value that makes floating point the kernel's alone.
const CPACR_FLOAT: u32 = 0xf << 20;
const CPACR_KERNEL: u32 = 0x5 << 20;

impl Fast {
    /// The guest's DACR while its application runs.
    pub(crate) const fn opened(&self) -> u32 {
        self.opened
    }
}

impl Guest {
    /// The view of its current mode, as of the last renewal.
    #[inline(always)]
    pub(crate) fn fast_view(&self) -> View {
        if self.vcpu.privileged() { self.fast.kernel } else { self.fast.application }
    }

    /// DACR of its current mode, as of the last renewal, if what is there now is not right. When a
    /// kernel is entered that is what it makes of it itself; what it touches before is opened.
    #[inline(never)]
    pub(crate) fn domains(&mut self, now: u32) -> Option<u32> {
        let Fast { leave, closed, enter, opened, apart, .. } = self.fast;
        let entered = core::mem::take(&mut self.promotion.entered);
        if !self.vcpu.privileged() {
            return (now != leave).then_some(leave);
        }
        let (dacr, own) = (self.dacr, self.vcpu.cp15.dacr);
        let both = if apart == 0 { Shadow::of_both(dacr) } else { 0 };
        if closed == opened || closed & !own != 0 {
            self.enforces(own);
            return ((now ^ dacr) & !both != 0).then_some(dacr);
        }
        if entered {
            self.enforces(closed);
            return Some(enter);
        }
        if now & !(dacr | both) == 0 {
            return None;
        }
        self.enforces(own);
        Some(dacr)
    }

    /// Renews what a fill of the shadow may change.
    #[inline]
    pub(crate) fn note_baked(&mut self) {
        let cp15 = &self.vcpu.cp15;
        let fast = &mut self.fast;
        (fast.fixed, fast.fixed_joint) = self.shadow.fixed_domains(cp15);
        self.foresee();
    }

    /// What the machine's DACR is when the guest's kernel is entered, and left for its application.
    /// A kernel that writes the same each time it is entered has that enforced at once.
    fn foresee(&mut self) {
        let cp15 = &self.vcpu.cp15;
        let fast = &mut self.fast;
        let Fast { opened, closes, .. } = *fast;
        let known = closes & !opened | (closes ^ opened) & fast.fixed & fast.fixed_joint == 0;
        fast.closed = if known && self.promotion.on { closes } else { opened };
        self.promotion.lazy = self.shadow.stubs.lazy || fast.closed != opened;
        fast.enter = self.shadow.domains(cp15, fast.closed);
        let leave = self.shadow.domains(cp15, opened);
        fast.leave = if fast.apart == 0 { Shadow::of_both(leave) } else { leave };
        let closed = fast.closed;
        if !self.vcpu.privileged() {
            self.enforces(closed);
        }
    }

    /// What a sensitive write of DACR at the last instruction of the guest's kernel did.
    pub(crate) fn wrote_domains(&self, machine: u32) -> Wrote {
        let (fast, dacr) = (&self.fast, self.vcpu.cp15.dacr);
        if dacr == fast.closes {
            if fast.closed == dacr && machine == fast.enter {
                Wrote::Closed
            } else if fast.closed == dacr {
                Wrote::Other
            } else {
                Wrote::Close
            }
        } else if dacr == fast.opened {
            Wrote::Opened
        } else {
            Wrote::Other
        }
    }

    /// Whether it was renewed since the guest's start.
    #[inline]
    pub(crate) fn fast_is_known(&self) -> bool {
        !self.fast.counters.is_null()
    }

    /// Who comes next if it passes its turn, as far as the fast paths may know.
    #[inline]
    fn next_turn(&self) -> *mut Self {
        // Nor does it know of a DACR that the guest's kernel has but in the shared page.
        let simple = !self.vcpu.float_enabled() && !self.promotion.lazy;
        if simple { self.turn } else { core::ptr::null_mut() }
    }

    /// Renews what the fast paths know of this guest.
    #[inline]
    pub(crate) fn renew_fast(&mut self, counters: *mut VmCounters, index: usize) {
        let cp15 = &self.vcpu.cp15;
        let usual = cp15.sctlr & (SCTLR_UNUSUAL | SCTLR_M) == SCTLR_M
            && cp15.ttbcr == 0
            && cp15.cpacr & CPACR_FLOAT != CPACR_KERNEL;
        self.dacr = self.shadow.domains(cp15, cp15.dacr);
        let (fixed, fixed_joint) = self.shadow.fixed_domains(cp15);
        let Fast { opened, closes, .. } = self.fast;
        self.fast = Fast {
            calls: counters,
            enter: 0,
            slow: u32::from(!usual) | if self.shadow.joint.on { JOINT } else { 0 },
            vectors: if cp15.sctlr & SCTLR_V == 0 { cp15.vbar } else { HIGH_VECTORS },
            kernel: self.shadow.view(Side::Kernel),
            linear: linear::view(),
            // A walk whose result is filled in takes the lock of two vCPUs, which only handlers do.
            memory: if self.siblings.is_some() { GuestMemory::EMPTY } else { self.shadow.memory },
            application: self.shadow.view(Side::Application),
            counters,
            opened: if self.vcpu.privileged() { opened } else { cp15.dacr },
            leave: 0,
            closed: 0,
            closes,
            fixed,
            fixed_joint,
            apart: u32::from(!self.shadow.is_joint()),
            next: self.next_turn(),
            index,
            fixed_space: u32::from(!usual || self.siblings.is_some()),
        };
        self.foresee();
    }
}

/// By the low four bits of a mode: where its bank lies in a [`Guest`], 0 for FIQ and for
/// modes that do not exist, which the paths leave to the handlers.
static BANKS: [u8; 16] = {
    let mut table = [0; 16];
    table[0x0] = BANK_USER as u8;
    table[0x2] = bank_at(bank::IRQ) as u8;
    table[0x3] = BANK_SUPERVISOR as u8;
    table[0x7] = BANK_ABORT as u8;
    table[0xb] = bank_at(bank::UNDEFINED) as u8;
    table[0xf] = BANK_USER as u8;
    table
};

const fn bank_at(index: usize) -> usize {
    offset_of!(Vcpu, banks) + index * size_of::<Bank>()
}

const fn cp15_at(field: usize) -> usize {
    offset_of!(Vcpu, cp15) + field
}

const BANK_USER: usize = bank_at(bank::USER);
const BANK_SUPERVISOR: usize = bank_at(bank::SUPERVISOR);
const BANK_ABORT: usize = bank_at(bank::ABORT);
const SPSR: usize = offset_of!(Bank, spsr);
/// `r13` and `r14` of the current mode.
const SP_LR: usize = offset_of!(Vcpu, regs) + 13 * 4;
const LR: usize = SP_LR + 4;
const STATUS: usize = offset_of!(Vcpu, status);
const PENDING: usize = offset_of!(Vcpu, pending);
const FAST: usize = offset_of!(Guest, fast);
const COUNTERS: usize = FAST + offset_of!(Fast, counters);
const PC: usize = offset_of!(Vcpu, pc);
const PSR: usize = offset_of!(Vcpu, psr);
const KERNEL: usize = offset_of!(Fast, kernel);
const APPLICATION: usize = offset_of!(Fast, application);
const LAST: usize = offset_of!(Guest, last);
const DFSR: usize = cp15_at(offset_of!(Cp15, dfsr));
const DFAR: usize = cp15_at(offset_of!(Cp15, dfar));
const IFSR: usize = cp15_at(offset_of!(Cp15, ifsr));
const TTBR0: usize = cp15_at(offset_of!(Cp15, ttbr0));
/// Of the shared page: where the current mode's SPSR, and `sp` and `lr` of User mode are while a
/// kernel runs. See [`promote`](crate::promote).
const SAVED: u32 = shared::SAVED;
const USER: u32 = shared::USER;
pub(crate) const SHARED: usize = offset_of!(Guest, promotion) + offset_of!(Promotion, page);
const COUNTDOWN: usize = offset_of!(Guest, promotion) + offset_of!(Promotion, countdown);
const DACR: usize = cp15_at(offset_of!(Cp15, dacr));
const SLOW: usize = offset_of!(Fast, slow);
const OPENED: usize = offset_of!(Fast, opened);
const LEAVE: usize = offset_of!(Fast, leave);
const ENTER: usize = FAST + offset_of!(Fast, enter);
/// Of the shared page: the guest's DACR, and what of it is enforced; TPIDRURO.
const DOMAINS: u32 = shared::DOMAINS;
const ENFORCED: u32 = shared::ENFORCED;
const THREAD_READ_ONLY: u32 = shared::THREAD_READ_ONLY;
const MACHINE_DACR: usize = offset_of!(Guest, dacr);
const SENSITIVE: usize = offset_of!(VmCounters, sensitive);
const CP15: usize = offset_of!(VmCounters, cp15);
const HYPERCALLS: usize = offset_of!(VmCounters, hypercalls);
const REFLECTED: usize = offset_of!(VmCounters, reflected);
const FILLS: usize = offset_of!(VmCounters, fills);

// What the assembly takes for granted.
const _: () = assert!(offset_of!(Guest, vcpu) == 0 && offset_of!(Vcpu, regs) == 0);
const _: () = assert!(offset_of!(Bank, sp) == 0 && offset_of!(Bank, lr) == 4);
const _: () = assert!(bank_at(bank::COUNT) < 256, "LDRD reaches 255 bytes");
const _: () =
    assert!(FAST < 1024 && FAST.is_multiple_of(4) && LAST < 1024 && LAST.is_multiple_of(4));
const _: () = assert!(offset_of!(Fast, calls) == 0 && offset_of!(Fast, enter) == 4);
const _: () = assert!(SLOW == 8 && offset_of!(Fast, vectors) == SLOW + 4);
const _: () =
    assert!(offset_of!(Fast, kernel) == SLOW + 8 && offset_of!(Fast, linear) == SLOW + 16);
const _: () = assert!(offset_of!(Fast, memory) == SLOW + 24 && size_of::<GuestMemory>() == 12);
const _: () = assert!(offset_of!(LastException, vector) == 0);
const _: () = assert!(offset_of!(LastException, count) == 4);
const _: () = assert!(offset_of!(LastException, from) == 8);
const _: () = assert!(shared::STATUS == 0);
const _: () =
    assert!(offset_of!(Cp15, ifar) - offset_of!(Cp15, ifsr) == DFAR - DFSR, "one distance");
const _: () = assert!(psr::MODE == 0x1f && psr::T == 0x20 && psr::E == 0x200);

/// Adds one to the counter at offset `$counter`; changes `r3` and `r5`. Four instructions.
macro_rules! count {
    ($counter:literal) => {
        concat!(
            "ldr r3, [sp, #{COUNTERS}]\n",
            "ldr r5, [r3, #{",
            $counter,
            "}]\n",
            "add r5, r5, #1\n",
            "str r5, [r3, #{",
            $counter,
            "}]"
        )
    };
}

/// Resumes the guest behind the instruction that trapped, in its own status: `lr` and SPSR
/// are as the exception left them. Two instructions: since ARMv6 the one behind a load of User
/// registers may name a banked register (B9.3.5).
macro_rules! resume {
    () => {
        "ldmia sp, {{r0-r14}}^\nmovs pc, lr"
    };
}

/// Shows a guest kernel's stubs its virtual status, which is in `$status`; changes `r3`. Two
/// instructions. See [`promote`](crate::promote).
macro_rules! publish {
    ($status:literal) => {
        concat!("ldr r3, [sp, #{SHARED}]\nstr ", $status, ", [r3]")
    };
}

/// Puts a kernel's interrupt mask, which is in the shared page, into `r4`; changes `r3` and `r5`.
/// Four instructions.
macro_rules! mask {
    () => {
        "ldr r3, [sp, #{SHARED}]\nldr r5, [r3]\nlsr r5, r5, #7\nbfi r4, r5, #7, #1"
    };
}

pub(crate) use {count, mask, publish, resume};
