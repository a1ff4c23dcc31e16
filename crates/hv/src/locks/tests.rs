//! Every order of what cores and guests do, by a model checker; and the policy by itself.

#![allow(
    clippy::as_conversions,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

pub(super) mod explore;

use super::*;
use explore::{sleep, step, wake};
use std::sync::{Arc, Mutex};

/// The lock that is fought over, in a memory of few words.
const LOCK: u32 = 4;
const FOREVER: u64 = u64::MAX;
const ALL: u32 = 0xff;

/// Memory that VMs share.
#[derive(Default)]
struct Memory(Mutex<[u32; 4]>);

impl Memory {
    fn word(&self, at: u32) -> u32 {
        self.0.lock().unwrap()[at as usize / 4]
    }
    fn set(&self, at: u32, word: u32) {
        self.0.lock().unwrap()[at as usize / 4] = word;
    }
}

impl Words for &Memory {
    fn load(&self, at: u32) -> u32 {
        step();
        self.word(at)
    }

    fn replace(&mut self, at: u32, old: u32, new: u32) -> bool {
        step();
        let mut words = self.0.lock().unwrap();
        let word = &mut words[at as usize / 4];
        let same = *word == old;
        if same {
            *word = new;
        }
        same
    }
}

/// What cores share.
struct World {
    board: Board,
    memory: Memory,
    /// Which cores are called.
    called: Mutex<Vec<bool>>,
    /// Who is between acquire and release.
    inside: Mutex<Vec<usize>>,
}

impl World {
    fn new(cores: usize) -> Arc<Self> {
        Arc::new(Self {
            board: Board::new(),
            memory: Memory::default(),
            called: Mutex::new(vec![false; cores]),
            inside: Mutex::new(vec![]),
        })
    }
}

/// A core with one VM of the same number, and what the SDK does there.
struct Core {
    world: Arc<World>,
    number: usize,
    locks: Locks,
    now: u64,
    starts: u32,
}

impl Core {
    fn new(world: &Arc<World>, number: usize, priorities: &[u8]) -> Self {
        let mut locks = Locks::new();
        for (vm, priority) in priorities.iter().enumerate() {
            locks.set(vm, *priority, vm == number);
        }
        locks.live(&world.board, number, 1);
        locks.run(1 << number);
        locks.call = false;
        world.board.seat(number).wait.store(0);
        world.board.seat(number).rank.store(0);
        Self { world: Arc::clone(world), number, locks, now: 0, starts: 1 }
    }

    fn settle(&mut self) -> Option<u32> {
        let mut result = None;
        let (world, me) = (&self.world, self.number);
        let mut next = Some(0);
        while let Some(piece) = next {
            let mut done = |vm, done| {
                assert_eq!(vm, me);
                result = Some(done);
            };
            let mut memory = &world.memory;
            next = self.locks.settle(piece, &world.board, &mut memory, self.now, &mut done);
        }
        if self.locks.take_call() {
            let mut called = world.called.lock().unwrap();
            for core in (0..called.len()).filter(|core| *core != me) {
                called[core] = true;
                wake(core);
            }
        }
        result
    }

    /// Waits for an interrupt, unless one is pending: no access is between the two.
    fn sleep(&self) {
        if !self.world.called.lock().unwrap()[self.number] {
            sleep();
        }
    }

    /// Takes the interrupt of another core.
    fn interrupted(&mut self) -> Option<u32> {
        let called = std::mem::take(&mut self.world.called.lock().unwrap()[self.number]);
        if called { self.settle() } else { None }
    }

    fn token(&self) -> u32 {
        token(u32::try_from(self.number).unwrap(), self.starts)
    }

    /// The SDK's acquire. Returns the word, or `None` when time is over.
    fn acquire(&mut self, patience: u32, revocable: bool) -> Option<u32> {
        loop {
            let word = (&self.world.memory).load(LOCK);
            self.interrupted();
            if word & (WAITERS | HOLDER) == 0 {
                let held = word | self.token();
                if (&self.world.memory).replace(LOCK, word, held) {
                    return Some(held);
                }
                continue;
            }
            let deadline = if patience == 0 { FOREVER } else { self.now + u64::from(patience) };
            let claim = Claim { lock: LOCK, holders: ALL, revocable, deadline };
            self.locks.wait(&self.world.board, self.number, claim);
            let mut result = self.settle();
            while result.is_none() {
                if patience == 0 {
                    self.sleep();
                } else {
                    step();
                    self.now += 1;
                }
                result = if patience == 0 { self.interrupted() } else { self.settle() };
            }
            match result? {
                AGAIN => {}
                TIMED_OUT => return None,
                word => {
                    assert_eq!(word & TOKEN, self.token());
                    return Some(word & !WAITERS);
                }
            }
        }
    }

