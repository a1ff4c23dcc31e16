//! Every exception, from every mode, in both instruction sets.
//!
//! # Manuals
//!
//! ARM DDI 0406C: B1.8 (exception handling), B1.8.3 (link register offsets).

use super::run_all;
use crate::case::{Case, Mode, Set, Value};
use crate::harness::Phase;
use crate::{a32, t32};

/// An address that no table maps.
const UNMAPPED: Value = Value::Word(0x2000_0100);

pub(crate) fn run(phase: Phase) {
    calls(phase);
    undefined(phase);
    blocks(phase);
    interrupts(phase);
    fast_interrupts(phase);
    if phase != Phase::MmuOff {
        aborts(phase);
    }
}

const fn case<'a>(name: &'a str, code: crate::case::Code, set: &'a [Set]) -> Case<'a> {
    Case { name, code, modes: &Mode::ALL, set, conditional: false }
}

const fn conditional<'a>(name: &'a str, code: crate::case::Code, set: &'a [Set]) -> Case<'a> {
    Case { name, code, modes: &Mode::ALL, set, conditional: true }
}

fn calls(phase: Phase) {
    run_all(
        phase,
        &[
            conditional("svc", a32!("svc #0x1234"), &[]),
            conditional("svc", t32!("svc #0x12"), &[]),
            case("bkpt", a32!("bkpt #1"), &[]),
            case("bkpt", t32!("bkpt #1"), &[]),
        ],
    );
}

fn undefined(phase: Phase) {
    run_all(
        phase,
        &[
            case("udf", a32!(".inst 0xe7f000f0"), &[]),
            case("udf", t32!(".inst.n 0xde01"), &[]),
            case("udf.w", t32!(".inst.w 0xf7f0a000"), &[]),
            // Unallocated coprocessors.
            conditional("cdp_p4", a32!(".inst 0xee000400"), &[]),
            conditional("mcr_p4", a32!(".inst 0xee000410"), &[]),
            conditional("ldc_p4", a32!(".inst 0xed970400"), &[Set::R(7, Value::Scratch(0x100))]),
            conditional("mrc_p4", t32!(".inst.w 0xee100410"), &[]),
            // CP15 registers that do not exist.
            conditional("mrc_c15_none", a32!(".inst 0xeefd0f1f"), &[]),
            conditional("mcr_c4", a32!(".inst 0xee040f10"), &[]),
            // SMC without security extensions is left out: boards differ.
        ],
    );
}

/// IT blocks: sensitive instructions in every position, and starting in a block.
fn blocks(phase: Phase) {
    // ITSTATE of the status: bits 7:2 in 15:10, 1:0 in 26:25.
    let in_equal_block = &[Set::Psr(0x0000_0400 | 0x0400_0000)];
    run_all(
        phase,
        &[
            case(
                "it_msr_mrs",
                t32!(
                    "ittet ne",
                    "mrsne r0, cpsr",
                    "movne r1, #1",
                    "moveq r2, #2",
                    "mrsne r3, cpsr",
                    "mov r4, #4"
                ),
                &[],
            ),
            case(
                "it_msr_flags",
                t32!(
                    "mov.w r5, #0x40000000",
                    "itt ne",
                    "msrne cpsr_f, r5",
                    "movne r1, #1",
                    "mov r6, #6"
                ),
                &[],
            ),
            case("it_udf", t32!("ite eq", "moveq r0, #1", ".inst.n 0xde01", "mov r1, #1"), &[]),
            case("it_svc", t32!("ittt ne", "movne r0, #1", "svcne #5", "movne r1, #1"), &[]),
            case("it_udf_failed", t32!("it eq", ".inst.n 0xde01", "mov r1, #1"), &[]),
            case("start_in_it", t32!("mov r0, #1", "mrs r1, cpsr", "mov r2, #2"), in_equal_block),
        ],
    );
}

