//! The walk of a guest's own translation tables, in the short-descriptor format.
//!
//! Reads guest memory through a closure and changes nothing; what becomes of the
//! result (a shadow entry, an abort, PAR) is the caller's. Large physical addresses
//! do not exist for a guest: [`Identity::from_machine`] hides them.
//!
//! # Why this shape
//!
//! A walk is on the path of every shadow fill, which has a budget of 350 instructions
//! all told. So the attributes of all four kinds of page are brought to one layout,
//! that of a small page, and not taken apart until someone asks.
//!
//! [`Identity::from_machine`]: crate::Identity::from_machine
//!
//! Manuals: ARM DDI 0406C, B3.5 (format and walk), B3.12.3 (order of faults).

use crate::cp15::Cp15;
use crate::fault::{Cause, WalkFault};
use crate::outcome::Translate;
use crate::permission::{Purpose, check};
use crate::state::Vcpu;

pub use entresol_abi::GuestPhys;

/// How much a mapping covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 4 KiB.
    Small,
    /// 64 KiB.
    Large,
    /// 1 MiB.
    Section,
    /// 16 MiB.
    Supersection,
    /// Everything: the MMU is off.
    Flat,
}

impl Size {
    /// Low bits of an address that a page of this size passes through.
    #[inline]
    #[must_use]
    pub const fn mask(self) -> u32 {
        match self {
            Self::Small => 0xfff,
            Self::Large => 0xffff,
            Self::Section => 0x000f_ffff,
            Self::Supersection => 0x00ff_ffff,
            Self::Flat => u32::MAX,
        }
    }
}

/// Attributes of a page in the layout of a small-page descriptor, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Attributes(u32);

impl Attributes {
    /// Bits that can be set: nG, S, AP\[2\], TEX, AP\[1:0\], C, B, XN.
    pub const MASK: u32 = 0xffd;

    /// As in bits 11:2 and 0 of a small-page descriptor.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// AP\[2:0\].
    #[inline]
    #[must_use]
    pub const fn ap(self) -> u32 {
        self.0 >> 7 & 4 | self.0 >> 4 & 3
    }

    /// Not executable.
    #[inline]
    #[must_use]
    pub const fn execute_never(self) -> bool {
        self.0 & 1 != 0
    }

    /// Only for the address space it was found in.
    #[inline]
    #[must_use]
    pub const fn not_global(self) -> bool {
        self.0 & 1 << 11 != 0
    }

    /// S.
    #[inline]
    #[must_use]
    pub const fn shareable(self) -> bool {
        self.0 & 1 << 10 != 0
    }

    /// TEX\[2:0\], C, B as bits 4:0: the memory type, unless SCTLR.TRE remaps it.
    #[inline]
    #[must_use]
    pub const fn memory(self) -> u32 {
        self.0 >> 4 & 0x1c | self.0 >> 2 & 3
    }

    const fn of_section(descriptor: u32) -> Self {
        Self(descriptor >> 6 & 0xff0 | descriptor & 0xc | descriptor >> 4 & 1)
    }

    const fn of_large(descriptor: u32) -> Self {
        Self(descriptor & 0xe3c | descriptor >> 6 & 0x1c0 | descriptor >> 15 & 1)
    }

    const fn of_small(descriptor: u32) -> Self {
        Self(descriptor & Self::MASK)
    }
}

/// Where a virtual address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Guest-physical address of the address asked for, low bits included.
    pub gpa: GuestPhys,
    /// How much around it is mapped by the same descriptor.
    pub size: Size,
    /// Raw first-level descriptor.
    pub first: u32,
    /// Domain, 0 to 15.
    pub domain: u32,
    /// Attributes.
    pub attributes: Attributes,
    /// Not executable by the kernel.
    pub privileged_execute_never: bool,
}

impl Mapping {
    /// Guest-physical address of the first byte of the page.
    #[inline]
    #[must_use]
    pub const fn base(&self) -> GuestPhys {
        GuestPhys(self.gpa.0 & !self.size.mask())
    }
}

const SCTLR_M: u32 = 1;
const SCTLR_EE: u32 = 1 << 25;
const SCTLR_AFE: u32 = 1 << 29;
const TTBCR_PD0: u32 = 1 << 4;
const TTBCR_PD1: u32 = 1 << 5;

