//! A guest with two vCPUs that interrupt each other: measures interrupts across cores.
//!
//! Each waits, and answers a software interrupt by one. `at_send` is the store to `GICD_SGIR`, after
//! which the sender goes on; `at_vector` the first instruction of who is interrupted, which waited.
#![no_std]
#![no_main]

assembly::guest!(
    labels: "at_send, at_vector",
    r#"
_start:
    mov     r4, #200
    movw    r10, #0                 // software interrupt 0 to vCPU 1
    movt    r10, #2
    bl      begin
    mov     r1, #1
    str     r1, [r8]                // GICD_CTLR
    adr     r2, second
    movw    r0, #0x0003             // PSCI CPU_ON
    movt    r0, #0x8400
    hvc     #0
1:  wfi
    b       1b

second:
    mov     r4, #0
    movw    r10, #0                 // to vCPU 0
    movt    r10, #1
    bl      begin
    str     r10, [r8, #0xf00]
2:  wfi
    b       2b

begin:
    movw    r8, #0
    movt    r8, #0x0800             // the distributor
    add     r9, r8, #0x10000        // the CPU interface
    movw    r0, #0xffff
    str     r0, [r8, #0x100]        // GICD_ISENABLER0
    mov     r0, #0xff
    str     r0, [r9, #4]            // GICC_PMR
    mov     r0, #1
    str     r0, [r9]                // GICC_CTLR
    adr     r0, vectors
    mcr     p15, 0, r0, c12, c0, 0  // VBAR
    isb
    cpsie   i
    bx      lr

    .balign 32
vectors:
    .rept   6
    b       .
    .endr
at_vector:
    ldr     r0, [r9, #0xc]          // GICC_IAR
    str     r0, [r9, #0x10]         // GICC_EOIR
    subs    r4, r4, #1
    beq     3f
at_send:
    str     r10, [r8, #0xf00]       // GICD_SGIR
    subs    pc, lr, #4
3:  movw    r0, #0x0008             // PSCI SYSTEM_OFF
    movt    r0, #0x8400
    hvc     #0
4:  b       4b
    "#
);
