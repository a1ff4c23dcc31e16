//! Attacks on promotion: on stubs, on the page they share with the hypervisor, on the hole where
//! they lie, and on what promoting costs.
//!
//! A hypervisor may replace a kernel's instruction by a branch to a stub. This guest finds its
//! stubs by reading its own code, and then does to them what no kernel would. Without a
//! hypervisor, or with one that does not promote, there are no stubs, and each attack ends
//! at once or does to an empty place what it would do to stubs.
//!
//! # Invariants
//!
//! 1. Nothing here is T32 but what an attack jumps to in that state.

use crate::arena::{self, CODE, END, KERNEL, SVC, T32, Tally, UNDEFINED, USR};
use crate::deferred::spare_itself;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use entresol_guest::random::Random;
use entresol_guest::sandbox::{State, vector};
use entresol_guest::translation::{self, Access, Level2};
use entresol_guest::{board, cp15, print, timer};

/// What may be promoted: cpsid i; cpsie i; mrs r0, cpsr; mrs r5, cpsr; msr cpsr_c, r5;
/// mrc TPIDRPRW to r3, DACR to r4; mrs r6, spsr; msr spsr, r5; mrc SCTLR to r8, DFSR to r9;
/// stm r7, {sp, lr}^.
const SITES: [u32; 12] = [
    0xf10c_0080,
    0xf108_0080,
    0xe10f_0000,
    0xe10f_5000,
    0xe121_f005,
    0xee1d_3f90,
    0xee13_4f10,
    0xe14f_6000,
    0xe16f_f005,
    0xee11_8f10,
    0xee15_9f10,
    0xe8c7_6000,
];

/// Five pages that only PL1 may execute.
const SITE_PAGES: usize = board::MEMORY + 0xe_3000;
/// Bytes of a stub, and of the page that comes after those of stubs.
const STUB: usize = 64;
pub(crate) const PAGE: usize = 0x1000;
/// How often a site runs until it is looked whether it was promoted, and how often that is.
const WARM: u32 = 60;
const TRIES: u32 = 5;

/// Where the page of code is seen a second time.
const ALIAS: usize = 0x3100_0000;

static mut PAGES: Level2 = Level2::new();

/// Where the next site is put. Pages take turns: one that is written often is not promoted.
pub(crate) fn next_place() -> usize {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    SITE_PAGES + count % 5 * PAGE + count / 5 % 60 * STUB
}

/// A state in which the loops that a stub returns to end at once.
fn state(psr: u32, pc: usize) -> State {
    let mut state = arena::state(psr, pc);
    state.r[2] = 1;
    state
}

/// A loop of a site in the page that only PL1 may execute: returns its stub.
fn heat(at: usize, word: u32) -> Option<usize> {
    // site; subs r2, r2, #1; bgt site; udf
    for (index, word) in [word, 0xe252_2001, 0xcaff_fffc, UNDEFINED].into_iter().enumerate() {
        arena::put(at + index * 4, word);
    }
    cp15::code_written(at, 16);
    for _ in 0..TRIES {
        let _ = run_site(at, WARM);
        if let Some(stub) = stub_of(at, word) {
            return Some(stub);
        }
    }
    None
}

fn run_site(at: usize, times: u32) -> State {
    let mut state = state(SVC | 0x80, at);
    state.r[2] = times;
    state.r[5] = SVC | 0x80;
    arena::run(&state)
}

/// Where the branch at `at` leads, if `word` was replaced by one.
pub(crate) fn stub_of(at: usize, word: u32) -> Option<usize> {
    // SAFETY: a word of the page of code.
    let now = unsafe { ptr::with_exposed_provenance::<u32>(at).read_volatile() };
    if now == word || now & 0x0f00_0000 != 0x0a00_0000 {
        return None;
    }
    let distance = (((now << 8) as i32) >> 6) as usize;
    Some(at.wrapping_add(8).wrapping_add(distance))
}

