//! Every sequence of translation, cache and barrier operations, written once.
//!
//! QEMU hides a missing one, silicon will not: so nothing else in this crate orders
//! such operations, and each says which section of the manual asks for what. What
//! is *not* here: deciding when one is due.
//!
//! # Invariants
//!
//! - ASID 0 is reserved: it tags nothing, and is current only inside [`switch`].
//! - TLBs, instruction caches and branch predictors are maintained on all cores at once (the Inner
//!   Shareable forms): the shadow of a VM with several vCPUs is changed by any of their cores.
//! - The window is mapped global and alike in every view, so code in the window runs
//!   on through a switch.
//!
//! Manual: ARM DDI 0406C, B3.10 (TLB), B2.2.9 (caches), A3.5.4 (self-modifying code).

use crate::cp15;
use crate::linear::Linear;
use entresol_abi::HostPhys;

/// A translation table and the address-space identifier of what it maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct View {
    /// TTBR0: table address and walk attributes.
    pub(crate) base: u32,
    /// ASID, never 0.
    pub(crate) asid: u32,
}

/// The translation that is current, which the registers of the core say.
#[derive(Debug)]
pub(crate) struct Current;

impl Current {
    #[inline(always)]
    pub(crate) fn view(&self) -> View {
        View { base: cp15::translation_base(), asid: self.asid() }
    }

    #[inline(always)]
    pub(crate) fn asid(&self) -> u32 {
        cp15::context()
    }
}

/// Makes `view` the current translation.
///
/// B3.10.4: TTBR0 and CONTEXTIDR cannot change together, so the reserved ASID is
/// current in between; nothing but global window entries is used or cached then.
///
/// # Safety
///
/// `view` maps the window as every other view does, and no other address space's
/// translations are tagged with its ASID.
#[inline(always)]
pub(crate) unsafe fn switch(view: View) {
    // SAFETY: the reserved ASID tags nothing, and we run from global entries.
    unsafe { cp15::set_context(0) };
    cp15::isb();
    // SAFETY: by the caller's promise the new table maps the window alike.
    unsafe { cp15::set_translation_base(view.base) };
    cp15::isb();
    // SAFETY: by the caller's promise the ASID belongs to that table.
    unsafe { cp15::set_context(view.asid) };
    cp15::isb();
}

/// The text of [`switch`] for assembly, with the registers of the new view and one to lose:
/// seven instructions, to be used under the same conditions.
macro_rules! switch_text {
    ($base:literal, $asid:literal, $lost:literal) => {
        concat!(
            "mov ",
            $lost,
            ", #0\nmcr p15, 0, ",
            $lost,
            ", c13, c0, 1\nisb\nmcr p15, 0, ",
            $base,
            ", c2, c0, 0\nisb\nmcr p15, 0, ",
            $asid,
            ", c13, c0, 1\nisb"
        )
    };
}

/// The same where nothing but global entries is used up to a return from an exception, which is a
/// context synchronisation, too (glossary): six instructions.
macro_rules! switch_to_return_text {
    ($base:literal, $asid:literal, $lost:literal) => {
        concat!(
            "mov ",
            $lost,
            ", #0\nmcr p15, 0, ",
            $lost,
            ", c13, c0, 1\nisb\nmcr p15, 0, ",
            $base,
            ", c2, c0, 0\nisb\nmcr p15, 0, ",
            $asid,
            ", c13, c0, 1"
        )
    };
}

pub(crate) use {switch_text, switch_to_return_text};

/// Makes stores to translation tables visible to the table walker.
///
/// B3.10.1: entries that were faulting need no invalidation, only this. Tables are
/// written through mappings with the attributes of the walks (`WALK_ATTRIBUTES`), and
/// processors with the Multiprocessing Extensions walk coherently.
#[inline]
pub(crate) fn entries_written() {
    cp15::dsb();
    cp15::isb();
}

/// Forgets the page of `address` in every address space, after its entry was changed.
///
/// B3.10.1 (break before make is implied: the entry is invalid or less permissive).
#[inline]
pub(crate) fn forget_page(address: u32) {
    cp15::dsb();
    // SAFETY: losing a cached translation only costs a walk.
    unsafe { cp15::invalidate_tlb_page(address & !0xfff) };
    complete_forgetting();
}

/// The text of [`forget_page`] for assembly, with the register of the page's address: five
/// instructions.
macro_rules! forget_page_text {
    ($page:literal) => {
        concat!(
            "dsb\nmcr p15, 0, ",
            $page,
            ", c8, c3, 3\nmcr p15, 0, ",
            $page,
            ", c7, c1, 6\ndsb\nisb"
        )
    };
}

