//! Runs a case and prints what it changed.
//!
//! A line names the case and says which exception ended it and how that was
//! entered, then everything that differs from what was loaded:
//!
//! ```text
//! on.svc.a32.cpsie_i.eq: v=1 lr=+08 psr=.. entry=.. r0=.. und_sp=..
//! ```
//!
//! `v` is the vector, `lr` and `psr` are what the processor saved (`lr` from the start of the
//! code if it lies there), `entry` is the status after entry; aborts add `fsr` and `far`; `m100` is the word at offset 0x100 of the
//! scratch page. Addresses are the same in every run of one binary.

use crate::case::{Case, Code, END_A32, END_T32, Mode, Set, Value, bank};
use crate::{put, transcript};
use core::fmt;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use entresol_guest::sandbox::{self, Bank, State, vector};
use entresol_guest::{board, cp15, gic, timer};

// Pages in memory behind the image, at places that do not depend on how it is linked.

/// Where snippets are copied. Both privileges may do anything with it.
const CODE: usize = board::MEMORY + 0xe_0000;
/// What snippets read and write. Both privileges may do anything with it.
const SCRATCH: usize = board::MEMORY + 0xe_1000;
/// What only PL1 may touch once the MMU is on.
const KERNEL: usize = board::MEMORY + 0xe_2000;
/// Pages where snippets are copied that PL0 may not execute once the MMU is on.
const KERNEL_CODE: usize = board::MEMORY + 0xe_8000;
const KERNEL_CODE_PAGES: usize = 8;
/// Places in such a page: what a hypervisor has learnt of one does not hold for the next.
const PLACES: usize = 110;
const PLACE: usize = 32;
/// What is mapped in every way by [`permissions`](crate::permissions).
pub(crate) const TARGET: usize = board::MEMORY + 0xe_3000;

/// A copy of all snippets, made before any of them ran.
const KEPT: usize = board::MEMORY + 0xb_0000;

/// Byte offset of the end marker in A32 in the page of code.
const END_A32_AT: usize = 0xf00;
/// Byte offset of the end marker in T32.
const END_T32_AT: usize = 0xf80;

/// Initial flags: N, C, Q, GE 0b1010. EQ fails, NE passes.
const FLAGS: u32 = 0xa80a_0000;
/// CPSR.I and CPSR.F.
const MASKED: u32 = 0xc0;
/// CPSR.T.
const T32: u32 = 1 << 5;

/// IFSR without what would be the domain, which only some processors report there.
pub(crate) const IFSR: u32 = !0xf0;

/// What surrounds the cases, as printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// With the MMU on, in A32 only, from a page that PL0 may not execute, again and again:
    /// as a kernel runs its own code.
    Hot,
    /// With the MMU off.
    MmuOff,
    /// With the MMU on, from a page that PL0 may execute, too.
    MmuOn,
}

/// How often a case is run in [`Phase::Hot`].
const TIMES: u32 = 3;

/// Condition that the first instruction gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    Equal,
    NotEqual,
}

/// Where the code runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Copied,
    InPlace,
}

// Snippets share no page with code that runs before they are kept.
core::arch::global_asm!(".pushsection snippets, \"ax\"", ".balign 4096", ".popsection");

unsafe extern "C" {
    #[link_name = "__start_snippets"]
    static SNIPPETS: [u32; 0];
    #[link_name = "__stop_snippets"]
    static SNIPPETS_END: [u32; 0];
}

/// Copies all snippets. User mode runs copies of these; PL1 runs copies of what has run
/// already, so it runs what a hypervisor has made of the snippets.
pub(crate) fn keep_snippets() {
    let (from, end) = (&raw const SNIPPETS, &raw const SNIPPETS_END);
    let words = (end as usize - from as usize) / 4;
    // SAFETY: the linker's symbols bound the snippets; nothing else is at `KEPT`.
    unsafe {
        ptr::copy_nonoverlapping(from.cast::<u32>(), ptr::with_exposed_provenance_mut(KEPT), words);
    }
}

fn kept<T>(snippet: *const T) -> *const T {
    let offset = snippet as usize - (&raw const SNIPPETS) as usize;
    ptr::with_exposed_provenance(KEPT + offset)
}

pub(crate) fn code_address() -> usize {
    CODE
}

pub(crate) fn scratch_address() -> usize {
    SCRATCH
}

