//! A guest in which each kind of trap happens at an instruction with a name.
//!
//! `bench/budgets.toml` pairs the names; the instrument counts what executes between
//! them. The guest has a kernel with page tables and an application at PL0, is written
//! for the virtual board alone, and also runs on bare `qemu-system-arm -M virt -cpu
//! cortex-a15`, where every cost is 0 (and the exceptions prove that it is right).
//!
//! Prints nothing: a console would be part of the measurement. Its end, PSCI `SYSTEM_OFF`,
//! says that all of it ran.
//!
//! # Invariants
//!
//! Every measured loop runs [`ROUNDS`] times, so that the first rounds may still scan,
//! fill and rewrite; the bench takes the least sample. Manuals: ARM DDI 0406C for the
//! short-descriptor format (B3.5) and the generic timer (B8), ARM IHI 0048B for the GIC.
#![no_std]
#![no_main]

/// Rounds of each loop.
const ROUNDS: u32 = 100;
/// Application and kernel: normal memory, read and write, PL1 only (AP 01).
const SECTION_KERNEL: u32 = 0x0000_0402 | CACHED;
/// The same for both privilege levels (AP 11).
const SECTION_APP: u32 = 0x0000_0c02 | CACHED;
/// Device registers, PL1 only, not executable.
const SECTION_DEVICE: u32 = 0x0000_0416;
/// Write-back memory: TEX 001, C, B.
const CACHED: u32 = 0x0000_100c;
/// A small page of kernel memory, write-back.
const PAGE_KERNEL: u32 = 0x0000_005e;

