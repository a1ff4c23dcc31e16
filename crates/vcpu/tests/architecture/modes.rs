//! Modes, banks and status registers (B1.3).

use entresol_vcpu::*;
use proptest::prelude::*;

use crate::machine::{assert_invariants, vcpu};

fn any_mode() -> impl Strategy<Value = Mode> {
    proptest::sample::select(Mode::ALL.to_vec())
}

#[test]
fn reset_is_supervisor_mode_with_everything_masked() {
    // B1.9.1.
    let mut vcpu = Vcpu::new();
    vcpu.cp15.identity.midr = 1;
    vcpu.cp15.dacr = 5;
    vcpu.reset(0x4000_8000, 1, 2, 3);
    assert_eq!(vcpu.cpsr(), 0x1d3);
    assert_eq!(vcpu.psr, 0x10);
    assert_eq!(vcpu.pc, 0x4000_8000);
    assert_eq!(&vcpu.regs[..4], &[1, 2, 3, 0]);
    assert_eq!(vcpu.cp15.sctlr, 0x00c5_0078);
    assert_eq!((vcpu.cp15.vbar, vcpu.cp15.dacr), (0, 0));
    assert_eq!(vcpu.cp15.identity.midr, 1, "the processor is the same");
    vcpu.reset(0x4000_8001, 0, 0, 0);
    assert_eq!((vcpu.cpsr(), vcpu.pc), (0x1f3, 0x4000_8000));
}

#[test]
fn every_mode_pair_keeps_both_sets_of_registers() {
    for from in Mode::ALL {
        for to in Mode::ALL {
            let mut vcpu = vcpu(0x10);
            // Give every mode values of its own.
            for (index, mode) in (1_u32..).zip(Mode::ALL) {
                vcpu.set_mode(mode);
                vcpu.regs[13] = index * 0x100 + 13;
                vcpu.regs[14] = index * 0x100 + 14;
                if mode == Mode::FIQ {
                    vcpu.regs[8..13].fill(0xf1);
                }
            }
            vcpu.set_mode(from);
            let before = vcpu.regs;
            vcpu.set_mode(to);
            let inside = vcpu.regs;
            assert_eq!(before[..8], inside[..8]);
            assert_eq!(before[8..13] == inside[8..13], (from == Mode::FIQ) == (to == Mode::FIQ));
            assert_eq!(before[13..] == inside[13..], from.bank() == to.bank(), "{from:?} {to:?}");
            // System shares User's; it was written last.
            let owner = if to == Mode::USER { Mode::SYSTEM } else { to };
            let index = (1..).zip(Mode::ALL).find(|(_, mode)| *mode == owner).unwrap().0;
            assert_eq!(inside[13], index * 0x100 + 13);
            assert_eq!(inside[14], index * 0x100 + 14);
            vcpu.set_mode(from);
            assert_eq!(vcpu.regs, before);
        }
    }
}

#[test]
fn seven_modes_exist_and_no_other() {
    let legal: Vec<u32> = (0..32).filter(|bits| Mode::decode(*bits).is_some()).collect();
    assert_eq!(legal, [0x10, 0x11, 0x12, 0x13, 0x17, 0x1b, 0x1f], "no Monitor, no Hyp");
}

#[test]
fn an_application_changes_flags_and_byte_order_only() {
    let mut vcpu = vcpu(0x1_0010);
    vcpu.write_cpsr(0xffff_ffff, 0b1111);
    assert_eq!(vcpu.cpsr(), 0xf80f_0210);
    vcpu.write_cpsr(0x0000_001f, 0b1111);
    assert_eq!(vcpu.cpsr(), 0x0000_0010);
}

#[test]
fn a_kernel_changes_masks_and_mode_by_the_control_field() {
    let mut vcpu = vcpu(0x1d3);
    vcpu.write_cpsr(0xffff_ff1f, 0b0001);
    assert_eq!(vcpu.cpsr(), 0x11f, "c is I, F and mode; A is in x");
    vcpu.write_cpsr(0xffff_ff13, 0b1000);
    assert_eq!(vcpu.cpsr(), 0xf800_011f);
    vcpu.write_cpsr(0, 0b0010);
    assert_eq!(vcpu.cpsr(), 0xf800_001f);
    vcpu.write_cpsr(0x000a_0000, 0b0100);
    assert_eq!(vcpu.cpsr(), 0xf80a_001f);
}

