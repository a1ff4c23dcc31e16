//! Promotion: when an instruction that traps becomes a stub, and what that means for traps.
//!
//! Counts which of a guest kernel's instructions trap, by samples; keeps the page that
//! stubs share with the guest; brings a guest that stopped in a stub to an instruction of
//! its own. Where stubs lie is in [`stubs`](crate::stubs), what they do in
//! `rewrite::stub`. Only for VMs whose policy asks for it.
//!
//! # Invariants
//!
//! - While a guest's kernel runs, SPSR of its mode, `sp` and `lr` of User mode, TPIDRURO and DACR are
//!   in the shared page, and if it promotes its interrupt mask is, too. [`Hypervisor::stopped`] takes
//!   them from there at the beginning of every handler and nothing else of that page;
//!   [`Guest::publish`] and the fast paths put them there. Any value of these is one that a guest may
//!   give them.
//! - The machine never permits a kernel more than its DACR does. It may permit less: what then faults
//!   is opened ([`Guest::domains`]). Where [`shared::ENFORCED`] is a DACR that has less than the
//!   guest's, the machine's is no more than that.
//! - Behind [`Hypervisor::stopped`] the guest is never inside a stub.
//! - The work per sample is bounded: a look at one entry, or one promotion.

use crate::cp15;
use crate::entry;
use crate::guest::{Guest, Shared};
use crate::hypervisor::Hypervisor;
use crate::shadow::Shadow;
use crate::stubs::Stopped;
use crate::work::Work;
use core::mem::offset_of;
use entresol_abi::image::MAX_VMS;
use entresol_rewrite::stub::{self, Kind, shared};
use entresol_vcpu::mode::{Mode, bank};
use entresol_vcpu::psr;

/// Of so many calls of handlers one prepares a sample, which costs 700 instructions: a fast
/// path of what is hardly ever promoted must not pay for samples.
const SHORTEST: u32 = 3;
/// So many samples that say nothing new end a series of them: in the entry code, where they cost
/// little, and here.
const MISSES: u32 = 64;
const DEAR: u32 = 8;
/// Most traps between two samples of a series, after one that said nothing new: as many of the lowest bits
/// of what is left. Always so many would always see the same of a few that take turns.
const SKIPPED: u32 = 15;
/// Each series makes this longer, up to the longest; a promotion makes it short again.
const LONGEST: u32 = 64;
/// Most traps from a handler to the sample: else it would always see what follows one.
const MOST_TRAPS: u32 = 16;
/// Of so many traps of instructions that may be promoted wherever they are, and are settled in the entry
/// code, one is a sample, outside of series.
const SELDOM: u32 = 32;
/// Spreads the clock over them: 2^32 by the golden ratio.
const SCATTER: u32 = 0x9e37_79b9;
/// Samples that make a site hot. Promoting costs some thousand instructions, and there is room
/// for all that is hot in a kernel.
const HOT: u32 = 1;
/// The same where each trap is a sample.
const HOT_T32: u32 = 4;
/// Samples of a site that could not be promoted: more of them wear it down, until it is tried again. A
/// write of DACR may have been another one than usual.
const REFUSED: u32 = 250;
/// By how much those of another site in its place do.
const WORN: u32 = 32;
/// So many make a sample pointless.
pub(crate) const HOPELESS: u32 = 4;
/// Sites whose samples are counted at a time.
const SITES: usize = 1 << SITES_BITS;
pub(crate) const SITES_BITS: usize = 9;

// What the entry code must know: offsets in [`Promotion`].
pub(crate) const HEAT: usize = offset_of!(Guest, heat);
pub(crate) const LEFT: usize = offset_of!(Promotion, left);
pub(crate) const AGAIN: usize = offset_of!(Promotion, again);
pub(crate) const WEAR: usize = offset_of!(Promotion, wear);
pub(crate) const QUIET: usize = offset_of!(Promotion, quiet);
pub(crate) const VECTORS: usize = offset_of!(Promotion, vectors);
const _: () = assert!(size_of::<Heat>() == 8 && offset_of!(Heat, site) == 0);

/// CPSR bits that `mrs` shows.
const READABLE: u32 = 0xf8ff_03df;

