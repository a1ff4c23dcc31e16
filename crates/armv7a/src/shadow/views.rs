//! Which pair of first-level tables is current, and which gives way to a new one.

use super::{Pair, ROOT_LEN, Shadow, Side, TOP, TOP_GUEST};
use crate::linear::Linear;
use crate::maintenance;
use crate::translation::{self, WINDOW_DOMAIN};
use entresol_abi::HostPhys;

impl Shadow {
    /// Makes the pair for the MMU turned off current.
    pub(crate) fn activate_off(&mut self, linear: &mut Linear<'_>) {
        self.activate(linear, 0);
    }

    /// Makes the pair of a guest ASID current, taking the one used longest ago if there is
    /// none for it.
    #[inline(never)]
    pub(crate) fn activate_asid(&mut self, linear: &mut Linear<'_>, asid: u8) {
        let known = self.pair_of.get(usize::from(asid)).copied().unwrap_or(0);
        let pair = if known != 0 { known - 1 } else { self.take_pair(linear, asid) };
        self.activate(linear, pair);
    }

    #[inline(never)]
    pub(super) fn activate(&mut self, linear: &mut Linear<'_>, pair: u8) {
        self.current = pair;
        self.clock = self.clock.wrapping_add(1);
        let clock = self.clock;
        let mut stale = false;
        if let Some(pair) = self.pairs.get_mut(usize::from(pair)) {
            pair.used = clock;
            pair.live = true;
            stale = core::mem::replace(&mut pair.stale, false);
        }
        if stale {
            self.clear_roots(linear, pair);
        }
    }

    /// Whether there is a pair for a guest ASID, or for none, that needs no clearing.
    pub(crate) fn holds(&self, asid: Option<u8>) -> bool {
        let pair = match asid {
            Some(asid) => match self.pair_of.get(usize::from(asid)) {
                Some(0) | None => return false,
                Some(known) => known - 1,
            },
            None => 0,
        };
        self.pairs.get(usize::from(pair)).is_some_and(|pair| !pair.stale)
    }

    /// A pair for `asid`: a free one, else the one used longest ago.
    #[inline(never)]
    pub(super) fn take_pair(&mut self, linear: &mut Linear<'_>, asid: u8) -> u8 {
        let mut victim = 1;
        let mut oldest = 0;
        for (index, pair) in (0u8..).zip(&self.pairs).take(usize::from(self.pair_count)).skip(1) {
            if !pair.live {
                victim = index;
                break;
            }
            let age = self.clock.wrapping_sub(pair.used);
            if index != self.current && age >= oldest {
                oldest = age;
                victim = index;
            }
        }
        self.drop_pair(linear, victim);
        if let Some(slot) = self.pair_of.get_mut(usize::from(asid)) {
            *slot = victim + 1;
        }
        if let Some(pair) = self.pairs.get_mut(usize::from(victim)) {
            pair.asid = asid;
        }
        victim
    }

    /// Forgets a pair's ASID and all it holds.
    #[inline(never)]
    pub(super) fn drop_pair(&mut self, linear: &mut Linear<'_>, index: u8) {
        let Some(pair) = self.pairs.get_mut(usize::from(index)) else { return };
        let old = *pair;
        *pair = Pair { stale: true, live: false, private: 0, private_entries: false, ..old };
        if old.live
            && index != 0
            && let Some(slot) = self.pair_of.get_mut(usize::from(old.asid))
        {
            *slot = 0;
        }
        if !old.stale {
            self.tables.free_list(linear, old.private);
            self.forget_pair(index);
        }
    }

    /// Drops a pair's translations from the real TLB.
    pub(super) fn forget_pair(&self, pair: u8) {
        for side in Side::BOTH {
            maintenance::forget_asid(self.first_asid + Self::root(pair, side));
        }
    }

    /// Empties the first-level tables of a pair.
    #[inline(never)]
    pub(super) fn clear_roots(&self, linear: &mut Linear<'_>, pair: u8) {
        for side in Side::BOTH {
            let root = Self::root(pair, side);
            let top = self.tops.at(root);
            linear.zero(self.roots.at(root), ROOT_LEN);
            linear.zero(HostPhys(top.0 + TOP_GUEST * 4), (256 - TOP_GUEST) * 4);
            linear.store(self.first_level(pair, side, TOP), translation::table(top, WINDOW_DOMAIN));
        }
        if self.stubs.hole() != 0 && pair != 0 {
            let at = self.first_level(pair, Side::Kernel, self.stubs.hole());
            linear.store(at, self.stubs.entry());
        }
        maintenance::entries_written();
    }

    /// Sets the entry of the hole in the kernel views of all pairs that hold anything, but in
    /// that of the MMU turned off.
    pub(crate) fn link_hole(&self, linear: &mut Linear<'_>, entry: u32) {
        for (index, pair) in (0u8..).zip(&self.pairs).take(usize::from(self.pair_count)).skip(1) {
            if !pair.stale {
                linear.store(self.first_level(index, Side::Kernel, self.stubs.hole()), entry);
            }
        }
        maintenance::entries_written();
    }

    /// Whether any view shows something in a megabyte.
    pub(crate) fn shows(&self, linear: &Linear<'_>, megabyte: u32) -> bool {
        let pairs = (0u8..).zip(&self.pairs).take(usize::from(self.pair_count)).skip(1);
        pairs.filter(|(_, pair)| !pair.stale).any(|(index, _)| {
            let entry = |side| linear.load::<u32>(self.first_level(index, side, megabyte));
            Side::BOTH.into_iter().any(|side| entry(side) != 0)
        })
    }
}
