//! Runs a machine in QEMU to its end, without a terminal, under a time limit.
//!
//! Always with `-icount shift=0,sleep=off` and a fixed seed and date: one instruction is one
//! nanosecond and, as long as nothing is typed, runs are bit-for-bit repeatable. Always
//! ended by SIGKILL at the limit: a machine that waits for an interrupt nobody sends hangs, and QEMU has ignored
//! milder signals in this mode. Interactive runs are `entresol run`'s.

use crate::process;
use anyhow::{Context, Result};
use entresol_abi::console::{Channel, Demultiplexer, MARK, Multiplexer, Order};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How often what was printed is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A QEMU command being put together.
pub(crate) struct Machine {
    command: Command,
}

/// Something to type once a text was printed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Typed {
    /// Wait until the console has shown this since the last thing typed there.
    pub(crate) after: String,
    /// Then send these characters.
    pub(crate) send: String,
    /// The console they are for (`abi::console`); none for a bare machine.
    pub(crate) channel: Option<u8>,
    /// Before that, give VMs orders by the console: `stop 1` is for the second.
    #[serde(default)]
    pub(crate) orders: Vec<String>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Everything the machine sent on its serial line.
    pub(crate) serial: Vec<u8>,
    /// QEMU's exit status; none if it was killed.
    pub(crate) status: Option<i32>,
    /// What QEMU itself had to say.
    pub(crate) errors: String,
}

impl Machine {
    /// A machine by QEMU's arguments for it (`-M ... -cpu ...`).
    pub(crate) fn new(arguments: &[&str]) -> Self {
        let mut command = Command::new("qemu-system-arm");
        command.env("QEMU_AUDIO_DRV", "none");
        command.args(["-nodefaults", "-display", "none", "-monitor", "none"]);
        command.args(["-serial", "stdio", "-no-reboot", "-nic", "none"]);
        command.args(["-icount", "shift=0,sleep=off"]);
        // Neither the host's entropy (in generated device trees) nor its clock.
        command.args(["-seed", "1", "-rtc", "base=2026-01-01T00:00:00,clock=vm"]);
        command.args(arguments);
        Self { command }
    }

    /// The machine that `machines/NAME.toml` describes, starting a bootable image.
    ///
    /// # Errors
    ///
    /// When the description cannot be read or is not for QEMU.
    pub(crate) fn described(machines: &Path, name: &str, image: &Path) -> Result<Self> {
        let path = machines.join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("no machine {name}: cannot read {}", path.display()))?;
        let Description { qemu } =
            toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
        let mut machine = Self::new(&["-M", &qemu.machine, "-m", &qemu.memory]);
        if let Some(cpu) = qemu.cpu {
            machine = machine.with(&["-cpu", &cpu]);
        }
        machine = machine.with(&["-semihosting-config", "enable=on,target=native"]);
        machine.command.arg("-kernel").arg(image);
        Ok(machine)
    }

    /// As many cores as the VMs of a system are given.
    ///
    /// # Errors
    ///
    /// When its manifest cannot be read.
    pub(crate) fn with_cores_of(self, manifest: &Path) -> Result<Self> {
        let named = || format!("{}", manifest.display());
        let text = std::fs::read_to_string(manifest).with_context(named)?;
        let System { vm } = toml::from_str(&text).with_context(named)?;
        let last = vm.iter().flat_map(|vm| vm.core.iter().chain(&vm.cores)).max();
        Ok(match last {
            None | Some(0) => self,
            Some(last) => self.with(&["-smp", &(last + 1).to_string()]),
        })
    }

    /// More arguments.
    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// An option that takes a path.
    pub(crate) fn with_path(mut self, option: &str, path: &Path) -> Self {
        self.command.arg(option).arg(path);
        self
    }

    /// Loads the instrument with its arguments.
    pub(crate) fn with_plugin(mut self, plugin: &Path, arguments: &[String]) -> Self {
        let mut value = OsString::from(plugin);
        for argument in arguments {
            value.push(",");
            value.push(argument);
        }
        self.command.arg("-plugin").arg(value);
        self
    }

    /// The command line, to be shown.
    pub(crate) fn shown(&self) -> String {
        process::shown(&self.command)
    }

    /// Runs the machine until it ends or the limit is over.
    ///
    /// # Errors
    ///
    /// When QEMU cannot be started.
    pub(crate) fn run(self, limit: Duration, typed: &[Typed]) -> Result<Ended> {
        self.run_until(limit, typed, |_| false)
    }

    /// Runs the machine until it ends, or its output is what is waited for, or the limit is
    /// over.
    ///
    /// # Errors
    ///
    /// When QEMU cannot be started.
    pub(crate) fn run_until(
        mut self,
        limit: Duration,
        typed: &[Typed],
        enough: impl Fn(&[u8]) -> bool,
    ) -> Result<Ended> {
        let shown = self.shown();
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {shown}"))?;
        let mut keyboard = child.stdin.take().context("QEMU has no input")?;
        let mut output = child.stdout.take().context("QEMU has no output")?;
        let mut errors = child.stderr.take().context("QEMU has no error output")?;
        let complaints = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        });
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = output.read(&mut buffer) {
                let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
                    break;
                };
                if sender.send(bytes.to_vec()).is_err() {
                    break;
                }
            }
        });

        let end = Instant::now() + limit;
        let mut typist = Typist { typed, seen: BTreeMap::new() };
        let mut serial = Vec::new();
        // Looking at all of the output again costs: not at each piece of it.
        let mut looked = Instant::now();
        let mut fresh = false;
        let killed = loop {
            let left = end.saturating_duration_since(Instant::now());
            let piece = receiver.recv_timeout(if fresh { left.min(LOOK) } else { left });
            if let Ok(bytes) = &piece {
                serial.extend(bytes);
                fresh = true;
            }
            if fresh && (looked.elapsed() >= LOOK || piece.is_err()) {
                (fresh, looked) = (false, Instant::now());
                if let Some(keys) = typist.keys(&serial) {
                    let _ = keyboard.write_all(&keys).and_then(|()| keyboard.flush());
                }
                if enough(&serial) {
                    child.kill()?;
                    break true;
                }
            }
            match piece {
                // A flood leaves no pause in which to time out.
                Ok(_) if Instant::now() >= end => {
                    child.kill()?;
                    break true;
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break false,
                Err(RecvTimeoutError::Timeout) if Instant::now() < end => {}
                Err(RecvTimeoutError::Timeout) => {
                    // Asked first: the instrument then still reports.
                    let ask = format!("kill -TERM {}; sleep 1", child.id());
                    let _ = Command::new("sh").args(["-c", &ask]).status();
                    child.kill()?;
                    break true;
                }
            }
        };
        let status = child.wait()?;
        let errors = complaints.join().unwrap_or_default();
        Ok(Ended { serial, status: status.code().filter(|_| !killed), errors })
    }
}

