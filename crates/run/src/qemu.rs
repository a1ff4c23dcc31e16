//! The command line that starts a machine in QEMU.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// How QEMU emulates a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qemu {
    /// The program, such as `qemu-system-arm`.
    pub binary: String,
    /// Argument of `-M`.
    pub machine: String,
    /// Argument of `-cpu`, unless the machine has a fixed one.
    pub cpu: Option<String>,
    /// Argument of `-smp`.
    pub cores: u32,
    /// Argument of `-m`.
    pub memory: String,
    /// Further arguments.
    pub args: Vec<String>,
}

impl Qemu {
    /// The arguments that start the ELF file `image`: repeatable time, the first UART
    /// on standard input and output, semihosting to end with a status.
    #[must_use]
    pub fn arguments(&self, image: &Path) -> Vec<String> {
        let mut arguments = vec!["-M".to_owned(), self.machine.clone()];
        if let Some(cpu) = &self.cpu {
            arguments.extend(["-cpu".to_owned(), cpu.clone()]);
        }
        if self.cores > 1 {
            arguments.extend(["-smp".to_owned(), self.cores.to_string()]);
        }
        let kernel = image.display().to_string();
        let fixed = [
            "-m",
            &self.memory,
            "-icount",
            "shift=0,sleep=off",
            // Clocks of the machine go with that time, not with the host's.
            "-rtc",
            "clock=vm",
            "-display",
            "none",
            "-monitor",
            "none",
            "-serial",
            "stdio",
            "-semihosting-config",
            "enable=on,target=native",
            "-kernel",
            &kernel,
        ];
        arguments.extend(fixed.map(str::to_owned));
        arguments.extend(self.args.iter().cloned());
        arguments
    }

    /// The command, with its standard input and output as pipes.
    #[must_use]
    pub fn command(&self, image: &Path) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(self.arguments(image))
            .env("QEMU_AUDIO_DRV", "none")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_always_counted_in_instructions() {
        let qemu = Qemu {
            binary: "qemu-system-arm".into(),
            machine: "virt".into(),
            cpu: Some("cortex-a15".into()),
            cores: 1,
            memory: "1G".into(),
            args: vec!["-S".into()],
        };
        let line = qemu.arguments(Path::new("x.elf")).join(" ");
        assert!(line.starts_with("-M virt -cpu cortex-a15 -m 1G -icount shift=0,sleep=off"));
        assert!(line.contains("-rtc clock=vm"));
        assert!(line.ends_with("-kernel x.elf -S"));
    }
}
