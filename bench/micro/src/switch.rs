//! Half of a pair of guests that yield to each other: measures a switch of VMs.
//!
//! Two VMs run this same image at the same priority. `at_yield` is the hypercall; the
//! next instruction executed outside of the hypervisor is the other VM's. What yields is
//! `abi::hypercall::Function::Yield`.
#![no_std]
#![no_main]

assembly::guest!(
    labels: "at_yield",
    r#"
_start:
    mov     r4, #1000
1:  movw    r0, #0x0005             // Yield
    movt    r0, #0x8600
at_yield:
    hvc     #0
    subs    r4, r4, #1
    bne     1b
    movw    r0, #0x0008             // PSCI SYSTEM_OFF
    movt    r0, #0x8400
    hvc     #0
2:  b       2b
    "#
);
