//! Shadow tables: a software TLB, what the real tables hold of a guest's own.
//!
//! Filled on a fault by walking the guest's tables, dropped when the guest
//! invalidates its TLB. A guest must invalidate before it relies on a change, so its
//! tables need no write protection. Not here: what a page of code needs
//! ([`code`](crate::code)) and what to do about a fault ([`trap`](crate::trap)).
//!
//! # Why this shape
//!
//! As a TLB, shadow tables are tagged by the guest's ASID and by nothing else: one
//! [`Pair`] of first-level tables for each ASID lately used, one for what the guest's
//! kernel may touch and one for its application. Pair 0 is for the MMU turned off.
//! Second-level tables that hold global mappings are shared by all pairs; they are found
//! by the guest's first-level descriptor they were filled from, so a new address space
//! takes one fault for a megabyte of the kernel, not one for a page.
//!
//! # Invariants
//!
//! - A page of code ([`Pages`](crate::pages)) is never writable in any view, and
//!   executable in the kernel view only if it is a page of code.
//! - For each page, its record names its one *critical* mapping (writable for data,
//!   kernel-executable for code), or says there may be many.
//! - A megabyte that holds code is not mapped as a section.
//! - Entry 0xfff of each first-level table names a table of its own, whose first 240
//!   entries are the window's.
//! - Every pool is bounded; when one is full, what was used longest ago is dropped.
//!
//! Manual: ARM DDI 0406C, B3.5 and B3.10.

use crate::linear::{Linear, PoolArray};
use crate::maintenance::{self, View};
use crate::memory::GuestMemory;
use crate::pages::{Critical, Pages};
use crate::tables::{Kind, Tables};
use crate::translation::{self, Memory, Rights, WALK_ATTRIBUTES, WINDOW_DOMAIN};
use entresol_abi::{GuestPhys, HostPhys, window};
use entresol_vcpu::walk::{self, Mapping, Size};
use entresol_vcpu::{Cp15, Purpose, WalkFault, check, permissions};

/// Most pairs of one VM.
pub(crate) const MAX_PAIRS: usize = 17;

/// First-level entry of the megabyte that holds the window.
const TOP: u32 = window::BASE >> 20;

/// First entry of the top second-level table that belongs to the guest.
const TOP_GUEST: u32 = (window::END >> 12) & 0xff;

/// SCTLR.M.
const SCTLR_M: u32 = 1;
/// SCTLR.AFE.
const SCTLR_AFE: u32 = 1 << 29;

/// Bytes of a first-level table.
const ROOT_LEN: u32 = 0x4000;

/// Which of the two views of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// What the guest's PL1 may touch.
    Kernel,
    /// What the guest's PL0 may touch.
    Application,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Kernel, Self::Application];

    pub(crate) const fn of(privileged: bool) -> Self {
        if privileged { Self::Kernel } else { Self::Application }
    }
}

/// What a guest tried at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// Load.
    Read,
    /// Store.
    Write,
    /// Fetch an instruction; `thumb` if in T32 state.
    Fetch,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// The shadow has an entry now: try again.
    Filled,
    /// The shadow had just this entry.
    Unchanged,
    /// The guest's own tables forbid it.
    Fault(WalkFault),
    /// It reaches this address of the virtual board, which is not memory.
    Board(GuestPhys),
    /// It wrote to a page of code, which is to be made data first.
    WritesCode(GuestPhys),
    /// It fetched from a page that was not scanned.
    Unscanned(GuestPhys),
    /// It lies in the window.
    Window,
}

/// Shadow entries of one guest ASID.
#[derive(Clone, Copy, Debug)]
struct Pair {
    /// Guest ASID.
    asid: u8,
    /// Holds something.
    live: bool,
    /// All its tables were freed; clear before use.
    stale: bool,
    /// Holds sections, or top entries, that are not global.
    private_entries: bool,
    /// First of its private second-level tables, a table number plus 1.
    private: u16,
    /// When it was last current.
    used: u32,
}

