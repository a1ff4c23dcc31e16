//! A guest that does nothing but give the hypervisor work, of every kind and as much as it can.
//!
//! Each round is one kind, chosen at random: sensitive instructions; hypercalls; pages of code
//! that are written, executed and written again, some of them full of sensitive instructions;
//! invalidations of its TLB, changes of its address space, its MMU off and on; its console; its
//! interrupts. Two of them differ: the seed is what the counter shows at the start. Ends never.
//!
//! # Invariants
//!
//! - Everything is mapped to itself, by sections; code is put into the second megabyte only.
#![no_std]
#![no_main]

use core::ptr;
use entresol_guest::{
    board, cp15, entry, gic, hypercall, interrupt, print, println, timer, trap, vectors,
};

entry!(main);

vectors! {
    /// Interrupts are ended; all else is unexpected.
    flood_vectors:
        undefined trap::unexpected, svc trap::unexpected, prefetch trap::unexpected,
        data trap::unexpected, irq flood_interrupt, fiq trap::unexpected,
}

/// Pages of code.
const CODE: usize = board::MEMORY + 0x10_0000;
/// How many.
const PAGES: usize = 64;
/// Sections: normal memory, write-back; device.
const MEMORY_SECTION: u32 = 0x0000_140e;
const DEVICE_SECTION: u32 = 0x0000_0416;

#[repr(C, align(16384))]
struct Table([u32; 4096]);

static mut TABLE: Table = Table([0; 4096]);

interrupt! {
    /// The interrupt vector.
    flood_interrupt => handle
}

extern "C" fn handle() {
    let acknowledged = gic::acknowledge();
    if acknowledged == board::TIMER_INTERRUPT {
        timer::disarm();
    }
    gic::end(acknowledged);
}

/// A linear congruential generator.
struct Random(u32);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % limit
    }
}

/// Turns the MMU on, with everything mapped to itself.
fn map() {
    let table = &raw mut TABLE;
    for megabyte in [0x400, 0x401] {
        let entry = (megabyte << 20) | MEMORY_SECTION;
        // SAFETY: nothing else uses the table yet; the index is below 4096.
        unsafe { ptr::addr_of_mut!((*table).0[megabyte as usize]).write_volatile(entry) };
    }
    for megabyte in [0x080, 0x090] {
        let entry = (megabyte << 20) | DEVICE_SECTION;
        // SAFETY: as above.
        unsafe { ptr::addr_of_mut!((*table).0[megabyte as usize]).write_volatile(entry) };
    }
    // SAFETY: the table maps what is used at its own address.
    unsafe {
        cp15::ttbcr::write(0);
        cp15::ttbr0::write(table as u32);
        cp15::dacr::write(1);
        cp15::tlbiall::write(0);
    }
    set_mmu(true);
}

fn set_mmu(on: bool) {
    let sctlr = cp15::sctlr::read();
    let value = if on { sctlr | 1 } else { sctlr & !1 };
    cp15::dsb();
    // SAFETY: everything is mapped to itself.
    unsafe { cp15::sctlr::write(value) };
    cp15::isb();
}

/// Writes a page of code and calls it: a return, then what `fill` says.
fn code(random: &mut Random, fill: u32) {
    let page = CODE + random.below(PAGES as u32) as usize * 4096;
    for word in 0..1024 {
        let at = (page + word * 4) as *mut u32;
        let value = match (word, fill) {
            (0, _) => 0xe12f_ff1e,                         // bx lr
            (_, 0) => 0xf10c_0080,                         // cpsid i
            (_, 1) => 0xe321_f0d3,                         // msr cpsr_c, #0xd3
            (_, 2) => 0xe59f_0004 | random.below(64) << 2, // ldr r0, [pc, #..]
            (_, 3) => 0xea00_0000 | random.below(2),       // b .+8 or .+12
            _ => random.0.wrapping_mul(word as u32 | 1),
        };
        // SAFETY: the pages are used for this only.
        unsafe { at.write_volatile(value) };
    }
    cp15::code_written(page, 4096);
    // SAFETY: the page begins with a return, which is all that a call of it executes.
    let call = unsafe { core::mem::transmute::<usize, extern "C" fn()>(page) };
    call();
}

fn round(random: &mut Random) {
    match random.below(12) {
        0 => {
            for _ in 0..64 {
                trap::mask_interrupts();
                trap::unmask_interrupts();
            }
        }
        1 => {
            // Yield, and one that does not exist.
            for _ in 0..32 {
                let _ = hypercall::raw(0x8600_0005 + random.below(2) * 8, [0; 3]);
            }
        }
        2..=4 => {
            let fill = random.below(5);
            code(random, fill);
        }
        5 => {
            for _ in 0..8 {
                // SAFETY: losing translations costs time only.
                unsafe { cp15::tlbiall::write(0) };
            }
        }
        6 => {
            for _ in 0..64 {
                let address = random.0 & 0xffff_f000;
                // SAFETY: as above.
                unsafe { cp15::tlbimva::write(address) };
            }
        }
        7 => {
            for _ in 0..16 {
                // SAFETY: all address spaces are alike.
                unsafe { cp15::contextidr::write(random.below(256)) };
                cp15::isb();
            }
        }
        8 => {
            set_mmu(false);
            set_mmu(true);
        }
        9 => print!("0123456789abcdef"),
        10 => {
            for interrupt in 0..16 {
                gic::send_to_self(interrupt);
            }
        }
        _ => timer::arm(timer::now() + u64::from(random.below(4096))),
    }
}

fn main(_device_tree: u32) -> u32 {
    // SAFETY: the handler returns as an interrupt's must.
    unsafe { trap::install(flood_vectors) }
    map();
    gic::init();
    for interrupt in (0..16).chain([board::TIMER_INTERRUPT]) {
        gic::enable(interrupt);
    }
    println!("flood: ready");
    let mut random = Random(timer::now() as u32);
    trap::unmask_interrupts();
    loop {
        round(&mut random);
    }
}
