//! What a system instruction leads to outside of the processor it belongs to.
//!
//! `vcpu` has changed the guest's registers already. Here the shadow, the caches and the
//! floating-point unit follow.

use crate::cp15;
use crate::entry;
use crate::guarded;
use crate::hypervisor::Hypervisor;
use crate::maintenance;
use crate::work::Work;
use entresol_abi::image::MAX_VMS;
use entresol_vcpu::walk;
use entresol_vcpu::{CacheOp, Context, Effect, Exception, Purpose, TlbOp, check};

/// SCTLR bits that change what the guest's tables mean: EE, TRE, AFE.
const SCTLR_TRANSLATION: u32 = 1 << 25 | 1 << 28 | 1 << 29;

impl Hypervisor {
    pub(crate) fn effect(&mut self, effect: Effect) {
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        if let Effect::Context { .. } | Effect::Tlb(_) = effect {
            guest.devices.forget();
        }
        match effect {
            Effect::Context { register, old } => {
                let cp15 = &guest.vcpu.cp15;
                if register == Context::Dacr {
                    guest.shadow.joint.wrote(old, cp15.dacr);
                    guest.promotion.due = None;
                    guest.shadow.stubs.lazy |= cp15.sctlr & 1 != 0 && old != cp15.dacr;
                    if old & !cp15.dacr != 0 && cp15.dacr & !old == 0 {
                        guest.fast.closes = cp15.dacr;
                    }
                }
                let all = match register {
                    Context::Dacr if !guest.shadow.domains_matter(old, cp15.dacr) => return,
                    Context::Sctlr => {
                        cp15::set_alignment_check(cp15.sctlr & cp15::SCTLR_A != 0);
                        // With the MMU on, what was mapped without it is not used any more: a
                        // page of code that is known at one address can be promoted.
                        let turned_on = cp15.sctlr & !old & 1 != 0;
                        turned_on || (old ^ cp15.sctlr) & SCTLR_TRANSLATION != 0
                    }
                    // The TLB, so the shadow too, is tagged by ASID; a guest that changes tables
                    // under one invalidates.
                    Context::Contextidr | Context::Ttbr0 | Context::Prrr | Context::Nmrr => false,
                    Context::Dacr | Context::Ttbr1 | Context::Ttbcr => true,
                };
                self.work(Work::Drop(all.then_some(TlbOp::All)));
            }
            Effect::Tlb(op) => {
                self.work(Work::Drop(Some(op)));
            }
            Effect::Cache(op) => self.cache(op),
            Effect::Translate(request) => {
                let linear = Self::linear(&mut self.view);
                let memory = guest.shadow.memory;
                let walked = memory.walk(&linear, &guest.vcpu.cp15, request.va);
                walk::translate(&mut guest.vcpu, request, walked);
            }
            Effect::Barrier => cp15::dsb(),
            Effect::FloatAccess | Effect::FloatUnit => self.update_float(),
            // SAFETY: Supervisor mode; guests are static.
            Effect::CounterAccess => unsafe { entry::set_guest(self.guest()) },
        }
    }

    /// Maintains caches for the guest.
    fn cache(&mut self, op: CacheOp) {
        match op {
            CacheOp::InstructionAll | CacheOp::InstructionAddress(_) => {
                maintenance::forget_instructions();
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
            }
            CacheOp::Branch => maintenance::forget_branches(),
            CacheOp::SetWay(way) => maintenance::flush_set_way(way),
            CacheOp::CleanAddress(address)
            | CacheOp::CleanAddressUnification(address)
            | CacheOp::InvalidateAddress(address)
            | CacheOp::CleanInvalidateAddress(address) => {
                // An invalidation cleans first: the line may hold what is not the guest's.
                if !guarded::flush_line(address) {
                    self.flush_unmapped(address);
                }
            }
        }
    }

    /// Cleans a line that the guest's view does not show, if its tables do.
    #[cold]
    fn flush_unmapped(&mut self, address: u32) {
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let linear = Self::linear(&mut self.view);
        let memory = guest.shadow.memory;
        let cp15 = &guest.vcpu.cp15;
        let mapping = memory.walk(&linear, cp15, address);
        match mapping.and_then(|mapping| {
            check(&mapping, cp15, guest.vcpu.privileged(), Purpose::Read).map(|()| mapping.gpa)
        }) {
            Ok(at) => {
                if let Some(host) = memory.host(at) {
                    maintenance::flush_line(&linear, host);
                }
            }
            Err(fault) => {
                drop(linear);
                self.inject(Exception::DataAbort { dfsr: fault.dfsr(false), dfar: address });
            }
        }
    }
}
