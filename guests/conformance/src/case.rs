//! What a case is: instructions, where they start, and what is set before.

use entresol_guest::sandbox::State;

/// Marks the end of a snippet in A32: a permanently undefined instruction.
pub(crate) const END_A32: u32 = 0xe7f5_def5;
/// Marks the end of a snippet in T32: a permanently undefined instruction.
pub(crate) const END_T32: u16 = 0xde5d;

/// Instructions.
#[derive(Clone, Copy)]
pub(crate) enum Code {
    /// Assembled by [`a32!`](crate::a32); up to [`END_A32`].
    A32(unsafe extern "C" fn()),
    /// Assembled by [`t32!`](crate::t32); up to [`END_T32`].
    T32(unsafe extern "C" fn()),
    /// One A32 instruction.
    WordA32(u32),
    /// One T32 instruction; a wide one has its first halfword on top.
    WordT32(u32),
}

impl Code {
    /// Whether it is T32.
    pub(crate) fn is_t32(self) -> bool {
        matches!(self, Self::T32(_) | Self::WordT32(_))
    }
}

/// Assembles a snippet of A32.
#[macro_export]
macro_rules! a32 {
    ($($line:literal),+ $(,)?) => {{
        #[unsafe(naked)]
        #[unsafe(link_section = "snippets")]
        #[instruction_set(arm::a32)]
        unsafe extern "C" fn code() {
            ::core::arch::naked_asm!($($line,)+ ".inst 0xe7f5def5")
        }
        $crate::case::Code::A32(code)
    }};
}

/// Assembles a snippet of T32.
#[macro_export]
macro_rules! t32 {
    ($($line:literal),+ $(,)?) => {{
        #[unsafe(naked)]
        #[unsafe(link_section = "snippets")]
        #[instruction_set(arm::a32)]
        unsafe extern "C" fn code() {
            ::core::arch::naked_asm!(
                ".thumb", $($line,)+ ".inst.n 0xde5d", ".balign 4", ".arm"
            )
        }
        $crate::case::Code::T32(code)
    }};
}

/// A processor mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Mode {
    Usr = 0x10,
    Fiq = 0x11,
    Irq = 0x12,
    Svc = 0x13,
    Abt = 0x17,
    Und = 0x1b,
    Sys = 0x1f,
}

impl Mode {
    pub(crate) const ALL: [Self; 7] =
        [Self::Usr, Self::Sys, Self::Svc, Self::Irq, Self::Fiq, Self::Abt, Self::Und];
    /// Those with a saved status.
    pub(crate) const EXCEPTION: [Self; 5] = [Self::Svc, Self::Irq, Self::Fiq, Self::Abt, Self::Und];
    /// Those of PL1.
    pub(crate) const PRIVILEGED: [Self; 6] =
        [Self::Sys, Self::Svc, Self::Irq, Self::Fiq, Self::Abt, Self::Und];
    /// One of each privilege.
    pub(crate) const BOTH: [Self; 2] = [Self::Usr, Self::Svc];
    /// Supervisor mode only.
    pub(crate) const SUPERVISOR: [Self; 1] = [Self::Svc];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Usr => "usr",
            Self::Fiq => "fiq",
            Self::Irq => "irq",
            Self::Svc => "svc",
            Self::Abt => "abt",
            Self::Und => "und",
            Self::Sys => "sys",
        }
    }
}

/// A value that may depend on where things lie.
#[derive(Clone, Copy)]
pub(crate) enum Value {
    /// Itself.
    Word(u32),
    /// Address of a byte of the scratch page.
    Scratch(u32),
    /// Address of a byte of the page that PL0 may not touch.
    Kernel(u32),
    /// Address of a byte of the page of code.
    Code(u32),
    /// Address of an end marker in A32.
    EndA32,
    /// Address of an end marker in T32.
    EndT32,
}

/// What is set before a case runs.
#[derive(Clone, Copy)]
pub(crate) enum Set {
    /// A general register, r0 to r12.
    R(usize, Value),
    /// r14 of the mode.
    Lr(Value),
    /// Saved status of the mode.
    Spsr(u32),
    /// Bits added to the initial status.
    Psr(u32),
    /// A word of the scratch page, by byte offset.
    Memory(u32, Value),
    /// A software interrupt is pending.
    Interrupt,
    /// The same, as a fast interrupt.
    FastInterrupt,
    /// The code makes the virtual timer interrupt.
    TimerInterrupt,
    /// Bits of SCTLR to set during the case.
    Sctlr(u32),
}

/// One case, run from each of its modes.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) name: &'a str,
    pub(crate) code: Code,
    pub(crate) modes: &'a [Mode],
    pub(crate) set: &'a [Set],
    /// Whether the first instruction is also run with conditions that pass and fail.
    pub(crate) conditional: bool,
}

/// The bank of `mode`, as r14 and saved status; `None` for User and System mode.
pub(crate) fn bank(state: &mut State, mode: Mode) -> Option<&mut entresol_guest::sandbox::Bank> {
    match mode {
        Mode::Usr | Mode::Sys => None,
        Mode::Fiq => Some(&mut state.fiq),
        Mode::Irq => Some(&mut state.irq),
        Mode::Svc => Some(&mut state.svc),
        Mode::Abt => Some(&mut state.abt),
        Mode::Und => Some(&mut state.und),
    }
}
