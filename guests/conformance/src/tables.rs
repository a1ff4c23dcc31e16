//! The kernel's translation table: everything at its physical address.
//!
//! The image's megabyte is mapped by pages so that the pages of code and scratch can
//! belong to PL0 too, and those of the image to PL1 only.

use crate::harness;
use core::ptr;
use entresol_guest::translation::{self, Access, Level1, Level2};
use entresol_guest::{board, cp15};

static mut TABLE: Level1 = Level1::new();
static mut IMAGE: Level2 = Level2::new();

/// Domain of every mapping of the kernel.
pub(crate) const KERNEL_DOMAIN: u32 = 0;

/// Builds the table and turns the MMU on.
pub(crate) fn turn_on() {
    // SAFETY: users follow each other: this, and those of `with`.
    let table = unsafe { &mut *ptr::addr_of_mut!(TABLE) };
    // SAFETY: as above.
    let image = unsafe { &mut *ptr::addr_of_mut!(IMAGE) };
    for page in (board::MEMORY..board::MEMORY + 0x10_0000).step_by(0x1000) {
        image.page(page, page, Access::KERNEL);
    }
    for shared in [harness::code_address(), harness::scratch_address()] {
        image.page(shared, shared, Access { ap: 0b011, ..Access::KERNEL });
    }
    table.table(board::MEMORY, image, KERNEL_DOMAIN);
    for device in [board::UART, board::GIC_DISTRIBUTOR, board::GIC_CPU] {
        table.section(device, device, Access::DEVICE);
    }
    // SAFETY: the table maps the image and its devices.
    unsafe { translation::enable(table, 1) }
}

/// Turns the MMU off.
pub(crate) fn turn_off() {
    // SAFETY: the table maps the image and its devices at their physical addresses.
    unsafe { cp15::sctlr::write(cp15::sctlr::read() & !1) }
    cp15::isb();
    translation::invalidate_all();
}

/// Changes the table.
pub(crate) fn with(change: impl FnOnce(&mut Level1)) {
    // SAFETY: `change` cannot reach this function again: it gets the table itself.
    change(unsafe { &mut *ptr::addr_of_mut!(TABLE) });
    translation::invalidate_all();
}