pub(crate) use forget_page_text;

/// Forgets all non-global translations tagged `asid`.
#[inline]
pub(crate) fn forget_asid(asid: u32) {
    cp15::dsb();
    // SAFETY: losing a cached translation only costs a walk.
    unsafe { cp15::invalidate_tlb_asid(asid) };
    complete_forgetting();
}

/// Forgets every translation.
#[inline]
pub(crate) fn forget_all() {
    cp15::dsb();
    // SAFETY: losing a cached translation only costs a walk.
    unsafe { cp15::invalidate_tlb(0) };
    complete_forgetting();
}

/// B2.2.9: branch predictions may be tagged by what was mapped; drop them with it.
#[inline]
fn complete_forgetting() {
    // SAFETY: losing predictions costs time only.
    unsafe { cp15::invalidate_branch_predictor(0) };
    cp15::dsb();
    cp15::isb();
}

/// The data-cache lines that hold `[address, address + len)`.
fn lines(address: u32, len: u32) -> impl Iterator<Item = u32> {
    /// The smallest line of the processors supported (CTR.DminLine).
    const LINE: u32 = 32;
    (address & !(LINE - 1)..address + len).step_by(LINE as usize)
}

/// Makes instructions that were stored at `[start, start + len)` the ones fetched.
///
/// A3.5.4: clean to the point of unification, invalidate instruction caches and
/// branch predictions, with barriers between. The whole instruction cache, because
/// the code runs at other virtual addresses than it was written through.
#[inline]
pub(crate) fn instructions_written(start: HostPhys, len: u32) {
    for line in lines(start.0, len) {
        // SAFETY: a clean moves data the caller wrote; the linear view maps it.
        unsafe { cp15::clean_data_line(line) };
    }
    cp15::dsb();
    // SAFETY: losing cached instructions costs time only.
    unsafe { cp15::invalidate_instruction_cache(0) };
    complete_forgetting();
}

/// Makes what was stored at `[address, address + len)` what a core sees that has its caches
/// off, and keeps no copy that would hide what that core stores.
///
/// B2.2.7, B2.2.9: clean and invalidate to the point of coherency, then complete that.
pub(crate) fn for_a_core_without_caches(address: u32, len: u32) {
    cp15::dsb();
    for line in lines(address, len) {
        // SAFETY: writes back what is dirty; the caller's memory is mapped.
        unsafe { cp15::flush_data_line(line) };
    }
    cp15::dsb();
}

/// Drops all cached instructions and branch predictions, for a guest that changed code.
#[inline]
pub(crate) fn forget_instructions() {
    cp15::dsb();
    // SAFETY: losing cached instructions costs time only.
    unsafe { cp15::invalidate_instruction_cache(0) };
    complete_forgetting();
}

/// The text of [`forget_instructions`] for assembly, with a register of any value: five
/// instructions.
macro_rules! forget_instructions_text {
    ($any:literal) => {
        concat!(
            "dsb\nmcr p15, 0, ",
            $any,
            ", c7, c5, 0\nmcr p15, 0, ",
            $any,
            ", c7, c5, 6\ndsb\nisb"
        )
    };
}

pub(crate) use forget_instructions_text;

/// Cleans and invalidates a data-cache line of memory, for a guest.
#[inline]
pub(crate) fn flush_line(_: &Linear<'_>, at: HostPhys) {
    // SAFETY: writes back what is dirty; the linear view maps it.
    unsafe { cp15::flush_data_line(at.0) };
}

/// Drops all branch predictions, for a guest.
#[inline]
pub(crate) fn forget_branches() {
    // SAFETY: losing predictions costs time only.
    unsafe { cp15::invalidate_branch_predictor(0) };
}

/// Cleans and invalidates one set and way of a data cache, for a guest that asked for
/// any operation by set and way: only this one loses nothing of anybody else's.
#[inline]
pub(crate) fn flush_set_way(way: u32) {
    // SAFETY: writes back what is dirty.
    unsafe { cp15::flush_set_way(way) };
}

/// Sets which domains may be used. B3.7.3: takes effect after the barrier.
///
/// # Safety
///
/// The window's domain stays a client.
#[inline]
pub(crate) unsafe fn set_domains(dacr: u32) {
    // SAFETY: the caller's promise.
    unsafe { cp15::set_domain_access(dacr) };
    cp15::isb();
}
