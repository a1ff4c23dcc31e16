//! Drivers of the machine's GIC, timers and UARTs.
//!
//! Each is a typed register block at an address the caller vouches for, and does what
//! the hypervisor needs, no more. Nothing here decides anything: policy is
//! `entresol-hv`'s, whose [`entresol_hv::console::Serial`] the UARTs implement. The
//! generic timer is not here, because it is reached by coprocessor.
//!
//! All accesses to registers go through [`mmio`]. The crate compiles for the host, where
//! tests put a block of plain memory behind a driver.

#![cfg_attr(not(test), no_std)]

pub mod cadence;
pub mod gic;
pub mod mmio;
pub mod pl011;
pub mod timer;
pub mod uart;
