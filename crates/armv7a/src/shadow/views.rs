//! Which pair of first-level tables is current, and which gives way to a new one.

use super::{PIECE, Pair, Pieces, ROOT_LEN, Shadow, Side, WINDOW, place, root_place};
use crate::linear::Linear;
use crate::maintenance;
use entresol_abi::HostPhys;

/// Where in a first-level table the piece with the window's entry lies.
const LAST_PIECE: u32 = WINDOW / PIECE * PIECE * 4;

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
        let before = core::mem::replace(&mut self.current, pair);
        self.clock = self.clock.wrapping_add(1);
        let clock = self.clock;
        let mut stale = false;
        if let Some(pair) = self.pairs.get_mut(usize::from(pair)) {
            pair.used = clock;
            pair.live = true;
            stale = core::mem::replace(&mut pair.stale, false);
        }
        if stale {
            let common = self.common(pair, before);
            self.clear_roots(linear, pair, common);
            self.begin_with_common(linear, pair, before, common);
        }
    }

    /// A pair for `asid`: a free one, else the one used longest ago.
    #[inline(never)]
    pub(super) fn take_pair(&mut self, linear: &mut Linear<'_>, asid: u8) -> u8 {
        let mut victim = 1;
        let mut oldest = 0;
        for index in 1..self.pair_count {
            let Pair { live, used, .. } = &self.pairs[place(index)];
            let age = self.clock.wrapping_sub(*used);
            if !live {
                victim = index;
                break;
            }
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
        self.holders &= !(1 << index);
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
            maintenance::forget_asid(self.first_asid + self.root(pair, side));
        }
    }

    /// Empties the first-level tables of a pair, but for pieces of its kernel view.
    #[inline(never)]
    pub(super) fn clear_roots(&mut self, linear: &mut Linear<'_>, pair: u8, mut but: Pieces) {
        for side in Side::BOTH {
            // Both, whether they are used or not.
            let root = u32::from(pair) * 2 + side as u32;
            let mut at = self.roots.at(root);
            let touched = core::mem::take(&mut self.touched[root_place(root)]);
            for (pieces, but) in touched.into_iter().zip(core::mem::take(&mut but)) {
                let mut pieces = pieces & !but;
                // What was never used is skipped: 16 KiB are much to clear for each process.
                let end = at.0 + 32 * PIECE * 4;
                while pieces != 0 {
                    let skipped = pieces.trailing_zeros();
                    let first = at.0 + skipped * PIECE * 4;
                    // The window's entry stays: the table may be in use, on another core.
                    let next = if first & (ROOT_LEN - 1) == LAST_PIECE {
                        linear.zero(HostPhys(first), WINDOW % PIECE * 4);
                        first + (WINDOW % PIECE + 1) * 4
                    } else {
                        first
                    };
                    linear.zero(HostPhys(next), (first + PIECE * 4) - next);
                    pieces &= pieces - 1;
                }
                at = HostPhys(end);
            }
            linear.store(self.first_level(pair, side, WINDOW), self.window);
        }
        if self.stubs.hole() != 0 && pair != 0 {
            let at = self.first_level(pair, Side::Kernel, self.stubs.hole());
            linear.store(at, self.stubs.entry(self.stub_domain()));
            self.touch(pair, Side::Kernel, self.stubs.hole());
        }
        maintenance::entries_written();
    }

    /// Notes that a first-level entry of a pair may hold something.
    #[inline]
    pub(super) fn touch(&mut self, pair: u8, side: Side, index: u32) {
        let piece = index / PIECE;
        let touched = &mut self.touched[root_place(self.root(pair, side))];
        touched[(piece >> 5) as usize & 1] |= 1 << (piece & 31);
    }

    /// The pieces of a pair's kernel view that hold nothing but what is global, for another pair.
    fn common(&self, pair: u8, from: u8) -> Pieces {
        let usable = from != pair && from != 0 && pair != 0;
        if !usable || self.pairs[place(from)].stale {
            return [0; 2];
        }
        let [low, high] = self.touched[root_place(self.root(from, Side::Kernel))];
        [low & !self.private_pieces[0], high & !self.private_pieces[1]]
    }

    /// Puts what is global in the kernel view of one pair into that of another, which is empty but
    /// there. As in a TLB, what is global was filled for all address spaces.
    #[inline(never)]
    fn begin_with_common(&mut self, linear: &mut Linear<'_>, pair: u8, from: u8, common: Pieces) {
        let root = root_place(self.root(pair, Side::Kernel));
        for (half, mut pieces) in common.into_iter().enumerate() {
            self.touched[root][half] |= pieces;
            while pieces != 0 {
                let index = (half as u32 * 32 + pieces.trailing_zeros()) * PIECE;
                let source = self.first_level(from, Side::Kernel, index);
                linear.copy_blocks(source, self.first_level(pair, Side::Kernel, index), PIECE * 4);
                pieces &= pieces - 1;
            }
        }
        maintenance::entries_written();
    }

    /// Notes an entry of the current pair that is not global.
    #[inline]
    pub(super) fn note_private(&mut self, side: Side, index: u32) {
        self.holders |= 1 << self.current;
        if side == Side::Kernel || self.is_joint() {
            let piece = index / PIECE;
            self.private_pieces[(piece >> 5) as usize & 1] |= 1 << (piece & 31);
        }
    }

    /// Sets the entry of the hole in the kernel views of all pairs that hold anything, but in
    /// that of the MMU turned off.
    pub(crate) fn link_hole(&mut self, linear: &mut Linear<'_>, entry: u32) {
        for pair in 1..self.pair_count {
            if !self.pairs[place(pair)].stale {
                linear.store(self.first_level(pair, Side::Kernel, self.stubs.hole()), entry);
                self.touch(pair, Side::Kernel, self.stubs.hole());
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