    fn enter(&self) {
        let mut inside = self.world.inside.lock().unwrap();
        inside.push(self.number);
        assert_eq!(inside.len(), 1, "two hold the lock: {inside:?}");
    }

    fn exit(&self) {
        self.world.inside.lock().unwrap().retain(|vm| *vm != self.number);
    }

    /// The SDK's release. Returns whether it was still held.
    fn release(&mut self, held: u32) -> bool {
        self.interrupted();
        let free = held & GENERATIONS;
        if (&self.world.memory).replace(LOCK, held, free) {
            return true;
        }
        if (&self.world.memory).replace(LOCK, held | WAITERS, free | WAITERS) {
            self.settle();
            return true;
        }
        false
    }

    /// The VM ends; the core goes on.
    fn end(&mut self) {
        self.locks.live(&self.world.board, self.number, 0);
        self.settle();
    }
}

/// Preemptions in a run. More than two take minutes.
fn most() -> usize {
    std::env::var("LOCKS_PREEMPTIONS").map_or(2, |most| most.parse().unwrap())
}

type Program = Box<dyn FnOnce() + Send>;

#[test]
fn no_order_of_two_cores_lets_two_in_or_leaves_one_waiting() {
    let runs = explore::explore(most(), || {
        let world = World::new(2);
        (0..2)
            .map(|number| {
                let mut core = Core::new(&world, number, &[3, 5]);
                Box::new(move || {
                    for _ in 0..2 {
                        let held = core.acquire(0, false).unwrap();
                        core.enter();
                        step();
                        core.exit();
                        assert!(core.release(held));
                    }
                }) as Program
            })
            .collect()
    });
    assert!(runs > 200, "{runs}");
}

#[test]
fn three_cores_of_different_urgency_all_get_in() {
    explore::explore(most(), || {
        let world = World::new(3);
        (0..3)
            .map(|number| {
                let mut core = Core::new(&world, number, &[3, 5, 4]);
                Box::new(move || {
                    let held = core.acquire(0, false).unwrap();
                    core.enter();
                    core.exit();
                    assert!(core.release(held));
                }) as Program
            })
            .collect()
    });
}

#[test]
fn who_gives_up_keeps_nobody_waiting() {
    explore::explore(most(), || {
        let world = World::new(3);
        (0..3)
            .map(|number| {
                let mut core = Core::new(&world, number, &[3, 9, 4]);
                // The most urgent one has little patience.
                let patience = if number == 1 { 2 } else { 0 };
                Box::new(move || {
                    if let Some(held) = core.acquire(patience, false) {
                        core.enter();
                        core.exit();
                        assert!(core.release(held));
                    }
                }) as Program
            })
            .collect()
    });
}

#[test]
fn a_holder_that_ends_anywhere_frees_what_it_holds() {
    for last in 0..4 {
        explore::explore(most(), || {
            let world = World::new(2);
            let mut holder = Core::new(&world, 0, &[3, 5]);
            let mut waiter = Core::new(&world, 1, &[3, 5]);
            let inside = Arc::clone(&world);
            vec![
                Box::new(move || {
                    let held = holder.acquire(0, false).unwrap();
                    if last == 1 {
                        (&inside.memory).replace(LOCK, held, held & GENERATIONS);
                    }
                    if last == 2 {
                        assert!(holder.release(held));
                    }
                    holder.end();
                    if last == 3 {
                        // It comes back, as another.
                        holder.starts = 2;
                        holder.locks.live(&inside.board, 0, 2);
                        let held = holder.acquire(0, false).unwrap();
                        holder.enter();
                        holder.exit();
                        assert!(holder.release(held));
                    }
                }) as Program,
                Box::new(move || {
                    for _ in 0..2 {
                        let held = waiter.acquire(0, false).unwrap();
                        waiter.enter();
                        waiter.exit();
                        assert!(waiter.release(held));
                    }
                }),
            ]
        });
    }
}

