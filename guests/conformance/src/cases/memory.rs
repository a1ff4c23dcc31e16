//! Accesses: as User mode does (LDRT and its kin), unaligned, exclusive.
//!
//! # Manuals
//!
//! ARM DDI 0406C: A8.8.92 (LDRT) and its kin, A3.2 (alignment), A3.4 (exclusives).

use super::run_all;
use crate::case::{Case, Code, Mode, Set, Value};
use crate::harness::Phase;
use crate::{a32, t32};

/// SCTLR.A: unaligned accesses fault.
const ALIGNMENT_CHECK: u32 = 1 << 1;

pub(crate) fn run(phase: Phase) {
    user_accesses(phase);
    unaligned(phase);
    exclusive(phase);
}

/// Post-indexed accesses with User mode's rights, to a page of PL0 and one of PL1.
fn user_accesses(phase: Phase) {
    let forms = [
        ("ldrt", a32!("ldrt r0, [r7]")),
        ("ldrt_post", a32!("ldrt r0, [r7], #8")),
        ("ldrt_neg", a32!("ldrt r0, [r7], #-8")),
        ("ldrt_reg", a32!("ldrt r0, [r7], r8")),
        ("ldrt_lsl", a32!("ldrt r0, [r7], r8, lsl #2")),
        ("ldrt_minus_ror", a32!("ldrt r0, [r7], -r8, ror #31")),
        ("ldrbt", a32!("ldrbt r0, [r7], #1")),
        ("ldrht", a32!("ldrht r0, [r7], #2")),
        ("ldrht_reg", a32!("ldrht r0, [r7], r8")),
        ("ldrsht", a32!("ldrsht r0, [r7], #-2")),
        ("ldrsbt", a32!("ldrsbt r0, [r7], #3")),
        ("strt", a32!("strt r1, [r7]")),
        ("strt_post", a32!("strt r1, [r7], #8")),
        ("strt_reg", a32!("strt r1, [r7], -r8")),
        ("strbt", a32!("strbt r1, [r7], #1")),
        ("strbt_reg", a32!("strbt r1, [r7], r8, lsr #1")),
        ("strht", a32!("strht r1, [r7], #2")),
        ("strht_reg", a32!("strht r1, [r7], -r8")),
        ("ldrt", t32!("ldrt r0, [r7, #8]")),
        ("ldrbt", t32!("ldrbt r0, [r7, #1]")),
        ("ldrht", t32!("ldrht r0, [r7, #2]")),
        ("ldrsht", t32!("ldrsht r0, [r7, #2]")),
        ("ldrsbt", t32!("ldrsbt r0, [r7, #3]")),
        ("strt", t32!("strt r1, [r7, #8]")),
        ("strbt", t32!("strbt r1, [r7, #1]")),
        ("strht", t32!("strht r1, [r7, #2]")),
    ];
    for (name, code) in forms {
        let set = [Set::R(7, Value::Scratch(0x104)), Set::R(8, Value::Word(4))];
        let modes = &[Mode::Usr, Mode::Svc, Mode::Sys, Mode::Irq, Mode::Abt];
        run_all(phase, &[Case { name, code, modes, set: &set, conditional: true }]);
        if phase != Phase::MmuOff {
            let name = crate::name::Name::new(format_args!("{name}_kernel"));
            let set = [Set::R(7, Value::Kernel(0x104)), Set::R(8, Value::Word(4))];
            let modes = &[Mode::Svc, Mode::Und];
            run_all(
                phase,
                &[Case { name: name.as_str(), code, modes, set: &set, conditional: true }],
            );
        }
    }
}

/// Unaligned accesses: most work, some never do, none with the alignment check. With the
/// MMU off memory is strongly ordered, where processors differ.
fn unaligned(phase: Phase) {
    if phase == Phase::MmuOff {
        return;
    }
    let forms = [
        ("ldr", a32!("ldr r0, [r7]")),
        ("str", a32!("str r1, [r7]")),
        ("ldrh", a32!("ldrh r0, [r7]")),
        ("strh", a32!("strh r1, [r7, #2]")),
        ("ldm", a32!("ldm r7, {{r0, r1}}")),
        ("stm", a32!("stm r7!, {{r0, r1}}")),
        ("ldrd", a32!("ldrd r0, r1, [r7]")),
        ("strd", a32!("strd r0, r1, [r7]")),
        ("ldrex", a32!("ldrex r0, [r7]")),
        ("ldrt", a32!("ldrt r0, [r7], #4")),
        ("strt", a32!("strt r0, [r7], #4")),
        ("ldr", t32!("ldr r0, [r7]")),
        ("ldm", t32!("ldm r7!, {{r0, r1}}")),
        ("ldrt", t32!("ldrt r0, [r7]")),
    ];
    for (name, code) in forms {
        let at_odd = [Set::R(7, Value::Scratch(0x101))];
        let across = [Set::R(7, Value::Scratch(0xffd))];
        let checked = [Set::R(7, Value::Scratch(0x101)), Set::Sctlr(ALIGNMENT_CHECK)];
        for (suffix, set) in [("odd", &at_odd[..]), ("across", &across), ("checked", &checked)] {
            let name = crate::name::Name::new(format_args!("unaligned_{name}_{suffix}"));
            let modes = &Mode::BOTH;
            run_all(phase, &[Case { name: name.as_str(), code, modes, set, conditional: false }]);
        }
    }
}

fn exclusive(phase: Phase) {
    let forms = [
        ("ldrex_strex", a32!("ldrex r0, [r7]", "strex r1, r2, [r7]")),
        ("strex_alone", a32!("clrex", "strex r1, r2, [r7]")),
        ("ldrexb", a32!("ldrexb r0, [r7]", "strexb r1, r2, [r7]")),
        ("ldrexh", a32!("ldrexh r0, [r7]", "strexh r1, r2, [r7]")),
        ("ldrexd", a32!("ldrexd r0, r1, [r7]", "strexd r2, r4, r5, [r7]")),
        ("ldrex_clrex", a32!("ldrex r0, [r7]", "clrex", "strex r1, r2, [r7]")),
        ("ldrex_strex", t32!("ldrex r0, [r7]", "strex r1, r2, [r7]")),
        ("ldrexd", t32!("ldrexd r0, r1, [r7]", "strexd r2, r4, r5, [r7]")),
    ];
    for (name, code) in forms {
        let set = [Set::R(7, Value::Scratch(0x108))];
        let modes = &Mode::BOTH;
        run_all(phase, &[Case { name, code, modes, set: &set, conditional: false }]);
    }
    // With a sensitive instruction in between: traps must not break the pair for ever,
    // so it is tried in a loop.
    let code: Code = a32!(
        "mov r3, #0",
        "1:",
        "ldrex r0, [r7]",
        "add r0, r0, #1",
        "strex r1, r0, [r7]",
        "cmp r1, #0",
        "bne 1b",
        "add r3, r3, #1",
        "cmp r3, #100",
        "blo 1b"
    );
    let set = [Set::R(7, Value::Scratch(0x108))];
    let modes = &Mode::BOTH;
    run_all(phase, &[Case { name: "ldrex_loop", code, modes, set: &set, conditional: false }]);
}