/// The shadow of one VM.
#[derive(Debug)]
pub(crate) struct Shadow {
    pub(crate) memory: GuestMemory,
    /// Machine devices the guest may touch: guest page range to host.
    pub(crate) passthrough: Passthroughs,
    pub(crate) pages: Pages,
    tables: Tables,
    pairs: [Pair; MAX_PAIRS],
    pair_count: u8,
    /// Pair of each guest ASID plus 1, 0 for none.
    pair_of: [u8; 256],
    roots: PoolArray,
    tops: PoolArray,
    /// ASID of the first root; the others follow.
    first_asid: u32,
    /// Pair that is current.
    current: u8,
    clock: u32,
    /// Domains (two bits each) whose DACR field was baked into entries.
    baked_domains: u32,
    /// Entries filled since start.
    pub(crate) fills: u32,
    /// Times everything was dropped.
    pub(crate) flushes: u32,
}

/// Bounded list of devices of the machine that the guest may touch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passthroughs {
    list: [(GuestPhys, HostPhys, u32); 8],
    count: u8,
}

impl Passthroughs {
    pub(crate) const EMPTY: Self = Self { list: [(GuestPhys(0), HostPhys(0), 0); 8], count: 0 };

    /// Adds a range; `false` if there is no room.
    pub(crate) fn add(&mut self, guest: GuestPhys, host: HostPhys, len: u32) -> bool {
        let Some(slot) = self.list.get_mut(usize::from(self.count)) else { return false };
        *slot = (guest, host, len);
        self.count += 1;
        true
    }

    fn host(&self, at: GuestPhys) -> Option<HostPhys> {
        self.list.iter().take(usize::from(self.count)).find_map(|(guest, host, len)| {
            let offset = at.0.wrapping_sub(guest.0);
            (offset < *len).then_some(HostPhys(host.0 + offset))
        })
    }
}

impl Shadow {
    pub(crate) const EMPTY: Self = Self {
        memory: GuestMemory::EMPTY,
        passthrough: Passthroughs::EMPTY,
        pages: Pages::EMPTY,
        tables: Tables::EMPTY,
        pairs: [Pair {
            asid: 0,
            live: false,
            stale: true,
            private_entries: false,
            private: 0,
            used: 0,
        }; MAX_PAIRS],
        pair_count: 0,
        pair_of: [0; 256],
        roots: PoolArray::EMPTY,
        tops: PoolArray::EMPTY,
        first_asid: 0,
        current: 0,
        clock: 0,
        baked_domains: 0,
        fills: 0,
        flushes: 0,
    };

    /// Takes the pools of a VM: `pairs` pairs and `tables` second-level tables at `pool`,
    /// laid out as `abi::image::pool_bytes` counts. `top` is the content of the window's
    /// second-level entries.
    pub(crate) fn set_up(
        &mut self,
        linear: &mut Linear<'_>,
        pools: Pools,
        memory: GuestMemory,
        window: &[u32; 240],
    ) {
        let pairs = pools.pairs.min(MAX_PAIRS as u32);
        self.memory = memory;
        self.pair_count = pairs as u8;
        self.first_asid = pools.first_asid;
        self.roots = PoolArray::new(pools.base, ROOT_LEN, pairs * 2);
        self.tops = PoolArray::new(HostPhys(pools.base.0 + pairs * 2 * ROOT_LEN), 0x400, pairs * 2);
        self.tables.set_up(pools.tables_at, pools.tables);
        self.pages.set_up(pools.pages_at, memory.pages(), pools.sites_at, pools.sites);
        for root in 0..pairs * 2 {
            for (entry, value) in (0u32..).zip(window) {
                linear.store(HostPhys(self.tops.at(root).0 + entry * 4), *value);
            }
        }
        self.reset(linear);
    }

