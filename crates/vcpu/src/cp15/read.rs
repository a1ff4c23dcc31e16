//! Reading p15, as the Non-secure PL1 of a Cortex-A9 with a generic timer.
//!
//! Manuals: ARM DDI 0406C, B4.1; ARM DDI 0388I (Cortex-A9), 4.2.

use super::access::{Read, key};
use super::timer::{self, Timer};
use crate::state::Vcpu;

/// What the configuration base register of one of several vCPUs says: where the board has the
/// snoop control unit.
const SCU_BASE: u32 = 0x0802_0000;

impl Vcpu {
    pub(super) fn read_system(&mut self, register: u32, timer: &dyn Timer) -> Read {
        match register >> 12 {
            0 => self.read_identity(register),
            9 => match self.read_monitor(register) {
                Read::Unknown => self.read_control(register),
                known => known,
            },
            14 => timer::read(timer, self.cp15.cntkctl, register),
            _ => self.read_control(register),
        }
    }

    /// c0.
    fn read_identity(&self, register: u32) -> Read {
        const CCSIDR: u32 = key(0, 1, 0, 0);
        const CLIDR: u32 = key(0, 1, 0, 1);
        const AIDR: u32 = key(0, 1, 0, 7);

        let id = &self.cp15.identity;
        if register <= key(0, 0, 7, 7) {
            let [mmfr0, mmfr1, mmfr2, mmfr3] = id.mmfr;
            let [isar0, isar1, isar2, isar3, isar4, isar5] = id.isar;
            // By CRm and opc2. What is reserved reads as zero; two are aliases of MIDR.
            let words = [
                [id.midr, id.ctr, id.tcmtr, id.tlbtr, id.midr, id.mpidr, id.revidr, id.midr],
                [id.pfr0, id.pfr1, id.dfr0, id.afr0, mmfr0, mmfr1, mmfr2, mmfr3],
                [isar0, isar1, isar2, isar3, isar4, isar5, 0, 0],
            ];
            let [low, ..] = register.to_le_bytes();
            let word = words.as_flattened().get(usize::from(low >> 1 & 0x38 | low & 7));
            return Read::Value(word.copied().unwrap_or_default());
        }
        Read::Value(match register {
            CCSIDR => {
                let [index, ..] = self.cp15.csselr.to_le_bytes();
                id.ccsidr.get(usize::from(index)).copied().unwrap_or_default()
            }
            CLIDR => id.clidr,
            AIDR => id.aidr,
            reg::CSSELR => self.cp15.csselr,
            _ => return Read::Unknown,
        })
    }

    /// The rest.
    fn read_control(&mut self, register: u32) -> Read {
        if let Some(place) = self.place(register) {
            return Read::Value(*place);
        }
        Read::Value(match register {
            // Only cp10 and cp11 may be used; CPACR decides (B4.1.111).
            reg::NSACR => 0xc00,
            reg::ISR => self.pending,
            // Bit 30 of MPIDR: of one core, which has no such base.
            reg::CONFIGURATION_BASE if self.cp15.identity.mpidr >> 30 & 1 == 0 => SCU_BASE,
            _ if reg::is_absent(register) => 0,
            reg::SCR | reg::SDER | reg::MVBAR | reg::VCR => return Read::Undefined,
            _ => return Read::Unknown,
        })
    }

    /// Where a register is kept that reads as it was written.
    #[inline(never)]
    pub(super) fn place(&mut self, register: u32) -> Option<&mut u32> {
        let cp15 = &mut self.cp15;
        Some(match register {
            reg::CSSELR => &mut cp15.csselr,
            reg::SCTLR => &mut cp15.sctlr,
            reg::ACTLR => &mut cp15.actlr,
            reg::CPACR => &mut cp15.cpacr,
            reg::TTBR0 => &mut cp15.ttbr0,
            reg::TTBR1 => &mut cp15.ttbr1,
            reg::TTBCR => &mut cp15.ttbcr,
            reg::DACR => &mut cp15.dacr,
            reg::DFSR => &mut cp15.dfsr,
            reg::IFSR => &mut cp15.ifsr,
            reg::ADFSR => &mut cp15.adfsr,
            reg::AIFSR => &mut cp15.aifsr,
            reg::DFAR => &mut cp15.dfar,
            reg::IFAR => &mut cp15.ifar,
            reg::PAR => &mut cp15.par,
            reg::PRRR => &mut cp15.prrr,
            reg::NMRR => &mut cp15.nmrr,
            reg::VBAR => &mut cp15.vbar,
            reg::CONTEXTIDR => &mut cp15.contextidr,
            reg::TPIDRURW => &mut cp15.tpidrurw,
            reg::TPIDRURO => &mut cp15.tpidruro,
            reg::TPIDRPRW => &mut cp15.tpidrprw,
            reg::POWER_CONTROL => &mut cp15.power_control,
            _ => return None,
        })
    }
}

/// Registers that are read and written.
#[rustfmt::skip]
pub(super) mod reg {
    use super::super::access::key;

