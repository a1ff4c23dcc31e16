//! An entry of the shadow that the guest's tables permit, filled after the walk of an abort.
//!
//! Budget `shadow.fill`. A small page of data, in the view of an application or of a kernel, in a
//! megabyte whose second-level table is linked already, or has none and maps nothing that is global.
//! Anything else is the handler's: [`Shadow::resolve`] says the same with all cases, and whatever this
//! fills, that would fill alike.
//!
//! # Why no more than one
//!
//! Filling eight at once was measured: shells that fork and execute took half as many fills of
//! code, and more instructions, because most of what was filled was never used.
//!
//! Manual: ARM DDI 0406C, B3.5.1 (descriptors), B3.7.1 (AP).

use super::abort::WILD;
use super::{COUNTERS, FAST, FILLS, Fast, SLOW, count, resume};
use crate::entry;
use crate::guest::Guest;
use crate::maintenance::switch_text;
use crate::pages::{self, Pages};
use crate::shadow::{self, Shadow};
use crate::tables::Tables;
use crate::translation::{self, Memory, Rights};
use core::arch::naked_asm;
use core::mem::offset_of;
use entresol_abi::HostPhys;

// For whom: who may load, and store (from bit 8), by AP; whether it must not execute; whether it
// was a fetch.
const NEVER: u32 = 1 << 16;
pub(super) const FETCH: u32 = 1 << 17;
pub(super) const APPLICATION: u32 = 0b1100_1100 | 0b0000_1000 << 8;
pub(super) const KERNEL: u32 = 0b1110_1110 | 0b0000_1110 << 8 | NEVER;

/// An entry without rights to store, its address and XN left out.
const ENTRY: u32 =
    translation::guest_page(HostPhys(0), Rights { write: false, execute: true }, Memory::Normal);
const WRITE: u32 = 0x10;
const _: () = assert!(
    translation::guest_page(HostPhys(0), Rights { write: true, execute: true }, Memory::Normal)
        == ENTRY | WRITE
);

const SHADOW: usize = offset_of!(Guest, shadow);

