//! A running system as tests see it: expect, send, wait.
//!
//! ```no_run
//! # use entresol_run::{Channel, Qemu, Session};
//! # use std::{path::Path, time::Duration};
//! # fn test(qemu: &Qemu) -> Result<(), entresol_run::session::Failure> {
//! let limit = Duration::from_secs(60);
//! let mut session = Session::start(qemu, Path::new("system.elf"), limit)?;
//! session.expect(Channel(1), "~ # ", limit)?;
//! session.send(Channel(1), b"poweroff\n");
//! assert_eq!(session.wait()?, entresol_run::Ended::Exit(0));
//! # Ok(()) }
//! ```

use crate::{
    process::{Ended, Error, Event, Process, watch_signals},
    qemu::Qemu,
};
use entresol_abi::console::{Channel, Demultiplexer, Multiplexer};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};
use thiserror::Error as ThisError;

/// Why a session failed.
#[derive(Debug, ThisError)]
pub enum Failure {
    /// QEMU failed.
    #[error(transparent)]
    Run(#[from] Error),
    /// The text did not come in time.
    #[error("no {text:?} from channel {channel} within {waited:?}; it said:\n{said}")]
    NotSaid {
        /// The channel.
        channel: u8,
        /// The text.
        text: String,
        /// How long was waited.
        waited: Duration,
        /// What the channel said last.
        said: String,
    },
    /// The machine ended before the text came.
    #[error(
        "the machine ended ({ended:?}) before {text:?} from channel {channel}; it said:\n{said}"
    )]
    EndedBefore {
        /// The channel.
        channel: u8,
        /// The text.
        text: String,
        /// How it ended.
        ended: Ended,
        /// What the channel said last, and QEMU itself.
        said: String,
    },
}

/// What one channel said.
#[derive(Debug, Default)]
struct Console {
    said: Vec<u8>,
    /// Where the next [`Session::expect`] starts to look.
    seen: usize,
}

/// A running system.
#[derive(Debug)]
pub struct Session {
    process: Process,
    events: Receiver<Event>,
    deadline: Instant,
    demultiplexer: Demultiplexer,
    multiplexer: Multiplexer,
    consoles: BTreeMap<u8, Console>,
    complaints: Vec<u8>,
    closed: bool,
    /// A signal asked to stop.
    interrupted: bool,
}

impl Session {
    /// Starts `image`; the machine is ended after `limit` of the host's time.
    ///
    /// # Errors
    ///
    /// When QEMU cannot be started.
    pub fn start(qemu: &Qemu, image: &Path, limit: Duration) -> Result<Self, Failure> {
        Self::start_with(qemu, image, limit, |_| Ok(()))
    }

    /// The same for a program that a user may interrupt: a signal ends the machine, and
    /// what waits for it is told so.
    ///
    /// # Errors
    ///
    /// When QEMU cannot be started.
    pub fn start_interruptible(
        qemu: &Qemu,
        image: &Path,
        limit: Duration,
    ) -> Result<Self, Failure> {
        Self::start_with(qemu, image, limit, watch_signals)
    }

    fn start_with(
        qemu: &Qemu,
        image: &Path,
        limit: Duration,
        more: impl Fn(&Sender<Event>) -> Result<(), Error>,
    ) -> Result<Self, Failure> {
        let (sender, events) = mpsc::channel();
        more(&sender)?;
        Ok(Self {
            process: Process::start(qemu, image, &sender)?,
            events,
            deadline: Instant::now() + limit,
            demultiplexer: Demultiplexer::new(),
            multiplexer: Multiplexer::new(),
            consoles: BTreeMap::new(),
            complaints: Vec::new(),
            closed: false,
            interrupted: false,
        })
    }

    /// Sends bytes to a channel's console.
    pub fn send(&mut self, channel: Channel, bytes: &[u8]) {
        let framed = bytes.iter().flat_map(|byte| {
            let framed = self.multiplexer.frame(channel, *byte);
            framed.as_slice().to_vec()
        });
        let framed = framed.collect();
        self.process.line().send(framed);
    }

    /// Waits until `channel` says `text`, from behind the last text expected there.
    /// Returns what it said up to and with `text`.
    ///
    /// # Errors
    ///
    /// [`Failure::NotSaid`] after `timeout`, [`Failure::EndedBefore`].
    pub fn expect(
        &mut self,
        channel: Channel,
        text: &str,
        timeout: Duration,
    ) -> Result<String, Failure> {
        let start = Instant::now();
        let until = (start + timeout).min(self.deadline);
        loop {
            if let Some(said) = self.take(channel, text) {
                return Ok(said);
            }
            if self.closed {
                let ended = self.wait()?;
                let said = format!("{}{}", self.tail(channel), self.complaints());
                let (channel, text) = (channel.0, text.to_owned());
                return Err(Failure::EndedBefore { channel, text, ended, said });
            }
            if !self.pump(until) {
                let said = self.tail(channel);
                let (channel, text, waited) = (channel.0, text.to_owned(), start.elapsed());
                return Err(Failure::NotSaid { channel, text, waited, said });
            }
        }
    }

