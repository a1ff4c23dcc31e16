//! What a board is: the descriptions in `machines/`, read as data.
//!
//! Those shipped with the tool are compiled into it, so that an installed tool
//! needs no files; a manifest may name a file of the same form instead. Nothing
//! here knows a particular board.

use crate::manifest::{Properties, Size};
use crate::problem::{Problem, Source, parse, source};
use entresol_abi::{HostPhys, image as abi};
use serde::Deserialize;
use std::{ops::Range, path::Path};

/// Descriptions compiled into the tool.
const SHIPPED: [(&str, &str); 3] = [
    ("vexpress-a9", include_str!("../../../machines/vexpress-a9.toml")),
    ("xilinx-zynq-a9", include_str!("../../../machines/xilinx-zynq-a9.toml")),
    ("virt-a15", include_str!("../../../machines/virt-a15.toml")),
];

/// A machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Machine {
    /// Its name, at most 16 bytes.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Number of cores the hypervisor uses.
    pub cores: u32,
    /// How cores other than the first are started.
    #[serde(default)]
    pub start_cores: StartCores,
    /// Its memory.
    pub ram: Vec<Ram>,
    /// Where the bootable image is loaded, a multiple of 1 MiB in its memory.
    pub load: u32,
    /// What happens when every VM is off.
    pub power_off: PowerOff,
    /// How it is reset, if it can be.
    pub reset: Option<Reset>,
    /// Interrupt controller.
    pub gic: Gic,
    /// The timer the hypervisor owns.
    pub timer: Timer,
    /// The UART that carries all consoles.
    pub uart: Uart,
    /// How QEMU emulates it.
    pub qemu: Option<Qemu>,
    /// Devices that can be given to a VM.
    #[serde(default)]
    pub device: Vec<Device>,
}

/// How cores other than the first are started.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartCores {
    /// They start with the first.
    #[default]
    Together,
    /// By a call to what started the hypervisor.
    PsciHvc,
}

/// A range of memory.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ram {
    /// First byte, a multiple of 1 MiB.
    pub base: u32,
    /// Length, a multiple of 1 MiB.
    pub size: Size,
}

/// What happens when every VM is off.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerOff {
    /// Wait for interrupts for ever.
    Idle,
    /// Exit the emulator.
    Semihosting,
}

/// How the machine is reset.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reset {
    /// By writing one or two registers of one page.
    Registers {
        /// The page.
        base: u32,
        /// Offset and value of the first write.
        first: [u32; 2],
        /// Offset and value of the second.
        second: Option<[u32; 2]>,
    },
    /// By a call to what started the hypervisor.
    PsciHvc,
}

/// A GICv2.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gic {
    /// Distributor.
    pub distributor: u32,
    /// CPU interface.
    pub cpu: u32,
}

/// The timer the hypervisor owns.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timer {
    /// Which one.
    pub kind: TimerKind,
    /// Its registers, if it has any in memory.
    #[serde(default)]
    pub base: u32,
    /// Its interrupt.
    pub irq: u32,
    /// Its ticks per second.
    pub hz: u32,
}

/// Timers known to the hypervisor.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimerKind {
    /// Generic timer by CP15.
    Generic,
    /// Cortex-A9 MPCore global timer.
    A9Global,
}

/// The UART that carries all consoles.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uart {
    /// Which one.
    pub kind: UartKind,
    /// Its registers.
    pub base: u32,
    /// Its interrupt.
    pub irq: u32,
}

/// UARTs known to the hypervisor.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UartKind {
    /// ARM PL011.
    Pl011,
    /// Cadence, as in the Zynq-7000.
    Cadence,
}

/// How QEMU emulates a machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Qemu {
    /// The program.
    #[serde(default = "qemu_system_arm")]
    pub binary: String,
    /// Argument of `-M`.
    pub machine: String,
    /// Argument of `-cpu`.
    pub cpu: Option<String>,
    /// Argument of `-m`.
    pub memory: String,
    /// Further arguments.
    #[serde(default)]
    pub args: Vec<String>,
}

fn qemu_system_arm() -> String {
    "qemu-system-arm".to_owned()
}

