//! Writing p15: registers, and the operations of c7 and c8.
//!
//! Manuals: ARM DDI 0406C, B4.1, B4.2.1 (caches), B4.2.2 (TLB), B4.2.4 (translation);
//! ARM DDI 0388I (Cortex-A9), 4.2.

use super::access::{Written, key};
use super::read::reg;
use super::timer::{self, Timer};
use crate::outcome::{CacheOp, Context, Effect, TlbOp, Translate};
use crate::state::Vcpu;

/// Bits of SCTLR that are written: TE, AFE, TRE, EE, RR, V, I, Z, SW, C, A, M.
const SCTLR_WRITABLE: u32 = 0x7200_7c07;
/// Bits of SCTLR that read as one.
const SCTLR_ONES: u32 = 0x00c5_0078;
/// Bits of CPACR: ASEDIS, D32DIS, cp11, cp10.
const CPACR_WRITABLE: u32 = 0xc0f0_0000;
/// Bits of TTBCR without Security Extensions' and LPAE's: PD1, PD0, N.
const TTBCR_WRITABLE: u32 = 0x37;

impl Vcpu {
    pub(super) fn write_system(
        &mut self,
        register: u32,
        value: u32,
        timer: &mut dyn Timer,
    ) -> Written {
        match register >> 12 {
            7 => self.operate(register, value),
            8 => forget(register, value),
            9 => match self.write_monitor(register, value) {
                Written::Unknown => self.write_control(register, value),
                known => known,
            },
            14 => timer::write(timer, &mut self.cp15.cntkctl, register, value),
            _ => self.write_control(register, value),
        }
    }

    fn write_control(&mut self, register: u32, value: u32) -> Written {
        let Some(place) = self.place(register) else {
            return match register {
                _ if reg::is_absent(register) => Written::Done,
                reg::SCR | reg::SDER | reg::NSACR | reg::MVBAR | reg::VCR | reg::ISR => {
                    Written::Undefined
                }
                // The identity of a processor is read only.
                0..=0xfff => Written::Undefined,
                _ => Written::Unknown,
            };
        };
        let value = match register {
            reg::CSSELR => value & 0xf,
            reg::SCTLR => value & SCTLR_WRITABLE | SCTLR_ONES,
            reg::CPACR => value & CPACR_WRITABLE,
            reg::TTBCR => value & TTBCR_WRITABLE,
            reg::VBAR => value & !0x1f,
            reg::POWER_CONTROL => value & 0x701,
            _ => value,
        };
        let old = core::mem::replace(place, value);
        let context = match register {
            reg::CPACR => return Written::Effect(Effect::FloatAccess),
            reg::TTBR0 => Context::Ttbr0,
            reg::TTBR1 => Context::Ttbr1,
            reg::TTBCR => Context::Ttbcr,
            reg::DACR => Context::Dacr,
            reg::SCTLR => Context::Sctlr,
            reg::PRRR => Context::Prrr,
            reg::NMRR => Context::Nmrr,
            reg::CONTEXTIDR => Context::Contextidr,
            _ => return Written::Done,
        };
        // What governs translation.
        if old == value {
            Written::Done
        } else {
            Written::Effect(Effect::Context { register: context, old })
        }
    }

    /// c7.
    fn operate(&mut self, register: u32, value: u32) -> Written {
        const NOP_WAIT: u32 = key(7, 0, 0, 4);
        const ICIALLUIS: u32 = key(7, 0, 1, 0);
        const BPIALLIS: u32 = key(7, 0, 1, 6);
        const ICIALLU: u32 = key(7, 0, 5, 0);
        const ICIMVAU: u32 = key(7, 0, 5, 1);
        const ISB: u32 = key(7, 0, 5, 4);
        const BPIALL: u32 = key(7, 0, 5, 6);
        const BPIMVA: u32 = key(7, 0, 5, 7);
        const DCIMVAC: u32 = key(7, 0, 6, 1);
        const DCISW: u32 = key(7, 0, 6, 2);
        const ATS1CPR: u32 = key(7, 0, 8, 0);
        const ATS1CPW: u32 = key(7, 0, 8, 1);
        const ATS1CUR: u32 = key(7, 0, 8, 2);
        const ATS1CUW: u32 = key(7, 0, 8, 3);
        const ATS12NSOPR: u32 = key(7, 0, 8, 4);
        const ATS12NSOUW: u32 = key(7, 0, 8, 7);
        const DCCMVAC: u32 = key(7, 0, 10, 1);
        const DCCSW: u32 = key(7, 0, 10, 2);
        const DSB: u32 = key(7, 0, 10, 4);
        const DMB: u32 = key(7, 0, 10, 5);
        const DCCMVAU: u32 = key(7, 0, 11, 1);
        const NOP_PREFETCH: u32 = key(7, 0, 13, 1);
        const DCCIMVAC: u32 = key(7, 0, 14, 1);
        const DCCISW: u32 = key(7, 0, 14, 2);

        let translate = |write, privileged| {
            Written::Effect(Effect::Translate(Translate { va: value, write, privileged }))
        };
        let cache = match register {
            DCCMVAC => CacheOp::CleanAddress(value),
            DCCIMVAC => CacheOp::CleanInvalidateAddress(value),
            DCCMVAU => CacheOp::CleanAddressUnification(value),
            ICIMVAU => CacheOp::InstructionAddress(value),
            DCIMVAC => CacheOp::InvalidateAddress(value),
            ICIALLU | ICIALLUIS => CacheOp::InstructionAll,
            BPIALL | BPIALLIS | BPIMVA => CacheOp::Branch,
            DCISW | DCCSW | DCCISW => CacheOp::SetWay(value),
            // The return from the trap is the barrier.
            ISB | NOP_WAIT | NOP_PREFETCH => return Written::Done,
            DSB | DMB => return Written::Effect(Effect::Barrier),
            ATS1CPR => return translate(false, true),
            ATS1CPW => return translate(true, true),
            ATS1CUR => return translate(false, false),
            ATS1CUW => return translate(true, false),
            ATS12NSOPR..=ATS12NSOUW => return Written::Undefined,
            reg::PAR => {
                self.cp15.par = value;
                return Written::Done;
            }
            _ => return Written::Unknown,
        };
        Written::Effect(Effect::Cache(cache))
    }
}

/// c8.
fn forget(register: u32, value: u32) -> Written {
    let opc2 = register & 0xf;
    let known = register >> 8 & 0xf == 0
        && match register >> 4 & 0xf {
            // Inner Shareable, and unified; with operations on all address spaces.
            3 | 7 => opc2 <= 3,
            // Instruction, data.
            5 | 6 => opc2 <= 2,
            _ => false,
        };
    if !known {
        return Written::Unknown;
    }
    let [asid, ..] = value.to_le_bytes();
    Written::Effect(Effect::Tlb(match opc2 {
        0 => TlbOp::All,
        1 => TlbOp::Address { va: value & !0xfff, asid },
        2 => TlbOp::Asid(asid),
        _ => TlbOp::AddressAllAsids(value & !0xfff),
    }))
}
