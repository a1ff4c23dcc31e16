//! The fill that nearly all faults ask for, without the generality of [`resolve`].
//!
//! A small page, in a megabyte whose second-level table is linked already, allowed by
//! guest tables that use nothing unusual. Anything else is left to [`resolve`], which
//! says the same with all cases: whatever this fills, that would fill alike.
//!
//! # Cost
//!
//! Straight-line on raw words, because a fill has a budget of instructions from the
//! abort to its restart (`shadow.fill` in `bench/budgets.toml`).
//!
//! [`resolve`]: Shadow::resolve
//!
//! Manual: ARM DDI 0406C, B3.5 (descriptors), B3.7.1 (AP), B3.7.3 (domains).

use super::{Attempt, Shadow, Side};
use crate::linear::Linear;
use crate::maintenance;
use crate::tables::Kind;
use crate::translation::{self, Memory, Rights};
use entresol_abi::{GuestPhys, HostPhys};
use entresol_vcpu::Cp15;

/// SCTLR: M, and EE and AFE, which change what tables mean.
const SCTLR_M: u32 = 1;
const SCTLR_MEANING: u32 = 1 << 25 | 1 << 29 | SCTLR_M;
/// TTBCR: anything but one table for everything.
const TTBCR_SPLIT: u32 = 0x37;
/// A small page: AP[2], AP[1:0], nG, XN.
const SECOND_SMALL: u32 = 1 << 1;
const SECOND_XN: u32 = 1;
const SECOND_NG: u32 = 1 << 11;

/// Who may, by AP[2:0] as a bit number.
pub(crate) const KERNEL_READ: u32 = 0b1110_1110;
pub(crate) const KERNEL_WRITE: u32 = 0b0000_1110;
pub(crate) const APPLICATION_READ: u32 = 0b1100_1100;
pub(crate) const APPLICATION_WRITE: u32 = 0b0000_1000;

impl Shadow {
    /// Fills the entry for an attempt if that is simple. `false` says nothing: ask
    /// [`Shadow::resolve`].
    #[inline(always)]
    pub(crate) fn refill(
        &mut self,
        linear: &mut Linear<'_>,
        cp15: &Cp15,
        address: u32,
        attempt: Attempt,
        side: Side,
    ) -> bool {
        self.try_refill(linear, cp15, address, attempt, side).is_some()
    }

    #[inline(always)]
    fn try_refill(
        &mut self,
        linear: &mut Linear<'_>,
        cp15: &Cp15,
        address: u32,
        attempt: Attempt,
        side: Side,
    ) -> Option<()> {
        let index = address >> 20;
        let plain = cp15.sctlr & SCTLR_MEANING == SCTLR_M && cp15.ttbcr & TTBCR_SPLIT == 0;
        if !plain {
            return None;
        }
        let linked: u32 = linear.load(self.first_level(self.current, side, index));
        let table = translation::table_of(linked)?;
        let number = address >> 12 & 0xff;
        let at = HostPhys(table.0 + number * 4);
        let old: u32 = linear.load(at);
        let open = |first: u32| cp15.dacr >> ((first >> 5 & 0xf) * 2) & 3 == 1;
        if old != 0 {
            return None;
        }
        let memory = &self.memory;
        let first = memory.load(linear, GuestPhys(cp15.ttbr0 & !0x3fff | index << 2))?;
        // A page table without PXN, in a domain that is a client.
        if first & 0b111 != 0b001 || !open(first) {
            return None;
        }
        let record = self.tables.record_of(linear, table)?;
        let second = memory.load(linear, GuestPhys(first & !0x3ff | number << 2))?;
        let shared = record.kind == Kind::Shared;
        if second & SECOND_SMALL == 0 || record.key != first || shared == (second & SECOND_NG != 0)
        {
            return None;
        }
        let page = memory.page(GuestPhys(second & !0xfff))?;
        if self.pages.is_code(linear, page) {
            return None;
        }
        let ap = second >> 7 & 4 | second >> 4 & 3;
        let joint = self.is_joint();
        let class = record.side;
        if class != side && (side == Side::Application || APPLICATION_READ >> ap & 1 == 0) {
            return None;
        }
        let (readers, writers) = match class {
            Side::Kernel => (KERNEL_READ, KERNEL_WRITE),
            Side::Application => (APPLICATION_READ, APPLICATION_WRITE),
        };
        let write = writers >> ap & 1 == 1;
        let execute = side == Side::Application
            && second & SECOND_XN == 0
            && (!joint || attempt == Attempt::Fetch);
        let allowed = match attempt {
            Attempt::Read => true,
            Attempt::Write => write,
            Attempt::Fetch => execute,
        };
        if !allowed || readers >> ap & 1 == 0 {
            return None;
        }
        let rights = Rights { write, execute };
        linear.store(at, translation::guest_page(memory.page_at(page), rights, Memory::Normal));
        maintenance::entries_written();
        if joint && execute {
            self.joint.runs_wild(first >> 5 & 0xf);
        }
        if write {
            self.pages.mapped(linear, memory, page, at);
        }
        Some(())
    }
}
