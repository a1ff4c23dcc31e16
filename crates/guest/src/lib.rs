//! SDK for guests that know where they are.
#![no_std]
