//! QEMU plugin that counts instructions between marks and probes, from outside.
//!
//! It sees every instruction the machine executes, of guests and hypervisor alike, and
//! costs the measured code nothing. It knows nothing of the project but the window's
//! addresses (its default) and the two words of a mark. Arguments: see [`config`].
//! Not here: running QEMU and judging the figures, which is `cargo xtask bench`.
//!
//! A **mark** is the A32 instruction `orr r9, r9, r9` in any code. Version 1 of the
//! plugin API cannot read registers, but it can see addresses: a program that wants its
//! marks numbered executes `ldrb r9, [r9, r0]` right before, with r9 at the start of a
//! page it may read; the low 12 bits of the address are the number.
//!
//! The report is text, one line per mark in order, per probe, and `end`. It is rewritten
//! at every mark, because a machine that hangs is killed and never reaches `end`.
//!
//! # Invariants
//!
//! Runs under `-icount`, so one thread executes all cores; the locks are never contended.
//! A count in a callback is the number of instructions *before* the current one. An
//! instruction that aborts and is restarted is counted twice (QEMU's own count says once).

mod api;
mod config;
mod cores;
mod masked;
mod sites;
mod tally;
mod way;

use api::RawTb;
use config::{Config, Place};
use core::ffi::{c_char, c_int, c_uint, c_void};
use core::sync::atomic::{AtomicU64, Ordering};
use masked::{Effect, Masked};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, OnceLock};
use tally::{Count, Mark, Samples};
use way::Ways;

/// `orr r9, r9, r9`.
const MARK: u32 = 0xe189_9009;
/// `ldrb r9, [r9, r0]`.
const MARK_NUMBER: u32 = 0xe7d9_9000;
/// The part of its address that is the mark's number.
const MARK_NUMBER_MASK: u64 = 0xfff;

/// Executed inside the window.
pub(crate) static INSIDE: AtomicU64 = AtomicU64::new(0);
/// Executed elsewhere.
pub(crate) static OUTSIDE: AtomicU64 = AtomicU64::new(0);

static CONFIG: OnceLock<Config> = OnceLock::new();
static STATE: Mutex<Option<State>> = Mutex::new(None);

/// What the instrument has seen so far.
struct State {
    probes: Vec<Samples>,
    marks: Vec<Mark>,
    /// The number of the mark to come, and the count at which it was loaded.
    number: Option<(u64, u64)>,
    /// One counter per address of the window that was translated; leaked, for inline adds.
    profile: BTreeMap<u64, &'static AtomicU64>,
    /// What edges of the window are to probes: where execution goes on, on whichever core.
    edges: Edges,
    cores: BTreeMap<c_uint, Core>,
}

/// What is told apart by core.
#[derive(Default)]
struct Core {
    edges: Edges,
    masked: Masked,
    /// Of interrupts that took long.
    ways: Ways,
}

/// When execution was known last to be on one side of the window's edge: what was executed on the other.
struct Edges {
    /// Instructions outside when it was last known to execute inside.
    left: u64,
    /// Instructions inside when it was last known to execute outside.
    entered: u64,
}

impl Default for Edges {
    fn default() -> Self {
        Self { left: u64::MAX, entered: u64::MAX }
    }
}

impl Edges {
    /// Execution is inside; whether it arrived there.
    fn inside(&mut self, now: Count) -> bool {
        core::mem::replace(&mut self.left, now.outside()) != now.outside()
    }

    /// Execution is outside; whether it arrived there.
    fn outside(&mut self, now: Count) -> bool {
        core::mem::replace(&mut self.entered, now.inside) != now.inside
    }
}

/// The API version QEMU checks before it installs the plugin.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = api::API_VERSION;

/// Called by QEMU once. Non-zero refuses to start.
///
/// # Safety
///
/// For QEMU only: `argv` points to `argc` strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: promised by QEMU.
    let arguments = unsafe { api::arguments(argc, argv) };
    let config = match Config::parse(&arguments) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("instrument: {error}");
            return 1;
        }
    };
    let probes = config
        .probes
        .iter()
        .map(|spec| {
            let counts_from = !matches!(spec.from, Place::At(_));
            Samples::new(&spec.name, spec.from == Place::Start, counts_from)
        })
        .collect();
    let state = State {
        probes,
        marks: Vec::new(),
        number: None,
        profile: BTreeMap::new(),
        edges: Edges::default(),
        cores: BTreeMap::new(),
    };
    if let Ok(mut slot) = STATE.lock() {
        *slot = Some(state);
    }
    if let (Some(_), Some(counters)) = (&config.sites, config.counters) {
        sites::begin(counters);
    }
    let _ = CONFIG.set(config);
    api::register(id, translated, exited);
    0
}

