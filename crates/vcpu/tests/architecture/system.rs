//! System control registers (B4.1, B4.2).

use entresol_isa::op::{Coprocessor, CoprocessorPair, Op};
use entresol_vcpu::*;
use proptest::prelude::*;

use crate::machine::{Machine, assert_invariants, vcpu};

const UNDEFINED: Outcome = Outcome::Inject(Exception::Undefined);

/// CRn, opc1, CRm, opc2.
type Name = (u8, u8, u8, u8);

const fn op(cp: u8, read: bool, (crn, opc1, crm, opc2): Name) -> Op {
    let access = Coprocessor::new().with_cp(cp).with_read(read).with_rt(4);
    Op::Coprocessor(access.with_crn(crn).with_opc1(opc1).with_crm(crm).with_opc2(opc2))
}

fn write(vcpu: &mut Vcpu, name: Name, value: u32) -> Outcome {
    vcpu.regs[4] = value;
    vcpu.execute(op(15, false, name), 4, &mut Machine::default())
}

fn read(vcpu: &mut Vcpu, name: Name) -> u32 {
    let outcome = vcpu.execute(op(15, true, name), 4, &mut Machine::default());
    assert_eq!(outcome, Outcome::Next, "{name:?}");
    vcpu.regs[4]
}

#[test]
fn registers_keep_the_bits_they_have() {
    // Name, what all ones read back as, what all zeros do.
    let rows: [(Name, u32, u32); 22] = [
        ((1, 0, 0, 0), 0x72c5_7c7f, 0x00c5_0078),
        ((1, 0, 0, 1), u32::MAX, 0),
        ((1, 0, 0, 2), 0xc0f0_0000, 0),
        ((2, 0, 0, 0), u32::MAX, 0),
        ((2, 0, 0, 1), u32::MAX, 0),
        ((2, 0, 0, 2), 0x37, 0),
        ((3, 0, 0, 0), u32::MAX, 0),
        ((5, 0, 0, 0), u32::MAX, 0),
        ((5, 0, 0, 1), u32::MAX, 0),
        ((6, 0, 0, 0), u32::MAX, 0),
        ((6, 0, 0, 2), u32::MAX, 0),
        ((7, 0, 4, 0), u32::MAX, 0),
        ((10, 0, 2, 0), u32::MAX, 0),
        ((10, 0, 2, 1), u32::MAX, 0),
        ((12, 0, 0, 0), 0xffff_ffe0, 0),
        ((13, 0, 0, 0), 0, 0),
        ((13, 0, 0, 1), u32::MAX, 0),
        ((13, 0, 0, 2), u32::MAX, 0),
        ((13, 0, 0, 3), u32::MAX, 0),
        ((13, 0, 0, 4), u32::MAX, 0),
        ((0, 2, 0, 0), 0xf, 0),
        ((15, 4, 0, 0), 0, 0),
    ];
    for (name, ones, zeros) in rows {
        let mut vcpu = vcpu(0x13);
        let _ = write(&mut vcpu, name, u32::MAX);
        assert_eq!(read(&mut vcpu, name), ones, "{name:?}");
        let _ = write(&mut vcpu, name, 0);
        assert_eq!(read(&mut vcpu, name), zeros, "{name:?}");
        assert_eq!(vcpu.pc, 0x8010);
    }
}

#[test]
fn translation_registers_report_what_they_were() {
    use Context::*;
    let rows = [
        ((1, 0, 0, 0), Sctlr, 0x00c5_0078),
        ((2, 0, 0, 0), Ttbr0, 0),
        ((2, 0, 0, 1), Ttbr1, 0),
        ((2, 0, 0, 2), Ttbcr, 0),
        ((3, 0, 0, 0), Dacr, 0),
        ((10, 0, 2, 0), Prrr, 0x0009_8aa4),
        ((10, 0, 2, 1), Nmrr, 0x44e0_48e0),
        ((13, 0, 0, 1), Contextidr, 0),
    ];
    for (name, register, old) in rows {
        let mut vcpu = vcpu(0x13);
        let effect = Outcome::Effect(Effect::Context { register, old });
        assert_eq!(write(&mut vcpu, name, 1), effect);
        assert_eq!(write(&mut vcpu, name, 1), Outcome::Next, "nothing changed");
    }
}

#[test]
fn tlb_operations_name_what_to_forget() {
    let value = 0x1234_5677;
    let expected = [
        TlbOp::All,
        TlbOp::Address { va: 0x1234_5000, asid: 0x77 },
        TlbOp::Asid(0x77),
        TlbOp::AddressAllAsids(0x1234_5000),
    ];
    for (crm, count) in [(3, 4), (5, 3), (6, 3), (7, 4)] {
        for (opc2, tlb) in (0_u8..8).zip(expected.iter().copied().map(Some).chain([None; 4])) {
            let outcome = write(&mut vcpu(0x13), (8, 0, crm, opc2), value);
            match tlb {
                Some(tlb) if opc2 < count => {
                    assert_eq!(outcome, Outcome::Effect(Effect::Tlb(tlb)));
                }
                _ => assert_eq!(outcome, Outcome::UnknownRegister),
            }
        }
    }
    assert_eq!(write(&mut vcpu(0x13), (8, 4, 7, 0), 0), Outcome::UnknownRegister, "Hyp's");
}

