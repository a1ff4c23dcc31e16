//! Instructions that read and write the status: CPS, MRS, MSR, SETEND, in every form.
//!
//! # Manuals
//!
//! ARM DDI 0406C: B9.3.2 (CPS), B9.3.8 to B9.3.12 (MRS, MSR), A8.8.109 (MSR immediate),
//! A8.8.165 (SETEND).

use crate::case::{Case, Code, Mode, Set, Value};
use crate::harness::{self, Phase};
use crate::name::Name;

/// Statuses to write: flags with GE and Q, then the same with each mode.
const WRITTEN: [u32; 3] = [0x580f_00d3, 0x0000_011f, 0xf800_02d7];

/// Modes that CPS may enter from PL1.
const ENTERED: [Mode; 7] = Mode::ALL;

pub(crate) fn run(phase: Phase) {
    change_state(phase);
    read_status(phase);
    write_status(phase);
    write_flags_immediate(phase);
    set_endianness(phase);
}

fn one(phase: Phase, name: &Name, code: Code, modes: &[Mode], set: &[Set], conditional: bool) {
    harness::run(phase, &Case { name: name.as_str(), code, modes, set, conditional });
}

/// CPS: enabling or disabling any of A, I and F, with and without a mode, or a mode alone.
fn change_state(phase: Phase) {
    for imod in [0b00, 0b10, 0b11] {
        let effect = match imod {
            0b00 => "",
            0b10 => "ie",
            _ => "id",
        };
        for aif in 0..8_u32 {
            // No change of masks names no mask; a change names at least one.
            if (imod == 0b00) != (aif == 0) {
                continue;
            }
            if imod != 0 {
                let name = Name::new(format_args!("cps{effect}_{aif:03b}"));
                let a32 = 0xf100_0000 | imod << 18 | aif << 6;
                one(phase, &name, Code::WordA32(a32), &Mode::ALL, &[], false);
                let narrow = 0xb660 | (imod & 1) << 4 | aif;
                one(phase, &name, Code::WordT32(narrow), &Mode::ALL, &[], false);
                let name = Name::new(format_args!("cps{effect}_{aif:03b}.w"));
                let wide = 0xf3af_8000 | imod << 9 | aif << 5;
                one(phase, &name, Code::WordT32(wide), &Mode::SUPERVISOR, &[], false);
            }
            // Masks with modes: one set of masks is enough.
            if !matches!(aif, 0 | 0b010 | 0b111) {
                continue;
            }
            for mode in ENTERED {
                let name = Name::new(format_args!("cps{effect}_{aif:03b}_{}", mode.name()));
                let mode = mode as u32;
                let a32 = 0xf102_0000 | imod << 18 | aif << 6 | mode;
                one(phase, &name, Code::WordA32(a32), &Mode::ALL, &[], false);
                let wide = 0xf3af_8100 | imod << 9 | aif << 5 | mode;
                one(phase, &name, Code::WordT32(wide), &Mode::ALL, &[], false);
            }
        }
    }
}

/// MRS of both statuses, to a low and a high register.
fn read_status(phase: Phase) {
    for rd in [0, 5, 12, 14] {
        let name = Name::new(format_args!("mrs_r{rd}_cpsr"));
        one(phase, &name, Code::WordA32(0xe10f_0000 | rd << 12), &Mode::ALL, &[], true);
        one(phase, &name, Code::WordT32(0xf3ef_8000 | rd << 8), &Mode::ALL, &[], true);
        let name = Name::new(format_args!("mrs_r{rd}_spsr"));
        one(phase, &name, Code::WordA32(0xe14f_0000 | rd << 12), &Mode::EXCEPTION, &[], true);
        one(phase, &name, Code::WordT32(0xf3ff_8000 | rd << 8), &Mode::EXCEPTION, &[], true);
    }
}

/// MSR from a register: every mask, both statuses.
fn write_status(phase: Phase) {
    for mask in 1..16 {
        for value in WRITTEN {
            let set = [Set::R(5, Value::Word(value))];
            let conditional = value == 0x580f_00d3;
            let name = Name::new(format_args!("msr_cpsr_{mask:04b}_{value:08x}"));
            let a32 = Code::WordA32(0xe120_f005 | mask << 16);
            // A write of the control field takes its mode; that of E would need swapped data.
            let value_is_usable = mask & 0b0010 == 0 || value & 0x200 == 0;
            if value_is_usable {
                one(phase, &name, a32, &Mode::ALL, &set, conditional);
                let t32 = Code::WordT32(0xf385_8000 | mask << 8);
                one(phase, &name, t32, &Mode::ALL, &set, conditional);
            }
            let name = Name::new(format_args!("msr_spsr_{mask:04b}_{value:08x}"));
            let a32 = Code::WordA32(0xe160_f005 | mask << 16);
            one(phase, &name, a32, &Mode::EXCEPTION, &set, conditional);
            let t32 = Code::WordT32(0xf395_8000 | mask << 8);
            one(phase, &name, t32, &Mode::EXCEPTION, &set, conditional);
        }
    }
}

/// MSR of an immediate: rotated to the flags, and as control field.
fn write_flags_immediate(phase: Phase) {
    // (mask, rotation and immediate): NZCVQ; GE; modes with masks.
    let forms = [
        (0b1000, 0x45f),
        (0b1000, 0x42a),
        (0b0100, 0x80a),
        (0b0001, 0x0d3),
        (0b0001, 0x0df),
        (0b0001, 0x0d2),
        (0b0001, 0x01f),
        (0b1001, 0x0d7),
        (0b1111, 0x0db),
    ];
    for (mask, immediate) in forms {
        let name = Name::new(format_args!("msr_cpsr_{mask:04b}_imm{immediate:03x}"));
        let word = 0xe320_f000 | mask << 16 | immediate;
        one(phase, &name, Code::WordA32(word), &Mode::ALL, &[], true);
        let name = Name::new(format_args!("msr_spsr_{mask:04b}_imm{immediate:03x}"));
        let word = 0xe360_f000 | mask << 16 | immediate;
        one(phase, &name, Code::WordA32(word), &Mode::EXCEPTION, &[], true);
    }
}

/// SETEND, alone and around accesses.
fn set_endianness(phase: Phase) {
    let set = [Set::R(7, Value::Scratch(0x100))];
    let cases = [
        ("setend_be", crate::a32!(".inst 0xf1010200")),
        ("setend_be", crate::t32!(".inst.n 0xb658")),
        ("setend_le", crate::a32!(".inst 0xf1010000")),
        ("setend_le", crate::t32!(".inst.n 0xb650")),
        (
            "setend_be_access",
            crate::a32!(
                ".inst 0xf1010200",
                "ldr r0, [r7]",
                "str r1, [r7, #4]",
                "ldrh r2, [r7, #8]",
                "strh r3, [r7, #12]",
                "ldm r7, {{r8, r9}}",
                "mrs r10, cpsr",
                ".inst 0xf1010000",
                "ldr r11, [r7]",
                "mrs r12, cpsr"
            ),
        ),
        (
            "setend_be_access",
            crate::t32!(
                ".inst.n 0xb658",
                "ldr r0, [r7]",
                "str r1, [r7, #4]",
                "ldrh r2, [r7, #8]",
                "strh r3, [r7, #12]",
                "ldm.w r7, {{r8, r9}}",
                "mrs r10, cpsr",
                ".inst.n 0xb650",
                "ldr.w r11, [r7]",
                "mrs r12, cpsr"
            ),
        ),
    ];
    for (name, code) in cases {
        one(phase, &Name::new(format_args!("{name}")), code, &Mode::ALL, &set, false);
    }
}