extern "C" fn translated(_id: u64, tb: *mut RawTb) {
    // SAFETY: QEMU lends a valid block for the length of this call.
    let Some(tb) = (unsafe { tb.as_ref() }) else { return };
    let Some(config) = CONFIG.get() else { return };
    for (index, insn) in api::instructions(tb).enumerate() {
        let address = insn.address();
        let inside = config.window.contains(&address);
        let first = index == 0;
        if first && config.needs_edges() {
            let block = usize::try_from(address).unwrap_or(0);
            insn.on_execute(if inside { at_inside } else { at_outside }, block);
        }
        if inside && config.masked {
            let wide = insn.word().and_then(masked::effect);
            let waits = (insn.half() == Some(masked::WAIT_NARROW)).then_some(Effect::Waits);
            if config.acknowledges.contains(&address) {
                insn.on_execute(at_acknowledge, 0);
            }
            if config.loads.contains(&address) {
                insn.on_execute(at_load, 0);
            }
            if config.expresses.contains(&address) {
                insn.on_execute(at_express, 0);
            }
            let takes = config.polls.contains(&address).then_some(Effect::Takes);
            if let Some(effect) = takes.or(wide).or(waits) {
                insn.on_execute(at_effect, effect.number());
            }
        }
        if config.sites.is_some() {
            watch(tb, config, insn, first);
        }
        // TO before FROM: they may be the same instruction.
        for (number, probe) in config.probes.iter().enumerate() {
            if probe.to == Place::At(address) {
                insn.on_execute(at_to, number);
            }
        }
        for (number, probe) in config.probes.iter().enumerate() {
            if probe.from == Place::At(address) {
                insn.on_execute(at_from, number);
            }
        }
        match insn.word() {
            Some(MARK) => insn.on_execute(at_mark, 0),
            Some(MARK_NUMBER) => insn.on_access(at_number),
            _ => {}
        }
        insn.count(if inside { &INSIDE } else { &OUTSIDE });
        if inside && config.profile.is_some() {
            with_state(|state| insn.count(state.profile.entry(address).or_insert_with(leak)));
        }
    }
}

/// For [`sites`]: where blocks begin, and what the hypervisor stores.
fn watch(tb: &RawTb, config: &Config, insn: api::Insn, first: bool) {
    let address = insn.address();
    if config.vectors.contains(&address) {
        insn.on_execute(sites::at_vector, usize::try_from(address & 0x1f).unwrap_or(0));
    } else if config.window.contains(&address) {
        if first {
            insn.on_execute(sites::at_window, 0);
        }
        insn.on_store(sites::at_store);
    } else if first {
        let block = sites::block(api::instructions(tb).map(api::Insn::address));
        insn.on_execute(sites::at_guest, block);
    }
}

fn leak() -> &'static AtomicU64 {
    Box::leak(Box::new(AtomicU64::new(0)))
}

/// A block inside the window starts: an arrival, if anything executed outside since the
/// last one.
extern "C" fn at_inside(vcpu: c_uint, address: usize) {
    with_state(|state| {
        let (core, now) = state.core(vcpu);
        if core.edges.inside(now) {
            core.masked.enter(now);
        }
        let block = u64::try_from(address).unwrap_or(0);
        core.masked.block(block, now);
        core.ways.block(block, now.total);
        if state.edges.inside(crate::now()) {
            state.arrive(vcpu, &Place::In);
        }
    });
}

/// The same for a block outside.
extern "C" fn at_outside(vcpu: c_uint, address: usize) {
    with_state(|state| {
        let (core, now) = state.core(vcpu);
        if core.edges.outside(now) {
            core.ways.block(u64::try_from(address).unwrap_or(0), now.total);
            core.masked.leave(now);
        }
        if state.edges.outside(crate::now()) {
            state.arrive(vcpu, &Place::Out);
        }
    });
}

/// An instruction with an effect on interrupts, of that [`Effect::number`].
extern "C" fn at_effect(vcpu: c_uint, number: usize) {
    let Some(effect) = Effect::ALL.get(number) else { return };
    at(vcpu, |masked, now| masked.at(*effect, now));
}

extern "C" fn at_acknowledge(vcpu: c_uint, _number: usize) {
    at(vcpu, |masked, _| masked.acknowledge());
}

extern "C" fn at_load(vcpu: c_uint, _number: usize) {
    at(vcpu, Masked::load);
}

extern "C" fn at_express(vcpu: c_uint, _number: usize) {
    at(vcpu, Masked::express);
}

