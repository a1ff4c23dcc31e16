//! Prints what the processor does, to be compared between Entresol and a real one.
//!
//! Every line is one case ([`harness`]): an instruction or a few, from one mode, with what
//! it changed. Lines are printed condensed ([`transcript`]). The transcript of this binary on bare QEMU and that under Entresol must be the
//! same, except for what CAVEATS.md says. What tells processors apart (identification,
//! counters) is not printed.
//!
//! Cases run with the MMU off and on, and first of all those of PL1 in A32 three times in a
//! row, before anything is T32 (in the build that is A32): that is what a hypervisor may find
//! worth rewriting. What needs tables of its own follows.
#![no_std]
#![no_main]

mod case;
mod cases;
mod environment;
mod harness;
mod name;
mod own_page;
mod permissions;
mod rewriting;
mod tables;
mod transcript;

use entresol_guest::{entry, gic, println, trap, vectors};
use harness::Phase;

entry!(main);

vectors! {
    /// Between cases nothing may go wrong.
    kernel_vectors:
        undefined trap::unexpected, svc trap::unexpected, prefetch trap::unexpected,
        data trap::unexpected, irq trap::unexpected, fiq trap::unexpected,
}

fn main(_device_tree: u32) -> u32 {
    println!("conformance: begin");
    // SAFETY: the handlers do not return.
    unsafe { trap::install(kernel_vectors) }
    harness::keep_snippets();
    gic::init();
    gic::enable(1);
    for phase in [Phase::Hot, Phase::MmuOff, Phase::MmuOn] {
        if phase == Phase::MmuOff {
            tables::turn_off();
        } else {
            tables::turn_on();
        }
        cases::status::run(phase);
        cases::returns::run(phase);
        cases::exceptions::run(phase);
        cases::memory::run(phase);
        cases::system::run(phase);
        cases::floating_point::run(phase);
        cases::timers::run(phase);
        if phase != Phase::Hot {
            rewriting::run(phase);
            own_page::run(phase);
        }
    }
    permissions::run();
    environment::run();
    transcript::finish();
    println!("conformance: end");
    0
}
