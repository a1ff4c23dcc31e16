//! Where an interrupt was that took long: what executed from when it could first have come to its
//! handler.
//!
//! Pure: it is told which blocks of the hypervisor begin, and when.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// So many blocks are remembered.
const REMEMBERED: usize = 2048;
/// Ways of so many lengths are told: the longest.
const LENGTHS: usize = 32;

/// The blocks that were executed last, and the ways that were long.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    /// Where blocks began, and when.
    blocks: VecDeque<(u64, u64)>,
    long: BTreeMap<u64, Way>,
}

/// The first way of a length.
#[derive(Clone, Debug)]
struct Way {
    /// How many had this length.
    number: u64,
    /// Places in their order, and how much was executed in each.
    places: Vec<(u64, u64)>,
}

impl Ways {
    /// A block begins.
    pub(crate) fn block(&mut self, address: u64, now: u64) {
        if self.blocks.len() == REMEMBERED {
            self.blocks.pop_front();
        }
        self.blocks.push_back((address, now));
    }

    /// An interrupt is handled that waited since then.
    pub(crate) fn long(&mut self, since: u64, now: u64) {
        let length = now - since;
        if let Some(way) = self.long.get_mut(&length) {
            way.number += 1;
            return;
        }
        let ends = self.blocks.iter().skip(1).map(|(_, at)| *at).chain([now]);
        let places = self.blocks.iter().zip(ends).filter(|(_, end)| *end > since);
        let places =
            places.map(|((address, at), end)| (*address, end - (*at).max(since))).collect();
        self.long.insert(length, Way { number: 1, places });
        if self.long.len() > LENGTHS {
            self.long.pop_first();
        }
    }
}

impl fmt::Display for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (length, Way { number, places }) in self.long.iter().rev() {
            write!(f, "way {length} {number}")?;
            for (address, spent) in places {
                write!(f, " {address:#x}:{spent}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_begins_inside_of_a_block() {
        let mut ways = Ways::default();
        ways.block(0x1000, 0);
        ways.block(0x2000, 100);
        ways.block(0x3000, 150);
        ways.long(120, 200);
        ways.long(120, 200);
        assert_eq!(ways.to_string(), "way 80 2 0x2000:30 0x3000:50\n");
    }

    #[test]
    fn of_many_lengths_the_longest_are_told() {
        let mut ways = Ways::default();
        for length in 1..=100 {
            ways.long(0, length);
        }
        assert_eq!(ways.to_string().lines().count(), LENGTHS);
        assert!(ways.to_string().starts_with("way 100 1\n"));
    }
}