/// What a VM's promotions need, in the entry code's reach.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Promotion {
    /// Its shared page.
    pub(crate) page: *mut Shared,
    /// Traps until the next sample; 0 while one is due.
    pub(crate) countdown: u32,
    /// The same at the end of a series.
    quiet: u32,
    /// Calls of handlers until the next sample is prepared, and the same for the one behind it.
    calls: u32,
    period: u32,
    /// Samples that may yet say nothing new.
    left: u32,
    /// The exception vectors between samples.
    vectors: u32,
    /// Most traps between two samples of a series, after one that said nothing new.
    again: u32,
    /// By how much a sample of another site in its place wears a site down.
    wear: u32,
    /// Whether `vcpu` has what is in the shared page while a kernel runs.
    pub(crate) pulled: bool,
    /// Whether stubs may leave something undone, or less is enforced than the guest's DACR.
    pub(crate) lazy: bool,
    /// Whether the guest's kernel was entered, by an exception or by its turn, since the machine's
    /// DACR was looked at.
    pub(crate) entered: bool,
    /// A DACR that the guest wrote in a stub, and that makes entries of its shadow wrong or is
    /// unusual otherwise.
    pub(crate) due: Option<u32>,
    /// Whether its policy asks for promotion at all.
    pub(crate) on: bool,
}

/// Samples of a site.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Heat {
    site: u32,
    samples: u32,
}

/// Samples by site.
pub(crate) type HeatMap = [Heat; SITES];

/// No samples.
pub(crate) const COLD: HeatMap = [Heat { site: 0, samples: 0 }; SITES];

impl Promotion {
    pub(crate) const EMPTY: Self = Self {
        page: core::ptr::null_mut(),
        countdown: !0,
        quiet: !0,
        calls: SHORTEST,
        period: SHORTEST,
        left: 0,
        vectors: 0,
        again: SKIPPED,
        wear: WORN,
        pulled: true,
        lazy: false,
        entered: true,
        due: None,
        on: false,
    };

    /// Begins. If eager, each trap is a sample.
    pub(crate) fn begin(&mut self, eager: bool) {
        self.on = true;
        self.quiet = SELDOM;
        if eager {
            (self.quiet, self.again, self.wear) = (0, 0, u32::MAX);
        }
        self.countdown = self.quiet;
    }

    /// Whether each trap is a sample.
    const fn is_eager(&self) -> bool {
        self.quiet == 0
    }

    /// Notes the exception vectors between samples.
    pub(crate) fn note_vectors(&mut self, vectors: u32) {
        self.vectors = vectors;
    }

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
    fn is_hot(&mut self, heat: &mut HeatMap, site: u32, threshold: u32) -> bool {
        let heat = &mut heat[(site >> 2) as usize % SITES];
        if heat.site != site {
            if heat.samples < self.wear {
                *heat = Heat { site, samples: 0 };
            } else {
                heat.samples -= self.wear;
                self.left = self.left.saturating_sub(DEAR);
                return false;
            }
        }
        if heat.samples >= HOPELESS && heat.samples > threshold {
            self.left = self.left.saturating_sub(DEAR);
            return false;
        }
        self.left = MISSES;
        // Again, if what came of it was lost, or is worn.
        heat.samples = (heat.samples + 1).min(threshold);
        heat.samples == threshold
    }

    /// Notes what came of promoting a site: done, to be tried again, or not possible.
    pub(crate) fn tried(&mut self, heat: &mut HeatMap, site: u32, promoted: Option<bool>) {
        let samples = if promoted.is_some() { 0 } else { REFUSED };
        if promoted == Some(true) {
            self.period = SHORTEST;
        }
        heat[(site >> 2) as usize % SITES] = Heat { site, samples };
    }
}

impl Guest {
    /// Tells stubs what is pending.
    #[inline]
    pub(crate) fn publish_pending(&self) {
        if self.promotion.on {
            self.promotion.store(shared::PENDING, self.vcpu.pending & psr::I);
        }
    }

    /// Takes from the shared page what is there while a kernel runs. Before anything looks at
    /// `vcpu`; [`Guest::publish`] undoes it.
    #[inline]
    pub(crate) fn pull(&mut self) {
        if !self.promotion.pulled {
            self.heed();
            self.promotion.pulled = true;
            self.pull_kernel();
        }
    }