#[test]
fn a_revocable_lock_is_taken_from_another_core_when_time_is_over() {
    explore::explore(most(), || {
        let world = World::new(2);
        let mut holder = Core::new(&world, 0, &[3, 5]);
        let mut waiter = Core::new(&world, 1, &[3, 5]);
        let shared = Arc::clone(&world);
        vec![
            Box::new(move || {
                let held = holder.acquire(0, true).unwrap();
                if !holder.release(held) {
                    // It is told, if not at once.
                    while !shared.board.take(0).0 {
                        holder.sleep();
                        holder.interrupted();
                    }
                }
            }) as Program,
            Box::new(move || {
                let held = waiter.acquire(2, true).unwrap();
                assert!(waiter.release(held));
            }),
        ]
    });
}

#[test]
fn a_revocable_lock_is_taken_from_who_does_not_run_on_another_core() {
    explore::explore(most(), || {
        let world = World::new(2);
        let mut holder = Core::new(&world, 0, &[3, 5]);
        let mut waiter = Core::new(&world, 1, &[3, 5]);
        let shared = Arc::clone(&world);
        let held = holder.token();
        world.memory.set(LOCK, held);
        vec![
            Box::new(move || {
                holder.interrupted();
                // Another VM of its core runs in its place, for ever; the core takes interrupts.
                if holder.locks.run(0) {
                    holder.settle();
                }
                let word = |shared: &World| shared.memory.word(LOCK);
                while word(&shared) & !WAITERS == held {
                    holder.sleep();
                    holder.interrupted();
                }
                assert!(shared.board.take(0).0, "it is told");
                assert!(!holder.release(held), "and finds it out");
            }) as Program,
            Box::new(move || {
                let held = waiter.acquire(0, true).unwrap();
                assert_eq!(held & TOKEN, waiter.token());
                assert!(waiter.release(held));
            }),
        ]
    });
}

#[test]
fn a_revocable_lock_is_left_to_who_runs_or_is_as_urgent_on_another_core() {
    for (running, priorities, watched, urgency) in
        [(1, [3, 5], true, 5), (1, [5, 5], false, 5), (0, [5, 5], false, 5), (1, [6, 5], false, 6)]
    {
        let (board, memory) = (Board::new(), Memory::default());
        let [mut here, mut there] = [0, 1].map(|core| {
            let mut locks = Locks::new();
            for (vm, priority) in priorities.into_iter().enumerate() {
                locks.set(vm, priority, vm == core);
            }
            locks.live(&board, core, 1);
            locks
        });
        memory.set(LOCK, token(0, 1));
        here.run(running);
        there.wait(&board, 1, Claim { lock: LOCK, holders: ALL, revocable: true, deadline: 100 });
        let settle = |locks: &mut Locks| {
            let mut next = Some(0);
            while let Some(piece) = next {
                next = locks.settle(piece, &board, &mut &memory, 0, &mut |_, _| {});
            }
        };
        settle(&mut there);
        settle(&mut here);
        assert_eq!(memory.word(LOCK), WAITERS | token(0, 1));
        assert_eq!((here.is_watched(0), here.urgency(0)), (watched, urgency));
        assert_eq!(here.run(0), watched);
        settle(&mut here);
        let taken = memory.word(LOCK) == GENERATION | WAITERS;
        assert_eq!((taken, here.is_watched(0)), (watched, false));
    }
}

#[test]
fn whoever_writes_the_word_everybody_comes_to_an_end() {
    for garbage in [0, WAITERS, 1, 0x11, 0x12, 0x22, HOLDER, TOKEN, u32::MAX, START] {
        explore::explore(most(), || {
            let world = World::new(2);
            let mut one = Core::new(&world, 0, &[3, 5]);
            let mut two = Core::new(&world, 1, &[3, 5]);
            vec![
                Box::new(move || {
                    for _ in 0..2 {
                        step();
                        one.world.memory.set(LOCK, garbage);
                        one.interrupted();
                    }
                }) as Program,
                Box::new(move || {
                    if let Some(held) = two.acquire(3, false) {
                        two.release(held);
                    }
                }),
            ]
        });
    }
}

/// One core with several VMs of these priorities, all started once.
struct One {
    board: Board,
    memory: Memory,
    locks: Locks,
}

