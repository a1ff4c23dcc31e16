//! Response times by hand, and against trying every start.

use super::*;
use crate::manifest::Locks;
use crate::schedule::tests::vm;

fn budget(budget: u32, period: u32) -> Budget {
    Budget { budget, period }
}

fn slot(length: u32, vms: u32) -> Slot {
    Slot { length, vms }
}

#[test]
fn the_recurrence_is_that_of_the_textbooks() {
    // Periods 7, 12, 20; costs 3, 3, 5: responses 3, 6, 20.
    let always = Supply::new(0, &[]);
    let (first, second) = (budget(3, 7), budget(3, 12));
    assert_eq!(response(3, &[], &always), Some(3));
    assert_eq!(response(3, &[first], &always), Some(6));
    assert_eq!(response(5, &[first, second], &always), Some(20));
}

#[test]
fn who_may_be_kept_out_for_ever_has_no_response() {
    let always = Supply::new(0, &[]);
    assert_eq!(response(1, &[budget(5, 10), budget(10, 20)], &always), None);
    assert_eq!(response(1, &[], &Supply::new(0, &[slot(10, 0b10)])), None);
}

#[test]
fn slots_count_from_the_end_of_one() {
    let slots = [slot(20, 0b01), slot(10, 0b11), slot(70, 0b10)];
    let supply = Supply::new(0, &slots);
    assert!((supply.share() - 0.3).abs() < 1e-9);
    assert_eq!(supply.gap(), 70);
    assert_eq!(response(30, &[], &supply), Some(100));
    assert_eq!(response(31, &[], &supply), Some(171));
    // The rival takes the slot's start.
    assert_eq!(response(5, &[budget(20, 200)], &supply), Some(95));
}

#[test]
fn slots_that_meet_across_the_frames_end_are_one() {
    let supply = Supply::new(0, &[slot(10, 1), slot(80, 2), slot(10, 1)]);
    assert_eq!(supply.gap(), 80);
    assert_eq!(response(20, &[], &supply), Some(100));
}

#[test]
fn time_given_by_slots_is_what_counting_gives() {
    let slots = [slot(3, 1), slot(4, 2), slot(2, 3), slot(5, 0), slot(1, 1)];
    let supply = Supply::new(0, &slots);
    let open: Vec<bool> =
        slots.iter().flat_map(|slot| (0..slot.length).map(|_| slot.is_open(0))).collect();
    for start in 0..=15 {
        for wanted in 1..40 {
            let mut left = wanted;
            let mut time = 0;
            while left > 0 {
                left -= u64::from(open[(start + time) % open.len()]);
                time += 1;
            }
            let time = u64::try_from(time).unwrap();
            assert_eq!(supply.time(u64::try_from(start).unwrap(), wanted), Some(time));
        }
    }
}

fn region(held: u32, holders: u32, locks: Locks) -> Shared {
    Shared { name: "r".into(), len: 0x1000, offset: 0, locks: Some(locks), held, holders }
}

/// Of the first VM.
fn first(vms: &[Vm], slots: &[Slot], shared: &[Shared]) -> Blocking {
    blocking(0, vms, slots, shared)
}

#[test]
fn a_vm_waits_for_each_other_holder_once() {
    let vms = [vm("a", 9, None), vm("b", 5, None), vm("c", 1, None), vm("d", 1, None)];
    let both = [region(30, 0b0011, Locks::Inherit), region(50, 0b0110, Locks::Inherit)];
    // b and what a shares with it; c holds nothing that a, or one as urgent, wants.
    assert_eq!(first(&vms, &[], &both), Blocking::For(30));
    // c is made as urgent as a by nobody, but more urgent than b would be by b itself.
    assert_eq!(blocking(1, &vms, &[], &both), Blocking::For(30 + 50));
    assert_eq!(blocking(3, &vms, &[], &both), Blocking::For(0));
    // Of two regions that it shares with one VM it waits for the longer.
    let twice = [region(30, 0b0011, Locks::Inherit), region(50, 0b0011, Locks::Inherit)];
    assert_eq!(first(&vms, &[], &twice), Blocking::For(50));
    // A revocable lock is taken from the less urgent; of one that nobody said how long it is held,
    // nothing is known.
    let free = [region(30, 0b0011, Locks::Revocable), region(0, 0b0011, Locks::Inherit)];
    assert_eq!(first(&vms, &[], &free), Blocking::For(0));
}

