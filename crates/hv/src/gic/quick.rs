//! What the entry code does by itself of a guest's accesses to `GICC_IAR` and `GICC_EOIR`.
//!
//! Both are a change of a few words where no other interrupt has a say in it. Which words is told
//! here, to the assembly as offsets in a [`Gic`] and to the tests as code, which show that it is
//! what the model does.
//!
//! - *Acknowledge.* [`BEST`] is what is read. If it is [`SPURIOUS`](super::SPURIOUS) nothing changes. Else,
//!   if the first of [`QUICK`] is not 0, that goes to [`ACTIVE`], the second to [`PRIORITIES`]; nothing
//!   is in [`DELIVERABLE`] any more, and so [`INPUTS`], [`FIRST`] and [`BEST`] say that nothing is.
//! - *End.* If [`FIRST`] says that nothing is deliverable, [`PRIORITIES`] has something in its first
//!   word and nothing in the second, [`CONTROL`] does not split ends, and the interrupt, one of the first
//!   32, is not in [`LATCHED`] or [`LINE`]: it leaves [`ACTIVE`], and the lowest bit of
//!   [`PRIORITIES`] goes.

use super::Gic;
use super::distributor::Distributor;
use super::interface::{self, Interface};
use core::mem::offset_of;

const DISTRIBUTOR: usize = offset_of!(Gic, distributor);

/// The vCPU's inputs, [`FIRST`] and [`BEST`], in this order.
pub const INPUTS: usize = offset_of!(Gic, inputs);
/// The most urgent deliverable interrupt; all bits set if there is none.
pub const FIRST: usize = offset_of!(Gic, first);
/// What would be acknowledged now.
pub const BEST: usize = offset_of!(Gic, best);
/// The bit of that and of its priority.
pub const QUICK: usize = offset_of!(Gic, quick);
/// Active priorities of group 0 and of group 1.
pub const PRIORITIES: usize = offset_of!(Gic, interface) + offset_of!(Interface, active);
/// `GICC_CTLR`.
pub const CONTROL: usize = offset_of!(Gic, interface) + offset_of!(Interface, control);
/// In that: ends are split.
pub const SPLIT: u32 = interface::EOI_MODE;
/// The first word of the interrupts that are active.
pub const ACTIVE: usize = DISTRIBUTOR + offset_of!(Distributor, active);
/// Of those that are deliverable.
pub const DELIVERABLE: usize = DISTRIBUTOR + offset_of!(Distributor, deliverable);
/// Of those that are latched.
pub const LATCHED: usize = DISTRIBUTOR + offset_of!(Distributor, latched);
/// Of those whose line is high.
pub const LINE: usize = DISTRIBUTOR + offset_of!(Distributor, line);

const _: () = assert!(INPUTS == 0 && FIRST == 4 && BEST == 8);