#[test]
fn cache_operations_name_what_to_maintain() {
    use CacheOp::*;
    let rows = [
        ((7, 0, 1, 0), InstructionAll),
        ((7, 0, 1, 6), Branch),
        ((7, 0, 5, 0), InstructionAll),
        ((7, 0, 5, 1), InstructionAddress(0x40)),
        ((7, 0, 5, 6), Branch),
        ((7, 0, 5, 7), Branch),
        ((7, 0, 6, 1), InvalidateAddress(0x40)),
        ((7, 0, 6, 2), SetWay(0x40)),
        ((7, 0, 10, 1), CleanAddress(0x40)),
        ((7, 0, 10, 2), SetWay(0x40)),
        ((7, 0, 11, 1), CleanAddressUnification(0x40)),
        ((7, 0, 14, 1), CleanInvalidateAddress(0x40)),
        ((7, 0, 14, 2), SetWay(0x40)),
    ];
    for (name, cache) in rows {
        assert_eq!(write(&mut vcpu(0x13), name, 0x40), Outcome::Effect(Effect::Cache(cache)));
        assert_eq!(write(&mut vcpu(0x10), name, 0x40), UNDEFINED);
    }
}

#[test]
fn address_translation_is_asked_for_each_privilege_and_purpose() {
    for (opc2, write_access, privileged) in
        [(0, false, true), (1, true, true), (2, false, false), (3, true, false)]
    {
        let request = Translate { va: 0x1234, write: write_access, privileged };
        let effect = Outcome::Effect(Effect::Translate(request));
        assert_eq!(write(&mut vcpu(0x13), (7, 0, 8, opc2), 0x1234), effect);
    }
    assert_eq!(write(&mut vcpu(0x13), (7, 0, 8, 4), 0), UNDEFINED, "Secure only");
}

#[test]
fn an_application_has_thread_registers_and_barriers() {
    let mut vcpu = vcpu(0x10);
    assert_eq!(write(&mut vcpu, (13, 0, 0, 2), 7), Outcome::Next);
    assert_eq!(read(&mut vcpu, (13, 0, 0, 2)), 7);
    assert_eq!(read(&mut vcpu, (13, 0, 0, 3)), 0);
    assert_eq!(write(&mut vcpu, (13, 0, 0, 3), 7), UNDEFINED);
    assert_eq!(write(&mut vcpu, (7, 0, 5, 4), 0), Outcome::Next);
    for opc2 in [4, 5] {
        assert_eq!(write(&mut vcpu, (7, 0, 10, opc2), 0), Outcome::Effect(Effect::Barrier));
    }
}

#[test]
fn the_monitors_are_there_when_opened_and_count_nothing() {
    let mut vcpu = vcpu(0x13);
    assert_eq!(read(&mut vcpu, (9, 0, 12, 0)), 0x4109_0000);
    let _ = write(&mut vcpu, (9, 0, 12, 1), u32::MAX);
    assert_eq!(read(&mut vcpu, (9, 0, 12, 2)), 1 << 31);
    let _ = write(&mut vcpu, (9, 0, 12, 2), u32::MAX);
    assert_eq!(read(&mut vcpu, (9, 0, 12, 1)), 0);
    for enabled in [0, 1] {
        vcpu.set_mode(Mode::SYSTEM);
        let _ = write(&mut vcpu, (9, 0, 14, 0), enabled);
        vcpu.set_mode(Mode::USER);
        let outcome = vcpu.execute(op(15, true, (9, 0, 13, 0)), 4, &mut Machine::default());
        assert_eq!(outcome, if enabled == 1 { Outcome::Next } else { UNDEFINED });
        assert_eq!(read(&mut vcpu, (9, 0, 14, 0)), enabled);
        assert_eq!(write(&mut vcpu, (9, 0, 14, 1), 1), UNDEFINED);
    }
}

#[test]
fn secure_registers_do_not_exist_and_strangers_are_reported() {
    for name in [(1, 0, 1, 0), (1, 0, 1, 1), (12, 0, 0, 1)] {
        assert_eq!(write(&mut vcpu(0x13), name, 0), UNDEFINED);
        let outcome = vcpu(0x13).execute(op(15, true, name), 4, &mut Machine::default());
        assert_eq!(outcome, UNDEFINED);
    }
    assert_eq!(read(&mut vcpu(0x13), (1, 0, 1, 2)), 0xc00, "NSACR reads");
    assert_eq!(write(&mut vcpu(0x13), (1, 0, 1, 2), 0), UNDEFINED);
    let mut stranger = vcpu(0x13);
    assert_eq!(write(&mut stranger, (4, 0, 0, 0), 0), Outcome::UnknownRegister);
    assert_eq!(stranger.pc, 0x8000);
    let pair = CoprocessorPair::new().with_cp(15).with_read(true).with_crm(2).with_rt2(1);
    let outcome = stranger.execute(Op::CoprocessorPair(pair), 4, &mut Machine::default());
    assert_eq!(outcome, Outcome::UnknownRegister, "TTBR0 of LPAE");
}

