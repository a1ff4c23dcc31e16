//! Floating point and SIMD: turned off, on, and allowed to some.
//!
//! # Manuals
//!
//! ARM DDI 0406C: B1.11.3 (enabling), B4.1.40 (CPACR), B4.1.57 (FPEXC).

use super::run_all;
use crate::a32;
use crate::case::{Case, Mode, Set, Value};
use crate::harness::Phase;

/// VFP: disabled, denied to PL0, enabled; state survives.
pub(crate) fn run(phase: Phase) {
    // r8: CPACR, r9: FPEXC; what runs next is in User or Supervisor mode.
    let set_up = [
        ("vfp_off", 0x0000_0000, 0x0000_0000_u32),
        ("vfp_pl1", 0x0050_0000, 0x4000_0000),
        ("vfp_no_en", 0x00f0_0000, 0x0000_0000),
        ("vfp_on", 0x00f0_0000, 0x4000_0000),
    ];
    for (name, cpacr, fpexc) in set_up {
        let set = [
            Set::R(7, Value::Scratch(0x100)),
            Set::R(8, Value::Word(cpacr)),
            Set::R(9, Value::Word(fpexc)),
        ];
        let at = |suffix, code| {
            let name = crate::name::Name::new(format_args!("{name}_{suffix}"));
            let modes = &Mode::SUPERVISOR;
            run_all(
                phase,
                &[Case { name: name.as_str(), code, modes, set: &set, conditional: false }],
            );
        };
        at(
            "fpexc",
            a32!(
                ".fpu vfpv3",
                "mcr p15, 0, r8, c1, c0, 2",
                "isb",
                "vmsr fpexc, r9",
                "vmrs r0, fpexc",
                "mrc p15, 0, r1, c1, c0, 2"
            ),
        );
        at(
            "svc",
            a32!(
                ".fpu vfpv3",
                "mov r0, #0xf00000",
                "mcr p15, 0, r0, c1, c0, 2",
                "isb",
                "vmsr fpexc, r9",
                "mcr p15, 0, r8, c1, c0, 2",
                "isb",
                "vmov s0, r1",
                "vmov s1, r2",
                "vadd.f32 s2, s0, s1",
                "vmov r3, s2"
            ),
        );
        at(
            "usr",
            a32!(
                ".fpu vfpv3",
                "mov r0, #0xf00000",
                "mcr p15, 0, r0, c1, c0, 2",
                "isb",
                "vmsr fpexc, r9",
                "mcr p15, 0, r8, c1, c0, 2",
                "isb",
                "cps #0x10",
                "vldr d0, [r7]",
                "vadd.f64 d1, d0, d0",
                "vstr d1, [r7, #8]",
                "vmov r3, r4, d1"
            ),
        );
        at(
            "usr_fpscr",
            a32!(
                ".fpu vfpv3",
                "mov r0, #0xf00000",
                "mcr p15, 0, r0, c1, c0, 2",
                "isb",
                "vmsr fpexc, r9",
                "mcr p15, 0, r8, c1, c0, 2",
                "isb",
                "cps #0x10",
                "mov r3, #0x80000000",
                "vmsr fpscr, r3",
                "vmrs r4, fpscr",
                "vmrs apsr_nzcv, fpscr"
            ),
        );
        at(
            "usr_neon",
            a32!(
                ".fpu neon",
                "mov r0, #0xf00000",
                "mcr p15, 0, r0, c1, c0, 2",
                "isb",
                "vmsr fpexc, r9",
                "mcr p15, 0, r8, c1, c0, 2",
                "isb",
                "cps #0x10",
                "vld1.32 {{d2, d3}}, [r7]",
                "vadd.i32 q2, q1, q1",
                "vst1.32 {{d4, d5}}, [r7]",
                "vmov.32 r3, d5[1]"
            ),
        );
    }
}
