//! What the express does at its deadline, and is made up for later, is what the ordinary way does there.
//!
//! The decision is [`Gate::admits`] and [`Board::rings`]; the hypervisor's `settle_express` makes up for
//! it, in pieces, between which only the guest it was for runs.

use super::time::{given, slots, system};
use super::*;
use crate::board::{Board, GIC_DISTRIBUTOR, GIC_INTERFACE};
use crate::bus::Width;
use entresol_abi::GuestPhys;
use entresol_abi::image::flags;
use entresol_abi::timer::{Field, Register};

/// A board whose virtual timer interrupts.
fn board() -> Board {
    let mut board = Board::new();
    board.reset(0, 1000, flags::UART | flags::RTC);
    for (at, value) in [
        (GIC_DISTRIBUTOR, 1),
        (GuestPhys(GIC_DISTRIBUTOR.0 + 0x100), u32::MAX),
        (GIC_INTERFACE, 1),
        (GuestPhys(GIC_INTERFACE.0 + 4), 0xff),
    ] {
        board.write(at, Width::Word, value, 0).unwrap();
    }
    board.write_timer(Register::Virtual(Field::Control), 1, 0);
    board.update(0);
    board
}

/// The ordinary way, `now`: every board that is due, who waits for it, and who runs.
fn ordinary(scheduler: &mut Scheduler, boards: &mut [Board], now: u64) -> Option<Id> {
    for (index, board) in boards.iter_mut().enumerate() {
        if board.deadline() <= now {
            if !board.ring() {
                board.update(now);
            }
            scheduler.ready(id(index));
        }
    }
    scheduler.pick(now)
}

/// Makes up for the express to `who`, that was taken at `at`.
fn settle(scheduler: &mut Scheduler, boards: &mut [Board], who: Id, at: u64) -> Option<Id> {
    while scheduler.advance(at) {}
    scheduler.ready(who);
    let picked = scheduler.pick(at);
    assert!(boards[who.index()].ring());
    picked
}

/// All of a scheduler; of turns the order among equals, which is all that they are for. Whose slice ended
/// while it could not run, and who came, are in either order.
fn seen(scheduler: &Scheduler) -> String {
    let mut seen = scheduler.clone();
    for vcpu in &mut seen.vcpus.0 {
        let before = |other: &&Vcpu| {
            let equal = other.priority == vcpu.priority && other.queued && vcpu.queued;
            equal && other.turn < vcpu.turn
        };
        vcpu.turn = u64::try_from(scheduler.vcpus.0.iter().filter(before).count()).unwrap();
    }
    format!("{seen:?}")
}

proptest! {
    #[test]
    fn the_express_and_what_makes_up_for_it_are_the_ordinary_way(
        given in given(),
        slots in slots(),
        // Somebody is ready, waits for its timer, is paused or not; the scheduler is asked then, or not.
        steps in prop::collection::vec(
            (0..MAX_VCPUS, 0..6, any::<bool>(), 1_u64..90, 0_u64..60), 0..80
        ),
    ) {
        let mut scheduler = system(&given, &slots);
        let mut boards = vec![board(); given.len()];
        let mut now = 0;
        for (index, event, asked, interval, pause) in steps {
            let (index, who) = (index % given.len(), id(index % given.len()));
            match event {
                0 => scheduler.ready(who),
                1 | 2 => scheduler.set_paused(who, event == 2),
                _ => {
                    boards[index] = board();
                    boards[index].write_timer(Register::Virtual(Field::Compare), now + interval, now);
                    scheduler.block(who);
                }
            }
            if asked {
                scheduler.pick(now);
            }
            for (index, who) in (0..given.len()).map(|index| (index, id(index))) {
                let due = boards[index].rings();
                // Who is woken before the scheduler was asked who else runs is charged for its wait, the
                // ordinary way.
                let asked = scheduler.current() != Some(who);
                if scheduler.is_ready(who) || due == NEVER || !asked {
                    continue;
                }
                let at = due.max(now) + pause % 8;
                let alone = (0..given.len()).all(|other| other == index || boards[other].deadline() > at);
                if alone && scheduler.gate.admits(who, scheduler.priority(who), at) {
                    let (mut usual, mut usual_boards) = (scheduler.clone(), boards.clone());
                    let (mut quick, mut quick_boards) = (scheduler.clone(), boards.clone());
                    let picked = ordinary(&mut usual, &mut usual_boards, at);
                    prop_assert_eq!(picked, Some(who), "it runs at once");
                    prop_assert_eq!(settle(&mut quick, &mut quick_boards, who, at), picked);
                    prop_assert_eq!(seen(&quick), seen(&usual));
                    for (quick, usual) in quick_boards.iter().zip(&usual_boards) {
                        prop_assert_eq!(format!("{quick:?}"), format!("{usual:?}"));
                    }
                }
            }
            now += pause;
            ordinary(&mut scheduler, &mut boards, now);
        }
    }
}