/// Makes a stub for each kind of site; calls `attack` with it and what it is for.
fn each_stub(mut attack: impl FnMut(usize, u32)) -> u32 {
    let mut found = 0;
    for word in SITES {
        if let Some(stub) = heat(next_place(), word) {
            found += 1;
            attack(stub, word);
        }
    }
    found
}

fn prepare() {
    arena::prepare();
    arena::mmu_on();
}

/// Calls `attack` with each place in a stub of each kind of site.
fn each_place(mut attack: impl FnMut(usize)) -> u32 {
    let mut found = 0;
    for word in SITES {
        let at = next_place();
        found += u32::from(heat(at, word).is_some());
        for offset in 0..STUB {
            // What was taken back may lead to this guest's own code since.
            let Some(stub) = stub_of(at, word).or_else(|| heat(at, word)) else { break };
            attack(stub + offset);
        }
    }
    found
}

/// Jumps to every place in stubs, in both sets, with registers that mean something
/// and others, and with an interrupt that comes in between.
pub(crate) fn jumps() {
    prepare();
    let mut random = Random::new(0x0057_0b5a);
    let (mut tally, mut count) = (Tally::default(), 0);
    let found = each_place(|place| {
        let mut state = state(SVC | random.word() & 0x8000_0080, place);
        for register in [0, 1, 3, 5] {
            state.r[register] = if random.below(2) == 0 { SVC } else { random.word() };
        }
        tally.add(&arena::run_for(&state, u64::from(random.below(40))));
        count += 1;
    });
    // The other set last: its first page takes all stubs back.
    let thumb = each_place(|place| {
        let block = [0, 0x0000_0400, 0x0600_fc00][place % STUB % 3];
        tally.add(&arena::run(&state(SVC | T32 | block, place)));
        count += 1;
    });
    arena::mmu_off();
    print!("stubs={found}+{thumb} jumps={count} {tally}");
}

/// Reads, writes and executes all that lies around stubs, from both privileges.
pub(crate) fn accesses() {
    prepare();
    let (mut tally, mut count) = (Tally::default(), 0);
    let (mut again, mut harmed) = (0, 0);
    let found = each_stub(|stub, word| {
        let page = stub & !(PAGE - 1);
        let places =
            [stub, stub + 4, stub + 1, page, page + PAGE, page + PAGE + 0xffc, page - PAGE];
        let megabyte = stub & !0xf_ffff;
        for at in places.into_iter().chain([megabyte, megabyte + 0xf_fffc, megabyte + 0x10_0000]) {
            for mode in [SVC, USR] {
                for access in ACCESSES {
                    // That leads to another stub, maybe of the sandbox's own code: only
                    // this guest would be harmed.
                    if access == JUMP && at == page {
                        continue;
                    }
                    tally.add(&access_with(access, mode, at));
                    count += 1;
                }
            }
        }
        // Another stub next to it can be made, and runs.
        let at = next_place();
        again += u32::from(heat(at, word).is_some());
        // The watchdog's time passes while others run, too.
        harmed += u32::from(!matches!(run_site(at, 1).vector, vector::UNDEFINED | vector::IRQ));
    });
    arena::mmu_off();
    print!("stubs={found}+{again} accesses={count} harmed={harmed} {tally}");
}

/// ldr; ldrb; str; strb; strex; stm; ldrt; strt; bx: all with the address in r7.
const ACCESSES: [u32; 9] = [
    0xe597_0000,
    0xe5d7_0000,
    0xe587_1000,
    0xe5c7_1000,
    0xe187_0f91,
    0xe887_000f,
    0xe4b7_0000,
    0xe4a7_1000,
    JUMP,
];
const JUMP: u32 = 0xe12f_ff17;

fn access_with(word: u32, mode: u32, at: usize) -> State {
    arena::put(CODE, word);
    arena::put(CODE + 4, UNDEFINED);
    cp15::code_written(CODE, 8);
    let mut state = state(mode, CODE);
    state.r[7] = at as u32;
    arena::run(&state)
}

