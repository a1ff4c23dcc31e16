//! The pool of second-level shadow tables of one VM.
//!
//! Hands tables out and takes them back; what their entries mean is
//! [`shadow`](crate::shadow)'s business.
//!
//! A table is *private* to one pair, on that pair's list, or *shared* by all pairs, found
//! by the guest's first-level descriptor, the megabyte and the side it was made for.
//! Freeing everything costs nothing per table: those beyond `fresh` are free.
//!
//! # Invariants
//!
//! - Each table below `fresh` is on exactly one list: free, private, or a bucket.
//! - A table handed out is empty.

use crate::linear::{Linear, PoolArray};
use crate::shadow::Side;
use entresol_abi::HostPhys;

/// Bytes of a second-level table.
const TABLE_LEN: u32 = 0x400;

/// Bytes of a table's record.
const RECORD_LEN: u32 = 0x20;

/// Who uses a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One pair.
    Private,
    /// Every pair.
    Shared,
}

/// What is known of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// The guest's first-level descriptor it is filled from.
    pub(crate) key: u32,
    /// Megabyte it maps.
    pub(crate) index: u32,
    /// View it belongs to.
    pub(crate) side: Side,
    /// Who uses it.
    pub(crate) kind: Kind,
    /// Next of its list, a table number plus 1.
    pub(crate) next: u16,
}

/// The pool.
#[derive(Debug)]
pub(crate) struct Tables {
    tables: PoolArray<TABLE_LEN>,
    records: PoolArray<RECORD_LEN>,
    /// First table that was not handed out since everything was freed.
    fresh: u32,
    free: u16,
    buckets: [u16; 256],
    /// How many tables the fast path of a fill may fill: all or none.
    fast: u32,
}

impl Tables {
    pub(crate) const EMPTY: Self = Self {
        tables: PoolArray::EMPTY,
        records: PoolArray::EMPTY,
        fresh: 0,
        free: 0,
        buckets: [0; 256],
        fast: 0,
    };

    // For the fast path of a fill.
    pub(crate) const FIRST: usize =
        core::mem::offset_of!(Self, tables) + PoolArray::<TABLE_LEN>::BASE;
    pub(crate) const COUNT: usize = core::mem::offset_of!(Self, fast);
    pub(crate) const FREE: usize = core::mem::offset_of!(Self, free);
    /// The first table of each bucket, in the same way.
    pub(crate) const BUCKETS: usize = core::mem::offset_of!(Self, buckets);
    pub(crate) const RECORDS: usize =
        core::mem::offset_of!(Self, records) + PoolArray::<RECORD_LEN>::BASE;

    /// Takes `count` tables at `base`, followed by their records.
    pub(crate) fn set_up(&mut self, base: HostPhys, count: u32) {
        let count = count.min(0xfffe);
        self.tables = PoolArray::new(base, count);
        self.records = PoolArray::new(self.tables.end(), count);
        self.fast = count;
        self.free_all();
    }

    /// Leaves all fills to the handlers.
    pub(crate) const fn fill_by_handlers(&mut self) {
        self.fast = 0;
    }

    /// Frees every table.
    pub(crate) fn free_all(&mut self) {
        self.fresh = 0;
        self.free = 0;
        self.buckets = [0; 256];
    }

    /// The record of table `number - 1`, or `None` at the end of a list.
    #[inline(always)]
    pub(crate) fn record(&self, linear: &Linear<'_>, number: u16) -> Option<Record> {
        if number == 0 {
            return None;
        }
        let at = self.records.at(u32::from(number) - 1).0;
        let place: u32 = linear.load(HostPhys(at + 4));
        Some(Record {
            key: linear.load(HostPhys(at)),
            index: place & 0xfff,
            side: Side::of(place >> 12 & 1 == 0),
            kind: if place >> 13 & 1 == 0 { Kind::Private } else { Kind::Shared },
            next: (place >> 16) as u16,
        })
    }

    #[inline]
    fn put_record(&self, linear: &mut Linear<'_>, number: u16, record: Record) {
        let at = self.records.at(u32::from(number) - 1).0;
        let place = record.index
            | u32::from(record.side == Side::Application) << 12
            | u32::from(record.kind == Kind::Shared) << 13
            | u32::from(record.next) << 16;
        linear.store(HostPhys(at), record.key);
        linear.store(HostPhys(at + 4), place);
    }

