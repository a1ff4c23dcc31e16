//! SDK for guests that know where they are: small systems written for the board.
//!
//! It starts a guest ([`start`]), and gives it a console, exceptions, interrupts, a
//! timer, page tables, applications at PL0, and hypercalls. It is no operating system:
//! there is one processor (a second is the guest's own affair), no heap and no threads.
//!
//! A guest written with it is an ordinary ARMv7-A program in supervisor mode that
//! does not need Entresol: the same ELF runs on bare
//! `qemu-system-arm -M virt -cpu cortex-a15 -kernel`. This is how the guests in
//! `guests/` are tested without the hypervisor, and how the conformance guest can be
//! compared with a real processor.
//!
//! # Invariants
//!
//! 1. A guest runs on one processor: a `static` is shared only with its exception
//!    handlers. Every module that relies on it says so.

#![no_std]
#![expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "addresses and registers are 32 bits on the only target of this crate"
)]

pub mod app;
#[cfg_attr(feature = "vexpress", path = "board_vexpress.rs")]
pub mod board;
pub mod console;
pub mod cp15;
pub mod float;
pub mod gic;
pub mod hypercall;
pub mod lock;
pub mod random;
pub mod sandbox;
pub mod start;
pub mod timer;
pub mod translation;
pub mod trap;

pub use entresol_abi as abi;

/// Names the guest's main function: `fn(u32) -> u32`, given the address of the device
/// tree (or what the loader left in `r2`); what it returns is the exit status.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        /// The function that [`entresol_guest::start`] calls.
        #[unsafe(no_mangle)]
        extern "C" fn guest_main(device_tree: u32) -> u32 {
            let main: fn(u32) -> u32 = $main;
            main(device_tree)
        }
    };
}

/// Prints on the console.
#[macro_export]
macro_rules! print {
    ($($part:tt)*) => { $crate::console::print(::core::format_args!($($part)*)) };
}

/// Prints a line on the console.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($part:tt)*) => {{ $crate::print!($($part)*); $crate::print!("\n"); }};
}