impl One {
    fn new(priorities: &[u8]) -> Self {
        let (board, mut locks) = (Board::new(), Locks::new());
        for (vm, priority) in priorities.iter().enumerate() {
            locks.set(vm, *priority, true);
            locks.live(&board, vm, 1);
        }
        Self { board, memory: Memory::default(), locks }
    }

    fn wait(&mut self, vm: usize, lock: u32, revocable: bool) -> Vec<(usize, u32)> {
        let claim = Claim { lock, holders: 0x7f, revocable, deadline: 100 };
        self.locks.wait(&self.board, vm, claim);
        self.settle(0)
    }

    fn settle(&mut self, now: u64) -> Vec<(usize, u32)> {
        let mut all = vec![];
        let mut done = |vm, result| all.push((vm, result));
        let mut next = Some(0);
        while let Some(piece) = next {
            next = self.locks.settle(piece, &self.board, &mut &self.memory, now, &mut done);
        }
        all
    }

    fn urgencies(&self) -> Vec<u8> {
        (0..4).map(|vm| self.locks.urgency(vm)).collect()
    }
}

#[test]
fn the_holder_of_what_a_holder_waits_for_is_as_urgent() {
    let mut one = One::new(&[1, 2, 9, 5]);
    one.memory.set(4, token(0, 1));
    one.memory.set(8, token(1, 1));
    assert_eq!(one.wait(1, 4, false), []);
    assert_eq!(one.urgencies(), [2, 2, 9, 5]);
    assert_eq!(one.wait(2, 8, false), []);
    assert_eq!(one.urgencies(), [9, 9, 9, 5]);
    // Time is over for both, and all are as they were.
    assert_eq!(one.settle(100), [(1, TIMED_OUT), (2, TIMED_OUT)]);
    assert_eq!(one.urgencies(), [1, 2, 9, 5]);
}

#[test]
fn those_who_wait_for_each_other_wait_until_time_is_over() {
    let mut one = One::new(&[1, 2]);
    one.memory.set(4, token(0, 1));
    one.memory.set(8, token(1, 1));
    assert_eq!(one.wait(1, 4, false), []);
    assert_eq!(one.wait(0, 8, false), []);
    assert_eq!(one.settle(100), [(0, TIMED_OUT), (1, TIMED_OUT)]);
}

#[test]
fn a_revocable_lock_is_taken_by_the_more_urgent_only_and_the_holder_is_told() {
    let mut one = One::new(&[1, 2]);
    one.memory.set(4, token(1, 1));
    assert_eq!(one.wait(0, 4, true), []);
    assert_eq!(one.settle(100), [(0, TIMED_OUT)]);
    one.memory.set(4, token(0, 1));
    let taken = GENERATION | token(1, 1);
    assert_eq!(one.wait(1, 4, true), [(1, taken)]);
    assert_eq!(one.memory.word(4), taken);
    assert!(one.board.take(0).0 && !one.board.take(0).0 && !one.board.take(1).0);
}

#[test]
fn a_word_that_names_a_stranger_makes_nobody_urgent() {
    let mut one = One::new(&[1, 9, 2, 3]);
    // VM 7 may not hold it, VM 0 was started once only.
    for forged in [token(7, 1), token(0, 2), token(14, 1), TOKEN] {
        one.memory.set(4, forged);
        assert_eq!(one.wait(1, 4, false), [(1, GENERATION | token(1, 1))]);
        assert_eq!(one.urgencies(), [1, 9, 2, 3]);
    }
}

#[test]
fn the_most_urgent_of_those_that_wait_is_next() {
    let mut one = One::new(&[1, 5, 9, 3]);
    one.memory.set(4, token(0, 1));
    for vm in [1, 2, 3] {
        assert_eq!(one.wait(vm, 4, false), []);
    }
    assert_eq!(one.memory.word(4), WAITERS | token(0, 1));
    for next in [2, 1, 3] {
        one.memory.set(4, WAITERS);
        let (vm, word) = one.settle(0)[0];
        assert_eq!((vm, word & TOKEN), (next, token(u32::try_from(next).unwrap(), 1)));
    }
    assert_eq!(one.memory.word(4) & WAITERS, 0);
}

#[test]
fn generations_wrap() {
    let mut one = One::new(&[1, 9]);
    one.memory.set(4, GENERATIONS | token(0, 1));
    assert_eq!(one.wait(1, 4, true), [(1, token(1, 1))]);
}
