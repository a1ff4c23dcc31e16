//! Runs other programs: says what for, and shows command and output when one fails.
//!
//! Everything goes to standard error: standard output belongs to the chore's result.

use anyhow::{Context, Result, bail};
use std::io::Write;
use std::panic::resume_unwind;
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

/// One announced piece of work.
pub(crate) struct Step {
    what: String,
    begun: Instant,
}

impl Step {
    /// One of several at once: says nothing until it is done.
    pub(crate) fn beside(what: &str) -> Self {
        Self { what: what.to_owned(), begun: Instant::now() }
    }

    /// Says what it was and how it went, in one line, and names the step in an error.
    pub(crate) fn end_beside<T>(self, result: Result<T>) -> Result<T> {
        let how = if result.is_ok() { "ok" } else { "FAILED" };
        eprintln!("  {} ... {how} ({:.1} s)", self.what, self.begun.elapsed().as_secs_f32());
        result.context(self.what)
    }

    /// Announces it.
    pub(crate) fn new(what: &str) -> Self {
        eprint!("  {what} ... ");
        let _ = std::io::stderr().flush();
        Self { what: what.to_owned(), begun: Instant::now() }
    }

    /// Says how it went, and how long it took.
    pub(crate) fn done(self, how: &str) {
        eprintln!("{how} ({:.1} s)", self.begun.elapsed().as_secs_f32());
    }

    /// Says how it went, and names the step in an error.
    pub(crate) fn end<T>(self, result: Result<T>) -> Result<T> {
        let what = self.what.clone();
        self.done(if result.is_ok() { "ok" } else { "FAILED" });
        result.context(what)
    }

    /// Runs one command as the whole step and returns its standard output.
    ///
    /// # Errors
    ///
    /// The command line and its output, if it cannot be started or fails.
    pub(crate) fn run(self, command: &mut Command) -> Result<String> {
        self.end(run(command))
    }
}

/// Most pieces of work at once: QEMU takes one core, and its limits are in the host's time.
const MOST_AT_ONCE: usize = 2;

/// Does some pieces of work at once, and returns what came of `each`, in their order.
pub(crate) fn at_once<T: Sync, R: Send>(work: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let workers = thread::available_parallelism().map_or(1, usize::from).min(MOST_AT_ONCE);
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = work.get(index) else { return done };
            done.push((index, each(piece)));
        }
    };
    let mut done: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        let joined = workers.into_iter().map(ScopedJoinHandle::join);
        joined.flat_map(|done| done.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Runs a command and returns its standard output.
///
/// # Errors
///
/// The command line and its output, if it cannot be started or fails.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{} ({})\n{text}{errors}", shown(command), output.status);
    }
    Ok(text)
}

/// Runs a command and returns output and status, whatever the status.
///
/// # Errors
///
/// The command line, if it cannot be started.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", shown(command)))
}

/// Gives the terminal to a command and returns its status as this program's.
///
/// # Errors
///
/// The command line, if it cannot be started.
pub(crate) fn hand_over(command: &mut Command) -> Result<ExitCode> {
    let status = command.status().with_context(|| format!("cannot run {}", shown(command)))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

/// An error and what caused it, without a backtrace.
pub(crate) fn explained(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join("\n  because: ")
}

/// A command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}
