//! The binary contract between the host tools, the hypervisor and its guests.
//!
//! This crate holds layouts and numbers, and the checks of a layout. It does not
//! compute a layout (that is `entresol-image`) and acts on nothing.
//!
//! # Modules
//!
//! - [`image`]: the tables at the start of a bootable image.
//! - [`window`]: where the hypervisor lives in every address space.
//! - [`console`]: how the consoles of all VMs share one serial line.
//! - [`health`]: what can befall a VM.
//! - [`hypercall`]: what a guest may ask by `HVC`.
//! - [`observe`]: counters that the host reads from the machine's memory.
//! - [`note`]: the version of all this, in the hypervisor's ELF file.
//!
//! # Changing this crate
//!
//! Every type that crosses the boundary is `repr(C)`, free of padding, and pinned
//! in size by an assertion. A change that moves a byte increments
//! [`image::ABI_VERSION`].

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod console;
pub mod control;
pub mod health;
pub mod hypercall;
pub mod image;
pub mod lock;
pub mod note;
pub mod observe;
pub mod timer;
pub mod window;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A guest physical address: what the guest believes is physical memory.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(transparent)]
pub struct GuestPhys(pub u32);

/// An address in the machine's physical memory.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(transparent)]
pub struct HostPhys(pub u32);
