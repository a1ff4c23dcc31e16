//! What two vCPUs do to each other and to the hypervisor when they mean no good.

use crate::machine;
use crate::second::{self, Task, begin, turn_on};
use entresol_guest::abi::hypercall::Function;
use entresol_guest::{gic, hypercall, println, timer, trap};

/// How long each attack lasts, in counts.
fn while_it_lasts(mut attack: impl FnMut(u32)) {
    let end = timer::now() + u64::from(timer::frequency() / 100);
    let mut round = 0;
    while timer::now() < end {
        attack(round);
        round += 1;
    }
}

/// All attacks, the last of which ends the run while the second goes on.
pub fn run() -> ! {
    // Calls with every kind of argument, before there is a second, while it begins and later.
    for round in 0..400_u32 {
        let entry = [begin as *const () as u32, 0, u32::MAX, 0x4000_0001, 0x4010_0000, 0xffb0_0000];
        let cpu = [0, 2, 3, 0xff, 0x100, 0x0100_0000, u32::MAX];
        let function = [0x8400_0003, 0x8400_0004][round as usize & 1];
        let result = hypercall::raw(
            function,
            [cpu[round as usize % cpu.len()], entry[round as usize % entry.len()], round],
        );
        // Those that name the first, which is on.
        if result == 1 || result == 2 {
            println!("FAIL: {round}: {result}");
        }
    }
    println!("attack: calls");
    // Off and on in a loop, without a wait: some are refused.
    turn_on();
    for _ in 0..100 {
        second::send(Task::Off, 0);
        let entry = begin as *const () as u32;
        let _ = hypercall::raw(Function::PsciCpuOn as u32, [1, entry, 5]);
        machine::wait();
    }
    // A task may have been lost with the one that it was for.
    second::send(Task::Off, 0);
    machine::wait_for(|| hypercall::call(Function::PsciAffinityInfo, 1) == 1);
    println!("attack: power");
    // Floods of each kind and of all, by the second, while the first does the same.
    for kinds in 1..8 {
        second::send(Task::None, 0);
        turn_on();
        second::send(Task::Flood, kinds);
        while_it_lasts(|round| once(kinds, round));
        trap::mask_interrupts();
        while_it_lasts(|round| once(kinds, round));
        trap::unmask_interrupts();
        second::stop();
        println!("attack: flood {kinds}");
    }
    println!("attack: all done");
    turn_on();
    second::send(Task::Flood, 7);
    while_it_lasts(|round| once(7, round));
    hypercall::exit(0)
}

/// One round of a flood.
fn once(kinds: u32, round: u32) {
    if kinds & 1 != 0 {
        gic::send(3, round & 0xf);
        // To CPUs that do not exist, to all others, by numbers that do not exist.
        machine::write(machine::GICD_SGIR, round.wrapping_mul(0x9e37_79b9));
        // The distributor off and on, of which the second hears each time.
        if machine::mpidr() & 1 == 0 {
            machine::write(machine::GICD_CTLR, 0);
            machine::write(machine::GICD_CTLR, 1);
        }
    }
    if kinds & 2 != 0 {
        if round & 1 == 0 {
            machine::forget();
        } else {
            machine::forget_all();
        }
        let _ = machine::load(machine::SHOWN as u32);
        if machine::mpidr() & 1 == 0 {
            machine::show(round as usize >> 1 & 1);
            machine::write_code(128, round & 0xff);
        }
        let _ = machine::call(0);
    }
    if kinds & 4 != 0 {
        let offset = round.wrapping_mul(0x9e37_79b9) >> 20 & 0xffc;
        let _ = machine::load(0x0800_0000 + offset);
        machine::write(machine::GICD_ISENABLER + 4, 0);
        let _ = machine::load(0x0900_0018);
        // Where the board has nothing.
        let _ = machine::probe(0x0903_0000);
        let _ = machine::probe(0x0901_1000);
    }
}

/// The second's flood, until it is to stop.
pub fn flood(kinds: u32) {
    let mut round = 0_u32;
    while !second::is_to_stop() {
        once(kinds, round);
        round = round.wrapping_add(1);
    }
}