#[test]
fn no_one_writes_the_execution_state() {
    // CPSRWriteByInstr: T, J and IT are for exception returns only.
    let mut vcpu = vcpu(0x13);
    vcpu.write_cpsr(0x0700_fc33, 0b1111);
    assert_eq!(vcpu.cpsr() & (psr::T | psr::IT | psr::J), 0);
}

#[test]
fn a_mode_that_does_not_exist_is_not_entered() {
    for bits in (0..32).filter(|bits| Mode::decode(*bits).is_none()) {
        let mut vcpu = vcpu(0x13);
        vcpu.write_cpsr(0x80 | bits, 1);
        assert_eq!(vcpu.cpsr(), 0x93, "{bits:#x}");
    }
}

#[test]
fn saved_status_belongs_to_a_mode_and_to_none_in_system() {
    let mut vcpu = vcpu(0x13);
    vcpu.set_spsr(0xf00f_fff0, 0b1111);
    vcpu.set_mode(Mode::IRQ);
    assert_eq!(vcpu.spsr(), 0);
    vcpu.set_spsr(0xffff_ffff, 0b0101);
    assert_eq!(vcpu.spsr(), 0x000f_00ff, "bits 23:20 are reserved");
    vcpu.set_mode(Mode::SYSTEM);
    vcpu.set_spsr(0xffff_ffff, 0b1111);
    assert_eq!(vcpu.spsr(), 0);
    vcpu.set_mode(Mode::SUPERVISOR);
    assert_eq!(vcpu.spsr(), 0xf00f_fff0);
}

#[test]
fn another_modes_stack_pointer_is_reached_wherever_it_is() {
    let mut vcpu = vcpu(0x12);
    vcpu.set_stack_pointer(Mode::SUPERVISOR, 1);
    vcpu.set_stack_pointer(Mode::IRQ, 2);
    assert_eq!((vcpu.stack_pointer(Mode::SUPERVISOR), vcpu.stack_pointer(Mode::IRQ)), (1, 2));
    assert_eq!(vcpu.regs[13], 2);
    vcpu.set_mode(Mode::SUPERVISOR);
    assert_eq!(vcpu.regs[13], 1);
}

#[test]
fn pc_reads_eight_ahead_in_a32_and_four_in_t32() {
    assert_eq!(vcpu(0x13).register(15), 0x8008);
    assert_eq!(vcpu(0x33).register(15), 0x8004);
}

proptest! {
    #[test]
    fn no_write_breaks_the_invariants(
        start in any_mode(), writes in proptest::collection::vec((any::<u32>(), 0_u8..16, 0_u8..3), 1..20)
    ) {
        let mut vcpu = vcpu(start.bits());
        for (value, fields, what) in writes {
            match what {
                0 => vcpu.write_cpsr(value, fields),
                1 => vcpu.set_spsr(value, fields),
                _ => vcpu.return_to(value, value),
            }
            assert_invariants(&vcpu);
        }
    }

    #[test]
    fn a_walk_through_modes_loses_nothing(
        modes in proptest::collection::vec(any_mode(), 1..30), seed in any::<[u32; 15]>()
    ) {
        let mut vcpu = vcpu(0x13);
        vcpu.regs = seed;
        for mode in modes {
            vcpu.set_mode(mode);
        }
        vcpu.set_mode(Mode::SUPERVISOR);
        prop_assert_eq!(vcpu.regs, seed);
    }

    #[test]
    fn a_status_write_touches_selected_bytes_only(
        start in any_mode(), old in any::<u32>(), value in any::<u32>(), fields in 0_u8..16
    ) {
        let mut vcpu = vcpu(start.bits());
        vcpu.write_cpsr(old, 0b1110);
        let before = vcpu.cpsr();
        vcpu.write_cpsr(value, fields);
        for byte in 0..4 {
            let mask = 0xff_u32 << (8 * byte);
            if fields >> byte & 1 == 0 {
                prop_assert_eq!(before & mask, vcpu.cpsr() & mask);
            }
        }
    }
}
