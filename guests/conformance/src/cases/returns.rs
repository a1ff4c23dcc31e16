//! Instructions that return from an exception or touch another mode's registers: MOVS pc
//! and its kin, RFE, SRS, LDM and STM with ^.
//!
//! # Manuals
//!
//! ARM DDI 0406C: B9.3.5, B9.3.6 (LDM), B9.3.13 (RFE), B9.3.15 (SRS), B9.3.17 (STM),
//! B9.3.19, B9.3.20 (SUBS pc, lr and related).

use crate::case::{Case, Code, Mode, Set, Value};
use crate::harness::{self, Phase};
use crate::name::Name;

/// CPSR.T.
const T32: u32 = 0x20;
/// Flags Z and C, that differ from the initial ones.
const FLAGS: u32 = 0x6000_0000;

pub(crate) fn run(phase: Phase) {
    move_to_pc(phase);
    operations_to_pc(phase);
    load_with_pc(phase);
    return_from_exception(phase);
    store_return_state(phase);
    user_registers(phase);
}

/// Statuses to return to: every mode, both instruction sets.
fn targets() -> impl Iterator<Item = (Name, u32, Value)> {
    Mode::ALL.into_iter().flat_map(|mode| {
        let masked = if mode == Mode::Usr { 0 } else { 0xc0 };
        let status = FLAGS | masked | mode as u32;
        [
            (Name::new(format_args!("{}_a32", mode.name())), status, Value::EndA32),
            (Name::new(format_args!("{}_t32", mode.name())), status | T32, Value::EndT32),
        ]
    })
}

fn move_to_pc(phase: Phase) {
    let forms = [
        ("movs_pc_lr", Code::WordA32(0xe1b0_f00e)),
        ("subs_pc_lr_4", Code::WordA32(0xe25e_f004)),
        ("subs_pc_lr_0", Code::WordA32(0xe25e_f000)),
        ("subs_pc_lr_0", Code::WordT32(0xf3de_8f00)),
        ("subs_pc_lr_4", Code::WordT32(0xf3de_8f04)),
    ];
    for (form, code) in forms {
        for (target, status, end) in targets() {
            let name = Name::new(format_args!("{form}.{}", target.as_str()));
            let set = [Set::Lr(end), Set::Spsr(status)];
            let modes = &Mode::EXCEPTION;
            let conditional = status & 0x3f == 0x10;
            harness::run(phase, &Case { name: name.as_str(), code, modes, set: &set, conditional });
        }
    }
}

/// Every operation that can write pc, arranged to give lr.
///
/// The manual makes all of them exception returns; QEMU only SUBS and MOVS. The others
/// are marked `manual`: there a run on QEMU is wrong and one under Entresol may be right.
fn operations_to_pc(phase: Phase) {
    let forms = [
        ("ands", crate::a32!("mvn r1, #0", "ands pc, lr, r1")),
        ("eors", crate::a32!("mov r2, #0", "eors pc, lr, r2")),
        ("subs_reg", crate::a32!("mov r2, #0", "subs pc, lr, r2")),
        ("rsbs", crate::a32!("mov r2, #0", "rsbs pc, r2, lr")),
        ("adds", crate::a32!("adds pc, lr, #0")),
        ("adds_reg", crate::a32!("mov r2, #4", "adds pc, lr, r2, lsl #0")),
        ("adcs", crate::a32!("mvn r1, #0", "adcs pc, lr, r1")),
        ("sbcs", crate::a32!("sbcs pc, lr, #0")),
        ("rscs", crate::a32!("mov r2, #0", "rscs pc, r2, lr")),
        ("orrs", crate::a32!("orrs pc, lr, #0")),
        ("bics", crate::a32!("bics pc, lr, #0")),
        ("mvns", crate::a32!("mvn r3, lr", "mvns pc, r3")),
        ("rors", crate::a32!("mov r4, lr, ror #4", ".inst 0xe1b0fe64")),
        ("lsls", crate::a32!("mov r4, lr, lsr #1", ".inst 0xe1b0f084")),
        ("movs_r3", crate::a32!("mov r3, lr", ".inst 0xe1b0f003")),
    ];
    for (form, code) in forms {
        for status in [0x6000_0010, 0x9000_00df, 0x3000_00d2] {
            let returns_on_qemu = matches!(form, "subs_reg" | "rors" | "lsls" | "movs_r3");
            let manual = if returns_on_qemu { "" } else { ".manual" };
            let name = Name::new(format_args!("{form}_pc{manual}.{status:08x}"));
            let set = [Set::Lr(Value::EndA32), Set::Spsr(status)];
            let modes = &Mode::SUPERVISOR;
            harness::run(
                phase,
                &Case { name: name.as_str(), code, modes, set: &set, conditional: false },
            );
        }
    }
}

