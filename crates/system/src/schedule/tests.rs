//! Schedules of small systems, whole.

use super::*;
use crate::{Budget, Machine, Pools, layout, manifest};

/// A VM of the first core with nothing else.
pub(crate) fn vm(name: &str, priority: u32, budget: Option<Budget>) -> crate::Vm {
    crate::Vm {
        name: name.to_owned(),
        image: std::path::PathBuf::new(),
        format: manifest::Format::Raw,
        memory: 1 << 20,
        priority,
        core: 0,
        second_core: 0,
        budget,
        uart: false,
        rtc: false,
        watchdog: false,
        policies: crate::health::ALL.map(|_| manifest::Policy::Stop),
        heartbeat: 0,
        restarts: 0,
        restarts_within: 0,
        autostart: true,
        rewrite: manifest::Rewrite::Trap,
        protection: manifest::Protection::default(),
        time: manifest::Time::Physical,
        rewritten: vec![],
        entry: 0,
        cmdline: String::new(),
        loads: vec![],
        initrd: None,
        device_tree: 0..0,
        device_tree_additions: None,
        passthrough: vec![],
        shared: vec![],
        is_ordered: false,
        controls: 0,
        control_irq: 0,
        partner: None,
        is_backup: false,
        pools: Pools { view_pairs: 2, shadow_tables: 8, sites: 64 },
    }
}

fn system(vms: Vec<crate::Vm>, slots: Vec<crate::Slot>) -> System {
    let machine = Machine::named("vexpress-a9").unwrap().unwrap();
    let layout = layout::lay_out(&machine, 1, &[], 0).unwrap();
    System { machine, vms, slots, shared: vec![], layout, warnings: vec![] }
}

const US: u32 = 1000;

#[test]
fn a_budget_above_a_busy_vm_takes_its_share_of_each_period() {
    let budget = Budget { budget: 200 * US, period: 1000 * US };
    let system = system(vec![vm("a", 9, Some(budget)), vm("b", 1, None)], vec![]);
    let schedule = Schedule::new(&system);
    let piece = |vm, start, end| Piece { vm: Some(vm), start, end };
    assert_eq!(schedule.pieces, [piece(0, 0, 200_000), piece(1, 200_000, 1_000_000)]);
    assert_eq!(schedule.repeats, 1_000_000);
}

#[test]
fn slots_are_drawn_as_long_as_they_are() {
    let slots = vec![
        crate::Slot { length: 300 * US, vms: 0b01 },
        crate::Slot { length: 700 * US, vms: 0b10 },
    ];
    let system = system(vec![vm("a", 1, None), vm("<b>", 9, None)], slots);
    let schedule = Schedule::new(&system);
    assert_eq!((schedule.time_of(0), schedule.time_of(1)), (300_000, 700_000));
    let svg = schedule.to_svg(&system);
    assert!(svg.contains("<title>a: 300 us from 0 s</title>"), "{svg}");
    assert!(svg.contains("&lt;b&gt;: 700 us from 300 us"), "{svg}");
    assert!(svg.contains("slot 2, 700 us: &lt;b&gt;"), "{svg}");
}

#[test]
fn a_schedule_that_hardly_repeats_is_cut() {
    let budget = |budget, period| Some(Budget { budget, period });
    let system = system(
        vec![vm("a", 9, budget(10_001, 100_003)), vm("b", 8, budget(10_007, 99_991))],
        vec![],
    );
    let schedule = Schedule::new(&system);
    assert!(schedule.length < schedule.repeats);
    assert!(schedule.to_svg(&system).contains("after which it repeats"));
}
