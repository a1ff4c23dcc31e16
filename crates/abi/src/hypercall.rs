//! What a guest kernel may ask by `HVC #0` or `SMC #0`, in the SMC Calling
//! Convention (ARM DEN 0028): function in `r0`, arguments in `r1` to `r3`, result in
//! `r0`. Every other register is preserved. A guest application that executes `HVC`
//! takes an undefined-instruction exception in its own kernel.

/// Functions, named and numbered.
///
/// `Psci*` are those of PSCI 0.2 (ARM DEN 0022), the others are Entresol's, in the
/// range of vendor-specific hypervisor services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Function {
    /// Version of PSCI: major in bits 31:16, minor in 15:0.
    PsciVersion = 0x8400_0000,
    /// Waits as WFI does.
    PsciCpuSuspend = 0x8400_0001,
    /// Turns the calling vCPU off.
    PsciCpuOff = 0x8400_0002,
    /// Turns another vCPU on.
    PsciCpuOn = 0x8400_0003,
    /// Whether a vCPU is on (0), off (1), or about to be on (2).
    PsciAffinityInfo = 0x8400_0004,
    /// Whether a trusted OS must be migrated: never (2).
    PsciMigrateInfoType = 0x8400_0006,
    /// Stops the VM; it ended well.
    PsciSystemOff = 0x8400_0008,
    /// Starts the VM again from its image.
    PsciSystemReset = 0x8400_0009,
    /// Whether a PSCI function exists.
    PsciFeatures = 0x8400_000a,
    /// Version of this interface: 1.
    Version = 0x8600_0000,
    /// Index of the calling VM.
    VmIndex = 0x8600_0001,
    /// Writes the byte in `r1` to the VM's console. Returns 0, or [`NONE`] when the line is
    /// behind and the byte was not taken.
    ConsolePut = 0x8600_0002,
    /// Reads a byte from the VM's console, [`NONE`] when there is none.
    ConsoleGet = 0x8600_0003,
    /// Stops the VM with the status in `r1` (0 is well), as a test's exit.
    Exit = 0x8600_0004,
    /// Gives the rest of the time slice to a VM of the same priority. Returns 0.
    Yield = 0x8600_0005,
    /// Number of times the VM was started, from 1.
    Starts = 0x8600_0006,
    /// Waits for the [lock](crate::lock) at guest physical address `r1`, `r2` microseconds at
    /// most. Returns the lock's word if it is the caller's now; [`lock::AGAIN`] if it is to be
    /// looked at again; [`lock::TIMED_OUT`]; or [`psci::INVALID_PARAMETERS`] if no lock can be
    /// there.
    ///
    /// [`lock::AGAIN`]: crate::lock::AGAIN
    /// [`lock::TIMED_OUT`]: crate::lock::TIMED_OUT
    LockWait = 0x8600_0010,
    /// Has those look again that wait for locks. Returns 0.
    LockWake = 0x8600_0011,
    /// Gives the VM with index `r1` the order `r2` of [`control`](crate::control), or asks for
    /// its state. Returns 0 or the state; [`psci::DENIED`] if the manifest does not let the
    /// caller control it. Of its partner it may ask.
    VmControl = 0x8600_0012,
    /// The VM is alive; to be called again within the time that its manifest gives. Returns 0.
    Heartbeat = 0x8600_0013,
    /// By `r1` microseconds from now the VM will have called this again; 0: it promises nothing
    /// more. Returns 0.
    Deadline = 0x8600_0014,
    /// The VM cannot go on, for a reason with the number `r1`. Returns 0 if its manifest lets it go
    /// on.
    Panic = 0x8600_0015,
    /// Returns 1 if the VM has what is its pair's; 0 if it is the backup. 1 without a pair.
    Role = 0x8600_0016,
}

/// Result: no such function (SMCCC `NOT_SUPPORTED`).
pub const NOT_SUPPORTED: u32 = u32::MAX;

/// Result of [`Function::ConsoleGet`]: nothing to read; of [`Function::ConsolePut`]: no room.
pub const NONE: u32 = 0x100;

/// Results of PSCI calls.
pub mod psci {
    /// It is so.
    pub const SUCCESS: u32 = 0;
    /// An argument is out of range (-2).
    pub const INVALID_PARAMETERS: u32 = (-2_i32).cast_unsigned();
    /// Not permitted (-3).
    pub const DENIED: u32 = (-3_i32).cast_unsigned();
    /// The vCPU is on already (-4).
    pub const ALREADY_ON: u32 = (-4_i32).cast_unsigned();
    /// The vCPU was turned on and has not begun (-5).
    pub const ON_PENDING: u32 = (-5_i32).cast_unsigned();
}

impl Function {
    /// The function with this number.
    #[must_use]
    pub const fn decode(number: u32) -> Option<Self> {
        Some(match number {
            0x8400_0000 => Self::PsciVersion,
            0x8400_0001 => Self::PsciCpuSuspend,
            0x8400_0002 => Self::PsciCpuOff,
            0x8400_0003 => Self::PsciCpuOn,
            0x8400_0004 => Self::PsciAffinityInfo,
            0x8400_0006 => Self::PsciMigrateInfoType,
            0x8400_0008 => Self::PsciSystemOff,
            0x8400_0009 => Self::PsciSystemReset,
            0x8400_000a => Self::PsciFeatures,
            0x8600_0000 => Self::Version,
            0x8600_0001 => Self::VmIndex,
            0x8600_0002 => Self::ConsolePut,
            0x8600_0003 => Self::ConsoleGet,
            0x8600_0004 => Self::Exit,
            0x8600_0005 => Self::Yield,
            0x8600_0006 => Self::Starts,
            0x8600_0010 => Self::LockWait,
            0x8600_0011 => Self::LockWake,
            0x8600_0012 => Self::VmControl,
            0x8600_0013 => Self::Heartbeat,
            0x8600_0014 => Self::Deadline,
            0x8600_0015 => Self::Panic,
            0x8600_0016 => Self::Role,
            _ => return None,
        })
    }
}
