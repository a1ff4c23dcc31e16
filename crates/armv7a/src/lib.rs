//! ARMv7-A: the only crate that executes privileged instructions on AArch32.
//!
//! Runs guests in User mode by the policy of `hv` and the processor of `vcpu`.
//!
//! # Modules, from the machine up
//!
//! - [`boot`], [`entry`], [`fast`], [`guarded`]: assembly. [`cp15`], [`float`], [`identity`], [`timer`]:
//!   registers. [`maintenance`]: every sequence of barriers, TLB and cache operations.
//! - [`translation`]: descriptors. [`linear`]: memory by physical address. [`memory`]: whose
//!   address is whose.
//! - [`shadow`], with [`tables`] and [`pages`]: shadow translation. [`code`]: pages of guest
//!   code.
//! - [`guest`], [`hypervisor`]: VMs, and who runs. [`interrupts`], [`restore`], [`setup`]:
//!   the rest of their lives. [`siblings`]: vCPUs of one VM on several cores. [`trap`], [`emulate`], [`effect`], [`device`], [`call`]: what
//!   traps mean.

#![cfg_attr(not(test), no_std)]
#![cfg(target_arch = "arm")]
#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "usize is 32 bits here: addresses and numbers are one size"
)]
#![allow(
    clippy::indexing_slicing,
    reason = "indices are taken modulo the length, which costs no check"
)]

mod blocks;
pub mod boot;
mod call;
mod code;
mod consoles;
mod control;
pub mod cores;
pub mod cp15;
mod device;
mod effect;
mod emulate;
mod entry;
pub mod exclusive;
mod express;
mod fast;
mod float;
mod guarded;
mod guest;
mod hypervisor;
mod identity;
mod interrupts;
mod linear;
mod locks;
mod maintenance;
mod memory;
mod pages;
mod passthrough;
mod pools;
mod promote;
mod restore;
mod setup;
mod shadow;
mod siblings;
mod stubs;
mod tables;
pub mod timer;
mod translation;
mod trap;
mod work;

pub use express::Wires;
pub use hypervisor::halt;
pub use setup::{Setup, start};
