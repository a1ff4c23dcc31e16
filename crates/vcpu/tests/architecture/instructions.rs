//! Status, returns, calls and hints (B9.3), for a kernel and for an application.

use entresol_isa::op::*;
use entresol_vcpu::*;

use crate::machine::{Machine, assert_invariants, vcpu};

const UNDEFINED: Outcome = Outcome::Inject(Exception::Undefined);

fn run(vcpu: &mut Vcpu, op: Op) -> Outcome {
    let outcome = vcpu.execute(op, 4, &mut Machine::default());
    assert_invariants(vcpu);
    outcome
}

#[test]
fn cps_changes_masks_and_mode_of_a_kernel() {
    let mut vcpu = vcpu(0x113);
    let op = Op::ChangeState { set: psr::I | psr::F, clear: 0, mode: Some(0x12) };
    assert_eq!(run(&mut vcpu, op), Outcome::Next);
    assert_eq!((vcpu.cpsr(), vcpu.pc), (0x1d2, 0x8004));
    let op = Op::ChangeState { set: 0, clear: psr::A | psr::I, mode: None };
    assert_eq!(run(&mut vcpu, op), Outcome::Next);
    assert_eq!(vcpu.cpsr(), 0x52);
    let op = Op::ChangeState { set: 0, clear: 0, mode: Some(0x16) };
    assert_eq!(run(&mut vcpu, op), Outcome::Next);
    assert_eq!(vcpu.cpsr(), 0x52, "no Monitor mode");
}

#[test]
fn cps_is_a_no_op_to_an_application() {
    let mut vcpu = vcpu(0x10);
    let op = Op::ChangeState { set: psr::I, clear: 0, mode: Some(0x13) };
    assert_eq!(run(&mut vcpu, op), Outcome::Next);
    assert_eq!((vcpu.cpsr(), vcpu.pc), (0x10, 0x8004));
}

#[test]
fn setend_works_for_everyone() {
    for mode in [0x10, 0x13] {
        let mut vcpu = vcpu(mode);
        assert_eq!(run(&mut vcpu, Op::SetEndianness { big: true }), Outcome::Next);
        assert_eq!(vcpu.cpsr(), mode | psr::E);
        assert_eq!(run(&mut vcpu, Op::SetEndianness { big: false }), Outcome::Next);
        assert_eq!(vcpu.cpsr(), mode);
    }
}

#[test]
fn mrs_hides_the_execution_state() {
    let mut vcpu = vcpu(0xf80f_03f3);
    let _ = run(&mut vcpu, Op::ReadStatus { rd: 3, spsr: false });
    assert_eq!(vcpu.regs[3], 0xf80f_03d3, "T reads as zero");
}

#[test]
fn mrs_of_the_saved_status_is_the_modes() {
    let mut kernel = vcpu(0x13);
    kernel.set_spsr(0x6000_0030, 0xf);
    let _ = run(&mut kernel, Op::ReadStatus { rd: 14, spsr: true });
    assert_eq!(kernel.regs[14], 0x6000_0030);
    assert_eq!(run(&mut vcpu(0x10), Op::ReadStatus { rd: 0, spsr: true }), UNDEFINED);
}

#[test]
fn msr_writes_status_from_registers_and_immediates() {
    let mut vcpu = vcpu(0x1d3);
    vcpu.regs[2] = 0x8000_0012;
    let source = Source::Register(2);
    assert_eq!(run(&mut vcpu, Op::WriteStatus { source, fields: 9, spsr: false }), Outcome::Next);
    assert_eq!(vcpu.cpsr(), 0x8000_0112);
    let source = Source::Immediate(0x2000_0010);
    assert_eq!(run(&mut vcpu, Op::WriteStatus { source, fields: 15, spsr: true }), Outcome::Next);
    assert_eq!(vcpu.spsr(), 0x2000_0010);
    assert_eq!(vcpu.pc, 0x8008);
}

#[test]
fn movs_pc_lr_returns() {
    let mut vcpu = vcpu(0x1d2);
    vcpu.set_spsr(0x4000_0010, 0xf);
    vcpu.regs[14] = 0x1_0004;
    // subs pc, lr, #4
    let op = Op::AluReturn { opcode: 2, rn: 14, operand: Operand::Immediate(4) };
    assert_eq!(run(&mut vcpu, op), Outcome::Jumped);
    assert_eq!((vcpu.pc, vcpu.cpsr()), (0x1_0000, 0x4000_0010));
    assert!(!vcpu.privileged());
}

#[test]
fn a_return_without_a_saved_status_is_undefined() {
    let operand = Operand::Shifted { rm: 14, kind: 0, amount: 0 };
    for mode in [0x10, 0x1f] {
        let mut vcpu = vcpu(mode);
        let before = vcpu.clone();
        assert_eq!(run(&mut vcpu, Op::AluReturn { opcode: 13, rn: 0, operand }), UNDEFINED);
        assert_eq!(vcpu, before);
    }
}

