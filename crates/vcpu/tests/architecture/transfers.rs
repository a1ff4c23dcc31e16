//! Loads and stores made for the guest: unprivileged, and to devices (A8.8).

use entresol_isa::op::*;
use entresol_vcpu::*;
use proptest::prelude::*;

use crate::machine::{Machine, assert_invariants, vcpu};

const WORD: Transfer = Transfer {
    load: true,
    width: Width::Word,
    signed: false,
    rt: 1,
    rt2: 1,
    rn: 0,
    offset: Offset::Immediate(4),
    add: true,
    index: true,
    writeback: false,
};

fn run(vcpu: &mut Vcpu, transfer: Transfer, machine: &mut Machine) -> Outcome {
    vcpu.access(&Access::Transfer(transfer), 4, machine)
}

#[test]
fn ldrt_and_strt_use_the_applications_permissions() {
    for load in [true, false] {
        let mut machine = Machine::with_words(0x1000, &[0x1234_5678]);
        let mut vcpu = vcpu(0x13);
        vcpu.regs[0] = 0x1000;
        // ldrt r1, [r0], #4
        let op = Op::Unprivileged(Transfer { load, index: false, writeback: true, ..WORD });
        assert_eq!(vcpu.execute(op, 4, &mut machine), Outcome::Next);
        assert_eq!(machine.accesses, [(0x1000, false)]);
        assert_eq!(vcpu.regs[..2], [0x1004, if load { 0x1234_5678 } else { 0 }]);
        assert_eq!(vcpu.pc, 0x8004);
    }
}

#[test]
fn a_failed_ldrt_leaves_its_base() {
    let mut machine = Machine { fail: Some((0x1000, Abort::Retry)), ..Machine::default() };
    let mut vcpu = vcpu(0x13);
    vcpu.regs[0] = 0x1000;
    let before = vcpu.clone();
    let op = Op::Unprivileged(Transfer { index: false, writeback: true, ..WORD });
    assert_eq!(vcpu.execute(op, 4, &mut machine), Outcome::Retry);
    assert_eq!(vcpu, before);
}

#[test]
fn addresses_are_computed_in_every_addressing_mode() {
    // index, add, writeback; address, base afterwards.
    let rows = [
        (true, true, false, 0x1010, 0x1000),
        (true, false, false, 0x0ff0, 0x1000),
        (true, true, true, 0x1010, 0x1010),
        (true, false, true, 0x0ff0, 0x0ff0),
        (false, true, true, 0x1000, 0x1010),
        (false, false, true, 0x1000, 0x0ff0),
    ];
    for (index, add, writeback, address, base) in rows {
        for offset in [Offset::Immediate(0x10), Offset::Register { rm: 2, kind: 0, amount: 2 }] {
            let mut machine = Machine::with_words(address, &[77]);
            let mut vcpu = vcpu(0x13);
            vcpu.regs[0] = 0x1000;
            vcpu.regs[2] = 4;
            let transfer = Transfer { offset, index, add, writeback, ..WORD };
            assert_eq!(run(&mut vcpu, transfer, &mut machine), Outcome::Next);
            assert_eq!((vcpu.regs[0], vcpu.regs[1]), (base, 77));
        }
    }
}

#[test]
fn a_literal_is_relative_to_the_aligned_pc() {
    let mut vcpu = vcpu(0x33);
    vcpu.pc = 0x8002;
    let planned = vcpu.plan(&Transfer { rn: 15, ..WORD });
    assert_eq!(planned.address, 0x8008, "Align(0x8006, 4) + 4");
}

#[test]
fn loads_extend_and_stores_truncate() {
    let rows = [
        (Width::Byte, false, 0x81),
        (Width::Byte, true, 0xffff_ff81),
        (Width::Half, false, 0x8281),
        (Width::Half, true, 0xffff_8281),
        (Width::Word, false, 0x8483_8281),
    ];
    for (width, signed, expected) in rows {
        let mut machine = Machine::with_words(0x1004, &[0x8483_8281]);
        let mut vcpu = vcpu(0x10);
        vcpu.regs[0] = 0x1000;
        let _ = run(&mut vcpu, Transfer { width, signed, ..WORD }, &mut machine);
        assert_eq!(vcpu.regs[1], expected);
        assert_eq!(machine.accesses, [(0x1004, false)], "an application's own access");
    }
    let vcpu = {
        let mut vcpu = vcpu(0x13);
        vcpu.regs[1] = 0x8483_8281;
        vcpu
    };
    for (width, expected) in
        [(Width::Byte, 0x81), (Width::Half, 0x8281), (Width::Word, 0x8483_8281)]
    {
        assert_eq!(vcpu.store_value(&Transfer { width, ..WORD })[0], expected);
    }
}

#[test]
fn big_endian_data_are_swapped_by_their_width() {
    for (width, expected) in
        [(Width::Byte, 0x81), (Width::Half, 0x8182), (Width::Word, 0x8182_8384)]
    {
        let mut machine = Machine::with_words(0x1004, &[0x8483_8281]);
        let mut vcpu = vcpu(0x13 | psr::E);
        vcpu.regs[0] = 0x1000;
        let _ = run(&mut vcpu, Transfer { width, ..WORD }, &mut machine);
        assert_eq!(vcpu.regs[1], expected);
        let _ = run(&mut vcpu, Transfer { load: false, width, ..WORD }, &mut machine);
        assert_eq!(machine.word(0x1004), 0x8483_8281, "what was loaded stores back the same");
    }
}

