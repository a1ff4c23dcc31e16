//! One running QEMU, from start to end.
//!
//! Three threads stand between the pipes and the owner: one collects what the
//! machine's UART says, one what QEMU says on standard error, one writes input ([`Line`]), so
//! that neither side can block the other. Everything arrives as [`Event`]s on one
//! channel, which the owner may share with sources of its own.
//!
//! # Invariants
//!
//! 1. QEMU does not outlive its [`Process`]: dropping it kills and reaps the child.
//! 2. Only that child is killed, by SIGKILL in the end, because QEMU has ignored SIGTERM while
//!    idle under `sleep=off`. A plugin reports at the end only if SIGTERM came first.

use crate::{line::Line, qemu::Qemu};
use miette::Diagnostic;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    io::{self, Read},
    path::Path,
    process::{Child, ExitStatus},
    sync::mpsc::Sender,
    thread,
    time::{Duration, Instant},
};
use thiserror::Error;

/// Why a run failed.
#[derive(Debug, Error, Diagnostic)]
pub enum Error {
    /// QEMU is not there.
    #[error("cannot start {binary}: {error}")]
    #[diagnostic(
        code(run::no_qemu),
        help("install QEMU for Arm (Debian: qemu-system-arm), or correct the machine's [qemu]")
    )]
    NoQemu {
        /// The program.
        binary: String,
        /// Why not.
        error: io::Error,
    },
    /// The serial line cannot be used.
    #[error("cannot use the serial line {name}: {error}")]
    #[diagnostic(
        code(run::no_line),
        help(
            "name a terminal device such as /dev/ttyUSB0 that no other program uses, a socket's path, or HOST:PORT"
        )
    )]
    NoLine {
        /// As it was named.
        name: String,
        /// Why not.
        error: io::Error,
    },
    /// Reading or writing failed.
    #[error("the terminal or log failed: {0}")]
    #[diagnostic(code(run::io))]
    Io(#[from] io::Error),
}

/// What happens while a machine runs.
#[derive(Debug)]
pub enum Event {
    /// The machine's UART said this.
    Serial(Vec<u8>),
    /// QEMU itself said this, on standard error.
    Complaint(Vec<u8>),
    /// The machine's UART is closed: QEMU ended or is about to.
    Closed,
    /// The user typed this.
    Typed(Vec<u8>),
    /// A signal asks to stop.
    Signal(i32),
}

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status: 0 if every VM ended well.
    Exit(i32),
    /// QEMU was killed by someone else.
    Killed,
    /// The time limit passed; it was ended.
    TimeLimit,
    /// The user ended it.
    Quit,
}

/// A running QEMU.
#[derive(Debug)]
pub struct Process {
    child: Child,
    line: Line,
}

impl Process {
    /// Starts `image`; events go to `events`.
    ///
    /// # Errors
    ///
    /// [`Error::NoQemu`].
    pub fn start(qemu: &Qemu, image: &Path, events: &Sender<Event>) -> Result<Self, Error> {
        let mut child = qemu
            .command(image)
            .spawn()
            .map_err(|error| Error::NoQemu { binary: qemu.binary.clone(), error })?;
        let line = match child.stdin.take() {
            Some(stdin) => Line::to(stdin),
            None => Line::to(io::sink()),
        };
        if let Some(stdout) = child.stdout.take() {
            let events = events.clone();
            thread::spawn(move || {
                forward(stdout, &events, Event::Serial);
                events.send(Event::Closed).ok();
            });
        }
        if let Some(stderr) = child.stderr.take() {
            let events = events.clone();
            thread::spawn(move || forward(stderr, &events, Event::Complaint));
        }
        Ok(Self { child, line })
    }

    /// The machine's UART.
    #[must_use]
    pub const fn line(&self) -> &Line {
        &self.line
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    ///
    /// When the system cannot tell.
    pub fn ended(&mut self) -> Result<Option<Ended>, Error> {
        Ok(self.child.try_wait()?.map(meaning))
    }

    /// Asks it to end, and kills it if it has not after `patience`.
    pub fn end(&mut self, patience: Duration) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Some(pid), Ok(None)) = (pid, self.child.try_wait()) {
            // It is our child and was not waited for, so the number is still its own.
            kill_process(pid, Signal::TERM).ok();
            let until = Instant::now() + patience;
            while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
                thread::sleep(Duration::from_millis(2));
            }
        }
        self.kill();
    }

    /// Kills it.
    pub fn kill(&mut self) {
        // Both fail only when it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn meaning(status: ExitStatus) -> Ended {
    status.code().map_or(Ended::Killed, Ended::Exit)
}

/// Sends the signals that ask to stop.
pub(crate) fn watch_signals(events: &Sender<Event>) -> Result<(), Error> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let events = events.clone();
    thread::spawn(move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Sends everything read from `source` until it ends.
pub(crate) fn forward(
    mut source: impl Read,
    events: &Sender<Event>,
    event: impl Fn(Vec<u8>) -> Event,
) {
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = source.read(&mut buffer) {
        let bytes = buffer.get(..len).unwrap_or_default().to_vec();
        if events.send(event(bytes)).is_err() {
            return;
        }
    }
}
