//! The GICv2.
//!
//! # Manuals
//!
//! ARM IHI 0048B, chapter 4.

use crate::board::{GIC_CPU, GIC_DISTRIBUTOR};
use core::ptr::with_exposed_provenance_mut;

/// Interrupt number that means "none".
pub const SPURIOUS: u32 = 1023;

const GICD_CTLR: usize = GIC_DISTRIBUTOR;
const GICD_TYPER: usize = GIC_DISTRIBUTOR + 0x4;
const GICD_IGROUPR: usize = GIC_DISTRIBUTOR + 0x80;
const GICD_ISENABLER: usize = GIC_DISTRIBUTOR + 0x100;
const GICD_ICENABLER: usize = GIC_DISTRIBUTOR + 0x180;
const GICD_ICPENDR: usize = GIC_DISTRIBUTOR + 0x280;
const GICD_ICACTIVER: usize = GIC_DISTRIBUTOR + 0x380;
const GICD_IPRIORITYR: usize = GIC_DISTRIBUTOR + 0x400;
const GICD_ICFGR: usize = GIC_DISTRIBUTOR + 0xc00;
const GICD_SGIR: usize = GIC_DISTRIBUTOR + 0xf00;
const GICD_CPENDSGIR: usize = GIC_DISTRIBUTOR + 0xf10;
const GICC_CTLR: usize = GIC_CPU;
const GICC_PMR: usize = GIC_CPU + 0x4;
const GICC_IAR: usize = GIC_CPU + 0xc;
const GICC_EOIR: usize = GIC_CPU + 0x10;

/// Turns distributor and CPU interface on, with every interrupt in group 0,
/// level-sensitive, disabled, and neither pending nor active.
pub fn init() {
    // GICD_TYPER.ITLinesNumber: how many times 32 interrupts, less one.
    let words = (read(GICD_TYPER) as usize & 0x1f) + 1;
    for offset in (0..words * 4).step_by(4) {
        write(GICD_IGROUPR + offset, 0);
        write(GICD_ICENABLER + offset, u32::MAX);
        write(GICD_ICPENDR + offset, u32::MAX);
        write(GICD_ICACTIVER + offset, u32::MAX);
        write(GICD_ICFGR + offset * 2, 0);
        write(GICD_ICFGR + offset * 2 + 4, 0);
    }
    for offset in (0..16).step_by(4) {
        write(GICD_CPENDSGIR + offset, u32::MAX);
    }
    write(GICD_CTLR, 1);
    init_interface();
}

/// Turns the CPU interface on: what a second processor has to do.
pub fn init_interface() {
    write(GICC_PMR, 0xf0);
    write(GICC_CTLR, 1);
}

/// Enables an interrupt, at the middle priority.
pub fn enable(interrupt: u32) {
    let address = with_exposed_provenance_mut::<u8>(GICD_IPRIORITYR + interrupt as usize);
    // SAFETY: the board has a GIC there; priorities have byte access.
    unsafe { address.write_volatile(0x80) }
    write(GICD_ISENABLER + (interrupt as usize / 32) * 4, 1 << (interrupt % 32));
}

/// Disables an interrupt.
pub fn disable(interrupt: u32) {
    write(GICD_ICENABLER + (interrupt as usize / 32) * 4, 1 << (interrupt % 32));
}

/// Lets interrupts of group 0, which is all of them after [`init`], come as fast interrupts,
/// or as ordinary ones again.
pub fn deliver_as_fiq(fast: bool) {
    // GICC_CTLR: EnableGrp0, FIQEn.
    write(GICC_CTLR, if fast { 1 | 1 << 3 } else { 1 });
}

/// Sends a software generated interrupt (0 to 15) to this processor.
pub fn send_to_self(interrupt: u32) {
    write(GICD_SGIR, (0b10 << 24) | interrupt);
}

/// Sends a software generated interrupt (0 to 15) to the processors of `targets`, a bit each.
pub fn send(targets: u32, interrupt: u32) {
    write(GICD_SGIR, (targets << 16) | interrupt);
}

/// Takes the most urgent pending interrupt: its acknowledge word, [`SPURIOUS`] if none.
#[must_use]
pub fn acknowledge() -> u32 {
    read(GICC_IAR)
}

/// Ends what [`acknowledge`] took.
pub fn end(acknowledged: u32) {
    write(GICC_EOIR, acknowledged);
}

fn read(register: usize) -> u32 {
    let address = with_exposed_provenance_mut::<u32>(register);
    // SAFETY: the board has a GIC there, and its registers are not memory of Rust's.
    unsafe { address.read_volatile() }
}

fn write(register: usize, value: u32) {
    let address = with_exposed_provenance_mut::<u32>(register);
    // SAFETY: the board has a GIC there, and its registers are not memory of Rust's.
    unsafe { address.write_volatile(value) }
}
