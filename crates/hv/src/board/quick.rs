//! What the entry code does by itself when a guest turns a timer off or on.
//!
//! As [`gic::quick`](crate::gic::quick) for the interrupt controller: told to the assembly as offsets in
//! a [`Board`], and to the tests as code.
//!
//! - *Off*, or masked. If it was on, its line is in [`DRIVEN`], and its interrupt is active: its line is no more
//!   in [`DRIVEN`] and in the interrupt controller, where that changes nothing else. The deadline
//!   is not its.
//! - *On.* If it was off, and the other is off, real time is counted, missed ticks are not caught up, and
//!   [`OTHERS`] and [`DEADLINE`] are [`NEVER`](crate::NEVER): if its compare value is not
//!   reached, that is the [`DEADLINE`], which is [`ONLY`] its.

use super::{Board, Only};
use core::mem::offset_of;

/// How the lines are driven, a bit each.
pub const DRIVEN: usize = offset_of!(Board, driven);
/// What comes first of all but the timers.
pub const OTHERS: usize = offset_of!(Board, others);
/// The deadline.
pub const DEADLINE: usize = offset_of!(Board, deadline);
/// What that is of, a byte.
pub const ONLY: usize = offset_of!(Board, only);
/// The physical timer alone.
#[expect(clippy::as_conversions, reason = "an enum's number")]
pub const ONLY_PHYSICAL: u8 = Only::Physical as u8;
/// The virtual timer alone.
#[expect(clippy::as_conversions, reason = "an enum's number")]
pub const ONLY_VIRTUAL: u8 = Only::Virtual as u8;
