//! Which vCPU runs on a core: fixed priorities, budgets, time slots, equals in turn.
//!
//! One of these for each core. Not responsible for switching nor for timers: the caller says what is
//! ready, asks [`Scheduler::pick`] after every event that may have changed that, and arms its one timer for
//! [`Scheduler::deadline`]. Where interrupts must not wait it takes the steps of [`Scheduler::advance`] one
//! by one, asks [`Scheduler::decide`], and then has refills heeded ([`Scheduler::heed_refills`]).
//! Preemptive: the most urgent priority runs, of those that have budget left (see `server`) and may run in
//! the current slot (see `slots`).
//!
//! A decision takes a constant time: a word says which priorities have vCPUs that can
//! run, and those of one priority form a ring with the next to run at its head. The running vCPU
//! stays in its ring, so preemption needs no operation at all: somebody more urgent is simply found
//! first, and the preempted one keeps its turn and the rest of its slice. Without the latter, a vCPU
//! that is preempted often enough would never come to the end of a slice, and starve its equals. For
//! the same reason a vCPU that leaves its ring at the end of a slot or a budget comes back to its old
//! place, which its `turn` tells. Only slots' ends and refills take a step for each vCPU concerned; a
//! refill's step, and heeding them, look at each that has no budget left.
//!
//! # Invariants
//!
//! - Bit *n* of `Gate::levels` is set exactly when ring *n* has a head.
//! - A vCPU is in the ring of its priority exactly when it is ready, not paused, has budget,
//!   and its slot is open; and once.
//! - A ring is ordered by turn; no two vCPUs have the same.

mod ids;
mod server;
mod slots;

use crate::{NEVER, bus};
pub use ids::{Id, MAX_VCPUS};
use ids::{PerVcpu, members};
use server::Server;
pub use slots::Slot;
use slots::Table;

/// Number of priorities; the highest number is the most urgent.
pub const PRIORITIES: u32 = 32;

#[derive(Clone, Debug)]
struct Vcpu {
    priority: Priority,
    /// Whether it is in its ring.
    queued: bool,
    /// Neighbours in the ring, meaningful while there.
    next: Id,
    previous: Id,
    /// Its place among equals: who waits longer has the lower one.
    turn: u64,
    /// What is left of its slice.
    left: u64,
    /// When it gets budget back, if it has none left.
    returns: u64,
    /// Its budget, if it has one.
    server: Option<Server>,
}

/// A priority, below [`PRIORITIES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Priority(u8);

impl Priority {
    const fn bit(self) -> u32 {
        1 << (self.0 % 32)
    }
}

/// What decides whether a vCPU that becomes ready runs at once, beside its priority. Assembly
/// looks at it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Gate {
    /// The priorities of which vCPUs can run.
    pub levels: u32,
    /// Who has budget, an open slot, and is not paused.
    pub able: u32,
    /// Until when that is so: the end of the slot, or when one gets budget back that is as urgent as
    /// those for whom it is asked ([`Scheduler::set_asking`]); 0 until that is known.
    pub until: u64,
}

impl Gate {
    /// Whether a vCPU of this priority, if it became ready `now`, would be picked.
    #[must_use]
    pub const fn admits(&self, id: Id, priority: u32, now: u64) -> bool {
        self.levels >> (priority % 32) == 0 && self.able & id.bit() != 0 && now < self.until
    }
}

/// A vCPU wanted to run on at the end of its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// The vCPU.
    pub id: Id,
    /// By how much it ran longer, because this was noticed late.
    pub late: u64,
}

