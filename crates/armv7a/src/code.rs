//! Pages of guest code: scanned before they run, given back when they are written.
//!
//! What is sensitive is `isa`'s and `rewrite`'s business; which mappings must go is
//! [`shadow`](crate::shadow)'s. Here the two meet in the guest's memory.
//!
//! # Invariants
//!
//! - A page gets code only with no writable mapping of it left, and data only with no
//!   executable one; open pages have both, and are taken back when the guest says that it
//!   wrote code.
//! - What was replaced is restored exactly: from the sites, not by decoding.
//! - Isolation does not depend on any of this: code that was not replaced runs in User
//!   mode and merely does not do what its guest wants.

use crate::linear::Linear;
use crate::maintenance;
use crate::pages::{self, Site};
use crate::shadow::Shadow;
use entresol_abi::{GuestPhys, HostPhys};
use entresol_hv::health::Pool;
use entresol_isa::op::InstructionSet;
use entresol_isa::trapword;
use entresol_rewrite::{Found, Width};

/// Most instructions of a page.
const MOST: usize = 2048;

/// Stands in for the first half of a sensitive T32 instruction whose second half is on the
/// next page: permanently undefined, and with a site only at [`LAST_HALF`].
pub(crate) const STRADDLING: u16 = 0xded4;

/// Offset of the last halfword of a page.
pub(crate) const LAST_HALF: u32 = 0xffe;

/// Makes the page of `at` code without a look at it, if it was rewritten ahead of time and runs
/// where it is linked to run; says whether that is so.
///
/// A page keeps this when the guest writes to it, because kernels patch all of their text as
/// they start. A page of the kernel that is used for other code later (a module, a copy) is
/// run at another address, and so is scanned. What a guest writes itself into such a page, at
/// its own address, and is sensitive, is not found: the guest said that it does not do so.
pub(crate) fn trust(
    shadow: &mut Shadow,
    linear: &mut Linear<'_>,
    at: GuestPhys,
    address: u32,
    set: InstructionSet,
) -> bool {
    let bit = match set {
        InstructionSet::A32 => 1,
        // The first T32 page changes how all pages are scanned.
        InstructionSet::T32 => u32::from(shadow.mixed) << 1,
    };
    let known = |run: u32| {
        let run = shadow.rewritten.at(run).0;
        let word = |n: u32| linear.load::<u32>(HostPhys(run + n * 4));
        let offset = at.0.wrapping_sub(word(0));
        let home = address == at.0 || address.wrapping_sub(word(2)) == offset;
        offset < word(1) && home && word(3) & bit != 0
    };
    let Some(page) = shadow.memory.page(at) else { return false };
    if !(0..shadow.rewritten.count()).any(known) || shadow.pages.is_hot(linear, page) {
        return false;
    }
    if !shadow.pages.is_code(linear, page) {
        shadow.becomes_code(linear, page);
    }
    shadow.pages.set_code(linear, page, InstructionSet::A32);
    shadow.pages.set_code(linear, page, InstructionSet::T32);
    true
}

/// Makes the page of `at` code: scans it as entered at `at` and replaces what is
/// sensitive.
pub(crate) fn scan(
    shadow: &mut Shadow,
    linear: &mut Linear<'_>,
    at: GuestPhys,
    set: InstructionSet,
) {
    let Some(page) = shadow.memory.page(at) else { return };
    if set == InstructionSet::T32 && !shadow.mixed {
        // From now on pages are scanned for both; those that were not are not executable.
        shadow.mixed = true;
        if shadow.stubs.hole() != 0 {
            shadow.lose_hole(linear);
        }
        shadow.drop_all(linear);
    }
    if !shadow.pages.is_code(linear, page) {
        shadow.becomes_code(linear, page);
    } else if shadow.peer().is_some() {
        // The other vCPU must not run what is replaced only in half.
        shadow.drop_critical(linear, page);
    }
    // A branch to a stub would hide from the scan what is behind it.
    shadow.demote_page(linear, page);
    let entry = (at.0 & 0xfff) as u16;
    replace(shadow, linear, page, set, entry, set);
    if shadow.mixed {
        let other = match set {
            InstructionSet::A32 => InstructionSet::T32,
            InstructionSet::T32 => InstructionSet::A32,
        };
        if !shadow.pages.scanned(linear, page, other) {
            replace(shadow, linear, page, other, entry, set);
        }
    }
    if shadow.pages.is_hot(linear, page) {
        open(shadow, linear, at);
    }
    maintenance::instructions_written(shadow.memory.page_at(page), 0x1000);
}