/// Fills the entry for the access that aborted, and restarts it. In the linear view, the registers
/// saved; `r3` and `r7` are where the guest's memory lies and its length, `r4` for whom, `r8` the
/// guest's second-level descriptor of a small page (or what it would be in a section), `r9` DFSR (0 for a fetch), `r10` the address,
/// `r11` points to the view, `r12` is the guest's first-level descriptor.
///
/// (1.) The entry's address in `r6`, in a table; it is empty; 2. the table's record says that it was
/// filled from that descriptor, is shared as the page is, and in one table of which class it is; 3. a page of data; its record in
/// `r0`, `r1`; 4. permitted; 5. if it may be stored to: the record
/// ([`Pages::mapped`]); 6. the entry.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(super) unsafe extern "C" fn fill() {
    naked_asm!(
        // 1.
        "ldr r5, [r11]",
        "bfc r5, #0, #14",
        "lsr r6, r10, #20",
        "ldr r5, [r5, r6, lsl #2]",
        "and r6, r5, #3",
        "cmp r6, #1",
        "bne {link}",
        "bfc r5, #0, #10",
        "ubfx r6, r10, #12, #8",
        "add r6, r5, r6, lsl #2",
        "ldr r0, [r6]",
        "cmp r0, #0",
        "bne 9f",
        // 2.
        "ldr r0, [sp, #{TABLES}]",
        "ldr r1, [sp, #{TABLE_COUNT}]",
        "sub r5, r5, r0",
        "lsr r5, r5, #10",
        "cmp r5, r1",
        "bhs 9f",
        "ldr r0, [sp, #{TABLE_RECORDS}]",
        "add r5, r0, r5, lsl #5",
        "ldrd r0, r1, [r5]",
        "cmp r0, r12",
        "bne 9f",
        "eor r1, r1, r8, lsl #2",       // shared in bit 13, nG in bit 11: one of them
        "tst r1, #0x2000",
        "beq 9f",
        "ldr r0, [sp, #{FAST} + {SLOW}]",
        "cmp r0, #0",
        "bne 2f",
        // 3.
        "3: ldr r0, [sp, #{MEMORY}]",
        "sub r5, r8, r0",
        "cmp r5, r7",
        "bhs 9f",
        "ldr r0, [sp, #{PAGE_RECORDS}]",
        "lsr r1, r5, #12",
        "add r7, r0, r1, lsl #3",
        "ldrd r0, r1, [r7]",
        "tst r1, #{CODE}",
        "bne 9f",
        // 4.
        "ubfx r2, r8, #4, #2",          // AP[1:0]
        "tst r8, #0x200",               // AP[2]
        "orrne r2, r2, #4",
        "lsr r2, r4, r2",
        "tst r2, #1",
        "beq 9f",
        "add r5, r5, r3",
        "orr r8, r8, r4, lsr #16",      // XN
        "movw r3, #{ENTRY}",
        "bfi r5, r3, #0, #12",
        "bfi r5, r8, #0, #1",
        "tst r2, #0x100",
        "beq 8f",
        // 5.
        "orr r5, r5, #{WRITE}",
        "orr r3, r6, #1",               // this one
        "ldrb r2, [sp, #{EPOCH}]",
        "cmp r2, r1, lsr #24",
        "bne 5f",
        "tst r0, #3",
        "beq 6f",
        "cmp r0, r3",
        "beq 7f",
        "tst r0, #2",                   // there may be many
        "bne 7f",
        "bic r2, r0, #3",
        "ldr r2, [r2]",
        "eor r2, r2, r5",
        "lsrs r2, r2, #12",
        "moveq r3, #2",                 // another, and it still is there
        "b 6f",
        "5: bfi r1, r2, #24, #8",
        "str r1, [r7, #4]",
        "6: str r3, [r7]",
        // 6.
        "7: str r5, [r6]",
        "dsb",                          // B3.10.1
        count!("FILLS"),
        "ldrd r4, r5, [r11]",
        switch_text!("r4", "r5", "r7"),
        resume!(),
        "8: tst r9, #0x800",            // WnR
        "beq 7b",
        "entresol_fast_fill_slow:",
        "9: ldrd r0, r1, [r11]",
        switch_text!("r0", "r1", "r7"),
        "tst r4, #{FETCH}",
        "bne {prefetch_abort}",
        "b {data_abort}",
        // One table: for whom follows from the class that the megabyte has.
        "2: tst r1, #0x1000",
        "bne 4f",
        "tst r4, #{NEVER}",
        "bne 3b",                       // the kernel's
        "b 9b",
        "4: tst r4, #{FETCH}",
        "ldreq r4, ={BOTH}",
        "beq 3b",
        "ubfx r0, r12, #5, #4",
        "lsl r0, r0, #1",
        "movw r2, #{WILD}",
        "ldr r1, [sp, r2]",
        "lsr r1, r1, r0",
        "tst r1, #1",
        "bne 3b",                       // known to run code in that domain
        "b 9b",
        FAST = const FAST,
        SLOW = const SLOW,
        NEVER = const NEVER,
        BOTH = const APPLICATION | NEVER,
        WILD = const WILD,
        TABLES = const SHADOW + shadow::TABLES + Tables::FIRST,
        TABLE_COUNT = const SHADOW + shadow::TABLES + Tables::COUNT,
        TABLE_RECORDS = const SHADOW + shadow::TABLES + Tables::RECORDS,
        PAGE_RECORDS = const SHADOW + offset_of!(Shadow, pages) + Pages::RECORDS,
        MEMORY = const SHADOW + offset_of!(Shadow, memory),
        CODE = const pages::CODE,
        ENTRY = const ENTRY,
        WRITE = const WRITE,
        EPOCH = const SHADOW + offset_of!(Shadow, pages) + Pages::EPOCH,
        FETCH = const FETCH,
        COUNTERS = const COUNTERS,
        FILLS = const FILLS,
        link = sym link,
        prefetch_abort = sym entry::prefetch_abort_saved,
        data_abort = sym entry::data_abort_saved,
    )
}

