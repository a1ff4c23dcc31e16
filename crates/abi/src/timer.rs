//! The registers of the generic timer that a VM has.

/// A register of the physical or of the virtual timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// `CNTP_CTL`, `CNTP_TVAL`, `CNTP_CVAL`.
    Physical(Field),
    /// `CNTV_CTL`, `CNTV_TVAL`, `CNTV_CVAL`.
    Virtual(Field),
}

/// A timer has three, as in ARM DDI 0406C B8.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `CTL`: enabled, masked, its condition met.
    Control,
    /// `TVAL`: signed 32-bit distance of the compare value from the count.
    Value,
    /// `CVAL`: 64-bit compare value.
    Compare,
}
