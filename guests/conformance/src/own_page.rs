//! Pages that hold more than code of one kind: data that their code stores to, both
//! instruction sets, the first half of an instruction.

use crate::case::{Case, END_T32, Mode, Set, Value};
use crate::harness::{self, Phase};
use crate::{a32, put, t32, transcript};
use entresol_guest::cp15;

pub(crate) fn run(phase: Phase) {
    stores(phase);
    both_sets(phase);
    straddling(phase);
}

/// Code that stores to its own page, in ways that are easily emulated and in others, rarely
/// and often, and code that then changes itself.
fn stores(phase: Phase) {
    let cases = [
        ("own_page_str", a32!("str r1, [r7]", "strb r2, [r7, #4]", "mrs r0, cpsr", "ldr r3, [r7]")),
        ("own_page_stm", a32!("stm r7, {{r1-r4}}", "mrs r0, cpsr", "ldm r7, {{r8-r11}}")),
        ("own_page_strd", a32!("strd r2, r3, [r7]", "mrs r0, cpsr", "ldrd r4, r5, [r7]")),
        (
            "own_page_strex",
            a32!(
                "1:",
                "ldrex r0, [r7]",
                "add r0, r0, #1",
                "strex r1, r0, [r7]",
                "cmp r1, #0",
                "bne 1b",
                "mrs r2, cpsr",
                "ldr r3, [r7]"
            ),
        ),
        (
            "own_page_vstm",
            a32!(
                ".fpu vfpv3",
                "mov r0, #0xf00000",
                "mcr p15, 0, r0, c1, c0, 2",
                "isb",
                "mov r0, #0x40000000",
                "vmsr fpexc, r0",
                "vmov d0, r1, r2",
                "vmov d1, r3, r4",
                "vstm r7, {{d0-d1}}",
                "mrs r0, cpsr",
                "ldm r7, {{r8-r11}}",
                "mov r1, #0",
                "vmsr fpexc, r1"
            ),
        ),
        (
            "own_page_hot",
            a32!(
                "mov r0, #40",
                "mov r2, #0",
                "1:",
                "str r0, [r7]",
                "stm r7, {{r0, r1}}",
                "mrs r3, cpsr",
                "ldr r1, [r7]",
                "add r2, r2, r1",
                "subs r0, r0, #1",
                "bne 1b",
                "cpsid i",
                "mrs r4, cpsr"
            ),
        ),
        (
            "own_page_across",
            a32!("add r7, r7, #0x700", "add r7, r7, #0xfe", "str r1, [r7]", "mrs r0, cpsr"),
        ),
        ("own_page_str", t32!("str r1, [r7]", "strh r2, [r7, #4]", "mrs r0, cpsr", "ldr r3, [r7]")),
        ("own_page_stm", t32!("stm r7!, {{r1-r4}}", "mrs r0, cpsr", "ldr r3, [r7]")),
        (
            "own_page_strex",
            t32!(
                "1:",
                "ldrex r0, [r7]",
                "adds r0, #1",
                "strex r1, r0, [r7]",
                "cmp r1, #0",
                "bne 1b",
                "mrs r2, cpsr",
                "ldr r3, [r7]"
            ),
        ),
        (
            "own_page_vstm",
            t32!(
                ".fpu vfpv3",
                "mov r0, #0xf00000",
                "mcr p15, 0, r0, c1, c0, 2",
                "isb",
                "mov r0, #0x40000000",
                "vmsr fpexc, r0",
                "vmov d0, r1, r2",
                "vstm r7, {{d0}}",
                "cpsid f",
                "ldrd r3, r4, [r7]",
                "mov r1, #0",
                "vmsr fpexc, r1"
            ),
        ),
        (
            "own_page_hot",
            t32!(
                "movs r0, #40",
                "movs r2, #0",
                "1:",
                "str r0, [r7]",
                "strd r0, r1, [r7]",
                "mrs r3, cpsr",
                "ldr r1, [r7]",
                "add r2, r1",
                "subs r0, #1",
                "bne 1b",
                "cpsid i",
                "mrs r4, cpsr"
            ),
        ),
    ];
    let set = &[Set::R(7, Value::Code(0x800))];
    for (name, code) in cases {
        let modes = &[Mode::Svc, Mode::Fiq];
        harness::run_copied(phase, &Case { name, code, modes, set, conditional: false });
    }
    changed_while_hot(phase);
}