/// A device that can be given to a VM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Device {
    /// Its name in manifests.
    pub name: String,
    /// Its registers, a multiple of 4 KiB.
    pub base: u32,
    /// Length of its registers, a multiple of 4 KiB.
    #[serde(default = "one_page")]
    pub size: Size,
    /// Its interrupt, 0 for none.
    #[serde(default)]
    pub irq: u32,
    /// Device-tree `compatible`.
    #[serde(default)]
    pub compatible: Vec<String>,
    /// Frequency of the clock that feeds all of `clock-names`.
    pub clock_hz: Option<u32>,
    /// Device-tree `clock-names`.
    #[serde(default)]
    pub clock_names: Vec<String>,
    /// Further device-tree properties.
    #[serde(default)]
    pub properties: Properties,
}

fn one_page() -> Size {
    Size(0x1000)
}

impl Machine {
    /// Names of the machines that come with the tool.
    pub fn shipped() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    /// The machine that comes with the tool under this name.
    ///
    /// # Errors
    ///
    /// `None` when there is none; a mistake in a shipped description is a bug that
    /// this crate's tests exclude.
    pub(crate) fn named(name: &str) -> Option<Result<Self, Problem>> {
        let (name, text) = SHIPPED.iter().find(|(shipped, _)| *shipped == name)?;
        Some(Self::read(&source(&format!("{name}.toml"), text), text))
    }

    /// The machine described in a file.
    pub(crate) fn file(path: &Path) -> Option<Result<Self, Problem>> {
        let text = std::fs::read_to_string(path).ok()?;
        Some(Self::read(&source(&path.display().to_string(), &text), &text))
    }

    fn read(source: &Source, text: &str) -> Result<Self, Problem> {
        let machine: Self = parse(source, text)?;
        let problem = |message: String| {
            Problem::new("machine::invalid", message)
                .at(source, 0..text.find('\n').unwrap_or(text.len()), "in this description")
                .help("correct the machine's description; the book's how-to explains each key")
        };
        if machine.name.is_empty() || machine.name.len() > 16 {
            return Err(problem("a machine's name has 1 to 16 bytes".into()));
        }
        let in_ram = |ram: &Ram| {
            let base = u64::from(ram.base);
            (base..base + ram.size.0).contains(&u64::from(machine.load))
        };
        if machine.load & 0xf_ffff != 0 || !machine.ram.iter().any(in_ram) {
            let load = machine.load;
            return Err(problem(format!("load {load:#010x} is not a whole MiB inside `ram`")));
        }
        let most = u32::try_from(abi::MAX_CORES).unwrap_or(u32::MAX);
        if !(1..=most).contains(&machine.cores) {
            return Err(problem(format!("cores = {} is not 1 to {most}", machine.cores)));
        }
        for ram in &machine.ram {
            let end = u64::from(ram.base) + ram.size.0;
            if ram.base & 0xf_ffff != 0 || ram.size.0 & 0xf_ffff != 0 || end > 1 << 32 {
                let base = ram.base;
                return Err(problem(format!(
                    "RAM at {base:#010x} is not in whole MiB below 4 GiB"
                )));
            }
        }
        for device in &machine.device {
            if device.base & 0xfff != 0 || device.size.0 & 0xfff != 0 || device.size.0 == 0 {
                return Err(problem(format!("device {} is not in whole 4 KiB pages", device.name)));
            }
        }
        machine.clash().map_or(Ok(()), |clash| Err(problem(clash)))?;
        Ok(machine)
    }

    /// Two things at the same address or interrupt, in words. A device that shares a
    /// page with the hypervisor's own could not be given away.
    fn clash(&self) -> Option<String> {
        let own = |name: &str, base: u32, irq| (name.to_owned(), page(base, 0x1000), irq);
        let mut seen = vec![
            own("the interrupt distributor", self.gic.distributor, 0),
            own("the interrupt CPU interface", self.gic.cpu, 0),
            own("the console", self.uart.base, self.uart.irq),
        ];
        if let Some(Reset::Registers { base, .. }) = self.reset {
            seen.push(own("the reset registers", base, 0));
        }
        let first = seen.len();
        match self.timer.kind {
            TimerKind::Generic => seen.push(("the timer".to_owned(), 0..0, self.timer.irq)),
            TimerKind::A9Global => seen.push(own("the timer", self.timer.base, self.timer.irq)),
        }
        let ram = |ram: &Ram| ("RAM".to_owned(), page(ram.base, ram.size.0), 0);
        seen.extend(self.ram.iter().map(ram));
        let device =
            |device: &Device| (device.name.clone(), page(device.base, device.size.0), device.irq);
        seen.extend(self.device.iter().map(device));
        for (index, (name, range, irq)) in seen.iter().enumerate().skip(first) {
            for (other, other_range, other_irq) in seen.iter().take(index) {
                // On the Cortex-A9 controller and timer share the private page.
                let both_own = index == first;
                if !both_own && range.start < other_range.end && other_range.start < range.end {
                    return Some(format!("{name} overlaps {other}"));
                }
                if *irq != 0 && irq == other_irq {
                    return Some(format!("{name} and {other} both have interrupt {irq}"));
                }
                if name == other && name != "RAM" {
                    return Some(format!("two devices are called {name}"));
                }
            }
        }
        None
    }