/// Replaces what is sensitive in one instruction set, in a page entered at `entry` in
/// `entered`.
fn replace(
    shadow: &mut Shadow,
    linear: &mut Linear<'_>,
    page: u32,
    set: InstructionSet,
    entry: u16,
    entered: InstructionSet,
) {
    let host = shadow.memory.page_at(page);
    // In one pass: passes over a page full of sensitive words would add up.
    let mut planned = [0; MOST];
    let mut count = 0;
    let mut straddles = false;
    let found: &mut dyn FnMut(Found) = &mut |found| match (found, planned.get_mut(count)) {
        (Found::Replace(site), Some(slot)) => {
            *slot = pages::place(u32::from(site.offset), site.width);
            count += 1;
        }
        (Found::Straddles { .. }, _) => straddles = true,
        _ => {}
    };
    if set == entered {
        entresol_rewrite::scan(linear.page(host), entry, set, found);
    } else {
        entresol_rewrite::scan_other(linear.page(host), entry, entered, found);
    }
    for place in planned.iter().take(count) {
        let Site { offset, width, .. } = pages::unplace(*place, 0);
        let original = read(linear, host, offset, width);
        let Some(replacement) = encode(original, width) else { continue };
        if !note(shadow, linear, page, Site { offset, width, original }) {
            break;
        }
        write(linear, host, offset, width, replacement);
    }
    if straddles {
        replace_straddling(shadow, linear, page);
    }
    shadow.pages.set_code(linear, page, set);
}

/// Replaces the first half of the instruction that goes on in the next page, if with what
/// is there it is sensitive.
fn replace_straddling(shadow: &mut Shadow, linear: &mut Linear<'_>, page: u32) {
    let host = shadow.memory.page_at(page);
    let Some(next) = Some(page + 1).filter(|next| *next < shadow.memory.pages()) else { return };
    let first: u16 = linear.load(HostPhys(host.0 + LAST_HALF));
    let second: u16 = linear.load(shadow.memory.page_at(next));
    if trapword::encode_wide(u32::from(first) << 16 | u32::from(second)).is_some() {
        let site = Site { offset: LAST_HALF, width: Width::Narrow, original: first.into() };
        if note(shadow, linear, page, site) {
            write(linear, host, LAST_HALF, Width::Narrow, STRADDLING.into());
        }
    }
}

/// Notes a site, making room if there is none.
fn note(shadow: &mut Shadow, linear: &mut Linear<'_>, page: u32, site: Site) -> bool {
    shadow.pages.add_site(linear, page, site) || {
        make_room(shadow, linear, page);
        shadow.pages.add_site(linear, page, site)
    }
}

/// Makes the page of `at` data again: restores the guest's own words.
pub(crate) fn take_back(shadow: &mut Shadow, linear: &mut Linear<'_>, at: GuestPhys) {
    if let Some(page) = shadow.memory.page(at) {
        shadow.pages.written(linear, page);
        take_page_back(shadow, linear, page);
    }
}

fn take_page_back(shadow: &mut Shadow, linear: &mut Linear<'_>, page: u32) {
    let host = shadow.memory.page_at(page);
    shadow.drop_critical(linear, page);
    restore(shadow, linear, page);
    for slot in &mut shadow.open {
        if *slot == Some(page) {
            *slot = None;
        }
    }
    shadow.count_open();
    shadow.pages.set_data(linear, page);
    maintenance::instructions_written(host, 0x1000);
}

