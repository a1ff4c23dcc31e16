//! What a system instruction leads to outside of the processor it belongs to.
//!
//! `vcpu` has changed the guest's registers already. Here the shadow, the caches and the
//! floating-point unit follow.

use crate::code;
use crate::cp15;
use crate::guarded;
use crate::hypervisor::Hypervisor;
use crate::maintenance;
use crate::shadow::Attempt;
use entresol_abi::image::MAX_VMS;
use entresol_vcpu::walk;
use entresol_vcpu::{CacheOp, Context, Effect, TlbOp};

/// SCTLR bits that change what the guest's tables mean: EE, TRE, AFE.
const SCTLR_TRANSLATION: u32 = 1 << 25 | 1 << 28 | 1 << 29;

impl Hypervisor {
    pub(crate) fn effect(&mut self, effect: Effect) {
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        if let Effect::Context { .. } | Effect::Tlb(_) = effect {
            guest.devices.forget();
        }
        match effect {
            Effect::Context { register: Context::Dacr, old } => {
                let new = guest.vcpu.cp15.dacr;
                guest.shadow.joint.wrote(old, new);
                if guest.shadow.domains_matter(old, new) {
                    guest.shadow.drop_all(&mut Self::linear(&mut self.view));
                }
            }
            Effect::Context { register, old } => {
                guest.shadow.check_hole(&mut Self::linear(&mut self.view), &guest.vcpu.cp15);
                let cp15 = &guest.vcpu.cp15;
                let on = cp15.sctlr & 1 != 0;
                let asid = cp15.contextidr as u8;
                let linear = &mut Self::linear(&mut self.view);
                match register {
                    Context::Sctlr => {
                        cp15::set_alignment_check(cp15.sctlr & cp15::SCTLR_A != 0);
                        // With the MMU on, what was mapped without it is not used any more: a
                        // page of code that is known at one address can be promoted.
                        let turned_on = on && old & 1 == 0;
                        if (old ^ cp15.sctlr) & !1 & SCTLR_TRANSLATION != 0 || turned_on {
                            guest.shadow.drop_all(linear);
                        }
                        if on {
                            guest.shadow.activate_asid(linear, asid);
                        } else {
                            guest.shadow.activate_off(linear);
                        }
                    }
                    Context::Contextidr if on => guest.shadow.activate_asid(linear, asid),
                    // The TLB, so the shadow too, is tagged by ASID; a guest that changes tables
                    // under one invalidates.
                    Context::Contextidr | Context::Ttbr0 | Context::Prrr | Context::Nmrr => {}
                    Context::Ttbr1 | Context::Ttbcr | Context::Dacr => {
                        guest.shadow.drop_all(linear)
                    }
                }
            }
            Effect::Tlb(op) => {
                let linear = &mut Self::linear(&mut self.view);
                guest.shadow.check_hole(linear, &guest.vcpu.cp15);
                match op {
                    TlbOp::All => guest.shadow.drop_all(linear),
                    TlbOp::Asid(asid) => guest.shadow.drop_asid(linear, asid),
                    TlbOp::Address { va, asid } => {
                        guest.shadow.drop_address(linear, va, Some(asid));
                    }
                    TlbOp::AddressAllAsids(va) => guest.shadow.drop_address(linear, va, None),
                }
            }
            Effect::Cache(op) => self.cache(op),
            Effect::Translate(request) => {
                let linear = Self::linear(&mut self.view);
                let memory = guest.shadow.memory;
                walk::translate(&mut guest.vcpu, request, |at| memory.load(&linear, at));
            }
            Effect::Barrier => cp15::dsb(),
            Effect::FloatAccess | Effect::FloatUnit => self.update_float(),
        }
    }

    /// Maintains caches for the guest.
    fn cache(&mut self, op: CacheOp) {
        match op {
            CacheOp::InstructionAll | CacheOp::InstructionAddress(_) => {
                let guest = &mut self.guests[self.loaded % MAX_VMS];
                if guest.shadow.open != [None; 4] {
                    let linear = &mut Self::linear(&mut self.view);
                    let shadow = &mut guest.shadow;
                    let page = match op {
                        CacheOp::InstructionAddress(va) => {
                            let memory = shadow.memory;
                            let cp15 = &guest.vcpu.cp15;
                            let mapping = memory.walk(linear, cp15, va);
                            mapping.ok().map(|mapping| mapping.gpa)
                        }
                        _ => None,
                    };
                    code::close(shadow, linear, page);
                }
                maintenance::forget_instructions();
            }
            CacheOp::Branch => maintenance::forget_branches(),
            CacheOp::SetWay(way) => maintenance::flush_set_way(way),
            CacheOp::CleanAddress(address)
            | CacheOp::CleanAddressUnification(address)
            | CacheOp::InvalidateAddress(address)
            | CacheOp::CleanInvalidateAddress(address) => {
                // An invalidation cleans first: the line may hold what is not the guest's.
                if !guarded::flush_line(address) && self.data_for_hypervisor(address, Attempt::Read)
                {
                    let _ = guarded::flush_line(address);
                }
            }
        }
    }
}
