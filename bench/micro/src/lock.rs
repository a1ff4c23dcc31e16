//! Two guests that share locks: measures what waiting, giving and taking cost.
//!
//! The first VM is the more urgent one. It writes locks' words as if the second held them, and
//! waits: for one that it takes at once (`at_takeover`), then for one that makes the second
//! as urgent (`at_wait`), until that frees it (`at_wake`). The next instruction executed outside
//! of the hypervisor is the first VM's, the second's, and the first's. What calls there are is
//! in `abi::hypercall`, what words mean in `abi::lock`.
#![no_std]
#![no_main]

assembly::guest!(
    labels: "at_takeover, at_wait, at_wake",
    r#"
_start:
    ldr     r5, =0x30000000                 // inherit
    ldr     r6, =0x30001000                 // revocable
    ldr     r7, =0x12                       // VM 1, in its first run
    ldr     r8, =0x86000010                 // LockWait
    ldr     r0, =0x86000001                 // VmIndex
    hvc     #0
    cmp     r0, #0
    bne     3f

    // 1. Sleeps, so that the second starts. Its own interrupts stay masked.
    ldr     r0, =0x08000000                 // distributor: all enabled
    mov     r1, #1
    str     r1, [r0]
    mvn     r1, #0
    str     r1, [r0, #0x100]
    ldr     r0, =0x08010000                 // CPU interface
    mov     r1, #0xf0
    str     r1, [r0, #4]
    mov     r1, #1
    str     r1, [r0]
    mrc     p15, 0, r0, c14, c0, 0          // CNTFRQ
    lsr     r0, r0, #8
    mcr     p15, 0, r0, c14, c2, 0          // CNTP_TVAL: 4 ms
    mcr     p15, 0, r1, c14, c2, 1          // CNTP_CTL: enabled
    wfi
    mov     r1, #0
    mcr     p15, 0, r1, c14, c2, 1

    // 2. Takes a lock from the second.
    mov     r4, #100
1:  str     r7, [r6]
    mov     r0, r8
    mov     r1, r6
    mov     r2, #1000
at_takeover:
    hvc     #0
    subs    r4, r4, #1
    bne     1b

    // 3. Waits for it.
    mov     r4, #100
2:  str     r7, [r5]
    mov     r0, r8
    mov     r1, r5
    ldr     r2, =1000000
at_wait:
    hvc     #0
    subs    r4, r4, #1
    bne     2b
    str     r8, [r5, #16]                   // all is done
    b       5f

    // The second frees what is waited for, until all is done.
3:  ldr     r2, [r5, #16]
    cmp     r2, r8
    beq     5f
    ldr     r2, [r5]
    lsr     r2, r2, #20                     // the generation, and whether anybody waits
    cmp     r2, #0x800
    blo     3b
    lsl     r2, r2, #20
    str     r2, [r5]
    add     r0, r8, #1                      // LockWake
at_wake:
    hvc     #0
    b       3b

5:  ldr     r0, =0x84000008                 // PSCI SYSTEM_OFF
    hvc     #0
6:  b       6b
    .ltorg
    "#
);
