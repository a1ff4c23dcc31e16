//! Locks between VMs: who waits, who gets a lock, who is as urgent as whom meanwhile.
//!
//! A lock is a word in memory that VMs share ([`entresol_abi::lock`]). Nobody asks here for a
//! free one. Who finds one held waits here, and then:
//!
//! - its holder runs as urgently as the most urgent that waits for it, on whatever core, and
//!   so does the holder of what that one waits for;
//! - or, if the lock is revocable, it is taken from a less urgent holder: as soon as that does
//!   not run, which on the same core it never does; else when the wait's time is over. From a
//!   holder of another core, that one takes it: only it knows who runs there;
//! - a lock whose holder ended, or never was, is taken in any case.
//!
//! Each core has [`Locks`] for its own VMs; what cores must know of each other's is on one
//! [`Board`]. Not here: what an address is, and how words are reached ([`Words`]).
//!
//! # Invariants
//!
//! - A word is an allegation. Whom it names is its holder only if that VM may hold locks
//!   there and was started as often as the word says; all else is nobody. A wrong word costs
//!   those who share it their lock, and gives nobody more than the urgency of one that waits.
//! - A VM has a seat on the board *before* it looks at the word; who frees a word looks at the
//!   board *after*. So one of the two sees the other, and no wake-up is lost.
//! - Of those that wait for a free lock the most urgent gets it. Who leaves without it has
//!   the others look again.
//! - A seat is written by the core of its VM only, but for `news` and `order`, which others
//!   set.
//! - Every loop is bounded by the number of VMs, or `TRIES`.

#[cfg_attr(test, path = "locks/cell_model.rs")]
mod cell;

use crate::NEVER;
use crate::bus::{index, low_byte, members};
use cell::Cell;
use entresol_abi::image::MAX_VMS;
use entresol_abi::lock::{
    AGAIN, GENERATION, GENERATIONS, HOLDER, START, TIMED_OUT, TOKEN, WAITERS, token,
};

/// How often a word that changes all the time is looked at.
const TRIES: u32 = 4;

/// In a seat's rank, behind the holders: the lock can be taken from its holder.
const REVOCABLE: u32 = 1 << MAX_VMS;

/// How locks' words are reached, by their address in the machine.
pub trait Words {
    /// The word.
    fn load(&self, at: u32) -> u32;

    /// Writes `new` if it is `old`, at once; may fail without a reason.
    fn replace(&mut self, at: u32, old: u32, new: u32) -> bool;
}

/// What cores know of a VM.
#[derive(Debug)]
struct Seat {
    /// Its token while it runs, 0 when it is off.
    life: Cell,
    /// The lock it waits for, or 0.
    wait: Cell,
    /// How urgent it is (bits 7:0), who may hold that lock (bits 15:8), and [`REVOCABLE`].
    rank: Cell,
    /// Not 0: a lock was taken from it or a VM that it controls ended, and it was not told yet.
    news: Cell,
    /// What it is ordered to do, or 0.
    order: Cell,
    /// What befell it last; see [`Health::record`](crate::health::Health::record).
    event: Cell,
}

/// What all cores share.
#[derive(Debug)]
pub struct Board([Seat; MAX_VMS]);