    /// Drops everything, as at a start of the VM.
    pub(crate) fn reset(&mut self, linear: &mut Linear<'_>) {
        self.pages.reset(linear);
        self.drop_all(linear);
        for asid in &mut self.pair_of {
            *asid = 0;
        }
        for pair in &mut self.pairs {
            pair.live = false;
        }
        self.activate_off(linear);
    }

    /// The view of the current pair for a privilege.
    #[inline]
    pub(crate) fn view(&self, side: Side) -> View {
        let root = Self::root(self.current, side);
        View { base: self.roots.at(root).0 | WALK_ATTRIBUTES, asid: self.first_asid + root }
    }

    #[inline]
    fn root(pair: u8, side: Side) -> u32 {
        u32::from(pair) * 2 + side as u32
    }

    /// Address of the first-level entry of a megabyte.
    #[inline]
    fn first_level(&self, pair: u8, side: Side, index: u32) -> HostPhys {
        HostPhys(self.roots.at(Self::root(pair, side)).0 + index * 4)
    }

    /// Makes the pair for the MMU turned off current.
    pub(crate) fn activate_off(&mut self, linear: &mut Linear<'_>) {
        self.activate(linear, 0);
    }

    /// Makes the pair of a guest ASID current, taking the one used longest ago if there is
    /// none for it.
    #[inline]
    pub(crate) fn activate_asid(&mut self, linear: &mut Linear<'_>, asid: u8) {
        let known = self.pair_of.get(usize::from(asid)).copied().unwrap_or(0);
        let pair = if known != 0 { known - 1 } else { self.take_pair(linear, asid) };
        self.activate(linear, pair);
    }

    fn activate(&mut self, linear: &mut Linear<'_>, pair: u8) {
        self.current = pair;
        self.clock = self.clock.wrapping_add(1);
        let clock = self.clock;
        let mut stale = false;
        if let Some(pair) = self.pairs.get_mut(usize::from(pair)) {
            pair.used = clock;
            pair.live = true;
            stale = core::mem::replace(&mut pair.stale, false);
        }
        if stale {
            self.clear_roots(linear, pair);
        }
    }

    /// A pair for `asid`: a free one, else the one used longest ago.
    fn take_pair(&mut self, linear: &mut Linear<'_>, asid: u8) -> u8 {
        let mut victim = 1;
        let mut oldest = 0;
        for (index, pair) in (0u8..).zip(&self.pairs).take(usize::from(self.pair_count)).skip(1) {
            if !pair.live {
                victim = index;
                break;
            }
            let age = self.clock.wrapping_sub(pair.used);
            if index != self.current && age >= oldest {
                oldest = age;
                victim = index;
            }
        }
        self.drop_pair(linear, victim);
        if let Some(slot) = self.pair_of.get_mut(usize::from(asid)) {
            *slot = victim + 1;
        }
        if let Some(pair) = self.pairs.get_mut(usize::from(victim)) {
            pair.asid = asid;
        }
        victim
    }

    /// Forgets a pair's ASID and all it holds.
    fn drop_pair(&mut self, linear: &mut Linear<'_>, index: u8) {
        let Some(pair) = self.pairs.get_mut(usize::from(index)) else { return };
        let old = *pair;
        *pair = Pair { stale: true, live: false, private: 0, private_entries: false, ..old };
        if old.live && index != 0 {
            if let Some(slot) = self.pair_of.get_mut(usize::from(old.asid)) {
                *slot = 0;
            }
        }
        if !old.stale {
            self.tables.free_list(linear, old.private);
            self.forget_pair(index);
        }
    }

    /// Drops a pair's translations from the real TLB.
    fn forget_pair(&self, pair: u8) {
        for side in Side::BOTH {
            maintenance::forget_asid(self.first_asid + Self::root(pair, side));
        }
    }