/// Links an empty table for a megabyte that has none in the view, and fills again: as [`fill`] left
/// it, the first-level entry in `r5`. 113 instructions, [`Shadow::link`](crate::shadow) for pages that
/// are not global.
///
/// (1.) Nothing there, not global, two tables, not the window's domain, nothing of the stubs'; 2. a
/// free table: its record in `r2`; 3. the pair, in `r3`, its record in `r5`: the table is its own; 4.
/// what is noted of both; 5. an empty table; 6. the entry.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
unsafe extern "C" fn link() {
    naked_asm!(
        // 1.
        "lsr r6, r10, #20",
        "ldr r0, [sp, #{HOLE}]",
        "ldr r1, [sp, #{FAST} + {SLOW}]",
        "orr r5, r5, r1",
        "and r1, r12, #0x1e0",
        "cmp r5, #0",
        "cmpeq r1, #0x1e0",
        "cmpne r0, r6",
        "tstne r8, #0x800",             // nG
        "beq entresol_fast_fill_slow",
        "cmp r5, #0",
        "tsteq r12, #2",                // a section
        "bne entresol_fast_fill_slow",
        // 2.
        "movw r0, #{FREE}",
        "add r0, r0, sp",
        "ldrh r1, [r0]",
        "cmp r1, #0",
        "beq entresol_fast_fill_slow",
        "ldr r2, [sp, #{TABLE_RECORDS}]",
        "add r2, r2, r1, lsl #5",
        "ldrh r3, [r2, #-0x1a]!",
        "strh r3, [r0]",
        // 3.
        "movw r3, #{CURRENT}",
        "ldrb r3, [sp, r3]",
        "movw r5, #{PAIRS}",
        "add r5, r5, sp",
        "mov r7, #{PAIR}",
        "mla r5, r3, r7, r5",
        "ldrh r7, [r5, #{PRIVATE}]",
        "strh r1, [r5, #{PRIVATE}]",
        "str r12, [r2, #-6]",           // key
        "orr r7, r6, r7, lsl #16",      // next
        "tst r4, #{NEVER}",
        "orreq r7, r7, #0x1000",        // of the application
        "str r7, [r2, #-2]",
        // 4.
        "mov r7, #1",
        "ldr r5, [sp, #{HOLDERS}]",
        "orr r5, r5, r7, lsl r3",
        "str r5, [sp, #{HOLDERS}]",
        "ubfx r5, r6, #6, #3",
        "lsl r7, r7, r5",               // the piece
        "movw r5, #{TOUCHED}",
        "add r5, r5, sp",
        "add r5, r5, r3, lsl #4",
        "addeq r5, r5, #8",
        "ldrb r3, [r5, r6, lsr #9]!",
        "orr r3, r3, r7",
        "strb r3, [r5]",
        "movwne r5, #{PRIVATE_PIECES}",
        "addne r5, r5, sp",
        "ldrbne r3, [r5, r6, lsr #9]!",
        "orrne r3, r3, r7",
        "strbne r3, [r5]",
        // 5.
        "str r8, [sp, #{SCRATCH}]",
        "ldr r0, [sp, #{TABLES}]",
        "sub r1, r1, #1",
        "add r1, r0, r1, lsl #10",
        "mov r0, #0",
        "mov r2, #0",
        "mov r3, #0",
        "mov r5, #0",
        "mov r6, #0",
        "mov r7, #0",
        "mov r8, #0",
        "mov r11, #0",
        "2: stmia r1!, {{r0, r2, r3, r5, r6, r7, r8, r11}}",
        "stmia r1!, {{r0, r2, r3, r5, r6, r7, r8, r11}}",
        "stmia r1!, {{r0, r2, r3, r5, r6, r7, r8, r11}}",
        "stmia r1!, {{r0, r2, r3, r5, r6, r7, r8, r11}}",
        "stmia r1!, {{r0, r2, r3, r5, r6, r7, r8, r11}}",
        "stmia r1!, {{r0, r2, r3, r5, r6, r7, r8, r11}}",
        "stmia r1!, {{r0, r2, r3, r5, r6, r7, r8, r11}}",
        "stmia r1!, {{r0, r2, r3, r5, r6, r7, r8, r11}}",
        "tst r1, #0x300",
        "bne 2b",
        "sub r1, r1, #0x400",
        // 6.
        "tst r4, #{NEVER}",
        "addne r11, sp, #{FAST} + {KERNEL}",
        "addeq r11, sp, #{FAST} + {APPLICATION}",
        "ldr r5, [r11]",
        "bfc r5, #0, #14",
        "lsr r6, r10, #20",
        "and r0, r12, #0x1e0",          // domain
        "orr r0, r0, #1",
        "orr r0, r0, r1",
        "str r0, [r5, r6, lsl #2]",
        "ldr r8, [sp, #{SCRATCH}]",
        "add r0, sp, #{FAST} + {MEMORY}",
        "ldmib r0, {{r3, r7}}",
        "b {fill}",
        HOLE = const SHADOW + shadow::HOLE,
        FAST = const FAST,
        SLOW = const SLOW,
        FREE = const SHADOW + shadow::TABLES + Tables::FREE,
        TABLES = const SHADOW + shadow::TABLES + Tables::FIRST,
        TABLE_RECORDS = const SHADOW + shadow::TABLES + Tables::RECORDS,
        CURRENT = const SHADOW + shadow::CURRENT,
        PAIRS = const SHADOW + shadow::PAIRS,
        PAIR = const shadow::PAIR,
        PRIVATE = const shadow::PAIR_PRIVATE,
        NEVER = const NEVER,
        HOLDERS = const SHADOW + shadow::HOLDERS,
        TOUCHED = const SHADOW + shadow::TOUCHED,
        PRIVATE_PIECES = const SHADOW + shadow::PRIVATE_PIECES,
        SCRATCH = const entry::SCRATCH,
        KERNEL = const super::KERNEL,
        APPLICATION = const super::APPLICATION,
        MEMORY = const offset_of!(Fast, memory),
        fill = sym fill,
    )
}