    /// Does what stubs left undone: of TPIDRURO and DACR the shared page has what the guest wrote
    /// last. Where only an interrupt came, nobody asks.
    #[inline(always)]
    pub(crate) fn heed(&mut self) {
        if self.promotion.lazy && !self.promotion.pulled {
            self.heed_stubs();
        }
    }

    #[inline(never)]
    fn heed_stubs(&mut self) {
        let (vcpu, promotion) = (&mut self.vcpu, &mut self.promotion);
        let thread = promotion.load(shared::THREAD_READ_ONLY);
        if thread != vcpu.cp15.tpidruro {
            vcpu.cp15.tpidruro = thread;
            // SAFETY: the register is only the guest's.
            unsafe { cp15::set_thread_read_only(thread) };
        }
        let dacr =
            if vcpu.privileged() { promotion.load(shared::DOMAINS) } else { self.fast.opened() };
        let old = vcpu.cp15.dacr;
        promotion.due = None;
        if dacr != old {
            if self.shadow.domains_matter(old, dacr) || !Shadow::are_clients(dacr) {
                promotion.due = Some(dacr);
                return;
            }
            vcpu.cp15.dacr = dacr;
            self.shadow.joint.wrote(old, dacr);
            self.dacr = self.shadow.domains(&vcpu.cp15, dacr);
        }
    }

    /// Its kernel is about to be entered.
    #[cold]
    #[inline(never)]
    fn entered(&mut self) {
        self.heed();
        self.promotion.entered = true;
    }

    /// A DACR that makes entries of its shadow wrong, and is due now.
    #[cold]
    #[inline(never)]
    pub(crate) fn take_due(&mut self) -> bool {
        let due = self.promotion.due.take();
        if let Some(dacr) = due {
            self.pull();
            self.vcpu.cp15.dacr = dacr;
            self.devices.forget();
        }
        due.is_some()
    }

    /// The machine enforces a DACR of its kernel.
    pub(crate) fn enforces(&self, dacr: u32) {
        self.promotion.store(shared::ENFORCED, dacr);
    }

    #[inline(never)]
    fn pull_kernel(&mut self) {
        let (vcpu, promotion) = (&mut self.vcpu, &self.promotion);
        if !vcpu.privileged() {
            return;
        }
        vcpu.banks[bank::USER].sp = promotion.load(shared::USER);
        vcpu.banks[bank::USER].lr = promotion.load(shared::USER + 4);
        // That of System mode is nobody's.
        let mode = vcpu.mode().bank();
        if let Some(bank) = vcpu.banks.get_mut(mode) {
            bank.spsr = promotion.load(shared::SAVED);
        }
        if promotion.on {
            let status = promotion.load(shared::STATUS);
            vcpu.status = vcpu.status & !psr::I | status & psr::I;
        }
    }

    /// Puts what the fast paths and stubs work on into the shared page, unless it is there still.
    #[inline]
    pub(crate) fn publish(&mut self) {
        if !core::mem::replace(&mut self.promotion.pulled, false) {
            return;
        }
        let (vcpu, promotion) = (&self.vcpu, &self.promotion);
        if vcpu.privileged() {
            self.publish_user();
            if let Some(bank) = vcpu.banks.get(vcpu.mode().bank()) {
                promotion.store(shared::SAVED, bank.spsr);
            }
        }
        promotion.store(shared::STATUS, vcpu.status);
        let cp15 = &vcpu.cp15;
        promotion.store(shared::THREAD_READ_ONLY, cp15.tpidruro);
        promotion.store(shared::DOMAINS, cp15.dacr);
        if promotion.on {
            promotion.store(shared::THREAD, cp15.tpidrprw);
            promotion.store(shared::CONTROL, cp15.sctlr);
            promotion.store(shared::DATA_STATUS, cp15.dfsr);
            promotion.store(shared::DATA_ADDRESS, cp15.dfar);
            promotion.store(shared::FETCH_STATUS, cp15.ifsr);
            promotion.store(shared::FETCH_ADDRESS, cp15.ifar);
        }
    }

    /// Puts what a kernel has of User mode into the shared page.
    pub(crate) fn publish_user(&self) {
        let user = &self.vcpu.banks[bank::USER];
        self.promotion.store(shared::USER, user.sp);
        self.promotion.store(shared::USER + 4, user.lr);
    }

