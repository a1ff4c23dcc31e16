//! Aborts of a guest: whose business they are.
//!
//! Budget `abort.reflect`. Only the guest's own tables say: they are walked here, for the
//! forms that kernels use (sections that are not there, small pages that are not there or
//! not permitted, a kernel's sections). What they forbid an application is its kernel's business; what they permit,
//! to an application or to a kernel's load or store, is [`fill`]'s. Anything else is the handler's.

use super::device::Devices;
use super::fill::{self, fill};
use super::interface::interface;
use super::{
    APPLICATION, BANK_ABORT, BANK_USER, BANKS, COUNTERS, DFAR, DFSR, DOMAINS, ENFORCED, ENTER,
    FAST, IFSR, JOINT, KERNEL, LAST, OPENED, REFLECTED, SAVED, SHARED, SLOW, SP_LR, SPSR, STATUS,
    THREAD_READ_ONLY, TTBR0, USER, count, resume,
};
use crate::entry;
use crate::guest::Guest;
use crate::maintenance::{switch_text, switch_to_return_text};
use crate::shadow::{self, Shadow};
use core::arch::naked_asm;
use core::mem::offset_of;
use entresol_rewrite::stub::shared;
use entresol_vcpu::psr;

/// A vector for aborts: 80 instructions from vector to vector for a section that is not there, 91
/// for a page.
///
/// (1.) A guest's; save; 2. an application's, usual, and of a kind that tables
/// cause; 3. the linear view; 4. first-level descriptor; 5. second-level descriptor, in `r8`, the
/// first in `r12`; 6. DFSR and DFAR; 7. as for `svc`, with the registers of Abort mode (B1.9.8).
macro_rules! reflected {
    (
        $name:ident, $slow:path, $vector:literal, $back:literal, $fsr:expr, $shared:expr,
        save $save:literal, fault $fault:literal, keep $keep:literal, domain $domain:literal,
        permitted $permitted:literal, kernel $kernel:literal, forbidden $forbidden:literal,
        other $other:literal, section $section:literal, view $view:literal, fills $fills:expr, kernels $kernels:literal, $($operand:tt)*
    ) => {
        #[unsafe(naked)]
        #[instruction_set(arm::a32)]
        pub(crate) unsafe extern "C" fn $name() {
            naked_asm!(
                // 1.
                $save,
                // 2.
                "mrs r1, spsr",
                "ldr r2, [sp, #{STATUS}]",
                "add r12, sp, #{FAST} + {SLOW}",
                "ldmia r12!, {{r3-r8}}",        // slow, vectors, the kernel's view, the linear view
                $fault,
                "and r11, r2, #0xf",
                "orrs r11, r11, r3, lsl #1",    // all but JOINT
                $kernel,
                "movw r11, #0x401",             // FS: odd, synchronous
                "and r11, r11, r9",
                "cmp r11, #1",
                "bne {slow}",
                "tst r9, #0xc",                 // and not alignment, access flag
                "beq {slow}",
                "movw r11, #{WINDOW}",
                "cmp r11, r10, lsr #20",
                "beq {slow}",
                // 3.
                "3:",
                switch_text!("r7", "r8", "r11"),
                // 4.
                "ldmia r12, {{r0, r3, r7}}",    // memory: guest, host, length
                "ldr r8, [sp, #{TTBR0}]",
                "bfc r8, #0, #14",
                "sub r8, r8, r0",
                "cmp r8, r7",
                "bhs 8f",
                "add r8, r8, r3",
                "lsr r11, r10, #20",
                "ldr r8, [r8, r11, lsl #2]",
                $keep,
                "ands r11, r8, #3",
                "bne 5f",
                "orr r9, r9, #0x5",             // translation, section
                // 6.
                "6:",
                $forbidden,
                "ldr r3, [sp, #{SHARED}]",
                "str r9, [sp, #{FSR}]",
                "str r10, [sp, #{FAR}]",
                "str r9, [r3, #{SHARED_FAULT}]",
                "str r10, [r3, #{SHARED_FAULT} + 4]",
                // 7.
                switch_to_return_text!("r5", "r6", "r7"),
                "ldr r8, [sp, #{ENTER}]",
                "mcr p15, 0, r8, c3, c0, 0",    // DACR
                "ldrd r8, r9, [sp, #{SP_LR}]",
                "strd r8, r9, [r3, #{USER}]",
                "ldr r8, [sp, #{BANK_ABORT}]",
                "add r9, lr, #{BACK}",
                "strd r8, r9, [sp, #{SP_LR}]",
                "orr r8, r1, r2",
                "str r8, [r3, #{SAVED}]",
                "orr r2, r2, #0x180",           // A, I
                "orr r2, r2, #0x7",             // from 0x10 to 0x17
                "str r2, [sp, #{STATUS}]",
                "str r2, [r3]",
                "ldr r8, ={IT_T_E}",
                "bic r1, r1, r8",
                "msr spsr_cxsf, r1",
                "clrex",
                "add lr, r4, #{VECTOR}",
                count!("REFLECTED"),
                resume!(),
                // 5. A page table in the guest's memory, else the handler finds out.
                "5: cmp r11, #1",
                $section,
                "mov r12, r8",
                "ubfx r11, r8, #5, #4",         // domain
                $domain,
                "bfc r8, #0, #10",
                "sub r8, r8, r0",
                "cmp r8, r7",
                "bhs 8f",
                "add r8, r8, r3",
                "ubfx r0, r10, #12, #8",
                "ldr r8, [r8, r0, lsl #2]",
                "tst r8, #3",
                "orreq r9, r9, #0x7",           // translation, page
                "beq 6b",
                "tst r8, #2",                   // a large page
                "beq 8f",
                "21: tst r2, #0xf",
                "ldreq r0, [sp, #{FAST} + {OPENED}]",
                "ldrne r0, [sp, #{SHARED}]",
                "ldrne r0, [r0, #{DOMAINS}]",   // the guest's word: another is enforced
                "lsl r11, r11, #1",
                "lsr r0, r0, r11",
                "and r0, r0, #3",
                "cmp r0, #1",                   // a client
                "bne 8f",
                $other,
                "tst r8, #0x20",                // AP[1]: open to applications
                "beq 7f",
                $permitted,
                "7: orr r9, r9, #0xf",          // permission, page
                "b 6b",
                // The application may: what is to be filled for it.
                "4: ldr r4, ={FILLS}",
                "add r11, sp, #{FAST} + {APPLICATION}",
                "b {fill}",
                // Back to the view that is current as far as the handler knows.
                "8: add r12, sp, #{FAST}",
                "ldrd r4, r5, [r12, #{APPLICATION}]",
                $view,
                switch_text!("r4", "r5", "r7"),
                "b {slow}",
                $kernels,
        STATUS = const STATUS,
                FAST = const FAST,
                TTBR0 = const TTBR0,
                OPENED = const OPENED,
                DOMAINS = const DOMAINS,
                FSR = const $fsr,
                FAR = const $fsr + DFAR - DFSR,
                BACK = const $back,
                VECTOR = const $vector,
                ENTER = const ENTER,
                WINDOW = const entresol_abi::window::BASE >> 20,
                SP_LR = const SP_LR,
                USER = const USER,
                BANK_ABORT = const BANK_ABORT,
                SAVED = const SAVED,
                SHARED_FAULT = const $shared,
                IT_T_E = const psr::IT | psr::T | psr::E,
                SLOW = const SLOW,
                SHARED = const SHARED,
                COUNTERS = const COUNTERS,
                REFLECTED = const REFLECTED,
                APPLICATION = const APPLICATION,
                FILLS = const $fills,
                fill = sym fill,
                slow = sym $slow,
                $($operand)*
            )
        }
    };
}

