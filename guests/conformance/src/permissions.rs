//! Who may do what to a mapping: every permission, kind of mapping, and domain.
//!
//! The same page of memory, which begins with a permanently undefined instruction, is
//! mapped in each way. A line tells what PL0 and PL1 get when they read, write and execute
//! it: `ok`, or the fault status; a fault address that is not the access's is added.
//!
//! # Manuals
//!
//! ARM DDI 0406C: B3.7 (access permissions), B3.12 (fault priority), table B3-23 (status).

use crate::case::Mode;
use crate::harness::{self, TARGET};
use crate::tables;
use crate::{put, transcript};
use core::ptr;
use entresol_guest::sandbox::{self, State, vector};
use entresol_guest::translation::{Access, Level2};
use entresol_guest::{board, cp15};

/// Where the mapping under test is; its megabyte has nothing else.
const AT: usize = 0x3000_0000;

/// Domain of the mapping under test.
const DOMAIN: u32 = 5;

/// Offset of the word that is read and written.
const DATA: u32 = 0x800;

static mut PAGES: Level2 = Level2::new();

#[derive(Clone, Copy, Debug)]
enum Kind {
    Section,
    LargePage,
    SmallPage,
}

#[derive(Clone, Copy)]
enum Attempt {
    Read,
    Write,
    Execute,
    ReadAsUser,
    WriteAsUser,
}

const ATTEMPTS: [(Mode, Attempt, &str); 8] = [
    (Mode::Usr, Attempt::Read, "ur"),
    (Mode::Usr, Attempt::Write, "uw"),
    (Mode::Usr, Attempt::Execute, "ux"),
    (Mode::Svc, Attempt::Read, "pr"),
    (Mode::Svc, Attempt::Write, "pw"),
    (Mode::Svc, Attempt::Execute, "px"),
    (Mode::Svc, Attempt::ReadAsUser, "prt"),
    (Mode::Svc, Attempt::WriteAsUser, "pwt"),
];

pub(crate) fn run() {
    harness::put_word(TARGET, crate::case::END_A32);
    cp15::code_written(TARGET, 4);
    for kind in [Kind::Section, Kind::LargePage, Kind::SmallPage] {
        for (domain, access) in [("client", 0b01), ("manager", 0b11), ("none", 0b00)] {
            set_domain(access);
            // AP 0b100 is reserved.
            for ap in [0b000, 0b001, 0b010, 0b011, 0b101, 0b110, 0b111] {
                for xn in [false, true] {
                    let at = map(kind, ap, xn);
                    put!("permissions.{kind:?}.{domain}.ap{ap:03b}.xn{}:", u32::from(xn));
                    attempt_all(at);
                }
            }
        }
    }
    set_domain(0b01);
    unmapped();
}

/// No mapping: of the megabyte, then of the page.
fn unmapped() {
    tables::with(|table| table.set(AT, 0));
    put!("permissions.unmapped.section:");
    attempt_all(AT);
    let pages = pages();
    pages.set(AT, 0);
    tables::with(|table| table.table(AT, pages, DOMAIN));
    put!("permissions.unmapped.page:");
    attempt_all(AT);
}

/// Maps the target; returns where it is seen.
fn map(kind: Kind, ap: u32, xn: bool) -> usize {
    let access = Access { ap, xn, domain: DOMAIN, ..Access::APPLICATION };
    let pages = pages();
    match kind {
        Kind::Section => {
            tables::with(|table| table.section(AT, board::MEMORY, access));
            AT + (TARGET & 0xf_ffff)
        }
        Kind::LargePage => {
            pages.large_page(AT, TARGET, access);
            tables::with(|table| table.table(AT, pages, DOMAIN));
            AT + (TARGET & 0xffff)
        }
        Kind::SmallPage => {
            pages.page(AT, TARGET, access);
            tables::with(|table| table.table(AT, pages, DOMAIN));
            AT
        }
    }
}

fn pages() -> &'static mut Level2 {
    // SAFETY: each caller is done with the reference before the next call.
    unsafe { &mut *ptr::addr_of_mut!(PAGES) }
}

fn set_domain(access: u32) {
    let others = cp15::dacr::read() & !(0b11 << (2 * DOMAIN));
    // SAFETY: the kernel's mappings are in another domain.
    unsafe { cp15::dacr::write(others | access << (2 * DOMAIN)) }
    cp15::isb();
}

fn attempt_all(at: usize) {
    for (mode, attempt, name) in ATTEMPTS {
        let (start, expected_far) = match attempt {
            Attempt::Execute => (at, at as u32),
            _ => (place(attempt), at as u32 + DATA),
        };
        let mut state = harness::initial(mode, start, false);
        state.r[7] = at as u32 + DATA;
        // SAFETY: the code accesses the target only, and ends or faults.
        let found = unsafe { sandbox::run(&state) };
        put!(" {name}=");
        outcome(&found, attempt, start as u32, expected_far);
    }
    transcript::end_line();
}

/// Puts the instruction of an attempt into the page of code.
fn place(attempt: Attempt) -> usize {
    let word = match attempt {
        Attempt::Read => 0xe597_0000,
        Attempt::Write => 0xe587_0000,
        Attempt::ReadAsUser => 0xe4b7_0000,
        Attempt::WriteAsUser => 0xe4a7_0000,
        Attempt::Execute => crate::case::END_A32,
    };
    let at = harness::code_address();
    let next = harness::put_word(at, word);
    harness::put_word(next, crate::case::END_A32);
    cp15::code_written(at, 8);
    at
}

fn outcome(found: &State, attempt: Attempt, start: u32, expected_far: u32) {
    let (status, address, lr) = match found.vector {
        vector::UNDEFINED => {
            let end = if matches!(attempt, Attempt::Execute) { start } else { start + 4 };
            put!("ok");
            if found.pc != end + 4 {
                put!("(lr={:08x})", found.pc);
            }
            return;
        }
        vector::DATA => (found.dfsr, found.dfar, start + 8),
        vector::PREFETCH => (found.ifsr & harness::IFSR, found.ifar, start + 4),
        other => {
            put!("vector{other}");
            return;
        }
    };
    put!("{status:x}");
    if address != expected_far {
        put!("(far={address:08x})");
    }
    if found.pc != lr {
        put!("(lr={:08x})", found.pc);
    }
}
