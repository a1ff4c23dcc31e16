//! Statistics of the periods in one report.

use core::fmt;

/// Periods seen so far, in ticks of the counter.
pub(crate) struct Periods {
    hz: u32,
    interval: u64,
    pub(crate) count: u32,
    pub(crate) missed: u32,
    min: u64,
    max: u64,
    latency: u64,
}

impl Periods {
    /// None yet. `interval` is the period that is wanted, in ticks.
    pub(crate) const fn new(hz: u32, interval: u64) -> Self {
        Self { hz, interval, count: 0, missed: 0, min: u64::MAX, max: 0, latency: 0 }
    }

    /// Adds the period between two handlers' beginnings, the second for `release`.
    pub(crate) fn add(&mut self, before: u64, handled_at: u64, release: u64) {
        let period = handled_at.wrapping_sub(before);
        self.count += 1;
        self.min = self.min.min(period);
        self.max = self.max.max(period);
        self.latency = self.latency.max(handled_at.saturating_sub(release));
    }

    fn nanoseconds(&self, ticks: u64) -> u64 {
        ticks.saturating_mul(1_000_000_000) / u64::from(self.hz)
    }
}

impl fmt::Display for Periods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deviation = self.max.abs_diff(self.interval).max(self.min.abs_diff(self.interval));
        write!(
            f,
            "rt: periods={} min={} max={} deviation={} missed={} latency={}",
            self.count,
            self.nanoseconds(self.min),
            self.nanoseconds(self.max),
            self.nanoseconds(deviation),
            self.missed,
            self.nanoseconds(self.latency)
        )
    }
}