// What is not a guest's is [`entry::guarded_abort`]'s.
reflected!(
    data_abort, entry::data_abort_saved, 0x10, 8, DFSR, shared::DATA_STATUS,
    save "str r0, [sp, #{SCRATCH}]
        mrs r0, spsr
        tst r0, #0xf                    @ User mode is 0x10
        ldr r0, [sp, #{SCRATCH}]
        bne {guarded}
        stmia sp, {{r0-r14}}^
        sub lr, lr, #8",
    fault "mrc p15, 0, r9, c5, c0, 0    @ DFSR
        mrc p15, 0, r10, c6, c0, 0      @ DFAR",
    keep "and r9, r9, #0x800            @ WnR",
    domain "orr r9, r9, r11, lsl #4",
    permitted "tst r9, #0x800
        beq 4f                          @ a load is permitted
        and r0, r8, #0x210              @ AP[2], AP[0]
        cmp r0, #0x10
        beq 4f                          @ so is a store",
    kernel "bne 9f",
    forbidden "tst r2, #0xf
        bne {own}",
    other "tst r2, #0xf
        bne 5f",
    section "bne 20f",
    view "tst r2, #0xf
        ldrdne r4, r5, [r12, #{KERNEL}]",
    fills fill::APPLICATION,
    // A kernel's, for an entry that is not there or permits too little: not on a page of a device that it used lately.
    kernels "9: movw r11, #0x40d
        and r11, r11, r9
        cmp r11, #0x5                   @ translation
        cmpne r11, #0xd                 @ permission
        bne {open}
        lsls r11, r3, #1                @ all but JOINT
        bne {slow}
        movw r11, #{WINDOW}
        cmp r11, r10, lsr #20
        beq {slow}
        lsr r11, r10, #12
        eor r11, r11, r10, lsr #16
        eor r11, r11, r10, lsr #23
        and r11, r11, #3
        add r11, r11, r11, lsl #1
        add r0, sp, r11, lsl #2
        ldr r11, [r0, #{DEVICES}]
        sub r11, r11, #1                @ none is no page
        eor r11, r11, r10
        lsrs r11, r11, #12
        beq {device}
        b 3b
        5: tst r9, #0x800
        tstne r8, #0x200                @ AP[2]: nobody may store
        bne 7b
        movw r4, #{KERNELS} & 0xffff
        movt r4, #{KERNELS} >> 16
        add r11, sp, #{FAST} + {KERNEL}
        b {fill}
        20: cmp r11, #2                 @ a section of a kernel's, as the page of it
        bne 8b
        tst r2, #0xf
        beq 8b
        tst r8, #0x48000                @ a supersection, AP[2]
        bne 8b
        mov r12, r8
        ubfx r11, r8, #5, #4
        lsr r8, r8, #6
        and r8, r8, #0xa30              @ nG, AP
        orr r8, r8, #2
        tst r12, #0x10                  @ XN
        orrne r8, r8, #1
        ubfx r0, r10, #12, #8
        orr r8, r8, r0, lsl #12
        lsr r0, r12, #20
        orr r8, r8, r0, lsl #20
        b 21b",
    DEVICES = const offset_of!(Guest, devices) + Devices::FIRST,
    KERNEL = const KERNEL,
    KERNELS = const fill::KERNEL,
    SCRATCH = const entry::SCRATCH, guarded = sym entry::guarded_abort, open = sym open, own = sym own,
    device = sym interface,
);

reflected!(
    prefetch_abort, entry::prefetch_abort_saved, 0xc, 4, IFSR, shared::FETCH_STATUS,
    save "stmia sp, {{r0-r14}}^
        sub lr, lr, #4",
    fault "tst r1, #0xf                 @ User mode
        bne {slow}
        mrc p15, 0, r9, c5, c0, 1       @ IFSR
        mrc p15, 0, r10, c6, c0, 2      @ IFAR",
    keep "mov r9, #0",
    domain "",
    permitted "tst r8, #1               @ XN
        beq 4f",
    kernel "bne {slow}",
    forbidden "",
    other "",
    section "bne 8f",
    view "",
    fills fill::APPLICATION | fill::FETCH,
    kernels "",
);

/// A load or store of a kernel that its own tables do not map, to its vector. 61 instructions, as
/// [`data_abort`] left it, in the linear view: `r9` is DFSR, `r10` DFAR.
///
/// (1.) Not in FIQ or System mode, not in a stub, not at the vector itself; 2. its view; 3. DFSR and
/// DFAR; 4. the registers of its mode to their bank, those of Abort mode (B1.9.8); 5. status; 6. what
/// stubs left undone, and DACR as at every entry if it is as applications have it; 7. count and go.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
unsafe extern "C" fn own() {
    naked_asm!(
        // 1.
        "and r3, r2, #0xf",
        "ldr r7, ={banks}",
        "ldrb r3, [r7, r3]",
        "cmp r3, #{BANK_USER}",
        "bls 8f",
        "movw r7, #{HOLE}",
        "ldr r7, [sp, r7]",
        "cmp r7, lr, lsr #20",
        "ldrne r7, [sp, #{LAST}]",
        "cmpne r7, lr",
        "beq 8f",
        // 2.
        switch_to_return_text!("r5", "r6", "r7"),
        // 3.
        "ldr r11, [sp, #{SHARED}]",
        "str r9, [sp, #{DFSR}]",
        "str r10, [sp, #{DFAR}]",
        "str r9, [r11, #{SHARED_FAULT}]",
        "str r10, [r11, #{SHARED_FAULT} + 4]",
        // 4.
        "add r3, sp, r3",
        "ldrd r8, r9, [sp, #{SP_LR}]",
        "strd r8, r9, [r3]",
        "ldr r8, [r11, #{SAVED}]",
        "str r8, [r3, #{SPSR}]",
        "ldr r8, [sp, #{BANK_ABORT}]",
        "add r9, lr, #8",
        "strd r8, r9, [sp, #{SP_LR}]",
        // 5.
        "ldr r8, [r11]",
        "lsr r8, r8, #7",
        "bfi r2, r8, #7, #1",           // I
        "orr r8, r1, r2",
        "str r8, [r11, #{SAVED}]",
        "mov r8, #0x17",                // Abort mode
        "bfi r2, r8, #0, #5",
        "orr r2, r2, #0x180",           // A, I
        "str r2, [sp, #{STATUS}]",
        "str r2, [r11]",
        "ldr r8, ={IT_T_E}",
        "bic r1, r1, r8",
        "msr spsr_cxsf, r1",
        // 6.
        "ldr r8, [r11, #{THREAD_READ_ONLY}]",
        "mcr p15, 0, r8, c13, c0, 3",   // TPIDRURO
        "add r7, sp, #{FAST} + {OPENED}",
        "ldmia r7, {{r5, r6, r7}}",     // opened, then closed
        "ldr r8, [r11, #{DOMAINS}]",
        "cmp r8, r5",
        "ldreq r6, [sp, #{ENTER}]",
        "mcreq p15, 0, r6, c3, c0, 0",  // DACR
        "streq r7, [r11, #{ENFORCED}]",
        // 7.
        "add r4, r4, #0x10",
        "mov r5, #0",
        "add r7, sp, #{LAST}",
        "stmia r7, {{r4, r5, lr}}",
        "clrex",
        "mov lr, r4",
        count!("REFLECTED"),
        resume!(),
        "8:",
        switch_text!("r5", "r6", "r7"),
        "b {slow}",
        BANK_USER = const BANK_USER,
        HOLE = const offset_of!(Guest, shadow) + shadow::HOLE,
        LAST = const LAST,
        SHARED = const SHARED,
        DFSR = const DFSR,
        DFAR = const DFAR,
        SHARED_FAULT = const shared::DATA_STATUS,
        SP_LR = const SP_LR,
        SAVED = const SAVED,
        SPSR = const SPSR,
        BANK_ABORT = const BANK_ABORT,
        STATUS = const STATUS,
        IT_T_E = const psr::IT | psr::T | psr::E,
        THREAD_READ_ONLY = const THREAD_READ_ONLY,
        FAST = const FAST,
        OPENED = const OPENED,
        DOMAINS = const DOMAINS,
        ENTER = const ENTER,
        ENFORCED = const ENFORCED,
        COUNTERS = const COUNTERS,
        REFLECTED = const REFLECTED,
        banks = sym BANKS,
        slow = sym entry::data_abort_saved,
    )
}

/// A load or store of a kernel where the machine's DACR permits less than the guest's: opened if it
/// may be, as `Hypervisor::opened` says. As [`data_abort`] left it.
///
/// (1.) A domain fault; 2. two tables: to what its application has, if that is what it may; 3. one,
/// in the class of both: the guest's domain is open to it, and nothing is there that it must not
/// run; 4. what is enforced is no more what it was.
#[unsafe(naked)]
#[instruction_set(arm::a32)]
unsafe extern "C" fn open() {
    naked_asm!(
        // 1.
        "cmp r11, #0x9",
        "bne {slow}",
        "ldr r7, [sp, #{SHARED}]",
        "ldr r6, [r7, #{DOMAINS}]",
        "cmp r3, #0",
        "bne 3f",
        // 2.
        "add r12, sp, #{FAST} + {OPENED}",
        "ldrd r4, r5, [r12]",           // and what the machine's is then
        "mrc p15, 0, r8, c3, c0, 0",
        "cmp r6, r4",
        "bne {slow}",
        "cmp r8, r5",
        "beq {slow}",
        "b 4f",
        // 3.
        "3: cmp r3, #{JOINT}",
        "bne {slow}",
        "tst r9, #0x80",
        "beq {slow}",
        "ubfx r11, r9, #4, #3",
        "lsl r11, r11, #1",
        "mov r8, #1",
        "lsl r8, r8, r11",
        "tst r6, r8",
        "beq {slow}",
        "movw r5, #{WILD}",
        "ldrd r4, r5, [sp, r5]",        // and what its kernel closes
        "bic r4, r4, r5",
        "tst r4, r8",
        "bne {slow}",
        "mrc p15, 0, r5, c3, c0, 0",
        "orr r5, r5, r8, lsl #16",
        // 4.
        "4: str r6, [r7, #{ENFORCED}]",
        "mcr p15, 0, r5, c3, c0, 0",    // DACR; the return is a context synchronisation
        resume!(),
        JOINT = const JOINT,
        SHARED = const SHARED,
        DOMAINS = const DOMAINS,
        ENFORCED = const ENFORCED,
        FAST = const FAST,
        OPENED = const OPENED,
        WILD = const WILD,
        slow = sym entry::data_abort_saved,
    )
}

/// Where `wild` and `closing` of [`Joint`](crate::shadow::Joint) lie in a [`Guest`].
pub(super) const WILD: usize = offset_of!(Guest, shadow) + offset_of!(Shadow, joint);
