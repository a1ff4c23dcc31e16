//! What can befall a VM, and what its manifest has follow.

/// What befell a VM; an index of [`Vm::policies`](crate::image::Vm::policies).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// It did what it must not, and cannot go on.
    Fault = 0,
    /// It did not answer its watchdog.
    Watchdog = 1,
    /// It did not call [`Heartbeat`](crate::hypercall::Function::Heartbeat) in time.
    Heartbeat = 2,
    /// It missed a [`Deadline`](crate::hypercall::Function::Deadline) of its own.
    Deadline = 3,
    /// It wanted to run on at the end of its budget.
    Budget = 4,
    /// It called [`Panic`](crate::hypercall::Function::Panic).
    Panic = 5,
    /// It asked for a reset by PSCI.
    Reset = 6,
    /// It turned itself off by PSCI.
    Off = 7,
}

/// Number of [`Event`]s.
pub const EVENTS: usize = 8;

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Policy {
    /// Stop the VM; the others run on.
    Stop = 0,
    /// Restore its memory from the image and start it again.
    Restart = 1,
    /// Reset the machine.
    ResetMachine = 2,
    /// The same as [`Policy::Restart`], and its backup has what they share from now on.
    FailOver = 3,
    /// It goes on; that is said on the hypervisor's console, once a second.
    Log = 4,
    /// It goes on; those that control it are told.
    Notify = 5,
    /// It goes on.
    Ignore = 6,
}

impl Policy {
    /// The policy with this number; a number without a meaning stops the VM.
    #[must_use]
    pub const fn decode(number: u8) -> Self {
        match number {
            1 => Self::Restart,
            2 => Self::ResetMachine,
            3 => Self::FailOver,
            4 => Self::Log,
            5 => Self::Notify,
            6 => Self::Ignore,
            _ => Self::Stop,
        }
    }

    /// Whether the VM runs on.
    #[must_use]
    pub const fn goes_on(self) -> bool {
        matches!(self, Self::Log | Self::Notify | Self::Ignore)
    }
}

/// Where the [`Event`]'s number lies in the record that
/// [`control::EVENT`](crate::control::EVENT) returns: bits 7:0.
pub const RECORD_EVENT: u32 = 0xff;
/// The [`Policy`] that was to follow: bits 15:8.
pub const RECORD_POLICY: u32 = 0xff00;
/// How many events there were, modulo 2¹⁶: bits 31:16.
pub const RECORD_COUNT: u32 = 1 << 16;
