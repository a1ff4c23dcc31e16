//! The GIC by its registers, as a guest uses it, and against a naive reference.

use super::*;
use crate::bus::index;

mod entry;
mod reference;

const UART: u32 = 33;
const TIMER: u32 = 27;

/// A GIC set up as a simple kernel does: group 0, everything unmasked.
fn ready() -> Gic {
    let mut gic = Gic::new();
    gic.write_distributor(0x000, Width::Word, 1);
    gic.write_interface(0x00, Width::Word, 1);
    gic.write_interface(0x04, Width::Word, 0xff);
    gic
}

fn enable(gic: &mut Gic, irq: u32) {
    gic.write_distributor(0x100 + irq / 32 * 4, Width::Word, 1 << (irq % 32));
}

fn set_priority(gic: &mut Gic, irq: u32, priority: u32) {
    gic.write_distributor(0x400 + irq, Width::Byte, priority);
}

fn iar(gic: &mut Gic) -> u32 {
    gic.read_interface(0x0c, Width::Word)
}

fn eoi(gic: &mut Gic, value: u32) {
    gic.write_interface(0x10, Width::Word, value);
}

#[test]
fn nothing_pending_is_spurious() {
    let mut gic = ready();
    assert_eq!(iar(&mut gic), 1023);
    eoi(&mut gic, 1023);
    assert!(!gic.asserted());
}

#[test]
fn a_level_interrupt_is_pending_as_long_as_its_line_is_high() {
    let mut gic = ready();
    enable(&mut gic, UART);
    gic.set_line(UART, true);
    assert!(gic.asserted());
    gic.set_line(UART, false);
    assert!(!gic.asserted());
    gic.set_line(UART, true);
    assert_eq!(iar(&mut gic), UART);
    assert!(!gic.asserted(), "active");
    eoi(&mut gic, UART);
    assert!(gic.asserted(), "the line is still high");
}

#[test]
fn an_edge_interrupt_is_pending_once_for_each_rise() {
    let mut gic = ready();
    enable(&mut gic, UART);
    gic.write_distributor(0xc08, Width::Word, 2 << 2);
    gic.set_line(UART, true);
    gic.set_line(UART, false);
    assert_eq!(iar(&mut gic), UART);
    gic.set_line(UART, true);
    eoi(&mut gic, UART);
    assert_eq!(iar(&mut gic), UART, "rose again while active");
    eoi(&mut gic, UART);
    assert_eq!(iar(&mut gic), 1023);
}

#[test]
fn the_lowest_priority_number_comes_first_then_the_lowest_interrupt() {
    let mut gic = ready();
    for irq in [40, 50, 60] {
        enable(&mut gic, irq);
        set_priority(&mut gic, irq, 0xa0);
    }
    set_priority(&mut gic, 60, 0x40);
    for irq in [60, 50, 40] {
        gic.set_line(irq, true);
    }
    let mut order = vec![];
    while gic.asserted() {
        let irq = iar(&mut gic);
        gic.set_line(irq, false);
        eoi(&mut gic, irq);
        order.push(irq);
    }
    assert_eq!(order, [60, 40, 50]);
}

#[test]
fn a_more_urgent_interrupt_preempts_and_the_running_priority_follows() {
    let mut gic = ready();
    enable(&mut gic, 40);
    enable(&mut gic, 41);
    set_priority(&mut gic, 40, 0xa0);
    set_priority(&mut gic, 41, 0x80);
    assert_eq!(gic.read_interface(0x14, Width::Word), 0xff);
    gic.set_line(40, true);
    assert_eq!(iar(&mut gic), 40);
    assert_eq!(gic.read_interface(0x14, Width::Word), 0xa0);
    gic.set_line(41, true);
    assert!(gic.asserted());
    assert_eq!(iar(&mut gic), 41);
    assert_eq!(gic.read_interface(0x14, Width::Word), 0x80);
    gic.set_line(41, false);
    eoi(&mut gic, 41);
    assert_eq!(gic.read_interface(0x14, Width::Word), 0xa0);
    gic.set_line(40, false);
    eoi(&mut gic, 40);
    assert_eq!(gic.read_interface(0x14, Width::Word), 0xff);
}

#[test]
fn the_binary_point_makes_priorities_equal() {
    let mut gic = ready();
    enable(&mut gic, 40);
    enable(&mut gic, 41);
    set_priority(&mut gic, 40, 0xa8);
    set_priority(&mut gic, 41, 0xa0);
    gic.write_interface(0x08, Width::Word, 3);
    gic.set_line(40, true);
    assert_eq!(iar(&mut gic), 40);
    gic.set_line(41, true);
    assert!(!gic.asserted());
}

