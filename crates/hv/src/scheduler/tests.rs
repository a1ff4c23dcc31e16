//! The scheduler by example, and against lists; time in `time`.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

mod express;
mod time;

const SLICE: u64 = 100;

fn id(index: usize) -> Id {
    Id::new(index).unwrap()
}

fn with(priorities: &[u8]) -> Scheduler {
    let mut scheduler = Scheduler::new(SLICE);
    for (index, priority) in priorities.iter().enumerate() {
        scheduler.set_priority(id(index), *priority);
        scheduler.ready(id(index));
    }
    scheduler
}

#[test]
fn there_is_no_vcpu_past_the_last() {
    assert_eq!(Id::new(MAX_VCPUS), None);
    assert_eq!(Id::new(MAX_VCPUS - 1).unwrap().index(), MAX_VCPUS - 1);
}

#[test]
fn nothing_ready_is_idle() {
    let mut scheduler = Scheduler::new(SLICE);
    assert_eq!(scheduler.pick(0), None);
    assert_eq!(scheduler.deadline(), NEVER);
    scheduler.expire();
    assert_eq!(scheduler.current(), None);
}

#[test]
fn the_most_urgent_runs_until_it_blocks() {
    let mut scheduler = with(&[3, 31, 0]);
    assert_eq!(scheduler.pick(0), Some(id(1)));
    assert_eq!(scheduler.pick(1_000_000), Some(id(1)));
    scheduler.block(id(1));
    assert_eq!(scheduler.pick(1_000_001), Some(id(0)));
    scheduler.block(id(0));
    assert_eq!(scheduler.pick(1_000_002), Some(id(2)));
    scheduler.ready(id(1));
    assert_eq!(scheduler.pick(1_000_003), Some(id(1)));
}

#[test]
fn a_turn_passed_unasked_is_as_if_expired() {
    let mut scheduler = with(&[5, 5, 2, 5]);
    assert_eq!(scheduler.pick(0), Some(id(0)));
    assert_eq!(scheduler.next_of(id(0)), Some(id(1)));
    assert_eq!(scheduler.next_of(id(3)), Some(id(0)));
    assert_eq!(scheduler.next_of(id(2)), None, "it has no equal");
    // From 0 to 1 to 3.
    scheduler.turned(id(3), 30);
    assert_eq!(scheduler.current(), Some(id(3)));
    assert_eq!(scheduler.deadline(), 30 + SLICE);
    assert_eq!(scheduler.pick(50), Some(id(3)));
    // 0 passed its turn before 1 did.
    assert_eq!(scheduler.pick(30 + SLICE), Some(id(0)));
    assert_eq!(scheduler.pick(30 + 2 * SLICE), Some(id(1)));
    // Who has a budget is charged, so the scheduler must be asked.
    scheduler.set_budget(id(1), 50, 100);
    assert_eq!(scheduler.next_of(id(0)), None);
    assert_eq!(scheduler.next_of(id(1)), None);
    assert_eq!(scheduler.next_of(id(3)), Some(id(0)));
}

#[test]
fn who_cannot_run_passes_nobody() {
    let mut scheduler = with(&[5, 5, 5]);
    scheduler.block(id(0));
    assert_eq!(scheduler.pick(0), Some(id(1)));
    scheduler.turned(id(0), 10);
    check(&scheduler);
    assert_eq!(scheduler.pick(20), Some(id(1)));
}

#[test]
fn equals_take_turns_of_one_slice() {
    let mut scheduler = with(&[5, 5, 5]);
    assert_eq!(scheduler.pick(0), Some(id(0)));
    assert_eq!(scheduler.deadline(), 100);
    assert_eq!(scheduler.pick(99), Some(id(0)));
    assert_eq!(scheduler.deadline(), 100);
    assert_eq!(scheduler.pick(100), Some(id(1)));
    assert_eq!(scheduler.deadline(), 200);
    assert_eq!(scheduler.pick(200), Some(id(2)));
    assert_eq!(scheduler.pick(300), Some(id(0)));
}

#[test]
fn one_without_equals_needs_no_timer() {
    let mut scheduler = with(&[5, 6]);
    scheduler.pick(0);
    assert_eq!(scheduler.deadline(), NEVER);
}