struct Typist<'a> {
    typed: &'a [Typed],
    /// Bytes of each console before which nothing counts any more.
    seen: BTreeMap<Option<u8>, usize>,
}

impl Typist<'_> {
    fn keys(&mut self, serial: &[u8]) -> Option<Vec<u8>> {
        let (next, rest) = self.typed.split_first()?;
        let console = match next.channel {
            Some(channel) => of_channel(serial, Channel(channel)),
            None => serial.to_vec(),
        };
        let seen = self.seen.entry(next.channel).or_default();
        let fresh = console.get(*seen..)?;
        fresh.windows(next.after.len()).find(|window| *window == next.after.as_bytes())?;
        *seen = console.len();
        self.typed = rest;
        let mut keys = Vec::new();
        if let Some(channel) = next.channel {
            keys.extend(next.orders.iter().filter_map(|order| order_of(order)));
            let mut multiplexer = Multiplexer::new();
            for byte in next.send.bytes() {
                keys.extend(multiplexer.frame(Channel(channel), byte).as_slice());
            }
            // Back to where the next multiplexer starts.
            keys.extend([MARK, b'0']);
        } else {
            keys.extend(next.send.bytes());
        }
        Some(keys)
    }
}

/// The byte that is an order (`abi::console`).
fn order_of(text: &str) -> Option<u8> {
    let (what, vm) = text.split_once(' ')?;
    let order =
        ["start", "stop", "restart", "pause", "resume"].iter().position(|name| *name == what)?;
    Some(Order { vm: vm.parse().ok()?, order: u8::try_from(order + 1).ok()? }.byte())
}

fn of_channel(serial: &[u8], wanted: Channel) -> Vec<u8> {
    let mut demultiplexer = Demultiplexer::new();
    let bytes = serial.iter().filter_map(|byte| demultiplexer.push(*byte));
    bytes.filter(|(channel, _)| *channel == wanted).map(|(_, byte)| byte).collect()
}

/// What of a manifest says how many cores there must be.
#[derive(Deserialize)]
struct System {
    vm: Vec<Placed>,
}

#[derive(Deserialize)]
struct Placed {
    core: Option<u32>,
    #[serde(default)]
    cores: Vec<u32>,
}

/// The part of a machine's description that says how QEMU is started.
#[derive(Deserialize)]
struct Description {
    qemu: Qemu,
}

#[derive(Deserialize)]
struct Qemu {
    machine: String,
    cpu: Option<String>,
    memory: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_each_thing_once_and_only_after_its_prompt() {
        let typed = |after: &str, send: &str| Typed {
            after: after.to_owned(),
            send: send.to_owned(),
            channel: None,
            orders: Vec::new(),
        };
        let script = [typed("# ", "one\n"), typed("# ", "two\n")];
        let mut typist = Typist { typed: &script, seen: BTreeMap::new() };
        assert_eq!(typist.keys(b"booting"), None);
        assert_eq!(typist.keys(b"booting\n# "), Some(b"one\n".to_vec()));
        assert_eq!(typist.keys(b"booting\n# one\n"), None);
        assert_eq!(typist.keys(b"booting\n# one\n# "), Some(b"two\n".to_vec()));
        assert_eq!(typist.keys(b"booting\n# one\n# two\n# "), None);
    }

    #[test]
    fn a_prompt_is_found_although_another_console_interrupts_it() {
        let typed = Typed {
            after: "# ".to_owned(),
            send: "a".to_owned(),
            channel: Some(1),
            orders: Vec::new(),
        };
        let script = [typed];
        let mut typist = Typist { typed: &script, seen: BTreeMap::new() };
        assert_eq!(typist.keys(b"\x1e1#\x1e2# "), None);
        assert_eq!(typist.keys(b"\x1e1#\x1e2# \x1e1 "), Some(b"\x1e1a\x1e0".to_vec()));
    }
}
