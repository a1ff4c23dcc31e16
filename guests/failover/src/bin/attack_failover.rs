//! A pair that passes what it has back and forth, and reaches for what it has not.
//!
//! Who has the pair's devices fails at once. The backup reaches for the UART and for memory that is
//! the pair's, which must abort; orders everything of everybody, which must be denied; and writes what
//! it likes to memory that a third shares. Then it fails, too, or waits.
//!
//! ```text
//! attack-failover: start 200, 0 accesses got through, 0 orders
//! ```
#![no_std]
#![no_main]

use core::ptr::with_exposed_provenance_mut;
use entresol_guest::abi::control::{EVENT, STATE};
use entresol_guest::abi::hypercall::{Function, psci};
use entresol_guest::abi::window;
use entresol_guest::hypercall::{control, is_active};
use entresol_guest::random::Random;
use entresol_guest::{entry, gic, hypercall, println, trap, vectors};

entry!(main);

vectors! {
    /// Accesses that abort are left out.
    attack_vectors:
        undefined trap::unexpected, svc trap::unexpected, prefetch trap::unexpected,
        data trap::leave_out, irq trap::unexpected, fiq trap::unexpected,
}

/// The machine's UART, memory of who is active, and memory of all.
const UART: usize = 0x0b00_0000;
const PAIRED: usize = 0x3000_0000;
const COMMON: usize = 0x3000_1000;
/// The interrupt that tells of the partner.
const TOLD: u32 = 120;

/// Whether an access of some width does not abort.
fn gets_through(at: usize, random: &mut Random) -> bool {
    let before = trap::aborts();
    // SAFETY: memory that is nobody's of this program, or nothing: then it aborts.
    unsafe {
        match random.below(4) {
            0 => with_exposed_provenance_mut::<u8>(at).write_volatile(b'!'),
            1 => drop(with_exposed_provenance_mut::<u32>(at).read_volatile()),
            2 => with_exposed_provenance_mut::<u32>(at).write_volatile(random.word()),
            _ => drop(with_exposed_provenance_mut::<u16>(at).read_volatile()),
        }
    }
    trap::aborts() == before
}

fn main(_device_tree: u32) -> u32 {
    // SAFETY: the handlers return as their exceptions demand.
    unsafe { trap::install(attack_vectors) }
    gic::init();
    gic::enable(TOLD);
    let vm = hypercall::call(Function::VmIndex, 0);
    let start = hypercall::starts();
    let mut random = Random::new(0xbad + vm * 0x1_0001 + start * 0x101);
    let (mut through, mut obeyed) = (0, 0);
    for _ in 0..random.below(40) {
        if is_active() {
            break;
        }
        let at = [UART, PAIRED][random.below(2) as usize] + random.below(0x400) as usize * 4;
        // It may have become this VM's at the instruction before.
        through += u32::from(gets_through(at, &mut random) && !is_active());
        let (whom, order) = (random.below(6), random.below(7));
        let asks = whom == 1 - vm && (order == STATE || order == EVENT);
        let result = control(whom, order);
        obeyed += u32::from(!asks && result != psci::DENIED && result != psci::INVALID_PARAMETERS);
        gets_through(COMMON + random.below(0x400) as usize * 4, &mut random);
    }
    if through + obeyed != 0 || start.is_multiple_of(200) {
        println!("attack-failover: start {start}, {through} accesses got through, {obeyed} orders");
    }
    let fails = is_active() || random.below(3) == 0;
    while !fails && !is_active() {
        trap::wait_for_interrupt();
        gic::end(gic::acknowledge());
    }
    match random.below(4) {
        0 => hypercall::panic(random.word()),
        1 => {
            let _ = hypercall::call(Function::PsciSystemReset, 0);
        }
        2 => {
            let _ = hypercall::call(Function::PsciSystemOff, 0);
        }
        _ => {
            // SAFETY: the end of this run.
            unsafe { with_exposed_provenance_mut::<u32>(window::BASE as usize).write_volatile(0) }
        }
    }
    0
}
