//! A VM that fails each millisecond, alone or as one of a pair: measures what comes then.
//!
//! At `at_fault` it ends its run. The next of its runs begins at `_start`; its partner, if it has
//! one, waits in between, and uses the device at `at_device` first of all. What calls there are is
//! in `abi::hypercall`.
#![no_std]
#![no_main]

assembly::guest!(
    labels: "at_fault, at_device",
    r#"
_start:
    // 1. All interrupts are enabled in its GIC, and stay masked.
    ldr     r0, =0x08000000                 // distributor
    mov     r1, #1
    str     r1, [r0]
    mvn     r1, #0
    str     r1, [r0, #0x100]
    str     r1, [r0, #0x10c]
    ldr     r4, =0x08010000                 // CPU interface
    mov     r1, #0xf0
    str     r1, [r4, #4]
    mov     r1, #1
    str     r1, [r4]

    // 2. Waits until it has the device.
    ldr     r8, =0x0b000000
    b       2f
1:  wfi
    ldr     r1, [r4, #0xc]                  // GICC_IAR
    str     r1, [r4, #0x10]                 // GICC_EOIR
2:  ldr     r0, =0x86000016                 // Role
    hvc     #0
    cmp     r0, #0
    beq     1b
at_device:
    ldr     r0, [r8]

    // 3. A millisecond later it fails.
    mrc     p15, 0, r0, c14, c0, 0          // CNTFRQ
    lsr     r0, r0, #10
    mcr     p15, 0, r0, c14, c2, 0          // CNTP_TVAL
    mov     r1, #1
    mcr     p15, 0, r1, c14, c2, 1          // CNTP_CTL: enabled
3:  wfi
    mrc     p15, 0, r1, c14, c2, 1
    tst     r1, #4                          // ISTATUS
    beq     3b
    mov     r1, #0
    mcr     p15, 0, r1, c14, c2, 1
    ldr     r0, =0xffb00000                 // the hypervisor's window
at_fault:
    str     r0, [r0]
4:  b       4b
    .ltorg
    "#
);
