//! Stretches of the hypervisor's execution in which no interrupt is taken.
//!
//! Pure: it is told what executes and says how long the stretches were and where they were
//! spent. A stretch begins when execution enters the window, and after each instruction at which
//! the hypervisor takes or looks for an interrupt; it ends there, or when execution leaves
//! the window. The one up to the first guest's first instruction, the hypervisor's own start,
//! does not count.

use crate::tally::Count;
use std::collections::{BTreeMap, HashSet};

/// Shorter stretches are counted, but not explained.
const EXPLAINED: u64 = 400;
/// So many are explained: the longest of each kind.
const KINDS: usize = 24;
/// Most instructions from a guest's vector to its handler.
const VECTOR: u64 = 16;
/// So many places explain a stretch.
const PLACES: usize = 80;

/// What an instruction does to interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Enables them.
    Enables,
    /// Disables them.
    Disables,
    /// Looks for one.
    Polls,
    /// Waits for one.
    Waits,
    /// Returns from an exception: what is pending is taken before the instruction that follows.
    Returns,
    /// Took one.
    Takes,
}

impl Effect {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 6] =
        [Self::Enables, Self::Disables, Self::Polls, Self::Waits, Self::Returns, Self::Takes];

    /// Its place in [`Effect::ALL`].
    pub(crate) fn number(self) -> usize {
        Self::ALL.iter().position(|effect| *effect == self).unwrap_or(Self::ALL.len())
    }
}

/// What an instruction of the hypervisor does to interrupts, from its four bytes as a
/// little-endian word. A T32 instruction has its first half in the low half.
pub(crate) fn effect(word: u32) -> Option<Effect> {
    /// `mrc p15, 0, rX, c12, c1, 0`: ISR.
    const STATUS: u32 = 0xee1c_0f11;
    let wide = word.rotate_left(16);
    match word {
        // `cpsie i`; `rfeia sp!`, which resumes what was interrupted
        0xf108_0080 | 0xf8bd_0a00 => Some(Effect::Enables),
        // `cpsid i`; with a mode
        0xf10c_0080 | 0xf10e_0093 => Some(Effect::Disables),
        // `wfi`
        0xe320_f003 => Some(Effect::Waits),
        // `movs pc, lr`
        0xe1b0_f00e => Some(Effect::Returns),
        _ if word & 0xffff_0fff == STATUS || wide & 0xffff_0fff == STATUS => Some(Effect::Polls),
        _ => None,
    }
}

/// `wfi` in T32.
pub(crate) const WAIT_NARROW: u16 = 0xbf30;

/// A stretch and the blocks in which it was spent, longest first.
#[derive(Clone, Debug)]
struct Stretch {
    length: u64,
    places: Vec<(u64, u64)>,
}

/// All stretches of a core.
#[derive(Debug, Default)]
pub(crate) struct Masked {
    closed: bool,
    entered: bool,
    /// Execution has entered the window and left it again.
    begun: bool,
    last: u64,
    /// When it looked last, and when before that.
    looked: u64,
    before: u64,
    /// The last look, later than these, was a return, and nothing was executed since.
    returned: Option<u64>,
    /// Since when the first interrupt may have waited that was acknowledged since the hypervisor idled,
    /// enabled interrupts or was entered.
    acknowledged: Option<u64>,
    /// A guest was loaded: since when the interrupt may have waited that it was loaded for, and how much
    /// was executed outside of the window before.
    loaded: Option<(u64, u64)>,
    /// Blocks entered in this stretch, and when.
    trail: Vec<(u64, u64)>,
    number: u64,
    longest: u64,
    kinds: BTreeMap<u64, Stretch>,
    /// First blocks and lengths of stretches that were explained: explaining takes long.
    seen: HashSet<(u64, u64)>,
}

impl Masked {
    /// Execution entered the window.
    pub(crate) fn enter(&mut self, now: Count) {
        self.entered = true;
        self.acknowledged = None;
        self.open(now);
        self.close(now);
        (self.looked, self.before, self.returned) = (now.total, now.total, None);
    }

    /// Execution left the window.
    pub(crate) fn leave(&mut self, now: Count) {
        self.returned = None;
        self.open(now);
        self.begun = self.entered;
    }

    /// An instruction in the window with an effect on interrupts is about to execute.
    pub(crate) fn at(&mut self, effect: Effect, now: Count) {
        if let Some(at) = self.returned.take()
            && effect != Effect::Takes
        {
            // It found nothing.
            self.looked = at;
        }
        if !self.closed {
            (self.looked, self.before) = (now.total, now.total);
        }
        match effect {
            Effect::Enables => {
                self.acknowledged = None;
                self.open(now);
            }
            Effect::Disables if !self.closed => self.close(now),
            Effect::Disables => {}
            Effect::Polls | Effect::Waits | Effect::Takes => {
                if effect == Effect::Waits {
                    self.acknowledged = None;
                }
                self.open(now);
                self.close(now);
                self.before = core::mem::replace(&mut self.looked, now.total);
            }
            Effect::Returns => {
                self.open(now);
                self.close(now);
                self.returned = Some(now.total);
            }
        }
    }

