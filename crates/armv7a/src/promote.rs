//! Promotion: when an instruction that traps becomes a stub, and what that means for traps.
//!
//! Counts which of a guest kernel's instructions trap, by samples; keeps the page that
//! stubs share with the guest; brings a guest that stopped in a stub to an instruction of
//! its own. Where stubs lie is in [`stubs`](crate::stubs), what they do in
//! `rewrite::stub`. Only for VMs whose policy asks for it.
//!
//! # Invariants
//!
//! - While a promoting guest's kernel runs, its interrupt mask is the one in the shared page.
//!   [`Hypervisor::stopped`] takes it from there at the beginning of every handler and nothing
//!   else of that page; [`Guest::publish`] and the fast paths put it there.
//! - Behind [`Hypervisor::stopped`] the guest is never inside a stub.
//! - The work per sample is bounded: a look at one entry, or one promotion.

use crate::exclusive::Exclusive;
use crate::guest::Guest;
use crate::hypervisor::Hypervisor;
use entresol_abi::image::{MAX_VMS, flags};
use entresol_rewrite::stub::{self, shared};
use entresol_vcpu::{permissions, psr};

/// Of so many traps of a guest kernel one is a sample: it costs 700 instructions, where a
/// trap costs 40. Odd, so that no loop is in step.
const PERIOD: u32 = 13;
/// Each sample of a site that cannot be promoted makes the period longer by this, up to the
/// longest; a promotion makes it short again.
const LONGER: u32 = 2;
const LONGEST: u32 = 101;
/// Samples that make a site hot. Promoting costs some thousand instructions.
const HOT: u32 = 2;
/// Samples of a site that could not be promoted: other sites wear it down.
const REFUSED: u32 = 64;
/// Sites whose samples are counted at a time.
const SITES: usize = 512;

/// CPSR bits that `mrs` shows.
const READABLE: u32 = 0xf8ff_03df;
/// SCTLR.AFE.
const SCTLR_AFE: u32 = 1 << 29;

/// A page that a guest and its stubs share with the hypervisor.
#[derive(Debug)]
#[repr(C, align(4096))]
pub(crate) struct Shared([u32; 1024]);

/// One for each VM, also for those that do not promote: the fast paths do not ask.
static SHARED: [Exclusive<Shared>; MAX_VMS] =
    [const { Exclusive::new(Shared([0; 1024])) }; MAX_VMS];

/// The shared page of a VM.
pub(crate) fn shared_page(vm: usize) -> *mut Shared {
    SHARED[vm % MAX_VMS].address()
}

/// What a VM's promotions need, in the entry code's reach.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Promotion {
    /// Its shared page.
    pub(crate) page: *mut Shared,
    /// Traps until the next sample; 0 while one is due.
    pub(crate) countdown: u32,
    period: u32,
    /// Whether its policy asks for promotion at all.
    pub(crate) on: bool,
    /// Samples by site.
    heat: [Heat; SITES],
}

#[derive(Clone, Copy, Debug)]
struct Heat {
    site: u32,
    samples: u32,
}

impl Promotion {
    pub(crate) const EMPTY: Self = Self {
        page: core::ptr::null_mut(),
        countdown: PERIOD,
        period: PERIOD,
        on: false,
        heat: [Heat { site: 0, samples: 0 }; SITES],
    };

    fn field(&self, field: u32) -> *mut u32 {
        self.page.cast::<u32>().wrapping_add(field as usize / 4)
    }

    #[inline]
    fn load(&self, field: u32) -> u32 {
        // SAFETY: a field of a page that lives for ever and that only the guest writes
        // besides, while no handler runs.
        unsafe { self.field(field).read_volatile() }
    }

    #[inline]
    fn store(&self, field: u32, value: u32) {
        // SAFETY: as in `load`.
        unsafe { self.field(field).write_volatile(value) }
    }

    /// Notes a sample; whether the site is to be promoted now.
    fn is_hot(&mut self, site: u32, threshold: u32) -> bool {
        let heat = &mut self.heat[(site >> 2) as usize % SITES];
        if heat.site != site {
            if heat.samples == 0 {
                *heat = Heat { site, samples: 0 };
            } else {
                heat.samples -= 1;
                return false;
            }
        }
        if heat.samples >= threshold {
            self.period = (self.period + LONGER).min(LONGEST);
            return false;
        }
        heat.samples += 1;
        heat.samples == threshold
    }

