//! What the entry code does by itself, against the model: see [`quick`].

use super::*;

/// What the entry code does to acknowledge, as [`quick`] says; `None` if it leaves it to the model.
fn acknowledge_quickly(gic: &mut Gic) -> Option<u32> {
    let (best, [bit, priority]) = (gic.best, gic.quick);
    if best == SPURIOUS {
        return Some(best);
    }
    if bit == 0 {
        return None;
    }
    gic.interface.active[0] |= priority;
    let distributor = &mut gic.distributor;
    distributor.active.set_word(0, distributor.active.word(0) | bit);
    distributor.deliverable.set_word(0, 0);
    (gic.inputs, gic.first, gic.best) = (0, u32::MAX, SPURIOUS);
    Some(best)
}

/// What it does to end; `false` if it leaves it to the model.
fn end_quickly(gic: &mut Gic, value: u32) -> bool {
    let (interface, distributor) = (&mut gic.interface, &mut gic.distributor);
    let again = distributor.latched.word(0) | distributor.line.word(0);
    let quick = gic.first == u32::MAX
        && value < 32
        && interface.active[1] == 0
        && interface.active[0] != 0
        && interface.control & quick::SPLIT == 0
        && again >> value & 1 == 0;
    if quick {
        interface.active[0] &= interface.active[0] - 1;
        distributor.active.set_word(0, distributor.active.word(0) & !(1 << value));
    }
    quick
}

#[test]
fn the_entry_code_settles_a_timers_tick() {
    let mut gic = ready();
    enable(&mut gic, TIMER);
    gic.set_line(TIMER, true);
    assert_eq!(acknowledge_quickly(&mut gic), Some(TIMER));
    assert!(!end_quickly(&mut gic, TIMER), "it would be pending again");
    gic.set_line(TIMER, false);
    assert!(end_quickly(&mut gic, TIMER));
    assert!(!end_quickly(&mut gic, TIMER), "it was not active");
    assert_eq!(acknowledge_quickly(&mut gic), Some(SPURIOUS));
}

proptest::proptest! {
    #[test]
    fn what_the_entry_code_does_is_what_the_model_does(
        steps in proptest::collection::vec((0_u32..8, 0_u32..64, proptest::prelude::any::<u32>()), 0..100)
    ) {
        let mut gic = ready();
        gic.write_distributor(0x100, Width::Word, u32::MAX);
        gic.write_distributor(0x104, Width::Word, u32::MAX);
        for (what, irq, value) in steps {
            match what {
                0 => gic.write_distributor(0x400 + irq, Width::Byte, value & 0x30),
                // Enables, pending, active, groups, edges; the interface's control and binary points.
                1 if value & 7 == 0 => {
                    let register = [0x080, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380, 0xc04, 0x000];
                    let at = register[index(irq) % register.len()];
                    gic.write_distributor(at, Width::Word, value >> 3);
                }
                2 if value & 7 == 0 => {
                    let register = [0x00, 0x04, 0x08, 0x1c, 0xd0, 0xe0];
                    let at = register[index(irq) % register.len()];
                    gic.write_interface(at, Width::Word, value >> 3);
                }
                1..=4 => gic.set_line(irq, value & 1 == 1),
                5 | 6 => {
                    let mut other = gic.clone();
                    if let Some(quickly) = acknowledge_quickly(&mut other) {
                        proptest::prop_assert_eq!(quickly, gic.acknowledge());
                        other.quick = gic.quick;
                        proptest::prop_assert_eq!(format!("{other:?}"), format!("{gic:?}"));
                    } else {
                        gic.acknowledge();
                    }
                }
                _ => {
                    let mut other = gic.clone();
                    let quick = end_quickly(&mut other, irq);
                    gic.end(irq);
                    other.quick = gic.quick;
                    let (other, model) = (format!("{other:?}"), format!("{gic:?}"));
                    proptest::prop_assert!(!quick || other == model);
                }
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn a_line_that_is_known_is_raised_as_any(
        steps in proptest::collection::vec((0_u32..12, 0_u32..64, proptest::prelude::any::<u32>()), 0..200)
    ) {
        let mut gic = ready();
        gic.write_distributor(0x100, Width::Word, u32::MAX);
        gic.write_distributor(0x104, Width::Word, u32::MAX);
        let mut known = gic.clone();
        for (what, irq, value) in steps {
            if what < 6 {
                gic.set_line(TIMER, true);
                known.raise_line::<TIMER>();
            }
            for gic in [&mut gic, &mut known] {
                match what {
                    0..=3 => {
                        gic.acknowledge();
                        gic.set_line(TIMER, false);
                        gic.end(TIMER);
                    }
                    4..=6 => gic.set_line(TIMER, false),
                    7 => gic.write_distributor(0x400 + irq, Width::Byte, value & 0x30),
                    8 => {
                        let register = [0x080, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380, 0xc04, 0x000];
                        let at = register[index(irq) % register.len()];
                        gic.write_distributor(at, Width::Word, value);
                        gic.write_distributor(0x100, Width::Word, value << 1);
                    }
                    9 => {
                        let register = [0x00, 0x04, 0x08, 0x1c, 0xd0, 0xe0];
                        let at = register[index(irq) % register.len()];
                        gic.write_interface(at, Width::Word, value | 1);
                    }
                    10 => gic.set_line(irq, value & 1 == 1),
                    _ => gic.end(irq),
                }
            }
            proptest::prop_assert_eq!(format!("{known:?}"), format!("{gic:?}"));
        }
    }
}
