//! Finds and replaces sensitive instructions in a page or a binary.
#![no_std]