fn at(vcpu: c_uint, act: impl FnOnce(&mut Masked, Count)) {
    with_state(|state| {
        let (core, now) = state.core(vcpu);
        act(&mut core.masked, now);
    });
}

extern "C" fn at_from(_vcpu: c_uint, number: usize) {
    with_state(|state| {
        if let Some(probe) = state.probes.get_mut(number) {
            probe.begin(now());
        }
    });
}

extern "C" fn at_to(vcpu: c_uint, number: usize) {
    with_state(|state| state.end(vcpu, number));
}

extern "C" fn at_number(_vcpu: c_uint, _info: u32, address: u64, _number: usize) {
    with_state(|state| state.number = Some((address & MARK_NUMBER_MASK, now().total)));
}

extern "C" fn at_mark(_vcpu: c_uint, _number: usize) {
    with_state(|state| {
        let at = now();
        // A number belongs to the mark right behind it.
        let id = state.number.take().filter(|(_, loaded)| at.total - loaded <= 1);
        state.marks.push(Mark { id: id.map(|(id, _)| id), at });
        state.report(false);
    });
}

extern "C" fn exited(_id: u64, _number: usize) {
    with_state(|state| state.report(true));
}

fn now() -> Count {
    let inside = INSIDE.load(Ordering::Relaxed);
    Count { total: inside + OUTSIDE.load(Ordering::Relaxed), inside }
}

fn with_state(act: impl FnOnce(&mut State)) {
    if let Ok(mut slot) = STATE.lock()
        && let Some(state) = slot.as_mut()
    {
        act(state);
    }
}

impl State {
    /// The core that executes now, and what it has executed before.
    fn core(&mut self, vcpu: c_uint) -> (&mut Core, Count) {
        (self.cores.entry(vcpu).or_default(), cores::executed(vcpu))
    }

    /// Ends and begins what ends and begins at an edge of the window.
    fn arrive(&mut self, vcpu: c_uint, place: &Place) {
        let Some(config) = CONFIG.get() else { return };
        for (number, spec) in config.probes.iter().enumerate() {
            if spec.to == *place {
                self.end(vcpu, number);
            }
            if spec.from == *place
                && let Some(probe) = self.probes.get_mut(number)
            {
                probe.begin(now());
            }
        }
    }

    fn end(&mut self, vcpu: c_uint, number: usize) {
        let Some(config) = CONFIG.get() else { return };
        let Some(spec) = config.probes.get(number) else { return };
        let (mut since, mut now) = (None, now());
        if spec.from == Place::Open {
            let (core, executed) = self.core(vcpu);
            now = executed;
            since = Some(core.masked.since(now));
        }
        let Some(probe) = self.probes.get_mut(number) else { return };
        if let Some(since) = since {
            probe.begin(since);
        }
        let before = probe.number();
        let length = probe.end(now);
        let number = probe.number();
        if let (Some(since), Some(length), Some(long)) = (since, length, config.long)
            && length >= long
        {
            self.core(vcpu).0.ways.long(since.total, now.total);
        }
        if config.samples.is_some_and(|enough| number >= enough) {
            self.report(true);
            api::exit();
        }
        if number != before && number.is_power_of_two() {
            self.report(false);
        }
    }

    fn report(&self, ended: bool) {
        let Some(config) = CONFIG.get() else { return };
        let mut text = String::new();
        for mark in &self.marks {
            let _ = writeln!(text, "{mark}");
        }
        for probe in &self.probes {
            let _ = writeln!(text, "{probe}");
        }
        if config.masked {
            let masked = self.cores.values().map(|core| &core.masked);
            let _ = writeln!(text, "{}", masked::report(masked));
            for core in self.cores.values() {
                let _ = write!(text, "{}", core.ways);
            }
        }
        if ended {
            let Count { total, inside } = now();
            let _ = writeln!(text, "end total {total} inside {inside}");
        }
        write(&config.out, &text);
        if let Some(path) = config.sites.as_ref().filter(|_| ended) {
            let Count { total, inside } = now();
            let end = format!("end total {total} inside {inside}");
            write(path, &format!("{}{end}\n", sites::report()));
        }
        if let Some(path) = &config.histogram {
            let mut text = String::new();
            for probe in &self.probes {
                probe.histogram(&mut text);
            }
            write(path, &text);
        }
        if let Some(path) = &config.profile {
            let mut text = String::new();
            for (address, count) in &self.profile {
                let _ = writeln!(text, "{address:#010x} {}", count.load(Ordering::Relaxed));
            }
            write(path, &text);
        }
    }
}

fn write(path: &str, text: &str) {
    if let Err(error) = std::fs::write(path, text) {
        eprintln!("instrument: {path}: {error}");
    }
}
