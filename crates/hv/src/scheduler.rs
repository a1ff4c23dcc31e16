//! Which vCPU runs on a core: fixed priorities, preemptive, round robin among equals.
//!
//! One of these for each core. Not responsible for switching, nor for time beyond
//! slices: the caller says what is ready, asks [`Scheduler::pick`] after every event
//! that may have changed that, and arms its timer for [`Scheduler::slice_deadline`].
//!
//! Every operation takes a constant time: a word says which priorities have ready
//! vCPUs, and those of one priority form a ring with the next to run at its head. The
//! running vCPU stays in its ring, so preemption needs no operation at all: somebody
//! more urgent is simply found first, and the preempted one keeps its turn and the rest
//! of its slice. Without the latter, a vCPU that is preempted often enough would never
//! come to the end of a slice, and starve its equals.
//!
//! # Invariants
//!
//! - Bit *n* of `levels` is set exactly when ring *n* has a head.
//! - A vCPU is in the ring of its priority exactly when it is ready, and once.

use core::ops::{Index, IndexMut};
use entresol_abi::image::MAX_VMS;

/// Most vCPUs of one core.
pub const MAX_VCPUS: usize = MAX_VMS;
/// Number of priorities; the highest number is the most urgent.
pub const PRIORITIES: u32 = 32;

const _: () = assert!(MAX_VCPUS.is_power_of_two() && MAX_VCPUS <= 256);

/// A vCPU of this core, below [`MAX_VCPUS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(u8);

impl Id {
    /// The vCPU with this index; `None` when there can be none.
    #[must_use]
    pub fn new(index: usize) -> Option<Self> {
        u8::try_from(index).ok().filter(|_| index < MAX_VCPUS).map(Self)
    }

    /// Its index, below [`MAX_VCPUS`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0) & (MAX_VCPUS - 1)
    }
}

/// Something for each vCPU.
#[derive(Clone, Debug)]
struct PerVcpu<T>([T; MAX_VCPUS]);

#[expect(clippy::indexing_slicing, reason = "Id::index is below the length, a power of two")]
impl<T> Index<Id> for PerVcpu<T> {
    type Output = T;

    fn index(&self, id: Id) -> &T {
        &self.0[id.index()]
    }
}

#[expect(clippy::indexing_slicing, reason = "Id::index is below the length, a power of two")]
impl<T> IndexMut<Id> for PerVcpu<T> {
    fn index_mut(&mut self, id: Id) -> &mut T {
        &mut self.0[id.index()]
    }
}

#[derive(Clone, Copy, Debug)]
struct Vcpu {
    priority: Priority,
    ready: bool,
    /// Neighbours in the ring, meaningful while ready.
    next: Id,
    previous: Id,
    /// What is left of its slice.
    left: u64,
}

/// A priority, below [`PRIORITIES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Priority(u8);

impl Priority {
    const fn bit(self) -> u32 {
        1 << (self.0 % 32)
    }
}

/// The vCPUs of one core.
#[derive(Clone, Debug)]
pub struct Scheduler {
    slice: u64,
    levels: u32,
    heads: [Option<Id>; 32],
    vcpus: PerVcpu<Vcpu>,
    current: Option<Id>,
    /// When `current` began to use up its slice.
    since: u64,
}

