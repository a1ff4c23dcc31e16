//! A guest that never waits, and measures when it runs by gaps in the counter it reads.
//!
//! It reads the counter again and again. Two readings further apart than [`GAP`] mean
//! that it did not run in between; what lies between two gaps is one stretch of running:
//!
//! ```text
//! spin: stretches=200 share=20.00 run=199800..200120 period=999900..1000100
//! ```
//!
//! `share` is the per cent of the time it ran, `run` the shortest and longest stretch,
//! `period` the shortest and longest time from one stretch's start to the next's, both in
//! nanoseconds. The resolution is that of two readings, a few hundred nanoseconds.
#![no_std]

use entresol_guest::{println, timer};

/// Nanoseconds between two readings that mean a gap: longer than an interrupt of the
/// hypervisor takes, shorter than anybody else's turn.
const GAP: u32 = 3_000;

/// The shortest and longest of some times in ticks.
struct Extremes {
    least: u64,
    most: u64,
}

impl Extremes {
    const fn new() -> Self {
        Self { least: u64::MAX, most: 0 }
    }

    fn add(&mut self, ticks: u64) {
        self.least = self.least.min(ticks);
        self.most = self.most.max(ticks);
    }
}

/// Waits for the next gap after the reading `before`. Returns the last reading before it and the
/// first behind it.
fn next_gap(gap: u64, mut before: u64) -> (u64, u64) {
    loop {
        let now = timer::now();
        if now - before > gap {
            return (before, now);
        }
        before = now;
    }
}

/// Reports of so many stretches each, for ever or until there were as many. Returns 0.
pub fn run(stretches: u32, reports: Option<u32>) -> u32 {
    let hz = timer::frequency();
    let ns = |ticks: u64| ticks * 1_000_000_000 / u64::from(hz);
    let gap = u64::from(GAP) * u64::from(hz) / 1_000_000_000;
    let mut reported = 0;
    while reports != Some(reported) {
        reported += 1;
        // What was printed before counts in no stretch.
        let (_, first) = next_gap(gap, timer::now());
        let mut start = first;
        let (mut run, mut period) = (Extremes::new(), Extremes::new());
        let mut ran = 0;
        for _ in 0..stretches {
            let (end, next) = next_gap(gap, start);
            run.add(end - start);
            period.add(next - start);
            ran += end - start;
            start = next;
        }
        let share = ran * 10_000 / (start - first);
        println!(
            "spin: stretches={stretches} share={}.{:02} run={}..{} period={}..{}",
            share / 100,
            share % 100,
            ns(run.least),
            ns(run.most),
            ns(period.least),
            ns(period.most)
        );
    }
    println!("spin: done");
    0
}
