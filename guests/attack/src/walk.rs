//! Translation tables as a hypervisor would not like them.
//!
//! The upper half of the address space gets a table of its own (TTBR1), so that the guest
//! survives what is in it.
//!
//! # Manuals
//!
//! ARM DDI 0406C: B3.5.4 (TTBCR.N).

use crate::arena::{self, ARENA, CODE, SVC, Tally, UNDEFINED, USR};
use core::ptr;
use entresol_guest::random::Random;
use entresol_guest::sandbox::State;
use entresol_guest::translation::{self, Level1, Level2};
use entresol_guest::{board, cp15, print};

static mut HOSTILE: Level1 = Level1::new();
static mut PAGES: Level2 = Level2::new();

/// First address that TTBR1 translates.
const UPPER: u32 = 0x8000_0000;

/// Tables that lie in the window, in devices, in nothing, in themselves.
pub(crate) fn hostile_tables() {
    start();
    let own = (&raw const HOSTILE).addr() as u32;
    let mut tally = Tally::default();
    for table in [0xffb0_0000, 0x0000_0000, 0x2000_0000, 0x6000_0000, 0x0900_0000, CODE as u32, own]
    {
        // SAFETY: the guest uses the lower half only.
        unsafe { cp15::ttbr1::write(table & 0xffff_c000) }
        translation::invalidate_all();
        for address in [0x8000_0000, 0x9000_1000, 0xffb0_0000, 0xffff_0000] {
            both(address, &mut tally);
        }
    }
    // First-level entries that name second-level tables in such places.
    // SAFETY: the table is this module's.
    unsafe { cp15::ttbr1::write(own) }
    for table in [0xffb0_0000, 0x0000_0000, 0x2000_0000, 0x6000_0400, 0x0900_0000, own] {
        with_hostile(|hostile| hostile.set(UPPER as usize, table | 1));
        for address in [0x8000_0000, 0x8001_1000, 0x800f_f000] {
            both(address, &mut tally);
        }
    }
    stop();
    print!("{tally}");
}

/// Random descriptors of both levels; those that reach devices are cleared of them.
pub(crate) fn random_descriptors() {
    start();
    // SAFETY: the table is this module's.
    unsafe { cp15::ttbr1::write((&raw const HOSTILE).addr() as u32) }
    let mut random = Random::new(0x5eed_7ab1);
    let mut tally = Tally::default();
    for _ in 0..400 {
        let mut descriptor = random.word();
        // Sections of the virtual board's devices would be legitimate.
        if descriptor >> 24 == 0x08 || descriptor >> 24 == 0x09 || descriptor >> 24 == 0x0a {
            descriptor ^= 0xf000_0000;
        }
        let address = UPPER | (random.word() & 0x7fff_fffc);
        with_hostile(|hostile| hostile.set(address as usize, descriptor));
        // Reading only: what it reaches may be this guest.
        tally.add(&run(0xe597_0000, SVC, address));
        tally.add(&run(0xe597_0000, USR, address));
        with_hostile(|hostile| hostile.set(address as usize, 0));
    }
    stop();
    print!("{tally}");
}

/// Uses more address spaces than any pool has, and touches memory in each.
pub(crate) fn many_address_spaces() {
    start();
    // SAFETY: the table is this module's.
    unsafe { cp15::ttbr1::write((&raw const HOSTILE).addr() as u32) }
    let mut tally = Tally::default();
    for asid in 0..256 {
        // Each maps the megabyte elsewhere.
        let address = UPPER + asid * 0x10_0000;
        let own = board::MEMORY as u32 | 0x0002_0c0e;
        with_hostile(|hostile| hostile.set(address as usize, own));
        // SAFETY: the lower half is global.
        unsafe { cp15::contextidr::write(asid) }
        cp15::isb();
        tally.add(&run(0xe597_0000, USR, address + 0xe_8000));
    }
    for asid in 0..256 {
        with_hostile(|hostile| hostile.set((UPPER + asid * 0x10_0000) as usize, 0));
    }
    stop();
    print!("{tally}");
}

/// Random small pages and sections in the table that is in use, some of them where nothing is, in
/// random domains and address spaces, maintained by address, by address space, or not at all.
pub(crate) fn random_pages() {
    arena::prepare();
    arena::mmu_on();
    let mut random = Random::new(0x5eed_9a6e);
    let mut tally = Tally::default();
    for _ in 0..400 {
        let word = random.word();
        let address = UPPER | (word & 7) << 20 | (random.word() & 0x7_fffc);
        // The upper four megabytes lead anywhere but to devices, so they are only read.
        let anywhere = word & 4 != 0;
        let page = if anywhere { random.word() | 0x1000_0000 } else { ARENA as u32 };
        let descriptor = page & 0xffff_f000 | random.word() & 0xffd | 2;
        // SAFETY: the reference ends with the statement.
        let pages = unsafe { &mut *ptr::addr_of_mut!(PAGES) };
        pages.set(address as usize, descriptor);
        arena::with_table_silently(|table| match word >> 4 & 3 {
            0 => table.set(address as usize, 0),
            1 if anywhere => table.set(address as usize, descriptor & !0x4_0001),
            _ => table.table(address as usize, pages, word >> 6 & 0xf),
        });
        match word >> 12 & 3 {
            // SAFETY: TLBs hold copies only.
            0 => unsafe { cp15::tlbimva::write(address & 0xffff_f000 | word >> 16 & 3) },
            // SAFETY: as above.
            1 => unsafe { cp15::tlbiasid::write(word >> 16 & 3) },
            // SAFETY: what the guest uses is global.
            2 => unsafe { cp15::contextidr::write(word >> 16 & 3) },
            _ => {}
        }
        cp15::isb();
        for mode in [SVC, USR] {
            tally.add(&run(0xe597_0000, mode, address));
            if !anywhere {
                tally.add(&run(0xe587_1000, mode, address));
            }
        }
    }
    for megabyte in 0..8 {
        arena::with_table(|table| table.set((UPPER | megabyte << 20) as usize, 0));
    }
    // SAFETY: as above.
    unsafe { cp15::contextidr::write(1) }
    arena::mmu_off();
    print!("{tally}");
}

fn start() {
    arena::prepare();
    arena::mmu_on();
    // SAFETY: N = 1: the lower half, which the guest uses, is translated as before.
    unsafe { cp15::ttbcr::write(1) }
    translation::invalidate_all();
}

fn stop() {
    // SAFETY: what every attack starts with.
    unsafe { cp15::ttbcr::write(0) }
    // SAFETY: as above.
    unsafe { cp15::ttbr1::write(0) }
    // SAFETY: as above.
    unsafe { cp15::contextidr::write(1) }
    translation::invalidate_all();
    arena::mmu_off();
}

/// Reads, writes and executes from both privileges.
fn both(address: u32, tally: &mut Tally) {
    for mode in [SVC, USR] {
        for word in [0xe597_0000, 0xe587_1000, 0xe12f_ff17] {
            tally.add(&run(word, mode, address));
        }
    }
}

fn run(word: u32, mode: u32, address: u32) -> State {
    arena::put(CODE, word);
    arena::put(CODE + 4, UNDEFINED);
    cp15::code_written(CODE, 8);
    let mut state = arena::state(mode, CODE);
    state.r[7] = address;
    arena::run(&state)
}

fn with_hostile(change: impl FnOnce(&mut Level1)) {
    // SAFETY: `change` cannot reach this function again: it gets the table itself.
    change(unsafe { &mut *ptr::addr_of_mut!(HOSTILE) });
    translation::invalidate_all();
}
