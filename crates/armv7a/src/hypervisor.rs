//! One core's hypervisor: its VMs, who runs, and what interrupts do.
//!
//! Joins the policy of `hv` to the guests of this architecture. What a guest's traps
//! ask for is in [`trap`](crate::trap); how the processor changes guests is in
//! [`switch_to`](Hypervisor::switch_to).
//!
//! # Invariants
//!
//! - Interrupts are masked whenever this code runs: every method runs to its end, and
//!   each is bounded by the number of VMs, the consoles' burst, or one step of a restore.
//! - `loaded` is the guest the entry code saves; `view` is the view that is current.
//! - A guest is ready in the scheduler exactly if it is running or being restored.

use crate::exclusive::Exclusive;
use crate::float;
use crate::guest::{Guest, Interrupt as Line, Run};
use crate::linear::Linear;
use crate::maintenance::{self, View};
use crate::shadow::Shadow;
use crate::{cp15, entry};
use core::fmt;
use core::fmt::Write;
use entresol_abi::console::Channel;
use entresol_abi::image::{self, Load, MAX_VMS};
use entresol_abi::observe::{Observed, VmCounters};
use entresol_abi::{GuestPhys, HostPhys};
use entresol_hv::console::{Console, Serial, channel};
use entresol_hv::health::{Action, End, Fault, Notice, Report};
use entresol_hv::platform::{Interrupt, Platform};
use entresol_hv::scheduler::{Id, Scheduler};
use entresol_vcpu::psr;

/// Bytes restored in one step.
const STEP: u32 = 0x1000;

/// Notices given per start of a VM.
const NOTICES: u32 = 16;

/// Counters for the host; see `abi::observe`.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.observed")]
static ENTRESOL_OBSERVED: Exclusive<Observed> = Exclusive::new(Observed::ZERO);

/// The one core's state.
static CORE: Exclusive<Hypervisor> = Exclusive::new(Hypervisor::EMPTY);

/// Everything that runs on a core.
pub(crate) struct Hypervisor {
    pub(crate) guests: [Guest; MAX_VMS],
    count: usize,
    pub(crate) scheduler: Scheduler,
    pub(crate) console: Console,
    pub(crate) platform: Option<&'static mut dyn Platform>,
    image: HostPhys,
    /// The guest that the entry code saves.
    pub(crate) loaded: usize,
    /// The view that is current.
    pub(crate) view: View,
    /// DACR that is current.
    dacr: u32,
    /// Whose registers the floating-point unit holds.
    float_owner: Option<usize>,
    /// Whether the scheduler must be asked before a guest runs again.
    pub(crate) reschedule: bool,
    /// Deadline the timer is armed for.
    armed: Option<u64>,
}

/// The core's hypervisor.
///
/// # Safety
///
/// The caller is the one handler that runs, and keeps no other reference.
#[inline]
pub(crate) unsafe fn core() -> &'static mut Hypervisor {
    // SAFETY: handlers do not nest, because interrupts stay masked; by the caller's
    // promise this is the only reference.
    unsafe { CORE.get() }
}

/// A serial line that is part of a platform.
struct SerialOf<'a>(&'a mut dyn Platform);

impl Serial for SerialOf<'_> {
    fn put(&mut self, byte: u8) -> bool {
        self.0.put(byte)
    }

    fn get(&mut self) -> Option<u8> {
        self.0.get()
    }
}

impl Hypervisor {
    const EMPTY: Self = Self {
        guests: [const { Guest::EMPTY }; MAX_VMS],
        count: 0,
        scheduler: Scheduler::new(1_000_000),
        console: Console::new(),
        platform: None,
        image: HostPhys(0),
        loaded: 0,
        view: View { base: 0, asid: 0 },
        dacr: 0,
        float_owner: None,
        reschedule: true,
        armed: None,
    };

    /// The machine.
    ///
    /// # Panics
    ///
    /// Never: [`Hypervisor::set_up`] put one there before the first guest ran.
    #[inline]
    pub(crate) fn platform(&mut self) -> &mut dyn Platform {
        match &mut self.platform {
            Some(platform) => *platform,
            None => halt(),
        }
    }