#[test]
fn a_preempted_vcpu_keeps_its_turn_and_the_rest_of_its_slice() {
    let mut scheduler = with(&[5, 5, 9]);
    scheduler.block(id(2));
    assert_eq!(scheduler.pick(0), Some(id(0)));
    scheduler.ready(id(2));
    assert_eq!(scheduler.pick(60), Some(id(2)));
    scheduler.block(id(2));
    assert_eq!(scheduler.pick(70), Some(id(0)));
    assert_eq!(scheduler.deadline(), 110);
    assert_eq!(scheduler.pick(110), Some(id(1)));
}

#[test]
fn yielding_lets_every_equal_run_first() {
    let mut scheduler = with(&[5, 5, 5]);
    scheduler.pick(0);
    scheduler.expire();
    assert_eq!(scheduler.pick(10), Some(id(1)));
    assert_eq!(scheduler.deadline(), 110);
}

#[test]
fn a_late_pick_does_not_take_from_the_next_slice() {
    let mut scheduler = with(&[5, 5]);
    scheduler.pick(0);
    assert_eq!(scheduler.pick(1000), Some(id(1)));
    assert_eq!(scheduler.deadline(), 1100);
}

/// What the scheduler does, with lists.
struct Lists {
    priority: Vec<u8>,
    rings: Vec<VecDeque<usize>>,
    left: Vec<u64>,
    current: Option<usize>,
    since: u64,
}

impl Lists {
    fn new() -> Self {
        Self {
            priority: vec![0; MAX_VCPUS],
            rings: vec![VecDeque::new(); 32],
            left: vec![SLICE; MAX_VCPUS],
            current: None,
            since: 0,
        }
    }

    fn ring(&mut self, vcpu: usize) -> &mut VecDeque<usize> {
        &mut self.rings[usize::from(self.priority[vcpu])]
    }

    fn ready(&mut self, vcpu: usize) {
        if !self.ring(vcpu).contains(&vcpu) {
            self.ring(vcpu).push_back(vcpu);
            self.left[vcpu] = SLICE;
        }
    }

    fn block(&mut self, vcpu: usize) {
        self.ring(vcpu).retain(|other| *other != vcpu);
    }

    fn rotate(&mut self, vcpu: usize) {
        self.left[vcpu] = SLICE;
        let ring = self.ring(vcpu);
        if ring.contains(&vcpu) {
            ring.retain(|other| *other != vcpu);
            ring.push_back(vcpu);
        }
    }

    fn pick(&mut self, now: u64) -> Option<usize> {
        if let Some(vcpu) = self.current {
            self.left[vcpu] = self.left[vcpu].saturating_sub(now - self.since);
            if self.left[vcpu] == 0 {
                self.rotate(vcpu);
            }
        }
        self.since = now;
        self.current = self.rings.iter().rev().find_map(|ring| ring.front().copied());
        self.current
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ready(usize),
    Block(usize),
    Priority(usize, u8),
    Expire,
    Pick(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    let vcpu = || 0..MAX_VCPUS;
    prop_oneof![
        3 => vcpu().prop_map(Step::Ready),
        2 => vcpu().prop_map(Step::Block),
        1 => (vcpu(), prop::sample::select(vec![0_u8, 1, 7, 31, 40]))
            .prop_map(|(vcpu, priority)| Step::Priority(vcpu, priority)),
        1 => Just(Step::Expire),
        5 => (0_u64..150).prop_map(Step::Pick),
    ]
}

/// The invariants of the header.
fn check(scheduler: &Scheduler) {
    for (priority, head) in (0_u8..).zip(scheduler.heads) {
        assert_eq!(scheduler.gate.levels & Priority(priority).bit() != 0, head.is_some());
        let mut members = vec![];
        let mut next = head;
        while let Some(vcpu) = next {
            if let Some(last) = members.last() {
                assert!(scheduler.vcpus[*last].turn < scheduler.vcpus[vcpu].turn);
            }
            members.push(vcpu);
            let after = scheduler.vcpus[vcpu].next;
            assert_eq!(scheduler.vcpus[after].previous, vcpu);
            next = (Some(after) != head).then_some(after);
            assert!(members.len() <= MAX_VCPUS);
        }
        for vcpu in (0..MAX_VCPUS).map(id) {
            let Vcpu { queued, priority: its, .. } = scheduler.vcpus[vcpu];
            assert_eq!(members.contains(&vcpu), queued && its == Priority(priority));
            let may = scheduler.wanting & !scheduler.broke & scheduler.open & !scheduler.paused;
            assert_eq!(queued, may & vcpu.bit() != 0);
            let back = scheduler.broke & vcpu.bit() == 0
                || scheduler.vcpus[vcpu].returns >= scheduler.back;
            assert!(back);
        }
    }
}

proptest! {
    #[test]
    fn behaves_as_lists_would(steps in prop::collection::vec(steps(), 0..200)) {
        let mut scheduler = Scheduler::new(SLICE);
        let mut lists = Lists::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Ready(vcpu) => {
                    scheduler.ready(id(vcpu));
                    lists.ready(vcpu);
                }
                Step::Block(vcpu) => {
                    scheduler.block(id(vcpu));
                    lists.block(vcpu);
                }
                Step::Priority(vcpu, priority) => {
                    scheduler.set_priority(id(vcpu), priority);
                    let ready = lists.ring(vcpu).contains(&vcpu);
                    if lists.priority[vcpu] != priority.min(31) {
                        lists.block(vcpu);
                        lists.priority[vcpu] = priority.min(31);
                        if ready {
                            lists.ready(vcpu);
                        }
                    }
                }
                Step::Expire => {
                    scheduler.expire();
                    if let Some(vcpu) = lists.current {
                        lists.rotate(vcpu);
                    }
                }
                Step::Pick(passed) => {
                    now += passed;
                    prop_assert_eq!(scheduler.pick(now).map(Id::index), lists.pick(now));
                    prop_assert!(scheduler.deadline() > now);
                }
            }
            check(&scheduler);
        }
    }

