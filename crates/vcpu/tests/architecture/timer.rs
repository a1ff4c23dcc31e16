//! The generic timer's registers (B8).

use entresol_isa::op::{Coprocessor, CoprocessorPair, Op};
use entresol_vcpu::*;

use crate::machine::{Machine, vcpu};

const UNDEFINED: Outcome = Outcome::Inject(Exception::Undefined);

const fn c14(read: bool, crm: u8, opc2: u8) -> Op {
    let access = Coprocessor::new().with_cp(15).with_read(read).with_crn(14).with_rt(4);
    Op::Coprocessor(access.with_crm(crm).with_opc2(opc2))
}

const fn wide(read: bool, opc1: u8) -> Op {
    let access = CoprocessorPair::new().with_cp(15).with_read(read).with_opc1(opc1);
    Op::CoprocessorPair(access.with_crm(14).with_rt(4).with_rt2(5))
}

fn read(vcpu: &mut Vcpu, machine: &mut Machine, crm: u8, opc2: u8) -> u32 {
    assert_eq!(vcpu.execute(c14(true, crm, opc2), 4, machine), Outcome::Next);
    vcpu.regs[4]
}

fn write(vcpu: &mut Vcpu, machine: &mut Machine, crm: u8, opc2: u8, value: u32) {
    vcpu.regs[4] = value;
    // Of CNTKCTL the hypervisor is told.
    let next = if crm == 1 { Outcome::Effect(Effect::CounterAccess) } else { Outcome::Next };
    assert_eq!(vcpu.execute(c14(false, crm, opc2), 4, machine), next);
}

#[test]
fn both_counts_are_the_same_and_64_bits() {
    let mut machine = Machine { count: 0x1_0000_0002, ..Machine::default() };
    let mut vcpu = vcpu(0x13);
    for opc1 in [0, 1] {
        assert_eq!(vcpu.execute(wide(true, opc1), 4, &mut machine), Outcome::Next);
        assert_eq!(vcpu.regs[4..6], [2, 1]);
        assert_eq!(vcpu.execute(wide(false, opc1), 4, &mut machine), UNDEFINED);
    }
    assert_eq!(read(&mut vcpu, &mut machine, 0, 0), 62_500_000);
}

#[test]
fn registers_of_32_bits_are_the_timers() {
    let mut machine = Machine { count: 0x2_0000_0000, ..Machine::default() };
    let mut vcpu = vcpu(0x13);
    for (crm, opc2, slot) in [(2, 0, 1), (2, 1, 0), (3, 0, 4), (3, 1, 3)] {
        write(&mut vcpu, &mut machine, crm, opc2, u32::MAX);
        assert_eq!(machine.registers[slot], u64::from(u32::MAX));
        machine.registers[slot] = 0x3_0000_0007;
        assert_eq!(read(&mut vcpu, &mut machine, crm, opc2), 7);
    }
}

#[test]
fn compare_values_are_written_whole() {
    let mut machine = Machine::default();
    let mut vcpu = vcpu(0x13);
    for (opc1, slot) in [(2, 2), (3, 5)] {
        vcpu.regs[4..6].copy_from_slice(&[0x1111, 0x2222]);
        assert_eq!(vcpu.execute(wide(false, opc1), 4, &mut machine), Outcome::Next);
        assert_eq!(machine.registers[slot], 0x2222_0000_1111);
        vcpu.regs[4..6].fill(0);
        assert_eq!(vcpu.execute(wide(true, opc1), 4, &mut machine), Outcome::Next);
        assert_eq!(vcpu.regs[4..6], [0x1111, 0x2222]);
    }
    assert_eq!(vcpu.execute(wide(true, 4), 4, &mut machine), Outcome::UnknownRegister, "CNTVOFF");
}

#[test]
fn an_application_has_what_the_kernel_opened() {
    // CNTKCTL bit, 32-bit registers (crm, opc2), 64-bit ones (opc1) (B8.1.3).
    type Row = (u32, &'static [(u8, u8)], &'static [u8]);
    let rows: [Row; 4] = [
        (1, &[(0, 0)], &[0]),
        (1 << 1, &[(0, 0)], &[1]),
        (1 << 8, &[(3, 0), (3, 1)], &[3]),
        (1 << 9, &[(2, 0), (2, 1)], &[2]),
    ];
    let all = [(0, 0), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1)];
    for (bits, narrow, pairs) in rows {
        let mut machine = Machine::default();
        let mut kernel = vcpu(0x13);
        write(&mut kernel, &mut machine, 1, 0, bits);
        assert_eq!(read(&mut kernel, &mut machine, 1, 0), bits);
        kernel.set_mode(Mode::USER);
        let mut application = kernel;
        for (crm, opc2) in all {
            let outcome = application.execute(c14(true, crm, opc2), 4, &mut machine);
            let open = narrow.contains(&(crm, opc2));
            assert_eq!(outcome == Outcome::Next, open, "{bits:#x} c{crm} {opc2}");
            assert!(open || outcome == UNDEFINED);
        }
        for opc1 in 0..5 {
            let outcome = application.execute(wide(true, opc1), 4, &mut machine);
            assert_eq!(outcome == Outcome::Next, pairs.contains(&opc1), "{bits:#x} {opc1}");
        }
        assert_eq!(application.execute(c14(false, 0, 0), 4, &mut machine), UNDEFINED);
    }
}
