//! One table for both levels of a guest: which class of hardware domain is open, and for whom.
//!
//! Decision 14 has the reasons. Here are the machine's DACR, in one function, and what is
//! remembered of a guest to decide when a class is opened, and when one table cannot say
//! what two do. Filling is [`fill`](super::fill)'s business.
//!
//! # Invariants
//!
//! - In one table, an entry of the class [`Side::Kernel`] is for the guest's kernel, and one of
//!   [`Side::Application`] for both, with the application's rights.
//! - The class of both is closed when a kernel is entered. What is open while a kernel runs has
//!   nothing that the kernel could run unscanned, unless the guest closes that domain itself.
//! - Without the MMU there are two tables.
//!
//! Manual: ARM DDI 0406C, B3.7.3 (domains).

use super::{SCTLR_M, Shadow, Side};
use crate::linear::Linear;
use crate::translation::WINDOW_DOMAIN;
use core::mem::offset_of;
use entresol_hv::health::Mixed;
use entresol_vcpu::Cp15;

/// A client of each domain.
const CLIENTS: u32 = 0x5555_5555;
/// Bits of DACR that a client has clear.
const NOT_CLIENT: u32 = !CLIENTS;
/// Domains of a guest that have hardware domains of both classes.
const DOMAINS: u32 = 7;
/// DACR: the same as clients.
const OWN: u32 = CLIENTS & ((1 << (DOMAINS * 2)) - 1);
/// Domain of stubs and the shared page, open to the kernel.
const STUB_DOMAIN: u8 = 7;
/// From a domain of the kernel's class to that of both.
const BOTH: u32 = 8;
/// How often megabytes may change their class.
const MOST_CHANGES: u32 = 1000;
/// A domain fault, of a section or a page: the status without which of these.
const DOMAIN_FAULT: u32 = 0x9;

/// What is known of a guest with one table. Sets of domains are in the bits of clients in DACR.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Joint {
    /// Domains with code that applications run and nobody scanned.
    wild: u32,
    /// Domains that its kernel was seen to close.
    closing: u32,
    /// The manifest asks for it.
    pub(crate) wanted: bool,
    /// It has one table, while its MMU is on.
    pub(crate) on: bool,
    /// How often a megabyte changed its class.
    changes: u32,
    /// Why it has two tables from now on; to be told.
    pub(crate) parted: Option<Mixed>,
}

// The entry code opens domains by these two.
const _: () = assert!(offset_of!(Joint, wild) == 0 && offset_of!(Joint, closing) == 4);

impl Joint {
    pub(crate) const OFF: Self =
        Self { wild: 0, closing: 0, wanted: false, on: false, changes: 0, parted: None };

    /// Begins anew, as at a start of the VM.
    pub(crate) fn reset(&mut self) {
        *self = Self { wanted: self.wanted, on: self.wanted, ..Self::OFF };
    }

    /// Everything was dropped.
    pub(super) fn dropped(&mut self) {
        self.wild = 0;
    }

    /// The guest's kernel changed DACR.
    pub(crate) fn wrote(&mut self, old: u32, new: u32) {
        self.closing |= old & !new & OWN;
    }

    /// The application runs code of a domain that was not scanned.
    #[inline]
    pub(super) fn runs_wild(&mut self, domain: u32) {
        self.wild |= 1 << (domain * 2);
    }
}

impl Shadow {
    /// DACR with which the machine must run the guest if its own is this, in one table its kernel.
    ///
    /// No access stays no access; a manager is a client whose entries were filled with
    /// every right, so they are dropped when that changes. With the guest's MMU off there are no
    /// domains.
    #[inline]
    pub(crate) fn domains(&self, cp15: &Cp15, dacr: u32) -> u32 {
        if cp15.sctlr & SCTLR_M == 0 {
            CLIENTS
        } else {
            let passed_on = if self.joint.on { OWN } else { CLIENTS };
            dacr & passed_on | 1 << (WINDOW_DOMAIN * 2) | 1 << (self.stub_domain() * 2)
        }
    }

    /// The same in one table, given these: those of the class of both. That of the stubs becomes
    /// the window's.
    pub(crate) const fn of_both(domains: u32) -> u32 {
        domains << (BOTH * 2)
    }

