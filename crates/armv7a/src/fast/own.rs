//! The own timer of the guest that runs, up to its kernel's vector.
//!
//! Budgets `irq.to-vector`, `linux.tick`. Not here: kernels that promote, guests with domains, or whose
//! clock may stand; deadlines that stand for more than one timer.
//!
//! # Invariants
//!
//! - [`Express::own`] is null, or a guest whose clock does not stand. While it runs, and the express was not
//!   taken since, the timer is armed for its board's deadline or earlier, and nothing else is due
//!   before [`Express::rest`]. Kept by `Hypervisor::arm`.

use super::{BANKS, FAST, PC, PENDING, PSR, SAVED, SHARED, SP_LR, SPSR, STATUS, USER, bank_at};
use crate::entry;
use crate::express::{Express, Wires, arm};
use crate::guest::Guest;
use crate::hypervisor::{CORE, ENTRESOL_OBSERVED, Hypervisor, core};
use crate::maintenance::switch_to_return_text;
use core::arch::naked_asm;
use core::mem::offset_of;
use entresol_abi::observe::VmCounters;
use entresol_hv::gic::Gic;
use entresol_vcpu::mode::bank;
use entresol_vcpu::psr;

const EXPRESS: usize = offset_of!(Hypervisor, express);
const WIRES: usize = EXPRESS + offset_of!(Express, wires);

