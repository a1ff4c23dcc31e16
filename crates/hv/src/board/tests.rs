//! The board as a guest and as the glue use it.

use super::*;
use entresol_abi::timer::{Field, Register};
use proptest::prelude::*;

mod entry;

const HZ: u32 = 1000;

fn at(base: GuestPhys, offset: u32) -> GuestPhys {
    GuestPhys(base.0 + offset)
}

fn write(board: &mut Board, gpa: GuestPhys, value: u32, now: u64) {
    board.write(gpa, Width::Word, value, now).unwrap();
    if board.is_overdue() {
        board.update(now);
    }
}

/// A board as a kernel leaves it: the GIC on, all interrupts enabled.
fn board() -> Board {
    let mut board = Board::new();
    board.reset(10, HZ, flags::UART | flags::RTC);
    write(&mut board, at(GIC_DISTRIBUTOR, 0x000), 1, 10);
    write(&mut board, at(GIC_DISTRIBUTOR, 0x100), u32::MAX, 10);
    write(&mut board, at(GIC_DISTRIBUTOR, 0x104), u32::MAX, 10);
    write(&mut board, at(GIC_INTERFACE, 0x00), 1, 10);
    write(&mut board, at(GIC_INTERFACE, 0x04), 0xff, 10);
    board
}

fn acknowledge(board: &mut Board, now: u64) -> u32 {
    board.read(at(GIC_INTERFACE, 0x0c), Width::Word, now).unwrap()
}

#[test]
fn a_timer_interrupts_at_its_deadline_until_it_is_moved() {
    let mut board = board();
    board.write_timer(Register::Virtual(Field::Compare), 510, 20);
    board.write_timer(Register::Virtual(Field::Control), 1, 20);
    assert_eq!(board.deadline(), 510);
    board.update(509);
    assert!(!board.irq());
    board.update(510);
    assert!(board.irq());
    assert_eq!(board.deadline(), NEVER);
    assert_eq!(acknowledge(&mut board, 510), VIRTUAL_TIMER_IRQ);
    board.write_timer(Register::Virtual(Field::Compare), 1010, 511);
    write(&mut board, at(GIC_INTERFACE, 0x10), VIRTUAL_TIMER_IRQ, 511);
    assert!(!board.irq());
    assert_eq!(board.deadline(), 1010);
}

#[test]
fn both_timers_and_the_clock_share_the_deadline() {
    let mut board = board();
    board.write_timer(Register::Physical(Field::Compare), 4000, 10);
    board.write_timer(Register::Physical(Field::Control), 1, 10);
    write(&mut board, at(RTC, 0x04), 2, 10);
    write(&mut board, at(RTC, 0x10), 1, 10);
    assert_eq!(board.deadline(), 2010);
    board.update(2010);
    assert_eq!(acknowledge(&mut board, 2010), RTC_IRQ);
    assert_eq!(board.deadline(), 4000);
}

#[test]
fn sending_and_receiving_interrupt_without_an_update() {
    let mut board = board();
    write(&mut board, at(UART, 0x38), 1 << 4 | 1 << 5, 10);
    write(&mut board, UART, u32::from(b'x'), 10);
    assert_eq!(board.take_tx(), Some(b'x'));
    assert_eq!(acknowledge(&mut board, 10), UART_IRQ);
    write(&mut board, at(UART, 0x44), 1 << 5, 10);
    write(&mut board, at(GIC_INTERFACE, 0x10), UART_IRQ, 10);
    assert!(!board.irq());
    assert!(board.push_rx(b'y'));
    assert!(board.irq());
    assert_eq!(board.read(UART, Width::Byte, 10), Ok(u32::from(b'y')));
    assert!(!board.irq());
}

#[test]
fn a_wait_can_end_only_by_what_is_armed_and_let_through() {
    let mut board = board();
    assert!(!board.may_wake(10), "nothing is armed");
    board.write_timer(Register::Virtual(Field::Compare), 500, 10);
    board.write_timer(Register::Virtual(Field::Control), 1, 10);
    assert!(board.may_wake(10));
    board.write_timer(Register::Virtual(Field::Control), 3, 10);
    assert!(!board.may_wake(10), "masked in the timer");
    write(&mut board, at(UART, 0x38), 1 << 4, 10);
    assert!(board.may_wake(10), "input may come");
    write(&mut board, at(GIC_DISTRIBUTOR, 0x184), 2, 10);
    assert!(!board.may_wake(10), "disabled in the distributor");
    board.write_timer(Register::Virtual(Field::Control), 1, 10);
    board.update(510);
    assert!(board.may_wake(510), "asserted");
    assert_eq!(acknowledge(&mut board, 510), VIRTUAL_TIMER_IRQ);
    assert!(!board.may_wake(510), "active, and nobody ends it");
}