/// The vCPUs of one core.
///
/// What is large comes last: the offsets of the rest fit short instructions.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Scheduler {
    /// See [`Gate`].
    pub gate: Gate,
    slice: u64,
    /// Who is ready, whether it may run or not.
    wanting: u32,
    /// Who has no budget left.
    broke: u32,
    /// Who may run in the current slot.
    open: u32,
    /// Who may not run at all.
    paused: u32,
    /// The priorities of which vCPUs ever were ready.
    known: u32,
    /// The last turn given.
    turn: u64,
    current: Option<Id>,
    /// When `current` began to use up its slice and budget.
    since: u64,
    /// How much of what it used until then was borrowed, if not all is charged.
    borrowed: u64,
    /// The least priority for which the gate is asked.
    asks: u32,
    /// The current one, if what it uses is to be taken off a budget.
    owing: u32,
    /// When the first that has no budget left gets some, or earlier.
    back: u64,
    /// When the first of those does that is as urgent as the current one, and would take part.
    refill: u64,
    exhausted: Option<Exhausted>,
    heads: [Option<Id>; 32],
    slots: Table,
    vcpus: PerVcpu<Vcpu>,
}

impl Scheduler {
    /// A core where nothing is ready; equals take turns of `slice` ticks.
    #[must_use]
    pub const fn new(slice: u64) -> Self {
        let vcpus = [const {
            Vcpu {
                priority: Priority(0),
                queued: false,
                next: Id(0),
                previous: Id(0),
                turn: 0,
                left: 0,
                returns: 0,
                server: None,
            }
        }; MAX_VCPUS];
        Self {
            gate: Gate { levels: 0, able: u32::MAX, until: 0 },
            slice,
            heads: [None; 32],
            vcpus: PerVcpu(vcpus),
            wanting: 0,
            broke: 0,
            open: slots::ALL,
            paused: 0,
            known: 0,
            slots: Table::NONE,
            turn: 0,
            current: None,
            since: 0,
            borrowed: 0,
            asks: 0,
            owing: 0,
            back: NEVER,
            refill: NEVER,
            exhausted: None,
        }
    }

    /// Changes the length of slices that begin from now on.
    pub fn set_slice(&mut self, slice: u64) {
        self.slice = slice;
        for vcpu in &mut self.vcpus.0 {
            vcpu.left = vcpu.left.min(slice);
        }
    }

    /// Changes a vCPU's priority; numbers too high mean the highest. A ready vCPU goes
    /// to the end of its new ring. Nothing happens, and it returns `false`, if the vCPU had
    /// this priority before.
    pub fn set_priority(&mut self, id: Id, priority: u8) -> bool {
        if self.vcpus[id].priority == Priority(priority.min(31)) {
            return false;
        }
        let ready = self.is_ready(id);
        self.block(id);
        self.vcpus[id].priority = Priority(priority.min(31));
        if ready {
            self.ready(id);
        }
        true
    }

    /// Gives a vCPU a budget in each period, both in ticks; it starts with all of it.
    /// A budget below 1 is 1, one above the period is no bound.
    #[inline(never)]
    pub fn set_budget(&mut self, id: Id, budget: u64, period: u64) {
        self.vcpus[id].server = Some(Server::new(budget, period));
        self.broke &= !id.bit();
        self.settle(id);
    }

    /// Sets the time slots, the first of which starts `now`. Without any that has a
    /// length, all may run always.
    #[inline(never)]
    pub fn set_slots(&mut self, slots: &[Slot], now: u64) {
        self.slots = Table::new(slots, now);
    }

    /// A vCPU wants to run: it goes to the end of its ring, with a whole slice. Nothing
    /// happens if it did before.
    pub fn ready(&mut self, id: Id) {
        if self.is_ready(id) {
            return;
        }
        self.wanting |= id.bit();
        self.known |= self.vcpus[id].priority.bit();
        self.renew(id);
        self.settle(id);
    }

    /// A vCPU cannot run. Nothing happens if it could not before.
    pub fn block(&mut self, id: Id) {
        self.wanting &= !id.bit();
        self.settle(id);
    }

    /// Keeps a vCPU from running, or lets it run again.
    pub fn set_paused(&mut self, id: Id, paused: bool) {
        self.paused = self.paused & !id.bit() | u32::from(paused) << id.0;
        self.settle(id);
    }