#[test]
fn the_priority_mask_is_exclusive_and_has_five_bits() {
    let mut gic = ready();
    enable(&mut gic, UART);
    set_priority(&mut gic, UART, 0xa0);
    gic.set_line(UART, true);
    gic.write_interface(0x04, Width::Word, 0xa0);
    assert!(!gic.asserted());
    assert_eq!(iar(&mut gic), 1023);
    gic.write_interface(0x04, Width::Word, 0xaf);
    assert_eq!(gic.read_interface(0x04, Width::Word), 0xa8);
    assert!(gic.asserted());
}

#[test]
fn a_software_interrupt_to_self_names_its_source() {
    let mut gic = ready();
    gic.write_distributor(0xf00, Width::Word, 2 << 24 | 5);
    assert_eq!(iar(&mut gic), 5);
    eoi(&mut gic, 5);
    gic.write_distributor(0xf00, Width::Word, 1 << 16 | 6);
    assert_eq!(iar(&mut gic), 6);
    eoi(&mut gic, 6);
    gic.write_distributor(0xf00, Width::Word, 1 << 24 | 7);
    assert_eq!(iar(&mut gic), 1023, "all but self");
    // Two sources make it pending twice.
    gic.write_distributor(0xf23, Width::Byte, 0b101);
    assert_eq!(gic.read_distributor(0xf20, Width::Word), 0x0500_0000);
    assert_eq!(gic.read_distributor(0x200, Width::Word), 1 << 3);
    assert_eq!(iar(&mut gic), 3);
    eoi(&mut gic, 3);
    assert_eq!(iar(&mut gic), 2 << 10 | 3);
    eoi(&mut gic, 2 << 10 | 3);
    assert!(!gic.asserted());
}

#[test]
fn a_split_end_drops_the_priority_first_and_deactivates_later() {
    let mut gic = ready();
    gic.write_interface(0x00, Width::Word, 1 | 1 << 9);
    enable(&mut gic, UART);
    enable(&mut gic, 40);
    gic.set_line(UART, true);
    assert_eq!(iar(&mut gic), UART);
    gic.set_line(40, true);
    assert!(!gic.asserted(), "same priority");
    eoi(&mut gic, UART);
    assert_eq!(gic.read_distributor(0x304, Width::Word), 2, "still active");
    assert_eq!(iar(&mut gic), 40, "not 33, which is active");
    gic.write_interface(0x1000, Width::Word, UART);
    assert_eq!(gic.read_distributor(0x304, Width::Word), 1 << 8);
}

#[test]
fn group_one_needs_its_enable_and_its_own_acknowledge() {
    let mut gic = ready();
    enable(&mut gic, UART);
    gic.write_distributor(0x084, Width::Word, 2);
    gic.set_line(UART, true);
    assert!(!gic.asserted());
    gic.write_distributor(0x000, Width::Word, 3);
    gic.write_interface(0x00, Width::Word, 3);
    assert!(gic.asserted());
    assert_eq!(iar(&mut gic), 1022);
    assert_eq!(gic.read_interface(0x18, Width::Word), 1022);
    assert_eq!(gic.read_interface(0x28, Width::Word), UART);
    assert_eq!(gic.read_interface(0x20, Width::Word), UART);
    gic.set_line(UART, false);
    gic.write_interface(0x24, Width::Word, UART);
    assert_eq!(gic.read_interface(0x20, Width::Word), 1023);
}

#[test]
fn group_zero_is_fiq_when_asked_for() {
    let mut gic = ready();
    enable(&mut gic, UART);
    gic.set_line(UART, true);
    gic.write_interface(0x00, Width::Word, 1 | 1 << 3);
    assert!(gic.fiq() && !gic.asserted());
}

#[test]
fn linux_finds_its_cpu_mask_and_a_version_two_gic() {
    let gic = ready();
    // gic_get_cpumask reads the private targets; ICPIDR2 holds the version in 7:4.
    assert_eq!(gic.read_distributor(0x800, Width::Word), 0x0101_0101);
    assert_eq!(gic.read_distributor(0x820, Width::Word), 0);
    assert_eq!(gic.read_distributor(0xfe8, Width::Word) >> 4 & 0xf, 2);
    assert_eq!(gic.read_distributor(0x004, Width::Word), 3, "128 interrupts, one CPU");
}

