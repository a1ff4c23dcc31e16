//! Drivers of the machine's GIC, timers and UARTs.
#![no_std]