    /// All a channel has said so far, as text.
    #[must_use]
    pub fn output(&self, channel: Channel) -> String {
        let said = self.consoles.get(&channel.0).map_or(&[][..], |console| &console.said);
        String::from_utf8_lossy(said).into_owned()
    }

    /// What QEMU itself said, on standard error.
    #[must_use]
    pub fn complaints(&self) -> String {
        String::from_utf8_lossy(&self.complaints).into_owned()
    }

    /// Waits for the end, or ends the machine when its time limit has passed.
    ///
    /// # Errors
    ///
    /// When the system cannot tell.
    pub fn wait(&mut self) -> Result<Ended, Failure> {
        while !self.closed {
            if !self.pump(self.deadline) {
                self.process.kill();
                return Ok(Ended::TimeLimit);
            }
        }
        if self.interrupted {
            self.process.kill();
            return Ok(Ended::Killed);
        }
        loop {
            if let Some(ended) = self.process.ended()? {
                return Ok(ended);
            }
            if Instant::now() >= self.deadline {
                self.process.kill();
                return Ok(Ended::TimeLimit);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Asks the machine to end, so that a plugin reports; kills it after `patience`.
    pub fn end(&mut self, patience: Duration) {
        self.process.end(patience);
    }

    /// Ends the machine now.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Takes in what comes until the first event or `until`; false if nothing came.
    fn pump(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        match self.events.recv_timeout(left) {
            Ok(Event::Serial(bytes)) => {
                for byte in bytes {
                    if let Some((channel, byte)) = self.demultiplexer.push(byte) {
                        self.consoles.entry(channel.0).or_default().said.push(byte);
                    }
                }
            }
            Ok(Event::Complaint(bytes)) => self.complaints.extend(bytes),
            Ok(Event::Closed) | Err(RecvTimeoutError::Disconnected) => self.closed = true,
            Ok(Event::Signal(_)) => (self.closed, self.interrupted) = (true, true),
            Ok(Event::Typed(_)) => {}
            Err(RecvTimeoutError::Timeout) => return false,
        }
        true
    }

    fn take(&mut self, channel: Channel, text: &str) -> Option<String> {
        let console = self.consoles.entry(channel.0).or_default();
        let unseen = console.said.get(console.seen..)?;
        let at = if text.is_empty() {
            0
        } else {
            unseen.windows(text.len()).position(|window| window == text.as_bytes())?
        };
        let said = unseen.get(..at + text.len())?;
        let said_text = String::from_utf8_lossy(said).into_owned();
        console.seen += said.len();
        Some(said_text)
    }

    /// The last lines of a channel.
    fn tail(&self, channel: Channel) -> String {
        const LINES: usize = 20;
        let output = self.output(channel);
        let lines: Vec<&str> = output.lines().collect();
        lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    /// A program in place of QEMU: a shell script with our pipes.
    fn session(script: &str, limit: Duration) -> (Session, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("qemu");
        // Written by a process of its own: a child of another test, forked while this one had it
        // open for writing, would keep it from being executed.
        let written = std::process::Command::new("/bin/sh")
            .args(["-c", r#"printf '#!/bin/sh\n%s\n' "$2" >"$1" && chmod 755 "$1""#, "sh"])
            .arg(&program)
            .arg(script)
            .status();
        assert!(written.unwrap().success());
        let qemu = Qemu {
            binary: program.display().to_string(),
            machine: "none".into(),
            cpu: None,
            cores: 1,
            memory: "0".into(),
            args: Vec::new(),
        };
        (Session::start(&qemu, Path::new("x"), limit).unwrap(), directory)
    }

    #[test]
    fn expects_in_order_on_each_channel_and_reports_the_exit_status() {
        let script = r"printf 'up\n\0361one two\n\0362other\n'; exit 3";
        let (mut session, _directory) = session(script, SOON);
        session.expect(Channel(1), "two", SOON).unwrap();
        session.expect(Channel(2), "other", SOON).unwrap();
        session.expect(Channel(0), "up", SOON).unwrap();
        let failure = session.expect(Channel(1), "one", SOON).unwrap_err();
        assert!(matches!(failure, Failure::EndedBefore { ended: Ended::Exit(3), .. }));
    }

    #[test]
    fn what_is_sent_is_framed_for_its_channel() {
        let (mut session, _directory) = session("head -c 4 | od -An -tx1", SOON);
        session.send(Channel(2), b"hi");
        session.expect(Channel(0), "1e 32 68 69", SOON).unwrap();
    }

    #[test]
    fn the_time_limit_ends_the_machine() {
        let (mut session, _directory) = session("exec sleep 60", Duration::from_millis(100));
        assert_eq!(session.wait().unwrap(), Ended::TimeLimit);
    }
}
