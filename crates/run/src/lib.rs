//! QEMU as a library: start it, talk to the consoles, end it.
//!
//! - [`qemu`]: the command line for a machine.
//! - [`process`]: one running QEMU; ended when dropped.
//! - [`mod@line`]: the serial line of a machine that runs already.
//! - [`session`]: for tests: expect, send, wait.
//! - [`consoles`]: the output of all VMs on one terminal, line by line.
//! - [`keys`]: which VM the keyboard goes to.
//! - [`interactive`]: `entresol run`, `attach` and `order`.
//! - [`instrument`]: a machine watched from outside, for `entresol profile`.
//!
//! # Time
//!
//! QEMU always runs with `-icount shift=0,sleep=off`: virtual time is the number of
//! instructions executed, and idle time is skipped, so a run without input is
//! repeatable to the bit. Input from outside arrives when the host's scheduler says
//! so: it works, but such a run is not repeatable.

#![forbid(unsafe_code)]

pub mod consoles;
pub mod instrument;
pub mod interactive;
pub mod keys;
pub mod line;
pub mod process;
pub mod qemu;
pub mod session;
mod terminal;

pub use entresol_abi::{
    console::{Channel, Order},
    control,
    image::MAX_VMS,
};
pub use process::{Ended, Error, Process};
pub use qemu::Qemu;
pub use session::Session;