assembly::guest!(
    labels: "vectors, vector_svc, vector_abort, vector_irq, after_svc, at_cpsid, at_mrs, \
        at_cpsie, at_msr, at_thread, after_thread, at_sensitive, at_cp15, at_mmio, \
        before_fill, after_fill, at_svc, at_return, at_abort",
    r#"
_start:
    // 1. Stacks of the modes that use one, exceptions to our vectors.
    ldr     sp, =stack_top
    ldr     r0, =vectors
    mcr     p15, 0, r0, c12, c0, 0          // VBAR

    // 2. Tables: all first-level entries invalid, then the five megabytes there are.
    ldr     r4, =table_first
    mov     r0, #0
    mov     r1, #4096
1:  subs    r1, r1, #1
    str     r0, [r4, r1, lsl #2]
    bne     1b
    ldr     r0, =0x40000000 + {kernel}
    add     r1, r4, #0x1000
    str     r0, [r1]
    ldr     r0, =0x40100000 + {app}
    str     r0, [r1, #4]
    ldr     r5, =table_second               // 0x40200000: 256 small pages
    orr     r0, r5, #1
    str     r0, [r1, #8]
    ldr     r0, =0x08000000 + {device}      // GIC
    str     r0, [r4, #0x200]
    ldr     r0, =0x09000000 + {device}      // UART
    str     r0, [r4, #0x240]
    ldr     r0, =0x40200000 + {page}
    mov     r1, #256
2:  str     r0, [r5], #4
    add     r0, r0, #4096
    subs    r1, r1, #1
    bne     2b

    // 3. MMU on.
    mov     r0, #0
    mcr     p15, 0, r0, c2, c0, 2           // TTBCR
    mcr     p15, 0, r4, c2, c0, 0           // TTBR0
    mov     r0, #1
    mcr     p15, 0, r0, c3, c0, 0           // DACR: domain 0 client
    mov     r0, #0
    mcr     p15, 0, r0, c8, c7, 0           // TLBIALL
    mcr     p15, 0, r0, c7, c5, 0           // ICIALLU
    dsb
    isb
    mrc     p15, 0, r0, c1, c0, 0
    orr     r0, r0, #0x1000                 // I
    orr     r0, r0, #0x5                    // C, M
    mcr     p15, 0, r0, c1, c0, 0
    isb

    // 4. A sensitive instruction that does not trap by itself.
    mov     r4, #{rounds}
at_sensitive:
    msr     cpsr_c, #0xd3
    subs    r4, r4, #1
    bne     at_sensitive

    // 5. A system register.
    mov     r4, #{rounds}
at_cp15:
    mrc     p15, 0, r0, c1, c0, 0
    subs    r4, r4, #1
    bne     at_cp15

    // What is promoted where the VM's policy says so.
    mov     r4, #{rounds}
5:
at_cpsid:
    cpsid   i
at_mrs:
    mrs     r0, cpsr
at_cpsie:
    cpsie   i
at_msr:
    msr     cpsr_c, r0
at_thread:
    mrc     p15, 0, r1, c13, c0, 4          // TPIDRPRW
after_thread:
    subs    r4, r4, #1
    bne     5b

    // 6. A device register: the UART's flags.
    ldr     r5, =0x09000000
    mov     r4, #{rounds}
at_mmio:
    ldr     r0, [r5, #0x18]
    subs    r4, r4, #1
    bne     at_mmio

    // 7. Pages touched for the first time.
    ldr     r5, =0x40200000
    mov     r4, #256
before_fill:
    mov     r1, #0
    ldr     r0, [r5]
after_fill:
    add     r5, r5, #4096
    subs    r4, r4, #1
    bne     before_fill

    // 8. The application; it comes back by SVC 1.
    mov     r4, #{rounds}
    ldr     r5, =0x70000000
    mov     r0, #0x10                       // User mode, A32, interrupts enabled
    msr     spsr_fsxc, r0
    ldr     lr, =app
    movs    pc, lr
resumed:

    // 9. Timer interrupts, one at a time, into a kernel that does nothing else.
    ldr     r0, =0x08000000                 // distributor
    mov     r1, #1
    lsl     r1, r1, #30                     // non-secure physical timer: PPI 30
    str     r1, [r0, #0x100]
    mov     r1, #1
    str     r1, [r0]
    ldr     r6, =0x08010000                 // CPU interface
    mov     r1, #0xf0
    str     r1, [r6, #4]
    mov     r1, #1
    str     r1, [r6]
    mov     r4, #{rounds}
    ldr     r7, =5000
    mcr     p15, 0, r7, c14, c2, 0          // CNTP_TVAL
    mov     r1, #1
    mcr     p15, 0, r1, c14, c2, 1          // CNTP_CTL: enabled
    cpsie   i
3:  cmp     r4, #0
    bne     3b
    cpsid   i

    // 10. Off.
    movw    r0, #0x0008                     // PSCI SYSTEM_OFF
    movt    r0, #0x8400
    hvc     #0
4:  b       4b

    .ltorg
    .balign 32
vectors:
    b       .
    b       .
vector_svc:
    b       on_svc
    b       .
vector_abort:
    b       on_abort
    b       .
vector_irq:
    b       on_irq
    b       .

on_svc:
    cmp     r4, #0
    beq     resumed
at_return:
    movs    pc, lr

on_abort:
    subs    pc, lr, #4                      // behind the instruction that aborted

on_irq:
    ldr     r8, [r6, #0xc]                  // IAR
    mcr     p15, 0, r7, c14, c2, 0          // CNTP_TVAL: the next one
    str     r8, [r6, #0x10]                 // EOIR
    sub     r4, r4, #1
    subs    pc, lr, #4

    .section .app, "ax"
    .arm
app:
    mov     r9, r4
at_abort:
    ldr     r0, [r5]                        // nothing is mapped there
    subs    r9, r9, #1
    bne     at_abort
at_svc:
    svc     #0
after_svc:
    subs    r4, r4, #1
    b       at_svc
    "#,
    kernel = const SECTION_KERNEL,
    app = const SECTION_APP,
    device = const SECTION_DEVICE,
    page = const PAGE_KERNEL,
    rounds = const ROUNDS,
);