    /// Bits of DACR that only handlers may change, with two tables and with one: where entries
    /// depend on them, where it is not known yet that the guest's kernel closes domains, and while
    /// it must not reach what its application runs.
    #[inline]
    pub(crate) fn fixed_domains(&self, cp15: &Cp15) -> (u32, u32) {
        let Joint { on, wild, closing, .. } = self.joint;
        // A manager is slow.
        if !self.stubs.lazy || cp15.sctlr & SCTLR_M == 0 || !Self::are_clients(cp15.dacr) {
            (!0, !0)
        } else if !on {
            (self.baked_domains | NOT_CLIENT, !0)
        } else if cp15.dacr & !OWN == 0 && wild & !closing == 0 {
            (!0, !closing)
        } else {
            (!0, !0)
        }
    }

    /// Whether a DACR has nothing but clients and what is closed.
    pub(crate) const fn are_clients(dacr: u32) -> bool {
        dacr & NOT_CLIENT == 0
    }

    /// Whether entries must be dropped when DACR changes from `old` to `new`.
    #[inline]
    pub(crate) fn domains_matter(&self, old: u32, new: u32) -> bool {
        let managers = |dacr: u32| dacr & dacr >> 1 & CLIENTS;
        managers(old) != managers(new) || (old ^ new) & self.baked_domains != 0
    }

    /// Whether the current views are one table.
    #[inline]
    pub(crate) fn is_joint(&self) -> bool {
        self.joint.on && self.current != 0
    }

    /// Whether a megabyte of the current table is of the kernel's class. What its application may
    /// touch can be there, too, as long as the kernel alone does.
    #[inline]
    pub(super) fn is_kernels(&self, linear: &Linear<'_>, index: u32) -> bool {
        const DOMAIN: u32 = BOTH << 5;
        let entry: u32 = linear.load(self.first_level(self.current, Side::Kernel, index));
        entry & 3 != 0 && entry & DOMAIN == 0
    }

    /// Hardware domain of an entry.
    #[inline]
    pub(super) fn hardware_domain(&self, domain: u32, class: Side) -> u8 {
        let both = if self.is_joint() && class == Side::Application { BOTH } else { 0 };
        (domain | both) as u8
    }

    /// Hardware domain of the stubs.
    pub(crate) const fn stub_domain(&self) -> u8 {
        if self.joint.on { STUB_DOMAIN } else { WINDOW_DOMAIN }
    }

    /// Whether a domain has no class of its own.
    pub(super) const fn is_beyond(domain: u32) -> bool {
        domain >= DOMAINS
    }

    /// Whether the guest's kernel may reach what both may in a domain, to load and store or to run
    /// it.
    pub(super) fn may_open(&self, domain: u32, run: bool) -> bool {
        let tamed = if run { 0 } else { self.joint.closing };
        self.joint.wild & !tamed & 1 << (domain * 2) == 0
    }

    /// The bits to be set in DACR after a fault of the guest's kernel with this status, if that only
    /// wants the class of both to be open, and it may be.
    pub(crate) fn to_open(&self, cp15: &Cp15, status: u32) -> u32 {
        const HARDWARE: u32 = 1 << 7;
        const KIND: u32 = 1 << 10 | 0xd;
        let domain = status >> 4 & 7;
        let bit = 1 << (domain * 2);
        let opens = self.is_joint()
            && status & (KIND | HARDWARE) == DOMAIN_FAULT | HARDWARE
            && cp15.dacr & OWN & bit != 0
            && self.may_open(domain, false);
        if opens { Self::of_both(bit) } else { 0 }
    }

    /// A megabyte changes its class.
    pub(super) fn changes_class(&mut self, linear: &mut Linear<'_>) {
        self.joint.changes += 1;
        if self.joint.changes > MOST_CHANGES {
            self.part(linear, Mixed::Megabyte);
        }
    }

    /// Gives the guest two tables until its next start.
    #[cold]
    #[inline(never)]
    pub(crate) fn part(&mut self, linear: &mut Linear<'_>, why: Mixed) {
        self.joint.on = false;
        self.joint.parted = Some(why);
        self.drop_all(linear);
    }
}