    #[test]
    fn no_equal_waits_longer_than_one_round(
        ready in 2_usize..=MAX_VCPUS,
        preemptions in prop::collection::vec(1_u64..50, 0..100),
    ) {
        // All but the last are equals; the last preempts them again and again.
        let mut scheduler = with(&vec![5; ready]);
        let urgent = id(ready - 1);
        scheduler.set_priority(urgent, 9);
        scheduler.block(urgent);
        let mut ran = vec![0; ready];
        let mut now = 0;
        for passed in preemptions {
            let Some(vcpu) = scheduler.pick(now) else { break };
            let run = passed.min(scheduler.deadline() - now);
            ran[vcpu.index()] += run;
            now += run;
            scheduler.ready(urgent);
            prop_assert_eq!(scheduler.pick(now), Some(urgent));
            now += 1;
            scheduler.block(urgent);
        }
        let equals = &ran[..ready - 1];
        let (least, most) = (equals.iter().min().unwrap(), equals.iter().max().unwrap());
        prop_assert!(most - least <= SLICE);
    }
}

#[test]
fn a_paused_vcpu_does_not_run_and_keeps_its_turn() {
    let mut scheduler = with(&[1, 1]);
    assert_eq!(scheduler.pick(0), Some(id(0)));
    scheduler.set_paused(id(0), true);
    assert_eq!(scheduler.pick(1), Some(id(1)));
    scheduler.block(id(1));
    assert_eq!(scheduler.pick(2), None);
    scheduler.ready(id(1));
    scheduler.set_paused(id(0), false);
    assert_eq!(scheduler.pick(3), Some(id(0)));
    check(&scheduler);
}

#[test]
fn who_is_more_urgent_than_another_is_so_until_it_blocks() {
    let mut scheduler = with(&[1, 1, 5]);
    assert!(!scheduler.is_urgent(), "nobody was picked");
    scheduler.pick(0);
    assert!(scheduler.is_urgent());
    scheduler.block(id(0));
    scheduler.block(id(1));
    assert!(scheduler.is_urgent(), "the others may be ready again");
    scheduler.block(id(2));
    assert!(!scheduler.is_urgent(), "it does not run");
    scheduler.ready(id(0));
    scheduler.pick(1);
    assert!(!scheduler.is_urgent(), "nobody was less urgent");
    scheduler.set_slots(&[Slot { length: 10, open: 1 }, Slot { length: 10, open: 2 }], 1);
    scheduler.pick(1);
    assert!(scheduler.is_urgent(), "its slot ends");
    assert_eq!(scheduler.pick(11), None);
    assert!(!scheduler.is_urgent(), "nobody's slot");
}
