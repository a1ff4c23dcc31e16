//! Prints what the processor does, to be compared between Entresol and a real one.
//!
//! Every line is one case ([`harness`]): an instruction or a few, from one mode, with what
//! it changed. Lines are printed condensed ([`transcript`]). The transcript of this binary on bare QEMU and that under Entresol must be the
//! same, except for what CAVEATS.md says. What tells processors apart (identification,
//! counters) is not printed.
//!
//! Cases run twice: with the MMU off and on. What needs tables of its own follows.
#![no_std]
#![no_main]

mod case;
mod cases;
mod environment;
mod harness;
mod name;
mod permissions;
mod rewriting;
mod tables;
mod transcript;

use entresol_guest::{entry, gic, println};
use harness::Phase;

entry!(main);

fn main(_device_tree: u32) -> u32 {
    println!("conformance: begin");
    harness::keep_snippets();
    gic::init();
    gic::enable(1);
    for phase in [Phase::MmuOff, Phase::MmuOn] {
        if phase == Phase::MmuOn {
            tables::turn_on();
        }
        cases::status::run(phase);
        cases::returns::run(phase);
        cases::exceptions::run(phase);
        cases::memory::run(phase);
        cases::system::run(phase);
        cases::floating_point::run(phase);
        cases::timers::run(phase);
        rewriting::run(phase);
    }
    permissions::run();
    environment::run();
    transcript::finish();
    println!("conformance: end");
    0
}
