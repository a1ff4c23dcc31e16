//! Lays out memory and writes the bootable image.