#[test]
fn an_absent_device_is_not_there() {
    let mut board = Board::new();
    board.reset(0, HZ, 0);
    assert_eq!(board.read(UART, Width::Word, 0), Err(BusError::Unmapped));
    assert_eq!(board.write(RTC, Width::Word, 0, 0), Err(BusError::Unmapped));
    assert!(!board.push_rx(b'x'));
    assert!(board.read(GIC_DISTRIBUTOR, Width::Word, 0).is_ok());
}

#[test]
fn a_misaligned_access_is_refused() {
    let mut board = board();
    let gpa = at(UART, 0x19);
    assert_eq!(board.read(gpa, Width::Half, 0), Err(BusError::Misaligned));
    assert!(board.read(gpa, Width::Byte, 0).is_ok());
}

#[test]
fn memory_is_not_a_device() {
    assert!(!Board::is_device(GuestPhys(0x4000_0000)));
    assert!(!Board::is_device(GuestPhys(0x07ff_ffff)));
    assert!(!Board::is_device(GuestPhys(0x0902_1000)));
    assert!(Board::is_device(GuestPhys(0x0901_0fff)));
    assert!(Board::is_device(GIC_INTERFACE));
}

#[test]
fn a_reset_forgets_everything() {
    let mut board = board();
    board.gic.set_line(40, true);
    board.write_timer(Register::Virtual(Field::Control), 1, 20);
    assert!(board.irq());
    board.reset(100, HZ, flags::UART);
    board.update(200);
    assert!(!board.irq());
}

proptest! {
    #[test]
    fn every_access_is_answered_where_there_is_a_device(
        address in any::<u32>(), width in 0_u32..3, value in any::<u32>(), now in any::<u64>()
    ) {
        let mut board = board();
        let width = match width { 0 => Width::Byte, 1 => Width::Half, _ => Width::Word };
        // Half of the addresses near a device.
        let near = match address & 7 {
            0 => address & 0xffff | GIC_DISTRIBUTOR.0,
            1 => address & 0xffff | GIC_INTERFACE.0,
            2 => address & 0xfff | UART.0,
            3 => address & 0xfff | RTC.0,
            _ => address,
        };
        let gpa = GuestPhys(near);
        for result in [
            board.read(gpa, width, now).map(|_| ()),
            board.write(gpa, width, value, now),
            board.read(gpa, width, now).map(|_| ()),
        ] {
            prop_assert!(result.is_err() || Board::is_device(gpa));
        }
    }
}

proptest! {
    #[test]
    fn what_will_ring_does_what_an_update_does(
        // Writes of GIC and timers.
        writes in prop::collection::vec((0..12, any::<u32>(), 0_u64..40), 0..60),
    ) {
        let mut board = board();
        let mut now = 20;
        for (place, value, pause) in writes {
            let near = now + u64::from(value % 50);
            match place {
                0 => write(&mut board, at(GIC_DISTRIBUTOR, 0x100), value | 1 << 27, now),
                1 => write(&mut board, at(GIC_DISTRIBUTOR, 0x180), value & 1 << 30, now),
                2 => write(&mut board, at(GIC_DISTRIBUTOR, 0x418 + value % 2 * 4), value, now),
                3 => write(&mut board, at(GIC_DISTRIBUTOR, 0x080), value, now),
                4 => write(&mut board, at(GIC_INTERFACE, 0x00), value & 0xf | 1, now),
                5 => write(&mut board, at(GIC_INTERFACE, 0x04), value | 0x80, now),
                6 => board.write_timer(Register::Physical(Field::Compare), near, now),
                7 => board.write_timer(Register::Physical(Field::Control), u64::from(value & 1), now),
                8 => board.write_timer(Register::Virtual(Field::Compare), near, now),
                9 => board.write_timer(Register::Virtual(Field::Control), u64::from(value & 3), now),
                10 => drop(acknowledge(&mut board, now)),
                _ => write(&mut board, at(GIC_INTERFACE, 0x10), 27 + value % 2 * 3, now),
            }
            now += pause;
            board.update(now);
            let deadline = board.rings();
            if deadline != NEVER {
                prop_assert!(deadline > now && deadline == board.deadline());
                let mut other = board.clone();
                prop_assert!(board.clone().ring());
                board.ring();
                other.update(deadline);
                prop_assert_eq!(board.gic.inputs(), Gic::IRQ);
                prop_assert_eq!(other.gic.inputs(), Gic::IRQ);
                now = deadline;
                let taken = acknowledge(&mut board, now);
                prop_assert_eq!(taken, acknowledge(&mut other, now));
            }
        }
    }
}
