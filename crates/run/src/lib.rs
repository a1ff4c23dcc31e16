//! QEMU as a library: start, QMP, console demultiplexer.