/// Code that stores to its page until that is hot, then changes itself and says so.
fn changed_while_hot(phase: Phase) {
    let code = a32!(
        "mov r0, #24",
        "1:",
        "strex r1, r0, [r7]",
        "stm r7, {{r0, r1}}",
        "mrs r3, cpsr",
        "subs r0, r0, #1",
        "bne 1b",
        "adr r1, 2f",
        "str r8, [r1]",
        "mcr p15, 0, r1, c7, c11, 1",
        "dsb sy",
        "mcr p15, 0, r1, c7, c5, 1",
        "mov r2, #0",
        "mcr p15, 0, r2, c7, c5, 6",
        "dsb sy",
        "isb sy",
        "mrs r3, cpsr",
        "2:",
        "mov r4, #1",
        "mov r1, #0",
    );
    for (name, word) in [
        ("own_page_hot_mov", 0xe3a0_4002),
        ("own_page_hot_mrs", 0xe10f_4000),
        ("own_page_hot_cps", 0xf102_001f),
        ("own_page_hot_mrs_spsr", 0xe14f_4000),
    ] {
        let set = [Set::R(7, Value::Code(0x800)), Set::R(8, Value::Word(word))];
        let modes = &[Mode::Svc, Mode::Irq];
        harness::run_copied(phase, &Case { name, code, modes, set: &set, conditional: false });
    }
}

/// Both instruction sets in a page, entered from each other in every way.
fn both_sets(phase: Phase) {
    let cases = [
        (
            "both_blx",
            a32!(
                "mov r10, lr",
                "mrs r0, cpsr",
                "blx 1f",
                "mrs r3, cpsr",
                "b 2f",
                ".thumb",
                "1:",
                "cpsid if",
                "mrs r1, cpsr",
                "ite eq",
                "mrseq r2, cpsr",
                "mrsne r4, cpsr",
                "bx lr",
                ".balign 4",
                ".arm",
                "2:",
                "mov lr, r10"
            ),
        ),
        (
            "both_bx",
            a32!(
                "mov r10, lr",
                "mrs r0, cpsr",
                "adr r5, 1f + 1",
                "blx r5",
                "b 2f",
                ".thumb",
                "1:",
                "mrs r1, cpsr",
                "cpsie i",
                "cpsid i",
                "msr cpsr_f, r1",
                "mrs r2, cpsr",
                "bx lr",
                ".balign 4",
                ".arm",
                "2:",
                "mov r5, #0",
                "mov lr, r10"
            ),
        ),
        (
            "both_bx",
            t32!(
                "mov r10, lr",
                "mrs r0, cpsr",
                "nop",
                "blx 1f",
                "mrs r3, cpsr",
                "b 2f",
                ".balign 4",
                ".arm",
                "1:",
                "mrs r1, cpsr",
                "cpsid if",
                "mrseq r2, cpsr",
                "mrsne r4, cpsr",
                "bx lr",
                ".thumb",
                "2:",
                "mov lr, r10"
            ),
        ),
    ];
    for (name, code) in cases {
        let modes = &[Mode::Svc, Mode::Irq];
        harness::run(phase, &Case { name, code, modes, set: &[], conditional: false });
    }
    vfp_t32(phase);
}

/// 32-bit T32 forms of floating point, allowed and not.
fn vfp_t32(phase: Phase) {
    for (name, fpexc) in [("vfp_on", 0x4000_0000), ("vfp_no_en", 0)] {
        let code = t32!(
            ".fpu vfpv3",
            "mov r0, #0xf00000",
            "mcr p15, 0, r0, c1, c0, 2",
            "isb",
            "vmsr fpexc, r9",
            "vmrs r0, fpexc",
            "cps #0x10",
            "vldr d0, [r7]",
            "vadd.f64 d1, d0, d0",
            "vstr d1, [r7, #8]",
            "vmrs r1, fpscr",
            "ite ne",
            "vmovne r3, r4, d1",
            "vmrseq r3, fpscr"
        );
        let set = [Set::R(7, Value::Scratch(0x100)), Set::R(9, Value::Word(fpexc))];
        let modes = &Mode::SUPERVISOR;
        harness::run_copied(phase, &Case { name, code, modes, set: &set, conditional: false });
    }
}

/// A 32-bit T32 instruction that begins in the last halfword of a page.
fn straddling(phase: Phase) {
    let at = harness::code_address() + 0xff8;
    let words: [(&str, u32); 9] = [
        ("mrs", 0xf3ef_8000),
        ("mrs_spsr", 0xf3ff_8000),
        ("msr_c", 0xf385_8100),
        ("cpsie_i", 0xf3af_8440),
        ("cps_sys", 0xf3af_811f),
        ("ldrt", 0xf857_0e04),
        ("ldr_register", 0xf857_0001),
        ("usat", 0xf381_0205),
        ("srs", 0xe98d_c012),
    ];
    for (name, word) in words {
        harness::fill_scratch();
        let mut to = at;
        for half in [0xbf00, 0xbf00, 0xbf00, (word >> 16) as u16, word as u16, END_T32] {
            to = harness::put_half(to, half);
        }
        cp15::code_written(at, 12);
        let mut state = harness::initial(Mode::Svc, at, true);
        state.r[1] = 8;
        state.r[5] = 0xdf;
        state.r[7] = harness::scratch_address() as u32 + 0x100;
        // SAFETY: the instruction changes registers or the scratch page.
        let found = unsafe { entresol_guest::sandbox::run(&state) };
        put!("{phase}.svc.t32.straddling_{name}:");
        harness::report(&state, &found);
        transcript::end_line();
    }
}