/// Runs a case from all its modes, with and without conditions.
pub(crate) fn run(phase: Phase, case: &Case<'_>) {
    if phase == Phase::Hot {
        return run_hot(case);
    }
    for mode in case.modes {
        run_one(phase, case, *mode, Condition::Always, Place::Copied);
        if case.conditional {
            run_one(phase, case, *mode, Condition::NotEqual, Place::Copied);
            run_one(phase, case, *mode, Condition::Equal, Place::Copied);
        }
        // With the MMU on, PL0 may not execute the kernel's text.
        if phase == Phase::MmuOff && matches!(case.code, Code::A32(_) | Code::T32(_)) {
            run_one(phase, case, *mode, Condition::Always, Place::InPlace);
        }
    }
}

/// Runs a case again and again without copying it anew.
fn run_hot(case: &Case<'_>) {
    if case.code.is_t32() {
        return;
    }
    let conditions = [Condition::Always, Condition::NotEqual, Condition::Equal];
    let count = if case.conditional { conditions.len() } else { 1 };
    for mode in case.modes.iter().filter(|mode| **mode != Mode::Usr) {
        for condition in conditions.into_iter().take(count) {
            let start = next_place();
            copy(start, case.code, condition, *mode);
            for _ in 0..TIMES {
                run_at(Phase::Hot, case, *mode, condition, Place::Copied, start);
            }
        }
    }
}

/// Another place for code of the kernel at each call.
fn next_place() -> usize {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let place = count / KERNEL_CODE_PAGES % PLACES;
    KERNEL_CODE + count % KERNEL_CODE_PAGES * 0x1000 + place * PLACE
}

/// Runs a case in the page of code only: it changes itself.
pub(crate) fn run_copied(phase: Phase, case: &Case<'_>) {
    for mode in case.modes {
        run_one(phase, case, *mode, Condition::Always, Place::Copied);
    }
}

fn run_one(phase: Phase, case: &Case<'_>, mode: Mode, condition: Condition, place: Place) {
    copy(code_address(), case.code, condition, mode);
    let start = match (place, case.code) {
        (Place::InPlace, Code::A32(code) | Code::T32(code)) => code as *const () as usize,
        _ => code_address(),
    };
    run_at(phase, case, mode, condition, place, start);
}

/// Runs the case at `start` once and prints the line.
fn run_at(
    phase: Phase,
    case: &Case<'_>,
    mode: Mode,
    condition: Condition,
    place: Place,
    start: usize,
) {
    fill_scratch();
    let mut state = initial(mode, start, case.code.is_t32());
    let sctlr = cp15::sctlr::read();
    let interrupt = case.set.iter().fold(false, |pending, set| {
        apply(&mut state, mode, *set);
        pending || matches!(set, Set::Interrupt | Set::FastInterrupt | Set::TimerInterrupt)
    });
    let before = scratch();
    let expected = State { usr_sp: sandbox::initial_usr_sp(), ..state };
    // SAFETY: snippets use the scratch page only, or fault.
    let found = unsafe { sandbox::run(&state) };
    if sctlr != cp15::sctlr::read() {
        // SAFETY: the value from before.
        unsafe { cp15::sctlr::write(sctlr) }
        cp15::isb();
    }

    put!("{}.{}.{}.", phase, mode.name(), if case.code.is_t32() { "t32" } else { "a32" });
    put!("{}{}{}:", case.name, condition, place);
    report(&expected, &found);
    report_memory(&before);
    if interrupt {
        let acknowledged = gic::acknowledge();
        put!(" iar={acknowledged:x}");
        gic::end(acknowledged);
        gic::deliver_as_fiq(false);
        if acknowledged == board::TIMER_INTERRUPT {
            timer::disarm();
            gic::disable(acknowledged);
        }
    }
    transcript::end_line();
}

/// What every case starts with.
pub(crate) fn initial(mode: Mode, start: usize, t32: bool) -> State {
    let masked = if mode == Mode::Usr { 0 } else { MASKED };
    let thumb = if t32 { T32 } else { 0 };
    let mut state = State {
        pc: start as u32,
        psr: FLAGS | masked | thumb | mode as u32,
        usr_lr: 0x0e10_0000,
        svc: exception_bank(0x13),
        abt: exception_bank(0x17),
        und: exception_bank(0x1b),
        irq: exception_bank(0x12),
        fiq: exception_bank(0x11),
        ..State::default()
    };
    for (number, register) in (0..).zip(&mut state.r) {
        *register = 0x0101_0101 * number;
    }
    for (number, register) in (8..).zip(&mut state.fiq_r) {
        *register = 0xf000_0000 + number;
    }
    state
}

