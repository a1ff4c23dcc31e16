//! Code that moves, changes, or reads itself: what a hypervisor that replaces
//! instructions must not be caught at.

use crate::a32;
use crate::case::{Case, Mode, Set, Value};
use crate::harness::{self, Phase};
use crate::{put, transcript};
use entresol_guest::cp15;

pub(crate) fn run(phase: Phase) {
    self_change(phase);
    literals(phase);
    read_own_code(phase);
    move_function(phase);
    change_between_runs(phase);
    put!("{phase}.compiled_t32: {:08x}", compiled_t32(1000));
    transcript::end_line();
}

/// Code that writes instructions into its own page and runs on.
fn self_change(phase: Phase) {
    // r7 is the scratch page; the instruction at 2 is replaced by the word in r8.
    let code = a32!(
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
        "mov r5, #5",
        "mov r1, #0",
    );
    let replacements = [
        ("mov", 0xe3a0_4002),
        ("mrs", 0xe10f_4000),
        ("cpsie_f", 0xf108_0040),
        ("cps_sys", 0xf102_001f),
        ("msr_f", 0xe328_f20f),
        ("udf", 0xe7f0_00f0),
        ("svc", 0xef00_0077),
        ("mrs_spsr", 0xe14f_4000),
    ];
    for (name, word) in replacements {
        let name = crate::name::Name::new(format_args!("self_change_{name}"));
        let set = [Set::R(7, Value::Scratch(0x100)), Set::R(8, Value::Word(word))];
        let modes = &[Mode::Svc, Mode::Irq];
        let case = Case { name: name.as_str(), code, modes, set: &set, conditional: false };
        harness::run_copied(phase, &case);
    }
}

/// Words that look sensitive but are data: loaded relative to pc in every way.
fn literals(phase: Phase) {
    let set = &[];
    let cases = [
        (
            "literal_ldr",
            a32!(
                "ldr r0, 2f",
                "ldr r1, 2f+4",
                "ldrd r2, r3, 2f+8",
                "mrs r4, cpsr",
                "b 3f",
                "2:",
                ".word 0xe10f0000, 0xf1080080",
                ".word 0xe129f000, 0xe320f003",
                "3:"
            ),
        ),
        (
            "literal_adr",
            a32!(
                "adr r6, 2f",
                "ldm r6, {{r0-r3}}",
                "mrs r4, cpsr",
                "mov r6, #0",
                "b 3f",
                "2:",
                ".word 0xe1b0f00e, 0xe8fd8000",
                ".word 0xe14f0000, 0xf1020013",
                "3:"
            ),
        ),
        (
            "literal_table",
            a32!(
                "mov r6, #2",
                "add r5, pc, #12",
                "ldr r0, [r5, r6, lsl #2]",
                "mrs r1, cpsr",
                "mov r5, #0",
                "b 3f",
                ".word 0xe10f0000, 0xe10f1000, 0xe10f2000, 0xe10f3000",
                "3:"
            ),
        ),
    ];
    for (name, code) in cases {
        let modes = &[Mode::Svc, Mode::Usr];
        harness::run(phase, &Case { name, code, modes, set, conditional: false });
    }
}

/// Sums its own words, sensitive ones among them, after having run them.
fn read_own_code(phase: Phase) {
    let code = a32!(
        "1:",
        "mrs r0, cpsr",
        "msr cpsr_f, r0",
        "cpsid i",
        "msr spsr_fsxc, r0",
        "adr r1, 1b",
        "adr r2, 2f",
        "mov r3, #0",
        "mov r5, #0",
        "3:",
        "ldr r4, [r1]",
        "add r3, r4, r3, ror #5",
        "ldrb r4, [r1, #2]",
        "add r5, r5, r4",
        "ldrh r4, [r1, #2]",
        "eor r5, r4, r5, ror #3",
        "add r1, r1, #4",
        "cmp r1, r2",
        "blo 3b",
        "mov r1, #0",
        "mov r2, #0",
        "2:",
    );
    let modes = &[Mode::Svc, Mode::Abt];
    let case = Case { name: "read_own_code", code, modes, set: &[], conditional: false };
    harness::run(phase, &case);
}

/// Copies a function, as the code of one page that the other page runs, word by word
/// out of code that was run before: what is copied may be replaced already.
fn move_function(phase: Phase) {
    let code = a32!(
        // The function, run here first.
        "b 2f",
        "1:",
        "mrs r0, cpsr",
        "eor r3, r0, #0xf0000000",
        "msr cpsr_f, r3",
        "cpsid f",
        "mrs r4, cpsr",
        "bx lr",
        "2:",
        "mov r11, lr",
        "bl 1b",
        "mov r9, r4",
        // To the scratch page.
        "adr r1, 1b",
        "adr r2, 2b",
        "mov r5, r7",
        "3:",
        "ldr r6, [r1], #4",
        "str r6, [r5]",
        "mcr p15, 0, r5, c7, c11, 1",
        "add r5, r5, #4",
        "cmp r1, r2",
        "blo 3b",
        "dsb sy",
        "mov r6, #0",
        "mcr p15, 0, r6, c7, c5, 0",
        "mcr p15, 0, r6, c7, c5, 6",
        "dsb sy",
        "isb sy",
        "mov r4, #0",
        "blx r7",
        "mov lr, r11",
        "mov r1, #0",
        "mov r2, #0",
        "mov r11, #0",
    );
    let set = [Set::R(7, Value::Scratch(0x40))];
    let modes = &[Mode::Svc, Mode::Sys, Mode::Und];
    harness::run(
        phase,
        &Case { name: "move_function", code, modes, set: &set, conditional: false },
    );
}

/// The harness changes one word of a page between runs.
fn change_between_runs(phase: Phase) {
    let words = [0xe3a0_0001, 0xe10f_0000, 0xe3a0_0002, 0xf102_0012, 0xe14f_0000, 0xe10f_0000];
    let at = harness::code_address();
    for (number, word) in words.into_iter().enumerate() {
        let second = harness::put_word(at, word);
        let third = harness::put_word(second, 0xe10f_1000);
        harness::put_word(third, crate::case::END_A32);
        cp15::code_written(at, 12);
        let state = harness::initial(Mode::Svc, at, false);
        // SAFETY: the code changes registers only.
        let found = unsafe { entresol_guest::sandbox::run(&state) };
        put!("{phase}.svc.a32.change_between_runs_{number}:");
        harness::report(&state, &found);
        transcript::end_line();
    }
}

/// T32 as a compiler makes it, with sensitive instructions in between.
#[instruction_set(arm::t32)]
#[inline(never)]
fn compiled_t32(rounds: u32) -> u32 {
    let mut sum = 0x1234_5678_u32;
    for round in 0..rounds {
        let status: u32;
        // SAFETY: interrupts are masked before and after.
        unsafe {
            core::arch::asm!(
                "mrs {status}, cpsr",
                "cpsid if",
                "msr cpsr_c, {status}",
                status = out(reg) status,
                options(nostack),
            );
        }
        sum = match (status ^ round) % 5 {
            0 => sum.rotate_left(7),
            1 => sum.wrapping_mul(0x0101_0035),
            2 => sum ^ round,
            3 => sum.wrapping_add(0xe10f_0000),
            _ => !sum,
        };
    }
    sum
}
