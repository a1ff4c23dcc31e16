//! A picture of who runs when, if everybody always wants to.
//!
//! The decisions are those of the scheduler on the target, which is run here with a
//! counter of nanoseconds and a timer that is never late. So the picture shows the
//! schedule itself, and not what somebody thinks of it; it shows the worst case, in which
//! no VM ever waits, and nothing of the hypervisor's own time.

mod svg;

use crate::{System, duration::Duration, timing};
use entresol_hv::scheduler::{Id, Scheduler, Slot};
use std::fmt::Write;
use svg::{Anchor, Svg};

/// A slice of VMs of equal priority, as on the target.
const SLICE: u64 = 10_000_000;

/// Most pieces in a picture.
const MOST_PIECES: usize = 4000;

/// Time in which one VM runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The VM's index; `None` when none can run.
    pub vm: Option<usize>,
    /// First nanosecond.
    pub start: u64,
    /// Past the last.
    pub end: u64,
}

/// Who runs when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// All of the time, in order, one core after the other.
    pub pieces: Vec<Piece>,
    /// How much time that is, in nanoseconds.
    pub length: u64,
    /// After which it repeats.
    pub repeats: u64,
}

impl Schedule {
    /// Runs `system`'s schedule until it repeats, or until a picture is full.
    #[must_use]
    pub fn new(system: &System) -> Self {
        let repeats = repeats(system);
        let mut pieces = Vec::new();
        let length = (0..crate::cores(&system.vms))
            .map(|core| run(system, core, repeats, &mut pieces))
            .min();
        Self { pieces, length: length.unwrap_or(0), repeats }
    }

    /// How long the VM with index `vm` runs, in nanoseconds.
    #[must_use]
    pub fn time_of(&self, vm: usize) -> u64 {
        let own = self.pieces.iter().filter(|piece| piece.vm == Some(vm));
        own.map(|piece| piece.end - piece.start).sum()
    }

    /// The picture, as SVG.
    #[must_use]
    pub fn to_svg(&self, system: &System) -> String {
        Picture { schedule: self, system }.draw()
    }
}

/// Runs the schedule of one core; returns the time up to which it did.
fn run(system: &System, core: u32, repeats: u64, pieces: &mut Vec<Piece>) -> u64 {
    let mut scheduler = Scheduler::new(SLICE);
    let own = |(_, vm): &(usize, &crate::Vm)| vm.runs_on(core);
    for (index, vm) in system.vms.iter().enumerate().filter(own) {
        let Some(id) = Id::new(index) else { continue };
        scheduler.set_priority(id, u8::try_from(vm.priority).unwrap_or(u8::MAX));
        if let Some(budget) = vm.budget {
            scheduler.set_budget(id, budget.budget.into(), budget.period.into());
        }
        scheduler.ready(id);
    }
    let slot = |slot: &crate::Slot| Slot { length: slot.length.into(), open: slot.vms };
    let slots = timing::slots_of(core, &system.vms, &system.slots).iter().map(slot);
    scheduler.set_slots(&slots.collect::<Vec<_>>(), 0);
    let (first, mut now) = (pieces.len(), 0);
    while now < repeats && pieces.len() - first < MOST_PIECES {
        let vm = scheduler.pick(now).map(Id::index);
        let end = scheduler.deadline().min(repeats);
        match pieces.last_mut() {
            Some(last) if now > 0 && last.vm == vm => last.end = end,
            _ => pieces.push(Piece { vm, start: now, end }),
        }
        now = end;
    }
    now
}

/// After how many nanoseconds the schedule repeats: all periods, the frame, and, where
/// VMs take turns, their slices.
fn repeats(system: &System) -> u64 {
    let frame = system.slots.iter().map(|slot| u64::from(slot.length)).sum();
    let periods = system.vms.iter().filter_map(|vm| vm.budget.map(|budget| budget.period.into()));
    let equals = |vm: &&crate::Vm| {
        let equal = |other: &&crate::Vm| other.runs_on(vm.core) && other.priority == vm.priority;
        system.vms.iter().filter(equal).count() > 1
    };
    let slices = system.vms.iter().filter(equals).map(|_| SLICE);
    let most = u64::from(u32::MAX);
    let parts = periods.chain(slices).chain([frame]).filter(|part| *part > 0);
    let all = parts.fold(1, |all, part| (all / common(all, part)).saturating_mul(part).min(most));
    if all == 1 { SLICE } else { all }
}

