//! Transfers of several registers that a deprivileged kernel cannot make (B9.3).

use entresol_isa::op::*;
use entresol_vcpu::*;

use crate::machine::{Machine, assert_invariants, vcpu};

const UNDEFINED: Outcome = Outcome::Inject(Exception::Undefined);

const fn multiple(rn: u8, list: u16, before: bool, up: bool, writeback: bool) -> Multiple {
    let multiple = Multiple::new().with_rn(rn).with_list(list).with_writeback(writeback);
    multiple.with_before(before).with_up(up)
}

/// before, up; first address and new base for two words at 0x1000 (A8.8.58 to A8.8.61).
const MODES: [(bool, bool, u32, u32); 4] = [
    (false, true, 0x1000, 0x1008),
    (true, true, 0x1004, 0x1008),
    (true, false, 0x0ff8, 0x0ff8),
    (false, false, 0x0ffc, 0x0ff8),
];

#[test]
fn ldm_of_user_registers_leaves_the_modes_own_alone() {
    for (before, up, first, _) in MODES {
        let mut machine = Machine::with_words(first, &[0x13, 0x14]);
        let mut vcpu = vcpu(0x13);
        vcpu.regs[13] = 0xdead;
        vcpu.regs[14] = 0xbeef;
        vcpu.regs[0] = 0x1000;
        let op = Op::LoadUser(multiple(0, 0x6000, before, up, false));
        assert_eq!(vcpu.execute(op, 4, &mut machine), Outcome::Next);
        assert_eq!(vcpu.regs[13..], [0xdead, 0xbeef]);
        assert_eq!((vcpu.regs[0], vcpu.pc), (0x1000, 0x8004));
        vcpu.set_mode(Mode::USER);
        assert_eq!(vcpu.regs[13..], [0x13, 0x14]);
        assert!(machine.accesses.iter().all(|(_, privileged)| *privileged));
    }
}

#[test]
fn user_registers_are_reached_from_every_mode() {
    for mode in Mode::ALL {
        let mut machine = Machine::with_words(0x1000, &[0x201; 14]);
        let mut vcpu = vcpu(0x10);
        for n in 0..15 {
            vcpu.set_register(n, u32::from(n) + 0x100);
        }
        vcpu.set_mode(mode);
        let status = vcpu.status;
        vcpu.regs[0] = 0x2000;
        let store = Op::StoreUser(multiple(0, 0x7ffe, false, true, false));
        assert_eq!(vcpu.execute(store, 4, &mut machine), Outcome::Next);
        vcpu.regs[0] = 0x1000;
        let load = Op::LoadUser(multiple(0, 0x7ffe, false, true, false));
        assert_eq!(vcpu.execute(load, 4, &mut machine), Outcome::Next);
        assert_eq!(vcpu.status, status, "{mode:?}");
        vcpu.set_mode(Mode::USER);
        for n in 1..15 {
            assert_eq!(machine.word(0x2000 + (n - 1) * 4), n + 0x100, "{mode:?} r{n}");
        }
        assert_eq!(vcpu.regs[1..], [0x201; 14], "{mode:?}");
    }
}

#[test]
fn ldm_and_stm_of_user_registers_in_fiq_mode_reach_r8_to_r12() {
    let mut machine = Machine::with_words(0x1000, &[8, 9, 10, 11, 12, 13, 14]);
    let mut vcpu = vcpu(0x11);
    vcpu.regs[8..15].fill(0xf1);
    vcpu.regs[0] = 0x1000;
    let op = Op::LoadUser(multiple(0, 0x7f00, false, true, false));
    assert_eq!(vcpu.execute(op, 4, &mut machine), Outcome::Next);
    assert_eq!(vcpu.regs[8..15], [0xf1; 7]);
    vcpu.regs[0] = 0x2000;
    let op = Op::StoreUser(multiple(0, 0x7f00, false, true, false));
    assert_eq!(vcpu.execute(op, 4, &mut machine), Outcome::Next);
    for n in 0..7 {
        assert_eq!(machine.word(0x2000 + 4 * n), 8 + n);
    }
    vcpu.set_mode(Mode::USER);
    assert_eq!(vcpu.regs[8..15], [8, 9, 10, 11, 12, 13, 14]);
}

#[test]
fn stm_of_user_registers_may_store_pc() {
    let mut machine = Machine::default();
    let mut vcpu = vcpu(0x12);
    vcpu.regs[1] = 0x1000;
    let op = Op::StoreUser(multiple(1, 0x8002, false, true, false));
    assert_eq!(vcpu.execute(op, 4, &mut machine), Outcome::Next);
    assert_eq!((machine.word(0x1000), machine.word(0x1004)), (0x1000, 0x8008));
}

#[test]
fn ldm_with_pc_returns_after_writing_the_base_of_the_old_mode() {
    for (before, up, first, base) in MODES {
        let mut machine = Machine::with_words(first, &[0x55, 0x2_0001]);
        let mut vcpu = vcpu(0x92);
        vcpu.set_spsr(0x6000_0030, 0xf);
        vcpu.regs[13] = 0x1000;
        let op = Op::LoadReturn(multiple(13, 0x8001, before, up, true));
        assert_eq!(vcpu.execute(op, 4, &mut machine), Outcome::Jumped);
        assert_eq!((vcpu.pc, vcpu.cpsr()), (0x2_0000, 0x6000_0030));
        assert_eq!(vcpu.regs[0], 0x55);
        assert_eq!(vcpu.stack_pointer(Mode::IRQ), base);
        assert_invariants(&vcpu);
    }
    for mode in [0x10, 0x1f] {
        let op = Op::LoadReturn(multiple(13, 0x8001, false, true, true));
        assert_eq!(vcpu(mode).execute(op, 4, &mut Machine::default()), UNDEFINED);
    }
}

