//! The machine's clock, interrupt controller and serial line, as the image names them.
//!
//! Chooses drivers by numbers in the image's description; knows no machine by name.

use core::arch::asm;
use entresol_abi::image::{self, Cores, PowerOff, Reset};
use entresol_armv7a::boot::Window;
use entresol_armv7a::cores;
use entresol_armv7a::exclusive::Exclusive;
use entresol_armv7a::halt;
use entresol_armv7a::timer::GenericTimer;
use entresol_devices::gic::{Gic, Trigger};
use entresol_devices::timer::{A9Global, Clock};
use entresol_devices::uart::Uart;
use entresol_hv::console::Serial;
use entresol_hv::link::{Link, Sent};
use entresol_hv::platform::{Interrupt, Platform};

/// The core's clock.
enum Timer {
    Generic(GenericTimer),
    A9Global(A9Global),
}

/// Where consoles go.
enum Line {
    Uart(Uart),
    /// On other cores than the boot core.
    Link(&'static Link),
}

/// The software interrupt by which cores call each other.
const CALL: u32 = 0;
/// The one for vCPUs of one VM.
const SIBLING: u32 = 1;

/// Polls of a link before the machine goes down, whoever should have emptied it.
const PATIENCE: u32 = 1_000_000;

/// A core's devices of the hypervisor.
pub(crate) struct Machine {
    description: image::Machine,
    core: u32,
    load: u32,
    gic: Gic,
    timer: Timer,
    line: Line,
    /// The page of the reset registers.
    reset: Option<*mut u32>,
}

/// The core's machine.
static MACHINE: Exclusive<Option<Machine>> = Exclusive::new(None);

impl Machine {
    /// Takes the devices that `description` names; `None` if it names something unknown.
    pub(crate) fn take(
        window: &mut Window,
        load: u32,
        core: u32,
        description: &image::Machine,
    ) -> Option<&'static mut dyn Platform> {
        let distributor = window.device(description.gic_distributor)?;
        let interface = window.device(description.gic_cpu)?;
        // SAFETY: the image says so, and the window maps the registers for ever.
        let mut gic = unsafe { Gic::new(distributor, interface) };
        if core == 0 {
            gic.init();
        } else {
            gic.init_core();
        }
        let timer = match description.timer {
            0 => {
                // SAFETY: the image says that the processor has it.
                Timer::Generic(unsafe { GenericTimer::take() })
            }
            1 => {
                let base = window.device(description.timer_base)?;
                // SAFETY: as for the interrupt controller.
                let mut timer = unsafe { A9Global::new(base) };
                timer.init();
                Timer::A9Global(timer)
            }
            _ => return None,
        };
        // The first to be acknowledged when several are pending.
        gic.set_priority(description.timer_irq, 0x80);
        gic.enable(description.timer_irq);
        gic.enable(CALL);
        gic.enable(SIBLING);
        let line = if core == 0 {
            let base = window.device(description.uart_base)?;
            // SAFETY: as for the interrupt controller.
            let mut uart = unsafe { Uart::new(description.uart, base) }?;
            uart.init();
            gic.enable(description.uart_irq);
            Line::Uart(uart)
        } else {
            Line::Link(cores::link(core))
        };
        let by_registers = description.reset == Reset::Registers as u32;
        let reset = if by_registers { Some(window.device(description.reset_base)?) } else { None };
        let machine = Self { description: *description, core, load, gic, timer, line, reset };
        // SAFETY: called once, before any trap.
        let slot = unsafe { MACHINE.get() };
        Some(slot.insert(machine))
    }
}

impl Machine {
    /// Gives the boot core time to take this core's last words.
    fn let_others_read(&self) {
        if let Line::Link(link) = &self.line {
            for _ in 0..PATIENCE {
                if link.up.is_empty() {
                    return;
                }
            }
        }
    }
}

impl Serial for Machine {
    fn put(&mut self, byte: u8) -> bool {
        match &mut self.line {
            Line::Uart(uart) => uart.put(byte),
            Line::Link(link) => {
                let sent = link.up.send(byte);
                if sent == Sent::Call {
                    self.call(0);
                }
                sent != Sent::Refused
            }
        }
    }

    fn get(&mut self) -> Option<u8> {
        match &mut self.line {
            Line::Uart(uart) => uart.get(),
            Line::Link(link) => {
                let byte = link.down.receive();
                if byte.is_none() && link.down.was_refused() {
                    self.call(0);
                }
                byte
            }
        }
    }
}

