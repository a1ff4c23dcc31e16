//! What the entry code does by itself, against the model: see [`quick`].

use super::*;

type Timer = fn(Field) -> Register;
const TIMERS: [(Timer, u32); 2] =
    [(Register::Physical, PHYSICAL_TIMER_IRQ), (Register::Virtual, VIRTUAL_TIMER_IRQ)];

fn control(board: &Board, timer: Timer) -> u64 {
    board.timer.read(timer(Field::Control), 0) & 3
}

/// What the entry code does when a guest writes a timer's control register; `false` if it leaves
/// it to the model.
fn write_quickly(board: &mut Board, which: usize, value: u64, now: u64) -> bool {
    let ((timer, irq), (other, _)) = (TIMERS[which], TIMERS[1 - which]);
    let (bit, on) = (1 << (irq % 32), value & 3 == 1);
    let compare = board.timer.read(timer(Field::Compare), now);
    if control(board, timer) == 1 {
        if on || board.driven & bit == 0 || !board.gic.is_active(irq) {
            return false;
        }
        board.driven &= !bit;
        board.gic.lower_quickly(irq);
    } else {
        let alone = control(board, other) != 1 && board.others == NEVER && board.deadline == NEVER;
        let real = board.flags & (flags::VIRTUAL_TIME | flags::CATCH_UP) == 0;
        if !on || !alone || !real || compare <= now {
            return false;
        }
        board.deadline = compare;
        board.only = [Only::Physical, Only::Virtual][which];
    }
    board.timer.write(timer(Field::Control), value, now);
    true
}

#[test]
fn the_entry_code_turns_a_timer_on_and_off() {
    let mut board = board();
    board.write_timer(Register::Virtual(Field::Compare), 510, 20);
    assert!(write_quickly(&mut board, 1, 1, 20));
    assert!(board.ring() && board.irq());
    assert!(!write_quickly(&mut board.clone(), 1, 3, 510), "not active");
    assert_eq!(acknowledge(&mut board, 510), VIRTUAL_TIMER_IRQ);
    assert!(write_quickly(&mut board, 1, 3, 510));
    assert!(!write_quickly(&mut board, 1, 1, 510), "it is due");
    write(&mut board, at(GIC_INTERFACE, 0x10), VIRTUAL_TIMER_IRQ, 510);
    assert!(!board.irq());
}

proptest! {
    #[test]
    fn what_the_entry_code_does_is_what_the_model_does(
        how in 0_usize..4,
        steps in prop::collection::vec((0_u32..10, 0_usize..2, 0_u64..40, any::<u32>()), 0..100)
    ) {
        let mut board = board();
        let how = [0, 0, flags::CATCH_UP, flags::VIRTUAL_TIME][how];
        board.reset(10, HZ, flags::RTC | how);
        for (offset, value) in [(0x000, 1), (0x100, u32::MAX)] {
            write(&mut board, at(GIC_DISTRIBUTOR, offset), value, 10);
        }
        for (offset, value) in [(0x00, 1), (0x04, 0xff)] {
            write(&mut board, at(GIC_INTERFACE, offset), value, 10);
        }
        let mut now = 10;
        for (what, which, time, value) in steps {
            let (timer, irq) = TIMERS[which];
            match what {
                0 => now += time,
                1 => { acknowledge(&mut board, now); }
                2 => write(&mut board, at(GIC_INTERFACE, 0x10), irq, now),
                3 => board.write_timer(timer(Field::Compare), now + time, now),
                4 => board.write_timer(timer(Field::Value), time, now),
                // The clock's alarm, seldom.
                5 if value % 16 == 0 => write(&mut board, at(RTC, 0x10), value >> 8 & 1, now),
                // Edges, priorities, what is pending.
                6 if value % 4 == 0 => {
                    let offset = [0x200, 0x280, 0xc04, 0x41b, 0x180, 0x100][crate::bus::index(value / 4 % 6)];
                    write(&mut board, at(GIC_DISTRIBUTOR, offset & !3), value >> 5, now);
                }
                7 if board.deadline() <= now => { board.ring(); }
                _ => {
                    board.update(now);
                    let mut other = board.clone();
                    let quick = write_quickly(&mut other, which, u64::from(value), now);
                    board.write_timer(timer(Field::Control), u64::from(value), now);
                    if quick {
                        if board.deadline == NEVER {
                            other.only = board.only;
                        }
                        let (other, model) = (format!("{other:?}"), format!("{board:?}"));
                        prop_assert_eq!(other, model);
                    }
                }
            }
        }
    }
}