/// LDM with pc and ^: base, addressing, write-back.
fn load_with_pc(phase: Phase) {
    // P and U; the word of pc is the highest of four.
    for (addressing, bits, last) in
        [("ia", 0b01, 0x10c), ("ib", 0b11, 0x110), ("da", 0b00, 0x100), ("db", 0b10, 0x0fc)]
    {
        for write_back in [0, 1] {
            for (target, status, end) in targets() {
                let bang = if write_back == 1 { "!" } else { "" };
                let name = Name::new(format_args!("ldm{addressing}{bang}_pc^.{}", target.as_str()));
                // ldm r7, {r0, r3, r9, pc}^
                let word = 0xe857_8209 | bits << 23 | write_back << 21;
                let set =
                    [Set::R(7, Value::Scratch(0x100)), Set::Memory(last, end), Set::Spsr(status)];
                let code = Code::WordA32(word);
                let modes: &[Mode] =
                    if addressing == "ia" { &Mode::EXCEPTION } else { &Mode::SUPERVISOR };
                let conditional = status & 0x3f == 0x10;
                harness::run(
                    phase,
                    &Case { name: name.as_str(), code, modes, set: &set, conditional },
                );
            }
        }
    }
}

/// RFE: addressing, write-back.
fn return_from_exception(phase: Phase) {
    for (addressing, bits, first) in
        [("ia", 0b01, 0x100), ("ib", 0b11, 0x104), ("da", 0b00, 0x0fc), ("db", 0b10, 0x0f8)]
    {
        for write_back in [0, 1] {
            for (target, status, end) in targets() {
                let bang = if write_back == 1 { "!" } else { "" };
                let name = Name::new(format_args!("rfe{addressing}{bang}.{}", target.as_str()));
                let set = [
                    Set::R(7, Value::Scratch(0x100)),
                    Set::Memory(first, end),
                    Set::Memory(first + 4, Value::Word(status)),
                ];
                let modes: &[Mode] =
                    if addressing == "ia" { &Mode::PRIVILEGED } else { &Mode::SUPERVISOR };
                let code = Code::WordA32(0xf817_0a00 | bits << 23 | write_back << 21);
                harness::run(
                    phase,
                    &Case { name: name.as_str(), code, modes, set: &set, conditional: false },
                );
                let t32 = match addressing {
                    "ia" => 0xe997_c000,
                    "db" => 0xe817_c000,
                    _ => continue,
                };
                let code = Code::WordT32(t32 | write_back << 21);
                harness::run(
                    phase,
                    &Case {
                        name: name.as_str(),
                        code,
                        modes,
                        set: &set,
                        conditional: status & 0x3f == 0x10,
                    },
                );
            }
        }
    }
}

/// SRS: addressing, write-back, to the stack of every mode that has one.
fn store_return_state(phase: Phase) {
    for (addressing, bits) in [("ia", 0b01), ("ib", 0b11), ("da", 0b00), ("db", 0b10)] {
        for write_back in [0, 1] {
            for stack in Mode::EXCEPTION {
                let bang = if write_back == 1 { "!" } else { "" };
                let name = Name::new(format_args!("srs{addressing}_{}{bang}", stack.name()));
                let modes = &Mode::EXCEPTION;
                let set = &[];
                let code =
                    Code::WordA32(0xf84d_0500 | bits << 23 | write_back << 21 | stack as u32);
                harness::run(
                    phase,
                    &Case { name: name.as_str(), code, modes, set, conditional: false },
                );
                let t32 = match addressing {
                    "ia" => 0xe98d_c000,
                    "db" => 0xe80d_c000,
                    _ => continue,
                };
                let code = Code::WordT32(t32 | write_back << 21 | stack as u32);
                // QEMU leaves the IT state as it was before the last instruction of a block.
                let name = Name::new(format_args!("{}.manual", name.as_str()));
                harness::run(
                    phase,
                    &Case { name: name.as_str(), code, modes, set, conditional: true },
                );
            }
        }
    }
}

/// LDM and STM of User mode's registers.
fn user_registers(phase: Phase) {
    let lists = [0x6000, 0x7fff & !(1 << 7), 0x1f00, 0x2001, 0x4001];
    for (addressing, bits) in [("ia", 0b01), ("ib", 0b11), ("da", 0b00), ("db", 0b10)] {
        for list in lists {
            let set = [Set::R(7, Value::Scratch(0x200))];
            let modes = &Mode::EXCEPTION;
            let conditional = addressing == "ia";
            let name = Name::new(format_args!("ldm{addressing}_{list:04x}^"));
            let code = Code::WordA32(0xe857_0000 | bits << 23 | list);
            harness::run(phase, &Case { name: name.as_str(), code, modes, set: &set, conditional });
            let name = Name::new(format_args!("stm{addressing}_{list:04x}^"));
            let code = Code::WordA32(0xe847_0000 | bits << 23 | list);
            harness::run(phase, &Case { name: name.as_str(), code, modes, set: &set, conditional });
        }
    }
}