/// Writes anything to the shared page, between a site and its next, with interrupts let in at
/// any time, and looks whether the processor is still one.
pub(crate) fn shared_page() {
    prepare();
    let mut random = Random::new(0x5a_4e00);
    let mut tally = Tally::default();
    let mut rounds = 0;
    let found = each_stub(|stub, word| {
        let shared = (stub & !(PAGE - 1)) + PAGE;
        for round in 0..40 {
            rounds += 1;
            // str r0, [r7]; site; str r1, [r8]; site; svc or udf
            let site = KERNEL + 0x800;
            let end = if random.below(2) == 0 { UNDEFINED } else { 0xef00_0000 };
            let words = [0xe587_0000, word, 0xe588_1000, word, end, UNDEFINED];
            if round % 10 == 0 {
                for (index, word) in words.into_iter().enumerate() {
                    arena::put(site + index * 4, word);
                }
                cp15::code_written(site, words.len() * 4);
            }
            for _ in 0..4 {
                let mut state = state(SVC | random.word() & 0x80, site);
                state.r[0] = value(&mut random);
                state.r[1] = value(&mut random);
                state.r[5] = SVC | random.word() & 0x80;
                state.r[7] = field(&mut random, shared);
                state.r[8] = field(&mut random, shared);
                spare_itself(&mut state, 1, 8, shared);
                // `stm r7, {sp, lr}^` stores two words. Which site this is cannot be asked: the
                // table is among code, and may read as what traps.
                if matches!(state.r[7] as usize - shared, 12 | 16) {
                    state.r[7] = shared as u32;
                }
                tally.add(&arena::run_for(&state, u64::from(random.below(60))));
            }
        }
    });
    arena::mmu_off();
    print!("stubs={found} rounds={rounds} {tally}");
}

/// Mostly one that means something: a status, nothing, all.
pub(crate) fn value(random: &mut Random) -> u32 {
    match random.below(5) {
        0 => SVC | random.word() & 0xe0,
        1 => 0,
        2 => u32::MAX,
        3 => 0x80,
        _ => random.word(),
    }
}

/// Mostly a field that is used.
pub(crate) fn field(random: &mut Random, shared: usize) -> u32 {
    let within = if random.below(4) == 0 { PAGE as u32 } else { 64 };
    shared as u32 + (random.below(within) & !3)
}

/// Maps its own memory where stubs are, with and without saying so, and unmaps it, more
/// often than it is given another hole.
pub(crate) fn hole_taken() {
    prepare();
    let (mut lost, mut seen, mut stubs) = (0, 0, 0);
    let mut tally = Tally::default();
    for round in 0..24 {
        let at = next_place();
        let Some(stub) = heat(at, SITES[round % SITES.len()]) else { continue };
        stubs += 1;
        let megabyte = stub & !0xf_ffff;
        let own = board::MEMORY as u32 | 0x0000_0c0e;
        if round % 2 == 0 {
            arena::with_table(|table| table.set(megabyte, own));
        } else {
            arena::with_table_silently(|table| table.set(megabyte, own));
        }
        // What is read there is the own memory, once the guest has said so.
        let found = access_with(0xe597_0000, SVC, megabyte + (END & 0xf_ffff));
        tally.add(&found);
        seen += u32::from(found.r[0] == UNDEFINED);
        tally.add(&access_with(0xe12f_ff17, SVC, stub));
        // The site works on, from whatever it has become.
        tally.add(&run_site(at, 40));
        lost += u32::from(stub_of(at, SITES[round % SITES.len()]).is_none());
        arena::with_table(|table| table.set(megabyte, 0));
        tally.add(&run_site(at, 40));
    }
    arena::mmu_off();
    print!("stubs={stubs} lost={lost} seen={seen} {tally}");
}