#[test]
fn a_revocable_lock_is_waited_for_while_its_holder_runs_or_is_as_urgent() {
    let remote =
        |name: &str, priority, budget| Vm { core: 1, second_core: 1, ..vm(name, priority, budget) };
    let shared = [region(30, 0b011, Locks::Revocable)];
    // Whoever runs before b on its core: b does not run then, and has the lock no more.
    let vms = [vm("a", 9, None), remote("b", 5, Some(budget(20, 100))), remote("c", 9, None)];
    assert_eq!(first(&vms, &[], &shared), Blocking::For(30));
    // From who is as urgent nothing is taken.
    let vms = [vm("a", 9, None), remote("b", 9, Some(budget(20, 100)))];
    assert_eq!(first(&vms, &[], &shared), Blocking::For(30 + 160));
    let vms = [vm("a", 9, None), remote("b", 9, None), remote("c", 9, None)];
    assert_eq!(first(&vms, &[], &shared), Blocking::By("b".into()));
    let vms = [vm("a", 5, None), vm("b", 9, None)];
    assert_eq!(first(&vms, &[], &shared), Blocking::For(30));
}

#[test]
fn who_is_made_more_urgent_delays_who_shares_nothing() {
    let vms = [vm("a", 5, None), vm("b", 9, None), vm("c", 1, None)];
    let shared = [region(40, 0b110, Locks::Inherit)];
    assert_eq!(first(&vms, &[], &shared), Blocking::For(40));
    let less = [vm("a", 9, None), vm("b", 5, None), vm("c", 1, None)];
    assert_eq!(first(&less, &[], &shared), Blocking::For(0));
}

#[test]
fn a_holder_without_budget_or_slot_releases_nothing() {
    let vms = [vm("a", 9, None), vm("b", 5, Some(budget(20, 100)))];
    let shared = [region(30, 0b11, Locks::Inherit)];
    // Two budgets, before each of which 80 pass.
    assert_eq!(first(&vms, &[], &shared), Blocking::For(30 + 160));
    let vms = [vm("a", 9, None), vm("b", 5, None)];
    let slots = [slot(40, 0b11), slot(60, 0b01)];
    assert_eq!(first(&vms, &slots, &shared), Blocking::For(60 + 30));
}

#[test]
fn on_another_core_those_as_urgent_run_before_a_holder() {
    let remote =
        |name: &str, priority, budget| Vm { core: 1, second_core: 1, ..vm(name, priority, budget) };
    let shared = [region(30, 0b011, Locks::Inherit)];
    let vms = [vm("a", 9, None), remote("b", 5, None), remote("c", 8, None)];
    assert_eq!(first(&vms, &[], &shared), Blocking::For(30));
    let vms = [vm("a", 9, None), remote("b", 5, None), remote("c", 9, Some(budget(10, 25)))];
    // 10 of c, 15 of b, 10 of c, 15 of b.
    assert_eq!(first(&vms, &[], &shared), Blocking::For(50));
    let vms = [vm("a", 9, None), remote("b", 5, None), remote("c", 9, None)];
    assert_eq!(first(&vms, &[], &shared), Blocking::By("b".into()));
    let timing = Timing::new(&vms, &[], &shared);
    assert_eq!(timing.vms[0].promise, Promise::Blocked { by: "b".into() });
}

#[test]
fn waits_are_part_of_the_response() {
    let vms = [vm("a", 9, Some(budget(20, 100))), vm("b", 5, None)];
    let timing = Timing::new(&vms, &[], &[region(30, 0b11, Locks::Inherit)]);
    assert_eq!(timing.vms[0].promise, Promise::Budget { response: 50 });
    assert_eq!(timing.vms[0].blocking, 30);
}
