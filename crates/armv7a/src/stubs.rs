//! Where the stubs of a VM lie, in the machine's memory and in the guest's views.
//!
//! Makes and takes back stubs when told ([`promote`](crate::promote) says when; what is in
//! one is `rewrite`'s business) and keeps the *hole*: a megabyte that the guest does not
//! map, within reach of its kernel's branches, where the kernel views show the stubs.
//!
//! # Why this shape
//!
//! A branch reaches 32 MiB, so stubs cannot lie in the window. A load relative to pc reaches
//! 4 KiB, so each page of stubs is followed by the shared page, which is one page mapped
//! many times. Kernels begin at a multiple of 16 MiB and grow up from there; the megabyte
//! right below serves small mappings, so the hole is sought a little further below.
//!
//! # Invariants
//!
//! - The hole's table is linked in the kernel views of all pairs that are not stale but that of
//!   the MMU turned off, and no other entry is in the hole's place in any view.
//! - A page with stubs has one executable mapping, at its *home*; the application cannot
//!   execute it. So a branch to a stub runs where it was made for.
//! - Each promoted word is a site of its page, with the guest's own word.
//! - The guest can write none of it but the shared page.
//!
//! # Limits
//!
//! A guest that maps the hole's megabyte is found out at its next operation on its TLB or its
//! context, or when it touches any page there that shows no stubs. Should it touch one that
//! does before all of these, it sees the stub.

use crate::code;
use crate::linear::{Linear, PoolArray};
use crate::maintenance;
use crate::pages::{Critical, Site};
use crate::shadow::Shadow;
use crate::translation::{self, Memory, Rights};
use entresol_abi::image::STUBS;
use entresol_abi::{GuestPhys, HostPhys};
use entresol_rewrite::Width;
use entresol_rewrite::stub::{self, Kind, LEN, shared};
use entresol_vcpu::{Cause, Cp15, permissions};

/// SCTLR.EE and AFE.
const SCTLR_EE: u32 = 1 << 25;
const SCTLR_AFE: u32 = 1 << 29;

/// Stubs in a page. The first is out of reach of the shared page.
const PER_PAGE: u32 = 64;
/// Stubs that there can be.
const USABLE: u32 = STUBS - STUBS / PER_PAGE;
/// First page of the hole that shows anything.
const FIRST: u32 = 0xe0;
/// Bytes of a record: site, original, page of the guest's memory plus 1, whether it is deferred.
const RECORD_LEN: u32 = 16;
/// A guest that maps so many holes away gets no further one.
const MOST_LOST: u32 = 8;
/// Mappings are dropped so many times for the sake of promotions.
const MOST_RETRIES: u32 = 32;

/// The stubs of a VM.
#[derive(Debug)]
pub(crate) struct Stubs {
    /// Stubs, in page order.
    words: PoolArray<LEN>,
    records: PoolArray<RECORD_LEN>,
    /// By page of the guest's memory: its home, and how many stubs in bits 11:0.
    homes: PoolArray<4>,
    /// The hole's second-level table.
    table: HostPhys,
    /// Megabyte of the hole, 0 for none.
    hole: u32,
    lost: u32,
    /// Next stub to be looked at for a new one.
    hand: u32,
    /// How many are in use.
    used: u32,
    /// How often mappings may still be dropped for a page's sake.
    retry: u32,
    /// Whether there are stubs that load User mode's registers, or may be none any more.
    users: Users,
    /// What a write of DACR that is to be promoted did, by what is known of the guest.
    pub(crate) domains: Wrote,
    /// Whether the guest wrote DACR with its MMU on: it may be in the shared page alone, and what
    /// the machine enforces may be less.
    pub(crate) lazy: bool,
}

/// What a guest's kernel did that wrote DACR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrote {
    /// Closed what was closed already, as always when it is entered.
    Closed,
    /// Closed that, but it is not known yet, or is not so this time.
    Close,
    /// Opened what its application has open.
    Opened,
    /// Anything else.
    Other,
}