    /// Empties the first-level tables of a pair.
    fn clear_roots(&self, linear: &mut Linear<'_>, pair: u8) {
        for side in Side::BOTH {
            let root = Self::root(pair, side);
            let top = self.tops.at(root);
            linear.zero(self.roots.at(root), ROOT_LEN);
            linear.zero(HostPhys(top.0 + TOP_GUEST * 4), (256 - TOP_GUEST) * 4);
            linear.store(self.first_level(pair, side, TOP), translation::table(top, WINDOW_DOMAIN));
        }
        maintenance::entries_written();
    }

    /// The guest invalidated its whole TLB, or everything must go.
    pub(crate) fn drop_all(&mut self, linear: &mut Linear<'_>) {
        self.flushes = self.flushes.wrapping_add(1);
        self.baked_domains = 0;
        self.tables.free_all();
        self.pages.forget_mappings();
        for pair in 0..self.pair_count {
            let Some(entry) = self.pairs.get_mut(usize::from(pair)) else { continue };
            entry.private = 0;
            entry.private_entries = false;
            if !core::mem::replace(&mut entry.stale, true) {
                self.forget_pair(pair);
            }
        }
        let current = self.current;
        self.activate(linear, current);
    }

    /// The guest invalidated the entries of one ASID.
    pub(crate) fn drop_asid(&mut self, linear: &mut Linear<'_>, asid: u8) {
        let known = self.pair_of.get(usize::from(asid)).copied().unwrap_or(0);
        if known == 0 {
            return;
        }
        self.drop_private(linear, known - 1);
    }

    /// Drops what is not global of a pair.
    fn drop_private(&mut self, linear: &mut Linear<'_>, index: u8) {
        let Some(pair) = self.pairs.get_mut(usize::from(index)) else { return };
        if pair.stale {
            return;
        }
        let private = core::mem::take(&mut pair.private);
        let entries = core::mem::take(&mut pair.private_entries);
        if entries {
            self.tables.free_list(linear, private);
            self.clear_roots(linear, index);
        } else {
            let mut next = private;
            while let Some(table) = self.tables.record(linear, next) {
                linear.store(self.first_level(index, table.side, table.index), 0u32);
                next = table.next;
            }
            self.tables.free_list(linear, private);
            maintenance::entries_written();
        }
        self.forget_pair(index);
    }

    /// The guest invalidated the entries of one address, in one or in every ASID.
    pub(crate) fn drop_address(&mut self, linear: &mut Linear<'_>, address: u32) {
        let (index, page) = (address >> 20, address >> 12 & 0xff);
        if index == TOP && page < TOP_GUEST {
            return;
        }
        let mut dropped = false;
        let (pages, memory) = (&self.pages, &self.memory);
        self.tables.each_shared(linear, index, |linear, table| {
            dropped |= drop_entry(linear, pages, memory, table, page);
        });
        for (number, pair) in (0u8..).zip(&self.pairs).take(usize::from(self.pair_count)) {
            if pair.stale {
                continue;
            }
            for side in Side::BOTH {
                let at = self.first_level(number, side, index);
                let entry: u32 = linear.load(at);
                if let Some(table) = translation::table_of(entry) {
                    dropped |= drop_entry(linear, pages, memory, table, page);
                } else if entry != 0 {
                    linear.store(at, 0u32);
                    dropped = true;
                }
            }
        }
        if dropped {
            maintenance::forget_page(address);
        }
    }

    /// DACR the machine must run the guest with, for the value the guest believes in.
    /// With the guest's MMU off there are no domains.
    ///
    /// No access stays no access; a manager is a client whose entries were filled with
    /// every right, so they are dropped when that changes.
    #[inline]
    pub(crate) fn domains(cp15: &Cp15) -> u32 {
        const CLIENTS: u32 = 0x5555_5555;
        let dacr = if cp15.sctlr & SCTLR_M == 0 { CLIENTS } else { cp15.dacr };
        dacr & CLIENTS | 1 << (WINDOW_DOMAIN * 2)
    }

