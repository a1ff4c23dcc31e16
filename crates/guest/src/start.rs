//! From the first instruction to the guest's main function.
//!
//! The guest starts as the Linux boot protocol says: supervisor mode, A32, MMU off,
//! interrupts masked, device tree in `r2`. Nothing here is sensitive: a guest that
//! needs no exceptions contains no instruction that deprivileging must replace.
//! [`trap`](crate::trap) gives the other modes their stacks.

use crate::{console, hypercall, println};
use core::arch::naked_asm;
use core::panic::PanicInfo;

/// Bytes of the supervisor stack.
const STACK_LEN: usize = 0x4000;

#[repr(C, align(8))]
struct Stack([u8; STACK_LEN]);

static mut STACK: Stack = Stack([0; STACK_LEN]);

unsafe extern "C" {
    /// Defined by [`entry!`](crate::entry).
    safe fn guest_main(device_tree: u32) -> u32;
}

/// The guest's first instruction.
///
/// # Safety
///
/// Runs once, as the first code of the guest.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.start")]
#[instruction_set(arm::a32)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        // 1. A stack.
        "ldr sp, ={stack} + {stack_len}",
        // 2. Zeroed statics. The device tree stays in r2.
        "ldr r0, =__bss_start",
        "ldr r1, =__bss_end",
        "mov r3, #0",
        "1:",
        "cmp r0, r1",
        "strlo r3, [r0], #4",
        "blo 1b",
        // 3. Rust.
        "mov r0, r2",
        "bl {main}",
        ".ltorg",
        stack = sym STACK,
        stack_len = const STACK_LEN,
        main = sym main,
    )
}

extern "C" fn main(device_tree: u32) -> ! {
    console::init();
    hypercall::exit(guest_main(device_tree))
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    hypercall::exit(101)
}