/// Restores the guest's own words, except where it wrote since.
fn restore(shadow: &mut Shadow, linear: &mut Linear<'_>, page: u32) {
    shadow.demote_page(linear, page);
    let host = shadow.memory.page_at(page);
    let open = shadow.pages.is_open(linear, page);
    while let Some(site) = shadow.pages.take_site(linear, page) {
        if !open || holds_replacement(linear, host, site) {
            write(linear, host, site.offset, site.width, site.original);
        } else if site.width == Width::Wide {
            // The guest may have written the first half only: a breakpoint, or its own half
            // again. No instruction of an ARMv7-A processor has the second half of a trap word.
            let at = HostPhys(host.0 + site.offset + 2);
            let replacement = encode(site.original, site.width).unwrap_or(0) as u16;
            if linear.load::<u16>(at) == replacement {
                linear.store(at, site.original as u16);
            }
        }
    }
}

/// The guest's own first half of the instruction at `at`, if that was replaced because it
/// goes on in the next page.
pub(crate) fn straddling(shadow: &Shadow, linear: &Linear<'_>, at: GuestPhys) -> Option<u16> {
    let page = shadow.memory.page(at).filter(|_| at.0 & 0xfff == LAST_HALF)?;
    shadow.pages.original_at(linear, page, LAST_HALF).map(|half| half as u16)
}

/// Restores such a half: with what the next page holds now it is not sensitive.
pub(crate) fn forget_straddling(shadow: &mut Shadow, linear: &mut Linear<'_>, at: GuestPhys) {
    if let (Some(page), Some(first)) = (shadow.memory.page(at), straddling(shadow, linear, at)) {
        let host = shadow.memory.page_at(page);
        write(linear, host, LAST_HALF, Width::Narrow, first.into());
        maintenance::instructions_written(HostPhys(host.0 + 0xfe0), 32);
    }
}

/// Whether a site still holds what it was replaced by. Only the first half of a straddling
/// instruction has no trap word of its own.
fn holds_replacement(linear: &Linear<'_>, page: HostPhys, site: Site) -> bool {
    let replacement = encode(site.original, site.width).unwrap_or(STRADDLING.into());
    read(linear, page, site.offset, site.width) == replacement
}

/// Opens the page of code of `at`: it may be written and run. What the guest writes there
/// takes effect as code when it maintains its instruction cache, which [`close`]s the page;
/// it must before it runs that (ARM DDI 0406C, A3.5.4).
///
/// For pages whose code stores to them in ways that are not emulated, and for those that
/// would change between code and data all the time.
pub(crate) fn open(shadow: &mut Shadow, linear: &mut Linear<'_>, at: GuestPhys) {
    let Some(page) = shadow.memory.page(at) else { return };
    if !shadow.pages.is_code(linear, page) || shadow.pages.is_open(linear, page) {
        return;
    }
    shadow.demote_page(linear, page);
    if shadow.open.iter().all(Option::is_some) {
        if let Some(oldest) = shadow.open.first_mut().and_then(Option::take) {
            take_page_back(shadow, linear, oldest);
            // Else more hot pages than places would drive each other out for ever.
            shadow.pages.cool(linear, oldest);
        }
        let [_, b, c, d] = shadow.open;
        shadow.open = [b, c, d, None];
    }
    if let Some(slot) = shadow.open.iter_mut().find(|slot| slot.is_none()) {
        *slot = Some(page);
    }
    shadow.count_open();
    shadow.pages.set_open(linear, page);
    // Its entry is to be filled anew.
    shadow.drop_critical(linear, page);
}