    /// As the hypervisor reads it.
    #[must_use]
    #[expect(clippy::as_conversions, reason = "the number of an enum without fields")]
    pub fn to_abi(&self) -> abi::Machine {
        let (reset, reset_base, reset_writes) = match self.reset {
            None => (abi::Reset::None, 0, [[0; 2]; 2]),
            Some(Reset::Registers { base, first, second }) => {
                (abi::Reset::Registers, base, [first, second.unwrap_or_default()])
            }
            Some(Reset::PsciHvc) => (abi::Reset::PsciHvc, 0, [[0; 2]; 2]),
        };
        abi::Machine {
            name: padded(&self.name),
            gic_distributor: HostPhys(self.gic.distributor),
            gic_cpu: HostPhys(self.gic.cpu),
            timer: match self.timer.kind {
                TimerKind::Generic => abi::Timer::Generic as u32,
                TimerKind::A9Global => abi::Timer::A9Global as u32,
            },
            timer_base: HostPhys(self.timer.base),
            timer_irq: self.timer.irq,
            timer_hz: self.timer.hz,
            uart: match self.uart.kind {
                UartKind::Pl011 => abi::Uart::Pl011 as u32,
                UartKind::Cadence => abi::Uart::Cadence as u32,
            },
            uart_base: HostPhys(self.uart.base),
            uart_irq: self.uart.irq,
            power_off: match self.power_off {
                PowerOff::Idle => abi::PowerOff::Idle as u32,
                PowerOff::Semihosting => abi::PowerOff::Semihosting as u32,
            },
            reset: reset as u32,
            reset_base: HostPhys(reset_base),
            reset_writes,
            cores: self.cores,
            start_cores: match self.start_cores {
                StartCores::Together => abi::Cores::Together as u32,
                StartCores::PsciHvc => abi::Cores::PsciHvc as u32,
            },
        }
    }
}

/// The whole pages of `len` bytes at `base`.
fn page(base: u32, len: u64) -> Range<u64> {
    let start = u64::from(base & !0xfff);
    start..(u64::from(base) + len).next_multiple_of(0x1000).max(start)
}

/// `name`, zero padded (and cut) to 16 bytes.
#[must_use]
pub fn padded(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_description_is_sound_and_named_as_its_file() {
        for name in Machine::shipped() {
            let machine = Machine::named(name).unwrap().unwrap();
            assert_eq!(machine.name, name);
            assert!(machine.qemu.is_some());
        }
    }

    #[test]
    fn a_description_that_gives_something_twice_is_refused() {
        let text = SHIPPED[0].1;
        for (from, to, clash) in [
            ("irq = 39", "irq = 38", "uart2 and uart1 both have interrupt 38"),
            ("irq = 39", "irq = 37", "uart2 and the console both have interrupt 37"),
            ("base = 0x1000_b000", "base = 0x1000_a000", "uart2 overlaps uart1"),
            ("base = 0x1000_b000", "base = 0x1e00_0000", "uart2 overlaps the interrupt CPU"),
            ("base = 0x1000_b000", "base = 0x6000_0000", "uart2 overlaps RAM"),
            ("name = \"uart2\"", "name = \"uart1\"", "two devices are called uart1"),
        ] {
            let text = text.replace(from, to);
            let problem = Machine::read(&source("board.toml", &text), &text).unwrap_err();
            assert!(problem.to_string().starts_with(clash), "{problem}");
        }
    }
}
