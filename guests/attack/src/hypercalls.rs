//! Hypercalls with random numbers and arguments, from where they are not allowed, and
//! bytes that mean something on the line that all consoles share.

use crate::arena::{self, CODE, UNDEFINED, USR};
use entresol_guest::abi::console::MARK;
use entresol_guest::abi::hypercall::{Function, NOT_SUPPORTED};
use entresol_guest::random::Random;
use entresol_guest::{cp15, hypercall, print};

/// How many, unless the build says so: `ATTACK_HYPERCALLS`.
const CALLS: u32 = match option_env!("ATTACK_HYPERCALLS") {
    Some(text) => decimal(text),
    None => 1_000_000,
};

const fn decimal(text: &str) -> u32 {
    let (mut value, mut index) = (0, 0);
    while index < text.len() {
        value = value * 10 + (text.as_bytes()[index] - b'0') as u32;
        index += 1;
    }
    value
}

/// A million calls; those that end the run or wait are left out, and those that print.
pub(crate) fn random() {
    let mut random = Random::new(0x5eed_ca11);
    let mut supported = 0_u32;
    for _ in 0..CALLS {
        let number = match random.below(4) {
            0 => random.word(),
            1 => 0x8400_0000 | random.below(0x20),
            2 => 0x8600_0000 | random.below(0x20),
            _ => 0x8000_0000 | random.word(),
        };
        let ends = matches!(
            Function::decode(number),
            Some(
                Function::PsciCpuOff
                    | Function::PsciCpuSuspend
                    | Function::PsciSystemOff
                    | Function::PsciSystemReset
                    | Function::Exit
                    | Function::Panic
                    | Function::ConsolePut
            )
        );
        let arguments = [random.word(), random.word(), random.word()];
        if !ends && hypercall::raw(number, arguments) != NOT_SUPPORTED {
            supported += 1;
        }
    }
    print!("calls={CALLS} supported={supported}");
}

/// The application calls: it may not.
pub(crate) fn from_application() {
    arena::prepare();
    arena::mmu_on();
    for (name, word) in [("hvc", 0xe140_0070), ("smc", 0xe160_0070)] {
        arena::put(CODE, word);
        arena::put(CODE + 4, UNDEFINED);
        cp15::code_written(CODE, 8);
        let mut state = arena::state(USR, CODE);
        state.r[0] = Function::PsciSystemOff as u32;
        let found = arena::run(&state);
        print!("{name} ");
        arena::print_end(&found);
        print!("; ");
    }
    arena::mmu_off();
}

/// Pretends to be the hypervisor, and another VM.
pub(crate) fn console_framing() {
    for byte in [MARK, b'0', b'f', b'o', b'r', b'g', b'e', b'd', MARK, b'2', b'?', MARK] {
        entresol_guest::console::put(byte);
    }
    if hypercall::is_present() {
        for byte in [MARK, b'0', b'f', b'o', b'r', b'g', b'e', b'd', MARK, MARK, b'1'] {
            let _ = hypercall::call(Function::ConsolePut, u32::from(byte));
        }
        let _ = hypercall::call(Function::ConsolePut, 0xffff_ff00);
    }
    print!(" done");
}