/// Finds what the guest maps at `va`. `read` gives a word of guest memory as the
/// little-endian machine reads it, or nothing where there is none.
///
/// Does not check domains and permissions; see [`crate::permission`].
///
/// # Errors
///
/// Translation, access flag, or external abort on a walk.
#[inline]
pub fn walk(
    cp15: &Cp15,
    va: u32,
    mut read: impl FnMut(GuestPhys) -> Option<u32>,
) -> Result<Mapping, WalkFault> {
    if cp15.sctlr & SCTLR_M == 0 {
        return Ok(flat(va));
    }
    let n = cp15.ttbcr & 7;
    // With N = 0 every address is TTBR0's. Two shifts, as one by 32 is none.
    let (base, disabled) = if (va >> 1) >> (31 - n) == 0 {
        (cp15.ttbr0 & !(0x3fff >> n), cp15.ttbcr & TTBCR_PD0)
    } else {
        (cp15.ttbr1 & !0x3fff, cp15.ttbcr & TTBCR_PD1)
    };
    if disabled != 0 {
        return Err(WalkFault { cause: Cause::TranslationSection, domain: 0 });
    }
    let swap = cp15.sctlr & SCTLR_EE != 0;
    let mut fetch = |address, cause, domain| match read(GuestPhys(address)) {
        Some(word) => Ok(if swap { word.swap_bytes() } else { word }),
        None => Err(WalkFault { cause, domain }),
    };
    let first = fetch(base | va >> 18 & 0x3ffc, Cause::ExternalFirst, 0)?;
    let afe = cp15.sctlr & SCTLR_AFE != 0;
    let domain = first >> 5 & 0xf;
    match first & 3 {
        1 => {
            let second = fetch(first & !0x3ff | va >> 10 & 0x3fc, Cause::ExternalSecond, domain)?;
            let (gpa, size, attributes) = match second & 3 {
                0 => return Err(WalkFault { cause: Cause::TranslationPage, domain }),
                1 => (second & !0xffff | va & 0xffff, Size::Large, Attributes::of_large(second)),
                _ => (second & !0xfff | va & 0xfff, Size::Small, Attributes::of_small(second)),
            };
            if afe && second & 0x10 == 0 {
                return Err(WalkFault { cause: Cause::AccessFlagPage, domain });
            }
            let privileged_execute_never = first & 4 != 0 && has_pxn(cp15);
            let gpa = GuestPhys(gpa);
            Ok(Mapping { gpa, size, first, domain, attributes, privileged_execute_never })
        }
        2 => section(va, first, afe, false),
        3 if has_pxn(cp15) => section(va, first, afe, true),
        _ => Err(WalkFault { cause: Cause::TranslationSection, domain: 0 }),
    }
}

#[inline]
fn section(
    va: u32,
    first: u32,
    afe: bool,
    privileged_execute_never: bool,
) -> Result<Mapping, WalkFault> {
    const SUPERSECTION: u32 = 1 << 18;
    const AP0: u32 = 1 << 10;
    /// Address bits 39:32 of a supersection.
    const EXTENDED: u32 = 0x00f0_01e0;
    let (size, domain) = if first & SUPERSECTION == 0 {
        (Size::Section, first >> 5 & 0xf)
    } else if first & EXTENDED == 0 {
        (Size::Supersection, 0)
    } else {
        // Beyond a guest's physical address space nothing answers.
        return Err(WalkFault { cause: Cause::External, domain: 0 });
    };
    if afe && first & AP0 == 0 {
        return Err(WalkFault { cause: Cause::AccessFlagSection, domain });
    }
    let gpa = GuestPhys(first & !size.mask() | va & size.mask());
    let attributes = Attributes::of_section(first);
    Ok(Mapping { gpa, size, first, domain, attributes, privileged_execute_never })
}

/// Whether the guest was told that PXN exists (ID_MMFR0, VMSA support 4 and up).
#[inline]
const fn has_pxn(cp15: &Cp15) -> bool {
    let [mmfr0, ..] = cp15.identity.mmfr;
    mmfr0 & 0xf >= 4
}

/// The identity, everything permitted, Strongly-ordered (B3.2.1).
#[inline]
const fn flat(va: u32) -> Mapping {
    Mapping {
        gpa: GuestPhys(va),
        size: Size::Flat,
        first: 0,
        domain: 0,
        attributes: Attributes(3 << 4),
        privileged_execute_never: false,
    }
}

/// Completes [`Effect::Translate`] with what a walk found: sets PAR. Memory attributes in it are 0.
///
/// [`Effect::Translate`]: crate::outcome::Effect::Translate
pub fn translate(vcpu: &mut Vcpu, request: Translate, walked: Result<Mapping, WalkFault>) {
    const FAULT: u32 = 1;
    const SUPERSECTION: u32 = 2;
    let purpose = if request.write { Purpose::Write } else { Purpose::Read };
    let found = walked.and_then(|mapping| {
        check(&mapping, &vcpu.cp15, request.privileged, purpose).map(|()| mapping)
    });
    vcpu.cp15.par = match found {
        Ok(Mapping { gpa, size: Size::Supersection, .. }) => gpa.0 & 0xff00_0000 | SUPERSECTION,
        Ok(mapping) => mapping.gpa.0 & !0xfff,
        Err(fault) => fault.cause.bits() << 1 | FAULT,
    };
}