    /// It makes room for another, and may come back by a path that looks at its mask in `vcpu`
    /// and puts nothing into the page: both are to be true.
    #[inline]
    pub(crate) fn unload(&mut self) {
        self.vcpu.status = self.status();
        self.publish();
        if self.vcpu.privileged() {
            self.enforces(self.vcpu.cp15.dacr);
        }
        self.promotion.entered = true;
    }

    /// Whether its kernel is in a stub; what that left undone is done, and `vcpu` has all then.
    #[inline]
    pub(crate) fn is_in_stub(&mut self) -> bool {
        self.heed();
        let hole = self.shadow.stubs.hole();
        let inside = hole != 0 && self.vcpu.pc >> 20 == hole;
        if inside {
            self.pull();
        }
        inside
    }

    /// What it has masked, wherever that is now.
    #[inline(always)]
    pub(crate) fn status(&self) -> u32 {
        let (vcpu, promotion) = (&self.vcpu, &self.promotion);
        if promotion.pulled || !promotion.on || !vcpu.privileged() {
            return vcpu.status;
        }
        vcpu.status & !psr::I | promotion.load(shared::STATUS) & psr::I
    }

    /// Takes the pending interrupt. In a kernel whose state is in the shared page, what changes
    /// is the SPSR and what is masked, `status` before: the other fields stay what they are.
    #[inline(always)]
    pub(crate) fn interrupt(&mut self, status: u32) {
        // System mode's `sp` and `lr` are User mode's, which are about to be banked.
        if self.promotion.lazy {
            self.entered();
        }
        let mode = self.vcpu.mode();
        let shared = !self.promotion.pulled && mode != Mode::USER && mode != Mode::SYSTEM;
        if shared {
            self.vcpu.status = status;
            let saved = self.promotion.load(shared::SAVED);
            if let Some(bank) = self.vcpu.banks.get_mut(mode.bank()) {
                bank.spsr = saved;
            }
        } else {
            self.pull();
        }
        let before = self.vcpu.enter_pending();
        if shared {
            self.promotion.store(shared::SAVED, before);
            self.promotion.store(shared::STATUS, self.vcpu.status);
        }
    }

    /// The exception vectors while it runs, between samples: where each trap is one, they are
    /// those that count.
    #[inline(never)]
    pub(crate) fn vectors(&self) -> u32 {
        self.vectors_for(self.promotion.is_eager())
    }

    fn vectors_for(&self, sampling: bool) -> u32 {
        let vectors = match (self.shadow.joint.on, sampling) {
            (false, false) => entry::vectors,
            (false, true) => entry::vectors_sampling,
            (true, false) => entry::vectors_joint,
            (true, true) => entry::vectors_joint_sampling,
        };
        vectors as *const () as u32
    }

    /// The guest goes on as it stopped: the shared page is right as it is.
    #[inline]
    pub(crate) fn goes_on(&mut self) {
        self.promotion.pulled = false;
    }

    /// The guest goes on as it stopped, unless its board interrupts it: `false` then.
    #[inline]
    pub(crate) fn undisturbed(&mut self) -> bool {
        self.note_pending();
        let undisturbed = self.vcpu.pending & !self.status() == 0;
        if undisturbed {
            self.goes_on();
        }
        undisturbed
    }

    /// `vcpu` was changed while it did not run: what is in the shared page is old.
    pub(crate) fn renewed(&mut self) {
        self.promotion.pulled = true;
    }
}

impl Hypervisor {
    /// First in every handler: what the guest did in stubs, and between handlers, is known.
    #[inline(always)]
    pub(crate) fn stopped(&mut self) -> Stopped {
        let stopped = self.stopped_lightly();
        self.guest().pull();
        stopped
    }

    /// The same for a handler that may look at nothing but general registers and memory.
    #[inline(always)]
    pub(crate) fn stopped_lightly(&mut self) -> Stopped {
        if !self.guest().promotion.on { Stopped::Outside } else { self.stopped_promoting() }
    }

    #[inline(never)]
    fn stopped_promoting(&mut self) -> Stopped {
        let guest = self.guest();
        if !guest.vcpu.privileged() {
            return Stopped::Outside;
        }
        guest.promotion.calls -= 1;
        if guest.promotion.calls == 0 {
            self.prepare_samples();
            self.give_way_called();
        }
        if !self.guest().is_in_stub() {
            return Stopped::Outside;
        }
        self.give_way_called();
        let stopped = self.leave_stub();
        self.give_way_called();
        stopped
    }

