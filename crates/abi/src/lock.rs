//! A lock in memory that VMs share: one word, which VMs change by exclusive accesses.
//!
//! A lock that nobody waits for costs no trap: its word goes from free to a VM's token and
//! back. With [`WAITERS`] set, the hypervisor must be asked
//! ([`LockWait`](crate::hypercall::Function::LockWait)) or told
//! ([`LockWake`](crate::hypercall::Function::LockWake)). It believes nothing of the word:
//! who holds the lock is what some guest wrote.
//!
//! | bits | field |
//! |---|---|
//! | 3:0 | index of the holder, plus 1; 0 when free |
//! | 19:4 | how often the holder was started when it took the lock, modulo 2¹⁶; 0 when free |
//! | 30:20 | generation: counts how often the lock was taken from a holder, modulo 2¹¹ |
//! | 31 | VMs may wait |

/// The holder.
pub const HOLDER: u32 = 0xf;
/// The holder's number of starts.
pub const START: u32 = 0xffff << 4;
/// Both: who holds it.
pub const TOKEN: u32 = HOLDER | START;
/// One generation.
pub const GENERATION: u32 = 1 << 20;
/// All of the generation.
pub const GENERATIONS: u32 = 0x7ff << 20;
/// VMs may wait.
pub const WAITERS: u32 = 1 << 31;

/// Result of a wait: the lock is to be looked at again.
pub const AGAIN: u32 = 0;
/// Result of a wait: the time is over (-3).
pub const TIMED_OUT: u32 = (-3_i32).cast_unsigned();

/// What VM `index` writes into locks it holds in its start number `starts`.
#[must_use]
pub const fn token(index: u32, starts: u32) -> u32 {
    (index + 1) & HOLDER | (starts << 4) & START
}

const _: () = assert!(crate::image::MAX_VMS < 15);
const _: () = assert!(TOKEN | GENERATIONS | WAITERS == u32::MAX && TIMED_OUT & HOLDER == 13);
