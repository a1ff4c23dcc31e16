//! What is known of each page of a VM's memory: code or data, and its critical mapping.
//!
//! A page of *code* was scanned and may run in the kernel view; its replaced words are
//! kept as *sites*. The *critical* mapping of a page is the one that must go when it
//! changes between code and data: a writable one of data, an executable one of code.
//! A page of code that is written again and again is *open*: mapped writable as well,
//! until the guest maintains its instruction cache.
//!
//! # Invariants
//!
//! - The words of a page of data are the guest's own; those of a page of code differ
//!   from them at its sites only; at those of an open page that the guest wrote, not at
//!   all.
//! - A record of another epoch than the shadow's says nothing of mappings: they were all
//!   dropped since. Epochs are compared modulo 256; a false match costs a drop.
//!
//! A record is 8 bytes: the address of the critical entry with a state in bits 1:0; then
//! first site (16 bits), flags (8), epoch (8).

use crate::linear::{Linear, PoolArray};
use crate::memory::GuestMemory;
use entresol_abi::HostPhys;
use entresol_isa::op::InstructionSet;
use entresol_rewrite::Width;

/// Bytes of a page's record.
const RECORD_LEN: u32 = 8;
/// Bytes of a site.
const SITE_LEN: u32 = 8;

const A32: u32 = 1 << 16;
const T32: u32 = 1 << 17;
pub(crate) const CODE: u32 = A32 | T32;
/// Bits 22:18 count how often the page was written while it was code, saturating.
const FLIP: u32 = 1 << 18;
const FLIPS: u32 = 0x1f << 18;
const OPEN: u32 = 1 << 23;

/// A page written so often while it was code is opened.
const HOT: u32 = 8;

const ONE: u32 = 1;
const MANY: u32 = 2;

/// The critical mapping of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Critical {
    /// None.
    None,
    /// This second-level entry.
    One(HostPhys),
    /// Unknown: more than one.
    Many,
}

/// A replaced word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    /// Offset in its page, in bytes.
    pub(crate) offset: u32,
    /// What kind of instruction it is.
    pub(crate) width: Width,
    /// The guest's own instruction.
    pub(crate) original: u32,
}

/// Records of all pages, and the pool of sites.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pages {
    records: PoolArray<RECORD_LEN>,
    sites: PoolArray<SITE_LEN>,
    /// First site never used; then a free list.
    fresh: u32,
    free: u16,
    /// Where the search for a page to take back goes on.
    hand: u32,
    epoch: u8,
    /// Megabytes that hold code.
    megabytes: [u32; 64],
}

impl Pages {
    pub(crate) const EMPTY: Self = Self {
        records: PoolArray::EMPTY,
        sites: PoolArray::EMPTY,
        fresh: 0,
        free: 0,
        hand: 0,
        epoch: 0,
        megabytes: [0; 64],
    };

    // For the fast path of a fill.
    pub(crate) const RECORDS: usize =
        core::mem::offset_of!(Self, records) + PoolArray::<RECORD_LEN>::BASE;
    pub(crate) const EPOCH: usize = core::mem::offset_of!(Self, epoch);

    /// Takes the pools of a VM.
    pub(crate) fn set_up(
        &mut self,
        records_at: HostPhys,
        pages: u32,
        sites_at: HostPhys,
        sites: u32,
    ) {
        self.records = PoolArray::new(records_at, pages);
        self.sites = PoolArray::new(sites_at, sites.min(0xfffe));
    }

    /// Forgets everything: all pages are data, and their words must be the guest's.
    pub(crate) fn forget(&mut self, linear: &mut Linear<'_>) {
        linear.zero(self.records.at(0), self.records.count() * RECORD_LEN);
        self.fresh = 0;
        self.free = 0;
        self.megabytes = [0; 64];
    }