#[test]
fn rfe_loads_pc_and_status() {
    for (before, up, first, base) in MODES {
        let mut machine = Machine::with_words(first, &[0x2_0000, 0x8000_001f]);
        let mut vcpu = vcpu(0x1d3);
        vcpu.regs[13] = 0x1000;
        let op = Op::ReturnFrom(multiple(13, 0, before, up, true));
        assert_eq!(vcpu.execute(op, 4, &mut machine), Outcome::Jumped);
        assert_eq!((vcpu.pc, vcpu.cpsr()), (0x2_0000, 0x8000_001f));
        assert_eq!(vcpu.stack_pointer(Mode::SUPERVISOR), base);
    }
    let op = Op::ReturnFrom(multiple(0, 0, false, true, false));
    assert_eq!(vcpu(0x10).execute(op, 4, &mut Machine::default()), UNDEFINED);
    let mut system = vcpu(0x1f);
    let mut machine = Machine::with_words(0, &[0x3000, 0x10]);
    assert_eq!(system.execute(op, 4, &mut machine), Outcome::Jumped, "System mode may");
    assert_eq!((system.pc, system.cpsr()), (0x3000, 0x10));
}

#[test]
fn srs_stores_on_the_stack_of_another_mode() {
    for (before, up, first, base) in MODES {
        let mut machine = Machine::default();
        let mut vcpu = vcpu(0x192);
        vcpu.set_stack_pointer(Mode::SUPERVISOR, 0x1000);
        vcpu.regs[13] = 0x9999;
        vcpu.regs[14] = 0x77;
        vcpu.set_spsr(0x2000_0010, 0xf);
        let op = Op::StoreReturn { mode: 0x13, multiple: multiple(13, 0, before, up, true) };
        assert_eq!(vcpu.execute(op, 4, &mut machine), Outcome::Next);
        assert_eq!((machine.word(first), machine.word(first + 4)), (0x77, 0x2000_0010));
        assert_eq!((vcpu.stack_pointer(Mode::SUPERVISOR), vcpu.regs[13]), (base, 0x9999));
    }
}

#[test]
fn srs_needs_a_saved_status_and_a_mode() {
    for (cpsr, mode) in [(0x10, 0x13), (0x1f, 0x13), (0x13, 0x16), (0x13, 0)] {
        let op = Op::StoreReturn { mode, multiple: multiple(13, 0, true, false, true) };
        assert_eq!(vcpu(cpsr).execute(op, 4, &mut Machine::default()), UNDEFINED);
    }
}

fn every_form(rn: u8) -> [Op; 5] {
    [
        Op::LoadUser(multiple(rn, 0x0006, false, true, false)),
        Op::StoreUser(multiple(rn, 0x0006, false, true, false)),
        Op::LoadReturn(multiple(rn, 0x8002, false, true, true)),
        Op::ReturnFrom(multiple(rn, 0, false, true, true)),
        Op::StoreReturn { mode: 0x13, multiple: multiple(13, 0, false, true, true) },
    ]
}

#[test]
fn nothing_changes_when_an_access_fails() {
    let fault = Abort::Fault { fsr: 0x807, far: 0x1004 };
    for op in every_form(13) {
        for abort in [Abort::Retry, fault] {
            let mut machine = Machine { fail: Some((0x1004, abort)), ..Machine::default() };
            let mut vcpu = vcpu(0x13);
            vcpu.regs[13] = 0x1000;
            let before = vcpu.clone();
            let expected = match abort {
                Abort::Retry => Outcome::Retry,
                Abort::Fault { fsr, far } => {
                    Outcome::Inject(Exception::DataAbort { dfsr: fsr, dfar: far })
                }
            };
            assert_eq!(vcpu.execute(op, 4, &mut machine), expected, "{op:?}");
            assert_eq!(vcpu, before, "{op:?}");
        }
    }
}

#[test]
fn several_registers_are_always_aligned() {
    // A3.2.1: alignment fault whatever SCTLR.A says; WnR is bit 11.
    for op in every_form(13) {
        let mut vcpu = vcpu(0x13);
        vcpu.regs[13] = 0x1002;
        let write = matches!(op, Op::StoreUser(_) | Op::StoreReturn { .. });
        let dfsr = if write { 0x801 } else { 1 };
        let expected = Outcome::Inject(Exception::DataAbort { dfsr, dfar: 0x1002 });
        assert_eq!(vcpu.execute(op, 4, &mut Machine::default()), expected);
    }
}

#[test]
fn a_big_endian_kernel_returns_from_big_endian_memory() {
    let mut machine = Machine::with_words(0x1000, &[0x0000_0200, 0x1300_0000]);
    let mut vcpu = vcpu(0x13 | psr::E);
    vcpu.regs[0] = 0x1000;
    let op = Op::ReturnFrom(multiple(0, 0, false, true, false));
    assert_eq!(vcpu.execute(op, 4, &mut machine), Outcome::Jumped);
    assert_eq!((vcpu.pc, vcpu.cpsr()), (0x0002_0000, 0x13));
}