    /// Lets some of the next traps of the guest's kernel be samples.
    #[inline(never)]
    pub(crate) fn prepare_samples(&mut self) {
        let guest = self.guest();
        let promotion = &mut guest.promotion;
        promotion.calls = promotion.period;
        promotion.period = (promotion.period + promotion.period / 4 + 1).min(LONGEST);
        promotion.left = MISSES;
        if !promotion.is_eager() {
            self.prepare_sample();
        }
    }

    fn prepare_sample(&mut self) {
        let now = self.now() as u32;
        let guest = self.guest();
        let promotion = &mut guest.promotion;
        promotion.countdown = (now.wrapping_mul(SCATTER) >> (MOST_TRAPS.leading_zeros() + 1)) + 1;
        // SAFETY: it handles every exception.
        unsafe { cp15::set_vector_base(guest.vectors_for(true)) };
    }

    /// Brings a guest that stopped in a stub before or behind the promoted instruction.
    #[cold]
    #[inline(never)]
    pub(crate) fn leave_stub(&mut self) -> Stopped {
        let settles = self.took_express();
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let mut linear = Self::linear(&mut self.view);
        let index = guest.vcpu.pc >> 2 & 15;
        let Some((number, record)) = guest.shadow.stubs.at(&linear, guest.vcpu.pc) else {
            return Stopped::Outside;
        };
        let Some(kind) = record.kind() else { return Stopped::Outside };
        let plan = stub::settle(kind, record.site, index);
        let other = matches!(kind, Kind::Close { .. }) && index > 4 && !plan.done && !settles;
        if other {
            // Not what it was taken for; what is taken back another time costs no interrupt.
            guest.shadow.demote(&mut linear, number, record);
        }
        drop(linear);
        if let Some(register) = plan.restore {
            let value = guest.promotion.load(shared::SLOT);
            guest.vcpu.set_register(register as u8, value);
        }
        if let Some(register) = plan.status_to {
            let value = guest.vcpu.cpsr() & READABLE;
            guest.vcpu.set_register(register as u8, value);
        }
        if let Some(register) = plan.raise {
            let value = guest.vcpu.register(register as u8).wrapping_add(stub::USER_LEN);
            guest.vcpu.set_register(register as u8, value);
        }
        let thumb = record.site & stub::T32;
        let state = if thumb == 0 { 0 } else { psr::T };
        guest.vcpu.psr = guest.vcpu.psr & !psr::T | state;
        guest.vcpu.pc = record.site - thumb;
        if other {
            // It may have been this once only.
            self.prepare_samples();
        }
        if plan.done {
            let vcpu = &mut self.guest().vcpu;
            vcpu.pc = vcpu.pc.wrapping_add(4);
            Stopped::Behind
        } else {
            Stopped::Before(record.original)
        }
    }

    /// The instruction at `site`, with [`stub::T32`], trapped and was emulated: promotes it if it
    /// is hot.
    #[inline]
    pub(crate) fn trapped_at(&mut self, site: u32) {
        let guest = self.guest();
        if guest.promotion.on {
            let eager = guest.promotion.is_eager();
            if site & stub::T32 != 0 {
                // All traps of T32 code come here: there is no need to choose some of them.
                self.sample(site, if eager { HOT } else { HOT_T32 });
            } else if guest.promotion.countdown == 0 {
                guest.promotion.countdown = guest.promotion.quiet;
                // SAFETY: it handles every exception.
                unsafe { cp15::set_vector_base(guest.vectors()) };
                self.sample(site, HOT);
                if !eager && self.guest().promotion.left > 0 {
                    self.prepare_sample();
                }
            }
        }
    }

    #[inline(never)]
    fn sample(&mut self, site: u32, threshold: u32) {
        let guest = self.guest();
        let vcpu = &guest.vcpu;
        let usual = vcpu.privileged() && vcpu.mode() != Mode::FIQ && !vcpu.big_endian();
        if vcpu.cp15.sctlr & 1 == 0 || !usual {
            return;
        }
        if guest.promotion.is_hot(&mut guest.heat, site, threshold) {
            guest.shadow.stubs.domains = guest.wrote_domains(cp15::domain_access());
            self.work(Work::Promote(site));
        }
    }
}
