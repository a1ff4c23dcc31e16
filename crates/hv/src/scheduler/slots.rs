//! A table of time slots that repeats: who may run when, in the manner of ARINC 653.
//!
//! The slots follow each other without a gap and make up the major frame. Every boundary
//! is a sum of lengths from the frame's first start, so none is moved by lateness in
//! noticing it.
//!
//! # Invariants
//!
//! - No slot has length 0; `frame` is the sum of the lengths.

use crate::NEVER;
use crate::quotient::Divisor;
use entresol_abi::image::{MAX_SLOTS, MAX_VMS};

/// Every vCPU.
pub(super) const ALL: u32 = (1 << MAX_VMS) - 1;

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its length in ticks.
    pub length: u64,
    /// Who may run in it: bit *n* for the vCPU with index *n*.
    pub open: u32,
}

/// The table; what is large comes last, as in the scheduler.
#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct Table {
    count: usize,
    frame: u64,
    /// The frame, if there is one.
    frames: Divisor,
    current: usize,
    /// Who may run in the current slot.
    open: u32,
    end: u64,
    slots: [Slot; MAX_SLOTS],
}

impl Table {
    /// Without slots: open to all, for ever.
    pub(super) const NONE: Self = Self {
        slots: [Slot { length: 0, open: ALL }; MAX_SLOTS],
        count: 0,
        frame: 0,
        frames: Divisor::ONE,
        current: 0,
        open: ALL,
        end: NEVER,
    };

    /// The slots that have a length, as many as there is room for, from `now` on.
    pub(super) fn new(slots: &[Slot], now: u64) -> Self {
        let mut table = Self::NONE;
        for (to, slot) in table.slots.iter_mut().zip(slots.iter().filter(|slot| slot.length > 0)) {
            *to = *slot;
            table.count += 1;
            table.frame += slot.length;
        }
        if table.frame > 0 {
            // As if the last one ended.
            (table.current, table.end) = (table.count, now);
            table.frames = Divisor::new(table.frame);
        }
        table
    }

    /// Moves to the slot of `now`.
    #[inline(never)]
    pub(super) fn turn(&mut self, now: u64) {
        if self.frame == 0 {
            return;
        }
        if now.saturating_sub(self.end) >= self.frame {
            self.end += self.frames.divide(now - self.end) * self.frame;
        }
        while now >= self.end {
            self.current += 1;
            if self.current >= self.count {
                self.current = 0;
            }
            let Some(&Slot { length, open }) = self.slots.get(self.current) else { return };
            self.open = open & ALL;
            self.end += length;
        }
    }

    /// Who may run.
    pub(super) const fn open(&self) -> u32 {
        self.open
    }

    /// When the slot ends.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slot(length: u64, open: u32) -> Slot {
        Slot { length, open }
    }

    #[test]
    fn without_slots_all_is_open_for_ever() {
        let mut table = Table::new(&[slot(0, 1)], 0);
        table.turn(u64::MAX);
        assert_eq!(table.open(), ALL);
        assert_eq!(table.end(), NEVER);
    }

    proptest! {
        #[test]
        fn boundaries_are_sums_of_lengths(
            lengths in prop::collection::vec(0_u64..50, 1..MAX_SLOTS),
            start in 0_u64..1000,
            steps in prop::collection::vec(0_u64..400, 0..50),
        ) {
            prop_assume!(lengths.iter().any(|length| *length > 0));
            let slots: Vec<Slot> =
                (0_u32..).zip(&lengths).map(|(open, length)| slot(*length, open)).collect();
            let frame: u64 = lengths.iter().sum();
            let mut table = Table::new(&slots, start);
            let mut now = start;
            for step in steps {
                now += step;
                let mut inside = (now - start) % frame;
                let expected = slots
                    .iter()
                    .find(|slot| match inside.checked_sub(slot.length) {
                        Some(rest) => { inside = rest; false }
                        None => true,
                    })
                    .unwrap();
                table.turn(now);
                prop_assert_eq!(table.open(), expected.open);
                prop_assert_eq!(table.end(), now - inside + expected.length);
            }
        }
    }
}
