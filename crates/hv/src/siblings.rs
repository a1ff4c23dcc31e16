//! What the vCPUs of one VM, each on a core of its own, tell each other.
//!
//! Cores share nothing but this: a word of news for each vCPU ([`news`]), with an interrupt when
//! there was none before; where vCPU 1 begins; one access of it to the board, which is vCPU 0's;
//! and a lock for what is known of the VM's memory. Not here: the interrupt, and what the news
//! lead to.
//!
//! # Invariants
//!
//! - News are read when the vCPU they are for has its turn, so a sender of many interrupts its
//!   receiver once for each turn.
//! - Who writes what an item of news is about writes it before, and nobody else does until it was
//!   taken; all is sequentially consistent.
//! - The lock is held by work of a vCPU only, which is finished before its VM's next start.
//!   Nobody waits for it but work of the same VM, with interrupts enabled.

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use entresol_abi::hypercall::psci;

/// Bits of the word of news; those from 0 to 15 are software interrupts.
pub mod news {
    /// It is to begin where [`super::Siblings::beginning`] says.
    pub const ON: u32 = 1 << 16;
    /// Its VM's run has ended.
    pub const HALT: u32 = 1 << 17;
    /// To vCPU 0: the other's run has ended, and the VM's with it.
    pub const ENDED: u32 = 1 << 18;
    /// To vCPU 0: the other waits for an access to the board.
    pub const ACCESS: u32 = 1 << 19;
    /// `GICD_CTLR` has changed.
    pub const CONTROL: u32 = 1 << 20;
    /// All but software interrupts.
    pub const OTHERS: u32 = !0xffff;
}

/// What PSCI's `AFFINITY_INFO` says of a vCPU, and what that does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Power {
    /// Its core has not begun to run VMs.
    Absent = 3,
    /// It is on.
    On = 0,
    /// It is off.
    Off = 1,
    /// It was turned on, and has not begun.
    Pending = 2,
}

/// An access of vCPU 1 to the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Where.
    pub at: u32,
    /// Bytes: 1, 2 or 4.
    pub bytes: u32,
    /// What is stored; absent: it is a load.
    pub store: Option<u32>,
}

const NONE: u32 = 0;
const ASKED: u32 = 1;
const DONE: u32 = 2;
const REFUSED: u32 = 3;

/// What the two vCPUs of a VM share.
#[derive(Debug)]
pub struct Siblings {
    lock: AtomicU32,
    news: [AtomicU32; 2],
    /// Of vCPU 1; the first is on as long as its VM.
    power: AtomicU32,
    entry: AtomicU32,
    context: AtomicU32,
    control: AtomicU32,
    paused: AtomicU32,
    at: AtomicU32,
    /// Bytes, and in bit 8 whether it is a store.
    how: AtomicU32,
    /// What is stored, then what was loaded.
    value: AtomicU32,
    state: AtomicU32,
}

impl Siblings {
    /// Nothing said, vCPU 1 absent.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            lock: AtomicU32::new(0),
            news: [const { AtomicU32::new(0) }; 2],
            power: AtomicU32::new(3),
            entry: AtomicU32::new(0),
            context: AtomicU32::new(0),
            control: AtomicU32::new(0),
            paused: AtomicU32::new(0),
            at: AtomicU32::new(0),
            how: AtomicU32::new(0),
            value: AtomicU32::new(0),
            state: AtomicU32::new(0),
        }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> bool {
        self.lock.compare_exchange(0, 1, SeqCst, SeqCst).is_ok()
    }

    /// Gives the lock back.
    pub fn unlock(&self) {
        self.lock.store(0, SeqCst);
    }

    fn news_of(&self, cpu: u32) -> &AtomicU32 {
        let [first, second] = &self.news;
        if cpu == 0 { first } else { second }
    }

    /// Has news for a vCPU; returns whether its core is to be interrupted.
    #[must_use]
    pub fn tell(&self, cpu: u32, news: u32) -> bool {
        self.news_of(cpu).fetch_or(news, SeqCst) == 0
    }

    /// What news there are for a vCPU.
    pub fn news(&self, cpu: u32) -> u32 {
        self.news_of(cpu).load(SeqCst)
    }

    /// Takes those of the news for a vCPU.
    pub fn take(&self, cpu: u32, news: u32) -> u32 {
        self.news_of(cpu).fetch_and(!news, SeqCst) & news
    }

    /// Whether vCPU 1 is on.
    pub fn power(&self) -> Power {
        match self.power.load(SeqCst) {
            0 => Power::On,
            1 => Power::Off,
            2 => Power::Pending,
            _ => Power::Absent,
        }
    }

    /// Says so.
    pub fn set_power(&self, power: Power) {
        let number = match power {
            Power::On => 0,
            Power::Off => 1,
            Power::Pending => 2,
            Power::Absent => 3,
        };
        self.power.store(number, SeqCst);
    }

    /// PSCI's `CPU_ON` for vCPU 1, by vCPU 0; [`news::ON`] is to be told if this succeeds.
    ///
    /// # Errors
    ///
    /// PSCI's number, if it is not off.
    pub fn turn_on(&self, entry: u32, context: u32) -> Result<(), u32> {
        match self.power() {
            Power::Off => {}
            Power::Pending => return Err(psci::ON_PENDING),
            _ => return Err(psci::ALREADY_ON),
        }
        self.entry.store(entry, SeqCst);
        self.context.store(context, SeqCst);
        self.set_power(Power::Pending);
        Ok(())
    }

    /// Where vCPU 1 begins, and its `r0`.
    pub fn beginning(&self) -> (u32, u32) {
        (self.entry.load(SeqCst), self.context.load(SeqCst))
    }

    /// `GICD_CTLR` of the VM.
    pub fn control(&self) -> u32 {
        self.control.load(SeqCst)
    }

    /// vCPU 0 has changed it.
    pub fn set_control(&self, control: u32) {
        self.control.store(control, SeqCst);
    }

    /// Whether the VM was paused.
    pub fn is_paused(&self) -> bool {
        self.paused.load(SeqCst) != 0
    }

    /// Says so; vCPU 1's core is to be interrupted.
    pub fn set_paused(&self, paused: bool) {
        self.paused.store(u32::from(paused), SeqCst);
    }

    /// vCPU 1 asks for an access; [`news::ACCESS`] is to be told.
    pub fn ask(&self, access: Access) {
        let Access { at, bytes, store } = access;
        self.at.store(at, SeqCst);
        self.how.store(bytes | u32::from(store.is_some()) << 8, SeqCst);
        self.value.store(store.unwrap_or(0), SeqCst);
        self.state.store(ASKED, SeqCst);
    }

    /// vCPU 0: what access is asked for.
    pub fn asked(&self) -> Option<Access> {
        if self.state.load(SeqCst) != ASKED {
            return None;
        }
        let how = self.how.load(SeqCst);
        let value = self.value.load(SeqCst);
        let store = (how >> 8 != 0).then_some(value);
        Some(Access { at: self.at.load(SeqCst), bytes: how & 0xff, store })
    }

    /// vCPU 0: the access was made, and loaded this; or it has no answer.
    pub fn answer(&self, loaded: Option<u32>) {
        self.value.store(loaded.unwrap_or(0), SeqCst);
        self.state.store(if loaded.is_some() { DONE } else { REFUSED }, SeqCst);
    }

    /// vCPU 1: whether it still waits for an answer.
    pub fn waits(&self) -> bool {
        self.state.load(SeqCst) == ASKED
    }

    /// vCPU 1: the answer, once: what was loaded, or that nothing answers.
    pub fn take_answer(&self) -> Option<Option<u32>> {
        match self.state.swap(NONE, SeqCst) {
            DONE => Some(Some(self.value.load(SeqCst))),
            REFUSED => Some(None),
            _ => None,
        }
    }
}