    /// A block in the window begins.
    pub(crate) fn block(&mut self, address: u64, now: Count) {
        if self.closed {
            self.trail.push((address, now.total));
        }
    }

    /// The hypervisor asks which interrupt it was that it took or found.
    pub(crate) fn acknowledge(&mut self) {
        self.acknowledged.get_or_insert(self.before);
    }

    /// It loads a guest, for that interrupt if there was one.
    pub(crate) fn load(&mut self, now: Count) {
        let since = self.acknowledged.unwrap_or(self.before);
        self.loaded = Some((since, now.total - now.inside));
    }

    /// It loads a guest for an interrupt that it did not ask about.
    pub(crate) fn express(&mut self, now: Count) {
        self.loaded = Some((self.before, now.total - now.inside));
    }

    /// From when on the interrupt may have waited that the guest takes now: the hypervisor found it
    /// when it looked last, not counting the return to this guest, at the earliest right after it
    /// had looked before that. If the guest was loaded for it, that was before it was: others may have
    /// come on the way to the first of its instructions.
    pub(crate) fn since(&self, now: Count) -> Count {
        let here = |(_, outside): &(u64, u64)| now.total - now.inside <= outside + VECTOR;
        let total = self.loaded.filter(here).map_or(self.before, |(since, _)| since);
        Count { total, inside: 0 }
    }

    fn close(&mut self, now: Count) {
        self.closed = true;
        self.last = now.total;
    }

    fn open(&mut self, now: Count) {
        if core::mem::take(&mut self.closed) && self.begun {
            let length = now.total - self.last;
            self.number += 1;
            self.longest = self.longest.max(length);
            let first = self.trail.first().map_or(0, |(address, _)| *address);
            if length >= EXPLAINED && self.seen.insert((first, length)) {
                self.explain(length, now.total);
            }
        }
        self.trail.clear();
    }

    fn explain(&mut self, length: u64, end: u64) {
        let mut spent: BTreeMap<u64, u64> = BTreeMap::new();
        let ends = self.trail.iter().skip(1).map(|(_, at)| *at).chain([end]);
        for ((address, at), end) in self.trail.iter().zip(ends) {
            *spent.entry(*address).or_default() += end - at;
        }
        let mut places: Vec<_> = spent.into_iter().collect();
        places.sort_by_key(|(_, spent)| core::cmp::Reverse(*spent));
        places.truncate(PLACES);
        // Of a kind are those that spend most in the same place.
        let Some((kind, _)) = places.first() else { return };
        let known = self.kinds.get(kind).map_or(0, |stretch| stretch.length);
        if length > known {
            self.kinds.insert(*kind, Stretch { length, places });
        }
        if self.kinds.len() > KINDS {
            let least = self.kinds.iter().min_by_key(|(_, stretch)| stretch.length);
            if let Some(kind) = least.map(|(kind, _)| *kind) {
                self.kinds.remove(&kind);
            }
        }
    }
}