    /// Whether entries must be dropped when DACR changes from `old` to `new`.
    #[inline]
    pub(crate) fn domains_matter(&self, old: u32, new: u32) -> bool {
        let managers = |dacr: u32| dacr & dacr >> 1 & 0x5555_5555;
        managers(old) != managers(new) || (old ^ new) & self.baked_domains != 0
    }

    /// Fills the entry for an attempt, or says why there is none.
    ///
    /// `privileged` is the guest's privilege for the attempt; the entry goes to the view
    /// of that privilege.
    pub(crate) fn resolve(
        &mut self,
        linear: &mut Linear<'_>,
        cp15: &Cp15,
        address: u32,
        attempt: Attempt,
        privileged: bool,
    ) -> Resolved {
        if address.wrapping_sub(window::BASE) < window::END - window::BASE {
            return Resolved::Window;
        }
        let memory = self.memory;
        let purpose = match attempt {
            Attempt::Read => Purpose::Read,
            Attempt::Write => Purpose::Write,
            Attempt::Fetch => Purpose::Execute,
        };
        let walked = walk::walk(cp15, address, |at| memory.load(linear, at))
            .and_then(|mapping| check(&mapping, cp15, privileged, purpose).map(|()| mapping));
        let mapping = match walked {
            Ok(mapping) => mapping,
            Err(fault) => return Resolved::Fault(fault),
        };
        let afe = cp15.sctlr & SCTLR_AFE != 0;
        let allowed = permissions(&mapping, privileged, cp15.dacr, afe);
        let side = Side::of(privileged);
        let at = mapping.gpa;
        let Some(host) = self.memory.host(at) else {
            let Some(host) = self.passthrough.host(at) else { return Resolved::Board(at) };
            let rights = Rights { write: allowed.write, execute: false };
            return self.fill_page(linear, address, side, &mapping, host, rights, Memory::Device);
        };
        let page = self.memory.page(at).unwrap_or(0);
        let code = self.pages.is_code(linear, page);
        match (attempt, side) {
            (Attempt::Write, _) if code => return Resolved::WritesCode(at),
            (Attempt::Fetch, Side::Kernel) if !code => return Resolved::Unscanned(at),
            _ => {}
        }
        let execute = match side {
            Side::Kernel => allowed.execute && code,
            Side::Application => allowed.execute,
        };
        let rights = Rights { write: allowed.write && !code, execute };
        if matches!(mapping.size, Size::Section | Size::Supersection | Size::Flat)
            && address >> 20 != TOP
            && !self.pages.megabyte_has_code(page >> 8)
        {
            let rights =
                Rights { write: allowed.write, execute: execute && side == Side::Application };
            self.fill_section(linear, address, side, &mapping, host, rights)
        } else {
            self.fill_page(linear, address, side, &mapping, host, rights, Memory::Normal)
        }
    }

    /// Domain for a first-level entry; 15 is the window's, so what the guest's DACR says of
    /// its own domain 15 is baked into entries.
    #[inline]
    fn domain(&mut self, mapping: &Mapping, top: bool) -> u8 {
        if top || mapping.domain == u32::from(WINDOW_DOMAIN) {
            self.baked_domains |= 0b11 << (mapping.domain * 2);
        }
        mapping.domain as u8
    }

    fn fill_section(
        &mut self,
        linear: &mut Linear<'_>,
        address: u32,
        side: Side,
        mapping: &Mapping,
        host: HostPhys,
        rights: Rights,
    ) -> Resolved {
        self.fills = self.fills.wrapping_add(1);
        let index = address >> 20;
        let at = self.first_level(self.current, side, index);
        let old: u32 = linear.load(at);
        if translation::table_of(old).is_some() {
            self.unlink(linear, side, index, old);
        }
        let domain = self.domain(mapping, false);
        if mapping.attributes.not_global() {
            if let Some(pair) = self.pairs.get_mut(usize::from(self.current)) {
                pair.private_entries = true;
            }
        }
        let host = HostPhys(host.0 & 0xfff0_0000);
        let entry = translation::guest_section(host, domain, rights, Memory::Normal);
        linear.store(at, entry);
        self.written(address, old, entry)
    }