/// Stubs that load User mode's registers, for all modes but FIQ, whose `r8` to `r12` are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Users {
    None,
    Some,
    Never,
}

/// A stub in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// Address of the promoted instruction, with [`stub::T32`].
    pub(crate) site: u32,
    /// The guest's own instruction.
    pub(crate) original: u32,
    page: u32,
    /// It is to be done at the next return.
    deferred: bool,
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

impl Stubs {
    pub(crate) const EMPTY: Self = Self {
        words: PoolArray::EMPTY,
        records: PoolArray::EMPTY,
        homes: PoolArray::EMPTY,
        table: HostPhys(0),
        hole: 0,
        lost: 0,
        hand: 0,
        used: 0,
        retry: MOST_RETRIES,
        users: Users::None,
        domains: Wrote::Other,
        lazy: false,
    };

    /// Where its hole's megabyte lies in it.
    pub(crate) const HOLE: usize = core::mem::offset_of!(Self, hole);

    /// Takes the pool of a VM with `pages` pages, whose shared page is `shared`.
    pub(crate) fn set_up(
        &mut self,
        linear: &mut Linear<'_>,
        at: HostPhys,
        pages: u32,
        shared: HostPhys,
    ) {
        self.words = PoolArray::new(at, STUBS);
        self.table = self.words.end();
        self.records = PoolArray::new(HostPhys(self.table.0 + 0x400), STUBS);
        self.homes = PoolArray::new(self.records.end(), pages);
        linear.zero(at, self.homes.end().0 - at.0);
        for page in 0..STUBS / PER_PAGE {
            let entry = HostPhys(self.table.0 + (FIRST + page * 2) * 4);
            let code = HostPhys(at.0 + page * 0x1000);
            // The first place has no stub: what is there must not lead into the second.
            for word in 0..LEN / 4 {
                linear.store(HostPhys(code.0 + word * 4), stub::TRAP);
            }
            let (run, write) =
                (Rights { write: false, execute: true }, Rights { write: true, execute: false });
            linear.store(entry, translation::guest_page(code, run, Memory::Normal));
            let shared = translation::guest_page(shared, write, Memory::Normal);
            linear.store(HostPhys(entry.0 + 4), shared);
        }
    }

    /// Megabyte of the hole, 0 for none.
    #[inline]
    pub(crate) const fn hole(&self) -> u32 {
        self.hole
    }

    /// The first-level entry of the hole.
    pub(crate) const fn entry(&self, domain: u8) -> u32 {
        translation::table(self.table, domain)
    }

    /// Forgets everything, as at a start of the VM: its memory is what its image says.
    pub(crate) fn reset(&mut self, linear: &mut Linear<'_>) {
        for number in 0..self.records.count() {
            if let Some(record) = self.record(linear, number) {
                linear.store(self.homes.at(record.page), 0u32);
                linear.store(HostPhys(self.records.at(number).0 + 8), 0u32);
            }
        }
        self.hole = 0;
        self.used = 0;
        self.lost = 0;
        self.retry = MOST_RETRIES;
        self.users = Users::None;
        self.lazy = false;
    }

    fn record(&self, linear: &Linear<'_>, number: u32) -> Option<Record> {
        let at = self.records.at(number).0;
        let page: u32 = linear.load(HostPhys(at + 8));
        let page = page.checked_sub(1)?;
        let (site, original) = (linear.load(HostPhys(at)), linear.load(HostPhys(at + 4)));
        let deferred = linear.load::<u32>(HostPhys(at + 12)) != 0;
        Some(Record { site, original, page, deferred })
    }

    /// Where the guest sees a stub, and the shared page next to it.
    const fn seen(&self, number: u32) -> (u32, u32) {
        let page = self.hole << 20 | (FIRST + number / PER_PAGE * 2) << 12;
        (page + number % PER_PAGE * LEN, page + 0x1000)
    }

