//! What a system instruction leads to outside of the processor it belongs to.
//!
//! `vcpu` has changed the guest's registers already. Here the shadow, the caches and the
//! floating-point unit follow.

use crate::cp15;
use crate::guarded;
use crate::hypervisor::Hypervisor;
use crate::maintenance;
use crate::shadow::{Attempt, Shadow};
use crate::work::Work;
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
                guest.dacr = Shadow::domains(&guest.vcpu.cp15);
                if guest.shadow.domains_matter(old, new) {
                    self.activate(true);
                }
            }
            Effect::Context { register, old } => {
                guest.shadow.check_hole(&mut Self::linear(&mut self.view), &guest.vcpu.cp15);
                let cp15 = &guest.vcpu.cp15;
                match register {
                    Context::Sctlr => {
                        guest.dacr = Shadow::domains(cp15);
                        cp15::set_alignment_check(cp15.sctlr & cp15::SCTLR_A != 0);
                        let drop = (old ^ cp15.sctlr) & !1 & SCTLR_TRANSLATION != 0;
                        self.activate(drop);
                    }
                    Context::Contextidr if cp15.sctlr & 1 != 0 => self.activate(false),
                    // The TLB, so the shadow too, is tagged by ASID; a guest that changes tables
                    // under one invalidates.
                    Context::Contextidr | Context::Ttbr0 | Context::Prrr | Context::Nmrr => {}
                    Context::Ttbr1 | Context::Ttbcr | Context::Dacr => self.activate(true),
                }
            }
            Effect::Tlb(op) => {
                let mut linear = Self::linear(&mut self.view);
                guest.shadow.check_hole(&mut linear, &guest.vcpu.cp15);
                if let TlbOp::Address { va, .. } | TlbOp::AddressAllAsids(va) = op {
                    return guest.shadow.drop_address(&mut linear, va);
                }
                drop(linear);
                match op {
                    TlbOp::Asid(asid) => {
                        self.work(Work::DropAsid(asid));
                    }
                    _ => self.activate(true),
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

    /// Drops all translations of the guest if `drop`, then makes those of its ASID current.
    fn activate(&mut self, drop: bool) {
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let cp15 = &guest.vcpu.cp15;
        let asid = (cp15.sctlr & 1 != 0).then_some(cp15.contextidr as u8);
        // Nothing to clear: the commonest case is no work.
        if !drop && guest.shadow.holds(asid) {
            let linear = &mut Self::linear(&mut self.view);
            match asid {
                Some(asid) => guest.shadow.activate_asid(linear, asid),
                None => guest.shadow.activate_off(linear),
            }
            return;
        }
        self.work(Work::Activate { drop, asid });
    }

    /// Maintains caches for the guest.
    fn cache(&mut self, op: CacheOp) {
        match op {
            CacheOp::InstructionAll | CacheOp::InstructionAddress(_) => {
                let guest = &mut self.guests[self.loaded % MAX_VMS];
                if guest.shadow.open != [None; 4] {
                    let linear = Self::linear(&mut self.view);
                    let page = match op {
                        CacheOp::InstructionAddress(va) => {
                            let memory = guest.shadow.memory;
                            let cp15 = &guest.vcpu.cp15;
                            let mapping = memory.walk(&linear, cp15, va);
                            mapping.ok().map(|mapping| mapping.gpa)
                        }
                        _ => None,
                    };
                    drop(linear);
                    self.work(Work::Close(page));
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
