//! Pages of guest code: scanned before they run, given back when they are written.
//!
//! What is sensitive is `isa`'s and `rewrite`'s business; which mappings must go is
//! [`shadow`](crate::shadow)'s. Here the two meet in the guest's memory.
//!
//! # Invariants
//!
//! - A page gets code only with no writable mapping of it left, and data only with no
//!   executable one.
//! - What was replaced is restored exactly: from the sites, not by decoding.

use crate::linear::Linear;
use crate::maintenance;
use crate::pages::Site;
use crate::shadow::Shadow;
use entresol_abi::{GuestPhys, HostPhys};
use entresol_hv::health::Pool;
use entresol_isa::op::InstructionSet;
use entresol_isa::trapword;
use entresol_rewrite::{Found, Width};

/// Replacements planned at a time. A page with more is scanned again.
const BATCH: usize = 64;

/// Makes the page of `at` code: scans it as entered at `at` and replaces what is
/// sensitive.
pub(crate) fn scan(
    shadow: &mut Shadow,
    linear: &mut Linear<'_>,
    at: GuestPhys,
    set: InstructionSet,
) {
    let Some(page) = shadow.memory.page(at) else { return };
    if !shadow.pages.is_code(linear, page) {
        shadow.becomes_code(linear, page);
    }
    let host = shadow.memory.page_at(page);
    let entry = (at.0 & 0xfff) as u16;
    // A page has at most 2048 instructions.
    for _ in 0..2048 / BATCH {
        let mut batch = [None; BATCH];
        let mut count = 0;
        entresol_rewrite::scan(linear.page(host), entry, set, |found| {
            if let (Found::Replace(site), Some(slot)) = (found, batch.get_mut(count)) {
                *slot = Some(site);
                count += 1;
            }
        });
        for site in batch.iter().take(count).flatten() {
            let noted =
                Site { offset: u32::from(site.offset), width: site.width, original: site.original };
            if !shadow.pages.add_site(linear, page, noted) {
                make_room(shadow, linear, page);
                if !shadow.pages.add_site(linear, page, noted) {
                    break;
                }
            }
            write(linear, host, noted.offset, site.width, site.replacement);
        }
        if count < BATCH {
            break;
        }
    }
    shadow.pages.set_code(linear, page, set);
    maintenance::instructions_written(host, 0x1000);
}

/// Makes the page of `at` data again: restores the guest's own words.
pub(crate) fn take_back(shadow: &mut Shadow, linear: &mut Linear<'_>, at: GuestPhys) {
    if let Some(page) = shadow.memory.page(at) {
        take_page_back(shadow, linear, page);
    }
}

fn take_page_back(shadow: &mut Shadow, linear: &mut Linear<'_>, page: u32) {
    let host = shadow.memory.page_at(page);
    shadow.drop_critical(linear, page);
    while let Some(site) = shadow.pages.take_site(linear, page) {
        write(linear, host, site.offset, site.width, site.original);
    }
    shadow.pages.set_data(linear, page);
    maintenance::instructions_written(host, 0x1000);
}

/// Stores to a page of code for the guest, in place: what was replaced stays replaced, and
/// what is sensitive now is replaced too. For stores that cannot wait until the page
/// is data, because the storing instruction is on it.
pub(crate) fn store(
    shadow: &mut Shadow,
    linear: &mut Linear<'_>,
    at: GuestPhys,
    bytes: u32,
    value: u32,
    entry: Option<(GuestPhys, InstructionSet)>,
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
        while let Some(site) = shadow.pages.take_site(linear, page) {
            write(linear, host, site.offset, site.width, site.original);
        }
        for byte in 0..bytes.min(0x1000 - offset) {
            linear.store(HostPhys(host.0 + offset + byte), (value >> (byte * 8)) as u8);
        }
        let (entry, set) = entry.unwrap_or((at, InstructionSet::A32));
        scan(shadow, linear, entry, set);
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
fn write(linear: &mut Linear<'_>, page: HostPhys, offset: u32, width: Width, word: u32) {
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
