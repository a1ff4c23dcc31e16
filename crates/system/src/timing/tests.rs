//! Response times by hand, and against trying every start.

use super::*;

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
