//! Budgets and slots: by example, and tick by tick against what they promise.

use super::*;

/// Runs `scheduler` until `end`, and returns who ran in each tick. The timer is `late()`
/// ticks late.
fn run(scheduler: &mut Scheduler, end: u64, mut late: impl FnMut() -> u64) -> Vec<Option<usize>> {
    let mut ran = vec![];
    let mut now = 0;
    while now < end {
        let current = scheduler.pick(now).map(Id::index);
        let next = scheduler.deadline().saturating_add(late());
        assert!(next > now);
        ran.extend((now..next.min(end)).map(|_| current));
        now = next;
    }
    ran
}

/// As runs of (who, how long).
fn lengths(ran: &[Option<usize>]) -> Vec<(Option<usize>, usize)> {
    ran.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
}

#[test]
fn a_vcpu_is_stopped_at_its_budget_and_runs_again_after_its_period() {
    let mut scheduler = with(&[1, 9]);
    scheduler.set_budget(id(1), 20, 100);
    let ran = run(&mut scheduler, 300, || 0);
    let one = [(Some(1), 20), (Some(0), 80)];
    assert_eq!(lengths(&ran), [one, one, one].concat());
}

#[test]
fn the_end_of_a_budget_is_told_with_its_lateness() {
    let mut scheduler = with(&[1, 9]);
    scheduler.set_budget(id(1), 20, 100);
    scheduler.pick(0);
    assert_eq!(scheduler.deadline(), 20);
    assert_eq!(scheduler.take_exhausted(), None);
    assert_eq!(scheduler.pick(23), Some(id(0)));
    assert_eq!(scheduler.take_exhausted(), Some(Exhausted { id: id(1), late: 3 }));
    assert_eq!(scheduler.take_exhausted(), None);
    // What was too long is repaid.
    assert_eq!(scheduler.deadline(), 103);
}

#[test]
fn waiting_in_time_is_no_exhaustion() {
    let mut scheduler = with(&[1, 9]);
    scheduler.set_budget(id(1), 20, 100);
    scheduler.pick(0);
    scheduler.block(id(1));
    assert_eq!(scheduler.pick(20), Some(id(0)));
    assert_eq!(scheduler.take_exhausted(), None);
    // Nobody waits for the refill.
    assert_eq!(scheduler.deadline(), NEVER);
    scheduler.ready(id(1));
    assert_eq!(scheduler.pick(50), Some(id(0)));
    assert_eq!(scheduler.deadline(), 100);
    assert_eq!(scheduler.pick(100), Some(id(1)));
}

#[test]
fn the_refill_of_a_less_urgent_vcpu_interrupts_nobody() {
    let mut scheduler = with(&[1, 9]);
    scheduler.set_budget(id(0), 20, 100);
    scheduler.block(id(1));
    scheduler.pick(0);
    scheduler.ready(id(1));
    scheduler.pick(20);
    assert_eq!(scheduler.deadline(), NEVER);
    scheduler.block(id(1));
    assert_eq!(scheduler.pick(500), Some(id(0)));
    assert_eq!(scheduler.deadline(), 520);
}

#[test]
fn nothing_runs_when_all_budgets_are_used() {
    let mut scheduler = with(&[5]);
    scheduler.set_budget(id(0), 20, 100);
    let ran = run(&mut scheduler, 200, || 0);
    assert_eq!(lengths(&ran), [(Some(0), 20), (None, 80), (Some(0), 20), (None, 80)]);
}

#[test]
fn slots_open_and_close_on_time_with_priorities_inside() {
    let mut scheduler = with(&[5, 9, 1]);
    let slot = |length, open| Slot { length, open };
    scheduler.set_slots(&[slot(30, 0b100), slot(50, 0b101), slot(20, u32::MAX)], 0);
    let ran = run(&mut scheduler, 200, || 0);
    let frame = [(Some(2), 30), (Some(0), 50), (Some(1), 20)];
    assert_eq!(lengths(&ran), [frame, frame].concat());
}

#[test]
fn lateness_at_one_boundary_moves_no_other() {
    let mut scheduler = with(&[5, 5]);
    let slot = |length, open| Slot { length, open };
    scheduler.set_slots(&[slot(30, 0b01), slot(70, 0b10)], 0);
    let ran = run(&mut scheduler, 1000, || 3);
    let frame = [(Some(0), 30), (Some(1), 70)];
    let expected = [[(Some(0), 33), (Some(1), 70)].as_slice(), &frame.repeat(9)].concat();
    assert_eq!(lengths(&ran)[..19], expected[..19]);
}

