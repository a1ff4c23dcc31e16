//! A VM's clock: what its counters and timers count.
//!
//! A clock of *physical* time is the machine's counter. One of *virtual* time stands while
//! its VM is kept from running: when another runs in its place, its budget is used up or its slot
//! is over. It goes on while the VM waits for an interrupt, or no wait would end.
//!
//! Not responsible for knowing when that is, nor for what is compared with the count
//! ([`timer`](crate::timer), [`pl031`](crate::pl031)).
//!
//! # Invariants
//!
//! - The count never goes back, and never runs ahead of the machine's.

use crate::NEVER;

/// The clock of one VM. Counts of the machine are `now`.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    stands_when_kept: bool,
    /// How far the count is behind the machine's.
    behind: u64,
    /// Since when it stands; [`NEVER`] while it goes.
    stopped: u64,
}

impl Clock {
    /// Physical time.
    pub const PHYSICAL: Self = Self { stands_when_kept: false, behind: 0, stopped: NEVER };

    /// Virtual time that is the machine's now.
    pub const VIRTUAL: Self = Self { stands_when_kept: true, behind: 0, stopped: NEVER };

    /// The VM's count.
    #[must_use]
    pub fn count(&self, now: u64) -> u64 {
        let now = if self.stopped == NEVER { now } else { self.stopped };
        now.wrapping_sub(self.behind)
    }

    /// When a count is reached, as far as is known: not while the clock stands.
    #[must_use]
    pub const fn when(&self, count: u64) -> u64 {
        if self.stopped == NEVER { count.saturating_add(self.behind) } else { NEVER }
    }

    /// The VM is kept from running.
    pub fn stop(&mut self, now: u64) {
        if self.stands_when_kept && self.stopped == NEVER {
            self.stopped = now;
        }
    }

    /// The VM runs, or waits of its own accord. Whether it stood.
    pub fn start(&mut self, now: u64) -> bool {
        let stood = self.stopped != NEVER;
        if stood {
            self.behind += now - self.stopped;
            self.stopped = NEVER;
        }
        stood
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn physical_time_is_the_machines_whether_or_not_the_vm_runs() {
        let mut clock = Clock::PHYSICAL;
        clock.stop(10);
        assert_eq!((clock.count(25), clock.when(40)), (25, 40));
    }

    #[test]
    fn while_virtual_time_stands_nothing_is_due() {
        let mut clock = Clock::VIRTUAL;
        clock.stop(10);
        clock.stop(12);
        assert_eq!((clock.count(25), clock.when(40)), (10, NEVER));
        clock.start(30);
        clock.start(31);
        assert_eq!((clock.count(35), clock.when(40)), (15, 60));
        assert_eq!(clock.when(NEVER), NEVER);
    }

    proptest! {
        #[test]
        fn virtual_time_is_the_time_it_ran(steps in prop::collection::vec((any::<bool>(), 0_u64..1000), 0..50)) {
            let mut clock = Clock::VIRTUAL;
            let (mut now, mut ran) = (0, 0);
            for (runs, length) in steps {
                if runs { clock.start(now); } else { clock.stop(now); }
                prop_assert_eq!(clock.count(now), ran);
                now += length;
                ran += if runs { length } else { 0 };
                prop_assert_eq!(clock.count(now), ran);
                let when = clock.when(ran + 7);
                if when != NEVER {
                    prop_assert_eq!(clock.count(when), ran + 7);
                }
            }
        }
    }
}