#[test]
fn pending_exceptions_are_readable() {
    let mut vcpu = vcpu(0x1d3);
    vcpu.pending = psr::I;
    assert_eq!(read(&mut vcpu, (12, 0, 1, 0)), 0x80);
}

#[test]
fn the_processor_is_one_cortex_a9_with_a_timer() {
    let mut vcpu = vcpu(0x13);
    assert_eq!(read(&mut vcpu, (0, 0, 0, 0)), 0x413f_c090);
    assert_eq!(read(&mut vcpu, (0, 0, 0, 5)), 0xc000_0000);
    assert_eq!(read(&mut vcpu, (0, 0, 1, 1)) >> 16 & 0xf, 1);
    assert_eq!(read(&mut vcpu, (0, 0, 1, 4)) & 0xf, 3);
    assert_eq!(read(&mut vcpu, (0, 0, 5, 3)), 0, "reserved identification reads as zero");
    let _ = write(&mut vcpu, (0, 2, 0, 0), 1);
    assert_eq!(read(&mut vcpu, (0, 1, 0, 0)), 0x200f_e019);
    let _ = write(&mut vcpu, (0, 2, 0, 0), 15);
    assert_eq!(read(&mut vcpu, (0, 1, 0, 0)), 0);
    assert_eq!(write(&mut vcpu, (0, 0, 0, 0), 0), UNDEFINED);
}

#[test]
fn an_identity_is_the_machines_without_what_guests_do_not_have() {
    // Cortex-A15: PFR1 has virtualization and timer, MMFR0 has LPAE.
    let raw = Identity {
        mpidr: 0x8000_0001,
        pfr0: 0x1131,
        pfr1: 0x0001_1011,
        dfr0: 0x0201_0555,
        mmfr: [0x1020_1105, 0x2000_0000, 0x0124_0000, 0x0210_2211],
        ..Identity::CORTEX_A9
    };
    let identity = Identity::from_machine(Raw(raw));
    assert_eq!(identity.mpidr, 0xc000_0000);
    assert_eq!((identity.pfr0, identity.pfr1, identity.dfr0), (0x131, 0x0001_0011, 0));
    assert_eq!(identity.mmfr[0], 0x1020_1103);
    let again = Identity::from_machine(Raw(identity));
    assert_eq!(again, identity);
}

#[test]
fn reading_into_pc_sets_the_flags() {
    let mut vcpu = vcpu(0x13);
    vcpu.cp15.tpidrprw = 0xa000_ffff;
    let read = Coprocessor::new().with_cp(15).with_read(true).with_crn(13).with_opc2(4).with_rt(15);
    assert_eq!(vcpu.execute(Op::Coprocessor(read), 4, &mut Machine::default()), Outcome::Next);
    assert_eq!((vcpu.cpsr(), vcpu.pc), (0xa000_0013, 0x8004));
}

#[test]
fn there_is_no_debug_architecture_and_probing_for_it_is_harmless() {
    let mut vcpu = vcpu(0x13);
    vcpu.regs[4] = 5;
    let didr = op(14, true, (0, 0, 0, 0));
    assert_eq!(vcpu.execute(didr, 4, &mut Machine::default()), Outcome::Next);
    assert_eq!(vcpu.regs[4], 0);
    let os_lock = op(14, false, (1, 0, 0, 4));
    assert_eq!(vcpu.execute(os_lock, 4, &mut Machine::default()), Outcome::Next);
    vcpu.set_mode(Mode::USER);
    assert_eq!(vcpu.execute(didr, 4, &mut Machine::default()), Outcome::Next);
    assert_eq!(vcpu.execute(os_lock, 4, &mut Machine::default()), UNDEFINED);
}

proptest! {
    #[test]
    fn no_access_breaks_the_invariants_or_goes_unanswered(
        cp in 14_u8..16, privileged: bool, access: u32, value: u32
    ) {
        let mut vcpu = vcpu(if privileged { 0x13 } else { 0x10 });
        vcpu.regs = [value; 15];
        let access = Coprocessor::from_bits(access).with_cp(cp);
        let before = vcpu.clone();
        let outcome = vcpu.execute(Op::Coprocessor(access), 4, &mut Machine::default());
        assert_invariants(&vcpu);
        match outcome {
            Outcome::Next | Outcome::Effect(_) => prop_assert_eq!(vcpu.pc, 0x8004),
            UNDEFINED | Outcome::UnknownRegister => prop_assert_eq!(vcpu, before),
            other => prop_assert!(false, "{:?}", other),
        }
        if !privileged {
            prop_assert!(outcome != Outcome::UnknownRegister, "applications get exceptions");
        }
    }
}
