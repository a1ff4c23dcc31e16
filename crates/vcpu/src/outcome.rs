//! What emulating an instruction leads to.
//!
//! Values only: what the hypervisor must do beyond this crate's state is named here
//! and done elsewhere.

use crate::exception::Exception;

/// How an emulated instruction ended.
///
/// After `Next`, `Jumped`, `Wait` and `Effect`, [`Vcpu::privileged`] may have changed and an
/// interrupt may have become [`Vcpu::deliverable`].
///
/// [`Vcpu::privileged`]: crate::Vcpu::privileged
/// [`Vcpu::deliverable`]: crate::Vcpu::deliverable
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Done; pc is at the next instruction.
    Next,
    /// Done; pc is somewhere else.
    Jumped,
    /// The exception is to be taken, pc is still at the instruction.
    Inject(Exception),
    /// The guest has nothing to do until something is pending, masked or not. pc is still at the
    /// instruction: [`Vcpu::advance`](crate::Vcpu::advance) ends it.
    Wait,
    /// Done; the guest waits for an event. The event register is not modelled: the
    /// hypervisor may let others run, and must come back in bounded time.
    WaitForEvent,
    /// Done; the guest's kernel calls the hypervisor. Arguments are in the registers.
    Hypercall {
        /// `smc` rather than `hvc`.
        smc: bool,
        /// Number in the instruction.
        immediate: u16,
    },
    /// Done here; the hypervisor has its part to do.
    Effect(Effect),
    /// Nothing changed; execute the instruction again.
    Retry,
    /// A coprocessor register nobody knows. Nothing changed; to report, then to
    /// inject as [`Exception::Undefined`].
    UnknownRegister,
    /// An exclusive access to a device. Nothing changed; to report, then to inject as an
    /// external abort at the fault address.
    Unsupported,
}

/// What the hypervisor must do besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Forget translations.
    Tlb(TlbOp),
    /// Maintain caches.
    Cache(CacheOp),
    /// A register that governs translation has a new value.
    Context {
        /// Which.
        register: Context,
        /// What it was; it differs from what it is.
        old: u32,
    },
    /// Translate an address into PAR, see [`crate::walk::translate`].
    Translate(Translate),
    /// A data barrier by CP15 (DSB or DMB).
    Barrier,
    /// Access to floating point changed: CPACR or FPEXC was written.
    FloatAccess,
    /// The guest may use floating point and the unit's registers are needed: give it
    /// the unit, then let it execute the instruction. Nothing changed.
    FloatUnit,
    /// Access to the counter changed: CNTKCTL was written.
    CounterAccess,
}

/// Translations to forget. Instruction and data TLB are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlbOp {
    /// All of them.
    All,
    /// Those of a page, of an address space or global.
    Address {
        /// Virtual address, page-aligned.
        va: u32,
        /// Address space.
        asid: u8,
    },
    /// Those of an address space that are not global.
    Asid(u8),
    /// Those of a page in every address space; page-aligned.
    AddressAllAsids(u32),
}

/// Cache maintenance by the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheOp {
    /// Invalidate all instruction caches (ICIALLU, ICIALLUIS); branch predictors too.
    InstructionAll,
    /// Invalidate instructions at an address (ICIMVAU).
    InstructionAddress(u32),
    /// Invalidate branch predictors.
    Branch,
    /// Invalidate data at an address (DCIMVAC).
    InvalidateAddress(u32),
    /// Clean data at an address to coherency (DCCMVAC).
    CleanAddress(u32),
    /// Clean data at an address to unification (DCCMVAU).
    CleanAddressUnification(u32),
    /// Clean and invalidate data at an address (DCCIMVAC).
    CleanInvalidateAddress(u32),
    /// A set and way (DCISW, DCCSW, DCCISW): to be treated as clean and invalidate, since
    /// the cache holds what others wrote.
    SetWay(u32),
}

/// Registers that govern translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// System control.
    Sctlr,
    /// Domain access control.
    Dacr,
    /// Translation table base 0.
    Ttbr0,
    /// Translation table base 1.
    Ttbr1,
    /// Translation table base control.
    Ttbcr,
    /// Address space and process identifier.
    Contextidr,
    /// Primary region remap.
    Prrr,
    /// Normal memory remap.
    Nmrr,
}

/// A request for PAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translate {
    /// Virtual address.
    pub va: u32,
    /// For a store.
    pub write: bool,
    /// For the guest's kernel.
    pub privileged: bool,
}
