//! Reads what others may have left in registers that nobody sets at a start.

use core::arch::asm;
use entresol_guest::{cp15, float, print};

/// A double register is 8 bytes, and there are 32.
#[repr(C, align(8))]
struct Doubles([u32; 64]);

/// Counts registers that are not zero: of VFP, and thread registers.
///
/// A processor may start with anything in them; a virtual one after another VM's run must
/// not show that VM's values. The host's test fills them in the other VM.
pub(crate) fn registers() {
    float::enable();
    let mut doubles = Doubles([0; 64]);
    // SAFETY: stores to `doubles` only.
    unsafe {
        asm!(
            ".fpu neon",
            "vstmia {at}!, {{d0-d15}}",
            "vstmia {at}!, {{d16-d31}}",
            at = inout(reg) doubles.0.as_mut_ptr() => _,
            options(nostack),
        );
    }
    let used = doubles.0.iter().filter(|word| **word != 0).count();
    print!(
        "vfp={used} tpidrurw={:x} tpidruro={:x} tpidrprw={:x}",
        cp15::tpidrurw::read(),
        cp15::tpidruro::read(),
        cp15::tpidrprw::read()
    );
    // SAFETY: nothing here uses VFP again.
    unsafe { cp15::cpacr::write(0) }
    cp15::isb();
}
