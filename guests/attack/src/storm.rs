//! Interrupt storms: the guest interrupts itself as fast as it can.

use crate::arena::{self, CODE, SVC, Tally, USR};
use core::arch::asm;
use core::ptr::with_exposed_provenance_mut;
use entresol_guest::{board, cp15, gic, interrupt, print, println, sandbox, timer, trap, vectors};

/// Interrupts of a storm that ends.
const COUNT: u32 = 20_000;

/// All sixteen software interrupts, raised together, taken one by one.
pub(crate) fn software_interrupts() {
    arena::prepare();
    for interrupt in 0..16 {
        gic::enable(interrupt);
    }
    let mut tally = Tally::default();
    let mut taken = 0;
    arena::put(CODE, 0xeaff_fffe); // b .
    cp15::code_written(CODE, 4);
    while taken < COUNT {
        for interrupt in 0..16 {
            gic::send_to_self(interrupt);
        }
        for mode in [SVC, USR].into_iter().cycle().take(16) {
            // SAFETY: a branch to itself, until the interrupt.
            let found = unsafe { sandbox::run(&arena::state(mode, CODE)) };
            tally.add(&found);
            gic::end(gic::acknowledge());
            taken += 1;
        }
    }
    for interrupt in 0..16 {
        gic::disable(interrupt);
    }
    print!("{tally}");
}

/// A timer that is due for ever, never turned off, acknowledged each time.
pub(crate) fn timer() {
    arena::prepare();
    arena::put(CODE, 0xeaff_fffe); // b .
    cp15::code_written(CODE, 4);
    let mut tally = Tally::default();
    timer::arm(0);
    for _ in 0..COUNT {
        // SAFETY: a branch to itself, until the interrupt.
        let found = unsafe { sandbox::run(&arena::state(USR, CODE)) };
        tally.add(&found);
        gic::end(gic::acknowledge());
    }
    ends();
    registers();
    timer::disarm();
    ends();
    print!("{tally}");
}

/// Ends of anything, with any priorities active, and acknowledgements, whether anything is
/// pending or not.
fn ends() {
    /// `GICC_APR0`.
    const PRIORITIES: usize = board::GIC_CPU + 0xd0;
    let priorities = with_exposed_provenance_mut::<u32>(PRIORITIES);
    for active in [0, 1, 1 << 16, 1 << 31, u32::MAX] {
        for value in (0..130).chain([0x3ff, 1 << 10 | 30, 1 << 31 | 27, u32::MAX]) {
            // SAFETY: the board has a GIC there; nothing is to be lost by it.
            unsafe { priorities.write_volatile(active) };
            gic::end(value);
            for acknowledged in [gic::acknowledge(), gic::acknowledge()] {
                gic::end(acknowledged);
                gic::end(acknowledged);
            }
        }
    }
    // SAFETY: as above.
    unsafe { priorities.write_volatile(0) };
}

/// Words of compare values and distances, at the edges.
const EDGES: [u32; 6] = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];

/// Anything in all registers of both timers, in every order of on and masked.
fn registers() {
    for (high, low) in EDGES.into_iter().flat_map(|high| EDGES.map(|low| (high, low))) {
        for control in 0..8_u32 {
            // SAFETY: IRQ is masked, and the timers are nobody else's.
            unsafe {
                asm!(
                    "mcr p15, 0, {control}, c14, c3, 1",
                    "mcrr p15, 3, {low}, {high}, c14",
                    "mcr p15, 0, {low}, c14, c2, 0",
                    "mcr p15, 0, {control}, c14, c2, 1",
                    "mrc p15, 0, {read}, c14, c3, 1",
                    "mcrr p15, 2, {low}, {high}, c14",
                    "mcr p15, 0, {high}, c14, c3, 0",
                    "mrrc p15, 3, {read}, {other}, c14",
                    "mrc p15, 0, {read}, c14, c2, 0",
                    control = in(reg) control,
                    low = in(reg) low,
                    high = in(reg) high,
                    read = out(reg) _,
                    other = out(reg) _,
                    options(nomem, nostack, preserves_flags),
                );
            }
        }
    }
    // SAFETY: turns the physical timer off.
    unsafe { asm!("mcr p15, 0, {}, c14, c2, 1", in(reg) 0, options(nomem, nostack)) };
}

vectors! {
    /// Interrupts raise interrupts; all else is unexpected.
    storm_vectors:
        undefined trap::unexpected, svc trap::unexpected, prefetch trap::unexpected,
        data trap::unexpected, irq storm_interrupt, fiq trap::unexpected,
}

interrupt! {
    /// Ends one interrupt and raises two; with a timer that is always due.
    storm_interrupt => handle
}

extern "C" fn handle() {
    let acknowledged = gic::acknowledge();
    gic::send_to_self(acknowledged & 0xf);
    gic::send_to_self((acknowledged + 1) & 0xf);
    gic::end(acknowledged);
}

/// The storm that does not end.
pub fn for_ever() -> ! {
    println!("attack: an interrupt storm");
    // SAFETY: the handler returns as an interrupt's must.
    unsafe { trap::install(storm_vectors) }
    gic::init();
    for interrupt in (0..16).chain([board::TIMER_INTERRUPT]) {
        gic::enable(interrupt);
    }
    gic::send_to_self(0);
    timer::arm(0);
    loop {
        trap::unmask_interrupts();
    }
}
