//! Micro operations between marks: the user side of the Linux workload.
//!
//! `ubench NAME N` repeats one operation N times between marks 1000 and 1001;
//! `ubench mark N` executes mark N. What a mark is and who sees it: `bench/plugin`. The
//! counts of this program on a bare machine define the `linux.*` entries of the bench; they
//! stay within 2 % of a C program's doing the same with Debian's C library, which is why it
//! has a C library's habits where they cost (a call per system call, a data segment of
//! the same size, thread words at `clone`).
#![no_std]
#![no_main]
#![expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a 32-bit program for one kernel: addresses are u32 arguments"
)]

mod linux;

use core::arch::naked_asm;
use core::ffi::{CStr, c_char};
use linux::mark;

/// Pages that a static C program has dirtied by the time it forks.
const RESIDENT: usize = 16;
/// Pages that its C library writes to after a fork, in the new process.
const REWRITTEN_BY_CHILD: usize = 8;
/// Pages that it writes to after a fork, in the old process.
const REWRITTEN_BY_PARENT: usize = 7;
static mut SEGMENT: [u8; RESIDENT * 4096] = [0; RESIDENT * 4096];

/// Entry: hands the stack the kernel built to [`main`].
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    naked_asm!("mov r0, sp", "bic sp, sp, #7", "b {}", sym main)
}

extern "C" fn main(stack: *const usize) -> ! {
    let name = argument(stack, 1).to_bytes();
    let count = argument(stack, 2).to_bytes();
    let count = count.iter().fold(0, |n, digit| n * 10 + u32::from(digit.wrapping_sub(b'0')));
    linux::register_rseq();
    dirty(RESIDENT);
    run(name, count);
    linux::exit(0)
}

fn argument(stack: *const usize, index: usize) -> &'static CStr {
    // SAFETY: the kernel puts argc there (ARM ELF process start).
    let argc = unsafe { stack.read() };
    if index >= argc {
        return c"";
    }
    // SAFETY: argv follows argc and has `argc` entries.
    let slot = unsafe { stack.add(1 + index) };
    // SAFETY: as above.
    let text = unsafe { slot.read() };
    // SAFETY: argv entries are terminated strings that live as long as the process.
    unsafe { CStr::from_ptr(core::ptr::with_exposed_provenance::<c_char>(text)) }
}

/// Writes to the segment's first pages.
fn dirty(pages: usize) {
    let segment = (&raw mut SEGMENT).cast::<u8>();
    for offset in (0..pages * 4096).step_by(4096) {
        // SAFETY: inside the segment.
        let byte = unsafe { segment.add(offset) };
        // SAFETY: one thread, and no reference to the segment exists.
        unsafe { byte.write_volatile(1) };
    }
}

fn run(name: &[u8], count: u32) {
    match name {
        b"mark" => mark(count),
        b"null" => between(0, || {}),
        b"getpid" => {
            linux::getppid();
            between(count, linux::getppid);
        }
        b"write" => {
            let (read, write) = linux::pipe();
            let round = || {
                linux::write_byte(write);
                linux::read_byte(read);
            };
            round();
            between(count, round);
        }
        b"fault" => {
            let pages = usize::try_from(count).unwrap_or(0);
            linux::touch_pages(pages, || mark(1000), || mark(1001));
        }
        b"fork" => {
            linux::wait(linux::vfork_exit());
            between(count, || {
                let child = linux::fork(|| dirty(REWRITTEN_BY_CHILD));
                dirty(REWRITTEN_BY_PARENT);
                linux::wait(child);
            });
        }
        b"pingpong" => ping_pong(count),
        b"signal" => {
            linux::handle_sigusr1();
            linux::raise_sigusr1();
            between(count, linux::raise_sigusr1);
        }
        b"usleep" => {
            linux::sleep(2_000_000);
            between(count, || linux::sleep(2_000_000));
        }
        b"spin" => between(1, || spin(count * 10_000)),
        _ => linux::exit(2),
    }
}

/// A hundred instructions, `rounds` times, without a system call: whatever else executes from
/// one passage of `spin_round` to the next is an interrupt's.
#[unsafe(naked)]
extern "C" fn spin(rounds: u32) {
    naked_asm!(
        ".global spin_round",
        "spin_round:",
        ".rept 98",
        "nop",
        ".endr",
        "subs r0, r0, #1",
        "bne spin_round",
        "bx lr",
    )
}

fn between(count: u32, mut operation: impl FnMut()) {
    mark(1000);
    for _ in 0..count {
        operation();
    }
    mark(1001);
}

/// One byte to another process and one back, `count` times.
fn ping_pong(count: u32) {
    const WARM: u32 = 4;
    let (there_read, there_write) = linux::pipe();
    let (back_read, back_write) = linux::pipe();
    let other = linux::fork(|| {
        for _ in 0..count + WARM {
            linux::read_byte(there_read);
            linux::write_byte(back_write);
        }
    });
    let round = || {
        linux::write_byte(there_write);
        linux::read_byte(back_read);
    };
    for _ in 0..WARM {
        round();
    }
    between(count, round);
    linux::wait(other);
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    linux::exit(101)
}
