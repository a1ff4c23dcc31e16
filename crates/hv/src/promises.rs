//! What a VM promised to have done by when: its heartbeats, and deadlines of its own.
//!
//! Not responsible for what follows when one is broken.
//!
//! # Invariants
//!
//! - What was broken is overdue until somebody takes it.

use crate::NEVER;
use entresol_abi::health::Event;

/// The promises of one VM. Counts are those of its clock.
#[derive(Clone, Copy, Debug)]
pub struct Promises {
    /// From one heartbeat to the next, in ticks; 0 for none.
    period: u32,
    heartbeat: u64,
    deadline: u64,
    broken: Option<Event>,
}

impl Promises {
    /// None; heartbeats are to come every `period` ticks, if that is not 0.
    #[must_use]
    pub const fn new(period: u32) -> Self {
        Self { period, heartbeat: NEVER, deadline: NEVER, broken: None }
    }

    /// The VM's run ended, and what it promised with it.
    pub const fn forget(&mut self) {
        *self = Self::new(self.period);
    }

    /// It is alive, or has just been started.
    #[inline(never)]
    pub fn beat(&mut self, now: u64) {
        if self.period != 0 {
            self.heartbeat = now.saturating_add(u64::from(self.period));
        }
    }

    /// It will have done something in so many ticks; 0: it promises nothing more.
    pub const fn promise(&mut self, ticks: u64, now: u64) {
        self.deadline = if ticks == 0 { NEVER } else { now.saturating_add(ticks) };
    }

    /// Notes what was broken by `now`.
    #[inline]
    pub const fn update(&mut self, now: u64) {
        if self.deadline <= now {
            self.deadline = NEVER;
            self.broken = Some(Event::Deadline);
        }
        if self.heartbeat <= now {
            self.heartbeat = NEVER;
            self.broken = Some(Event::Heartbeat);
        }
    }

    /// Something else of the VM's failed.
    pub const fn broke(&mut self, event: Event) {
        self.broken = Some(event);
    }

    /// What was broken since this was asked last. A heartbeat is expected again.
    pub fn take_broken(&mut self, now: u64) -> Option<Event> {
        let broken = self.broken.take();
        if broken == Some(Event::Heartbeat) {
            self.beat(now);
        }
        broken
    }

    /// When the first is broken.
    #[inline]
    #[must_use]
    pub fn first(&self) -> u64 {
        if self.broken.is_some() { 0 } else { self.deadline.min(self.heartbeat) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_beats_in_time_breaks_nothing() {
        let mut promises = Promises::new(100);
        for now in (0..10_000).step_by(99) {
            promises.beat(now);
            promises.update(now + 99);
            assert_eq!(promises.first(), now + 100);
        }
    }

    #[test]
    fn a_heartbeat_that_does_not_come_is_overdue_until_that_is_told() {
        let mut promises = Promises::new(100);
        promises.beat(0);
        promises.update(100);
        promises.update(130);
        assert_eq!(promises.first(), 0);
        assert_eq!(promises.take_broken(140), Some(Event::Heartbeat));
        assert_eq!(promises.first(), 240);
        assert_eq!((promises.take_broken(200), promises.first()), (None, 240));
    }

    #[test]
    fn a_deadline_is_missed_once_unless_it_is_withdrawn() {
        let mut promises = Promises::new(0);
        promises.beat(0);
        promises.promise(50, 0);
        promises.promise(0, 10);
        promises.update(60);
        assert_eq!(promises.first(), NEVER);
        promises.promise(10, 60);
        promises.update(70);
        assert_eq!(promises.take_broken(70), Some(Event::Deadline));
        assert_eq!((promises.take_broken(70), promises.first()), (None, NEVER));
    }

    #[test]
    fn an_end_withdraws_all() {
        let mut promises = Promises::new(100);
        promises.beat(0);
        promises.promise(10, 0);
        promises.forget();
        promises.update(1000);
        assert_eq!(promises.first(), NEVER);
        promises.beat(2000);
        assert_eq!(promises.first(), 2100, "the period stays");
    }
}