/// Has more sites than there can be stubs, all of them hot, again and again.
pub(crate) fn pool_filled() {
    const FIRST: usize = board::MEMORY + 0xd_0000;
    const PAGES: usize = 6;
    prepare();
    let mut tally = Tally::default();
    let mut worst = 0;
    for page in (FIRST..FIRST + PAGES * PAGE).step_by(PAGE) {
        let words = PAGE / 4 - 4;
        for index in 0..words {
            arena::put(page + index * 4, SITES[index % 4]);
        }
        arena::put(page + words * 4, UNDEFINED);
        cp15::code_written(page, PAGE);
    }
    for _ in 0..4 {
        for page in (FIRST..FIRST + PAGES * PAGE).step_by(PAGE) {
            let begin = timer::now();
            let mut state = state(SVC | 0x80, page);
            state.r[5] = SVC | 0x80;
            tally.add(&arena::run_for(&state, 1_000_000));
            worst = worst.max(timer::now() - begin);
        }
    }
    let mut stubs = 0;
    for at in (FIRST..FIRST + PAGES * PAGE).step_by(4) {
        stubs += u32::from(stub_of(at, UNDEFINED).is_some());
    }
    arena::mmu_off();
    print!("stubs={stubs} worst-page={} {tally}", microseconds(worst));
}

/// Has a site promoted, writes to its page, and begins again.
pub(crate) fn taken_back() {
    const ROUNDS: u32 = 300;
    prepare();
    let (mut stubs, mut worst) = (0, 0);
    let begin = timer::now();
    for round in 0..ROUNDS as usize {
        let one = timer::now();
        let at = KERNEL + round % 60 * 0x40;
        stubs += u32::from(heat(at, SITES[round % SITES.len()]).is_some());
        // A store to data of the same page, by another page, and one by the page itself.
        arena::put(KERNEL + 0xff0, round as u32);
        let _ = access_with(0xe587_1000, SVC, KERNEL + 0xff4);
        worst = worst.max(timer::now() - one);
    }
    let mean = (timer::now() - begin) / u64::from(ROUNDS);
    arena::mmu_off();
    print!("stubs={stubs} mean-round={} worst-round={}", microseconds(mean), microseconds(worst));
}

/// Runs a promoted site at two addresses in turn, and with the MMU off.
pub(crate) fn two_homes() {
    prepare();
    let mut tally = Tally::default();
    let mut stubs = 0;
    for round in 0..40_usize {
        let at = next_place();
        with_alias(at & !(PAGE - 1));
        stubs += u32::from(heat(at, SITES[round % SITES.len()]).is_some());
        let alias = ALIAS + (at & (PAGE - 1));
        for at in [alias, at, alias, at] {
            tally.add(&run_site(at, 30));
        }
        if round % 8 == 0 {
            arena::mmu_off();
            tally.add(&run_site(at, 30));
            arena::mmu_on();
            tally.add(&run_site(at, 30));
        }
    }
    arena::with_table(|table| table.set(ALIAS, 0));
    arena::mmu_off();
    print!("stubs={stubs} {tally}");
}

/// Runs promoted sites with big-endian data, and has exceptions taken so.
pub(crate) fn big_endian() {
    prepare();
    let mut tally = Tally::default();
    let found = each_stub(|stub, word| {
        // setend be; site; setend le; udf
        let at = KERNEL + 0xc00;
        for (index, word) in
            [0xf101_0200, word, 0xf101_0000, UNDEFINED, UNDEFINED].into_iter().enumerate()
        {
            arena::put(at + index * 4, word);
        }
        cp15::code_written(at, 20);
        for _ in 0..WARM {
            let mut state = state(SVC | 0x80, at);
            state.r[5] = SVC | 0x80;
            tally.add(&arena::run(&state));
        }
        tally.add(&arena::run(&state(SVC | 1 << 9, stub)));
    });
    arena::mmu_off();
    print!("stubs={found} {tally}");
}

/// Maps a page of its own at [`ALIAS`], for PL1.
fn with_alias(page: usize) {
    // SAFETY: the one user of the table, which is done with it at the end.
    let pages = unsafe { &mut *ptr::addr_of_mut!(PAGES) };
    pages.page(ALIAS, page, Access::KERNEL);
    arena::with_table(|table| table.table(ALIAS, pages, 0));
    translation::invalidate_all();
}

fn microseconds(ticks: u64) -> u64 {
    ticks * 1_000_000 / u64::from(timer::frequency())
}
