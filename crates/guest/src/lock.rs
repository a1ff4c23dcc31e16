//! Locks between VMs, in memory that they share.
//!
//! Taking and releasing a lock that nobody else wants changes one word and makes no call. A
//! VM holds a lock, not a thread: threads of one VM agree among themselves first.
//!
//! A lock can be lost while it is held: to a more urgent VM, if the manifest says that the
//! locks of the memory are revocable, or when this VM was started anew. [`Held::release`]
//! tells; [`Held::is_held`] does meanwhile. What was begun then is to be undone, or to be
//! begun again; the memory's interrupt comes, too.
//!
//! The same for C is in `include/entresol.h`.

use crate::hypercall::{self, raw};
use core::sync::atomic::{AtomicU32, Ordering};
use entresol_abi::hypercall::Function;
use entresol_abi::lock::{AGAIN, GENERATIONS, HOLDER, TIMED_OUT, TOKEN, WAITERS, token};

/// A lock in shared memory.
#[derive(Clone, Copy, Debug)]
pub struct Lock {
    word: &'static AtomicU32,
    physical: u32,
}

/// Who takes locks: this VM, in this one of its runs.
#[derive(Clone, Copy, Debug)]
pub struct Taker(u32);

/// A lock that was taken.
#[derive(Debug)]
#[must_use]
pub struct Held {
    lock: Lock,
    word: u32,
}

/// Why a lock was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The time was over.
    TimedOut,
    /// The manifest has no locks there.
    NoLock,
}

/// The lock was taken from its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

impl Taker {
    /// This VM. Asks the hypervisor: to be kept.
    #[must_use]
    pub fn new() -> Self {
        if !hypercall::is_present() {
            return Self(token(0, 1));
        }
        Self(token(hypercall::call(Function::VmIndex, 0), hypercall::starts()))
    }

    /// What it writes into a free lock.
    #[must_use]
    pub const fn token(self) -> u32 {
        self.0
    }
}

impl Default for Taker {
    fn default() -> Self {
        Self::new()
    }
}

impl Lock {
    /// The lock whose word is `word` and lies at guest physical address `physical`.
    #[must_use]
    pub const fn new(word: &'static AtomicU32, physical: u32) -> Self {
        Self { word, physical }
    }

    /// Takes the lock if it is free and nobody waits for it. Makes no call.
    #[inline]
    pub fn try_take(self, taker: Taker) -> Option<Held> {
        let free = self.word.load(Ordering::Relaxed);
        let word = free | taker.0;
        let taken = free & (WAITERS | HOLDER) == 0
            && self.word.compare_exchange(free, word, Ordering::Acquire, Ordering::Relaxed).is_ok();
        taken.then_some(Held { lock: self, word })
    }

    /// Takes the lock, waiting for it, each time something else was to be done, at most
    /// `microseconds`.
    ///
    /// # Errors
    ///
    /// Why it was not taken.
    #[inline]
    pub fn take(self, taker: Taker, microseconds: u32) -> Result<Held, NotTaken> {
        match self.try_take(taker) {
            Some(held) => Ok(held),
            None => self.wait(taker, microseconds),
        }
    }

    #[cold]
    #[inline(never)]
    fn wait(self, taker: Taker, microseconds: u32) -> Result<Held, NotTaken> {
        loop {
            let word = raw(Function::LockWait as u32, [self.physical, microseconds, 0]);
            match word {
                AGAIN => {}
                TIMED_OUT => return Err(NotTaken::TimedOut),
                _ if word & TOKEN == taker.0 => {
                    return Ok(Held { lock: self, word: word & !WAITERS });
                }
                _ => return Err(NotTaken::NoLock),
            }
            if let Some(held) = self.try_take(taker) {
                return Ok(held);
            }
        }
    }
}

impl Held {
    /// Whether it is still held. Who asks while others may take it knows only the past.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.lock.word.load(Ordering::Relaxed) & !WAITERS == self.word
    }

    /// Releases the lock.
    ///
    /// # Errors
    ///
    /// That it was lost: whatever was done since is not protected by it.
    #[inline]
    pub fn release(self) -> Result<(), Lost> {
        let free = self.word & GENERATIONS;
        let word = self.lock.word;
        match word.compare_exchange(self.word, free, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(_) => self.hand_over(),
        }
    }

    /// Releases a lock that others wait for, or that was lost.
    #[cold]
    #[inline(never)]
    fn hand_over(self) -> Result<(), Lost> {
        let (held, free) = (self.word | WAITERS, self.word & GENERATIONS | WAITERS);
        let word = self.lock.word;
        word.compare_exchange(held, free, Ordering::Release, Ordering::Relaxed)
            .map_err(|_| Lost)?;
        let _ = hypercall::call(Function::LockWake, 0);
        Ok(())
    }
}
