//! The system control coprocessor and the floating-point registers.
//!
//! Only registers whose value does not tell processors apart are read.
//!
//! # Manuals
//!
//! ARM DDI 0406C: B3.15 to B4 (CP15), B1.11 (enabling VFP).

use super::run_all;
use crate::a32;
use crate::case::{Case, Code, Mode, Set, Value};
use crate::harness::Phase;

const BOARD_HAS_TIMER: bool = entresol_guest::board::IS_VIRTUAL_BOARD;

pub(crate) fn run(phase: Phase) {
    registers(phase);
    from_user_mode(phase);
    if phase == Phase::MmuOn {
        translations(phase);
    }
    floating_point(phase);
    if BOARD_HAS_TIMER {
        timers(phase);
    }
}

const fn at_pl1<'a>(name: &'a str, code: Code) -> Case<'a> {
    Case { name, code, modes: &Mode::SUPERVISOR, set: &[], conditional: false }
}

/// What is written is read again; what was there before is put back.
fn registers(phase: Phase) {
    run_all(
        phase,
        &[
            at_pl1("dfsr", a32!("mcr p15, 0, r1, c5, c0, 0", "mrc p15, 0, r2, c5, c0, 0")),
            at_pl1("ifsr", a32!("mcr p15, 0, r1, c5, c0, 1", "mrc p15, 0, r2, c5, c0, 1")),
            at_pl1("dfar", a32!("mcr p15, 0, r1, c6, c0, 0", "mrc p15, 0, r2, c6, c0, 0")),
            at_pl1("ifar", a32!("mcr p15, 0, r1, c6, c0, 2", "mrc p15, 0, r2, c6, c0, 2")),
            at_pl1("tpidrurw", a32!("mcr p15, 0, r1, c13, c0, 2", "mrc p15, 0, r2, c13, c0, 2")),
            at_pl1("tpidruro", a32!("mcr p15, 0, r1, c13, c0, 3", "mrc p15, 0, r2, c13, c0, 3")),
            at_pl1("tpidrprw", a32!("mcr p15, 0, r1, c13, c0, 4", "mrc p15, 0, r2, c13, c0, 4")),
            at_pl1(
                "dacr",
                a32!(
                    "mrc p15, 0, r3, c3, c0, 0",
                    "orr r4, r3, #0xc0000000",
                    "mcr p15, 0, r4, c3, c0, 0",
                    "mrc p15, 0, r5, c3, c0, 0",
                    "mcr p15, 0, r3, c3, c0, 0",
                    "mov r3, #0",
                    "mov r4, #0"
                ),
            ),
            at_pl1(
                "contextidr",
                a32!(
                    "mrc p15, 0, r3, c13, c0, 1",
                    "mcr p15, 0, r1, c13, c0, 1",
                    "mrc p15, 0, r4, c13, c0, 1",
                    "mcr p15, 0, r3, c13, c0, 1"
                ),
            ),
            at_pl1(
                "ttbr1",
                a32!(
                    "mrc p15, 0, r3, c2, c0, 1",
                    "ldr r4, =0x12344000",
                    "mcr p15, 0, r4, c2, c0, 1",
                    "mrc p15, 0, r5, c2, c0, 1",
                    "mcr p15, 0, r3, c2, c0, 1",
                    "mov r3, #0",
                    "b 1f",
                    ".ltorg",
                    "1:"
                ),
            ),
            at_pl1("ttbcr", a32!("mrc p15, 0, r3, c2, c0, 2")),
            at_pl1(
                "vbar",
                a32!(
                    "mrc p15, 0, r3, c12, c0, 0",
                    "mov r4, #0x8000001f",
                    "mcr p15, 0, r4, c12, c0, 0",
                    "mrc p15, 0, r5, c12, c0, 0",
                    "mcr p15, 0, r3, c12, c0, 0",
                    "mov r3, #0"
                ),
            ),
            at_pl1(
                "sctlr_enables",
                a32!(
                    "mrc p15, 0, r3, c1, c0, 0",
                    "ldr r4, =0x32003807",
                    "and r3, r3, r4",
                    "mov r4, #0",
                    "b 1f",
                    ".ltorg",
                    "1:"
                ),
            ),
            at_pl1("barriers", a32!("dsb sy", "dmb ish", "isb", "clrex", "mov r0, #1")),
            at_pl1(
                "barriers_cp15",
                a32!("mov r0, #0", ".inst 0xee070f95", ".inst 0xee070f9a", ".inst 0xee070fba"),
            ),
            at_pl1(
                "maintenance",
                a32!(
                    "mov r0, #0",
                    "mcr p15, 0, r0, c7, c5, 0",
                    "mcr p15, 0, r0, c7, c5, 6",
                    "mcr p15, 0, r0, c8, c7, 0",
                    "mcr p15, 0, r0, c8, c5, 0",
                    "mcr p15, 0, r0, c8, c6, 0",
                    "mcr p15, 0, r0, c8, c7, 2"
                ),
            ),
            at_pl1("mrc_flags", a32!("mrc p15, 0, apsr_nzcv, c13, c0, 2")),
            // The conditional forms.
            Case {
                conditional: true,
                modes: &Mode::PRIVILEGED,
                ..at_pl1(
                    "dfsr_write",
                    a32!("mcr p15, 0, r1, c5, c0, 0", "mrc p15, 0, r2, c5, c0, 0"),
                )
            },
        ],
    );
}

