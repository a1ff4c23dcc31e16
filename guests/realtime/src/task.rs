//! The periodic task: an application at PL0 with its own translation table.
//!
//! Its code is a page of the image, its data another; its table maps both for PL0, at
//! addresses where the kernel's table has nothing, and the kernel for PL1.

use core::arch::naked_asm;
use core::ptr;
use entresol_guest::app::{Registers, Stop};
use entresol_guest::translation::{self, Access, Level1, Level2};
use entresol_guest::{app, board, println};

/// Where the application's page of code lies in its address space.
const CODE: usize = 0x0010_0000;
/// Where its page of data lies.
const DATA: usize = 0x0010_1000;
/// Words of data that it works on.
const WORDS: u32 = 64;

const KERNEL_ASID: u32 = 1;
const TASK_ASID: u32 = 2;

#[repr(C, align(0x1000))]
struct Page([u32; 1024]);

static mut KERNEL_TABLE: Level1 = Level1::new();
static mut TASK_TABLE: Level1 = Level1::new();
static mut TASK_PAGES: Level2 = Level2::new();
static mut TASK_DATA: Page = Page([0; 1024]);

/// The application. It adds up its words, changes each, and asks for its next period.
///
/// # Safety
///
/// Runs at [`CODE`] in the application's address space; it uses no other address
/// than what its registers say.
#[unsafe(naked)]
#[unsafe(link_section = ".text.app")]
unsafe extern "C" fn application() {
    naked_asm!(
        ".balign 0x1000",
        "1:",
        "mov r2, #0",
        "mov r3, #0",
        "2:",
        "ldr r12, [r0, r2, lsl #2]",
        "add r3, r3, r12",
        "eor r12, r3, r12, ror #7",
        "str r12, [r0, r2, lsl #2]",
        "add r2, r2, #1",
        "cmp r2, r1",
        "blo 2b",
        "svc #1",
        "b 1b",
        ".balign 0x1000",
    )
}

/// The task, between two activations.
pub(crate) struct Task {
    registers: Registers,
    activations: u32,
}

impl Task {
    /// Makes the address spaces, turns the MMU on. Called once.
    pub(crate) fn new() -> Self {
        // SAFETY: called once, and nothing else uses the tables.
        let kernel = unsafe { &mut *ptr::addr_of_mut!(KERNEL_TABLE) };
        // SAFETY: as above.
        let table = unsafe { &mut *ptr::addr_of_mut!(TASK_TABLE) };
        // SAFETY: as above.
        let pages = unsafe { &mut *ptr::addr_of_mut!(TASK_PAGES) };
        for each in [&mut *kernel, &mut *table] {
            each.section(board::MEMORY, board::MEMORY, Access::KERNEL);
            each.section(board::UART, board::UART, Access::DEVICE);
            each.section(board::GIC_CPU, board::GIC_CPU, Access::DEVICE);
        }
        let code = Access { ap: 0b111, ..Access::APPLICATION };
        pages.page(CODE, first_instruction(), code);
        let data = Access { xn: true, ..Access::APPLICATION };
        pages.page(DATA, (&raw const TASK_DATA).addr(), data);
        table.table(CODE, pages, 0);
        // SAFETY: the table maps the whole guest and its devices.
        unsafe { translation::enable(kernel, KERNEL_ASID) }
        let mut registers = Registers::at(CODE as u32);
        registers.r[0] = DATA as u32;
        registers.r[1] = WORDS;
        Self { registers, activations: 0 }
    }

    /// Runs the task for one period.
    pub(crate) fn activate(&mut self) {
        // SAFETY: both tables map the kernel alike.
        unsafe { translation::switch(&raw const TASK_TABLE, TASK_ASID) }
        // SAFETY: the status is of User mode, and the vectors are `app`'s.
        let stop = unsafe { app::enter(&mut self.registers) };
        // SAFETY: both tables map the kernel alike.
        unsafe { translation::switch(&raw const KERNEL_TABLE, KERNEL_ASID) }
        self.activations += 1;
        if stop != Stop::Call {
            println!("rt: task stopped by {stop:?} at {:08x}", self.registers.pc);
            entresol_guest::hypercall::exit(3);
        }
    }

    /// How often it was activated.
    pub(crate) fn activations(&self) -> u32 {
        self.activations
    }
}

/// The page-aligned start of the application in the image.
fn first_instruction() -> usize {
    ptr::with_exposed_provenance::<()>(application as *const () as usize)
        .addr()
        .next_multiple_of(0x1000)
}
