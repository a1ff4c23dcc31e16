//! What the measured guests share: how their assembly begins, and a panic that none has.
#![no_std]

/// A guest in A32 assembly, which begins at `_start`.
///
/// `labels` are the instructions that the bench names; what follows is for
/// [`core::arch::global_asm`].
#[macro_export]
macro_rules! guest {
    (labels: $labels:literal, $($assembly:tt)*) => {
        core::arch::global_asm!(
            ".section .text.kernel, \"ax\"",
            ".arm",
            ".arch_extension virt",
            concat!(".globl _start, ", $labels),
            $($assembly)*
        );
    };
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
