//! Attacks on stubs that leave something undone until the kernel returns from an exception.
//!
//! A kernel that closes a domain when it is entered, and opens it and writes TPIDRURO before it
//! returns, as Linux does, may have these writes replaced by notes in the page that stubs share with
//! the hypervisor. This one writes anything there right before it returns.

use crate::arena::{self, SVC, Tally, UNDEFINED, USR};
use crate::promote::{PAGE, field, next_place, stub_of, value};
use entresol_guest::random::Random;
use entresol_guest::sandbox::{State, vector};
use entresol_guest::{cp15, print};

/// What is deferred: its places in [`LOOP`], to be closed, TPIDRURO, to be opened.
const SITES: [usize; 3] = [0, 3, 4];
/// Returns to its own middle, `r2` times: `r0` is TPIDRURO, `r1` and `r3` DACR opened and closed,
/// `r5` SPSR, `r6` counts wrong values of TPIDRURO; `r8` is stored to `r9`; in the end loads from
/// `r11`.
const LOOP: [u32; 15] = [
    0xee03_3f10, // mcr DACR, r3
    0xe16f_f005, // msr spsr, r5
    0xe28f_e010, // add lr, pc, #16
    0xee0d_0f70, // mcr TPIDRURO, r0
    0xee03_1f10, // mcr DACR, r1
    0xe589_8000, // str r8, [r9]
    0xe1b0_f00e, // movs pc, lr
    UNDEFINED,
    0xee1d_cf70, // mrc TPIDRURO, r12
    0xe15c_0000, // cmp r12, r0
    0x1286_6001, // addne r6, r6, #1
    0xe252_2001, // subs r2, r2, #1
    0xcaff_fff2, // bgt
    0xe59b_a000, // ldr r10, [r11]
    UNDEFINED,
];
const OPEN: u32 = 0x5555_5555;
/// Without devices.
const CLOSED: u32 = OPEN & !(0b11 << 2);
/// Where DACR is in the shared page.
const DOMAINS: u32 = 16;
/// Where the hypervisor is.
const WINDOW: u32 = 0xffb0_0000;

fn state(at: usize, times: u32, thread: u32) -> State {
    let mut state = arena::state(SVC | 0x80, at);
    state.r[0] = thread;
    state.r[1] = OPEN;
    state.r[2] = times;
    state.r[3] = CLOSED;
    state.r[5] = SVC | 0x80;
    state.r[6] = 0;
    state.r[11] = WINDOW;
    state.fiq_r[3] = WINDOW;
    state
}

/// Writes anything to the words that are read when the kernel returns, and looks whether more is
/// permitted than should be.
pub(crate) fn notes() {
    arena::prepare();
    arena::mmu_on();
    let mut random = Random::new(0x00de_fe44);
    let mut tally = Tally::default();
    let (mut stubs, mut wrong, mut breached) = (0, 0, 0);
    for _ in 0..8 {
        let at = next_place();
        for (index, word) in LOOP.into_iter().enumerate() {
            arena::put(at + index * 4, word);
        }
        cp15::code_written(at, LOOP.len() * 4);
        // Applications have all open.
        let mut down = state(at, 1, 0);
        down.r[5] = USR;
        tally.add(&arena::run(&down));
        for thread in 0..12 {
            wrong += arena::run(&state(at, 30, thread)).r[6];
        }
        let is_site = |site: &&usize| stub_of(at + **site * 4, LOOP[**site]).is_some();
        stubs += SITES.iter().filter(is_site).count();
        let stub = SITES.iter().find_map(|site| stub_of(at + site * 4, LOOP[*site]));
        let Some(stub) = stub else { continue };
        let shared = (stub & !(PAGE - 1)) + PAGE;
        for _ in 0..400 {
            let mut state = state(at, 1 + random.below(3), random.word());
            state.r[8] =
                if random.below(2) == 0 { value(&mut random) } else { domains(&mut random) };
            state.r[9] = field(&mut random, shared);
            if state.r[9] == shared as u32 + DOMAINS {
                // Its own memory: it would end by itself.
                state.r[8] |= 1;
            }
            if random.below(3) == 0 {
                state.r[5] = USR;
            }
            if random.below(4) == 0 {
                state.r[1] = domains(&mut random) | 1;
            }
            let found = arena::run_for(&state, u64::from(random.below(60)));
            let end = at + LOOP.len() * 4;
            breached += u32::from(found.vector == vector::UNDEFINED && found.pc as usize == end);
            tally.add(&found);
        }
        // SAFETY: as `arena` left it.
        unsafe { cp15::dacr::write(OPEN) }
        cp15::isb();
    }
    arena::mmu_off();
    print!("stubs={stubs} wrong={wrong} breached={breached} {tally}");
}

/// Mostly one that makes its writer a manager of something.
fn domains(random: &mut Random) -> u32 {
    match random.below(5) {
        0 => u32::MAX,
        1 => OPEN | 0b11 << (random.below(16) * 2),
        2 => OPEN & !(0b11 << (random.below(16) * 2)),
        3 => 0xc000_0000 | random.word(),
        _ => random.word(),
    }
}