/// A pending interrupt, let in by every instruction that can.
fn interrupts(phase: Phase) {
    let pending = &[Set::Interrupt];
    let returning = &[Set::Interrupt, Set::Lr(Value::EndA32), Set::Spsr(0x6000_0010)];
    let returning_t32 = &[Set::Interrupt, Set::Lr(Value::EndT32), Set::Spsr(0x6000_0033)];
    let loading = &[
        Set::Interrupt,
        Set::R(7, Value::Scratch(0x100)),
        Set::Memory(0x100, Value::EndA32),
        Set::Memory(0x104, Value::Word(0x6000_001f)),
        Set::Spsr(0x6000_0010),
    ];
    let let_in = &[Set::Interrupt, Set::R(5, Value::Word(0x1f))];
    let at_pl1 =
        |name, code, set| Case { name, code, modes: &Mode::PRIVILEGED, set, conditional: false };
    let saved =
        |name, code, set| Case { name, code, modes: &Mode::EXCEPTION, set, conditional: false };
    run_all(
        phase,
        &[
            at_pl1("irq_masked", a32!("nop", "mrs r0, cpsr"), pending),
            at_pl1("irq_cpsie", a32!("cpsie i", "mov r0, #1"), pending),
            at_pl1("irq_cpsie", t32!("cpsie i", "mov r0, #1"), pending),
            at_pl1("irq_cpsie_sys", a32!("cpsie i, #0x1f", "mov r0, #1"), pending),
            at_pl1("irq_cpsie_f", a32!("cpsie f", "mov r0, #1"), pending),
            at_pl1("irq_msr", a32!("msr cpsr_c, r5", "mov r0, #1"), let_in),
            at_pl1("irq_msr", t32!("msr cpsr_c, r5", "mov r0, #1"), let_in),
            at_pl1("irq_msr_imm", a32!("msr cpsr_c, #0x1f", "mov r0, #1"), pending),
            at_pl1("irq_cps_usr", a32!("cps #0x10", "mov r0, #1"), pending),
            at_pl1("irq_rfe", a32!("rfeia r7", "mov r0, #1"), loading),
            saved("irq_movs", a32!("movs pc, lr"), returning),
            saved("irq_subs", t32!("subs pc, lr, #0"), returning_t32),
            saved("irq_ldm", a32!("ldm r7, {{pc}}^"), loading),
            at_pl1("wfi_pending", a32!("wfi", "mov r0, #1"), pending),
            at_pl1("wfi_pending", t32!("wfi", "mov r0, #1"), pending),
            at_pl1("wfi_pending.w", t32!("wfi.w", "mov r0, #1"), pending),
            at_pl1("wfi_let_in", a32!("cpsie i", "wfi", "mov r0, #1"), pending),
            at_pl1("wfe", a32!("sev", "wfe", "mov r0, #1"), &[]),
            at_pl1("wfe", t32!("sev", "wfe", "mov r0, #1"), &[]),
            // In User mode it comes at once.
            Case { modes: &[Mode::Usr], ..case("irq_at_once", a32!("mov r0, #1"), pending) },
            Case { modes: &[Mode::Usr], ..case("irq_at_once", t32!("mov r0, #1"), pending) },
        ],
    );
}

/// The same as a fast interrupt.
fn fast_interrupts(phase: Phase) {
    let pending = &[Set::FastInterrupt];
    let returning = &[Set::FastInterrupt, Set::Lr(Value::EndA32), Set::Spsr(0x6000_0090)];
    let returning_t32 = &[Set::FastInterrupt, Set::Lr(Value::EndT32), Set::Spsr(0x6000_00b3)];
    let let_in = &[Set::FastInterrupt, Set::R(5, Value::Word(0x9f))];
    let at_pl1 =
        |name, code, set| Case { name, code, modes: &Mode::PRIVILEGED, set, conditional: false };
    let saved =
        |name, code, set| Case { name, code, modes: &Mode::EXCEPTION, set, conditional: false };
    run_all(
        phase,
        &[
            at_pl1("fiq_masked", a32!("cpsie i", "mrs r0, cpsr"), pending),
            at_pl1("fiq_cpsie", a32!("cpsie f", "mov r0, #1"), pending),
            at_pl1("fiq_cpsie", t32!("cpsie f", "mov r0, #1"), pending),
            at_pl1("fiq_cpsie_both", a32!("cpsie if, #0x1f", "mov r0, #1"), pending),
            at_pl1("fiq_msr", a32!("msr cpsr_c, r5", "mov r0, #1"), let_in),
            at_pl1("fiq_msr", t32!("msr cpsr_c, r5", "mov r0, #1"), let_in),
            at_pl1("fiq_wfi", a32!("wfi", "cpsie f", "mov r0, #1"), pending),
            saved("fiq_movs", a32!("movs pc, lr"), returning),
            saved("fiq_subs", t32!("subs pc, lr, #0"), returning_t32),
            Case { modes: &[Mode::Usr], ..case("fiq_at_once", a32!("mov r0, #1"), pending) },
            Case { modes: &[Mode::Usr], ..case("fiq_at_once", t32!("mov r0, #1"), pending) },
        ],
    );
}

fn aborts(phase: Phase) {
    let unmapped = &[Set::R(7, UNMAPPED)];
    let jump_t32 = &[Set::R(7, Value::Word(0x2000_0101))];
    run_all(
        phase,
        &[
            conditional("ldr_unmapped", a32!("ldr r0, [r7]"), unmapped),
            conditional("ldr_unmapped", t32!("ldr r0, [r7]"), unmapped),
            conditional("str_unmapped", a32!("str r0, [r7, #4]!"), unmapped),
            conditional("str_unmapped.w", t32!("str r0, [r7, #4]!"), unmapped),
            case("ldm_unmapped", a32!("ldm r7!, {{r0-r6}}"), unmapped),
            case("stm_unmapped", a32!("stmdb r7!, {{r0-r6}}"), unmapped),
            case("ldrd_unmapped", a32!("ldrd r0, r1, [r7]"), unmapped),
            case("ldrex_unmapped", a32!("ldrex r0, [r7]"), unmapped),
            case("bx_unmapped", a32!("bx r7"), unmapped),
            case("bx_unmapped", t32!("bx r7"), unmapped),
            case("bx_unmapped_t32", a32!("bx r7"), jump_t32),
            case(
                "it_ldr_unmapped",
                t32!("ittt ne", "movne r1, #1", "ldrne r0, [r7]", "movne r2, #2"),
                unmapped,
            ),
        ],
    );
}