/// What User mode may and may not.
fn from_user_mode(phase: Phase) {
    let user = |name, code| Case { name, code, modes: &[Mode::Usr], set: &[], conditional: true };
    run_all(
        phase,
        &[
            user("user_tpidrurw", a32!("mcr p15, 0, r1, c13, c0, 2", "mrc p15, 0, r2, c13, c0, 2")),
            user("user_tpidruro_write", a32!("mcr p15, 0, r1, c13, c0, 3")),
            user("user_tpidrprw", a32!("mrc p15, 0, r1, c13, c0, 4")),
            user("user_sctlr", a32!("mrc p15, 0, r1, c1, c0, 0")),
            user("user_dacr", a32!("mcr p15, 0, r1, c3, c0, 0")),
            user("user_tlbiall", a32!("mcr p15, 0, r1, c8, c7, 0")),
            user("user_iciallu", a32!("mcr p15, 0, r1, c7, c5, 0")),
            user("user_barriers", a32!(".inst 0xee071fba", ".inst 0xee071f95")),
            user("user_midr", a32!("mrc p15, 0, r1, c0, c0, 0")),
            user("user_mrrc", a32!("mrrc p15, 0, r1, r2, c2")),
        ],
    );
}

/// Address translation operations; attributes of memory are cut off, processors differ.
fn translations(phase: Phase) {
    let pages = [
        ("scratch", Value::Scratch(0x123)),
        ("kernel", Value::Kernel(0x123)),
        ("unmapped", Value::Word(0x2000_0123)),
    ];
    for (page, value) in pages {
        let operations = [
            (
                "ats1cpr",
                a32!(
                    "mcr p15, 0, r7, c7, c8, 0",
                    "isb",
                    "mrc p15, 0, r0, c7, c4, 0",
                    "tst r0, #1",
                    "lsreq r0, r0, #12",
                    "lsleq r0, r0, #12"
                ),
            ),
            (
                "ats1cpw",
                a32!(
                    "mcr p15, 0, r7, c7, c8, 1",
                    "isb",
                    "mrc p15, 0, r0, c7, c4, 0",
                    "tst r0, #1",
                    "lsreq r0, r0, #12",
                    "lsleq r0, r0, #12"
                ),
            ),
            (
                "ats1cur",
                a32!(
                    "mcr p15, 0, r7, c7, c8, 2",
                    "isb",
                    "mrc p15, 0, r0, c7, c4, 0",
                    "tst r0, #1",
                    "lsreq r0, r0, #12",
                    "lsleq r0, r0, #12"
                ),
            ),
            (
                "ats1cuw",
                a32!(
                    "mcr p15, 0, r7, c7, c8, 3",
                    "isb",
                    "mrc p15, 0, r0, c7, c4, 0",
                    "tst r0, #1",
                    "lsreq r0, r0, #12",
                    "lsleq r0, r0, #12"
                ),
            ),
        ];
        for (operation, code) in operations {
            let name = crate::name::Name::new(format_args!("{operation}_{page}"));
            let set = [Set::R(7, value)];
            run_all(phase, &[Case { set: &set, ..at_pl1(name.as_str(), code) }]);
        }
    }
}

