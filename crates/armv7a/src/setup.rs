//! Takes the machine over: everything from the image, before the first guest runs.

use crate::express::Wires;
use crate::guest::Interrupt as Line;
use crate::hypervisor::{Hypervisor, core, halt, name};
use crate::linear::PoolArray;
use crate::timer;
use entresol_abi::HostPhys;
use entresol_abi::image::{self, MAX_SLOTS, MAX_VMS};
use entresol_hv::platform::Platform;
use entresol_hv::quotient::quotient;
use entresol_hv::scheduler::{Id, Slot};
use entresol_hv::sentence::Value::{Count, Hex, Text};

/// What the hypervisor starts from.
pub struct Setup<'a> {
    /// Header, tables and payloads.
    pub image: &'a [u8],
    /// Where the hypervisor's binary lies.
    pub load: HostPhys,
    /// Where the image lies.
    pub image_at: HostPhys,
    /// The machine.
    pub platform: &'static mut dyn Platform,
    /// Its timer and its interrupt controller, for the entry code.
    pub wires: Wires,
    /// The window's first-level entry.
    pub window: u32,
    /// The core's number.
    pub core: u32,
    /// How many cores run VMs.
    pub cores: u32,
    /// Top of the core's stack.
    pub stack: u32,
}

/// Sets up the core and runs its VMs.
pub fn start(setup: Setup<'_>) -> ! {
    // SAFETY: nothing else runs yet.
    let hypervisor = unsafe { core() };
    hypervisor.set_up(setup);
    hypervisor.run()
}

impl Hypervisor {
    /// Sets up everything from the image.
    fn set_up(&mut self, setup: Setup<'_>) {
        let Setup { image, load, image_at, platform, wires, window, core, cores, stack } = setup;
        let Ok(header) = image::Header::check(image) else { halt() };
        let hz = platform.hz();
        self.platform = Some(platform);
        self.image = image_at;
        self.express.wires = wires;
        self.core = core;
        self.cores = cores;
        self.microsecond = ticks(65_536_000, hz) as u32;
        // About 8 ms.
        self.turns.set_slice(u64::from(hz >> 7));
        let identity = entresol_vcpu::Identity::from_machine(crate::identity::read());
        let mut pool = header.pools.base.0;
        let mut asid = crate::boot::FIRST_GUEST_ASID;
        let vms = image::table::<image::Vm>(image, header.vms).unwrap_or(&[]);
        for (index, vm) in vms.iter().copied().enumerate().take(MAX_VMS) {
            let guest = &mut self.guests[index];
            let mut linear = Self::linear(&mut self.view);
            let cpu = vm.vcpu_on(core);
            let pools =
                crate::pools::Pools::carve(&mut pool, &mut asid, &vm, cpu.unwrap_or_default());
            guest.vm = vm;
            // What is loaded before the first VM runs has one, too.
            let shared = crate::guest::shared_page(index);
            guest.promotion.page = shared;
            self.count = index + 1;
            self.locks.set(index, vm.priority as u8, vm.core == core);
            let Some(cpu) = cpu else {
                // Another core's: here it is off, and only its console passes.
                continue;
            };
            guest.stack = stack;
            guest.vcpu.cp15.identity = identity;
            guest.health = entresol_hv::health::Health::from_image(&vm);
            let memory = crate::memory::GuestMemory::new(vm.memory, vm.host, vm.memory_len);
            guest.shadow.set_up(&mut linear, pools, memory, window);
            let rewritten = HostPhys(image_at.0 + vm.rewritten.offset);
            guest.shadow.rewritten = PoolArray::new(rewritten, vm.rewritten.count);
            guest.shadow.joint.wanted = vm.flags & image::flags::DOMAINS != 0;
            if vm.flags & image::flags::PROMOTE != 0 {
                guest.promotion.begin(vm.flags & image::flags::EAGER != 0);
                let at = crate::cores::host(load, core, shared as u32);
                guest.shadow.stubs.set_up(&mut linear, pools.stubs_at, memory.pages(), at);
            }
            guest.shadow.passthrough.add(&image::Passthrough {
                guest_irq: vm.control_irq,
                flags: image::given::HOLDERS,
                ..image::Passthrough::default()
            });
            let given = image::table::<image::Passthrough>(image, vm.passthrough).unwrap_or(&[]);
            let mut lines = guest.interrupts.iter_mut();
            for device in given {
                guest.shadow.passthrough.add(device);
                if device.host_irq != 0
                    && cpu == 0
                    && let Some(line) = lines.next()
                {
                    *line = Some(Line {
                        machine: device.host_irq,
                        guest: device.guest_irq,
                        paired: device.flags & image::given::PAIRED != 0,
                        delivered: false,
                    });
                }
            }
            if self.express.wires.timer.is_null() {
                let real_time = vm.flags & image::flags::VIRTUAL_TIME == 0;
                guest.counter = timer::may_open(hz, real_time);
            }
            guest.shadow.passthrough.passive = vm.flags & image::flags::BACKUP != 0;
            guest.board.expect_heartbeats(if cpu == 0 { vm.heartbeat } else { 0 });
            guest.join(index, cpu, core, load);
            drop(linear);
            if let Some(id) = Id::new(index) {
                self.turns.set_priority(id, vm.priority as u8);
                if vm.budget != 0 {
                    let (budget, period) = (ticks(vm.budget, hz), ticks(vm.period, hz));
                    self.turns.set_budget(id, budget, period);
                }
                if vm.flags & image::flags::AUTOSTART != 0 && cpu == 0 {
                    guest.restore(image_at, hz, false);
                    self.turns.ready(id);
                }
            }
        }
        let slots = image::table::<image::Slot>(image, header.slots).unwrap_or(&[]);
        let runs = |n: usize| self.guests[n % MAX_VMS].vm.vcpu_on(core).is_some();
        let own = |vms: u32| (0..self.count).any(|n| vms >> n & 1 == 1 && runs(n));
        if slots.iter().any(|slot| own(slot.vms)) {
            self.set_slots(slots, hz);
        }
        if core == 0 {
            self.lead(image, header, vms);
        }
    }

