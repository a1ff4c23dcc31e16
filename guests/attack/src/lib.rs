//! A guest that attacks what isolates it, one attack a start.
//!
//! Many attacks may end the VM, and it is not for the guest to say which. So each start
//! of the VM makes one attack: the one with the number of the start. An attack that
//! was survived is followed by a reset; one that was not, by the restart that the
//! manifest's policy must give. Without Entresol nothing counts the starts, and all
//! attacks are made in one run.
//!
//! Each attack says what came of it on one line, `attack N name: result`. Whether other VMs
//! were harmed is for the host to see.
//!
//! # Invariants
//!
//! 1. An attack leaves vectors, translation, GIC and UART fit for the next, because
//!    without Entresol there is no reset between them.
#![no_std]

mod address;
mod arena;
mod code;
mod coprocessor;
mod deferred;
mod device;
mod encoding;
mod hypercalls;
mod jump;
mod leftover;
mod promote;
pub mod storm;
mod trusted;
mod walk;

use entresol_guest::abi::hypercall::Function;
use entresol_guest::{hypercall, print, println};

/// Attacks that are one function each.
const SINGLE: [(&str, fn()); 30] = [
    ("leftover_registers", leftover::registers),
    ("coprocessor_read_kernel", coprocessor::read_from_kernel),
    ("coprocessor_read_application", coprocessor::read_from_application),
    ("coprocessor_write_kernel", coprocessor::write_from_kernel),
    ("coprocessor_write_application", coprocessor::write_from_application),
    ("encodings_a32_kernel", encoding::a32_in_kernel),
    ("encodings_a32_application", encoding::a32_in_application),
    ("encodings_t32_kernel", encoding::t32_in_kernel),
    ("encodings_t32_application", encoding::t32_in_application),
    ("hypercalls_random", hypercalls::random),
    ("hypercalls_application", hypercalls::from_application),
    ("console_framing", hypercalls::console_framing),
    ("jump_kernel", jump::in_kernel),
    ("jump_application", jump::in_application),
    ("device_registers", device::registers),
    ("device_access_kinds", device::access_kinds),
    ("device_execute", device::execute),
    ("walk_hostile_tables", walk::hostile_tables),
    ("walk_random_descriptors", walk::random_descriptors),
    ("walk_changing_tables", walk::many_address_spaces),
    ("storm_software_interrupts", storm::software_interrupts),
    ("storm_timer", storm::timer),
    ("code_dense_a32", code::dense_a32),
    ("code_dense_t32", code::dense_t32),
    ("code_dense_weak", code::dense_weak),
    ("trusted_page", trusted::page),
    ("managers", code::managers),
    ("device_watchdog", device::watchdog),
    ("own_kernel", address::application_against_kernel),
    ("walk_random_pages", walk::random_pages),
];

/// Attacks on promotion.
const PROMOTION: [(&str, fn()); 9] = [
    ("stub_accesses", promote::accesses),
    ("shared_page", promote::shared_page),
    ("hole_taken", promote::hole_taken),
    ("pool_filled", promote::pool_filled),
    ("taken_back", promote::taken_back),
    ("two_homes", promote::two_homes),
    ("big_endian", promote::big_endian),
    ("deferred_notes", deferred::notes),
    ("stub_jumps", promote::jumps),
];

/// Makes the attack of this start, or all without Entresol. The status is 0.
pub fn run() -> u32 {
    each(SINGLE.len() + address::COUNT, one)
}

/// The same for the attacks on promotion.
pub fn run_on_promotion() -> u32 {
    each(PROMOTION.len(), |number| named(&PROMOTION, number))
}

fn each(count: usize, one: impl Fn(usize)) -> u32 {
    if !hypercall::is_present() {
        for number in 0..count {
            one(number);
        }
        return 0;
    }
    let number = hypercall::starts() as usize - 1;
    if number == 0 {
        println!("attack: {count} attacks");
    }
    if number < count {
        one(number);
        let _ = hypercall::call(Function::PsciSystemReset, 0);
        return 1;
    }
    println!("attack: all done");
    0
}

fn named(attacks: &[(&str, fn())], number: usize) {
    if let Some((name, attack)) = attacks.get(number) {
        print!("attack {number} {name}: ");
        attack();
        println!();
    }
}

fn one(number: usize) {
    if number < SINGLE.len() {
        return named(&SINGLE, number);
    }
    let attack = address::Attack::new(number - SINGLE.len());
    print!("attack {number} {attack}: ");
    attack.make();
    println!();
}
