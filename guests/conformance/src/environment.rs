//! What surrounds the instructions: high vectors, two tables, ASIDs, access flags, aliases,
//! and translations that change.
//!
//! Lines are like those of the cases; each names a sequence of changes and a step in it.
//!
//! # Manuals
//!
//! ARM DDI 0406C: B1.8.1 (vectors), B3.5.4 (TTBCR), B3.7.2 (access flag), B3.9 (TLBs).

use crate::case::{END_A32, Mode};
use crate::harness::{self, TARGET};
use crate::tables;
use crate::{put, transcript};
use core::ptr;
use entresol_guest::sandbox;
use entresol_guest::translation::{self, Access, Level1, Level2};
use entresol_guest::{board, cp15};

/// Pages with one mapping each, behind the target.
const PAGE_A: usize = TARGET + 0x1000;
const PAGE_B: usize = TARGET + 0x2000;
const VECTORS: usize = TARGET + 0x3000;

/// Where pages are mapped in turn.
const AT: usize = 0x3100_0000;
/// Where a page has a second mapping.
const ALIAS: usize = 0x3100_1000;
/// Where nothing is mapped, right behind.
const HOLE: usize = 0x3100_2000;
/// High vectors.
const HIGH: usize = 0xffff_0000;
/// First address that TTBR1 translates when TTBCR.N is 1.
const UPPER: usize = 0x8000_0000;

/// SCTLR.V.
const HIGH_VECTORS: u32 = 1 << 13;
/// SCTLR.AFE.
const ACCESS_FLAG: u32 = 1 << 29;

/// `ldr r0, [r7]`.
const READ: u32 = 0xe597_0000;
/// `str r1, [r7]`.
const WRITE: u32 = 0xe587_1000;
/// `bx r7`.
const JUMP: u32 = 0xe12f_ff17;

static mut PAGES: Level2 = Level2::new();
static mut TOP: Level2 = Level2::new();
static mut OTHER: Level1 = Level1::new();

const USER: Access = Access { ap: 0b011, ..Access::KERNEL };

pub(crate) fn run() {
    tables::with(|table| table.table(AT, pages(), 0));
    for (page, word) in [(PAGE_A, 0xaaaa_aaaa), (PAGE_B, 0xbbbb_bbbb)] {
        harness::put_word(page, END_A32);
        harness::put_word(page + 4, word);
        cp15::code_written(page, 8);
    }
    high_vectors();
    changed_translations();
    page_by_page();
    changed_domains();
    access_flags();
    aliases();
    page_crossings();
    two_tables();
    address_spaces();
}

fn pages() -> &'static mut Level2 {
    // SAFETY: each caller is done with the reference before the next call.
    unsafe { &mut *ptr::addr_of_mut!(PAGES) }
}

/// Runs instructions with the address in r7, and prints the line.
fn step(name: &str, mode: Mode, words: &[u32], address: usize) {
    step_with(name, mode, words, [(7, address)]);
}

/// The same with any registers.
fn step_with<const N: usize>(name: &str, mode: Mode, words: &[u32], set: [(usize, usize); N]) {
    let code = harness::code_address();
    let end = words.iter().fold(code, |at, word| harness::put_word(at, *word));
    harness::put_word(end, END_A32);
    cp15::code_written(code, end + 4 - code);
    run_at(name, mode, code, set);
}

/// Runs code that is there.
fn run_at<const N: usize>(name: &str, mode: Mode, code: usize, set: [(usize, usize); N]) {
    let mut state = harness::initial(mode, code, false);
    for (register, value) in set {
        state.r[register] = value as u32;
    }
    state.usr_sp = sandbox::initial_usr_sp();
    // SAFETY: the instruction accesses pages that nothing else uses, or faults.
    let found = unsafe { sandbox::run(&state) };
    put!("environment.{}.{name}:", mode.name());
    harness::report(&state, &found);
    transcript::end_line();
}

fn both(name: &str, word: u32, address: usize) {
    step(name, Mode::Usr, &[word], address);
    step(name, Mode::Svc, &[word], address);
}

/// Vectors at 0xffff0000, which lead to the sandbox's.
fn high_vectors() {
    // SAFETY: only used here.
    let top = unsafe { &mut *ptr::addr_of_mut!(TOP) };
    let base = sandbox::vectors_address();
    // ldr pc, [pc, #24], in A32; ldr.w pc, [pc, #28], in T32: there pc is 4 bytes less ahead.
    let load = if base & 1 == 0 { 0xe59f_f018 } else { 0xf01c_f8df };
    for vector in 0..8 {
        harness::put_word(VECTORS + vector * 4, load);
        let handler = base + vector as u32 * 4;
        harness::put_word(VECTORS + 0x20 + vector * 4, handler);
    }
    cp15::code_written(VECTORS, 0x40);
    top.page(HIGH, VECTORS, Access { ap: 0b101, ..Access::KERNEL });
    tables::with(|table| table.table(HIGH, top, 0));
    with_sctlr(HIGH_VECTORS, || {
        both("high_svc", 0xef00_0001, 0);
        both("high_udf", 0xe7f0_00f0, 0);
        both("high_data", READ, HOLE);
        both("high_prefetch", JUMP, HOLE);
    });
    both("low_again", 0xef00_0002, 0);
    tables::with(|table| table.set(HIGH, 0));
}