/// VFP: disabled, denied to PL0, enabled; state survives.
fn floating_point(phase: Phase) {
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

/// Timers that are due interrupt; PL0 reads the counters only if it may.
fn timers(phase: Phase) {
    let at = |name, code| {
        run_all(phase, &[at_pl1(name, code)]);
    };
    at(
        "cntv_ctl",
        a32!(
            "mov r0, #3",
            "mcr p15, 0, r0, c14, c3, 1",
            "mrc p15, 0, r1, c14, c3, 1",
            "and r1, r1, #3",
            "mov r0, #0",
            "mcr p15, 0, r0, c14, c3, 1"
        ),
    );
    at(
        "cntv_due",
        a32!(
            "mov r0, #0",
            "mov r1, #0",
            "mcrr p15, 3, r0, r1, c14",
            "mov r0, #3",
            "mcr p15, 0, r0, c14, c3, 1",
            "isb",
            "mrc p15, 0, r2, c14, c3, 1",
            "mov r0, #0",
            "mcr p15, 0, r0, c14, c3, 1"
        ),
    );
    at(
        "cntp_due",
        a32!(
            "mov r0, #0",
            "mov r1, #0",
            "mcrr p15, 2, r0, r1, c14",
            "mov r0, #3",
            "mcr p15, 0, r0, c14, c2, 1",
            "isb",
            "mrc p15, 0, r2, c14, c2, 1",
            "mov r0, #0",
            "mcr p15, 0, r0, c14, c2, 1"
        ),
    );
    at(
        "cntv_tval",
        a32!(
            "mov r0, #0x10000000",
            "mcr p15, 0, r0, c14, c3, 0",
            "mrc p15, 0, r1, c14, c3, 0",
            "cmp r1, r0",
            "movhi r1, #1",
            "movls r1, #2",
            "lsr r0, r0, #1",
            "cmp r0, r0"
        ),
    );
    at(
        "counter_grows",
        a32!(
            "mrrc p15, 1, r0, r1, c14",
            "isb",
            "mov r4, #0x100",
            "1:",
            "subs r4, r4, #1",
            "bne 1b",
            "mrrc p15, 1, r2, r3, c14",
            "subs r0, r2, r0",
            "sbc r1, r3, r1",
            "cmp r0, #0",
            "movne r0, #1",
            "mov r2, #0",
            "mov r3, #0"
        ),
    );
    at(
        "counter_user_denied",
        a32!(
            "mov r0, #0",
            "mcr p15, 0, r0, c14, c1, 0",
            "isb",
            "cps #0x10",
            "mrrc p15, 1, r0, r1, c14"
        ),
    );
    at(
        "counter_user_allowed",
        a32!(
            "mov r0, #3",
            "mcr p15, 0, r0, c14, c1, 0",
            "isb",
            "cps #0x10",
            "mrrc p15, 1, r0, r1, c14",
            "mov r0, #1",
            "mov r1, #1"
        ),
    );
    at(
        "frequency_user",
        a32!(
            "mov r0, #3",
            "mcr p15, 0, r0, c14, c1, 0",
            "isb",
            "cps #0x10",
            "mrc p15, 0, r0, c14, c0, 0",
            "mov r0, #1"
        ),
    );
}