    /// The guest that runs, or ran last.
    #[inline]
    pub(crate) fn guest(&mut self) -> &mut Guest {
        // `loaded` is below MAX_VMS always; the remainder costs an AND.
        &mut self.guests[self.loaded % MAX_VMS]
    }

    /// Its counters.
    #[inline]
    pub(crate) fn counters(&mut self) -> &'static mut VmCounters {
        // SAFETY: handlers do not nest; the host only reads.
        let observed = unsafe { ENTRESOL_OBSERVED.get() };
        &mut observed.vms[self.loaded % MAX_VMS]
    }

    /// Enters the linear view.
    #[inline]
    pub(crate) fn linear(view: &mut View) -> Linear<'_> {
        Linear::enter(view)
    }

    /// Says something on the hypervisor's console.
    pub(crate) fn say(&mut self, text: fmt::Arguments<'_>) {
        let mut writer = self.console.writer(Channel(0));
        // A console never fails; it drops.
        let _ = writer.write_fmt(text);
        let _ = writer.write_str("\r\n");
        for _ in 0..8 {
            self.pump();
        }
    }

    /// Sends what consoles have, as far as the line takes it.
    pub(crate) fn pump(&mut self) {
        let Some(platform) = &mut self.platform else { return };
        self.console.pump(&mut SerialOf(*platform));
        if self.console.pending() {
            platform.notify_sent(true);
        }
    }

    /// Tells of something that the guest was told by its processor.
    pub(crate) fn notice(&mut self, notice: Notice) {
        let index = self.loaded;
        let guest = self.guest();
        guest.notices = guest.notices.saturating_add(1);
        let vm = guest.vm;
        match guest.notices {
            ..NOTICES => self.say(format_args!("vm \"{}\": {notice}", name(&vm.name))),
            NOTICES => self.say(format_args!(
                "vm \"{}\" gave {NOTICES} such sentences and gives no more until it starts again",
                name(&vm.name)
            )),
            _ => {}
        }
        let _ = index;
    }

    /// Ends the run of the loaded guest.
    pub(crate) fn end(&mut self, end: End) {
        if let End::Fault(_) = end {
            self.counters().faults += 1;
        }
        let index = self.loaded;
        let guest = self.guest();
        let action = guest.health.decide(end);
        let vm = guest.vm;
        guest.run = match action {
            Action::Restart => Run::Restoring { cleared: 0, load: 0, copied: 0 },
            Action::Stop { well } => Run::Off { well },
            Action::ResetMachine => Run::Off { well: false },
        };
        guest.board.reset(0, 1, 0);
        self.say(format_args!("{}", Report { vm: name(&vm.name), end, action }));
        if let (Action::Stop { .. }, Some(id)) = (action, Id::new(index)) {
            self.scheduler.block(id);
        }
        if action == Action::ResetMachine {
            self.platform().reset();
        }
        self.reschedule = true;
    }

    /// Ends it by a fault.
    pub(crate) fn fault(&mut self, fault: Fault) {
        self.end(End::Fault(fault));
    }

    /// The loaded guest waits for an interrupt, unless one is pending.
    pub(crate) fn wait(&mut self) {
        let index = self.loaded;
        let guest = self.guest();
        if guest.board.irq() || guest.board.fiq() {
            return;
        }
        guest.run = Run::Waiting;
        if let Some(id) = Id::new(index) {
            self.scheduler.block(id);
        }
        self.reschedule = true;
    }

    /// Lets a waiting guest run if its board interrupts it.
    fn wake(&mut self, index: usize) {
        let Some(guest) = self.guests.get_mut(index) else { return };
        if guest.run == Run::Waiting && (guest.board.irq() || guest.board.fiq()) {
            guest.run = Run::Running;
            if let Some(id) = Id::new(index) {
                self.scheduler.ready(id);
                self.reschedule = true;
            }
        }
    }

    /// Settles one interrupt of the machine.
    pub(crate) fn interrupted(&mut self) {
        // SAFETY: as in `counters`.
        let observed = unsafe { ENTRESOL_OBSERVED.get() };
        observed.interrupts = observed.interrupts.wrapping_add(1);
        match self.platform().acknowledge() {
            Interrupt::Timer => self.timer_fired(),
            Interrupt::Serial => self.serial_fired(),
            Interrupt::Device(irq) => self.device_fired(irq),
            Interrupt::Spurious => {}
        }
    }

    fn timer_fired(&mut self) {
        self.armed = None;
        let now = self.platform().now();
        for index in 0..self.count {
            let Some(guest) = self.guests.get_mut(index) else { continue };
            if guest.board.deadline().is_some_and(|deadline| deadline <= now) {
                guest.board.update(now);
                self.wake(index);
            }
        }
        if self.scheduler.slice_deadline().is_some_and(|deadline| deadline <= now) {
            self.reschedule = true;
        }
        self.arm();
    }

    fn serial_fired(&mut self) {
        if let Some(platform) = &mut self.platform {
            platform.notify_sent(false);
            self.console.receive(&mut SerialOf(*platform));
        }
        for index in 0..self.count {
            self.deliver(index);
        }
        self.pump();
    }

    /// Gives a guest what was typed for it, as far as its board takes it.
    pub(crate) fn deliver(&mut self, index: usize) {
        let Some(guest) = self.guests.get_mut(index) else { return };
        self.console.deliver(channel(index), |byte| guest.board.push_rx(byte));
        self.wake(index);
    }

    fn device_fired(&mut self, irq: u32) {
        for index in 0..self.count {
            let Some(guest) = self.guests.get_mut(index) else { continue };
            for line in guest.interrupts.iter_mut().flatten() {
                if line.machine == irq {
                    line.delivered = true;
                    guest.board.gic.set_line(line.guest, true);
                }
            }
            self.wake(index);
        }
    }

    /// The loaded guest ended an interrupt: passed-through devices may interrupt again.
    pub(crate) fn rearm_devices(&mut self) {
        let index = self.loaded % MAX_VMS;
        let Some(platform) = &mut self.platform else { return };
        let guest = &mut self.guests[index];
        for line in guest.interrupts.iter_mut().flatten() {
            if core::mem::replace(&mut line.delivered, false) {
                guest.board.gic.set_line(line.guest, false);
                platform.unmask(line.machine);
            }
        }
    }

    /// Arms the timer for what comes first: a board's deadline or the end of a slice.
    pub(crate) fn arm(&mut self) {
        let mut first = self.scheduler.slice_deadline();
        for guest in self.guests.iter().take(self.count) {
            first = match (first, guest.board.deadline()) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        if first != self.armed {
            self.armed = first;
            self.platform().arm(first);
        }
    }

    /// What runs next. Returns with that guest loaded.
    fn choose(&mut self) {
        loop {
            let now = self.platform().now();
            self.reschedule = false;
            let Some(id) = self.scheduler.pick(now) else {
                self.idle();
                continue;
            };
            self.arm();
            let index = id.index();
            match self.guests.get(index).map(|guest| guest.run) {
                Some(Run::Restoring { cleared, load, copied }) => {
                    self.load(index);
                    self.restore(cleared, load, copied);
                    // What came meanwhile is settled between two steps.
                    self.interrupted();
                }
                _ => return self.load(index),
            }
        }
    }

    /// Nothing can run: waits for an interrupt, or ends the machine if all is off.
    fn idle(&mut self) {
        let all_off = |well: bool| {
            move |guest: &Guest| match guest.run {
                Run::Off { well: this } => this || !well,
                _ => false,
            }
        };
        if self.guests.iter().take(self.count).all(all_off(false)) {
            let well = self.guests.iter().take(self.count).all(all_off(true));
            self.say(format_args!(
                "every vm is off: {}",
                if well { "all ended well" } else { "not all ended well" }
            ));
            self.platform().power_off(well);
        }
        self.arm();
        cp15::dsb();
        cp15::wait_for_interrupt();
        self.interrupted();
    }

    /// Loads a guest: its registers, its thread registers, its domains. No TLB and no cache
    /// operation; its views have ASIDs of their own.
    fn load(&mut self, index: usize) {
        if index == self.loaded {
            return;
        }
        // SAFETY: as in `counters`.
        let observed = unsafe { ENTRESOL_OBSERVED.get() };
        observed.vm_switches = observed.vm_switches.wrapping_add(1);
        let old = self.guest();
        old.vcpu.cp15.tpidrurw = cp15::thread_user();
        self.loaded = index;
        self.make_current();
        // B2.2: a reservation of the old guest must not let the new one's store succeed.
        cp15::clear_exclusive();
    }

    /// Puts the loaded guest's registers that stay in the machine where they belong.
    pub(crate) fn make_current(&mut self) {
        let guest = self.guest();
        // SAFETY: both registers are only the guest's.
        unsafe { cp15::set_thread_user(guest.vcpu.cp15.tpidrurw) };
        // SAFETY: as above.
        unsafe { cp15::set_thread_read_only(guest.vcpu.cp15.tpidruro) };
        let guest: *mut Guest = guest;
        // SAFETY: Supervisor mode; guests are static.
        unsafe { entry::set_guest(guest) };
        self.update_float();
    }

    /// Gives the floating-point unit to the loaded guest, or closes it.
    pub(crate) fn update_float(&mut self) {
        let index = self.loaded % MAX_VMS;
        if !self.guests[index].vcpu.float_enabled() {
            float::set_enabled(false);
            return;
        }
        float::set_enabled(true);
        if self.float_owner != Some(index) {
            if let Some(owner) = self.float_owner.and_then(|owner| self.guests.get_mut(owner)) {
                float::save(&mut owner.vcpu.vfp);
            }
            float::load(&self.guests[index].vcpu.vfp);
            self.float_owner = Some(index);
        }
    }

    /// One step of restoring the loaded guest; the last one starts it.
    fn restore(&mut self, cleared: u32, load: u32, copied: u32) {
        let image = self.image;
        let hz = self.platform().hz();
        let now = self.platform().now();
        let guest = &mut self.guests[self.loaded % MAX_VMS];
        let vm = guest.vm;
        let mut linear = Self::linear(&mut self.view);
        if cleared < vm.memory_len {
            let len = STEP.min(vm.memory_len - cleared);
            linear.zero(HostPhys(vm.host.0 + cleared), len);
            guest.run = Run::Restoring { cleared: cleared + len, load, copied };
            return;
        }
        if load < vm.loads.count {
            let at = image.0 + vm.loads.offset + load * size_of::<Load>() as u32;
            let word = |n: u32| linear.load::<u32>(HostPhys(at + n * 4));
            let (offset, len, to) = (word(0), word(1), word(2));
            let step = STEP.min(len - copied.min(len));
            let source = HostPhys(image.0 + offset + copied);
            // Checked at boot by `Header::check`; where it goes is checked here.
            if let (Some(first), Some(_)) = (
                guest.shadow.memory.host(GuestPhys(to + copied)),
                guest.shadow.memory.host(GuestPhys(to + copied + step.max(1) - 1)),
            ) {
                linear.copy(source, first, step);
            }
            guest.run = if copied + step >= len {
                Run::Restoring { cleared, load: load + 1, copied: 0 }
            } else {
                Run::Restoring { cleared, load, copied: copied + step }
            };
            return;
        }
        guest.shadow.reset(&mut linear);
        // What was copied may be code that ran from these addresses before.
        maintenance::instructions_written(vm.host, 0);
        drop(linear);
        guest.vcpu.reset(vm.entry.0, 0, vm.r1, vm.r2.0);
        guest.dacr = Shadow::domains(&guest.vcpu.cp15);
        guest.board.reset(now, hz, vm.flags);
        guest.notices = 0;
        guest.last = crate::guest::LastException::default();
        guest.run = Run::Running;
        for line in guest.interrupts.iter_mut().flatten() {
            line.delivered = false;
        }
        if self.float_owner == Some(self.loaded) {
            self.float_owner = None;
        }
        self.counters().starts += 1;
        self.make_current();
        let lines = self.guest().interrupts;
        for line in lines.iter().flatten() {
            self.platform().unmask(line.machine);
        }
        self.deliver(self.loaded);
    }

    /// The last thing of every trap: who runs, what interrupts it, in which view. Returns
    /// the guest to resume.
    #[inline]
    pub(crate) fn leave(&mut self) -> *mut Guest {
        if self.reschedule {
            self.choose();
        }
        let index = self.loaded % MAX_VMS;
        let guest = &mut self.guests[index];
        guest.vcpu.pending =
            (u32::from(guest.board.irq()) * psr::I) | (u32::from(guest.board.fiq()) * psr::F);
        if let Some(exception) = guest.vcpu.deliverable() {
            guest.vcpu.enter(exception);
            cp15::clear_exclusive();
            self.counters().injected += 1;
        }
        let guest = &mut self.guests[index];
        let view = guest.view();
        if view != self.view {
            // SAFETY: a view of the guest's shadow, tagged with the ASID of its root.
            unsafe { maintenance::switch(view) };
            self.view = view;
        }
        if guest.dacr != self.dacr {
            // SAFETY: `Shadow::domains` keeps the window's domain a client.
            unsafe { maintenance::set_domains(guest.dacr) };
            self.dacr = guest.dacr;
        }
        guest
    }

    /// Takes over the machine and runs its VMs for ever.
    pub(crate) fn run(&mut self) -> ! {
        self.choose();
        self.make_current();
        let guest = self.leave();
        // SAFETY: `leave` made its view current, `load` named it to the entry code.
        unsafe { entry::resume(guest) }
    }

    /// Sets up everything from the image.
    pub(crate) fn set_up(&mut self, setup: Setup<'_>) {
        let Setup { image, image_at, platform, window, stack } = setup;
        let Ok(header) = image::Header::check(image) else { halt() };
        let hz = platform.hz();
        self.platform = Some(platform);
        self.image = image_at;
        // 10 ms.
        self.scheduler.set_slice(u64::from(hz / 100));
        let identity = entresol_vcpu::Identity::from_machine(crate::identity::read());
        let mut pool = header.pools.base.0;
        let mut asid = crate::boot::FIRST_GUEST_ASID;
        let vms = image::table::<image::Vm>(image, header.vms).unwrap_or(&[]);
        self.view = crate::linear::view();
        for (index, vm) in vms.iter().enumerate().take(MAX_VMS) {
            let guest = &mut self.guests[index];
            let mut linear = Self::linear(&mut self.view);
            let pools = crate::pools::Pools::carve(&mut pool, &mut asid, vm);
            guest.vm = *vm;
            guest.stack = stack;
            guest.vcpu.cp15.identity = identity;
            guest.health = entresol_hv::health::Health::from_image(vm.on_fault, vm.restarts);
            let memory = crate::memory::GuestMemory::new(vm.memory, vm.host, vm.memory_len);
            guest.shadow.set_up(&mut linear, pools, memory, window);
            let given = image::table::<image::Passthrough>(image, vm.passthrough).unwrap_or(&[]);
            for (device, line) in given.iter().zip(guest.interrupts.iter_mut()) {
                guest.shadow.passthrough.add(device.guest, device.host, device.len);
                if device.host_irq != 0 {
                    *line = Some(Line {
                        machine: device.host_irq,
                        guest: device.guest_irq,
                        delivered: false,
                    });
                }
            }
            drop(linear);
            if let Some(id) = Id::new(index) {
                self.scheduler.set_priority(id, vm.priority as u8);
                if vm.flags & image::flags::AUTOSTART != 0 {
                    // First start: memory outside the loads is as the machine left it.
                    guest.run = Run::Restoring { cleared: vm.memory_len, load: 0, copied: 0 };
                    self.scheduler.ready(id);
                }
            }
            self.count = index + 1;
        }
        let machine = header.machine.name;
        let count = self.count;
        self.say(format_args!(
            "entresol {} on {}: {count} vm{}, image {:08x}",
            env!("CARGO_PKG_VERSION"),
            name(&machine),
            if count == 1 { "" } else { "s" },
            header.build,
        ));
    }
}

/// What the hypervisor starts from.
pub struct Setup<'a> {
    /// Header, tables and payloads.
    pub image: &'a [u8],
    /// Where they lie.
    pub image_at: HostPhys,
    /// The machine.
    pub platform: &'static mut dyn Platform,
    /// The window's second-level entries.
    pub window: &'a [u32; 240],
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

/// A zero-padded name as text.
pub(crate) fn name(bytes: &[u8; 16]) -> &str {
    let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.get(..len).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or("?")
}

/// Nothing is left to do.
pub fn halt() -> ! {
    loop {
        cp15::wait_for_interrupt();
    }
}
