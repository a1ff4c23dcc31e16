//! Resolving a fault: the walk of the guest's tables, and the entry that follows from it.

use super::{Attempt, Resolved, SCTLR_AFE, Shadow, Side, WINDOW};
use crate::linear::Linear;
use crate::maintenance;
use crate::tables::Kind;
use crate::translation::{self, Memory, Rights, WINDOW_DOMAIN};
use entresol_abi::HostPhys;
use entresol_hv::health::Mixed;
use entresol_vcpu::walk::{Mapping, Size};
use entresol_vcpu::{Cp15, Purpose, check, permissions};

/// An entry to be filled.
#[derive(Clone, Copy)]
struct Entry {
    address: u32,
    side: Side,
    host: HostPhys,
    rights: Rights,
    kind: Memory,
    /// Must go when the page becomes code or data.
    critical: bool,
}

/// Why an attempt is not permitted.
#[cold]
fn refused(mapping: &Mapping, cp15: &Cp15, attempt: Attempt, privileged: bool) -> Resolved {
    let purpose = match attempt {
        Attempt::Read => Purpose::Read,
        Attempt::Write => Purpose::Write,
        Attempt::Fetch => Purpose::Execute,
    };
    match check(mapping, cp15, privileged, purpose) {
        Err(fault) => Resolved::Fault(fault),
        // Both ask the same of the same mapping.
        Ok(()) => Resolved::Unchanged,
    }
}

impl Shadow {
    /// Fills the entry for an attempt, or says why there is none.
    ///
    /// `privileged` is the guest's privilege for the attempt; the entry goes to the view
    /// of that privilege, or in one table to the class of those who may.
    pub(crate) fn resolve(
        &mut self,
        linear: &mut Linear<'_>,
        cp15: &Cp15,
        address: u32,
        attempt: Attempt,
        privileged: bool,
    ) -> Resolved {
        if address >> 20 == WINDOW {
            return Resolved::Window;
        }
        let memory = self.memory;
        let mapping = match memory.walk(linear, cp15, address) {
            Ok(mapping) => mapping,
            Err(fault) => return Resolved::Fault(fault),
        };
        let afe = cp15.sctlr & SCTLR_AFE != 0;
        let allowed = permissions(&mapping, privileged, cp15.dacr, afe);
        let permitted = match attempt {
            Attempt::Read => allowed.read,
            Attempt::Write => allowed.write,
            Attempt::Fetch => allowed.execute,
        };
        if !permitted {
            return refused(&mapping, cp15, attempt, privileged);
        }
        if address >> 20 == self.stubs.hole() && self.stubs.hole() != 0 && self.current != 0 {
            self.lose_hole(linear);
        }
        let (mut side, mut shown) = (Side::of(privileged), allowed);
        let joint = self.is_joint();
        if joint {
            if Self::is_beyond(mapping.domain) {
                self.part(linear, Mixed::Domain);
                return Resolved::Filled;
            }
            let both = permissions(&mapping, false, cp15.dacr, afe);
            let run = attempt == Attempt::Fetch;
            let kernels = !both.read
                || privileged
                    && (self.is_kernels(linear, address >> 20)
                        || attempt == Attempt::Write && !both.write
                        || !self.may_open(mapping.domain, run));
            if kernels {
                side = Side::Kernel;
            } else {
                (side, shown) = (Side::Application, both);
                if privileged && run {
                    self.opens = Self::of_both(1 << (mapping.domain * 2));
                }
            }
        }
        let at = mapping.gpa;
        let Some(page) = memory.page(at) else {
            let Some(given) = self.passthrough.at(at) else { return Resolved::Board(at) };
            let rights = Rights { write: shown.write && given.writable(), execute: false };
            if attempt == Attempt::Fetch || attempt == Attempt::Write && !rights.write {
                return Resolved::Board(at);
            }
            let (host, kind) = (given.host, given.kind());
            let entry = Entry { address, side, host, rights, kind, critical: false };
            return self.fill_page(linear, &mapping, entry);
        };
        let host = memory.page_at(page);
        let code = self.pages.is_code(linear, page);
        let scanned = if self.mixed { self.pages.scanned_fully(linear, page) } else { code };
        let writable = !code || self.pages.is_open(linear, page);
        let execute = match attempt {
            Attempt::Write if !writable => return Resolved::WritesCode(at),
            Attempt::Fetch if privileged && !scanned => return Resolved::Unscanned(at),
            // In one table only what applications fetch, not all that they may.
            _ if joint && attempt != Attempt::Fetch => shown.execute && scanned,
            _ => shown.execute && (scanned || !privileged),
        };
        let execute = execute && self.may_run(linear, page, address, attempt, side);
        if joint && execute && (!scanned || mapping.privileged_execute_never) {
            self.joint.runs_wild(mapping.domain);
        }
        let rights = Rights { write: shown.write && writable, execute };
        let critical = rights.write || execute && (side == Side::Kernel || joint && scanned);
        let entry = Entry { address, side, host, rights, kind: Memory::Normal, critical };
        if matches!(mapping.size, Size::Section | Size::Supersection | Size::Flat)
            && !self.pages.megabyte_has_code(page >> 8)
        {
            self.fill_section(linear, &mapping, entry)
        } else {
            self.fill_page(linear, &mapping, entry)
        }
    }