    /// What the boot core does for all.
    #[inline(never)]
    fn lead(&mut self, image: &[u8], header: &image::Header, vms: &[image::Vm]) {
        for vm in vms {
            let given = image::table::<image::Passthrough>(image, vm.passthrough).unwrap_or(&[]);
            for device in given.iter().filter(|device| device.host_irq != 0) {
                self.platform().route(device.host_irq, vm.core);
            }
        }
        let shared = header.shared;
        Self::linear(&mut self.view).zero(shared.base, shared.len);
        let machine = header.machine.name;
        let (count, cores) = (self.count, self.cores);
        self.say(
            "entresol % on %: % vm% on % core%, image %",
            &[
                Text(env!("CARGO_PKG_VERSION")),
                Text(name(&machine)),
                Count(count as u32),
                Text(if count == 1 { "" } else { "s" }),
                Count(cores),
                Text(if cores == 1 { "" } else { "s" }),
                Hex(header.build),
            ],
        );
        if cores > 1 {
            self.platform().start_cores(cores);
        }
    }

    /// Starts the major frame.
    #[inline(never)]
    fn set_slots(&mut self, given: &[image::Slot], hz: u32) {
        let mut slots = [Slot { length: 0, open: 0 }; MAX_SLOTS];
        // Differences of rounded sums: the frame is as long as its slots together.
        let (mut end, mut start_tick) = (0, 0);
        for (slot, given) in slots.iter_mut().zip(given) {
            end += u64::from(given.length);
            let end_tick = ticks_of(end, hz);
            *slot = Slot { length: end_tick - start_tick, open: given.vms };
            start_tick = end_tick;
        }
        let now = self.now();
        self.turns.set_slots(&slots, now);
    }
}

/// Nanoseconds as ticks, rounded down.
fn ticks(ns: u32, hz: u32) -> u64 {
    ticks_of(u64::from(ns), hz)
}

/// Nanoseconds, no more than a major frame has, as ticks, rounded down.
#[inline(never)]
fn ticks_of(ns: u64, hz: u32) -> u64 {
    const SECOND: u64 = 1_000_000_000;
    // Not in one product, which need not fit.
    let seconds = quotient(ns, SECOND);
    seconds * u64::from(hz) + quotient((ns - seconds * SECOND) * u64::from(hz), SECOND)
}
