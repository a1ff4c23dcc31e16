//! System control registers of a virtual processor: storage and reset values.
//!
//! What reading and writing them does is in the modules below; what the hypervisor
//! must do besides (drop shadow entries, change views) is returned to it.
//!
//! Manuals: ARM DDI 0406C, B3.17 and B4.1; ARM DDI 0388I (Cortex-A9), chapter 4.

mod access;
mod debug;
pub mod identity;
mod monitor;
mod read;
pub mod timer;
mod write;

pub use identity::{Identity, Raw};
pub use timer::Timer;

/// The registers. Names are the manual's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[allow(missing_docs, reason = "the fields are the manual's register names")]
pub struct Cp15 {
    pub sctlr: u32,
    pub vbar: u32,
    pub dacr: u32,
    pub ttbr0: u32,
    pub ttbr1: u32,
    pub ttbcr: u32,
    pub contextidr: u32,
    pub tpidrurw: u32,
    pub tpidruro: u32,
    pub tpidrprw: u32,
    pub dfsr: u32,
    pub ifsr: u32,
    pub dfar: u32,
    pub ifar: u32,
    pub adfsr: u32,
    pub aifsr: u32,
    pub cpacr: u32,
    pub actlr: u32,
    pub prrr: u32,
    pub nmrr: u32,
    pub csselr: u32,
    pub cntkctl: u32,
    pub par: u32,
    pub pmcr: u32,
    pub pmcntenset: u32,
    pub pmovsr: u32,
    pub pmselr: u32,
    pub pmuserenr: u32,
    pub pmintenset: u32,
    pub power_control: u32,
    pub teecr: u32,
    pub teehbr: u32,
    pub identity: Identity,
}

/// SCTLR at reset: MMU, caches and alignment checks off, low vectors, A32 exceptions.
pub const SCTLR_RESET: u32 = 0x00c5_0078;

impl Cp15 {
    /// At reset.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            sctlr: SCTLR_RESET,
            vbar: 0,
            dacr: 0,
            ttbr0: 0,
            ttbr1: 0,
            ttbcr: 0,
            contextidr: 0,
            tpidrurw: 0,
            tpidruro: 0,
            tpidrprw: 0,
            dfsr: 0,
            ifsr: 0,
            dfar: 0,
            ifar: 0,
            adfsr: 0,
            aifsr: 0,
            cpacr: 0,
            actlr: 0,
            prrr: 0x0009_8aa4,
            nmrr: 0x44e0_48e0,
            csselr: 0,
            cntkctl: 0,
            par: 0,
            pmcr: 0,
            pmcntenset: 0,
            pmovsr: 0,
            pmselr: 0,
            pmuserenr: 0,
            pmintenset: 0,
            power_control: 0,
            teecr: 0,
            teehbr: 0,
            identity: Identity::CORTEX_A9,
        }
    }
}

impl Default for Cp15 {
    fn default() -> Self {
        Self::new()
    }
}
