//! Runs generated kernel code and prints hashes of what it did, to be compared.
//!
//! A sequence is two dozen instructions, sensitive ones among them, generated from its number
//! ([`a32`], [`t32`]). It runs from a mode of PL1 with the MMU on until an exception. All of the
//! processor's state then, and all memory it may have changed, is hashed; a call, an interrupt
//! and a data abort are returned from behind what caused them, and it goes on to the next.
//! Every sequence runs three times in a row: a hypervisor may by then have rewritten it. Half
//! of them have nothing sensitive but what kernels do most. One
//! in four has an interrupt pending, which comes with whatever unmasks it; one in 128 is
//! interrupted anywhere ([`stepped`]).
//!
//! The output on bare QEMU and that under Entresol must be the same:
//!
//! ```text
//! a32.250: 1f3c9a07
//! ```
#![no_std]
#![no_main]

mod a32;
mod code;
mod stepped;
mod t32;

use code::{Code, MODES};
use core::ptr;
use entresol_guest::random::Random;
use entresol_guest::sandbox::{self, Bank, State, vector};
use entresol_guest::translation::{self, Access, Level1, Level2};
use entresol_guest::{board, cp15, entry, gic, print, println};

/// Sequences of each set, unless the build says so, and in a line of output.
const SEQUENCES: u32 = number(option_env!("DIFFERENTIAL_SEQUENCES"), 6000);
/// Number of the first, by which all are generated. A multiple of `LINE`.
const FIRST: u32 = number(option_env!("DIFFERENTIAL_FIRST"), 0);
const LINE: u32 = 250;
/// One sequence of so many is interrupted anywhere.
const STEPPED: u32 = number(option_env!("DIFFERENTIAL_STEPPED"), 128);
/// Steps of a sequence.
const STEPS: u32 = 24;
const TIMES: u32 = 3;
/// Most exceptions of a sequence.
const STOPS: u32 = 12;

/// Pages of code, of PL1's; sequences take turns, each `PLACE` bytes.
const CODE: usize = board::MEMORY + 0xd_0000;
const CODE_PAGES: usize = 24;
const PLACE: usize = 0x200;
/// What sequences load and store, of both privileges.
const SCRATCH: usize = board::MEMORY + 0xf_0000;
/// Bytes of it that may change: what is addressed by r7, and the stacks.
const CHANGED: usize = 0x400;
/// Where the stacks are in it.
const STACKS: u32 = 0x2c0;
/// What is loaded into r7 by an `ldmdb` of all registers from the stacks down.
const SCRATCH_SLOT: usize = SCRATCH + 0x2a0;

/// CPSR.T, CPSR.I and CPSR.F.
const T32: u32 = 0x20;
const MASKS: u32 = 0xc0;

static mut TABLE: Level1 = Level1::new();
static mut IMAGE: Level2 = Level2::new();

const fn number(text: Option<&str>, otherwise: u32) -> u32 {
    let Some(text) = text else { return otherwise };
    let (mut value, mut index) = (0, 0);
    while index < text.len() {
        value = value * 10 + (text.as_bytes()[index] - b'0') as u32;
        index += 1;
    }
    value
}

entry!(main);

fn main(_device_tree: u32) -> u32 {
    println!("differential: begin");
    gic::init();
    gic::enable(1);
    gic::enable(board::TIMER_INTERRUPT);
    mmu_on();
    stepped::write_others();
    all("a32", 0);
    all("t32", T32);
    println!("differential: end");
    0
}

fn all(name: &str, set: u32) {
    let mut hash = Hash::new();
    for number in 0..SEQUENCES {
        sequence(number, set, &mut hash);
        if (number + 1) % LINE == 0 {
            println!("{name}.{}: {:08x}", number + 1, hash.0);
            hash = Hash::new();
        }
    }
}

fn sequence(number: u32, set: u32, hash: &mut Hash) {
    let number = FIRST + number;
    let mut random = Random::numbered(number << 1 | set >> 5);
    let turn = number as usize;
    let at = CODE + turn % CODE_PAGES * 0x1000 + turn / CODE_PAGES % (0x1000 / PLACE) * PLACE;
    let mode = MODES[random.below(MODES.len() as u32) as usize];
    let state = initial(&mut random, at, mode | set);
    let pending = random.once_in(4);
    let mut code = Code::new(random, at, mode);
    let common = (number / LINE).is_multiple_of(2);
    if set == 0 {
        a32::write(&mut code, STEPS, common);
    } else {
        t32::write(&mut code, STEPS, common);
    }
    assert!(code.bytes() <= PLACE, "sequence {number} is too long");
    if cfg!(feature = "full") {
        for at in (at..at + code.bytes()).step_by(4) {
            // SAFETY: the code that was just written.
            let word = unsafe { ptr::with_exposed_provenance::<u32>(at).read_volatile() };
            print!("{at:08x}:{word:08x} ");
        }
        println!();
    }
    for _ in 0..TIMES {
        run(number, &state, pending, hash);
    }
    if number.is_multiple_of(STEPPED) {
        stepped::check(number, &state, &code, hash);
    }
}

