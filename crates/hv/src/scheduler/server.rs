//! A sporadic server: how much a vCPU may run, and when it gets back what it used.
//!
//! What is used from a moment on comes back one period after that moment, so that in
//! every stretch of time one period long a vCPU runs no more than its budget: to others
//! it looks like a periodic task. Running longer than allowed, because whoever enforces
//! the budget came late, borrows from what comes next: the error happens once and is
//! repaid, it does not add up.
//!
//! Not responsible for who runs: it is told what was used.
//!
//! # Invariants
//!
//! - The amounts of all refills together are the budget, and none is 0.
//! - Refills are in the order of their times.
//! - Each but the first and the last is at least an eighth of the budget, so there are at
//!   most nine. To keep it so, a smaller one waits for the next and joins it: at any time
//!   less than an eighth of the budget, and what was borrowed last, is late.

/// Room for refills; a power of two above nine.
const CAPACITY: usize = 16;

/// The logarithm of how many budgets may be borrowed.
const LAPS: u32 = 4;

/// Time that may be used from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refill {
    /// The moment.
    pub(super) at: u64,
    /// How much.
    pub(super) amount: u64,
}

impl Refill {
    const NONE: Self = Self { at: 0, amount: 0 };

    /// Both as one, of which no part comes earlier than before. `later` comes later.
    #[inline(never)]
    fn join(self, later: Self) -> Self {
        Self {
            at: self.at.max(later.at.saturating_sub(self.amount)),
            amount: self.amount + later.amount,
        }
    }
}

/// A budget that comes back.
#[derive(Clone, Debug)]
pub(super) struct Server {
    period: u64,
    /// Least amount of a refill between the first and the last.
    grain: u64,
    refills: [Refill; CAPACITY],
    first: usize,
    count: usize,
}

impl Server {
    /// One with its whole budget left, at least 1; it is at most `period`.
    pub(super) fn new(budget: u64, period: u64) -> Self {
        let budget = budget.max(1);
        let mut refills = [Refill::NONE; CAPACITY];
        if let Some(first) = refills.first_mut() {
            first.amount = budget;
        }
        let grain = budget.div_ceil(8);
        Self { period: period.max(budget), grain, refills, first: 0, count: 1 }
    }

    /// When it may run; if that is past, for how long.
    pub(super) fn head(&self) -> Refill {
        self.get(0)
    }

    /// Makes one refill of all that may be used at `now`.
    pub(super) fn gather(&mut self, now: u64) {
        while self.count > 1 && self.get(1).at <= now {
            let joined = self.get(0).join(self.get(1));
            self.pop();
            self.put(0, joined);
        }
    }

    /// Takes off what was used from `since` on, of the first refill only: at most `used`. Returns how
    /// much that is, and how much of it was borrowed. Who has borrowed far more than there is is
    /// forgiven the rest.
    pub(super) fn charge(&mut self, since: u64, used: u64) -> (u64, u64) {
        let head = self.head();
        let ahead = head.at.saturating_sub(since);
        if used == 0 || ahead >> LAPS > self.period {
            return (used, 0);
        }
        let part = used.min(head.amount);
        if part == head.amount {
            self.pop();
        } else {
            self.put(0, Refill { at: head.at + part, amount: head.amount - part });
        }
        let at = head.at.max(since) + self.period;
        self.push(Refill { at, amount: part });
        (part, ahead.min(part))
    }

    fn push(&mut self, refill: Refill) {
        if let Some(last) = self.count.checked_sub(1) {
            let tail = self.get(last);
            let touches = refill.at <= tail.at + tail.amount;
            let small = last > 0 && tail.amount < self.grain;
            if touches || small || self.count == CAPACITY {
                self.put(last, tail.join(refill));
                return;
            }
        }
        self.count += 1;
        self.put(self.count - 1, refill);
    }

