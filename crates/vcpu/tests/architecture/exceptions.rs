//! Entry and return (B1.8, B1.9).

use entresol_vcpu::*;

use crate::machine::{assert_invariants, vcpu};

const ABORT_DATA: Exception = Exception::DataAbort { dfsr: 0x805, dfar: 0x1234 };
const ABORT_FETCH: Exception = Exception::PrefetchAbort { ifsr: 0x7, ifar: 0x5678 };

/// Exception, vector, mode, masks set, LR distance in A32 and T32 (B1.8.3, table B1-7).
const TABLE: [(Exception, u32, u32, u32, u32, u32); 6] = [
    (Exception::Undefined, 0x04, 0x1b, psr::I, 4, 2),
    (Exception::SupervisorCall, 0x08, 0x13, psr::I, 4, 2),
    (ABORT_FETCH, 0x0c, 0x17, psr::I | psr::A, 4, 4),
    (ABORT_DATA, 0x10, 0x17, psr::I | psr::A, 8, 8),
    (Exception::Irq, 0x18, 0x12, psr::I | psr::A, 4, 4),
    (Exception::Fiq, 0x1c, 0x11, psr::I | psr::A | psr::F, 4, 4),
];

#[test]
fn every_exception_enters_from_every_mode_and_state_as_the_manual_says() {
    for (exception, vector, mode, masks, a32, t32) in TABLE {
        for from in Mode::ALL {
            for thumb in [false, true] {
                let old = 0xf80f_0200 | from.bits() | if thumb { psr::T } else { 0 };
                let mut vcpu = vcpu(old);
                vcpu.cp15.vbar = 0x4000_0100;
                vcpu.enter(exception);
                assert_eq!(vcpu.pc, 0x4000_0100 + vector);
                assert_eq!(vcpu.cpsr(), 0xf80f_0000 | mode | masks, "{exception:?}");
                assert_eq!(vcpu.spsr(), old);
                assert_eq!(vcpu.regs[14], 0x8000 + if thumb { t32 } else { a32 }, "{exception:?}");
                assert_invariants(&vcpu);
            }
        }
    }
}

#[test]
fn masks_that_were_set_stay_set() {
    let mut vcpu = vcpu(0x1d0);
    vcpu.enter(Exception::SupervisorCall);
    assert_eq!(vcpu.cpsr(), 0x1d3);
}

#[test]
fn aborts_report_status_and_address() {
    let mut vcpu = vcpu(0x10);
    vcpu.enter(ABORT_DATA);
    assert_eq!((vcpu.cp15.dfsr, vcpu.cp15.dfar), (0x805, 0x1234));
    vcpu.enter(ABORT_FETCH);
    assert_eq!((vcpu.cp15.ifsr, vcpu.cp15.ifar), (7, 0x5678));
}

#[test]
fn system_control_chooses_vectors_state_and_byte_order() {
    // SCTLR.V, TE, EE.
    for (bit, pc, cpsr) in [(13, 0xffff_0018, 0x192), (30, 0x18, 0x1b2), (25, 0x18, 0x392)] {
        let mut vcpu = vcpu(0x10);
        vcpu.cp15.sctlr |= 1 << bit;
        vcpu.enter(Exception::Irq);
        assert_eq!((vcpu.pc, vcpu.cpsr()), (pc, cpsr));
    }
}

#[test]
fn if_then_state_is_saved_and_cleared() {
    // ITSTATE 0b0000_1100 (eq, two left): bits 15:10 = 0b000011.
    let it = 0x0c00;
    let mut vcpu = vcpu(0x30 | it);
    vcpu.enter(ABORT_DATA);
    assert_eq!(vcpu.spsr(), 0x30 | it);
    assert_eq!(vcpu.psr & psr::IT, 0);
}

#[test]
fn a_supervisor_call_saves_the_if_then_state_that_the_machine_advanced() {
    // TakeSVCException begins with ITAdvance (B1.9.4), the machine's own too.
    let mut vcpu = vcpu(0x30 | advance_it(0x0c00));
    vcpu.enter(Exception::SupervisorCall);
    assert_eq!(vcpu.spsr(), 0x30 | advance_it(0x0c00));
}

#[test]
fn a_return_undoes_every_entry() {
    for (exception, ..) in TABLE {
        for from in Mode::ALL {
            let mut vcpu = vcpu(0x8000_0000 | from.bits());
            vcpu.regs = core::array::from_fn(|n| u32::try_from(n).unwrap() + 7);
            let before = vcpu.clone();
            vcpu.enter(exception);
            let spsr = vcpu.spsr();
            vcpu.return_to(0x8000, spsr);
            assert_eq!(vcpu.cpsr(), before.cpsr());
            // The exception's own mode has lost its link register.
            if vcpu.mode().bank() == exception_bank(exception) {
                assert_eq!(vcpu.regs[..14], before.regs[..14]);
            } else {
                assert_eq!(vcpu.regs, before.regs);
            }
        }
    }
}

fn exception_bank(exception: Exception) -> usize {
    let mut vcpu = vcpu(0x10);
    vcpu.enter(exception);
    vcpu.mode().bank()
}

#[test]
fn a_return_to_no_mode_keeps_the_mode_and_aligns() {
    let mut vcpu = vcpu(0x13);
    vcpu.return_to(0x1003, 0x4100_fc16);
    assert_eq!(vcpu.cpsr(), 0x4000_0013, "no J, no IT in A32, no Monitor mode");
    assert_eq!(vcpu.pc, 0x1000);
    vcpu.return_to(0x1003, 0x3f);
    assert_eq!((vcpu.pc, vcpu.cpsr()), (0x1002, 0x3f));
}

#[test]
fn interrupts_wait_for_their_masks_and_fast_ones_go_first() {
    let mut vcpu = vcpu(0x1d3);
    vcpu.pending = psr::I | psr::F;
    assert_eq!(vcpu.deliverable(), None);
    vcpu.status &= !psr::I;
    assert_eq!(vcpu.deliverable(), Some(Exception::Irq));
    vcpu.status &= !psr::F;
    assert_eq!(vcpu.deliverable(), Some(Exception::Fiq));
    vcpu.pending = 0;
    assert_eq!(vcpu.deliverable(), None);
}

#[test]
fn if_then_blocks_count_down_as_in_the_manual() {
    // ITTE EQ: firstcond 0000, mask 0110 (A2.5.2, table A2-2): eq, eq, ne.
    const fn encode(state: u32) -> u32 {
        (state & 3) << 25 | (state >> 2) << 10
    }
    let mut state = encode(0b0000_0110);
    let mut seen = Vec::new();
    while state & psr::IT != 0 {
        seen.push(it_condition(state).0);
        state = advance_it(state);
    }
    assert_eq!(seen, [0, 0, 1]);
    assert_eq!(it_condition(0).0, 0b1110);
    assert_eq!(advance_it(0xf80f_0230), 0xf80f_0230);
    // IT GE (1010 1000) leaves nothing.
    assert_eq!(it_condition(encode(0b1010_1000)).0, 0b1010);
    assert_eq!(advance_it(encode(0b1010_1000)), 0);
}