/// A page is mapped, moved, unmapped: each time with the invalidation it needs and no more.
fn changed_translations() {
    both("unmapped", READ, AT + 4);
    // A fault is not cached: no invalidation is needed after it.
    pages().page(AT, PAGE_A, USER);
    cp15::dsb();
    cp15::isb();
    both("mapped_a", READ, AT + 4);
    pages().page(AT, PAGE_B, USER);
    translation::invalidate(AT);
    both("moved_to_b", READ, AT + 4);
    both("execute_b", JUMP, AT);
    pages().page(AT, PAGE_A, Access { ap: 0b001, ..USER });
    translation::invalidate(AT);
    both("kernel_only", READ, AT + 4);
    both("kernel_only_execute", JUMP, AT);
    pages().page(AT, PAGE_A, Access { ap: 0b111, xn: true, ..USER });
    translation::invalidate(AT);
    both("read_only", WRITE, AT + 8);
    both("execute_never", JUMP, AT);
    // An exclusive store to it must fault, not fail for ever.
    for mode in Mode::BOTH {
        step("strex_read_only", mode, &[0xe197_0f9f, 0xe187_2f91], AT + 8);
    }
    pages().set(AT, 0);
    translation::invalidate(AT);
    both("unmapped_again", READ, AT + 4);
}

/// Entries of a range are invalidated as Linux does it, whatever is mapped there.
fn page_by_page() {
    // 1: mcr p15, 0, r0, c8, c7, 1; add r0, r0, #4096; cmp r0, r1; blo 1b
    const LOOP: [u32; 4] = [0xee08_0f37, 0xe280_0a01, 0xe150_0001, 0x3aff_fffb];
    let range = |name, from, to| step_with(name, Mode::Svc, &LOOP, [(0, from), (1, to)]);
    range("range_in_megabyte", 0x3200_0007, 0x3200_5000);
    range("range_over_megabytes", 0x321f_e007, 0x3240_3000);
    range("range_one_less", 0x3200_0123, 0x3200_3123);
    range("range_one_more", 0x3200_0123, 0x3200_3124);
    range("range_of_one", 0x3200_0007, 0x3200_0008);
    range("range_backwards", 0x3200_5007, 0x3200_1000);
    range("range_to_the_top", 0xfff0_0007, 0xffff_f000);
    step_with("range_user", Mode::Usr, &LOOP, [(0, 0x3200_0007), (1, 0x3200_5000)]);
    for (name, asid) in [("range_moved", 1), ("range_moved_other", 7)] {
        pages().page(AT, PAGE_A, USER);
        both(name, READ, AT + 4);
        pages().page(AT, PAGE_B, USER);
        cp15::dsb();
        range(name, AT - 0x2000 + asid, AT + 0x3000);
        both(name, READ, AT + 4);
        pages().set(AT, 0);
        translation::invalidate(AT);
    }
    // The last word of a page; behind it is nothing, or what may not be read.
    harness::put_word(PAGE_A + 0xffc, LOOP[0]);
    cp15::code_written(PAGE_A + 0xffc, 4);
    pages().page(AT, PAGE_A, USER);
    let last = |name| run_at(name, Mode::Svc, AT + 0xffc, [(0, 0x3200_0007), (1, 0x3200_5000)]);
    last("range_at_the_end");
    pages().page(AT + 0x1000, PAGE_B, Access { ap: 0, ..USER });
    last("range_before_a_secret");
    for page in [AT, AT + 0x1000] {
        pages().set(page, 0);
        translation::invalidate(page);
    }
}

/// Domains work without any invalidation.
fn changed_domains() {
    pages().page(AT, PAGE_A, Access { ap: 0b001, ..USER });
    tables::with(|table| table.table(AT, pages(), 3));
    let dacr = cp15::dacr::read();
    for (name, access) in [("client", 0b01), ("none", 0b00), ("manager", 0b11), ("client", 0b01)] {
        // SAFETY: the kernel is in domain 0.
        unsafe { cp15::dacr::write(dacr & !(0b11 << 6) | access << 6) }
        cp15::isb();
        let name = crate::name::Name::new(format_args!("domain_{name}"));
        both(name.as_str(), READ, AT + 4);
        both(name.as_str(), JUMP, AT);
    }
    // SAFETY: as it was.
    unsafe { cp15::dacr::write(dacr) }
    tables::with(|table| table.table(AT, pages(), 0));
}