#[test]
fn every_alu_operation_reaches_pc() {
    // r1 = 0x100, r2 = 0x30, C set (A5.2.1).
    let expected = [
        0x100 & 0x30,
        0x130,
        0xd0,
        0xffff_ff30,
        0x130,
        0x131,
        0xd0,
        0xffff_ff30,
        0,
        0,
        0,
        0,
        0x130,
        0x30,
        0x100,
        !0x30,
    ];
    for (opcode, expected) in (0_u8..16).zip(expected) {
        let mut vcpu = vcpu(psr::C | 0x13);
        vcpu.set_spsr(0x13, 0xf);
        vcpu.regs[1] = 0x100;
        vcpu.regs[2] = 0x30;
        let operand = Operand::Shifted { rm: 2, kind: 0, amount: 0 };
        let outcome = run(&mut vcpu, Op::AluReturn { opcode, rn: 1, operand });
        if (8..12).contains(&opcode) {
            assert_eq!(outcome, UNDEFINED, "tst, teq, cmp, cmn have no result");
        } else {
            assert_eq!((outcome, vcpu.pc), (Outcome::Jumped, expected & !3), "{opcode}");
        }
    }
}

#[test]
fn borrow_is_the_inverse_of_carry() {
    for (opcode, expected) in [(5, 0x130), (6, 0xcf), (7, 0xffff_ff2f)] {
        let mut vcpu = vcpu(0x13);
        vcpu.set_spsr(0x33, 0xf);
        vcpu.regs[1] = 0x100;
        let op = Op::AluReturn { opcode, rn: 1, operand: Operand::Immediate(0x30) };
        let _ = run(&mut vcpu, op);
        assert_eq!(vcpu.pc, expected & !1);
    }
}

#[test]
fn shifts_are_those_of_the_manual() {
    // (kind, amount as encoded, carry, value, result), A8.4.3.
    let rows: [(u8, u8, bool, u32, u32); 9] = [
        (0, 0, false, 0x8000_0004, 0x8000_0004),
        (0, 4, false, 0x8000_0004, 0x40),
        (1, 0, false, 0x8000_0004, 0),
        (1, 4, false, 0x8000_0040, 0x0800_0004),
        (2, 0, false, 0x8000_0040, 0xffff_fffc),
        (2, 4, false, 0x8000_0040, 0xf800_0004),
        (3, 0, true, 0x0000_0010, 0x8000_0008),
        (3, 0, false, 0x0000_0010, 0x8),
        (3, 4, false, 0x0000_0048, 0x8000_0004),
    ];
    for (kind, amount, carry, value, expected) in rows {
        let mut vcpu = vcpu(0x13 | if carry { psr::C } else { 0 });
        vcpu.set_spsr(0x13, 0xf);
        vcpu.regs[3] = value;
        let operand = Operand::Shifted { rm: 3, kind, amount };
        let _ = run(&mut vcpu, Op::AluReturn { opcode: 13, rn: 0, operand });
        assert_eq!(vcpu.pc, expected & !3, "{kind} {amount}");
    }
}

#[test]
fn shifts_by_a_register_use_its_low_byte() {
    let rows: [(u8, u32, u32); 10] = [
        (0, 0x100, 0xf000_0040),
        (0, 1, 0xe000_0080),
        (0, 32, 0),
        (1, 31, 1),
        (1, 33, 0),
        (2, 31, 0xffff_ffff),
        (2, 200, 0xffff_ffff),
        (3, 36, 0x0f00_0004),
        (3, 32, 0xf000_0040),
        (1, 0, 0xf000_0040),
    ];
    for (kind, amount, expected) in rows {
        let mut vcpu = vcpu(0x13);
        vcpu.set_spsr(0x13, 0xf);
        vcpu.regs[3] = 0xf000_0040;
        vcpu.regs[4] = amount;
        let operand = Operand::ShiftedByRegister { rm: 3, kind, rs: 4 };
        let _ = run(&mut vcpu, Op::AluReturn { opcode: 13, rn: 0, operand });
        assert_eq!(vcpu.pc, expected & !3, "{kind} {amount}");
    }
}

#[test]
fn calls_are_told_apart() {
    assert_eq!(
        run(&mut vcpu(0x10), Op::SupervisorCall(1)),
        Outcome::Inject(Exception::SupervisorCall)
    );
    for (op, smc) in [(Op::HypervisorCall(7), false), (Op::MonitorCall(7), true)] {
        let mut kernel = vcpu(0x13);
        assert_eq!(run(&mut kernel, op), Outcome::Hypercall { smc, immediate: 7 });
        assert_eq!(kernel.pc, 0x8004);
        let mut application = vcpu(0x10);
        assert_eq!(run(&mut application, op), UNDEFINED);
        assert_eq!(application.pc, 0x8000);
    }
}

#[test]
fn waiting_for_an_event_ends_the_instruction_and_for_an_interrupt_may_begin_again() {
    let mut vcpu = vcpu(0x13);
    assert_eq!(run(&mut vcpu, Op::WaitForInterrupt), Outcome::Wait);
    assert_eq!(vcpu.pc, 0x8000);
    assert_eq!(run(&mut vcpu, Op::WaitForEvent), Outcome::WaitForEvent);
    assert_eq!(vcpu.pc, 0x8004);
    assert_eq!(run(&mut vcpu, Op::Undefined), UNDEFINED);
}

#[test]
fn a_t32_instruction_advances_the_if_then_state() {
    let mut vcpu = vcpu(0x33 | 0x0c00);
    let _ = vcpu.execute(Op::ReadStatus { rd: 0, spsr: false }, 2, &mut Machine::default());
    assert_eq!(vcpu.pc, 0x8002);
    assert_eq!(vcpu.psr & psr::IT, advance_it(0x0c00));
}