#[test]
fn a_pair_is_two_words() {
    let mut machine = Machine::with_words(0x1004, &[11, 12]);
    let mut vcpu = vcpu(0x13);
    vcpu.regs[0] = 0x1000;
    let pair = Transfer { width: Width::Double, rt: 2, rt2: 3, ..WORD };
    assert_eq!(run(&mut vcpu, pair, &mut machine), Outcome::Next);
    assert_eq!(vcpu.regs[2..4], [11, 12]);
    vcpu.regs[2..4].copy_from_slice(&[21, 22]);
    assert_eq!(run(&mut vcpu, Transfer { load: false, ..pair }, &mut machine), Outcome::Next);
    assert_eq!((machine.word(0x1004), machine.word(0x1008)), (21, 22));
}

#[test]
fn a_load_of_pc_selects_the_instruction_set() {
    let mut machine = Machine::with_words(0x1004, &[0x2_0001]);
    let mut vcpu = vcpu(0x13);
    vcpu.regs[0] = 0x1000;
    let pc = Transfer { rt: 15, ..WORD };
    assert_eq!(run(&mut vcpu, pc, &mut machine), Outcome::Jumped);
    assert_eq!((vcpu.pc, vcpu.thumb()), (0x2_0000, true));
    machine.put(0x1004, 0x3_0000);
    assert_eq!(run(&mut vcpu, pc, &mut machine), Outcome::Jumped);
    assert_eq!((vcpu.pc, vcpu.thumb()), (0x3_0000, false));
    // In the middle of an IT block, which is UNPREDICTABLE.
    vcpu.return_to(0x8000, 0x0c33);
    assert_eq!(run(&mut vcpu, pc, &mut machine), Outcome::Jumped);
    assert_invariants(&vcpu);
}

#[test]
fn misaligned_words_fault_only_when_asked_for() {
    let mut machine = Machine::default();
    let mut vcpu = vcpu(0x13);
    vcpu.regs[0] = 0x1001;
    assert_eq!(run(&mut vcpu, WORD, &mut machine), Outcome::Next);
    vcpu.cp15.sctlr |= 2;
    let fault = |dfsr| Outcome::Inject(Exception::DataAbort { dfsr, dfar: 0x1005 });
    assert_eq!(run(&mut vcpu, WORD, &mut machine), fault(1));
    assert_eq!(run(&mut vcpu, Transfer { load: false, ..WORD }, &mut machine), fault(0x801));
    let byte = Transfer { width: Width::Byte, ..WORD };
    assert_eq!(run(&mut vcpu, byte, &mut machine), Outcome::Next);
    vcpu.cp15.sctlr &= !2;
    let pair = Transfer { width: Width::Double, rt2: 2, ..WORD };
    assert_eq!(run(&mut vcpu, pair, &mut machine), fault(1), "LDRD is always aligned");
}

#[test]
fn several_registers_reach_a_device() {
    let mut machine = Machine::with_words(0x1000, &[1, 2, 0x4_0001]);
    let mut vcpu = vcpu(0x13);
    vcpu.regs[0] = 0x1000;
    let multiple = Multiple::new().with_list(0x800c).with_up(true).with_writeback(true);
    let access = Access::Multiple { load: true, multiple };
    assert_eq!(vcpu.access(&access, 4, &mut machine), Outcome::Jumped);
    assert_eq!((vcpu.regs[0], &vcpu.regs[2..4]), (0x100c, &[1, 2][..]));
    assert_eq!((vcpu.pc, vcpu.thumb()), (0x4_0000, true));
    let multiple = Multiple::new().with_list(0x000c).with_before(true).with_writeback(true);
    let access = Access::Multiple { load: false, multiple };
    assert_eq!(vcpu.access(&access, 4, &mut machine), Outcome::Next);
    assert_eq!((vcpu.regs[0], machine.word(0x1004), machine.word(0x1008)), (0x1004, 1, 2));
    assert_eq!(vcpu.access(&Access::Exclusive, 4, &mut machine), Outcome::Unsupported);
}

proptest! {
    #[test]
    fn what_is_stored_is_loaded(
        value: u32, base in 0x1000_u32..0x8000_0000, offset in 0_u32..4096, big: bool, add: bool
    ) {
        let mut machine = Machine::default();
        let mut vcpu = vcpu(if big { 0x213 } else { 0x13 });
        vcpu.regs[0] = base;
        vcpu.regs[1] = value;
        let transfer = Transfer { offset: Offset::Immediate(offset), add, ..WORD };
        prop_assert_eq!(run(&mut vcpu, Transfer { load: false, ..transfer }, &mut machine), Outcome::Next);
        vcpu.regs[1] = 0;
        prop_assert_eq!(run(&mut vcpu, transfer, &mut machine), Outcome::Next);
        prop_assert_eq!(vcpu.regs[1], value);
    }
}