#[test]
fn each_of_two_cpus_has_its_mask_and_gets_its_software_interrupts() {
    let mut gics = [Gic::of(0, 2), Gic::of(1, 2)];
    for gic in &mut gics {
        gic.write_interface(0x00, Width::Word, 1);
        gic.write_interface(0x04, Width::Word, 0xff);
        gic.set_control(1);
        assert_eq!(gic.read_distributor(0x004, Width::Word) >> 5 & 7, 1, "two CPUs");
        assert_eq!(gic.read_distributor(0x820, Width::Word), 0x0101_0101, "CPU 0, for good");
    }
    let [first, second] = &mut gics;
    assert_eq!(second.read_distributor(0x800, Width::Word), 0x0202_0202);
    // By list to both, to all others, to itself alone.
    first.write_distributor(0xf00, Width::Word, 3 << 16 | 4);
    assert_eq!((first.take_sent(), first.take_sent()), ((2, 4), (0, 0)));
    assert_eq!(iar(first), 4);
    first.write_distributor(0xf00, Width::Word, 1 << 24 | 5);
    assert_eq!(first.take_sent(), (2, 5));
    first.write_distributor(0xf00, Width::Word, 2 << 24 | 6);
    assert_eq!(first.take_sent(), (0, 6));
    // A CPU that does not exist gets nothing.
    first.write_distributor(0xf00, Width::Word, 0xfc << 16 | 7);
    assert_eq!(first.take_sent(), (0, 7));
    second.receive(0, 1 << 4 | 1 << 5 | 1 << 20);
    assert_eq!((iar(second), iar(second)), (4, 1023), "one priority: the other waits");
    eoi(second, 4);
    assert_eq!(iar(second), 5);
    eoi(second, 5);
    assert_eq!(iar(second), 1023, "no more than 16");
    // An interrupt names who sent it.
    eoi(first, 4);
    eoi(first, 6);
    first.receive(1, 1 << 9);
    let acknowledged: Vec<u32> = (0..3)
        .map(|_| {
            let irq = iar(first);
            eoi(first, irq & 0x3ff);
            irq
        })
        .collect();
    assert!(acknowledged.contains(&(9 | 1 << 10)), "{acknowledged:x?}");
    first.reset();
    assert_eq!(first.cpu(), (0, 2));
}

#[test]
fn what_is_banked_is_private_and_what_is_shared_is_not() {
    for offset in
        [0x004, 0x008, 0x080, 0x100, 0x383, 0x400, 0x41f, 0x800, 0x81c, 0xc04, 0xf00, 0xfe8]
    {
        assert!(Gic::is_private(offset), "{offset:#x}");
    }
    for offset in [0x000, 0x084, 0x104, 0x38c, 0x420, 0x7fc, 0x820, 0xbfc, 0xc08, 0xcfc] {
        assert!(!Gic::is_private(offset), "{offset:#x}");
    }
}

#[test]
fn registers_of_software_interrupts_are_fixed() {
    let mut gic = ready();
    gic.write_distributor(0x180, Width::Word, u32::MAX);
    assert_eq!(gic.read_distributor(0x100, Width::Word), 0xffff);
    gic.write_distributor(0xc00, Width::Word, 0);
    assert_eq!(gic.read_distributor(0xc00, Width::Word), 0xaaaa_aaaa);
    gic.write_distributor(0x200, Width::Word, 0xffff);
    assert_eq!(gic.read_distributor(0x200, Width::Word), 0);
}

#[test]
fn a_line_that_does_not_exist_changes_nothing() {
    let mut gic = ready();
    for irq in [0, 15, 128, 1023, u32::MAX] {
        gic.set_line(irq, true);
        assert!(!gic.asserted());
    }
}

#[test]
fn ending_what_is_not_active_changes_nothing() {
    let mut gic = ready();
    enable(&mut gic, TIMER);
    gic.set_line(TIMER, true);
    for value in [TIMER, 1020, 1023, u32::MAX] {
        eoi(&mut gic, value);
        assert!(gic.asserted());
    }
}

proptest::proptest! {
    #[test]
    fn any_access_anywhere_is_answered(
        accesses in proptest::collection::vec(
            (0_u32..0x1_0000, 0_u32..3, proptest::prelude::any::<u32>(), 0_u32..4), 0..200)
    ) {
        let mut gic = ready();
        for (offset, width, value, what) in accesses {
            let width = [Width::Byte, Width::Half, Width::Word][index(width)];
            // Most offsets are reserved: fold them onto the first page.
            let near = offset & 0xfff;
            match what {
                0 => gic.write_distributor(near, width, value),
                1 => gic.write_interface(near, width, value),
                2 => { let _ = gic.read_distributor(offset, width); }
                _ => { let _ = gic.read_interface(near, width); }
            }
            proptest::prop_assert!(!(gic.asserted() && gic.fiq()));
        }
    }
}
