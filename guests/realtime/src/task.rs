//! The periodic tasks: applications at PL0, each with its own translation table.
//!
//! Their code is one page of the image, the data of each another; a task's table maps both for
//! PL0, at addresses where the kernel's table has nothing, and the kernel for PL1. All
//! tasks see their data at the same address.

use core::arch::naked_asm;
use core::fmt;
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

/// The kernel's address space; task `n` has the one after, plus `n`.
const KERNEL_ASID: u32 = 1;

/// How many tasks there are.
pub(crate) const TASKS: usize = 2;

#[repr(C, align(0x1000))]
struct Page([u32; 1024]);

static mut KERNEL_TABLE: Level1 = Level1::new();
static mut TABLES: [Level1; TASKS] = [const { Level1::new() }; TASKS];
static mut PAGES: [Level2; TASKS] = [const { Level2::new() }; TASKS];
static mut DATA_PAGES: [Page; TASKS] = [const { Page([0; 1024]) }; TASKS];

/// The application. It sums its words, changes each, and asks for its next period.
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
        "2:",
        "ldr r12, [r0, r2, lsl #2]",
        "add r3, r2, r3, ror #1",
        "eor r12, r3, r12, ror #7",
        "str r12, [r0, r2, lsl #2]",
        "add r3, r3, r12",
        "add r2, r2, #1",
        "cmp r2, r1",
        "blo 2b",
        "svc #1",
        "b 1b",
        ".balign 0x1000",
    )
}

/// A task, between two activations.
pub(crate) struct Task {
    name: &'static str,
    asid: u32,
    table: &'static Level1,
    registers: Registers,
    activations: u32,
}

/// Makes every address space, turns the MMU on. Called once.
pub(crate) fn create(names: [&'static str; TASKS]) -> [Task; TASKS] {
    // SAFETY: called once, and nothing else uses the tables.
    let kernel = unsafe { &mut *ptr::addr_of_mut!(KERNEL_TABLE) };
    // SAFETY: as above.
    let tables = unsafe { &mut *ptr::addr_of_mut!(TABLES) };
    // SAFETY: as above.
    let pages = unsafe { &mut *ptr::addr_of_mut!(PAGES) };
    // SAFETY: as above.
    let data = unsafe { &*ptr::addr_of!(DATA_PAGES) };
    map_kernel(kernel);
    let mut asid = KERNEL_ASID;
    let mut parts = names.into_iter().zip(tables).zip(pages).zip(data);
    let tasks = core::array::from_fn(|_| {
        let (((name, table), pages), data) = parts.next().expect("as many parts as tasks");
        map_kernel(table);
        pages.page(CODE, first_instruction(), Access { ap: 0b111, ..Access::APPLICATION });
        let data = ptr::from_ref(data).addr();
        pages.page(DATA, data, Access { xn: true, ..Access::APPLICATION });
        table.table(CODE, pages, 0);
        let mut registers = Registers::at((CODE | instruction_set()) as u32);
        registers.r[0] = DATA as u32;
        registers.r[1] = WORDS;
        asid += 1;
        Task { name, asid, table, registers, activations: 0 }
    });
    // SAFETY: the table maps the whole guest and its devices.
    unsafe { translation::enable(kernel, KERNEL_ASID) }
    tasks
}

fn map_kernel(table: &mut Level1) {
    table.section(board::MEMORY, board::MEMORY, Access::KERNEL);
    table.section(board::UART, board::UART, Access::DEVICE);
    table.section(board::GIC_CPU, board::GIC_CPU, Access::DEVICE);
}

impl Task {
    /// Runs the task for one period.
    pub(crate) fn activate(&mut self) {
        // SAFETY: both tables map the kernel alike.
        unsafe { translation::switch(self.table, self.asid) }
        // SAFETY: the status is of User mode, and the vectors are `app`'s.
        let stop = unsafe { app::enter(&mut self.registers) };
        // SAFETY: both tables map the kernel alike.
        unsafe { translation::switch(&raw const KERNEL_TABLE, KERNEL_ASID) }
        self.activations += 1;
        if stop != Stop::Call {
            println!("rt: {} stopped by {stop:?} at {:08x}", self.name, self.registers.pc);
            entresol_guest::hypercall::exit(3);
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // r3 is the sum of the task's words: it depends on nothing but the activations.
        let Self { name, activations, registers, .. } = self;
        write!(f, "rt: {name} activations={activations} sum={:08x}", registers.r[3])
    }
}

/// The page-aligned start of the application in the image.
fn first_instruction() -> usize {
    (application as *const () as usize & !1).next_multiple_of(0x1000)
}

/// 1 if the application is T32, as its kernel then is; else 0.
fn instruction_set() -> usize {
    application as *const () as usize & 1
}
