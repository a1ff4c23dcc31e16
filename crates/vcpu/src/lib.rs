//! A guest's ARMv7-A processor as pure state.
#![no_std]
