//! The virtual processor against the architecture manual, by its public interface.
//!
//! Section numbers are of ARM DDI 0406C.

#![allow(clippy::wildcard_imports, reason = "test modules share one vocabulary")]
#![allow(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]

mod exceptions;
mod float;
mod instructions;
mod machine;
mod modes;
mod multiple;
mod random;
mod system;
mod timer;
mod transfers;
mod walks;