/// A state that tells all registers apart, with a valid status to return to in every mode.
fn initial(random: &mut Random, at: usize, psr: u32) -> State {
    let mut bank = |index: u32| Bank {
        sp: SCRATCH as u32 + STACKS + index * 0x40,
        lr: random.word(),
        spsr: random.word() & 0xf80f_00c0 | MODES[random.below(6) as usize],
    };
    let (svc, abt, und, irq, fiq) = (bank(0), bank(1), bank(2), bank(3), bank(4));
    let mut state = State {
        pc: at as u32,
        psr: psr | random.word() & (0xf80f_0000 | MASKS),
        usr_lr: random.word(),
        svc,
        abt,
        und,
        irq,
        fiq,
        ..State::default()
    };
    for register in state.r.iter_mut().chain(&mut state.fiq_r) {
        *register = random.word();
    }
    state.r[7] = SCRATCH as u32;
    state
}

/// Runs the sequence once, over its exceptions, to its end.
fn run(number: u32, initial: &State, pending: bool, hash: &mut Hash) {
    prepare();
    if pending {
        gic::send_to_self(1);
    }
    let _ = over_exceptions(initial, |found| {
        hash.state(found);
        if cfg!(feature = "full") {
            println!("{number}: {found:x?}");
        }
        if found.vector == vector::IRQ {
            gic::end(gic::acknowledge());
        }
        found.vector == vector::IRQ
    });
    hash.scratch();
    let left = gic::acknowledge();
    if left != gic::SPURIOUS {
        gic::end(left);
    }
    hash.word(left);
}

/// What sequences may change, as it is before each.
fn prepare() {
    let word = |at: usize| ptr::with_exposed_provenance_mut::<u32>(at);
    for at in (SCRATCH..SCRATCH + CHANGED).step_by(4) {
        // SAFETY: only sequences use the scratch page, and none is running.
        unsafe { word(at).write_volatile(at as u32 * 0x11) }
    }
    // SAFETY: as above.
    unsafe { word(SCRATCH_SLOT).write_volatile(SCRATCH as u32) }
    for write in [
        cp15::tpidrurw::write,
        cp15::tpidruro::write,
        // Also what an exception into the sandbox leaves in it.
        cp15::tpidrprw::write,
        cp15::dfsr::write,
        cp15::dfar::write,
    ] {
        // SAFETY: nothing depends on these registers.
        unsafe { write(0) }
    }
}

/// Runs from exception to exception, each of which `each` sees and says of an interrupt
/// whether to go on; returns the last.
fn over_exceptions(initial: &State, mut each: impl FnMut(&State) -> bool) -> State {
    let mut state = *initial;
    for _ in 0..STOPS {
        // SAFETY: a sequence uses the scratch page only, or faults.
        state = unsafe { sandbox::run(&state) };
        let goes_on = each(&state);
        match state.vector {
            vector::SVC => {}
            vector::DATA => state.pc -= 4,
            vector::IRQ if goes_on => state.pc -= 4,
            _ => break,
        }
    }
    state
}

/// Everything at its physical address, by pages.
fn mmu_on() {
    // SAFETY: called once, and nothing else uses the tables.
    let (table, image) =
        unsafe { (&mut *ptr::addr_of_mut!(TABLE), &mut *ptr::addr_of_mut!(IMAGE)) };
    for page in (board::MEMORY..board::MEMORY + 0x10_0000).step_by(0x1000) {
        let ap = if page == SCRATCH { 0b011 } else { 0b001 };
        image.page(page, page, Access { ap, ..Access::KERNEL });
    }
    table.table(board::MEMORY, image, 0);
    for device in [board::UART, board::GIC_DISTRIBUTOR, board::GIC_CPU] {
        table.section(device, device, Access::DEVICE);
    }
    // SAFETY: the table maps the image and its devices.
    unsafe { translation::enable(table, 1) }
}

/// FNV-1a, by words.
struct Hash(u32);

impl Hash {
    const fn new() -> Self {
        Self(0x811c_9dc5)
    }

    fn word(&mut self, word: u32) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0100_0193);
    }

    /// All that a sequence may have stored.
    fn scratch(&mut self) {
        for at in (SCRATCH..SCRATCH + CHANGED).step_by(4) {
            // SAFETY: memory that only sequences use, and none is running.
            self.word(unsafe { ptr::with_exposed_provenance::<u32>(at).read_volatile() });
        }
    }

    /// What the exception did not touch of DFSR and the like is not compared.
    fn state(&mut self, state: &State) {
        for register in state.r.iter().chain(&state.fiq_r) {
            self.word(*register);
        }
        for word in [state.pc, state.psr, state.usr_sp, state.usr_lr, state.vector, state.entry_psr]
        {
            self.word(word);
        }
        for bank in [state.svc, state.abt, state.und, state.irq, state.fiq] {
            for word in [bank.sp, bank.lr, bank.spsr] {
                self.word(word);
            }
        }
        let fault = match state.vector {
            vector::DATA => [state.dfsr, state.dfar],
            // IFSR without what would be the domain, which only some processors report.
            vector::PREFETCH => [state.ifsr & !0xf0, state.ifar],
            _ => [0, 0],
        };
        for word in fault {
            self.word(word);
        }
    }
}