    /// Whether a vCPU is kept from running.
    #[must_use]
    pub const fn is_paused(&self, id: Id) -> bool {
        self.paused & id.bit() != 0
    }

    /// Whether a vCPU wants to run; it may have to wait for its budget or slot.
    #[must_use]
    pub const fn is_ready(&self, id: Id) -> bool {
        self.wanting & id.bit() != 0
    }

    /// The vCPU that was picked last; it may have blocked since.
    #[must_use]
    pub const fn current(&self) -> Option<Id> {
        self.current
    }

    /// Whether the current vCPU is ready, and has a higher priority than another ever was ready
    /// with, or a slot.
    #[must_use]
    #[inline(never)]
    pub fn is_urgent(&self) -> bool {
        self.current.filter(|id| self.is_ready(*id)).is_some_and(|id| {
            let below = self.vcpus[id].priority.bit() - 1;
            self.known & below != 0 || self.slots.end() != NEVER
        })
    }

    /// Decides which vCPU runs from `now` on; `None` when none can. Ends the running
    /// one's slice and budget if they are used up.
    pub fn pick(&mut self, now: u64) -> Option<Id> {
        while self.advance(now) {}
        self.decide(now);
        self.heed_refills();
        self.current
    }

    /// The same where [`Scheduler::advance`] has nothing left to do, and before
    /// [`Scheduler::heed_refills`].
    #[inline(never)]
    pub fn decide(&mut self, now: u64) -> Option<Id> {
        self.current = self.most_urgent();
        if let Some(id) = self.current
            && let Some(server) = &mut self.vcpus[id].server
        {
            server.gather(now);
            self.owing = id.bit();
        }
        if self.broke == 0 {
            (self.refill, self.gate.until) = (NEVER, self.slots.end());
        }
        self.current
    }

    /// Looks for who gets budget back first, for [`Scheduler::deadline`] and the [`Gate`]. Until then the
    /// latter closes as it did for who ran before, or earlier.
    #[inline(always)]
    pub fn heed_refills(&mut self) {
        if self.broke != 0 {
            self.look_for_refills();
        }
    }

    #[inline(never)]
    fn look_for_refills(&mut self) {
        let running = self.running();
        let (mut refill, mut until) = (NEVER, self.slots.end());
        for id in members(self.broke & self.wanting & self.open & !self.paused) {
            let Vcpu { returns, .. } = self.vcpus[id];
            if self.priority(id) >= running {
                refill = refill.min(returns);
            }
            if self.priority(id) >= self.asks {
                until = until.min(returns);
            }
        }
        (self.refill, self.gate.until) = (refill, until);
    }

    /// A vCPU's priority.
    #[must_use]
    pub fn priority(&self, id: Id) -> u32 {
        u32::from(self.vcpus[id].priority.0)
    }

    /// The priority of the vCPU that was picked last; the least if none was.
    #[must_use]
    #[inline(never)]
    pub fn running(&self) -> u32 {
        self.current.map_or(0, |id| self.priority(id))
    }

    /// For how long a vCPU that begins to run may do so, at least.
    #[must_use]
    pub fn allowance(&self, id: Id) -> u64 {
        self.vcpus[id].server.as_ref().map_or(NEVER, |server| server.head().amount)
    }

    /// Ends the current vCPU's turn early: its equals run first. The caller picks.
    pub fn expire(&mut self) {
        if let Some(id) = self.current {
            self.rotate(id);
        }
    }

    /// Who runs next if `id` expires while nobody more urgent can run; `None` if it has no
    /// equal that can, or if one of the two has a budget, which must be charged.
    #[must_use]
    pub fn next_of(&self, id: Id) -> Option<Id> {
        let Vcpu { queued, next, ref server, .. } = self.vcpus[id];
        let plain = server.is_none() && self.vcpus[next].server.is_none();
        (queued && next != id && plain).then_some(next)
    }