/// A stack in the scratch page, and values that tell the modes apart.
fn exception_bank(mode: u32) -> Bank {
    Bank {
        sp: scratch_address() as u32 + 0x800 + (mode & 0xf) * 0x40,
        lr: 0x0e00_0000 | mode << 16,
        spsr: 0x5005_0000 | MASKED | mode,
    }
}

fn apply(state: &mut State, mode: Mode, set: Set) {
    match set {
        Set::R(number, value) => {
            if let Some(register) = state.r.get_mut(number) {
                *register = resolve(value);
            }
            if let (Mode::Fiq, Some(register)) =
                (mode, number.checked_sub(8).and_then(|n| state.fiq_r.get_mut(n)))
            {
                *register = resolve(value);
            }
        }
        Set::Lr(value) => match bank(state, mode) {
            Some(bank) => bank.lr = resolve(value),
            None => state.usr_lr = resolve(value),
        },
        Set::Spsr(value) => {
            if let Some(bank) = bank(state, mode) {
                bank.spsr = value;
            }
        }
        Set::Psr(bits) => state.psr |= bits,
        Set::Memory(offset, value) => write_scratch(offset, resolve(value)),
        Set::Interrupt => gic::send_to_self(1),
        Set::FastInterrupt => {
            gic::deliver_as_fiq(true);
            gic::send_to_self(1);
        }
        Set::TimerInterrupt => gic::enable(board::TIMER_INTERRUPT),
        Set::Sctlr(bits) => {
            // SAFETY: the kernel's own code does not depend on what cases set.
            unsafe { cp15::sctlr::write(cp15::sctlr::read() | bits) }
            cp15::isb();
        }
    }
}

fn resolve(value: Value) -> u32 {
    match value {
        Value::Word(word) => word,
        Value::Scratch(offset) => scratch_address() as u32 + offset,
        Value::Kernel(offset) => KERNEL as u32 + offset,
        Value::Code(offset) => code_address() as u32 + offset,
        Value::EndA32 => (code_address() + END_A32_AT) as u32,
        Value::EndT32 => (code_address() + END_T32_AT) as u32,
    }
}

/// Copies the code to a page, with end markers that do not disturb Undefined mode
/// if that is where it starts.
fn copy(page: usize, code: Code, condition: Condition, mode: Mode) {
    let (end_a32, end_t32) =
        if mode == Mode::Und { (0xef00_0000, 0xdf00) } else { (END_A32, END_T32) };
    let mut to = page;
    match code {
        Code::A32(from) => {
            let from = from as *const u32;
            let mut from = if mode == Mode::Usr { kept(from) } else { from };
            // SAFETY: the snippet ends with the marker.
            let mut word = conditional(unsafe { from.read_volatile() }, condition);
            while word != END_A32 {
                to = put_word(to, word);
                // SAFETY: the marker was not reached.
                from = unsafe { from.add(1) };
                // SAFETY: as above.
                word = unsafe { from.read_volatile() };
            }
            to = put_word(to, end_a32);
        }
        Code::WordA32(word) => {
            to = put_word(to, conditional(word, condition));
            to = put_word(to, end_a32);
        }
        Code::T32(from) => {
            let from = (from as usize & !1) as *const u16;
            let mut from = if mode == Mode::Usr { kept(from) } else { from };
            to = put_if_then(to, condition);
            // SAFETY: the snippet ends with the marker.
            let mut half = unsafe { from.read_volatile() };
            while half != END_T32 {
                to = put_half(to, half);
                // SAFETY: the marker was not reached.
                from = unsafe { from.add(1) };
                // SAFETY: as above.
                half = unsafe { from.read_volatile() };
            }
            to = put_half(to, end_t32);
        }
        Code::WordT32(word) => {
            to = put_if_then(to, condition);
            if word >> 16 != 0 {
                to = put_half(to, (word >> 16) as u16);
            }
            to = put_half(to, word as u16);
            to = put_half(to, end_t32);
        }
    }
    cp15::code_written(page, to - page);
    // Around the marker too: some returns subtract.
    for offset in (0..16).step_by(4) {
        put_word(code_address() + END_A32_AT - 8 + offset, end_a32);
        put_half(code_address() + END_T32_AT - 8 + offset, end_t32);
        put_half(code_address() + END_T32_AT - 6 + offset, end_t32);
    }
    cp15::code_written(code_address() + END_A32_AT - 8, 16);
    cp15::code_written(code_address() + END_T32_AT - 8, 16);
}

fn conditional(word: u32, condition: Condition) -> u32 {
    match condition {
        Condition::Always => word,
        Condition::Equal => word & 0x0fff_ffff,
        Condition::NotEqual => word & 0x0fff_ffff | 0x1000_0000,
    }
}

