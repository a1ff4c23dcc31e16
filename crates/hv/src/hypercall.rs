//! What a guest's call asks for, or why it is refused.
//!
//! Decoding can refuse; performing a [`Request`] cannot fail, and is the caller's. What
//! needs no state of a VM is answered here.
//!
//! Manuals: ARM DEN 0028 (SMC Calling Convention), ARM DEN 0022 (PSCI), chapter 5.

use crate::bus::low_byte;
use entresol_abi::hypercall::{Function, NOT_SUPPORTED, psci};

/// PSCI 0.2: major version in bits 31:16.
const PSCI_VERSION: u32 = 2;
/// PSCI: no trusted operating system to migrate.
const NO_TRUSTED_OS: u32 = 2;
/// The version of Entresol's own functions.
const VERSION: u32 = 1;
/// The affinity fields of a vCPU's name: its number.
const AFFINITY: u32 = 0x00ff_ffff;

/// What to do for the guest. `r0` is the result where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Return this result.
    Answer(u32),
    /// Wait for an interrupt, then return 0.
    Wait,
    /// Turn the calling vCPU off. If it is the only one, the VM ends well.
    CpuOff,
    /// Turn another vCPU on.
    CpuOn {
        /// Its number.
        cpu: u32,
        /// Its first instruction.
        entry: u32,
        /// Its `r0`.
        context: u32,
    },
    /// Return whether the vCPU of this number is on.
    AffinityInfo(u32),
    /// The VM ended well.
    SystemOff,
    /// Start the VM again from its image.
    SystemReset,
    /// Return the VM's index.
    VmIndex,
    /// Write a byte to the VM's console; return 0, or `hypercall::NONE` if there
    /// is no room.
    ConsolePut(u8),
    /// Return a byte from the VM's console or `hypercall::NONE`.
    ConsoleGet,
    /// The VM ended with this status, 0 is well.
    Exit(u32),
    /// Return 0 after its equals have had their turn.
    Yield,
    /// Return how many times the VM was started.
    Starts,
    /// Wait for a lock.
    LockWait {
        /// Where the guest's memory has it.
        at: u32,
        /// How long at most.
        microseconds: u32,
    },
    /// Have those look that wait for locks; return 0.
    LockWake,
    /// Order something of a VM, or ask for its state.
    Control {
        /// Its index.
        vm: u32,
        /// One of [`entresol_abi::control`].
        order: u32,
    },
    /// The VM is alive: return 0.
    Heartbeat,
    /// It promises to call again in so many microseconds, or nothing if 0; return 0.
    Deadline(u32),
    /// It gives up, for a reason with this number.
    Panic(u32),
    /// Return whether it has what is its pair's.
    Role,
}

/// Why a call is refused. The guest runs on with [`Refusal::result`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No function has this number.
    NoSuchFunction(u32),
    /// An argument is out of the function's range.
    Argument(Function, u32),
}

impl Refusal {
    /// What the guest finds in `r0`.
    #[must_use]
    pub const fn result(self) -> u32 {
        match self {
            Self::NoSuchFunction(_) => NOT_SUPPORTED,
            Self::Argument(..) => psci::INVALID_PARAMETERS,
        }
    }
}

/// Reads the call in `r0` to `r3`.
///
/// # Errors
///
/// Why the call is refused; nothing is to be done for it then.
pub const fn decode(arguments: [u32; 4]) -> Result<Request, Refusal> {
    let [number, first, second, third] = arguments;
    let Some(function) = Function::decode(number) else {
        return Err(Refusal::NoSuchFunction(number));
    };
    Ok(match function {
        Function::PsciVersion => Request::Answer(PSCI_VERSION),
        Function::PsciCpuSuspend => Request::Wait,
        Function::PsciCpuOff => Request::CpuOff,
        Function::PsciCpuOn => {
            Request::CpuOn { cpu: first & AFFINITY, entry: second, context: third }
        }
        // Affinity levels above 0 need not be implemented (ARM DEN 0022, 5.7).
        Function::PsciAffinityInfo if second != 0 => {
            return Err(Refusal::Argument(function, second));
        }
        Function::PsciAffinityInfo => Request::AffinityInfo(first & AFFINITY),
        Function::PsciMigrateInfoType => Request::Answer(NO_TRUSTED_OS),
        Function::PsciSystemOff => Request::SystemOff,
        Function::PsciSystemReset => Request::SystemReset,
        Function::PsciFeatures => Request::Answer(features(first)),
        Function::Version => Request::Answer(VERSION),
        Function::VmIndex => Request::VmIndex,
        Function::ConsolePut if first <= 0xff => Request::ConsolePut(low_byte(first)),
        Function::ConsolePut => return Err(Refusal::Argument(function, first)),
        Function::ConsoleGet => Request::ConsoleGet,
        Function::Exit => Request::Exit(first),
        Function::Yield => Request::Yield,
        Function::Starts => Request::Starts,
        Function::LockWait => Request::LockWait { at: first, microseconds: second },
        Function::LockWake => Request::LockWake,
        Function::VmControl => Request::Control { vm: first, order: second },
        Function::Heartbeat => Request::Heartbeat,
        Function::Deadline => Request::Deadline(first),
        Function::Panic => Request::Panic(first),
        Function::Role => Request::Role,
    })
}

/// Whether a PSCI function exists.
const fn features(number: u32) -> u32 {
    match Function::decode(number) {
        Some(
            Function::PsciVersion
            | Function::PsciCpuSuspend
            | Function::PsciCpuOff
            | Function::PsciCpuOn
            | Function::PsciAffinityInfo
            | Function::PsciMigrateInfoType
            | Function::PsciSystemOff
            | Function::PsciSystemReset
            | Function::PsciFeatures,
        ) => psci::SUCCESS,
        _ => NOT_SUPPORTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_function_is_not_supported() {
        let refusal = decode([0x8600_0fff, 0, 0, 0]).unwrap_err();
        assert_eq!(refusal, Refusal::NoSuchFunction(0x8600_0fff));
        assert_eq!(refusal.result(), u32::MAX);
    }

    #[test]
    fn a_cpu_is_named_by_its_affinity() {
        let on = Request::CpuOn { cpu: 1, entry: 0x4000_8000, context: 7 };
        assert_eq!(decode([0x8400_0003, 0x8000_0001, 0x4000_8000, 7]), Ok(on));
        assert_eq!(decode([0x8400_0004, 0, 0, 0]), Ok(Request::AffinityInfo(0)));
        assert_eq!(
            decode([0x8400_0004, 0, 1, 0]),
            Err(Refusal::Argument(Function::PsciAffinityInfo, 1))
        );
    }

    #[test]
    fn features_names_psci_functions_only() {
        assert_eq!(decode([0x8400_000a, 0x8400_0008, 0, 0]), Ok(Request::Answer(0)));
        assert_eq!(decode([0x8400_000a, 0x8600_0002, 0, 0]), Ok(Request::Answer(NOT_SUPPORTED)));
    }

    #[test]
    fn a_console_byte_is_a_byte() {
        assert_eq!(decode([0x8600_0002, 0xff, 0, 0]), Ok(Request::ConsolePut(0xff)));
        assert_eq!(
            decode([0x8600_0002, 0x100, 0, 0]).unwrap_err().result(),
            psci::INVALID_PARAMETERS
        );
    }

    proptest::proptest! {
        #[test]
        fn every_call_is_decoded_or_refused(arguments: [u32; 4]) {
            if let Err(refusal) = decode(arguments) {
                proptest::prop_assert!(refusal.result() >= 0xffff_fffe);
            }
        }
    }
}