    /// Turns were passed among equals ([`Scheduler::next_of`]) without asking: `id` runs, with
    /// a whole slice from `now` on. Who cannot run passes nobody.
    pub fn turned(&mut self, id: Id, now: u64) {
        let Vcpu { priority, queued, .. } = self.vcpus[id];
        // The ring is closed: who comes before `id` comes last when it has a later turn.
        while queued && let Some(head) = self.head(priority).filter(|head| *head != id) {
            self.renew(head);
            self.set_head(priority, Some(self.vcpus[head].next));
        }
        self.vcpus[id].left = self.slice;
        self.since = now;
        self.current = Some(id);
    }

    /// When to pick again at the latest: the end of the slot, of the current vCPU's
    /// budget, or of its slice if it has an equal to make room for; or when one at least
    /// as urgent gets budget back.
    #[must_use]
    #[inline(never)]
    pub fn deadline(&self) -> u64 {
        let mut deadline = self.slots.end().min(self.refill);
        if let Some(id) = self.current {
            let vcpu = &self.vcpus[id];
            let after = |left: u64| self.since.saturating_add(left);
            if vcpu.queued && vcpu.next != id {
                deadline = deadline.min(after(vcpu.left));
            }
            if let Some(server) = vcpu.server.as_ref().filter(|_| vcpu.queued) {
                deadline = deadline.min(after(server.head().amount));
            }
        }
        deadline
    }

    /// Whether [`Scheduler::take_exhausted`] has something to say.
    #[must_use]
    pub const fn has_exhausted(&self) -> bool {
        self.exhausted.is_some()
    }

    /// Who was last stopped at the end of its budget, since the last call.
    #[inline]
    pub const fn take_exhausted(&mut self) -> Option<Exhausted> {
        self.exhausted.take()
    }

    /// One step of what is to be done before it is known who runs `now`: a charge, a vCPU whose slot
    /// begins or ends, one that gets budget back. Whether there was any.
    #[inline(never)]
    pub fn advance(&mut self, now: u64) -> bool {
        if let Some(id) = self.current.filter(|_| self.since < now || self.owing != 0) {
            self.charge(id, now);
            return true;
        }
        self.since = now;
        if self.slots.end() <= now {
            self.slots.turn(now);
        }
        if let Some(id) = members(self.open ^ self.slots.open()).next() {
            self.open ^= id.bit();
            self.settle(id);
            return true;
        }
        if self.back > now {
            return false;
        }
        self.refill(now);
        true
    }

    /// Looks for who gets budget back first, and lets it take part again if it does by `now`.
    #[inline(never)]
    fn refill(&mut self, now: u64) {
        let (mut first, mut back) = (None, NEVER);
        for id in members(self.broke) {
            if self.vcpus[id].returns < back {
                (first, back) = (Some(id), self.vcpus[id].returns);
            }
        }
        self.back = back;
        if let Some(id) = first.filter(|_| back <= now) {
            self.broke &= !id.bit();
            self.settle(id);
        }
    }

    /// Takes what the running one used until `now` off its slice and budget, a piece in a go.
    #[inline(never)]
    fn charge(&mut self, id: Id, now: u64) {
        let since = self.since;
        let vcpu = &mut self.vcpus[id];
        let mut part = now.saturating_sub(since);
        if let Some(server) = &mut vcpu.server {
            let borrowed;
            (part, borrowed) = server.charge(since, part);
            self.borrowed += borrowed;
        }
        vcpu.left = vcpu.left.saturating_sub(part);
        self.since += part;
        if self.since < now {
            return;
        }
        self.owing = 0;
        let late = core::mem::take(&mut self.borrowed);
        let ended = vcpu.left == 0;
        if let Some(server) = &vcpu.server {
            vcpu.returns = server.head().at;
            if vcpu.returns > now {
                self.back = self.back.min(vcpu.returns);
                if self.wanting & !self.broke & id.bit() != 0 {
                    self.exhausted = Some(Exhausted { id, late });
                }
                self.broke |= id.bit();
            }
            self.settle(id);
        }
        if ended {
            self.rotate(id);
        }
    }