#[test]
fn equals_in_slots_shorter_than_a_slice_still_take_turns() {
    let mut scheduler = with(&[5, 5, 5]);
    let slot = |length, open| Slot { length, open };
    scheduler.set_slots(&[slot(30, 0b011), slot(10, 0b100)], 0);
    let ran = run(&mut scheduler, 4000, || 0);
    let count = |vcpu| ran.iter().filter(|ran| **ran == Some(vcpu)).count();
    assert_eq!(count(2), 1000);
    assert_eq!(count(0) + count(1), 3000);
    assert_eq!(count(0), 1500);
}

/// A vCPU of a random system: priority, perhaps budget and period.
type Given = (u8, Option<(u64, u64)>);

pub(super) fn given() -> impl Strategy<Value = Vec<Given>> {
    let budget = (1_u64..60, 0_u64..200).prop_map(|(budget, more)| (budget, budget + more));
    let vcpu = (0_u8..4, prop::option::weighted(0.7, budget));
    prop::collection::vec(vcpu, 1..=MAX_VCPUS)
}

/// The scheduler of such a system.
pub(super) fn system(given: &[Given], slots: &[Slot]) -> Scheduler {
    let mut scheduler = Scheduler::new(SLICE);
    for (index, (priority, budget)) in given.iter().enumerate() {
        scheduler.set_priority(id(index), *priority);
        if let Some((budget, period)) = budget {
            scheduler.set_budget(id(index), *budget, *period);
        }
    }
    scheduler.set_slots(slots, 0);
    scheduler
}

pub(super) fn slots() -> impl Strategy<Value = Vec<Slot>> {
    let slot = (1_u64..80, 0_u32..256).prop_map(|(length, open)| Slot { length, open });
    prop::collection::vec(slot, 0..5)
}

proptest! {
    #[test]
    fn budgets_slots_and_priorities_hold_in_every_tick(
        given in given(),
        slots in slots(),
        // In each step somebody wakes or waits, so much later.
        steps in prop::collection::vec((0..MAX_VCPUS, any::<bool>(), 0_u64..60), 0..80),
        lateness in prop_oneof![Just(vec![0]), prop::collection::vec(0_u64..4, 16)],
        // Before it is asked, so many steps are taken at other times.
        early in prop::collection::vec(0_u32..6, 16),
    ) {
        let mut scheduler = Scheduler::new(SLICE);
        for (index, (priority, budget)) in given.iter().enumerate() {
            scheduler.set_priority(id(index), *priority);
            if let Some((budget, period)) = budget {
                scheduler.set_budget(id(index), *budget, *period);
            }
            scheduler.ready(id(index));
        }
        scheduler.set_slots(&slots, 0);
        let most_late = *lateness.iter().max().unwrap();
        let mut lateness = lateness.iter().cycle();
        let mut early = early.iter().cycle();
        let mut ran: Vec<Option<usize>> = vec![];
        let mut now = 0;
        for (who, wakes, pause) in steps {
            let until = now + pause;
            loop {
                for _ in 0..*early.next().unwrap() {
                    scheduler.advance(now);
                    check(&scheduler);
                }
                let current = scheduler.pick(now);
                check(&scheduler);
                let late_end = scheduler.take_exhausted().map_or(0, |exhausted| exhausted.late);
                prop_assert!(late_end <= most_late);
                // The most urgent of those who may run, runs.
                let open = scheduler.slots.open();
                for vcpu in (0..given.len()).map(id) {
                    let funded = scheduler.vcpus[vcpu].server.as_ref()
                        .is_none_or(|server| server.head().at <= now);
                    if funded && open & vcpu.bit() != 0 && scheduler.is_ready(vcpu) {
                        let current = current.unwrap();
                        prop_assert!(given[vcpu.index()].0 <= given[current.index()].0);
                    }
                }
                if let Some(current) = current {
                    prop_assert!(scheduler.is_ready(current) && open & current.bit() != 0);
                }
                let deadline = scheduler.deadline();
                prop_assert!(deadline > now);
                let timer_late = *lateness.next().unwrap();
                let next = deadline.saturating_add(timer_late).min(until);
                ran.extend((now..next).map(|_| current.map(Id::index)));
                now = next;
                if now >= until { break }
            }
            if who < given.len() {
                if wakes { scheduler.ready(id(who)) } else { scheduler.block(id(who)) }
            }
        }
        // In no stretch of one period anybody runs longer than its budget, but for one
        // lateness.
        for (index, (_, budget)) in given.iter().enumerate() {
            let Some((budget, period)) = budget else { continue };
            let period = usize::try_from(*period).unwrap();
            for stretch in ran.windows(period.min(ran.len().max(1))) {
                let used = stretch.iter().filter(|ran| **ran == Some(index)).count();
                prop_assert!(u64::try_from(used).unwrap() <= budget + most_late);
            }
        }
        // With a timer on time, slots are kept to the tick.
        if let (0, false) = (most_late, slots.is_empty()) {
            let frame: u64 = slots.iter().map(|slot| slot.length).sum();
            for (tick, ran) in (0_u64..).zip(&ran) {
                let Some(ran) = ran else { continue };
                let mut inside = tick % frame;
                let slot = slots.iter().find(|slot| {
                    let here = inside < slot.length;
                    inside = inside.saturating_sub(slot.length);
                    here
                });
                prop_assert!(slot.unwrap().open & id(*ran).bit() != 0);
            }
        }
    }

    #[test]
    fn who_always_wants_gets_its_whole_budget_beside_the_more_urgent(
        first in (1_u64..50, 0_u64..100),
        second in (1_u64..50, 0_u64..100),
        late in 0_u64..2,
    ) {
        // Two budgets together below the whole, with room for lateness.
        let (a, at) = (first.0, first.0 + first.1 + 10);
        let (b, bt) = (second.0, second.0 + second.1 + 10);
        prop_assume!(a * bt + b * at < at * bt * 9 / 10);
        // Response time of the second, by the recurrence.
        let mut response = b;
        for _ in 0..100 { response = b + response.div_ceil(at) * a }
        prop_assume!(response + 4 <= bt);
        let mut scheduler = with(&[0, 1, 2]);
        scheduler.set_budget(id(2), a, at);
        scheduler.set_budget(id(1), b, bt);
        let ran = run(&mut scheduler, 3000, || late);
        let count = |vcpu| ran.iter().filter(|ran| **ran == Some(vcpu)).count();
        let time = u64::try_from(ran.len()).unwrap();
        let least = |budget: u64, period: u64| time / (period + 2 * late + a) * budget;
        prop_assert!(u64::try_from(count(2)).unwrap() + a >= time / (at + 2 * late) * a);
        // It is preempted, and what it uses in short pieces may be late: less than an eighth.
        prop_assert!(u64::try_from(count(1)).unwrap() + b >= least(b, bt) * 7 / 8);
        // The rest is the least urgent's: nothing is lost.
        prop_assert_eq!(count(0) + count(1) + count(2), ran.len());
    }
}

