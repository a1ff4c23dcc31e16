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

/// The clock of one VM. Counts of the machine are `now`.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    stands_when_kept: bool,
    /// How far the count is behind the machine's.
    behind: u64,
    /// Since when it stands.
    stopped: Option<u64>,
}

impl Clock {
    /// Physical time.
    pub const PHYSICAL: Self = Self { stands_when_kept: false, behind: 0, stopped: None };

    /// Virtual time that is the machine's now.
    pub const VIRTUAL: Self = Self { stands_when_kept: true, behind: 0, stopped: None };

    /// The VM's count.
    #[must_use]
    pub fn count(&self, now: u64) -> u64 {
        self.stopped.unwrap_or(now).wrapping_sub(self.behind)
    }

    /// When a count is reached, as far as is known: not while the clock stands.
    #[must_use]
    pub fn when(&self, count: u64) -> Option<u64> {
        match self.stopped {
            Some(_) => None,
            None => Some(count.saturating_add(self.behind)),
        }
    }

    /// The VM is kept from running.
    pub fn stop(&mut self, now: u64) {
        if self.stands_when_kept && self.stopped.is_none() {
            self.stopped = Some(now);
        }
    }

    /// The VM runs, or waits of its own accord.
    pub fn start(&mut self, now: u64) {
        if let Some(since) = self.stopped.take() {
            self.behind += now - since;
        }
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
        assert_eq!((clock.count(25), clock.when(40)), (25, Some(40)));
    }

    #[test]
    fn while_virtual_time_stands_nothing_is_due() {
        let mut clock = Clock::VIRTUAL;
        clock.stop(10);
        clock.stop(12);
        assert_eq!((clock.count(25), clock.when(40)), (10, None));
        clock.start(30);
        clock.start(31);
        assert_eq!((clock.count(35), clock.when(40)), (15, Some(60)));
        assert_eq!(clock.when(u64::MAX), Some(u64::MAX));
    }

    proptest! {
        #[test]
        fn virtual_time_is_the_time_it_ran(steps in prop::collection::vec((any::<bool>(), 0_u64..1000), 0..50)) {
            let mut clock = Clock::VIRTUAL;
            let (mut now, mut ran) = (0, 0);
            for (runs, length) in steps {
                if runs { clock.start(now) } else { clock.stop(now) }
                prop_assert_eq!(clock.count(now), ran);
                now += length;
                ran += if runs { length } else { 0 };
                prop_assert_eq!(clock.count(now), ran);
                if let Some(when) = clock.when(ran + 7) {
                    prop_assert_eq!(clock.count(when), ran + 7);
                }
            }
        }
    }
}
