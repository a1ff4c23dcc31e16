//! What each core has executed, though it is counted for all of them together.
//!
//! Cores take turns. Wherever they are told apart, each block begins with a call that says on which
//! core; so what was executed since the last call was executed by the core that made it.

use crate::tally::Count;
use core::ffi::c_uint;
use std::sync::Mutex;

/// Cores that are told apart; a machine has no more.
pub(crate) const CORES: usize = 4;

static TURNS: Mutex<Turns> = Mutex::new(Turns::new());

/// What was executed in whose turns.
struct Turns {
    /// The last is for all cores that a machine has nevertheless.
    executed: [Count; CORES + 1],
    /// Whose turn it is, and what all had executed when it was looked last.
    turn: usize,
    looked: Count,
}

impl Turns {
    const fn new() -> Self {
        let none = Count { total: 0, inside: 0 };
        Self { executed: [none; CORES + 1], turn: 0, looked: none }
    }

    /// It is a core's turn, and all have executed so much: what that core has.
    fn executed(&mut self, number: usize, all: Count) -> Count {
        if let Some(executed) = self.executed.get_mut(self.turn) {
            executed.total += all.total - self.looked.total;
            executed.inside += all.inside - self.looked.inside;
        }
        (self.turn, self.looked) = (number, all);
        self.executed.get(number).copied().unwrap_or_default()
    }
}

/// A core's number; [`CORES`] is that of all that are not told apart.
pub(crate) fn number(vcpu: c_uint) -> usize {
    usize::try_from(vcpu).unwrap_or(CORES).min(CORES)
}

/// What the core that executes now has executed before.
pub(crate) fn executed(vcpu: c_uint) -> Count {
    TURNS.lock().map(|mut turns| turns.executed(number(vcpu), crate::now())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_executed_is_the_cores_whose_turn_it_is() {
        let mut turns = Turns::new();
        let at = |total, inside| Count { total, inside };
        assert_eq!(turns.executed(0, at(10, 4)), at(10, 4));
        assert_eq!(turns.executed(1, at(15, 5)), at(0, 0), "its turn begins");
        assert_eq!(turns.executed(1, at(35, 25)), at(20, 20));
        assert_eq!(turns.executed(0, at(36, 25)), at(15, 5), "the other's stands meanwhile");
        assert_eq!(turns.executed(CORES, at(36, 25)), at(0, 0));
    }
}