    /// All mappings were dropped.
    pub(crate) fn forget_mappings(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    #[inline]
    fn state(&self, linear: &Linear<'_>, page: u32) -> u32 {
        linear.load(HostPhys(self.records.at(page).0 + 4))
    }

    #[inline]
    fn set_state(&self, linear: &mut Linear<'_>, page: u32, state: u32) {
        linear.store(HostPhys(self.records.at(page).0 + 4), state);
    }

    /// Whether a page is code in any instruction set.
    #[inline(always)]
    pub(crate) fn is_code(&self, linear: &Linear<'_>, page: u32) -> bool {
        self.state(linear, page) & CODE != 0
    }

    /// Whether a page was scanned for an instruction set.
    #[inline]
    pub(crate) fn scanned(&self, linear: &Linear<'_>, page: u32, set: InstructionSet) -> bool {
        self.state(linear, page) & flag(set) != 0
    }

    /// Makes a page code.
    pub(crate) fn set_code(&self, linear: &mut Linear<'_>, page: u32, set: InstructionSet) {
        let state = self.state(linear, page);
        self.set_state(linear, page, state | flag(set));
    }

    /// Whether a page was scanned for both instruction sets.
    #[inline]
    pub(crate) fn scanned_fully(&self, linear: &Linear<'_>, page: u32) -> bool {
        self.state(linear, page) & CODE == CODE
    }

    /// Makes a page data.
    pub(crate) fn set_data(&self, linear: &mut Linear<'_>, page: u32) {
        let state = self.state(linear, page) & !(CODE | OPEN);
        self.set_state(linear, page, state);
    }

    /// Notes that a page was written while it was code; whether that happens often.
    pub(crate) fn written(&self, linear: &mut Linear<'_>, page: u32) -> bool {
        let state = self.state(linear, page);
        if state & FLIPS != FLIPS {
            self.set_state(linear, page, state + FLIP);
        }
        self.is_hot(linear, page)
    }

    /// Forgets how often a page was written.
    pub(crate) fn cool(&self, linear: &mut Linear<'_>, page: u32) {
        self.set_state(linear, page, self.state(linear, page) & !FLIPS);
    }

    /// Whether a page is written often while it is code.
    pub(crate) fn is_hot(&self, linear: &Linear<'_>, page: u32) -> bool {
        self.state(linear, page) & FLIPS >= HOT * FLIP
    }

    /// Whether a page of code is open.
    #[inline]
    pub(crate) fn is_open(&self, linear: &Linear<'_>, page: u32) -> bool {
        self.state(linear, page) & OPEN != 0
    }

    /// Opens a page of code.
    pub(crate) fn set_open(&self, linear: &mut Linear<'_>, page: u32) {
        let state = self.state(linear, page);
        self.set_state(linear, page, state | OPEN);
    }

    /// Whether a megabyte, counted from the start of the memory, holds code.
    #[inline]
    pub(crate) fn megabyte_has_code(&self, megabyte: u32) -> bool {
        self.megabytes
            .get((megabyte >> 5) as usize)
            .is_none_or(|bits| bits >> (megabyte & 31) & 1 == 1)
    }

    /// Notes that a megabyte holds code; for ever, because sections of it would flap.
    pub(crate) fn set_megabyte_has_code(&mut self, megabyte: u32) {
        if let Some(bits) = self.megabytes.get_mut((megabyte >> 5) as usize) {
            *bits |= 1 << (megabyte & 31);
        }
    }

    /// Notes a mapping that is critical for its page.
    #[inline(always)]
    pub(crate) fn mapped(
        &self,
        linear: &mut Linear<'_>,
        memory: &GuestMemory,
        page: u32,
        entry: HostPhys,
    ) {
        let at = self.records.at(page);
        let state = self.state(linear, page);
        let old: u32 = linear.load(at);
        let current = state >> 24 == u32::from(self.epoch);
        let new = if !current || old & 3 == 0 || old == entry.0 | ONE {
            entry.0 | ONE
        } else if old & 3 == MANY {
            old
        } else {
            // The noted entry may be gone by now.
            let there: u32 = linear.load(HostPhys(old & !3));
            if there & !0xfff == memory.page_at(page).0 { MANY } else { entry.0 | ONE }
        };
        linear.store(at, new);
        if !current {
            self.set_state(linear, page, state & 0x00ff_ffff | u32::from(self.epoch) << 24);
        }
    }

    /// Notes that an entry of a page is gone.
    #[inline]
    pub(crate) fn unmapped(&self, linear: &mut Linear<'_>, page: u32, entry: HostPhys) {
        let at = self.records.at(page);
        if linear.load::<u32>(at) == entry.0 | ONE {
            linear.store(at, 0u32);
        }
    }

    /// Takes the critical mapping of a page out of its record.
    pub(crate) fn take_critical(&self, linear: &mut Linear<'_>, page: u32) -> Critical {
        let critical = self.critical(linear, page);
        linear.store(self.records.at(page), 0u32);
        critical
    }

    /// The critical mapping of a page.
    pub(crate) fn critical(&self, linear: &Linear<'_>, page: u32) -> Critical {
        let old: u32 = linear.load(self.records.at(page));
        if self.state(linear, page) >> 24 != u32::from(self.epoch) {
            return Critical::None;
        }
        match old & 3 {
            ONE => Critical::One(HostPhys(old & !3)),
            MANY => Critical::Many,
            _ => Critical::None,
        }
    }

    /// Notes a replaced word of a page; `false` if the pool is full.
    pub(crate) fn add_site(&mut self, linear: &mut Linear<'_>, page: u32, site: Site) -> bool {
        let number = if self.free != 0 {
            let number = self.free;
            self.free = linear.load(HostPhys(self.site(number).0 + 6));
            number
        } else if self.fresh < self.sites.count() {
            self.fresh += 1;
            self.fresh as u16
        } else {
            return false;
        };
        let state = self.state(linear, page);
        let at = self.site(number).0;
        linear.store(HostPhys(at), site.original);
        linear.store(HostPhys(at + 4), place(site.offset, site.width));
        linear.store(HostPhys(at + 6), state as u16);
        self.set_state(linear, page, state & 0xffff_0000 | u32::from(number));
        true
    }

    fn site(&self, number: u16) -> HostPhys {
        self.sites.at(u32::from(number).saturating_sub(1))
    }

    /// Whether a page has a site that overlaps `len` bytes at `offset`.
    pub(crate) fn has_site_in(
        &self,
        linear: &Linear<'_>,
        page: u32,
        offset: u32,
        len: u32,
    ) -> bool {
        let mut number = self.state(linear, page) as u16;
        while number != 0 {
            let at = self.site(number).0;
            let there = u32::from(linear.load::<u16>(HostPhys(at + 4)) & 0xffe);
            if there + 4 > offset && there < offset + len {
                return true;
            }
            number = linear.load(HostPhys(at + 6));
        }
        false
    }

    /// The guest's own word where a page has a site at `offset`.
    pub(crate) fn original_at(&self, linear: &Linear<'_>, page: u32, offset: u32) -> Option<u32> {
        let mut number = self.state(linear, page) as u16;
        while number != 0 {
            let at = self.site(number).0;
            if u32::from(linear.load::<u16>(HostPhys(at + 4)) & 0xffe) == offset {
                return Some(linear.load(HostPhys(at)));
            }
            number = linear.load(HostPhys(at + 6));
        }
        None
    }

    /// Takes one site out of a page's list.
    pub(crate) fn take_site(&mut self, linear: &mut Linear<'_>, page: u32) -> Option<Site> {
        let state = self.state(linear, page);
        let number = state as u16;
        if number == 0 {
            return None;
        }
        let at = self.site(number).0;
        let next: u16 = linear.load(HostPhys(at + 6));
        let place: u16 = linear.load(HostPhys(at + 4));
        let original: u32 = linear.load(HostPhys(at));
        self.set_state(linear, page, state & 0xffff_0000 | u32::from(next));
        linear.store(HostPhys(at + 6), self.free);
        self.free = number;
        Some(unplace(place, original))
    }

    /// Another page that holds sites, to be taken back when the pool is full. Looks at each
    /// page at most once.
    pub(crate) fn next_with_sites(&mut self, linear: &Linear<'_>, but: u32) -> Option<u32> {
        for _ in 0..self.records.count() {
            self.hand = if self.hand + 1 < self.records.count() { self.hand + 1 } else { 0 };
            if self.hand != but && self.state(linear, self.hand) as u16 != 0 {
                return Some(self.hand);
            }
        }
        None
    }
}

const fn flag(set: InstructionSet) -> u32 {
    match set {
        InstructionSet::A32 => A32,
        InstructionSet::T32 => T32,
    }
}

/// Offset and width of a site in 16 bits: an offset is even and below 4096.
pub(crate) const fn place(offset: u32, width: Width) -> u16 {
    let width = match width {
        Width::Word => 0,
        Width::Narrow => 1,
        Width::Wide => 0x8000,
    };
    offset as u16 | width
}

/// The site that [`place`] put there, with its original.
pub(crate) const fn unplace(place: u16, original: u32) -> Site {
    let width = match place & 0x8001 {
        0 => Width::Word,
        1 => Width::Narrow,
        _ => Width::Wide,
    };
    Site { offset: (place & 0xffe) as u32, width, original }
}
