//! Hypercalls: what `hv` decoded is performed here, which cannot fail.

use crate::hypervisor::Hypervisor;
use entresol_abi::hypercall::psci;
use entresol_hv::health::{End, Fault, Notice};
use entresol_hv::hypercall::{self, Request};

impl Hypervisor {
    /// Performs the call in the loaded guest's registers.
    #[inline(never)]
    pub(crate) fn hypercall(&mut self) {
        self.counters().hypercalls += 1;
        let index = self.loaded;
        let [number, a, b, c, ..] = self.guest_called().vcpu.regs;
        let result = match hypercall::decode([number, a, b, c]) {
            Err(refusal) => {
                if let hypercall::Refusal::NoSuchFunction(number) = refusal {
                    let pc = self.guest_called().vcpu.pc.wrapping_sub(4);
                    self.notice(Notice::UndefinedCall { number, pc });
                }
                refusal.result()
            }
            Ok(request) => match request {
                Request::Answer(value) => value,
                Request::Wait => {
                    let vcpu = &mut self.guest_called().vcpu;
                    vcpu.pc = vcpu.pc.wrapping_sub(4);
                    if !self.wait(4) {
                        return;
                    }
                    0
                }
                Request::CpuOff if self.guest().siblings.is_some() => return self.cpu_off(),
                Request::CpuOff | Request::SystemOff => return self.quit(End::Off),
                Request::CpuOn { cpu, entry, context } => self.cpu_on(cpu, entry, context),
                Request::AffinityInfo(cpu) => self.affinity_info(cpu),
                Request::SystemReset => return self.quit(End::Reset),
                Request::Exit(status) => return self.quit(End::Exit(status)),
                Request::VmIndex => index as u32,
                Request::ConsolePut(byte) => {
                    let channel = entresol_hv::console::channel(index);
                    let mut byte = Some(byte);
                    let taken = self.console.take_from(channel, || byte.take());
                    self.pump();
                    if taken { 0 } else { entresol_abi::hypercall::NONE }
                }
                Request::ConsoleGet => self
                    .console
                    .get(entresol_hv::console::channel(index))
                    .map_or(entresol_abi::hypercall::NONE, u32::from),
                Request::Yield => {
                    self.guest_called().vcpu.regs[0] = 0;
                    self.scheduler();
                    // Who gives way has passed its turn.
                    self.give_way_called();
                    self.turns.expire();
                    self.reschedule = true;
                    return;
                }
                Request::Starts => self.counters().starts,
                Request::LockWait { at, microseconds } => {
                    return self.wait_for_lock(at, microseconds);
                }
                Request::LockWake => {
                    self.settle_locks();
                    0
                }
                Request::Control { vm, order } => self.control(vm, order),
                Request::Heartbeat => self.promise(None),
                Request::Deadline(microseconds) => self.promise(Some(microseconds)),
                Request::Panic(code) => {
                    let pc = self.guest_called().vcpu.pc.wrapping_sub(4);
                    return self.quit(End::Fault(Fault::Panic { code, pc }));
                }
                Request::Role => u32::from(!self.guest_called().shadow.passthrough.passive),
            },
        };
        self.guest_called().vcpu.regs[0] = result;
    }

    /// The loaded guest ends its run.
    fn quit(&mut self, end: End) {
        let pc = self.guest_called().vcpu.pc.wrapping_sub(4);
        self.give_way_at(pc);
        // If it goes on.
        self.guest_called().vcpu.regs[0] = 0;
        self.end(end);
    }

    /// The loaded guest is alive, or promises to have done something in so many microseconds.
    /// Returns the call's result.
    #[inline(never)]
    fn promise(&mut self, microseconds: Option<u32>) -> u32 {
        let now = self.now();
        let ticks = microseconds.map(|microseconds| self.ticks_of(microseconds));
        self.guest_called().board.promise(ticks, now);
        self.rearm = true;
        psci::SUCCESS
    }
}
