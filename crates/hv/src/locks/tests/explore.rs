//! Runs a program of several cores in every order, up to a number of preemptions.
//!
//! Each core is a thread, of which one runs at a time. At each [`step`] another may go on
//! instead; every such choice is tried, by running the program again from its start. What
//! goes on because the core before waits or ended costs nothing; a choice that stops one that
//! could go on is a preemption, and of these there are at most `most` in a run.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A choice: the taken one of how many.
type Choice = (usize, usize);

struct Order {
    /// Who runs.
    turn: usize,
    /// Who can go on.
    ready: Vec<bool>,
    /// Who has ended.
    ended: Vec<bool>,
    preemptions: usize,
    choices: Vec<Choice>,
    next: usize,
    /// All wait: nobody goes on.
    stuck: bool,
}

struct Shared {
    order: Mutex<Order>,
    changed: Condvar,
}

thread_local! {
    static ME: RefCell<Option<(Arc<Shared>, usize)>> = const { RefCell::new(None) };
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chooses who goes on after `me`, and waits until that is `me`.
    fn pass(&self, me: usize) {
        let mut order = self.lock();
        let can = |order: &Order, core: usize| order.ready[core] && !order.ended[core];
        let mut options: Vec<usize> = Vec::new();
        if can(&order, me) {
            options.push(me);
        }
        if options.is_empty() || order.preemptions > 0 {
            options.extend((0..order.ready.len()).filter(|core| *core != me && can(&order, *core)));
        }
        if options.is_empty() {
            order.stuck = !order.ended.iter().all(|ended| *ended);
            self.changed.notify_all();
            assert!(!order.stuck, "every core waits: a wake-up was lost");
            return;
        }
        let mut taken = 0;
        if options.len() > 1 {
            let next = order.next;
            if next == order.choices.len() {
                order.choices.push((0, options.len()));
            }
            taken = order.choices[next].0;
            order.next += 1;
        }
        if taken > 0 && options[0] == me {
            order.preemptions -= 1;
        }
        order.turn = options[taken];
        self.changed.notify_all();
        self.await_turn(order, me);
    }

    fn await_turn(&self, mut order: MutexGuard<'_, Order>, me: usize) {
        while order.turn != me && !order.ended[me] {
            assert!(!order.stuck, "another core is stuck");
            order = self.changed.wait(order).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Lets the other cores end when this one's program failed.
struct Alarm<'a>(&'a Shared);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().stuck = true;
            self.0.changed.notify_all();
        }
    }
}

fn with(run: impl FnOnce(&Arc<Shared>, usize)) {
    let me = ME.with(|me| me.borrow().clone());
    if let Some((shared, core)) = me {
        run(&shared, core);
    }
}

/// Another core may run here.
pub(in crate::locks) fn step() {
    with(|shared, me| shared.pass(me));
}

/// This core waits until [`wake`].
pub(super) fn sleep() {
    with(|shared, me| {
        shared.lock().ready[me] = false;
        shared.pass(me);
    });
}

/// A core can go on.
pub(super) fn wake(core: usize) {
    with(|shared, _| shared.lock().ready[core] = true);
}

/// Runs what `program` makes, a function for each core, in every order. Returns how many
/// there were.
pub(super) fn explore(most: usize, program: impl Fn() -> Vec<Box<dyn FnOnce() + Send>>) -> usize {
    let mut choices: Vec<Choice> = Vec::new();
    let mut runs = 0;
    loop {
        runs += 1;
        let cores = program();
        let count = cores.len();
        let order = Order {
            turn: 0,
            ready: vec![true; count],
            ended: vec![false; count],
            preemptions: most,
            choices,
            next: 0,
            stuck: false,
        };
        let shared = Arc::new(Shared { order: Mutex::new(order), changed: Condvar::new() });
        std::thread::scope(|scope| {
            for (core, run) in cores.into_iter().enumerate() {
                let shared = Arc::clone(&shared);
                scope.spawn(move || {
                    ME.with(|me| *me.borrow_mut() = Some((Arc::clone(&shared), core)));
                    shared.await_turn(shared.lock(), core);
                    let _alarm = Alarm(&shared);
                    run();
                    shared.lock().ended[core] = true;
                    shared.pass(core);
                });
            }
        });
        choices = std::mem::take(&mut shared.lock().choices);
        // The next in depth first order.
        while choices.last().is_some_and(|(taken, count)| taken + 1 == *count) {
            choices.pop();
        }
        let Some(last) = choices.last_mut() else { return runs };
        last.0 += 1;
    }
}

#[test]
fn every_order_of_two_steps_each_is_tried_once() {
    let seen = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
    let runs = explore(9, || {
        let trace = Arc::new(Mutex::new(String::new()));
        let core = |name: char, last: bool| {
            let (trace, seen) = (Arc::clone(&trace), Arc::clone(&seen));
            Box::new(move || {
                for _ in 0..2 {
                    step();
                    trace.lock().unwrap().push(name);
                }
                let trace = trace.lock().unwrap();
                if trace.len() == 4 {
                    seen.lock().unwrap().insert(trace.clone());
                }
                let _ = last;
            }) as Box<dyn FnOnce() + Send>
        };
        vec![core('a', false), core('b', true)]
    });
    assert_eq!(seen.lock().unwrap().len(), 6);
    assert!(runs >= 6);
}
