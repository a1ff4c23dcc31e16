//! ARMv7-A: the only crate that executes privileged instructions on AArch32.
#![no_std]
