//! What the virtual processor says it is.
//!
//! Manuals: ARM DDI 0406C, B4.1 (by register); ARM DDI 0388I (Cortex-A9), 4.3.

/// Identification registers. Names are the manual's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[allow(missing_docs, reason = "the fields are the manual's register names")]
pub struct Identity {
    pub midr: u32,
    pub ctr: u32,
    pub tcmtr: u32,
    pub tlbtr: u32,
    pub mpidr: u32,
    pub revidr: u32,
    pub pfr0: u32,
    pub pfr1: u32,
    pub dfr0: u32,
    pub afr0: u32,
    pub mmfr: [u32; 4],
    pub isar: [u32; 6],
    pub clidr: u32,
    pub aidr: u32,
    /// CCSIDR by CSSELR: level in bits 3:1, instruction in bit 0.
    pub ccsidr: [u32; 16],
    pub fpsid: u32,
    pub mvfr0: u32,
    pub mvfr1: u32,
}

impl Identity {
    /// A Cortex-A9 r3p0 with 32 KiB caches and NEON, after the fixes of
    /// [`Identity::from_machine`].
    pub const CORTEX_A9: Self = Self {
        midr: 0x413f_c090,
        ctr: 0x8003_8003,
        tcmtr: 0,
        tlbtr: 0,
        mpidr: 0xc000_0000,
        revidr: 0,
        pfr0: 0x0000_0131,
        pfr1: 0x0001_0001,
        dfr0: 0,
        afr0: 0,
        mmfr: [0x0010_0103, 0x2000_0000, 0x0123_0000, 0x0000_2111],
        isar: [0x0010_1111, 0x1311_2111, 0x2123_2041, 0x1111_2131, 0x0011_1142, 0],
        clidr: 0x0920_0003,
        aidr: 0,
        ccsidr: [0xe00f_e019, 0x200f_e019, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        fpsid: 0x4103_3090,
        mvfr0: 0x1111_0222,
        mvfr1: 0x0111_1111,
    };

    /// What a guest of the machine with these registers sees.
    ///
    /// Same processor, except: one core (MPIDR: multiprocessing extensions,
    /// uniprocessor), a generic timer, and no large physical addresses, no virtualization
    /// extensions, no ThumbEE, no debug.
    #[must_use]
    pub const fn from_machine(raw: Raw) -> Self {
        let mut identity = raw.0;
        identity.mpidr = 0xc000_0000;
        // State3 (ThumbEE) 0; State2 (Jazelle) 1: trivial.
        identity.pfr0 = identity.pfr0 & 0x0000_00ff | 0x0000_0100;
        // Generic timer 1, virtualization extensions 0.
        identity.pfr1 = identity.pfr1 & !0x000f_f000 | 0x0001_0000;
        identity.dfr0 = 0;
        let [mmfr0, mmfr1, mmfr2, mmfr3] = identity.mmfr;
        // VMSA support at most 3: VMSAv7 with remapping and access flag.
        let mmfr0 = if mmfr0 & 0xf > 3 { mmfr0 & !0xf | 3 } else { mmfr0 };
        // Physical memory size supported by the caches: 32 bits.
        identity.mmfr = [mmfr0, mmfr1, mmfr2, mmfr3 & !0x0f00_0000];
        identity
    }
}

/// Identification registers as read from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw(pub Identity);