    /// The stub in use at an address of the guest, by its number.
    pub(crate) fn at(&self, linear: &Linear<'_>, address: u32) -> Option<(u32, Record)> {
        let page = (address >> 12 & 0xff).checked_sub(FIRST)?;
        if address >> 20 != self.hole || page & 1 != 0 {
            return None;
        }
        let number = page / 2 * PER_PAGE + (address >> 6) % PER_PAGE;
        Some((number, self.record(linear, number)?))
    }

    /// Whether a page of code may be executed at `address`: it has no stubs, or is at home.
    #[inline]
    pub(crate) fn fits(&self, linear: &Linear<'_>, page: u32, address: u32) -> bool {
        if self.hole == 0 {
            return true;
        }
        let home: u32 = linear.load(self.homes.at(page));
        home & 0xfff == 0 || (home ^ address) >> 12 == 0
    }
}

impl Record {
    /// What the stub does.
    pub(crate) fn kind(&self) -> Option<Kind> {
        if self.deferred { stub::deferred(self.original) } else { kind(self.site, self.original) }
    }
}

fn kind(site: u32, original: u32) -> Option<Kind> {
    if site & stub::T32 == 0 { stub::kind(original) } else { stub::kind_t32(original) }
}

/// How an instruction that may be promoted is stored.
const fn width(site: u32) -> Width {
    if site & stub::T32 == 0 { Width::Word } else { Width::Wide }
}

impl Shadow {
    /// Makes a stub for the instruction at `site`; `Some(false)` if that may be possible later,
    /// `None` if it cannot be.
    #[inline(never)]
    pub(crate) fn promote(
        &mut self,
        linear: &mut Linear<'_>,
        cp15: &Cp15,
        site: u32,
    ) -> Option<bool> {
        let (pc, width) = (site & !stub::T32, width(site));
        self.check_hole(linear, cp15);
        let mapping = self.memory.walk(linear, cp15, pc).ok()?;
        if permissions(&mapping, false, cp15.dacr, cp15.sctlr & SCTLR_AFE != 0).execute {
            return None;
        }
        let at = mapping.gpa;
        let page = self.memory.page(at)?;
        let offset = at.0 & 0xfff;
        if offset > 0xffc {
            return None;
        }
        let host = self.memory.page_at(page);
        let word = code::read(linear, host, offset, width);
        let own = code::decode(word, width).unwrap_or(word);
        let deferred = self.may_be_deferred(linear, page, site, own);
        let kind = if deferred { stub::deferred(own) } else { kind(site, own) }?;
        let writes = matches!(kind, Kind::Close { .. });
        if writes && self.stubs.domains != Wrote::Closed {
            return (self.stubs.domains == Wrote::Close).then_some(false);
        }
        let loads_user = matches!(kind, Kind::LoadUser { .. });
        if loads_user && self.stubs.users == Users::Never {
            return None;
        }
        if !self.pages.is_code(linear, page) || !self.stubs.fits(linear, page, pc) {
            return None;
        }
        if self.pages.is_open(linear, page) {
            return Some(false);
        }
        if !self.runs_only_at(linear, page, pc) {
            // It may do so once the mappings that are not used any more are dropped: a kernel
            // enters its first pages with the MMU off.
            self.stubs.retry = self.stubs.retry.checked_sub(1)?;
            self.drop_critical(linear, page);
            return Some(false);
        }
        self.find_hole(linear, cp15, pc)?;
        let number = self.free_stub(linear);
        let (address, shared) = self.stubs.seen(number);
        let words = stub::encode(kind, site, address, shared)?;
        let branch = match kind {
            Kind::Nothing => stub::instead(site, own),
            _ => stub::branch_to(site, address, own)?,
        };
        if self.pages.original_at(linear, page, offset).is_none() {
            // A trap word without a site is the guest's own: of code rewritten ahead of time.
            let site = Site { offset, width, original: word };
            if !self.pages.add_site(linear, page, site) {
                return None;
            }
        }
        if loads_user {
            self.stubs.users = Users::Some;
        }
        self.stubs.lazy |= writes || deferred;
        let at = self.stubs.words.at(number);
        for (n, word) in (0u32..).zip(words) {
            linear.store(HostPhys(at.0 + n * 4), word);
        }
        maintenance::instructions_written(at, LEN);
        let record = self.stubs.records.at(number).0;
        linear.store(HostPhys(record), site);
        linear.store(HostPhys(record + 4), own);
        linear.store(HostPhys(record + 8), page + 1);
        linear.store(HostPhys(record + 12), u32::from(deferred));
        self.stubs.used += 1;
        let home = self.stubs.homes.at(page);
        let count: u32 = linear.load::<u32>(home) & 0xfff;
        linear.store(home, (pc & !0xfff) + count + 1);
        code::write(linear, host, offset, width, branch);
        maintenance::instructions_written(HostPhys(host.0 + offset), 4);
        Some(true)
    }

