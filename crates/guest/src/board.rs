//! Addresses of the virtual board, which are those of QEMU's `virt` machine.

/// First byte of memory.
pub const MEMORY: usize = 0x4000_0000;
/// The PL011 that is the console.
pub const UART: usize = 0x0900_0000;
/// Distributor of the GICv2.
pub const GIC_DISTRIBUTOR: usize = 0x0800_0000;
/// CPU interface of the GICv2.
pub const GIC_CPU: usize = 0x0801_0000;
/// Interrupt of the virtual timer (PPI 11).
pub const TIMER_INTERRUPT: u32 = 27;
/// Whether CP15 has the generic timer and `HVC` reaches PSCI.
pub const IS_VIRTUAL_BOARD: bool = true;
