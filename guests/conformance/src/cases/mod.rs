//! The cases, by what they exercise.

pub(crate) mod exceptions;
pub(crate) mod floating_point;
pub(crate) mod memory;
pub(crate) mod returns;
pub(crate) mod status;
pub(crate) mod system;
pub(crate) mod timers;

use crate::case::Case;
use crate::harness::{self, Phase};

/// Runs every case of a table.
fn run_all(phase: Phase, cases: &[Case<'_>]) {
    for case in cases {
        harness::run(phase, case);
    }
}