/// Takes open pages back, because the guest maintains its instruction cache: all of them, or
/// the page of `only`. A guest that patches its code word by word maintains it as often.
#[inline]
pub(crate) fn close(shadow: &mut Shadow, linear: &mut Linear<'_>, only: Option<GuestPhys>) {
    let only = only.map(|at| shadow.memory.page(at));
    for slot in 0..shadow.open.len() {
        let Some(slot) = shadow.open.get_mut(slot) else { continue };
        if only.is_none_or(|only| only == *slot)
            && let Some(page) = slot.take()
        {
            take_page_back(shadow, linear, page);
            // It was written often and may never be again: let it prove itself anew.
            shadow.pages.cool(linear, page);
        }
    }
}

/// Stores to a page of code for the guest, in place: what was replaced stays replaced, and
/// what is sensitive now is replaced too. For stores that cannot wait until the page
/// is data, because the storing instruction is on it. A page that sees many is opened.
pub(crate) fn store(
    shadow: &mut Shadow,
    linear: &mut Linear<'_>,
    at: GuestPhys,
    bytes: u32,
    value: u32,
    entry: (GuestPhys, InstructionSet),
) {
    let Some(page) = shadow.memory.page(at) else { return };
    let host = shadow.memory.page_at(page);
    let offset = at.0 & 0xfff;
    let sites = shadow.pages.has_site_in(linear, page, offset & !3, 4);
    if !sites
        && !shadow.pages.scanned(linear, page, InstructionSet::T32)
        && offset & 3 == 0
        && bytes == 4
        && trapword::encode_a32(value).is_none()
    {
        linear.store(HostPhys(host.0 + offset), value);
    } else {
        shadow.pages.written(linear, page);
        if shadow.peer().is_some() {
            // The other vCPU must not run what is restored meanwhile.
            shadow.drop_critical(linear, page);
        }
        restore(shadow, linear, page);
        for byte in 0..bytes.min(0x1000 - offset) {
            linear.store(HostPhys(host.0 + offset + byte), (value >> (byte * 8)) as u8);
        }
        scan(shadow, linear, entry.0, entry.1);
    }
    maintenance::instructions_written(HostPhys(host.0 + (offset & !31)), 32);
}

/// Takes another page of code back, so that its sites are free.
fn make_room(shadow: &mut Shadow, linear: &mut Linear<'_>, but: u32) {
    shadow.found_full(Pool::Sites);
    if let Some(page) = shadow.pages.next_with_sites(linear, but) {
        take_page_back(shadow, linear, page);
    }
}

/// Writes an instruction as it is stored in memory.
pub(crate) fn write(linear: &mut Linear<'_>, page: HostPhys, offset: u32, width: Width, word: u32) {
    let at = HostPhys(page.0 + offset);
    match width {
        Width::Word => linear.store(at, word),
        Width::Narrow => linear.store(at, word as u16),
        Width::Wide => {
            linear.store(at, (word >> 16) as u16);
            linear.store(HostPhys(at.0 + 2), word as u16);
        }
    }
}

/// Reads an instruction as it is stored in memory.
pub(crate) fn read(linear: &Linear<'_>, page: HostPhys, offset: u32, width: Width) -> u32 {
    let half = |at: u32| u32::from(linear.load::<u16>(HostPhys(at)));
    let at = page.0 + offset;
    match width {
        Width::Word => linear.load(HostPhys(at)),
        Width::Narrow => half(at),
        Width::Wide => half(at) << 16 | half(at + 2),
    }
}

/// The trap word of a sensitive instruction.
pub(crate) fn encode(original: u32, width: Width) -> Option<u32> {
    match width {
        Width::Word => trapword::encode_a32(original),
        Width::Narrow => trapword::encode_narrow(original as u16).map(u32::from),
        Width::Wide => trapword::encode_wide(original),
    }
}

/// What a trap word of 32 bits stands for.
pub(crate) fn decode(word: u32, width: Width) -> Option<u32> {
    if width == Width::Word { trapword::decode_a32(word) } else { trapword::decode_wide(word) }
}