/// With access flags, AP\[0\] is the flag.
fn access_flags() {
    with_sctlr(ACCESS_FLAG, || {
        for (name, ap) in [("clear", 0b010), ("set", 0b011), ("read_only", 0b111)] {
            pages().page(AT, PAGE_A, Access { ap, ..USER });
            translation::invalidate(AT);
            let name = crate::name::Name::new(format_args!("access_flag_{name}"));
            both(name.as_str(), READ, AT + 4);
            both(name.as_str(), WRITE, AT + 8);
        }
    });
    translation::invalidate_all();
}

/// Code is written by one mapping, which may not execute, and run by another, which may not
/// write, again and again: as kernels patch themselves.
fn aliases() {
    pages().page(AT, PAGE_A, Access { ap: 0b001, xn: true, ..USER });
    pages().page(ALIAS, PAGE_A, Access { ap: 0b101, ..USER });
    translation::invalidate_all();
    let words = [0xe10f_0000, 0xe3a0_0007, 0xf102_001f, 0xe10f_0000, 0xe14f_0000, 0xe3a0_0008];
    for (number, word) in words.into_iter().enumerate() {
        harness::put_word(AT, word);
        harness::put_word(AT + 4, END_A32);
        cp15::code_written(AT, 8);
        let name = crate::name::Name::new(format_args!("alias_{number}"));
        step(name.as_str(), Mode::Svc, &[JUMP], ALIAS);
    }
    harness::put_word(AT, END_A32);
    harness::put_word(AT + 4, 0xaaaa_aaaa);
    cp15::code_written(AT, 8);
}

/// Accesses that begin in a page and end in a hole.
fn page_crossings() {
    pages().page(AT, PAGE_A, USER);
    pages().page(ALIAS, PAGE_B, USER);
    translation::invalidate_all();
    both("ldm_crossing", 0xe897_000f, HOLE - 8);
    both("stm_crossing", 0xe887_000f, HOLE - 8);
    both("ldr_crossing", READ, HOLE - 2);
    both("str_crossing", WRITE, HOLE - 2);
    both("ldm_within", 0xe897_000f, ALIAS - 8);
    // The last instruction of a page.
    harness::put_word(HOLE - 4, 0xe1a0_0000);
    cp15::code_written(HOLE - 4, 4);
    both("execute_crossing", JUMP, HOLE - 4);
}

/// TTBR1 translates the upper half.
fn two_tables() {
    // SAFETY: each user is done with the reference before the next.
    let other = unsafe { &mut *ptr::addr_of_mut!(OTHER) };
    other.section(UPPER, board::MEMORY, USER);
    let upper = UPPER + (PAGE_A & 0xf_ffff);
    // SAFETY: the kernel is in the lower half.
    unsafe { cp15::ttbr1::write(ptr::from_ref(other).addr() as u32) }
    both("one_table", READ, upper + 4);
    // Disabling a table (PD1) is left out: only some processors have it.
    // SAFETY: as above.
    unsafe { cp15::ttbcr::write(1) }
    translation::invalidate_all();
    both("two_tables", READ, upper + 4);
    both("two_tables_execute", JUMP, upper);
    // SAFETY: as it was.
    unsafe { cp15::ttbcr::write(0) }
    translation::invalidate_all();
}

/// Two address spaces with one address: no invalidation when switching.
fn address_spaces() {
    let own = cp15::ttbr0::read();
    // SAFETY: `own` is the table in use, which lies where it is mapped.
    let table = unsafe { &*ptr::with_exposed_provenance::<Level1>((own & 0xffff_c000) as usize) };
    // SAFETY: each user is done with the reference before the next.
    let other = unsafe { &mut *ptr::addr_of_mut!(OTHER) };
    other.copy_from(table);
    // SAFETY: only used from here on.
    let top = unsafe { &mut *ptr::addr_of_mut!(TOP) };
    top.page(AT, PAGE_B, Access { not_global: true, ..USER });
    other.table(AT, top, 0);
    pages().page(AT, PAGE_A, Access { not_global: true, ..USER });
    translation::invalidate_all();
    for round in 0..3 {
        // SAFETY: both tables map the kernel alike.
        unsafe { translation::switch(table, 1) }
        let name = crate::name::Name::new(format_args!("space_a_{round}"));
        both(name.as_str(), READ, AT + 4);
        // SAFETY: as above.
        unsafe { translation::switch(other, 2) }
        let name = crate::name::Name::new(format_args!("space_b_{round}"));
        both(name.as_str(), READ, AT + 4);
    }
    // SAFETY: as above.
    unsafe { translation::switch(table, 1) }
}

/// Sets bits of SCTLR for a while.
fn with_sctlr(bits: u32, run: impl FnOnce()) {
    let sctlr = cp15::sctlr::read();
    // SAFETY: callers have prepared what the bits need.
    unsafe { cp15::sctlr::write(sctlr | bits) }
    translation::invalidate_all();
    run();
    // SAFETY: as it was.
    unsafe { cp15::sctlr::write(sctlr) }
    translation::invalidate_all();
}