    /// Notes what came of promoting a site: done, to be tried again, or not possible.
    fn tried(&mut self, site: u32, promoted: Option<bool>) {
        let samples = if promoted.is_some() { 0 } else { REFUSED };
        if promoted == Some(true) {
            self.period = PERIOD;
        }
        self.heat[(site >> 2) as usize % SITES] = Heat { site, samples };
    }
}

/// Where a guest was when it trapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Not in a stub.
    Outside,
    /// In one that had not done anything yet: at the site, this instruction.
    Before(u32),
    /// In one that was done: behind the site.
    Behind,
}

impl Guest {
    /// Puts what stubs work on into the shared page.
    #[inline]
    pub(crate) fn publish(&self) {
        let promotion = &self.promotion;
        if promotion.on {
            promotion.store(shared::STATUS, self.vcpu.status);
            promotion.store(shared::PENDING, self.vcpu.pending & psr::I);
            promotion.store(shared::THREAD, self.vcpu.cp15.tpidrprw);
            promotion.store(shared::DOMAINS, self.vcpu.cp15.dacr);
        }
    }
}

impl Hypervisor {
    /// First in every handler: what the guest did in stubs is known.
    #[inline(always)]
    pub(crate) fn stopped(&mut self) -> Stopped {
        if !self.guest().promotion.on { Stopped::Outside } else { self.stopped_promoting() }
    }

    #[inline(never)]
    fn stopped_promoting(&mut self) -> Stopped {
        let guest = self.guest();
        if !guest.vcpu.privileged() {
            return Stopped::Outside;
        }
        let status = guest.promotion.load(shared::STATUS);
        guest.vcpu.status = guest.vcpu.status & !psr::I | status & psr::I;
        let hole = guest.shadow.stubs.hole();
        if hole == 0 || guest.vcpu.pc >> 20 != hole {
            return Stopped::Outside;
        }
        self.leave_stub()
    }

    /// Brings a guest that stopped in a stub before or behind the promoted instruction.
    #[cold]
    #[inline(never)]
    fn leave_stub(&mut self) -> Stopped {
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let linear = Self::linear(&mut self.view);
        let Some((record, index)) = guest.shadow.stubs.at(&linear, guest.vcpu.pc) else {
            return Stopped::Outside;
        };
        drop(linear);
        let Some(kind) = stub::kind(record.original) else { return Stopped::Outside };
        let plan = stub::settle(kind, index);
        if let Some(register) = plan.restore {
            let value = guest.promotion.load(shared::SLOT);
            guest.vcpu.set_register(register as u8, value);
        }
        if let Some(register) = plan.status_to {
            let value = guest.vcpu.cpsr() & READABLE;
            guest.vcpu.set_register(register as u8, value);
        }
        guest.vcpu.pc = record.site;
        if plan.done {
            guest.vcpu.pc = record.site.wrapping_add(4);
            Stopped::Behind
        } else {
            Stopped::Before(record.original)
        }
    }

    /// The instruction at `pc` trapped and was emulated: promotes it if it is hot.
    #[inline]
    pub(crate) fn trapped_at(&mut self, pc: u32) {
        let guest = self.guest();
        if guest.promotion.on {
            let eager = guest.vm.flags & flags::EAGER != 0;
            if eager || guest.promotion.countdown == 0 {
                guest.promotion.countdown = if eager { 1 } else { guest.promotion.period };
                self.sample(pc, if eager { 1 } else { HOT });
            }
        }
    }

    #[inline(never)]
    fn sample(&mut self, pc: u32, threshold: u32) {
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let cp15 = &guest.vcpu.cp15;
        let usual = guest.vcpu.privileged() && !guest.vcpu.thumb() && !guest.vcpu.big_endian();
        if cp15.sctlr & 1 == 0 || !usual {
            return;
        }
        if !guest.promotion.is_hot(pc, threshold) {
            return;
        }
        let mut linear = Self::linear(&mut self.view);
        let shadow = &mut guest.shadow;
        shadow.check_hole(&mut linear, cp15);
        let memory = shadow.memory;
        let mapping = memory.walk(&linear, cp15, pc).ok();
        let promoted = mapping
            .filter(|mapping| {
                let afe = cp15.sctlr & SCTLR_AFE != 0;
                !permissions(mapping, false, cp15.dacr, afe).execute
            })
            .and_then(|mapping| shadow.promote(&mut linear, cp15, pc, mapping.gpa));
        guest.promotion.tried(pc, promoted);
    }
}
