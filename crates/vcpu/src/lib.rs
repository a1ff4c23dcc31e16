//! A guest's ARMv7-A processor as pure state.
//!
//! Modes and banks, exceptions, system registers, the instructions that must be
//! emulated, and the walk of the guest's own translation tables. No access to
//! the machine: what must happen there is returned to the caller as a value, so
//! that everything here is tested on the host.
//!
//! Manual: ARM DDI 0406C (ARMv7-A and ARMv7-R), cited by section.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod cp15;
pub mod exception;
mod execute;
pub mod fault;
pub mod memory;
pub mod mode;
pub mod outcome;
pub mod permission;
mod shift;
pub mod state;
pub mod transfer;
pub mod walk;

pub use cp15::{Cp15, Identity, Raw, Timer};
pub use exception::{Exception, advance_it, it_condition};
pub use execute::Machine;
pub use fault::{Cause, WalkFault, fsr};
pub use memory::{Abort, Memory};
pub use mode::{Mode, bank, psr};
pub use outcome::{CacheOp, Context, Effect, Outcome, TlbOp, Translate};
pub use permission::{Permissions, Purpose, check, permissions};
pub use state::{Bank, Vcpu, Vfp};
pub use walk::{Attributes, GuestPhys, Mapping, Size, translate};
