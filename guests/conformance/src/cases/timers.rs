//! The generic timer: counters, what PL0 may see, and interrupts.
//!
//! # Manuals
//!
//! ARM DDI 0406C: B8.1 (generic timer), B8.2 (registers).

use super::run_all;
use crate::case::{Case, Mode, Set};
use crate::harness::Phase;
use crate::{a32, t32};
use entresol_guest::board;

/// Timers that are due interrupt; PL0 reads the counters only if it may.
pub(crate) fn run(phase: Phase) {
    if !board::IS_VIRTUAL_BOARD {
        return;
    }
    let at = |name, code| {
        let modes = &Mode::SUPERVISOR;
        run_all(phase, &[Case { name, code, modes, set: &[], conditional: false }]);
    };
    at(
        "cntv_ctl",
        a32!(
            "mov r0, #3",
            "mcr p15, 0, r0, c14, c3, 1",
            "mrc p15, 0, r1, c14, c3, 1",
            "and r1, r1, #3",
            "mov r0, #0",
            "mcr p15, 0, r0, c14, c3, 1"
        ),
    );
    at(
        "cntv_due",
        a32!(
            "mov r0, #0",
            "mov r1, #0",
            "mcrr p15, 3, r0, r1, c14",
            "mov r0, #3",
            "mcr p15, 0, r0, c14, c3, 1",
            "isb",
            "mrc p15, 0, r2, c14, c3, 1",
            "mov r0, #0",
            "mcr p15, 0, r0, c14, c3, 1"
        ),
    );
    at(
        "cntp_due",
        a32!(
            "mov r0, #0",
            "mov r1, #0",
            "mcrr p15, 2, r0, r1, c14",
            "mov r0, #3",
            "mcr p15, 0, r0, c14, c2, 1",
            "isb",
            "mrc p15, 0, r2, c14, c2, 1",
            "mov r0, #0",
            "mcr p15, 0, r0, c14, c2, 1"
        ),
    );
    at(
        "cntv_tval",
        a32!(
            "mov r0, #0x10000000",
            "mcr p15, 0, r0, c14, c3, 0",
            "mrc p15, 0, r1, c14, c3, 0",
            "cmp r1, r0",
            "movhi r1, #1",
            "movls r1, #2",
            "lsr r0, r0, #1",
            "cmp r0, r0"
        ),
    );
    at(
        "counter_grows",
        a32!(
            "mrrc p15, 1, r0, r1, c14",
            "isb",
            "mov r4, #0x100",
            "1:",
            "subs r4, r4, #1",
            "bne 1b",
            "mrrc p15, 1, r2, r3, c14",
            "subs r0, r2, r0",
            "sbc r1, r3, r1",
            "cmp r0, #0",
            "movne r0, #1",
            "mov r2, #0",
            "mov r3, #0"
        ),
    );
    at(
        "counter_user_denied",
        a32!(
            "mov r0, #0",
            "mcr p15, 0, r0, c14, c1, 0",
            "isb",
            "cps #0x10",
            "mrrc p15, 1, r0, r1, c14"
        ),
    );
    at(
        "counter_user_allowed",
        a32!(
            "mov r0, #3",
            "mcr p15, 0, r0, c14, c1, 0",
            "isb",
            "cps #0x10",
            "mrrc p15, 1, r0, r1, c14",
            "mov r0, #1",
            "mov r1, #1"
        ),
    );
    at(
        "frequency_user",
        a32!(
            "mov r0, #3",
            "mcr p15, 0, r0, c14, c1, 0",
            "isb",
            "cps #0x10",
            "mrc p15, 0, r0, c14, c0, 0",
            "mov r0, #1"
        ),
    );
    let code = a32!(
        "mov r0, #0",
        "mov r1, #0",
        "mcrr p15, 3, r0, r1, c14",
        "mov r0, #1",
        "mcr p15, 0, r0, c14, c3, 1",
        "isb",
        "cpsie i",
        "mov r2, #2"
    );
    let set = &[Set::TimerInterrupt];
    let modes = &Mode::PRIVILEGED;
    run_all(phase, &[Case { name: "cntv_interrupt", code, modes, set, conditional: false }]);
    // While nothing traps: a loop of one instruction.
    let code = a32!(
        "mov r0, #0x2000",
        "mcr p15, 0, r0, c14, c3, 0",
        "mov r0, #1",
        "mcr p15, 0, r0, c14, c3, 1",
        "cpsie i",
        "1: b 1b"
    );
    run_all(phase, &[Case { name: "cntv_strikes", code, modes, set, conditional: false }]);
    let code = t32!(
        "mov.w r0, #0x2000",
        "mcr p15, 0, r0, c14, c3, 0",
        "mov.w r0, #1",
        "mcr p15, 0, r0, c14, c3, 1",
        "cpsie i",
        "1: b 1b"
    );
    run_all(phase, &[Case { name: "cntv_strikes_t32", code, modes, set, conditional: false }]);
    if phase == Phase::Hot {
        // Applications may not execute it.
        return;
    }
    let code = a32!(
        "mov r0, #0x2000",
        "mcr p15, 0, r0, c14, c3, 0",
        "mov r0, #1",
        "mcr p15, 0, r0, c14, c3, 1",
        "cpsie i, #0x10",
        "1: b 1b"
    );
    let modes = &Mode::SUPERVISOR;
    run_all(phase, &[Case { name: "cntv_strikes_user", code, modes, set, conditional: false }]);
}
