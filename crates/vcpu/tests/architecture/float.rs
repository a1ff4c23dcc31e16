//! Floating-point status registers (B1.11, A8.8.348).

use entresol_isa::op::Op;
use entresol_vcpu::*;

use crate::machine::{Machine, vcpu};

const UNDEFINED: Outcome = Outcome::Inject(Exception::Undefined);
const FULL: u32 = 0x00f0_0000;
const PRIVILEGED: u32 = 0x0050_0000;
const ENABLE: u32 = 1 << 30;

fn run(vcpu: &mut Vcpu, op: Op) -> Outcome {
    vcpu.execute(op, 4, &mut Machine::default())
}

#[test]
fn nothing_is_there_before_access_is_enabled() {
    for reg in [0, 1, 6, 7, 8] {
        assert_eq!(run(&mut vcpu(0x13), Op::ReadFloatStatus { rt: 0, reg }), UNDEFINED);
        assert_eq!(run(&mut vcpu(0x13), Op::WriteFloatStatus { rt: 0, reg }), UNDEFINED);
    }
}

#[test]
fn a_kernel_identifies_and_enables_the_unit() {
    let mut vcpu = vcpu(0x13);
    vcpu.cp15.cpacr = FULL;
    assert_eq!(run(&mut vcpu, Op::ReadFloatStatus { rt: 2, reg: 0 }), Outcome::Next);
    assert_eq!(vcpu.regs[2], 0x4103_3090);
    assert_eq!(run(&mut vcpu, Op::ReadFloatStatus { rt: 2, reg: 7 }), Outcome::Next);
    assert_eq!(vcpu.regs[2], 0x1111_0222);
    assert_eq!(run(&mut vcpu, Op::ReadFloatStatus { rt: 2, reg: 1 }), UNDEFINED, "not enabled");
    vcpu.regs[3] = u32::MAX;
    let write = Op::WriteFloatStatus { rt: 3, reg: 8 };
    assert_eq!(run(&mut vcpu, write), Outcome::Effect(Effect::FloatAccess));
    assert_eq!(vcpu.vfp.fpexc, ENABLE);
    let pc = vcpu.pc;
    let unit = Outcome::Effect(Effect::FloatUnit);
    assert_eq!(run(&mut vcpu, Op::ReadFloatStatus { rt: 2, reg: 1 }), unit);
    assert_eq!(vcpu.pc, pc, "the instruction is executed again");
}

#[test]
fn an_application_has_its_status_register_only() {
    let mut vcpu = vcpu(0x10);
    vcpu.cp15.cpacr = FULL;
    vcpu.vfp.fpexc = ENABLE;
    for reg in [0, 6, 7, 8] {
        assert_eq!(run(&mut vcpu, Op::ReadFloatStatus { rt: 2, reg }), UNDEFINED);
    }
    let read = Op::ReadFloatStatus { rt: 15, reg: 1 };
    assert_eq!(run(&mut vcpu, read), Outcome::Effect(Effect::FloatUnit));
    vcpu.cp15.cpacr = PRIVILEGED;
    assert_eq!(run(&mut vcpu, read), UNDEFINED);
    assert!(!vcpu.float_allowed());
    vcpu.set_mode(Mode::SYSTEM);
    assert!(vcpu.float_allowed() && vcpu.float_enabled());
}