fn put_if_then(to: usize, condition: Condition) -> usize {
    match condition {
        Condition::Always => to,
        Condition::Equal => put_half(to, 0xbf08),
        Condition::NotEqual => put_half(to, 0xbf18),
    }
}

pub(crate) fn put_word(to: usize, word: u32) -> usize {
    // SAFETY: callers write to the page of code, which nothing else uses.
    unsafe { ptr::with_exposed_provenance_mut::<u32>(to).write_volatile(word) }
    to + 4
}

pub(crate) fn put_half(to: usize, half: u16) -> usize {
    // SAFETY: callers write to the page of code, which nothing else uses.
    unsafe { ptr::with_exposed_provenance_mut::<u16>(to).write_volatile(half) }
    to + 2
}

pub(crate) fn fill_scratch() {
    for index in 0..1024 {
        write_scratch(index * 4, 0xdada_0000 + index * 4);
    }
}

fn write_scratch(offset: u32, value: u32) {
    let address = ptr::with_exposed_provenance_mut::<u32>(scratch_address() + offset as usize);
    // SAFETY: only snippets use the scratch page, and none is running.
    unsafe { address.write_volatile(value) }
}

fn scratch() -> [u32; 1024] {
    // SAFETY: only snippets use the scratch page, and none is running.
    unsafe { ptr::with_exposed_provenance::<[u32; 1024]>(SCRATCH).read_volatile() }
}

/// Prints the exception and every register that changed.
pub(crate) fn report(loaded: &State, found: &State) {
    put!(" v={} lr=", found.vector);
    match found.pc.wrapping_sub(loaded.pc) {
        // Builds differ in where the snippets lie.
        near @ 0..0x200 => put!("+{near:02x}"),
        _ => put!("{:08x}", found.pc),
    }
    put!(" psr={:08x} entry={:08x}", found.psr, found.entry_psr);
    match found.vector {
        vector::DATA => put!(" fsr={:03x} far={:08x}", found.dfsr, found.dfar),
        // A breakpoint: the address is unknown.
        vector::PREFETCH if found.ifsr & IFSR == 2 => put!(" fsr=002"),
        vector::PREFETCH => put!(" fsr={:03x} far={:08x}", found.ifsr & IFSR, found.ifar),
        _ => {}
    }
    for (number, (loaded, found)) in loaded.r.iter().zip(&found.r).enumerate() {
        changed(format_args!("r{number}"), *loaded, *found);
    }
    for (number, (loaded, found)) in loaded.fiq_r.iter().zip(&found.fiq_r).enumerate() {
        changed(format_args!("fiq_r{}", number + 8), *loaded, *found);
    }
    changed(format_args!("usr_sp"), loaded.usr_sp, found.usr_sp);
    changed(format_args!("usr_lr"), loaded.usr_lr, found.usr_lr);
    let taken = found.vector;
    bank_changed("svc", taken == vector::SVC, loaded.svc, found.svc);
    let abort = taken == vector::DATA || taken == vector::PREFETCH;
    bank_changed("abt", abort, loaded.abt, found.abt);
    bank_changed("und", taken == vector::UNDEFINED, loaded.und, found.und);
    bank_changed("irq", taken == vector::IRQ, loaded.irq, found.irq);
    bank_changed("fiq", taken == vector::FIQ, loaded.fiq, found.fiq);
}

/// What the exception itself wrote is printed already.
fn bank_changed(name: &str, taken: bool, loaded: Bank, found: Bank) {
    changed(format_args!("{name}_sp"), loaded.sp, found.sp);
    if !taken {
        changed(format_args!("{name}_lr"), loaded.lr, found.lr);
        changed(format_args!("{name}_spsr"), loaded.spsr, found.spsr);
    }
}

fn changed(name: fmt::Arguments<'_>, loaded: u32, found: u32) {
    if loaded != found {
        put!(" {name}={found:08x}");
    }
}

fn report_memory(before: &[u32; 1024]) {
    let after = scratch();
    let differing = before.iter().zip(&after).enumerate().filter(|(_, (b, a))| b != a);
    for (index, (_, after)) in differing.take(12) {
        put!(" m{:03x}={after:08x}", index * 4);
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hot => "hot",
            Self::MmuOff => "off",
            Self::MmuOn => "on",
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "",
            Self::Equal => ".eq",
            Self::NotEqual => ".ne",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Copied => "",
            Self::InPlace => ".text",
        })
    }
}