    /// Completes the write of an entry that was `old`.
    #[inline]
    fn written(&self, address: u32, old: u32, entry: u32) -> Resolved {
        if old == entry {
            return Resolved::Unchanged;
        }
        if old == 0 {
            maintenance::entries_written();
        } else {
            maintenance::forget_page(address);
        }
        Resolved::Filled
    }

    /// Unlinks a second-level table from the current pair, because the guest's first-level
    /// descriptor is another now.
    fn unlink(&mut self, linear: &mut Linear<'_>, side: Side, index: u32, entry: u32) {
        linear.store(self.first_level(self.current, side, index), 0u32);
        let Some(table) = translation::table_of(entry) else { return };
        if let Some(pair) = self.pairs.get_mut(usize::from(self.current)) {
            self.tables.disown(linear, table, &mut pair.private);
        }
        // Up to 256 pages may be cached; both operations are rare.
        maintenance::forget_asid(self.first_asid + Self::root(self.current, side));
    }

    #[expect(clippy::too_many_arguments, reason = "one entry has as many parts")]
    fn fill_page(
        &mut self,
        linear: &mut Linear<'_>,
        address: u32,
        side: Side,
        mapping: &Mapping,
        host: HostPhys,
        rights: Rights,
        kind: Memory,
    ) -> Resolved {
        self.fills = self.fills.wrapping_add(1);
        let Some(table) = self.second_level(linear, address, side, mapping) else {
            return Resolved::Filled;
        };
        let at = HostPhys(table.0 + (address >> 12 & 0xff) * 4);
        let entry = translation::guest_page(HostPhys(host.0 & !0xfff), rights, kind);
        let old: u32 = linear.load(at);
        linear.store(at, entry);
        let resolved = self.written(address, old, entry);
        if kind == Memory::Normal && (rights.write || side == Side::Kernel && rights.execute) {
            if let Some(page) = self.memory.page(mapping.gpa) {
                self.pages.mapped(linear, &self.memory, page, at);
            }
        }
        resolved
    }

    /// The second-level table for an address in the current pair, made or shared if need be.
    fn second_level(
        &mut self,
        linear: &mut Linear<'_>,
        address: u32,
        side: Side,
        mapping: &Mapping,
    ) -> Option<HostPhys> {
        let index = address >> 20;
        if index == TOP {
            self.domain(mapping, true);
            if mapping.attributes.not_global() {
                self.pairs.get_mut(usize::from(self.current))?.private_entries = true;
            }
            return Some(self.tops.at(Self::root(self.current, side)));
        }
        let at = self.first_level(self.current, side, index);
        let entry: u32 = linear.load(at);
        if let Some(table) = translation::table_of(entry) {
            let record = self.tables.record_of(linear, table)?;
            let fits = record.kind == Kind::Private || !mapping.attributes.not_global();
            if record.key == mapping.first && fits {
                return Some(table);
            }
            self.unlink(linear, side, index, entry);
        } else if entry != 0 {
            // A section gives way to pages.
            linear.store(at, 0u32);
            maintenance::forget_asid(self.first_asid + Self::root(self.current, side));
        }
        let domain = self.domain(mapping, false);
        let shared = !mapping.attributes.not_global();
        if shared {
            if let Some(table) = self.tables.find(linear, mapping.first, index, side) {
                linear.store(at, translation::table(table, domain));
                maintenance::entries_written();
                return Some(table);
            }
        }
        let table = match self.tables.take(linear, mapping.first, index, side) {
            Some(table) => table,
            None => {
                self.make_room(linear);
                self.tables.take(linear, mapping.first, index, side)?
            }
        };
        if shared {
            self.tables.share(linear, table);
        } else {
            let pair = self.pairs.get_mut(usize::from(self.current))?;
            self.tables.own(linear, table, &mut pair.private);
        }
        linear.store(at, translation::table(table, domain));
        maintenance::entries_written();
        Some(table)
    }

