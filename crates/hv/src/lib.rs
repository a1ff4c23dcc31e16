//! Policy without an architecture: VMs, scheduler, device models, health.
#![no_std]
