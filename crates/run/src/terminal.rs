//! The terminal in raw mode, and back again whatever happens.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io;

/// Keeps the terminal of standard input in raw mode while it lives.
#[derive(Debug)]
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    /// Enters raw mode.
    pub(crate) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        tcsetattr(io::stdin(), OptionalActions::Now, &self.before).ok();
    }
}