impl Scheduler {
    /// A core where nothing is ready; equals take turns of `slice` ticks.
    #[must_use]
    pub const fn new(slice: u64) -> Self {
        let vcpu =
            Vcpu { priority: Priority(0), ready: false, next: Id(0), previous: Id(0), left: slice };
        Self {
            slice,
            levels: 0,
            heads: [None; 32],
            vcpus: PerVcpu([vcpu; MAX_VCPUS]),
            current: None,
            since: 0,
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
    /// to the end of its new ring.
    pub fn set_priority(&mut self, id: Id, priority: u8) {
        let ready = self.is_ready(id);
        self.block(id);
        self.vcpus[id].priority = Priority(priority.min(31));
        if ready {
            self.ready(id);
        }
    }

    /// A vCPU can run: it goes to the end of its ring, with a whole slice. Nothing
    /// happens if it could before.
    pub fn ready(&mut self, id: Id) {
        if self.vcpus[id].ready {
            return;
        }
        let priority = self.vcpus[id].priority;
        let (next, previous) = match self.head(priority) {
            None => (id, id),
            Some(head) => (head, self.vcpus[head].previous),
        };
        let slice = self.slice;
        self.vcpus[id] = Vcpu { priority, ready: true, next, previous, left: slice };
        self.vcpus[previous].next = id;
        self.vcpus[next].previous = id;
        if self.head(priority).is_none() {
            self.set_head(priority, Some(id));
        }
    }

    /// A vCPU cannot run. Nothing happens if it could not before.
    pub fn block(&mut self, id: Id) {
        let Vcpu { priority, ready, next, previous, .. } = self.vcpus[id];
        if !ready {
            return;
        }
        self.vcpus[id].ready = false;
        self.vcpus[previous].next = next;
        self.vcpus[next].previous = previous;
        if self.head(priority) == Some(id) {
            self.set_head(priority, (next != id).then_some(next));
        }
    }

    /// Whether a vCPU can run.
    #[must_use]
    pub fn is_ready(&self, id: Id) -> bool {
        self.vcpus[id].ready
    }

    /// The vCPU that was picked last; it may have blocked since.
    #[must_use]
    pub const fn current(&self) -> Option<Id> {
        self.current
    }

    /// Decides which vCPU runs from `now` on; `None` when none can. Ends the running
    /// one's slice if it is used up.
    pub fn pick(&mut self, now: u64) -> Option<Id> {
        if let Some(id) = self.current {
            let used = now.saturating_sub(self.since);
            let left = self.vcpus[id].left.saturating_sub(used);
            self.vcpus[id].left = left;
            if left == 0 {
                self.rotate(id);
            }
        }
        self.since = now;
        self.current = self.most_urgent();
        self.current
    }

    /// Ends the current vCPU's turn early: its equals run first. The caller picks.
    pub fn expire(&mut self) {
        if let Some(id) = self.current {
            self.rotate(id);
        }
    }

    /// Who runs next if `id` expires while nobody more urgent is ready; `None` if it has no
    /// ready equal.
    #[must_use]
    pub fn next_of(&self, id: Id) -> Option<Id> {
        let vcpu = &self.vcpus[id];
        (vcpu.ready && vcpu.next != id).then_some(vcpu.next)
    }

    /// Turns were passed among equals ([`Scheduler::next_of`]) without asking: `id` runs, with
    /// a whole slice from `now` on.
    pub fn turned(&mut self, id: Id, now: u64) {
        self.vcpus[id].left = self.slice;
        self.set_head(self.vcpus[id].priority, Some(id));
        self.since = now;
        self.current = Some(id);
    }

    /// When the current vCPU's slice ends; `None` if it runs on anyway because it has
    /// no ready equal.
    #[must_use]
    pub fn slice_deadline(&self) -> Option<u64> {
        let id = self.current?;
        let vcpu = &self.vcpus[id];
        (vcpu.ready && vcpu.next != id).then(|| self.since.saturating_add(vcpu.left))
    }

    fn most_urgent(&self) -> Option<Id> {
        let level = self.levels.checked_ilog2()?;
        self.heads.get(crate::bus::index(level)).copied().flatten()
    }

    /// Gives `id` a new slice at the end of its ring.
    fn rotate(&mut self, id: Id) {
        let slice = self.slice;
        let vcpu = &mut self.vcpus[id];
        vcpu.left = slice;
        let Vcpu { priority, ready, next, .. } = *vcpu;
        if !ready {
            return;
        }
        if self.head(priority) == Some(id) {
            // The ring is closed: what was second is first, and `id` is last.
            self.set_head(priority, Some(next));
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
            Some(_) => self.levels |= priority.bit(),
            None => self.levels &= !priority.bit(),
        }
    }
}

#[cfg(test)]
mod tests;