#[test]
fn the_gate_closes_at_the_refills_of_those_as_urgent_as_whom_it_is_asked_for() {
    let mut scheduler = with(&[1, 1, 9]);
    scheduler.set_budget(id(0), 20, 100);
    scheduler.block(id(1));
    scheduler.block(id(2));
    assert_eq!(scheduler.pick(0), Some(id(0)));
    assert_eq!(scheduler.pick(20), None);
    assert!(scheduler.gate.admits(id(1), 1, 99));
    assert!(!scheduler.gate.admits(id(1), 1, 100));
    scheduler.set_asking(9);
    assert_eq!(scheduler.pick(30), None);
    assert!(scheduler.gate.admits(id(2), 9, 100));
    scheduler.set_asking(1);
    assert!(!scheduler.gate.admits(id(1), 1, 100));
}

proptest! {
    #[test]
    fn whom_the_gate_admits_is_picked(
        given in given(),
        slots in slots(),
        // Somebody is ready or waits, is paused or not, or the gate is asked for those as urgent; the
        // scheduler is asked then, in part or wholly, or not.
        steps in prop::collection::vec((0..MAX_VCPUS, 0..5, 0..4, 0_u64..60), 0..80),
    ) {
        let mut scheduler = system(&given, &slots);
        let mut now = 0;
        for (who, event, asked, pause) in steps {
            let who = id(who);
            match event {
                0 => scheduler.ready(who),
                1 => scheduler.block(who),
                2 => scheduler.set_asking(scheduler.priority(who)),
                _ => scheduler.set_paused(who, event == 3),
            }
            now += pause;
            match asked {
                0 => {}
                1 => _ = scheduler.advance(now),
                2 => {
                    while scheduler.advance(now) {}
                    scheduler.decide(now);
                }
                _ => _ = scheduler.pick(now),
            }
            check(&scheduler);
            let asks = scheduler.asks;
            let waiting = |vcpu: &Id| {
                // Until it is decided who else runs, the wait of who did is charged.
                let charged = scheduler.current() == Some(*vcpu) && scheduler.vcpus[*vcpu].server.is_some();
                !scheduler.is_ready(*vcpu) && scheduler.priority(*vcpu) >= asks && !charged
            };
            for vcpu in (0..given.len()).map(id).filter(waiting) {
                for later in [now, now + pause] {
                    if scheduler.gate.admits(vcpu, scheduler.priority(vcpu), later) {
                        let allowed = later.saturating_add(scheduler.allowance(vcpu));
                        let known = allowed.min(scheduler.gate.until);
                        let mut scheduler = scheduler.clone();
                        scheduler.ready(vcpu);
                        prop_assert_eq!(scheduler.pick(later), Some(vcpu));
                        prop_assert!(scheduler.deadline() >= known);
                    }
                }
            }
        }
    }
}