/// The greatest common divisor.
fn common(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common(b, a % b) }
}

/// Places and colours of a picture.
struct Picture<'a> {
    schedule: &'a Schedule,
    system: &'a System,
}

const LEFT: u64 = 130;
const WIDTH: u64 = 1000;
const TOP: u64 = 40;
const ROW: u64 = 30;

const COLOURS: [&str; 8] =
    ["#4878a8", "#d08040", "#589858", "#b05060", "#8868a8", "#806050", "#c878a8", "#707070"];

impl Picture<'_> {
    fn draw(&self) -> String {
        let System { vms, slots, .. } = self.system;
        let rows = u64::try_from(vms.len()).unwrap_or(0) + u64::from(!slots.is_empty());
        let bottom = TOP + rows * ROW;
        let mut svg = Svg::new(LEFT + WIDTH + 30, bottom + 40);
        svg.text(LEFT, 22, Anchor::Start, &self.title());
        let mut row = TOP;
        if !slots.is_empty() {
            svg.text(LEFT - 8, row + 18, Anchor::End, "slots");
            self.slots(&mut svg, row, bottom);
            row += ROW;
        }
        for (index, vm) in vms.iter().enumerate() {
            svg.text(LEFT - 8, row + 18, Anchor::End, &format!("{} ({})", vm.name, vm.priority));
            let colour = COLOURS.get(index % COLOURS.len()).copied().unwrap_or("black");
            for piece in self.schedule.pieces.iter().filter(|piece| piece.vm == Some(index)) {
                let (from, to) = (self.x(piece.start), self.x(piece.end));
                let said = format!(
                    "{}: {} from {}",
                    vm.name,
                    Duration(piece.end - piece.start),
                    Duration(piece.start)
                );
                svg.bar([from, row + 4, to - from, ROW - 8], colour, &said);
            }
            row += ROW;
        }
        self.axis(&mut svg, bottom);
        svg.end()
    }

    fn title(&self) -> String {
        let Schedule { length, repeats, .. } = self.schedule;
        let mut title = format!("{} with every VM busy", Duration(*length));
        if length < repeats {
            // A formatted string never fails to grow.
            let _ = write!(title, ", the start of {} after which it repeats", Duration(*repeats));
        } else {
            title.push_str(", then it repeats");
        }
        title
    }

    /// The frame's slots, as far as the picture goes, with lines down through the rows.
    fn slots(&self, svg: &mut Svg, row: u64, bottom: u64) {
        let mut start = 0;
        for (number, slot) in (1..=self.system.slots.len()).zip(&self.system.slots).cycle() {
            let end = (start + u64::from(slot.length)).min(self.schedule.length);
            let (from, to) = (self.x(start), self.x(end));
            let open = self.system.vms.iter().enumerate().filter(|(vm, _)| slot.is_open(*vm));
            let names: Vec<&str> = open.map(|(_, vm)| vm.name.as_str()).collect();
            let said = format!("slot {number}, {}: {}", Duration(end - start), names.join(", "));
            svg.bar([from, row + 4, to - from, ROW - 8], "#d8d8d8", &said);
            svg.line([to, row, to, bottom], "#a0a0a0");
            if to - from > 16 {
                svg.text((from + to) / 2, row + 19, Anchor::Middle, &number.to_string());
            }
            start = end;
            if start >= self.schedule.length {
                return;
            }
        }
    }

    fn axis(&self, svg: &mut Svg, bottom: u64) {
        svg.line([LEFT, bottom, LEFT + WIDTH, bottom], "black");
        // 1, 2, 5, 10, ...: at most ten marks.
        let mut step: u64 = 1;
        let mut factors = [2, 5, 10].into_iter().cycle();
        let mut decade = 1;
        while self.schedule.length / step > 10 {
            let factor = factors.next().unwrap_or(10);
            step = decade * factor;
            if factor == 10 {
                decade = step;
            }
        }
        for mark in 0..=self.schedule.length / step {
            let x = self.x(mark * step);
            svg.line([x, bottom, x, bottom + 5], "black");
            svg.text(x, bottom + 20, Anchor::Middle, &Duration(mark * step).to_string());
        }
    }

    fn x(&self, time: u64) -> u64 {
        LEFT + time.saturating_mul(WIDTH) / self.schedule.length.max(1)
    }
}

#[cfg(test)]
pub(crate) mod tests;