impl Board {
    /// Nobody runs.
    #[must_use]
    pub const fn new() -> Self {
        Self(
            [const {
                Seat {
                    life: Cell::new(),
                    wait: Cell::new(),
                    rank: Cell::new(),
                    news: Cell::new(),
                    order: Cell::new(),
                    event: Cell::new(),
                }
            }; MAX_VMS],
        )
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder is below the length")]
    #[inline(never)]
    fn seat(&self, vm: usize) -> &Seat {
        &self.0[vm % MAX_VMS]
    }

    /// Who holds a lock with this word, if `holders` may.
    fn holder(&self, word: u32, holders: u32) -> Option<usize> {
        let vm = index((word & HOLDER).wrapping_sub(1));
        let seat = self.0.get(vm)?;
        (holders >> vm & 1 == 1 && seat.life.load() == word & TOKEN).then_some(vm)
    }

    /// What a VM waits for: the lock, how urgent the VM is, and who may hold the lock, with
    /// [`REVOCABLE`].
    #[inline(never)]
    fn waits(&self, vm: usize) -> Option<(u32, u8, u32)> {
        let seat = self.seat(vm);
        let lock = seat.wait.load();
        let rank = seat.rank.load();
        (lock != 0).then_some((lock, low_byte(rank), rank >> 8))
    }

    /// How often `vm` was started, modulo 2¹⁶; 0 if it does not run.
    #[must_use]
    pub fn starts(&self, vm: usize) -> u32 {
        self.seat(vm).life.load() >> START.trailing_zeros()
    }

    /// Something befell `vm`, which is this core's.
    pub fn note_event(&self, vm: usize, record: u32) {
        self.seat(vm).event.store(record);
    }

    /// What befell `vm` last, 0 for nothing.
    #[must_use]
    pub fn event(&self, vm: usize) -> u32 {
        self.seat(vm).event.load()
    }

    /// Orders something of `vm`, instead of what was ordered before and is not begun.
    pub fn order(&self, vm: usize, order: u32) {
        self.seat(vm).order.store(order);
    }

    /// These VMs, a bit each, are to be told of something.
    pub fn tell(&self, vms: u32) {
        for vm in members(vms) {
            self.seat(vm).news.store(1);
        }
    }

    /// Since this was asked last: whether `vm` is to be told of something, and what it is
    /// ordered to do.
    pub fn take(&self, vm: usize) -> (bool, u32) {
        let seat = self.seat(vm);
        (seat.news.take() != 0, seat.order.take())
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

/// What a VM waits for.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The lock's address in the machine, not 0.
    pub lock: u32,
    /// Who may hold it: bit *n* for VM *n*.
    pub holders: u32,
    /// Whether it can be taken from its holder.
    pub revocable: bool,
    /// When the wait is over.
    pub deadline: u64,
}

impl Claim {
    /// What others see of it, for a VM that is so urgent.
    #[inline(never)]
    fn rank(&self, urgency: u8) -> u32 {
        let revocable = if self.revocable { REVOCABLE } else { 0 };
        u32::from(urgency) | (self.holders | revocable) << 8
    }
}

/// A VM as its core's locks know it.
#[derive(Clone, Copy, Debug)]
struct Vm {
    /// Its own priority.
    priority: u8,
    /// How urgent it is.
    rank: u8,
    /// The same, while it is worked out.
    raised: u8,
    claim: Claim,
}

/// The locks of one core's VMs.
#[derive(Clone, Debug)]
pub struct Locks {
    vms: [Vm; MAX_VMS],
    /// How many there are, of all cores.
    count: usize,
    /// VMs of this core.
    own: u32,
    /// Those of them that wait.
    waiting: u32,
    /// When the first of their waits is over.
    deadline: u64,
    /// Another core must look.
    call: bool,
    /// Whom of them this core runs, a bit.
    running: u32,
    /// If that is who holds a revocable lock for which a more urgent VM of another core waits: that
    /// bit.
    watched: u32,
}

impl Locks {
    /// A core without VMs.
    #[must_use]
    pub const fn new() -> Self {
        let claim = Claim { lock: 0, holders: 0, revocable: false, deadline: 0 };
        let vms = [Vm { priority: 0, rank: 0, raised: 0, claim }; MAX_VMS];
        let (own, waiting, running, watched) = (0, 0, 0, 0);
        Self { vms, count: 0, own, waiting, deadline: NEVER, call: false, running, watched }
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder is below the length")]
    fn vm(&mut self, vm: usize) -> &mut Vm {
        &mut self.vms[vm % MAX_VMS]
    }

    /// Who runs from now on, a bit, or nobody. Whether [`Locks::settle`] is to follow: who ran
    /// holds what can be taken from it now.
    pub const fn run(&mut self, running: u32) -> bool {
        self.running = running;
        self.watched & !running != 0
    }

    /// Whether [`Locks::run`] must be told when this VM no longer runs.
    #[must_use]
    pub const fn is_watched(&self, vm: usize) -> bool {
        self.watched >> vm & 1 == 1
    }

    /// Tells of a VM: its own priority, and whether it is this core's.
    pub fn set(&mut self, vm: usize, priority: u8, own: bool) {
        let entry = self.vm(vm);
        (entry.priority, entry.rank) = (priority, priority);
        self.own |= u32::from(own) << vm;
        self.count = self.count.max(vm + 1);
    }

    /// Whether a VM of this core waits.
    #[must_use]
    pub const fn is_waiting(&self, vm: usize) -> bool {
        self.waiting >> vm & 1 == 1
    }

    /// When the first wait is over.
    #[must_use]
    pub const fn deadline(&self) -> u64 {
        self.deadline
    }

    /// A VM of this core was started for the `starts`th time; or it ended, if that is 0.
    /// [`Locks::settle`] is to follow.
    pub fn live(&mut self, board: &Board, vm: usize, starts: u32) {
        self.leave(board, vm);
        let seat = board.seat(vm);
        seat.news.store(0);
        let number = u32::try_from(vm).unwrap_or(0);
        seat.life.store(if starts == 0 { 0 } else { token(number, starts) });
        self.call = true;
    }

    /// Other cores are to look at the board, after [`Locks::settle`].
    pub const fn announce(&mut self) {
        self.call = true;
    }

    /// A VM of this core waits from now on. [`Locks::settle`] is to follow.
    pub fn wait(&mut self, board: &Board, vm: usize, claim: Claim) {
        let seat = board.seat(vm);
        let entry = self.vm(vm);
        entry.claim = claim;
        seat.rank.store(claim.rank(entry.rank));
        seat.wait.store(claim.lock);
        self.waiting |= 1 << vm;
        self.changed(claim.holders);
    }

    /// A VM of this core waits no more. [`Locks::settle`] is to follow.
    pub fn leave(&mut self, board: &Board, vm: usize) {
        if self.is_waiting(vm) {
            board.seat(vm).wait.store(0);
            self.waiting &= !(1 << vm);
            let holders = self.vm(vm).claim.holders;
            self.changed(holders);
        }
    }

    /// Somebody waits for what another core's VM may hold, or no longer does.
    fn changed(&mut self, holders: u32) {
        self.call |= holders & !self.own != 0;
    }

    /// After anything changed, on this core or another: gives locks to those of this core that
    /// can have them, tells `done` whose wait is over with which result, and works out how
    /// urgent each is. This is one piece of it, 0 first; which is next, if there is one. What changes
    /// meanwhile begins it anew.
    pub fn settle<W: Words>(
        &mut self,
        piece: usize,
        board: &Board,
        words: &mut W,
        now: u64,
        done: &mut dyn FnMut(usize, u32),
    ) -> Option<usize> {
        if let Some(vm) = members(self.waiting).find(|vm| *vm >= piece) {
            if let Some(result) = self.contend(board, words, vm, now) {
                done(vm, result);
            }
            return Some(vm + 1);
        }
        if piece <= self.count {
            self.watched = 0;
            self.vms.iter_mut().for_each(|vm| vm.raised = vm.priority);
        }
        // A round for each link of the longest chain.
        if piece < 2 * self.count && self.raise(board, words) {
            return Some(piece.max(self.count) + 1);
        }
        self.rank(board);
        None
    }

    /// Whether other cores must do the same; asked once that is done.
    pub const fn take_call(&mut self) -> bool {
        core::mem::replace(&mut self.call, false)
    }

    /// Looks whether the wait of `vm` is over.
    fn contend<W: Words>(
        &mut self,
        board: &Board,
        words: &mut W,
        vm: usize,
        now: u64,
    ) -> Option<u32> {
        let &mut Vm { claim, rank, .. } = self.vm(vm);
        let expired = now >= claim.deadline;
        let me = board.seat(vm).life.load();
        let mut result = AGAIN;
        for _ in 0..TRIES {
            let word = words.load(claim.lock);
            if word & TOKEN == me {
                result = word;
                break;
            }
            let mut others = 0;
            let mut first = true;
            for other in 0..self.count {
                let Some((lock, urgency, _)) = board.waits(other) else { continue };
                if other != vm && lock == claim.lock {
                    others = WAITERS;
                    first &= urgency <= rank;
                }
            }
            let holder = board.holder(word, claim.holders);
            let takes = match holder {
                None => first,
                Some(holder) => {
                    claim.revocable
                        && first
                        && rank > self.vm(holder).priority
                        && (expired || self.own >> holder & 1 == 1)
                }
            };
            if takes {
                let generation = if word & HOLDER == 0 { 0 } else { GENERATION };
                let new = word.wrapping_add(generation) & GENERATIONS | me | others;
                if words.replace(claim.lock, word, new) {
                    if let Some(holder) = holder {
                        board.tell(1 << holder);
                        self.changed(claim.holders);
                    }
                    result = new;
                    break;
                }
            } else if expired {
                result = TIMED_OUT;
                break;
            } else if word & WAITERS != 0 || words.replace(claim.lock, word, word | WAITERS) {
                return None;
            }
        }
        self.leave(board, vm);
        Some(result)
    }

    /// Raises each VM of this core that holds a lock to the most urgent that waits for it; or takes the
    /// lock from it, for one of another core. Whether that changed anything.
    fn raise<W: Words>(&mut self, board: &Board, words: &mut W) -> bool {
        let mut changed = false;
        let all = (1 << self.count) - 1;
        for vm in members((self.waiting | !self.own) & all) {
            let own = self.own >> vm & 1 == 1;
            let Some((lock, rank, holders)) = board.waits(vm) else { continue };
            let word = words.load(lock);
            let Some(holder) = board.holder(word, holders) else {
                // Another core's VM can have it now.
                self.call |= !own;
                continue;
            };
            let bit = 1 << holder & self.own;
            let revocable = holders & REVOCABLE != 0 && rank > self.vm(holder).priority;
            if !own && bit != 0 && revocable {
                self.watched |= bit & self.running;
                if bit & self.running == 0 {
                    let free = word.wrapping_add(GENERATION) & GENERATIONS | WAITERS;
                    if words.replace(lock, word, free) {
                        board.tell(bit);
                        self.call = true;
                    }
                    changed = true;
                    continue;
                }
            }
            let rank = if own { self.vm(vm).raised } else { rank };
            let entry = self.vm(holder);
            if entry.raised < rank {
                entry.raised = rank;
                changed = true;
            }
        }
        changed
    }

    /// How urgent each VM of this core is, is known now.
    fn rank(&mut self, board: &Board) {
        self.vms.iter_mut().for_each(|vm| vm.rank = vm.raised);
        self.deadline = NEVER;
        for vm in members(self.waiting) {
            let &mut Vm { rank, claim, .. } = self.vm(vm);
            self.deadline = self.deadline.min(claim.deadline);
            if board.waits(vm).is_some_and(|(_, before, _)| before != rank) {
                board.seat(vm).rank.store(claim.rank(rank));
                self.changed(claim.holders);
            }
        }
    }

    /// How urgent a VM of this core is.
    #[must_use]
    pub fn urgency(&self, vm: usize) -> u8 {
        self.vms.get(vm).map_or(0, |vm| vm.rank)
    }
}

impl Default for Locks {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