    /// Number plus 1 of the table at an address, if it is one of the pool.
    #[inline]
    fn number(&self, table: HostPhys) -> Option<u16> {
        let offset = table.0.wrapping_sub(self.tables.at(0).0) / TABLE_LEN;
        (offset < self.tables.count()).then_some(offset as u16 + 1)
    }

    /// The record of the table at an address.
    #[inline(always)]
    pub(crate) fn record_of(&self, linear: &Linear<'_>, table: HostPhys) -> Option<Record> {
        self.record(linear, self.number(table)?)
    }

    /// Takes an empty table, private and on no list; `None` if all are in use.
    pub(crate) fn take(
        &mut self,
        linear: &mut Linear<'_>,
        key: u32,
        index: u32,
        side: Side,
    ) -> Option<HostPhys> {
        let number = if let Some(record) = self.record(linear, self.free) {
            core::mem::replace(&mut self.free, record.next)
        } else if self.fresh < self.tables.count() {
            self.fresh += 1;
            self.fresh as u16
        } else {
            return None;
        };
        let table = self.tables.at(u32::from(number) - 1);
        linear.zero(table, TABLE_LEN);
        self.put_record(linear, number, Record { key, index, side, kind: Kind::Private, next: 0 });
        Some(table)
    }

    /// Puts a table that was just taken on a pair's list.
    pub(crate) fn own(&self, linear: &mut Linear<'_>, table: HostPhys, list: &mut u16) {
        let Some(number) = self.number(table) else { return };
        let Some(record) = self.record(linear, number) else { return };
        self.put_record(linear, number, Record { next: *list, ..record });
        *list = number;
    }

    /// Shares a table that was just taken.
    pub(crate) fn share(&mut self, linear: &mut Linear<'_>, table: HostPhys) {
        let Some(number) = self.number(table) else { return };
        let Some(record) = self.record(linear, number) else { return };
        let Some(bucket) = self.buckets.get_mut(Self::place(record.index)) else { return };
        let next = core::mem::replace(bucket, number);
        self.put_record(linear, number, Record { kind: Kind::Shared, next, ..record });
    }

    /// The shared table filled from a first-level descriptor.
    #[inline]
    pub(crate) fn find(
        &self,
        linear: &Linear<'_>,
        key: u32,
        index: u32,
        side: Side,
    ) -> Option<HostPhys> {
        let mut number = self.bucket(index);
        while let Some(record) = self.record(linear, number) {
            if record.key == key && record.index == index && record.side == side {
                return Some(self.tables.at(u32::from(number) - 1));
            }
            number = record.next;
        }
        None
    }

    fn bucket(&self, index: u32) -> u16 {
        self.buckets.get(Self::place(index)).copied().unwrap_or(0)
    }

    /// The bucket of a megabyte: applications begin where kernels do, some GiB lower, and high vectors
    /// are in the last one.
    const fn place(index: u32) -> usize {
        ((index ^ index >> 5) & 0xff) as usize
    }

    /// Calls `visit` with each shared table of a megabyte, and with `None` for others among them, until
    /// that says no.
    #[inline]
    pub(crate) fn each_shared(
        &self,
        linear: &mut Linear<'_>,
        index: u32,
        mut visit: impl FnMut(&mut Linear<'_>, Option<HostPhys>) -> bool,
    ) {
        let mut number = self.bucket(index);
        while let Some(record) = self.record(linear, number) {
            let table = self.tables.at(u32::from(number) - 1);
            if !visit(linear, (record.index == index).then_some(table)) {
                return;
            }
            number = record.next;
        }
    }

    /// Frees a private table, taking it from its pair's list; leaves a shared one alone.
    pub(crate) fn disown(&mut self, linear: &mut Linear<'_>, table: HostPhys, list: &mut u16) {
        let Some(number) = self.number(table) else { return };
        let mut before = 0;
        let mut at = *list;
        while let Some(record) = self.record(linear, at) {
            if at == number {
                match self.record(linear, before) {
                    Some(previous) => {
                        self.put_record(linear, before, Record { next: record.next, ..previous });
                    }
                    None => *list = record.next,
                }
                self.put_record(linear, number, Record { next: self.free, ..record });
                self.free = number;
                return;
            }
            before = at;
            at = record.next;
        }
    }

    /// Frees a pair's list of private tables.
    pub(crate) fn free_list(&mut self, linear: &mut Linear<'_>, list: u16) {
        let mut at = list;
        while let Some(record) = self.record(linear, at) {
            self.put_record(linear, at, Record { next: self.free, ..record });
            self.free = at;
            at = record.next;
        }
    }
}
