//! What both vCPUs use of the machine: tables, a page that is shown in turns, a page of code.

use crate::interrupted;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::ptr::{self, with_exposed_provenance, with_exposed_provenance_mut};
use core::sync::atomic::AtomicU32;
use entresol_guest::translation::{self, Access, Level1, Level2};
use entresol_guest::{board, cp15, interrupt, trap, vectors};

pub const TIMER: u32 = 27;
pub const GICD_CTLR: usize = board::GIC_DISTRIBUTOR;
pub const GICD_TYPER: usize = board::GIC_DISTRIBUTOR + 0x4;
pub const GICD_ISENABLER: usize = board::GIC_DISTRIBUTOR + 0x100;
pub const GICD_ICENABLER: usize = board::GIC_DISTRIBUTOR + 0x180;
pub const GICD_SGIR: usize = board::GIC_DISTRIBUTOR + 0xf00;
pub const GICD_ITARGETSR: usize = board::GIC_DISTRIBUTOR + 0x800;

/// Where one of [`PAGES`] is shown.
pub const SHOWN: usize = 0x5000_0000;

vectors! {
    /// The vectors of both.
    both: undefined trap::unexpected, svc trap::unexpected, prefetch trap::unexpected,
        data trap::leave_out, irq on_interrupt, fiq trap::unexpected,
}

interrupt! {
    /// The interrupt vector.
    on_interrupt => interrupted
}

/// A page of words.
#[repr(C, align(4096))]
pub struct Page(pub [AtomicU32; 1024]);

/// What is shown, by turns.
pub static PAGES: [Page; 2] = [
    Page([const { AtomicU32::new(0x1111) }; 1024]),
    Page([const { AtomicU32::new(0x2222) }; 1024]),
];

/// A page of code.
#[repr(C, align(4096))]
pub struct Code(UnsafeCell<[u32; 1024]>);

// SAFETY: written through raw pointers only, by the first vCPU.
unsafe impl Sync for Code {}

pub static CODE: Code = Code(UnsafeCell::new([0; 1024]));

impl Code {
    pub fn address(&self) -> usize {
        self.0.get().expose_provenance()
    }
}

static mut TABLE: Level1 = Level1::new();
static mut PAGE_TABLE: Level2 = Level2::new();

/// The first vCPU's vectors and tables.
pub fn set_up() {
    // SAFETY: the handlers return as they must.
    unsafe { trap::install(both) }
    let (table, pages) = (&raw mut TABLE, &raw const PAGE_TABLE);
    // SAFETY: nothing else runs yet.
    let table = unsafe { &mut *table };
    // SAFETY: as above.
    let pages = unsafe { &*pages };
    table.section(0x4000_0000, 0x4000_0000, Access::KERNEL);
    table.section(0x0800_0000, 0x0800_0000, Access::DEVICE);
    table.section(0x0900_0000, 0x0900_0000, Access::DEVICE);
    table.table(SHOWN, pages, 0);
    show(0);
    enable();
}

/// Turns the MMU on: all is where it was. The second vCPU installs the same vectors.
pub fn enable() {
    // SAFETY: the table maps all that is used where it lies.
    unsafe { translation::enable(&raw const TABLE, 1) }
}

/// Installs the vectors alone.
pub fn set_vectors() {
    // SAFETY: whoever calls has stacks for them.
    unsafe { trap::set_vectors(both) }
}

/// Shows a page, on both vCPUs.
pub fn show(page: usize) {
    let pages = &raw mut PAGE_TABLE;
    // SAFETY: only the first vCPU changes it.
    let pages = unsafe { &mut *pages };
    pages.page(SHOWN, ptr::from_ref(&PAGES[page]).addr(), Access::KERNEL);
    forget();
}

/// Shows none.
pub fn hide() {
    let pages = &raw mut PAGE_TABLE;
    // SAFETY: only the first vCPU changes it.
    unsafe { &mut *pages }.set(SHOWN, 0);
    forget();
}

/// TLBIMVAAIS: on both vCPUs.
pub fn forget() {
    cp15::dsb();
    // SAFETY: TLBs hold copies only.
    unsafe { asm!("mcr p15, 0, {}, c8, c3, 3", in(reg) SHOWN) }
    cp15::dsb();
    cp15::isb();
}

/// TLBIALLIS.
pub fn forget_all() {
    cp15::dsb();
    // SAFETY: TLBs hold copies only.
    unsafe { asm!("mcr p15, 0, {}, c8, c3, 0", in(reg) 0) }
    cp15::dsb();
    cp15::isb();
}

/// Loads a word; how many faults that took.
pub fn probe(address: u32) -> u32 {
    let before = trap::aborts();
    let _ = load(address);
    trap::aborts() - before
}

pub fn load(address: u32) -> u32 {
    read(address as usize)
}

pub fn read(register: usize) -> u32 {
    let value;
    // SAFETY: a device or memory of the guest; a fault leaves it out.
    unsafe { asm!("ldr {}, [{}]", out(reg) value, in(reg) register) }
    value
}

pub fn write(register: usize, value: u32) {
    let address = with_exposed_provenance_mut::<u32>(register);
    // SAFETY: a device of the board.
    unsafe { address.write_volatile(value) }
}

/// Writes a function that returns `value` into the page of code, with something sensitive in it.
pub fn write_code(offset: usize, value: u32) {
    let code = [
        0xe10f_1000,         // mrs r1, cpsr
        0xe3a0_0000 | value, // mov r0, #value
        0xe129_f001,         // msr cpsr_fc, r1
        0xe12f_ff1e,         // bx lr
    ];
    let to = with_exposed_provenance_mut::<u32>(CODE.address() + offset);
    for (number, word) in code.into_iter().enumerate() {
        // SAFETY: inside the page; nobody runs this part of it.
        unsafe { to.add(number).write_volatile(word) }
    }
    // SAFETY: cleaning a line loses nothing.
    unsafe { cp15::dccmvau::write(to.addr() as u32) }
    cp15::dsb();
    // SAFETY: instruction caches hold copies only. ICIALLUIS, BPIALLIS: of both vCPUs.
    unsafe { asm!("mcr p15, 0, {0}, c7, c1, 0", "mcr p15, 0, {0}, c7, c1, 6", in(reg) 0) }
    cp15::dsb();
    cp15::isb();
}

/// Calls what [`write_code`] wrote.
pub fn call(offset: usize) -> u32 {
    cp15::isb();
    let code = with_exposed_provenance::<()>(CODE.address() + offset);
    // SAFETY: a function without arguments in A32, as the call preserves registers.
    let code = unsafe { core::mem::transmute::<*const (), extern "C" fn() -> u32>(code) };
    code()
}

pub fn mpidr() -> u32 {
    let value;
    // SAFETY: reading it changes nothing.
    unsafe { asm!("mrc p15, 0, {}, c0, c0, 5", out(reg) value) }
    value
}

/// Waits for an event: where cores run in turns, the other one's begins.
pub fn wait() {
    // SAFETY: it only waits.
    unsafe { asm!("wfe") }
}

pub fn wait_for(mut done: impl FnMut() -> bool) {
    while !done() {
        wait();
    }
}
