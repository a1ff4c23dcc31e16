//! The modes of a processor, and the fields of its status registers.
//!
//! Names for bits; the state they describe is in [`crate::state`].
//!
//! Manual: ARM DDI 0406C, B1.3.1 (modes), B1.3.3 (program status).

/// Fields of a program status register (ARM DDI 0406C, B1.3.3).
pub mod psr {
    /// Mode.
    pub const MODE: u32 = 0x1f;
    /// Thumb state.
    pub const T: u32 = 1 << 5;
    /// Fast interrupts masked.
    pub const F: u32 = 1 << 6;
    /// Interrupts masked.
    pub const I: u32 = 1 << 7;
    /// Asynchronous aborts masked.
    pub const A: u32 = 1 << 8;
    /// Big-endian data.
    pub const E: u32 = 1 << 9;
    /// Greater-or-equal flags.
    pub const GE: u32 = 0xf << 16;
    /// If-then state, in two pieces.
    pub const IT: u32 = 0x0600_fc00;
    /// Of these, what is 0 outside of an IT block and at its last instruction (A2.5.2).
    pub const IT_MORE: u32 = 0x0600_0400;
    /// Jazelle state; never set in a guest.
    pub const J: u32 = 1 << 24;
    /// Condition flags and Q.
    pub const FLAGS: u32 = 0x1f << 27;
    /// Carry flag.
    pub const C: u32 = 1 << 29;

    /// What the real processor keeps for a guest.
    pub const REAL: u32 = FLAGS | IT | GE | E | T;
    /// What only the guest believes in.
    pub const VIRTUAL: u32 = A | I | F | MODE;
}

/// A mode of the virtual processor: one of the seven of a processor seen from its
/// Non-secure PL1 and PL0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Mode(u32);

impl Mode {
    /// Application.
    pub const USER: Self = Self(0x10);
    /// Fast interrupt.
    pub const FIQ: Self = Self(0x11);
    /// Interrupt.
    pub const IRQ: Self = Self(0x12);
    /// Supervisor.
    pub const SUPERVISOR: Self = Self(0x13);
    /// Abort.
    pub const ABORT: Self = Self(0x17);
    /// Undefined.
    pub const UNDEFINED: Self = Self(0x1b);
    /// System: privileged, with the registers of [`Mode::USER`].
    pub const SYSTEM: Self = Self(0x1f);

    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::USER,
        Self::FIQ,
        Self::IRQ,
        Self::SUPERVISOR,
        Self::ABORT,
        Self::UNDEFINED,
        Self::SYSTEM,
    ];

    /// The mode in bits 4:0 of a status value, unless there is no such mode.
    #[inline]
    #[must_use]
    pub const fn decode(status: u32) -> Option<Self> {
        const LEGAL: u32 =
            1 << 0x10 | 1 << 0x11 | 1 << 0x12 | 1 << 0x13 | 1 << 0x17 | 1 << 0x1b | 1 << 0x1f;
        let bits = status & psr::MODE;
        if LEGAL >> bits & 1 == 1 { Some(Self(bits)) } else { None }
    }

    /// The mode in a status that is known to hold one.
    #[inline]
    pub(crate) const fn of_status(status: u32) -> Self {
        Self(status & psr::MODE)
    }

    /// As in bits 4:0 of a status register.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Index of its bank in [`Vcpu::banks`](crate::Vcpu::banks).
    #[inline]
    #[must_use]
    pub fn bank(self) -> usize {
        // By the low four bits; a table, because this is on the path of every return.
        const BANKS: [u8; 16] = {
            const USER: u8 = 0;
            const NONE: u8 = USER;
            [USER, 5, 4, 1, NONE, NONE, NONE, 2, NONE, NONE, NONE, 3, NONE, NONE, NONE, USER]
        };
        let [low, ..] = self.0.to_le_bytes();
        BANKS.get(usize::from(low & 0xf)).map_or(bank::USER, |index| usize::from(*index))
    }

    /// Whether it has a saved status: every mode but User and System.
    #[inline]
    #[must_use]
    pub const fn has_spsr(self) -> bool {
        !matches!(self, Self::USER | Self::SYSTEM)
    }
}

/// Indices of [`Vcpu::banks`](crate::Vcpu::banks).
pub mod bank {
    /// User and System.
    pub const USER: usize = 0;
    /// Supervisor.
    pub const SUPERVISOR: usize = 1;
    /// Abort.
    pub const ABORT: usize = 2;
    /// Undefined.
    pub const UNDEFINED: usize = 3;
    /// Interrupt.
    pub const IRQ: usize = 4;
    /// Fast interrupt.
    pub const FIQ: usize = 5;
    /// How many there are.
    pub const COUNT: usize = 6;
}