    /// Whether a write by `own` at `site` can wait until the guest returns from an exception.
    fn may_be_deferred(&self, linear: &Linear<'_>, page: u32, site: u32, own: u32) -> bool {
        let opens = match stub::deferred(own) {
            Some(Kind::Store { field: shared::DOMAINS, .. }) => self.stubs.domains == Wrote::Opened,
            kind => kind.is_some(),
        };
        let host = self.memory.page_at(page);
        let word = |at: u32| {
            if (at ^ site) & !0xfff != 0 {
                return None;
            }
            // Of code rewritten ahead of time what was there before a stub is a trap word, too.
            let own = self.pages.original_at(linear, page, at & 0xfff);
            let word = own.unwrap_or_else(|| code::read(linear, host, at & 0xfff, Width::Word));
            Some(code::decode(word, Width::Word).unwrap_or(word))
        };
        opens && site & stub::T32 == 0 && stub::leads_to_return(site.wrapping_add(4), word)
    }

    /// Whether the only mapping of a page to be executed by the kernel is at `pc`.
    fn runs_only_at(&self, linear: &Linear<'_>, page: u32, pc: u32) -> bool {
        let Critical::One(entry) = self.pages.critical(linear, page) else { return false };
        let there: u32 = linear.load(entry);
        there & !0xfff == self.memory.page_at(page).0
            && (self.address_of(linear, entry) ^ pc) >> 12 == 0
    }

    /// A stub that is free; if none is, one is taken back.
    fn free_stub(&mut self, linear: &mut Linear<'_>) -> u32 {
        let mut number = self.stubs.hand;
        // Full is what it stays, once it is.
        let search = if self.stubs.used < USABLE { STUBS } else { 0 };
        for _ in 0..search {
            number = if number + 1 < STUBS { number + 1 } else { 1 };
            let usable = !number.is_multiple_of(PER_PAGE);
            if usable && self.stubs.record(linear, number).is_none() {
                self.stubs.hand = number;
                return number;
            }
        }
        number = self.stubs.hand + 1;
        if number.is_multiple_of(PER_PAGE) {
            number = number % STUBS + 1;
        }
        self.stubs.hand = number;
        self.demote_if(linear, number, None);
        number
    }

    /// Takes a stub back, if it is in use; only if it is of a page, if one is given.
    #[inline(never)]
    fn demote_if(&mut self, linear: &mut Linear<'_>, number: u32, page: Option<u32>) {
        if let Some(record) = self.stubs.record(linear, number)
            && page.is_none_or(|page| page == record.page)
        {
            self.demote(linear, number, record);
        }
    }

