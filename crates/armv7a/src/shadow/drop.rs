//! What is dropped when the guest invalidates, a page changes its kind, or a pool is full.

use super::{ROOT_LEN, Shadow, Side, WINDOW, place};
use crate::cp15;
use crate::linear::Linear;
use crate::maintenance;
use crate::memory::GuestMemory;
use crate::pages::{Critical, Pages};
use crate::translation;
use entresol_abi::HostPhys;
use entresol_hv::health::Pool;
use entresol_vcpu::TlbOp;

impl Shadow {
    /// The guest invalidated what this names.
    pub(crate) fn invalidate(&mut self, linear: &mut Linear<'_>, op: TlbOp) {
        if op == TlbOp::All {
            return self.drop_all(linear);
        }
        self.invalidate_own(linear, op);
        if let Some(peer) = self.peer() {
            peer.invalidate_own(linear, op);
        }
    }

    fn invalidate_own(&mut self, linear: &mut Linear<'_>, op: TlbOp) {
        match op {
            TlbOp::All => {}
            TlbOp::Asid(asid) => self.drop_asid(linear, asid),
            TlbOp::Address { va, asid } => {
                self.drop_address(linear, va, Some(asid), false);
            }
            TlbOp::AddressAllAsids(va) => {
                self.drop_address(linear, va, None, false);
            }
        }
    }

    /// Everything must go, from the shadow of the other vCPU, too.
    #[inline(never)]
    pub(crate) fn drop_all(&mut self, linear: &mut Linear<'_>) {
        self.drop_own(linear);
        if let Some(peer) = self.peer() {
            peer.drop_own(linear);
        }
        self.pages.forget_mappings();
    }

    /// Everything must go from this shadow.
    #[inline(never)]
    pub(super) fn drop_own(&mut self, linear: &mut Linear<'_>) {
        self.flushes = self.flushes.wrapping_add(1);
        self.baked_domains = 0;
        self.joint.dropped();
        self.scattered = [0; 128];
        self.private_pieces = [0; 2];
        self.holders = 0;
        self.tables.free_all();
        let current = self.current;
        for pair in 0..self.pair_count {
            let Some(entry) = self.pairs.get_mut(usize::from(pair)) else { continue };
            entry.private = 0;
            entry.private_entries = false;
            if !core::mem::replace(&mut entry.stale, true) && pair != current {
                self.forget_pair(pair);
            }
        }
        self.activate(linear, current);
        // Only now: it may be in use, on the other vCPU's core.
        self.forget_pair(current);
    }

    /// The guest invalidated the entries of one ASID.
    #[inline(never)]
    pub(crate) fn drop_asid(&mut self, linear: &mut Linear<'_>, asid: u8) {
        let known = self.pair_of.get(usize::from(asid)).copied().unwrap_or(0);
        if known == 0 {
            return;
        }
        self.drop_private(linear, known - 1);
    }

    /// Drops what is not global of a pair.
    #[inline(never)]
    pub(super) fn drop_private(&mut self, linear: &mut Linear<'_>, index: u8) {
        let Some(pair) = self.pairs.get_mut(usize::from(index)) else { return };
        if pair.stale {
            return;
        }
        self.holders &= !(1 << index);
        let private = core::mem::take(&mut pair.private);
        let entries = core::mem::take(&mut pair.private_entries);
        if entries {
            self.tables.free_list(linear, private);
            self.clear_roots(linear, index, [0; 2]);
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

    /// The guest invalidated the entries of one address in one ASID, or in every: those of the
    /// others stay, unless they are global. With interrupts `masked` it ends where one is pending, and
    /// returns false: it is to be done again.
    #[inline(never)]
    pub(crate) fn drop_address(
        &mut self,
        linear: &mut Linear<'_>,
        address: u32,
        asid: Option<u8>,
        masked: bool,
    ) -> bool {
        let (index, page) = (address >> 20, address >> 12 & 0xff);
        if index == WINDOW || index == self.stubs.hole() && index != 0 {
            return true;
        }
        let mut dropped = false;
        let mut goes_on = true;
        let (pages, memory) = (&self.pages, &self.memory);
        self.tables.each_shared(linear, index, |linear, table| {
            dropped |= table.is_some_and(|table| drop_entry(linear, pages, memory, table, page));
            goes_on = !(masked && cp15::is_interrupted());
            goes_on
        });
        // Most pairs are of address spaces that are gone.
        let mut pairs = self.holders;
        if self.is_scattered(index) {
            pairs = !0 >> (32 - self.pair_count);
        } else if let Some(asid) = asid {
            pairs &= 1 << self.pair_of[usize::from(asid)] >> 1;
        }
        while goes_on && pairs != 0 {
            dropped |= self.drop_in_pair(linear, pairs.trailing_zeros() as u8, index, page);
            pairs &= pairs - 1;
            goes_on = !(masked && cp15::is_interrupted());
        }
        if dropped {
            maintenance::forget_page(address);
        }
        goes_on
    }

    /// Drops an entry from both views of a pair; whether there was one.
    #[inline]
    fn drop_in_pair(&mut self, linear: &mut Linear<'_>, pair: u8, index: u32, page: u32) -> bool {
        if self.pairs[place(pair)].stale {
            return false;
        }
        let mut dropped = false;
        let mut at = self.first_level(pair, Side::Kernel, index);
        let end = HostPhys(at.0 + 2 * ROOT_LEN);
        while at != end {
            let entry: u32 = linear.load(at);
            if let Some(table) = translation::table_of(entry) {
                dropped |= drop_entry(linear, &self.pages, &self.memory, table, page);
            } else if entry != 0 {
                linear.store(at, 0u32);
                dropped = true;
            }
            at.0 += ROOT_LEN;
        }
        dropped
    }

    #[inline]
    fn is_scattered(&self, index: u32) -> bool {
        self.scattered[(index >> 5) as usize % 128] >> (index & 31) & 1 == 1
    }

    /// Notes that a pair has a global mapping in a megabyte for itself.
    #[inline]
    pub(super) fn scatter(&mut self, index: u32) {
        self.scattered[(index >> 5) as usize % 128] |= 1 << (index & 31);
    }

    /// Frees second-level tables: those of the pair used longest ago, else all.
    #[inline(never)]
    pub(super) fn make_room(&mut self, linear: &mut Linear<'_>) {
        self.found_full(Pool::ShadowTables);
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
    #[inline(never)]
    pub(crate) fn becomes_code(&mut self, linear: &mut Linear<'_>, page: u32) {
        if !self.pages.megabyte_has_code(page >> 8) {
            self.pages.set_megabyte_has_code(page >> 8);
            self.drop_all(linear);
        } else {
            self.drop_critical(linear, page);
        }
    }

    /// Drops the critical mapping of a page, or all there is if there may be many.
    #[inline(never)]
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
    pub(crate) fn address_of(&self, linear: &Linear<'_>, entry: HostPhys) -> u32 {
        let table = HostPhys(entry.0 & !0x3ff);
        let own = self.tables.record_of(linear, table);
        let record = own.or_else(|| self.peer()?.tables.record_of(linear, table));
        let index = record.map_or(0, |record| record.index);
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
