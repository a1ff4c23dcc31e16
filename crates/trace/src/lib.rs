//! What the hypervisor counted, and where its guests trap, in readable forms.
//!
//! - [`counters`]: what is in the machine's memory, by name.
//! - [`profile`]: traps by VM, cause and guest address, from the instrument's report and the
//!   counters.
//! - [`symbols`]: which function of a guest an address is in; [`kallsyms`]: those that a
//!   Linux kernel names itself.
//! - [`table`], [`svg`]: a profile for people.
//! - [`histogram`]: a distribution of latencies, and its picture.
//!
//! Nothing here runs a machine or reads its memory; it is given bytes and text.

#![forbid(unsafe_code)]

pub mod counters;
pub mod histogram;
pub mod kallsyms;
pub mod profile;
pub mod svg;
pub mod symbols;
pub mod table;

pub use entresol_abi::observe::{MAGIC, Observed};
pub use entresol_abi::window::{BASE, CORE_STRIDE};
pub use profile::Profile;
pub use symbols::Symbols;