impl Default for Siblings {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    #[test]
    fn only_the_first_news_interrupts_until_they_are_taken() {
        let siblings = Siblings::new();
        assert!(siblings.tell(1, 1 << 3));
        assert!(!siblings.tell(1, news::HALT));
        assert!(siblings.tell(0, 1));
        assert_eq!(siblings.take(1, u32::MAX), 1 << 3 | news::HALT);
        assert_eq!(siblings.news(1), 0);
        assert!(siblings.tell(1, 1));
    }

    #[test]
    fn a_vcpu_is_turned_on_once() {
        let siblings = Siblings::new();
        assert_eq!(siblings.turn_on(4, 5), Err(psci::ALREADY_ON), "its core is not there yet");
        siblings.set_power(Power::Off);
        assert_eq!(siblings.turn_on(4, 5), Ok(()));
        assert_eq!(siblings.turn_on(8, 9), Err(psci::ON_PENDING));
        assert_eq!(siblings.beginning(), (4, 5));
        siblings.set_power(Power::On);
        assert_eq!(siblings.turn_on(8, 9), Err(psci::ALREADY_ON));
    }

    #[test]
    fn an_access_is_answered_once() {
        let siblings = Siblings::new();
        assert_eq!(siblings.asked(), None);
        let access = Access { at: 0x0900_0018, bytes: 2, store: None };
        siblings.ask(access);
        assert!(siblings.waits() && siblings.take_answer().is_none());
        siblings.ask(access);
        assert_eq!(siblings.asked(), Some(access));
        siblings.answer(Some(0x90));
        assert!(!siblings.waits());
        assert_eq!(siblings.take_answer(), Some(Some(0x90)));
        assert_eq!(siblings.take_answer(), None);
        siblings.ask(Access { store: Some(0), ..access });
        assert_eq!(siblings.asked().and_then(|access| access.store), Some(0));
        siblings.answer(None);
        assert_eq!(siblings.take_answer(), Some(None));
    }

    #[test]
    fn no_news_are_lost_and_the_lock_excludes() {
        const ROUNDS: u32 = if cfg!(miri) { 20 } else { 2_000 };
        let siblings = Siblings::new();
        let inside = AtomicBool::new(false);
        let calls = AtomicU32::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut taken = 0;
                while taken < ROUNDS {
                    if calls.load(SeqCst) != 0 {
                        calls.fetch_sub(1, SeqCst);
                        taken += siblings.take(1, u32::MAX).count_ones();
                    }
                    thread::yield_now();
                }
                assert_eq!(taken, ROUNDS);
            });
            for number in 0..2 {
                let (siblings, inside, calls) = (&siblings, &inside, &calls);
                scope.spawn(move || {
                    for _ in 0..ROUNDS / 2 {
                        while !siblings.try_lock() {
                            thread::yield_now();
                        }
                        assert!(!inside.swap(true, SeqCst));
                        inside.store(false, SeqCst);
                        siblings.unlock();
                        while siblings.news(1) >> number & 1 == 1 {
                            thread::yield_now();
                        }
                        if siblings.tell(1, 1 << number) {
                            calls.fetch_add(1, SeqCst);
                        }
                    }
                });
            }
        });
    }
}