/// How many stretches there were on all cores, the longest, and what the longest of each kind was
/// spent in.
pub(crate) fn report<'a>(cores: impl Iterator<Item = &'a Masked>) -> String {
    let (mut number, mut longest) = (0, 0);
    let mut kinds: BTreeMap<u64, &Stretch> = BTreeMap::new();
    for core in cores {
        number += core.number;
        longest = longest.max(core.longest);
        for (kind, stretch) in &core.kinds {
            let known = kinds.entry(*kind).or_insert(stretch);
            if stretch.length > known.length {
                *known = stretch;
            }
        }
    }
    let mut stretches: Vec<_> = kinds.into_values().collect();
    stretches.sort_by_key(|stretch| core::cmp::Reverse(stretch.length));
    let mut text = format!("masked n {number} max {longest}");
    for Stretch { length, places } in stretches {
        text.push_str(&format!("\nstretch {length}"));
        for (address, spent) in places {
            text.push_str(&format!(" {address:#x}:{spent}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(total: u64) -> Count {
        Count { total, inside: 0 }
    }

    #[test]
    fn a_stretch_is_from_arrival_to_departure_or_where_interrupts_are_looked_for() {
        let mut masked = Masked::default();
        masked.enter(at(0));
        masked.leave(at(100_000));
        masked.enter(at(100_010));
        masked.block(0xfff0_0000, at(100_010));
        masked.at(Effect::Enables, at(100_100));
        masked.at(Effect::Disables, at(100_500));
        masked.at(Effect::Polls, at(100_600));
        assert_eq!(masked.since(at(2_000_000)), at(100_500));
        masked.leave(at(100_800));
        assert_eq!(report([&masked].into_iter()), "masked n 3 max 200");
    }

    #[test]
    fn what_a_look_finds_waited_since_the_look_before() {
        let mut masked = Masked::default();
        masked.enter(at(0));
        masked.at(Effect::Polls, at(300));
        masked.at(Effect::Polls, at(700));
        masked.at(Effect::Returns, at(800));
        masked.leave(at(801));
        assert_eq!(
            masked.since(at(2_000_000)),
            at(300),
            "the second look found it, the return is to its handler"
        );
    }

    #[test]
    fn what_is_taken_on_the_return_waited_since_the_look_before_that() {
        let mut masked = Masked::default();
        masked.enter(at(0));
        masked.at(Effect::Returns, at(300));
        masked.at(Effect::Takes, at(303));
        assert_eq!(masked.since(at(2_000_000)), at(0));
        masked.at(Effect::Returns, at(500));
        masked.leave(at(501));
        masked.enter(at(600));
        masked.at(Effect::Takes, at(602));
        assert_eq!(masked.since(at(2_000_000)), at(600), "it came while the guest ran");
        masked.at(Effect::Returns, at(700));
        masked.at(Effect::Polls, at(900));
        assert_eq!(masked.since(at(2_000_000)), at(700), "the guest's first instruction trapped");
    }

    #[test]
    fn what_is_taken_while_interrupts_are_enabled_did_not_wait() {
        let mut masked = Masked::default();
        masked.enter(at(0));
        masked.at(Effect::Enables, at(100));
        masked.at(Effect::Takes, at(900));
        assert_eq!(masked.since(at(2_000_000)), at(900));
    }

    #[test]
    fn who_is_loaded_for_an_interrupt_waited_since_before_that_whatever_comes_then() {
        let mut masked = Masked::default();
        masked.enter(at(0));
        masked.at(Effect::Polls, at(300));
        masked.at(Effect::Polls, at(700));
        masked.express(at(800));
        masked.at(Effect::Returns, at(820));
        // Another one comes before its handler.
        masked.enter(at(821));
        masked.at(Effect::Takes, at(822));
        masked.at(Effect::Returns, at(1200));
        masked.leave(at(1201));
        assert_eq!(masked.since(Count { total: 1203, inside: 1201 }), at(300));
        masked.load(Count { total: 1300, inside: 1290 });
        let later = Count { total: 1600, inside: 1300 };
        assert_eq!(masked.since(later), at(821), "it ran before it was interrupted");
    }

    #[test]
    fn what_is_acknowledged_on_the_way_to_a_load_waited_since_before_that() {
        let mut masked = Masked::default();
        masked.enter(at(0));
        masked.at(Effect::Takes, at(100));
        masked.acknowledge();
        for look in [300, 600, 900] {
            masked.at(Effect::Polls, at(look));
        }
        masked.load(at(1000));
        assert_eq!(masked.since(Count { total: 1100, inside: 100 }), at(0));
    }

    #[test]
    fn long_stretches_are_explained() {
        let mut masked = Masked::default();
        masked.enter(at(0));
        masked.leave(at(5));
        masked.enter(at(10));
        masked.block(0x1000, at(10));
        masked.block(0x2000, at(30));
        masked.block(0x1000, at(900));
        masked.leave(at(910));
        assert!(report([&masked].into_iter()).ends_with("\nstretch 900 0x2000:870 0x1000:30"));
    }

    #[test]
    fn of_two_cores_the_longest_of_a_kind_is_told() {
        let mut cores = [Masked::default(), Masked::default()];
        for (core, end) in cores.iter_mut().zip([700, 900]) {
            core.enter(at(0));
            core.leave(at(5));
            core.enter(at(10));
            core.block(0x1000, at(10));
            core.leave(at(end));
        }
        assert_eq!(report(cores.iter()), "masked n 2 max 890\nstretch 890 0x1000:890");
    }

    #[test]
    fn looks_at_the_interrupt_status_are_seen_in_both_instruction_sets() {
        assert_eq!(effect(0xee1c_3f11), Some(Effect::Polls));
        assert_eq!(effect(0x3f11_ee1c), Some(Effect::Polls));
        assert_eq!(effect(0xe1a0_0000), None);
        assert_eq!(effect(0xe1b0_f00e), Some(Effect::Returns));
    }
}