    /// Takes a stub in use back: its site traps again.
    #[inline(never)]
    pub(crate) fn demote(&mut self, linear: &mut Linear<'_>, number: u32, record: Record) {
        let width = width(record.site);
        let word = code::encode(record.original, width).unwrap_or(record.original);
        let (page, offset) = (self.memory.page_at(record.page), record.site & 0xffe);
        code::write(linear, page, offset, width, word);
        linear.store(HostPhys(self.stubs.records.at(number).0 + 8), 0u32);
        self.stubs.used -= 1;
        let home: u32 = linear.load(self.stubs.homes.at(record.page));
        linear.store(self.stubs.homes.at(record.page), home - 1);
        maintenance::instructions_written(HostPhys(page.0 + offset), 4);
    }

    /// Whether there are stubs that are wrong in FIQ mode. A kernel that enters it before all
    /// else, to give it a stack, has none.
    #[inline]
    pub(crate) fn forbid_fiq(&self) -> bool {
        self.stubs.users == Users::Some
    }

    /// Takes those back, for ever: the guest is in FIQ mode.
    #[cold]
    #[inline(never)]
    pub(crate) fn enter_fiq(&mut self, linear: &mut Linear<'_>) {
        for number in 1..STUBS {
            if let Some(record) = self.stubs.record(linear, number)
                && matches!(record.kind(), Some(Kind::LoadUser { .. }))
            {
                self.demote(linear, number, record);
            }
        }
        self.stubs.users = Users::Never;
    }

    /// Takes the stubs of a page back.
    pub(crate) fn demote_page(&mut self, linear: &mut Linear<'_>, page: u32) {
        if self.stubs.hole == 0 || linear.load::<u32>(self.stubs.homes.at(page)) & 0xfff == 0 {
            return;
        }
        for number in 1..STUBS {
            self.demote_if(linear, number, Some(page));
        }
    }

    /// Makes sure that there is a hole; `None` if there can be none.
    fn find_hole(&mut self, linear: &mut Linear<'_>, cp15: &Cp15, pc: u32) -> Option<()> {
        if self.stubs.hole != 0 {
            return Some(());
        }
        if self.stubs.lost >= MOST_LOST {
            return None;
        }
        let base = pc >> 20 & !0xf;
        let below = (3..16).map(|distance| base.wrapping_sub(distance));
        let above = (16..31).rev().map(|distance| base + distance);
        let hole = below.chain(above).find(|hole| {
            (0x10..0xff0).contains(hole)
                && !self.guest_maps(linear, cp15, *hole)
                && !self.shows(linear, *hole)
        })?;
        self.stubs.hole = hole;
        self.link_hole(linear, self.stubs.entry(self.stub_domain()));
        Some(())
    }

    /// Whether the guest's tables map anything in a megabyte.
    fn guest_maps(&self, linear: &Linear<'_>, cp15: &Cp15, megabyte: u32) -> bool {
        let walked = self.memory.walk(linear, cp15, megabyte << 20);
        !walked.is_err_and(|fault| matches!(fault.cause, Cause::TranslationSection))
    }

    /// Checks that the guest still maps nothing in the hole, else gives it up.
    #[inline]
    pub(crate) fn check_hole(&mut self, linear: &mut Linear<'_>, cp15: &Cp15) {
        let hole = self.stubs.hole;
        if hole == 0 || cp15.sctlr & 1 == 0 {
            return;
        }
        // Nearly always one load says so.
        let entry = GuestPhys(cp15.ttbr0 & !0x3fff | hole << 2);
        let nothing = cp15.ttbcr == 0
            && cp15.sctlr & SCTLR_EE == 0
            && self.memory.load(linear, entry).is_some_and(|entry| entry & 3 == 0);
        if !nothing && self.guest_maps(linear, cp15, hole) {
            self.lose_hole(linear);
        }
    }

    /// The guest maps something where the hole is.
    #[cold]
    #[inline(never)]
    pub(crate) fn lose_hole(&mut self, linear: &mut Linear<'_>) {
        for number in 1..STUBS {
            self.demote_if(linear, number, None);
        }
        self.link_hole(linear, 0);
        maintenance::forget_all();
        self.stubs.hole = 0;
        self.stubs.lost += 1;
    }
}