    /// Whether a page of code may be mapped to be executed at `address`. If it has stubs, for
    /// another address, they are taken back once that is tried.
    #[inline]
    fn may_run(
        &mut self,
        linear: &mut Linear<'_>,
        page: u32,
        address: u32,
        attempt: Attempt,
        side: Side,
    ) -> bool {
        let at_home = side == Side::Kernel && self.current != 0;
        if self.stubs.fits(linear, page, if at_home { address } else { !0 }) {
            return true;
        }
        if attempt == Attempt::Fetch {
            self.demote_page(linear, page);
        }
        attempt == Attempt::Fetch
    }

    /// Domain for a first-level entry; 15 is the window's, so what the guest's DACR says of
    /// its own domain 15 is baked into entries.
    #[inline]
    fn domain(&mut self, mapping: &Mapping, side: Side) -> u8 {
        if mapping.domain == u32::from(WINDOW_DOMAIN) {
            self.baked_domains |= 0b11 << (mapping.domain * 2);
        }
        self.hardware_domain(mapping.domain, side)
    }

    fn fill_section(
        &mut self,
        linear: &mut Linear<'_>,
        mapping: &Mapping,
        entry: Entry,
    ) -> Resolved {
        let Entry { address, side, host, rights, .. } = entry;
        let index = address >> 20;
        let at = self.first_level(self.current, side, index);
        let old: u32 = linear.load(at);
        if translation::table_of(old).is_some() {
            self.unlink(linear, side, index, old);
        }
        let domain = self.domain(mapping, side);
        if !mapping.attributes.not_global() {
            self.scatter(index);
        } else if let Some(pair) = self.pairs.get_mut(usize::from(self.current)) {
            pair.private_entries = true;
            self.note_private(side, index);
        }
        let host = HostPhys(host.0 & 0xfff0_0000);
        let entry = translation::guest_section(host, domain, rights, Memory::Normal);
        linear.store(at, entry);
        self.touch(self.current, side, index);
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
        maintenance::forget_asid(self.first_asid + self.root(self.current, side));
    }

    #[inline(always)]
    fn fill_page(&mut self, linear: &mut Linear<'_>, mapping: &Mapping, entry: Entry) -> Resolved {
        let Entry { address, side, host, rights, kind, critical } = entry;
        let linked = self.linked(linear, address, side, mapping);
        let table = match linked {
            Some(table) => table,
            None => match self.link(linear, address, side, mapping) {
                Some(table) => table,
                None => return Resolved::Filled,
            },
        };
        let at = HostPhys(table.0 + (address >> 12 & 0xff) * 4);
        let entry = translation::guest_page(HostPhys(host.0 & !0xfff), rights, kind);
        let old: u32 = linear.load(at);
        linear.store(at, entry);
        // A shared table that was only just linked here may well have the entry.
        let resolved = match self.written(address, old, entry) {
            Resolved::Unchanged if linked.is_none() => Resolved::Filled,
            resolved => resolved,
        };
        if critical && let Some(page) = self.memory.page(mapping.gpa) {
            self.pages.mapped(linear, &self.memory, page, at);
        }
        resolved
    }

    /// The second-level table for an address in the current pair, if it is linked there and
    /// still the one that the guest's first-level descriptor asks for.
    #[inline]
    fn linked(
        &mut self,
        linear: &Linear<'_>,
        address: u32,
        side: Side,
        mapping: &Mapping,
    ) -> Option<HostPhys> {
        let index = address >> 20;
        let entry: u32 = linear.load(self.first_level(self.current, side, index));
        let table = translation::table_of(entry)?;
        let record = self.tables.record_of(linear, table)?;
        let global = !mapping.attributes.not_global();
        if record.kind == Kind::Private && global {
            self.scatter(index);
        }
        let fits = (record.kind == Kind::Private || global) && record.side == side;
        (record.key == mapping.first && fits).then_some(table)
    }

    /// Makes the second-level table for an address, or finds a shared one, and links it into
    /// the current pair.
    #[inline(never)]
    fn link(
        &mut self,
        linear: &mut Linear<'_>,
        address: u32,
        side: Side,
        mapping: &Mapping,
    ) -> Option<HostPhys> {
        let index = address >> 20;
        let at = self.first_level(self.current, side, index);
        let entry: u32 = linear.load(at);
        if let Some(table) = translation::table_of(entry) {
            let other = self.tables.record_of(linear, table);
            self.unlink(linear, side, index, entry);
            if other.is_some_and(|record| record.side != side) {
                self.changes_class(linear);
                if !self.is_joint() {
                    return None;
                }
            }
        } else if entry != 0 {
            // A section gives way to pages.
            linear.store(at, 0u32);
            maintenance::forget_asid(self.first_asid + self.root(self.current, side));
        }
        let domain = self.domain(mapping, side);
        self.touch(self.current, side, index);
        let shared = !mapping.attributes.not_global();
        if shared && let Some(table) = self.tables.find(linear, mapping.first, index, side) {
            linear.store(at, translation::table(table, domain));
            maintenance::entries_written();
            return Some(table);
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
            self.note_private(side, index);
            let pair = self.pairs.get_mut(usize::from(self.current))?;
            self.tables.own(linear, table, &mut pair.private);
        }
        linear.store(at, translation::table(table, domain));
        maintenance::entries_written();
        Some(table)
    }
}
