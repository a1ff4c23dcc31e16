//! Policy without an architecture: VMs, scheduler, device models, health.
//!
//! Everything here is state and decisions. Nothing here touches a register of the
//! machine, knows an instruction set, or allocates: the layers below call in with the
//! count of the machine's counter (`now`) and with what the guest did, and act on the
//! answer. So all of it is tested on the host.
//!
//! # Modules
//!
//! - [`board`]: the virtual board a guest sees, made of [`gic`], [`pl011`], [`pl031`]
//!   and [`timer`], which speak [`bus`].
//! - [`promises`]: what a VM said that it would have done by when.
//! - [`clock`]: the time a VM sees.
//! - [`scheduler`]: which vCPU runs.
//! - [`console`]: how VMs share one serial line without waiting for it.
//! - [`link`]: how the consoles of other cores reach that line.
//! - [`locks`]: who waits for whom, where VMs share locks.
//! - [`hypercall`]: what a guest's call asks for, or why it is refused.
//! - [`quotient`](mod@quotient): division of double words.
//! - [`siblings`]: what the vCPUs of one VM on several cores tell each other.
//! - [`sentence`]: text with places for values, for [`health`].
//! - [`health`]: what ended a VM's run, said in one sentence, and what to do then.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod board;
pub mod bus;
pub mod clock;
pub mod console;
pub mod gic;
pub mod health;
pub mod hypercall;
pub mod link;
pub mod locks;
pub mod pl011;
pub mod pl031;
pub mod platform;
pub mod promises;
pub mod quotient;
pub mod scheduler;
pub mod sentence;
pub mod siblings;
pub mod sp805;
pub mod timer;

/// The moment that does not come: the deadline of what has none.
pub const NEVER: u64 = u64::MAX;
