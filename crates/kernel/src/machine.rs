//! The machine's clock, interrupt controller and serial line, as the image names them.
//!
//! Chooses drivers by numbers in the image's description; knows no machine by name.

use core::arch::asm;
use entresol_abi::image::{self, PowerOff, Reset};
use entresol_armv7a::boot::Window;
use entresol_armv7a::exclusive::Exclusive;
use entresol_armv7a::halt;
use entresol_armv7a::timer::GenericTimer;
use entresol_devices::gic::{Gic, Trigger};
use entresol_devices::timer::{A9Global, Clock};
use entresol_devices::uart::Uart;
use entresol_hv::console::Serial;
use entresol_hv::platform::{Interrupt, Platform};

/// The core's clock.
enum Timer {
    Generic(GenericTimer),
    A9Global(A9Global),
}

/// The hypervisor's devices.
pub(crate) struct Machine {
    description: image::Machine,
    gic: Gic,
    timer: Timer,
    uart: Uart,
    /// The page of the reset registers.
    reset: Option<*mut u32>,
}

/// The one machine.
static MACHINE: Exclusive<Option<Machine>> = Exclusive::new(None);

impl Machine {
    /// Takes the devices that `description` names; `None` if it names something unknown.
    pub(crate) fn take(
        window: &mut Window,
        description: &image::Machine,
    ) -> Option<&'static mut dyn Platform> {
        let distributor = window.device(description.gic_distributor)?;
        let interface = window.device(description.gic_cpu)?;
        let uart = window.device(description.uart_base)?;
        // SAFETY: the image says so, and the window maps the registers for ever.
        let mut gic = unsafe { Gic::new(distributor, interface) };
        // SAFETY: as above.
        let mut uart = unsafe { Uart::new(description.uart, uart) }?;
        gic.init();
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
        uart.init();
        gic.enable(description.timer_irq);
        gic.enable(description.uart_irq);
        let by_registers = description.reset == Reset::Registers as u32;
        let reset = if by_registers { Some(window.device(description.reset_base)?) } else { None };
        let machine = Self { description: *description, gic, timer, uart, reset };
        // SAFETY: called once, before any trap.
        let slot = unsafe { MACHINE.get() };
        Some(slot.insert(machine))
    }
}

impl Serial for Machine {
    fn put(&mut self, byte: u8) -> bool {
        self.uart.put(byte)
    }

    fn get(&mut self) -> Option<u8> {
        self.uart.get()
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

    fn arm(&mut self, deadline: Option<u64>) {
        match (&mut self.timer, deadline) {
            (Timer::Generic(timer), Some(deadline)) => timer.arm(deadline),
            (Timer::Generic(timer), None) => timer.disarm(),
            (Timer::A9Global(timer), Some(deadline)) => timer.arm(deadline),
            (Timer::A9Global(timer), None) => timer.disarm(),
        }
    }

    fn acknowledge(&mut self) -> Interrupt {
        let Some(interrupt) = self.gic.acknowledge() else { return Interrupt::Spurious };
        let number = interrupt.irq();
        let result = if number == self.description.timer_irq {
            match &mut self.timer {
                Timer::Generic(timer) => timer.disarm(),
                Timer::A9Global(timer) => timer.acknowledge(),
            }
            Interrupt::Timer
        } else if number == self.description.uart_irq {
            self.uart.acknowledge();
            Interrupt::Serial
        } else {
            self.gic.disable(number);
            Interrupt::Device(number)
        };
        self.gic.end(interrupt);
        result
    }

    fn unmask(&mut self, irq: u32) {
        self.gic.set_trigger(irq, Trigger::Level);
        self.gic.enable(irq);
    }

    fn mask(&mut self, irq: u32) {
        self.gic.disable(irq);
    }

    fn notify_sent(&mut self, wanted: bool) {
        self.uart.set_transmit_interrupt(wanted);
    }

    fn power_off(&mut self, well: bool) -> ! {
        if self.description.power_off == PowerOff::Semihosting as u32 {
            // SYS_EXIT_EXTENDED with ADP_Stopped_ApplicationExit and a status.
            let block = [0x20026_u32, u32::from(!well)];
            // SAFETY: the machine's description says that a debugger answers this.
            unsafe {
                asm!("svc #0x123456", in("r0") 0x20, in("r1") block.as_ptr(), options(nostack));
            }
        }
        halt()
    }

    fn reset(&mut self) -> ! {
        if let Some(base) = self.reset {
            for [offset, value] in self.description.reset_writes {
                if [offset, value] != [0, 0] {
                    // SAFETY: the description says that there is such a register on the
                    // page, which the window maps.
                    unsafe { base.byte_add(offset as usize & 0xffc).write_volatile(value) };
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
