//! Writes what is sensitive into a page that the hypervisor may have been told to trust.
//!
//! With `scan = "off"` the pages of a guest that was rewritten ahead of time run unseen, also
//! after the guest wrote to them. What it writes there runs in User mode as it stands: that
//! may not do what the guest wants, but must harm nobody else.

use crate::arena::{self, SVC, UNDEFINED};
use crate::encoding;
use core::arch::naked_asm;
use entresol_guest::{cp15, print};

/// Bytes of a page.
const PAGE: usize = 0x1000;

/// Two pages of code of this guest, one of which begins at a page.
#[unsafe(naked)]
unsafe extern "C" fn pages() {
    naked_asm!(".rept 2048", ".inst 0xe7f5def5", ".endr")
}

/// Every kind of instruction, in the first whole page of them.
pub(crate) fn page() {
    arena::prepare();
    arena::mmu_on();
    let page = (pages as *const () as usize).next_multiple_of(PAGE);
    // mrs r0, cpsr: in User mode it shows User mode.
    for (index, word) in [0xe10f_0000, UNDEFINED].into_iter().enumerate() {
        arena::put(page + index * 4, word);
    }
    cp15::code_written(page, 8);
    let found = arena::run(&arena::state(SVC, page));
    print!("unscanned={} ", u32::from(found.r[0] & 0xf == 0));
    encoding::a32_at(page);
}