    pub(in crate::cp15) const CSSELR: u32 = key(0, 2, 0, 0);
    pub(in crate::cp15) const SCTLR: u32 = key(1, 0, 0, 0);
    pub(in crate::cp15) const ACTLR: u32 = key(1, 0, 0, 1);
    pub(in crate::cp15) const CPACR: u32 = key(1, 0, 0, 2);
    pub(in crate::cp15) const SCR: u32 = key(1, 0, 1, 0);
    pub(in crate::cp15) const SDER: u32 = key(1, 0, 1, 1);
    pub(in crate::cp15) const NSACR: u32 = key(1, 0, 1, 2);
    pub(in crate::cp15) const VCR: u32 = key(1, 0, 1, 3);
    pub(in crate::cp15) const TTBR0: u32 = key(2, 0, 0, 0);
    pub(in crate::cp15) const TTBR1: u32 = key(2, 0, 0, 1);
    pub(in crate::cp15) const TTBCR: u32 = key(2, 0, 0, 2);
    pub(in crate::cp15) const DACR: u32 = key(3, 0, 0, 0);
    pub(in crate::cp15) const DFSR: u32 = key(5, 0, 0, 0);
    pub(in crate::cp15) const IFSR: u32 = key(5, 0, 0, 1);
    pub(in crate::cp15) const ADFSR: u32 = key(5, 0, 1, 0);
    pub(in crate::cp15) const AIFSR: u32 = key(5, 0, 1, 1);
    pub(in crate::cp15) const DFAR: u32 = key(6, 0, 0, 0);
    pub(in crate::cp15) const IFAR: u32 = key(6, 0, 0, 2);
    pub(in crate::cp15) const PAR: u32 = key(7, 0, 4, 0);
    pub(in crate::cp15) const PRRR: u32 = key(10, 0, 2, 0);
    pub(in crate::cp15) const NMRR: u32 = key(10, 0, 2, 1);
    pub(in crate::cp15) const VBAR: u32 = key(12, 0, 0, 0);
    pub(in crate::cp15) const MVBAR: u32 = key(12, 0, 0, 1);
    pub(in crate::cp15) const ISR: u32 = key(12, 0, 1, 0);
    pub(in crate::cp15) const FCSEIDR: u32 = key(13, 0, 0, 0);
    pub(in crate::cp15) const CONTEXTIDR: u32 = key(13, 0, 0, 1);
    pub(in crate::cp15) const TPIDRURW: u32 = key(13, 0, 0, 2);
    pub(in crate::cp15) const TPIDRURO: u32 = key(13, 0, 0, 3);
    pub(in crate::cp15) const TPIDRPRW: u32 = key(13, 0, 0, 4);
    pub(in crate::cp15) const POWER_CONTROL: u32 = key(15, 0, 0, 0);
    pub(in crate::cp15) const CONFIGURATION_BASE: u32 = key(15, 4, 0, 0);

    /// Registers of features this processor does not have, that read as zero and
    /// ignore writes.
    pub(in crate::cp15) fn is_absent(register: u32) -> bool {
        const L2_CONTROL: u32 = key(9, 1, 0, 2);
        const L2_EXTENDED_CONTROL: u32 = key(9, 1, 0, 3);
        const TLB_LOCKDOWN: u32 = key(10, 0, 0, 0);
        const TLB_PRELOAD_DATA: u32 = key(10, 0, 1, 0);
        const TLB_PRELOAD_INSTRUCTION: u32 = key(10, 0, 1, 1);
        const AMAIR0: u32 = key(10, 0, 3, 0);
        const AMAIR1: u32 = key(10, 0, 3, 1);
        const PRELOAD_ENGINE_ID: u32 = key(11, 0, 0, 0);
        const PRELOAD_ENGINE_STATUS: u32 = key(11, 0, 0, 2);
        const PRELOAD_ENGINE_FIFO: u32 = key(11, 0, 0, 4);
        const PRELOAD_ENGINE_USER: u32 = key(11, 0, 1, 0);
        const PRELOAD_ENGINE_PARAMETERS: u32 = key(11, 0, 1, 1);
        const DIAGNOSTIC: u32 = key(15, 0, 0, 1);
        const DIAGNOSTIC_2: u32 = key(15, 0, 0, 2);
        const NEON_BUSY: u32 = key(15, 0, 1, 0);
        const L2_AUXILIARY: u32 = key(15, 1, 0, 0);
        const LOCKDOWN_READ: u32 = key(15, 5, 4, 2);
        const LOCKDOWN_WRITE: u32 = key(15, 5, 4, 4);
        const LOCKDOWN_VA: u32 = key(15, 5, 5, 2);
        const LOCKDOWN_PA: u32 = key(15, 5, 6, 2);
        const LOCKDOWN_ATTRIBUTES: u32 = key(15, 5, 7, 2);
        /// A table, not a match: nobody is in a hurry here.
        static ABSENT: [u32; 23] = [
            FCSEIDR, L2_CONTROL, L2_EXTENDED_CONTROL, TLB_LOCKDOWN, TLB_PRELOAD_DATA,
            TLB_PRELOAD_INSTRUCTION, AMAIR0, AMAIR1, PRELOAD_ENGINE_ID, PRELOAD_ENGINE_STATUS,
            PRELOAD_ENGINE_FIFO, PRELOAD_ENGINE_USER, PRELOAD_ENGINE_PARAMETERS, DIAGNOSTIC,
            DIAGNOSTIC_2, NEON_BUSY, L2_AUXILIARY, CONFIGURATION_BASE, LOCKDOWN_READ,
            LOCKDOWN_WRITE, LOCKDOWN_VA, LOCKDOWN_PA, LOCKDOWN_ATTRIBUTES,
        ];
        ABSENT.contains(&register)
    }
}