    /// From now on the gate is asked for vCPUs of at least this priority. If that is less than before it
    /// closes when anybody gets budget back, until refills are heeded.
    pub fn set_asking(&mut self, priority: u32) {
        if priority < self.asks {
            self.gate.until = self.gate.until.min(self.back);
        }
        self.asks = priority;
    }

    fn most_urgent(&self) -> Option<Id> {
        let level = self.gate.levels.checked_ilog2()?;
        self.heads.get(bus::index(level)).copied().flatten()
    }

    /// Gives `id` a new slice, at the end of its ring.
    fn rotate(&mut self, id: Id) {
        let Vcpu { priority, queued, next, .. } = self.vcpus[id];
        self.renew(id);
        if queued && self.head(priority) == Some(id) {
            // The ring is closed: who comes behind the first comes before it when it is the last.
            self.set_head(priority, Some(next));
        } else if queued {
            self.remove(id);
            self.insert(id);
        }
    }

    /// Gives `id` a new slice and the last turn.
    fn renew(&mut self, id: Id) {
        self.turn += 1;
        self.vcpus[id].turn = self.turn;
        self.vcpus[id].left = self.slice;
    }

    /// Puts `id` into its ring or takes it out, as it should be.
    fn settle(&mut self, id: Id) {
        let able = self.open & !self.paused;
        if able & self.broke & self.wanting & id.bit() != 0 && self.priority(id) >= self.asks {
            self.gate.until = self.gate.until.min(self.vcpus[id].returns);
        }
        let able = able & !self.broke;
        self.gate.able = able & !self.owing;
        let belongs = self.wanting & able & id.bit() != 0;
        match (self.vcpus[id].queued, belongs) {
            (false, true) => self.insert(id),
            (true, false) => self.remove(id),
            _ => {}
        }
    }

    fn insert(&mut self, id: Id) {
        let Vcpu { priority, turn, .. } = self.vcpus[id];
        let Some(head) = self.head(priority) else {
            let vcpu = &mut self.vcpus[id];
            (vcpu.queued, vcpu.next, vcpu.previous) = (true, id, id);
            self.set_head(priority, Some(id));
            return;
        };
        // Behind the last one with a lower turn; nearly always that is the last one.
        let mut previous = self.vcpus[head].previous;
        let mut first = false;
        while !first && self.vcpus[previous].turn > turn {
            first = previous == head;
            previous = self.vcpus[previous].previous;
        }
        let next = self.vcpus[previous].next;
        let vcpu = &mut self.vcpus[id];
        (vcpu.queued, vcpu.next, vcpu.previous) = (true, next, previous);
        self.vcpus[previous].next = id;
        self.vcpus[next].previous = id;
        if first {
            self.set_head(priority, Some(id));
        }
    }

    fn remove(&mut self, id: Id) {
        let Vcpu { priority, next, previous, .. } = self.vcpus[id];
        self.vcpus[id].queued = false;
        self.vcpus[previous].next = next;
        self.vcpus[next].previous = previous;
        if self.head(priority) == Some(id) {
            self.set_head(priority, (next != id).then_some(next));
        }
    }

    fn head(&self, priority: Priority) -> Option<Id> {
        self.heads.get(usize::from(priority.0)).copied().flatten()
    }

    fn set_head(&mut self, priority: Priority, head: Option<Id>) {
        if let Some(slot) = self.heads.get_mut(usize::from(priority.0)) {
            *slot = head;
        }
        match head {
            Some(_) => self.gate.levels |= priority.bit(),
            None => self.gate.levels &= !priority.bit(),
        }
    }
}

#[cfg(test)]
mod tests;
