//! Addresses of the Versatile Express with a Cortex-A9 (ARM DUI 0448I, 4.2).
//!
//! A guest built for it runs without Entresol only: its transcript tells what a real
//! Cortex-A9 does where the Cortex-A15 of QEMU's `virt` differs.

/// First byte of memory.
pub const MEMORY: usize = 0x6000_0000;
/// The PL011 that is the console.
pub const UART: usize = 0x1000_9000;
/// Distributor of the GIC.
pub const GIC_DISTRIBUTOR: usize = 0x1e00_1000;
/// CPU interface of the GIC.
pub const GIC_CPU: usize = 0x1e00_0100;
/// Interrupt of the global timer (unused: there is no generic timer).
pub const TIMER_INTERRUPT: u32 = 27;
/// Whether CP15 has the generic timer and `HVC` reaches PSCI.
pub const IS_VIRTUAL_BOARD: bool = false;