    /// Frees second-level tables: those of the pair used longest ago, else all.
    fn make_room(&mut self, linear: &mut Linear<'_>) {
        let mut victim = None;
        let mut oldest = 0;
        for (index, pair) in (0u8..).zip(&self.pairs).take(usize::from(self.pair_count)) {
            let age = self.clock.wrapping_sub(pair.used);
            if index != self.current && !pair.stale && pair.private != 0 && age >= oldest {
                oldest = age;
                victim = Some(index);
            }
        }
        match victim {
            Some(index) => self.drop_private(linear, index),
            None => self.drop_all(linear),
        }
    }

    /// Makes a page of data a page of code: nothing may write to it any more.
    pub(crate) fn becomes_code(&mut self, linear: &mut Linear<'_>, page: u32) {
        if !self.pages.megabyte_has_code(page >> 8) {
            self.pages.set_megabyte_has_code(page >> 8);
            self.drop_all(linear);
        } else {
            self.drop_critical(linear, page);
        }
    }

    /// Drops the critical mapping of a page, or all there is if there may be many.
    pub(crate) fn drop_critical(&mut self, linear: &mut Linear<'_>, page: u32) {
        match self.pages.take_critical(linear, page) {
            Critical::None => {}
            Critical::One(entry) => {
                let host = self.memory.page_at(page).0;
                let old: u32 = linear.load(entry);
                if old & !0xfff == host {
                    linear.store(entry, 0u32);
                    maintenance::forget_page(self.address_of(linear, entry));
                }
            }
            Critical::Many => self.drop_all(linear),
        }
    }

    /// The guest virtual address that a second-level entry maps.
    fn address_of(&self, linear: &Linear<'_>, entry: HostPhys) -> u32 {
        let table = HostPhys(entry.0 & !0x3ff);
        let index = self.tables.record_of(linear, table).map_or(TOP, |record| record.index);
        index << 20 | (entry.0 & 0x3ff) << 10
    }
}

/// Clears an entry of a second-level table; whether it was there.
#[inline]
fn drop_entry(
    linear: &mut Linear<'_>,
    pages: &Pages,
    memory: &GuestMemory,
    table: HostPhys,
    page: u32,
) -> bool {
    let at = HostPhys(table.0 + page * 4);
    let old: u32 = linear.load(at);
    if old == 0 {
        return false;
    }
    linear.store(at, 0u32);
    if let Some(page) = memory.page_of_host(HostPhys(old & !0xfff)) {
        pages.unmapped(linear, page, at);
    }
    true
}

/// Where the pools of one VM lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pools {
    pub(crate) base: HostPhys,
    pub(crate) pairs: u32,
    pub(crate) tables_at: HostPhys,
    pub(crate) tables: u32,
    pub(crate) sites_at: HostPhys,
    pub(crate) sites: u32,
    pub(crate) pages_at: HostPhys,
    pub(crate) first_asid: u32,
}

impl Pools {
    /// Carves the pools of `vm` at `next`, as `abi::image::pool_bytes` counts them, and ASIDs
    /// for its views at `asid`.
    pub(crate) fn carve(next: &mut u32, asid: &mut u32, vm: &entresol_abi::image::Vm) -> Self {
        let mut part = |bytes: u32| {
            let at = HostPhys(*next);
            *next += (bytes + 0x3fff) & !0x3fff;
            at
        };
        let pools = Self {
            base: part(vm.view_pairs * 2 * (ROOT_LEN + 0x400)),
            pairs: vm.view_pairs,
            tables_at: part(vm.shadow_tables * (0x400 + 0x20)),
            tables: vm.shadow_tables,
            sites_at: part(vm.sites * 8),
            sites: vm.sites,
            pages_at: part((vm.memory_len >> 12) * 8),
            first_asid: *asid,
        };
        *asid += vm.view_pairs * 2;
        pools
    }
}