impl Platform for Machine {
    fn now(&self) -> u64 {
        match &self.timer {
            Timer::Generic(timer) => timer.now(),
            Timer::A9Global(timer) => timer.now(),
        }
    }

    fn hz(&self) -> u32 {
        self.description.timer_hz
    }

    fn arm(&mut self, deadline: u64) {
        match &mut self.timer {
            Timer::Generic(timer) => timer.arm(deadline),
            Timer::A9Global(timer) => timer.arm(deadline),
        }
    }

    fn acknowledge(&mut self) -> Interrupt {
        let Some(interrupt) = self.gic.acknowledge() else { return Interrupt::Spurious };
        let number = interrupt.irq();
        let result = if number == self.description.timer_irq {
            // One that was rearmed since has not come yet.
            match &mut self.timer {
                Timer::Generic(timer) if timer.is_due() => {
                    timer.disarm();
                    Interrupt::Timer
                }
                Timer::A9Global(timer) if timer.is_due() => {
                    timer.acknowledge();
                    Interrupt::Timer
                }
                _ => Interrupt::Spurious,
            }
        } else if number == self.description.uart_irq {
            if let Line::Uart(uart) = &mut self.line {
                uart.acknowledge();
            }
            Interrupt::Serial
        } else if number == CALL {
            match self.line {
                Line::Uart(_) => Interrupt::Core,
                Line::Link(_) => Interrupt::Serial,
            }
        } else if number == SIBLING {
            Interrupt::Sibling
        } else {
            self.gic.disable(number);
            Interrupt::Device(number)
        };
        self.gic.end(interrupt);
        result
    }

    fn call(&mut self, core: u32) {
        cores::written();
        self.gic.send(CALL, 1 << (core % 8));
    }

    fn call_sibling(&mut self, core: u32) {
        cores::written();
        self.gic.send(SIBLING, 1 << (core % 8));
    }

    fn route(&mut self, irq: u32, core: u32) {
        self.gic.set_trigger(irq, Trigger::Level);
        self.gic.set_target(irq, core);
    }

    fn start_cores(&mut self, count: u32) {
        cores::release(count);
        if self.description.start_cores == Cores::PsciHvc as u32 {
            for core in 1..count {
                // SAFETY: CPU_ON; the core starts at the binary's first instruction, where
                // the entry code expects it.
                unsafe {
                    asm!(".arch_extension virt", "hvc #0",
                        inout("r0") 0x8400_0003_u32 => _, inout("r1") core => _,
                        inout("r2") self.load => _, inout("r3") 0 => _, options(nostack));
                }
            }
        }
    }

    fn unmask(&mut self, irq: u32) {
        self.gic.enable(irq);
    }

    fn mask(&mut self, irq: u32) {
        self.gic.disable(irq);
    }

    fn notify_sent(&mut self, wanted: bool) {
        match &mut self.line {
            Line::Uart(uart) => uart.set_transmit_interrupt(wanted),
            Line::Link(link) => {
                if wanted && link.up.has_room() {
                    self.call(self.core);
                }
            }
        }
    }

    fn power_off(&mut self, well: bool) -> ! {
        self.let_others_read();
        if self.description.power_off == PowerOff::Semihosting as u32 {
            // SYS_EXIT_EXTENDED with ADP_Stopped_ApplicationExit and a status.
            let block = [0x20026_u32, u32::from(!well)];
            // SAFETY: the machine's description says that a debugger answers this.
            unsafe {
                asm!("svc #0xab", in("r0") 0x20, in("r1") block.as_ptr(), options(nostack));
            }
        }
        halt()
    }

    fn reset(&mut self) -> ! {
        self.let_others_read();
        if let Some(base) = self.reset {
            for [offset, value] in self.description.reset_writes {
                if [offset, value] != [0, 0] {
                    let register = base.wrapping_byte_add(offset as usize & 0xffc);
                    // SAFETY: the description says that there is such a register on the
                    // page, which the window maps.
                    unsafe { register.write_volatile(value) };
                }
            }
        } else if self.description.reset == Reset::PsciHvc as u32 {
            // SAFETY: the description says that the call does not return.
            unsafe { asm!(".arch_extension virt", "hvc #0", in("r0") 0x8400_0009_u32) };
        }
        // It takes a while, or cannot be done.
        self.power_off(false)
    }
}