    fn pop(&mut self) {
        self.first = (self.first + 1) % CAPACITY;
        self.count = self.count.saturating_sub(1);
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is below the length")]
    fn get(&self, nth: usize) -> Refill {
        self.refills[(self.first + nth) % CAPACITY]
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is below the length")]
    fn put(&mut self, nth: usize, refill: Refill) {
        self.refills[(self.first + nth) % CAPACITY] = refill;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn refills(server: &Server) -> Vec<Refill> {
        (0..server.count).map(|nth| server.get(nth)).collect()
    }

    /// Charges all of it. Returns how much was borrowed.
    fn charge(server: &mut Server, mut since: u64, mut used: u64) -> u64 {
        let mut all = 0;
        while used != 0 {
            let (part, borrowed) = server.charge(since, used);
            (since, used, all) = (since + part, used - part, all + borrowed);
        }
        all
    }

    /// The moments from which each unit of a budget may be used.
    fn units(server: &Server) -> Vec<u64> {
        refills(server).iter().flat_map(|refill| refill.at..refill.at + refill.amount).collect()
    }

    #[test]
    fn what_is_used_comes_back_one_period_after_its_use_began() {
        let mut server = Server::new(20, 100);
        assert_eq!(charge(&mut server, 1000, 8), 0);
        assert_eq!(
            refills(&server),
            [Refill { at: 8, amount: 12 }, Refill { at: 1100, amount: 8 }]
        );
        assert_eq!(charge(&mut server, 1050, 12), 0);
        assert_eq!(
            refills(&server),
            [Refill { at: 1100, amount: 8 }, Refill { at: 1150, amount: 12 }]
        );
    }

    #[test]
    fn coming_late_borrows_and_does_not_add_up() {
        let mut server = Server::new(20, 100);
        for period in 0..100 {
            let Refill { at, amount } = server.head();
            assert_eq!(at / 100, period);
            // 3 too long, each time.
            assert_eq!(charge(&mut server, at, amount + 3), 3);
            assert_eq!(server.head().at % 100, 3);
            assert_eq!(server.head().amount, 17);
        }
    }

    #[test]
    fn all_of_the_time_never_ends() {
        let mut server = Server::new(100, 100);
        for start in (0..10_000).step_by(70) {
            server.gather(start);
            assert!(server.head().at <= start);
            assert_eq!(charge(&mut server, start, 70), 0);
        }
    }

    #[test]
    fn who_is_far_too_late_is_forgiven() {
        let mut server = Server::new(20, 100);
        let (mut pieces, mut left) = (0, 1_000_000);
        while left != 0 {
            left -= server.charge(1_000_000 - left, left).0;
            pieces += 1;
        }
        assert!(pieces < 100, "{pieces}");
        assert_eq!(server.head().at, 2100);
    }

    proptest! {
        #[test]
        fn no_unit_comes_early_and_less_than_an_eighth_late(
            budget in 1_u64..40,
            more in 0_u64..100,
            runs in prop::collection::vec((0_u64..60, 1_u64..30, 0_u64..4), 1..150),
        ) {
            let period = budget + more;
            let mut server = Server::new(budget, period);
            // Each unit on its own: comes back a period after its use.
            let mut naive: VecDeque<u64> = (0..budget).collect();
            let mut now = 100;
            for (idle, want, late) in runs {
                now += idle;
                server.gather(now);
                if server.head().at > now {
                    now = server.head().at;
                    server.gather(now);
                }
                let run = want.min(server.head().amount + late);
                let mut borrowed = 0;
                for tick in now..now + run {
                    let at = naive.pop_front().unwrap();
                    borrowed += u64::from(at > tick);
                    naive.push_back(at.max(tick) + period);
                }
                let said = charge(&mut server, now, run);
                prop_assert!(said <= late && (said > 0 || borrowed == 0), "{said} {borrowed}");
                now += run;

                let units = units(&server);
                prop_assert_eq!(units.len(), naive.len());
                prop_assert!(server.count <= 9);
                let mut sorted: Vec<u64> = naive.iter().copied().collect();
                sorted.sort_unstable();
                for (unit, naive) in units.iter().zip(&sorted) {
                    prop_assert!(unit >= naive || *unit <= now, "{units:?} {sorted:?}");
                }
                for time in &sorted {
                    let time = (*time).max(now);
                    let by = |all: &[u64]| all.iter().filter(|at| **at <= time).count();
                    let late = by(&sorted).saturating_sub(by(&units));
                    // The longest lateness is 3.
                    prop_assert!(u64::try_from(late).unwrap() < server.grain + 3);
                }
            }
        }
    }
}
