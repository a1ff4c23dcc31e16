//! Why an access to memory fails, and how fault status registers say so.
//!
//! Short-descriptor format only, as [`crate::walk`].
//!
//! Manual: ARM DDI 0406C, B3.13.3 (encodings), B4.1.52 (DFSR), B4.1.96 (IFSR).

/// Why an access fails: FS\[4:0\] of a fault status register (B3.13.3, table B3-23).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// Misaligned.
    Alignment = 0b00001,
    /// Access flag, section.
    AccessFlagSection = 0b00011,
    /// No section.
    TranslationSection = 0b00101,
    /// Access flag, page.
    AccessFlagPage = 0b00110,
    /// No page.
    TranslationPage = 0b00111,
    /// Synchronous external abort.
    External = 0b01000,
    /// No access by the domain of a section.
    DomainSection = 0b01001,
    /// No access by the domain of a page.
    DomainPage = 0b01011,
    /// First-level descriptor cannot be read.
    ExternalFirst = 0b01100,
    /// Section does not permit it.
    PermissionSection = 0b01101,
    /// Second-level descriptor cannot be read.
    ExternalSecond = 0b01110,
    /// Page does not permit it.
    PermissionPage = 0b01111,
}

impl Cause {
    #[allow(clippy::as_conversions, reason = "the discriminants are the field's values")]
    pub(crate) const fn bits(self) -> u32 {
        self as u32
    }
}

/// A failed walk or a refused access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkFault {
    /// Why.
    pub cause: Cause,
    /// Domain; 0 where the architecture has none to report.
    pub domain: u32,
}

impl WalkFault {
    /// As DFSR reports it.
    #[inline]
    #[must_use]
    pub const fn dfsr(self, write: bool) -> u32 {
        fsr(self.cause, self.domain, write)
    }

    /// As IFSR reports it.
    #[inline]
    #[must_use]
    pub const fn ifsr(self) -> u32 {
        fsr(self.cause, 0, false)
    }
}

/// A fault status in the short-descriptor format: FS, domain and WnR in place. IFSR has
/// neither of the last two.
#[inline]
#[must_use]
pub const fn fsr(cause: Cause, domain: u32, write: bool) -> u32 {
    const WNR: u32 = 1 << 11;
    let status = cause.bits();
    (status & 0x10) << 6 | status & 0xf | (domain & 0xf) << 4 | if write { WNR } else { 0 }
}