/// Takes the timer's interrupt if it is for the guest in `r0`, whose registers are saved, and nothing
/// else is to be done; returns if not, and leaves `r0` as it is. 200 instructions, those of [`rings`]
/// and the return to the guest included.
///
/// (1.) Is it this guest's, due, and the interrupt that came; 2. its board; 3. acknowledge, arm
/// for the rest, end; 4. is it masked, or anything unusual; 5. an application's: its kernel's view and
/// domains; 6. `r13`, `r14` and SPSR to where they are kept; 7. LR, SPSR, status as B1.9.10; 8. count
/// and go.
///
/// # Safety
///
/// As for [`express`](crate::express::express).
#[unsafe(naked)]
#[instruction_set(arm::a32)]
pub(crate) unsafe extern "C" fn own(loaded: *mut Guest) {
    naked_asm!(
        // 1. The event flag, or CNTP_CTL.ISTATUS; GICC_HPPIR.
        "ldr r12, ={core}",
        "ldr r3, [r12, #{OWN}]",
        "cmp r3, r0",
        "bxne lr",
        "ldr r3, [r12, #{TIMER}]",
        "cmp r3, #0",
        "beq 1f",
        "ldr r1, [r3, #0x0c]",
        "tst r1, #1",
        "b 2f",
        "1: mrc p15, 0, r1, c14, c2, 1",
        "tst r1, #4",
        "2: bxeq lr",
        "ldr r3, [r12, #{INTERRUPTS}]",
        "ldr r1, [r3, #0x18]",
        "ldr r2, [r12, #{IRQ}]",
        "cmp r1, r2",
        "bxne lr",
        // 2.
        "push {{r0, lr}}",
        "bl {rings}",
        "cmp r0, #0",
        "pop {{r0, lr}}",
        "bxeq lr",
        // 3. GICC_IAR, GICC_EOIR.
        "ldr r12, ={core}",
        "ldr r3, [r12, #{INTERRUPTS}]",
        "ldr r2, [r12, #{TIMER}]",
        "ldr r1, [r3, #0x0c]",
        "ldrd r4, r5, [r12, #{REST}]",
        "strd r4, r5, [r12, #{ARMED}]",
        arm!(),
        "str r1, [r3, #0x10]",
        // 4.
        "add r12, r0, #{FAST}",
        "ldr r2, [r0, #{STATUS}]",
        "ldr r3, [r0, #{PENDING}]",
        "ldmia r12, {{r6-r11}}",        // counters, DACR, slow, vectors, the kernel's view
        "bics r3, r3, r2",
        "beq {resume}",
        "ldr r12, ={banks}",
        "and r1, r2, #0xf",             // User mode is 0x10
        "ldrb r12, [r12, r1]",
        "cmp r3, #{IRQ_INPUT}",
        "cmpeq r8, #0",
        "bne 7f",
        "cmp r12, #0",
        "beq 7f",
        "ldr r5, [r0, #{SHARED}]",
        // 5.
        "cmp r1, #0",
        "bne 3f",
        switch_to_return_text!("r10", "r11", "r3"),
        "mcr p15, 0, r7, c3, c0, 0",    // DACR
        // 6. Those of System mode are User mode's.
        "3: ldrd r10, r11, [r0, #{SP_LR}]",
        "cmp r1, #0",
        "cmpne r1, #0xf",
        "strdeq r10, r11, [r5, #{USER}]",
        "ldrne r3, [r5, #{SAVED}]",
        "addne r12, r12, r0",
        "strdne r10, r11, [r12]",
        "strne r3, [r12, #{SPSR}]",
        // 7.
        "ldr r1, [r0, #{PSR}]",
        "ldr r10, [r0, #{BANK}]",
        "ldr r11, [r0, #{PC}]",
        "orr r3, r1, r2",
        "add r11, r11, #4",
        "strd r10, r11, [r0, #{SP_LR}]",
        "str r3, [r5, #{SAVED}]",
        "bic r2, r2, #0x1f",
        "orr r2, r2, #0x12",
        "orr r2, r2, #{MASKS}",
        "str r2, [r0, #{STATUS}]",
        "str r2, [r5]",
        "bic r1, r1, #{IT_LOW}",
        "bic r1, r1, #{IT_HIGH}",
        "bic r1, r1, #{T}",
        "add r9, r9, #0x18",
        "str r1, [r0, #{PSR}]",
        "str r9, [r0, #{PC}]",
        "clrex",                        // B2.2
        // 8.
        "ldr r1, [r6, #{INJECTED}]",
        "add r1, r1, #1",
        "str r1, [r6, #{INJECTED}]",
        "b {resume}",
        "7: bl {unusual}",
        "b {resume}",
        core = sym CORE,
        OWN = const EXPRESS + offset_of!(Express, own),
        REST = const EXPRESS + offset_of!(Express, rest),
        ARMED = const offset_of!(Hypervisor, armed),
        INTERRUPTS = const WIRES + offset_of!(Wires, interrupts),
        TIMER = const WIRES + offset_of!(Wires, timer),
        IRQ = const WIRES + offset_of!(Wires, timer_irq),
        FAST = const FAST,
        STATUS = const STATUS,
        PENDING = const PENDING,
        IRQ_INPUT = const Gic::IRQ,
        SHARED = const SHARED,
        SP_LR = const SP_LR,
        USER = const USER,
        SAVED = const SAVED,
        SPSR = const SPSR,
        PSR = const PSR,
        PC = const PC,
        BANK = const bank_at(bank::IRQ),
        MASKS = const psr::A | psr::I,
        IT_LOW = const psr::IT & 0xff00_0000,
        IT_HIGH = const psr::IT & 0xffff | psr::E,
        T = const psr::T,
        INJECTED = const offset_of!(VmCounters, injected),
        rings = sym rings,
        banks = sym BANKS,
        unusual = sym unusual,
        resume = sym entry::resume,
    )
}

/// The armed deadline has come: it was one timer's of the guest's board, which interrupts. If not,
/// nothing is done.
extern "C" fn rings(guest: *mut Guest) -> bool {
    // SAFETY: the one handler that runs.
    let hypervisor = unsafe { core() };
    // SAFETY: `loaded`, whom nothing else refers to.
    let guest = unsafe { &mut *guest };
    // A kernel that promotes may be in a stub.
    let usual = !guest.promotion.on || !guest.vcpu.privileged();
    if guest.board.deadline() != hypervisor.armed || !usual || !guest.board.ring() {
        return false;
    }
    guest.note_pending();
    // SAFETY: as in `Hypervisor::counters`.
    let observed = unsafe { ENTRESOL_OBSERVED.get() };
    observed.interrupts = observed.interrupts.wrapping_add(1);
    true
}

/// What interrupts the guest now, and in which view it goes on, are the handlers' to say.
#[cold]
extern "C" fn unusual() -> *mut Guest {
    // SAFETY: the one handler that runs.
    unsafe { core() }.leave_unchanged()
}
