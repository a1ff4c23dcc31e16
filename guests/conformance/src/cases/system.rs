//! The system control coprocessor.
//!
//! Only registers whose value does not tell processors apart are read.
//!
//! # Manuals
//!
//! ARM DDI 0406C: B3.15 to B4 (CP15).

use super::run_all;
use crate::case::{Case, Code, Mode, Set, Value};
use crate::harness::Phase;
use crate::{a32, t32};

pub(crate) fn run(phase: Phase) {
    registers(phase);
    from_user_mode(phase);
    if phase != Phase::MmuOff {
        translations(phase);
    }
    from_t32(phase);
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

/// The same registers from T32.
fn from_t32(phase: Phase) {
    let at = |name, code| {
        let modes = &Mode::BOTH;
        run_all(phase, &[Case { name, code, modes, set: &[], conditional: true }]);
    };
    at("tpidrurw", t32!("mcr p15, 0, r1, c13, c0, 2", "mrc p15, 0, r2, c13, c0, 2"));
    // QEMU forgets to move IT state on behind such an access.
    at("dfsr.manual", t32!("mcr p15, 0, r1, c5, c0, 0", "mrc p15, 0, r2, c5, c0, 0"));
    at("tpidrprw", t32!("mcr p15, 0, r1, c13, c0, 4", "mrc p15, 0, r2, c13, c0, 4"));
    at("maintenance", t32!("mcr p15, 0, r1, c7, c5, 0", "mcr p15, 0, r1, c8, c7, 0"));
    at("barriers", t32!("dsb sy", "dmb sy", "isb sy", "clrex"));
}
