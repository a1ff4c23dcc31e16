//! Whether a manifest makes sense: names, numbers and files, one VM at a time.
//!
//! Checks report and go on, with a harmless value in place of the wrong one, so that
//! one run shows every mistake. What concerns several VMs at once (names, devices,
//! memory) is checked at the end; a VM's binary in `binary`.

mod binary;
mod control;
mod cores;
mod devices;
mod health;
mod shared;
mod time;

use crate::{
    Load, Pools, Shared, System, Vm,
    layout::{self, Needs},
    machine::Machine,
    manifest::{self, Manifest, Size},
    placement,
    problem::{Problem, Problems, Source, nearest},
};
use entresol_abi::image as abi;
use std::{
    ops::Range,
    path::{Path, PathBuf},
};
use toml::Spanned;

/// Least memory of a VM, and the unit of memory.
const MIB: u64 = 1 << 20;

/// Most memory of a VM: what lies between its first byte and the devices that
/// boards have at the top.
const MOST_MEMORY: u64 = 0x8000_0000;

/// Most pairs of views of one VM (`armv7a`'s shadow): one for the MMU turned off, 16 for
/// address spaces. A VM that turns its MMU on needs two.
const MOST_PAIRS: u32 = 17;

/// Pairs of views of all VMs together: each of a pair's two views has one of the 8-bit
/// ASIDs, of which two are the hypervisor's.
const PAIRS_OF_ALL: u32 = (256 - 2) / 2;

/// Most replaced instructions of one VM: they are numbered by 16 bits.
const MOST_SITES: u32 = 0xfffe;

/// What checks share.
struct Checks<'a> {
    source: &'a Source,
    directory: &'a Path,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Checks<'_> {
    /// Reports a mistake at `span`.
    fn wrong(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        remark: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.problems.push(Problem::new(code, message).at(self.source, span, remark).help(help));
    }

    /// Reports that two places contradict each other.
    fn clash(
        &mut self,
        code: &'static str,
        first: Range<usize>,
        second: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let problem = Problem::new(code, message)
            .at(self.source, first, "first here")
            .at(self.source, second, "and again here")
            .help(help);
        self.problems.push(problem);
    }

    /// Reads a file the manifest names.
    fn read(&mut self, code: &'static str, path: &Spanned<PathBuf>) -> Option<Vec<u8>> {
        let full = self.directory.join(path.get_ref());
        match std::fs::read(&full) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let what = format!("cannot read {}: {error}", full.display());
                let help = "build or fetch the file, or correct the path \
                            (relative paths start at the manifest)";
                self.wrong(code, path.span(), "this file", what, help);
                None
            }
        }
    }

    /// A number from `range`, else the range's start.
    fn number(
        &mut self,
        code: &'static str,
        key: &str,
        number: Option<&Spanned<u32>>,
        default: u32,
        range: std::ops::RangeInclusive<u32>,
    ) -> u32 {
        let Some(number) = number else { return default };
        if range.contains(number.get_ref()) {
            return *number.get_ref();
        }
        let (least, most) = (range.start(), range.end());
        let message = format!("{key} = {} is out of range", number.get_ref());
        self.wrong(code, number.span(), "here", message, format!("use {least} to {most}"));
        default
    }
}

/// Checks a manifest and resolves it.
///
/// # Errors
///
/// Every mistake found.
pub fn resolve(
    manifest: &Manifest,
    source: &Source,
    directory: &Path,
    machine: Option<&str>,
) -> Result<System, Problems> {
    let mut checks = Checks { source, directory, problems: Vec::new(), warnings: Vec::new() };
    let machine = match machine {
        Some(name) => override_machine(name)?,
        None => checks.machine(&manifest.machine)?,
    };
    checks.count(manifest);
    let mut vms: Vec<Vm> = manifest.vm.iter().map(|vm| checks.vm(vm.get_ref(), &machine)).collect();
    checks.names(manifest);
    checks.pairs_of_all(manifest, &vms);
    checks.devices_given_twice(manifest);
    let mut shared = checks.shared(manifest, &mut vms);
    checks.control(manifest, &mut vms);
    checks.pairs(manifest, &mut vms, &mut shared);
    let slots = checks.slots(manifest);
    checks.schedule(manifest, &vms, &slots, &shared);
    let layout =
        match layout::lay_out(&machine, crate::cores(&vms), &needs(&vms), bytes_of(&shared)) {
            Ok(layout) => Some(layout),
            Err(full) => {
                checks.full(manifest, &machine, full);
                None
            }
        };
    match layout {
        Some(layout) if checks.problems.is_empty() => {
            Ok(System { machine, vms, slots, shared, layout, warnings: checks.warnings })
        }
        _ => Err(Problems(checks.problems)),
    }
}

fn override_machine(name: &str) -> Result<Machine, Problem> {
    Machine::named(name).or_else(|| Machine::file(Path::new(name))).unwrap_or_else(|| {
        let known: Vec<_> = Machine::shipped().collect();
        Err(Problem::new("manifest::unknown-machine", format!("no machine is called `{name}`"))
            .help(format!("use one of {}, or the path of a description", known.join(", "))))
    })
}

/// What the manifest says, or what holds without.
fn given<T: Copy + Default>(key: Option<&Spanned<T>>) -> T {
    key.map_or_else(T::default, |key| *key.get_ref())
}

/// Bytes of memory that VMs share.
fn bytes_of(shared: &[Shared]) -> u64 {
    shared.iter().map(|region| u64::from(region.len)).sum()
}

/// What the machine must have for each VM. Files that several VMs load are in the
/// image once.
fn needs(vms: &[Vm]) -> Vec<Needs> {
    let bytes = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
    let mut seen: Vec<&[u8]> = Vec::new();
    let mut needs = Vec::new();
    for vm in vms {
        let entries = vm.loads.len() * size_of::<abi::Load>()
            + (vm.passthrough.len() + vm.shared.len()) * size_of::<abi::Passthrough>();
        let tree = u64::from(vm.device_tree.end - vm.device_tree.start).next_multiple_of(0x1000);
        let mut payloads = bytes(entries) + tree;
        for load in &vm.loads {
            if !seen.contains(&load.bytes.as_slice()) {
                seen.push(&load.bytes);
                payloads += bytes(load.bytes.len()).next_multiple_of(0x1000);
            }
        }
        let (pools, memory) = (u64::from(vm.pool_bytes()), u64::from(vm.memory));
        needs.push(Needs { payloads, pools, memory });
    }
    needs
}

impl Checks<'_> {
    fn machine(&self, machine: &Spanned<String>) -> Result<Machine, Problem> {
        let name = machine.get_ref();
        let path = Path::new(name);
        let is_file = path.extension().is_some_and(|extension| extension == "toml");
        let file = || is_file.then(|| Machine::file(&self.directory.join(path))).flatten();
        Machine::named(name).or_else(file).unwrap_or_else(|| {
            let known: Vec<_> = Machine::shipped().collect();
            let near = nearest(name, known.iter().copied())
                .map(|near| format!("did you mean \"{near}\"? "))
                .unwrap_or_default();
            let help = format!(
                "{near}Use one of {}, or the path of a description (ending in .toml)",
                known.join(", ")
            );
            let message = format!("no machine is called `{name}`");
            Err(Problem::new("manifest::unknown-machine", message)
                .at(self.source, machine.span(), "unknown machine")
                .help(help))
        })
    }

    fn count(&mut self, manifest: &Manifest) {
        const MOST: usize = abi::MAX_VMS;
        if manifest.vm.is_empty() {
            let span = manifest.machine.span();
            let help = "add a [[vm]] table with name, image and memory";
            self.wrong("manifest::no-vm", span, "a machine", "this system has no VM", help);
        }
        if let Some(vm) = manifest.vm.get(MOST) {
            let message = format!("this system has {} VMs", manifest.vm.len());
            let help = format!("a system has at most {MOST}");
            self.wrong("manifest::too-many-vms", vm.span(), "one too many", message, help);
        }
    }

    fn vm(&mut self, vm: &manifest::Vm, machine: &Machine) -> Vm {
        self.name("VM", &vm.name);
        let memory = self.memory(&vm.memory);
        let cmdline = self.cmdline(vm);
        let board = self.board_devices(vm);
        let [uart, rtc, watchdog] = board;
        let policies = self.policies(vm, watchdog);
        let (restarts, restarts_within) = self.restarts(vm, policies);
        let passthrough = self.passthrough(vm, machine, board, memory);
        let priority = vm.priority.as_ref().map_or(1, |priority| self.priority(priority));
        let [core, second_core] = self.cores(vm, machine);
        let budget = self.budget(vm);
        let pools = self.pools(&vm.limits, memory);
        let placed = self.binary(vm, memory);
        // After a mistake was reported only the memory's size still matters.
        let placed = placed.unwrap_or_else(binary::nothing);
        let binary::Placed { format, placement, initrd, additions, rewritten } = placed;
        let mut loads: Vec<Load> = placement
            .segments
            .into_iter()
            .map(|segment| Load { to: low(segment.at), bytes: segment.bytes })
            .collect();
        if let (Some(bytes), Some(place)) = (initrd, &placement.initrd) {
            loads.push(Load { to: low(place.start), bytes });
        }
        Vm {
            name: vm.name.get_ref().clone(),
            image: self.directory.join(vm.image.get_ref()),
            format,
            memory: low(memory),
            priority,
            core,
            second_core,
            budget,
            uart,
            rtc,
            watchdog,
            policies,
            heartbeat: self.heartbeat(vm),
            restarts,
            restarts_within,
            autostart: vm.autostart.unwrap_or(true),
            rewrite: match &vm.rewrite {
                Some(rewrite) => *rewrite.get_ref(),
                None if core == second_core => manifest::Rewrite::default(),
                None => manifest::Rewrite::Trap,
            },
            protection: given(vm.protection.as_ref()),
            time: given(vm.time.as_ref()),
            rewritten,
            entry: placement.entry,
            cmdline,
            loads,
            initrd: placement.initrd.map(|place| low(place.start)..low(place.end)),
            device_tree: low(placement.device_tree.start)..low(placement.device_tree.end),
            device_tree_additions: additions,
            passthrough,
            shared: Vec::new(),
            is_ordered: false,
            controls: 0,
            control_irq: 0,
            partner: None,
            is_backup: false,
            pools,
        }
    }

    fn name(&mut self, of: &str, name: &Spanned<String>) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.get_ref().is_empty()
            || name.get_ref().len() > 16
            || !name.get_ref().bytes().all(plain)
        {
            let message = format!("{:?} cannot be a {of}'s name", name.get_ref());
            let help = "use 1 to 16 letters, digits, `-`, `_` and `.`";
            self.wrong("manifest::bad-name", name.span(), "this name", message, help);
        }
    }

    /// The memory's size; 1 MiB where it is wrong.
    fn memory(&mut self, memory: &Spanned<Size>) -> u64 {
        let size = memory.get_ref().0;
        if size == 0 || !size.is_multiple_of(MIB) {
            let message = format!("{} of memory is not a multiple of 1 MiB", memory.get_ref());
            let near = size.next_multiple_of(MIB).max(MIB) / MIB;
            let help = format!("use \"{near}M\"");
            self.wrong("memory::not-whole", memory.span(), "this size", message, help);
            MIB
        } else if size > MOST_MEMORY {
            let message = format!("{} of memory is more than a VM can have", memory.get_ref());
            let help = "a VM's memory starts at 0x40000000 and has at most \"2G\"";
            self.wrong("memory::too-large", memory.span(), "this size", message, help);
            MIB
        } else {
            size
        }
    }

    fn cmdline(&mut self, vm: &manifest::Vm) -> String {
        /// `COMMAND_LINE_SIZE` of Linux on Arm, with its terminating zero.
        const MOST: usize = 1024;
        let Some(cmdline) = &vm.cmdline else { return String::new() };
        let text = cmdline.get_ref();
        if text.contains('\0') {
            let message = "the command line contains a NUL character, which would end it";
            self.wrong("cmdline::nul", cmdline.span(), "here", message, "remove \\u0000");
        } else if text.len() >= MOST {
            let message = format!("the command line has {} bytes", text.len());
            let help = format!("Linux reads at most {}", MOST - 1);
            self.wrong("cmdline::too-long", cmdline.span(), "here", message, help);
        }
        text.clone()
    }

    fn priority(&mut self, priority: &Spanned<i64>) -> u32 {
        match u32::try_from(*priority.get_ref()) {
            Ok(number @ 0..=31) => number,
            _ => {
                let message = format!("priority {} is out of range", priority.get_ref());
                let help = "use 0 (least urgent) to 31 (most urgent)";
                self.wrong("manifest::priority", priority.span(), "here", message, help);
                0
            }
        }
    }

    fn pools(&mut self, limits: &manifest::Limits, memory: u64) -> Pools {
        let default = if memory >= 32 * MIB {
            Pools { view_pairs: 16, shadow_tables: 640, sites: 16384 }
        } else {
            Pools { view_pairs: 4, shadow_tables: 64, sites: 2048 }
        };
        let code = "limits::out-of-range";
        let mut limit = |key, number: &Option<_>, default, range| {
            self.number(code, key, number.as_ref(), default, range)
        };
        Pools {
            view_pairs: limit("view-pairs", &limits.view_pairs, default.view_pairs, 2..=MOST_PAIRS),
            shadow_tables: limit(
                "shadow-tables",
                &limits.shadow_tables,
                default.shadow_tables,
                8..=16384,
            ),
            sites: limit("sites", &limits.sites, default.sites, 64..=MOST_SITES),
        }
    }

    fn names(&mut self, manifest: &Manifest) {
        for (index, vm) in manifest.vm.iter().enumerate() {
            let name = &vm.get_ref().name;
            let earlier = manifest.vm.iter().take(index).map(|vm| &vm.get_ref().name);
            if let Some(first) = earlier.into_iter().find(|first| first.get_ref() == name.get_ref())
            {
                let message = format!("two VMs are called `{}`", name.get_ref());
                let help = "give each VM a name of its own";
                self.clash("manifest::name-twice", first.span(), name.span(), message, help);
            }
        }
    }

    /// ASIDs, which tag the views of all VMs, are few.
    fn pairs_of_all(&mut self, manifest: &Manifest, vms: &[Vm]) {
        let mut total = 0;
        for (vm, entry) in vms.iter().zip(&manifest.vm) {
            total += vm.pools.view_pairs;
            if total > PAIRS_OF_ALL {
                let message = format!(
                    "up to `{}` the VMs have {total} view pairs, and the processor's ASIDs are \
                     enough for {PAIRS_OF_ALL}",
                    vm.name
                );
                let limits = entry.get_ref().limits.view_pairs.as_ref();
                let span = limits.map_or(entry.get_ref().name.span(), Spanned::span);
                let help = "give some VMs fewer: [vm.limits] view-pairs = 8";
                self.wrong("limits::view-pairs-of-all", span, "one VM too many", message, help);
                return;
            }
        }
    }

    fn full(&mut self, manifest: &Manifest, machine: &Machine, full: layout::Full) {
        let (wanted, left) = (Size(full.wanted), Size(full.left));
        let total: u64 = machine.ram.iter().map(|ram| ram.size.0).sum();
        let name = &machine.name;
        match full.vm.and_then(|index| manifest.vm.get(index)) {
            Some(vm) => {
                let memory = &vm.get_ref().memory;
                let message = format!(
                    "the memory of `{}` does not fit: {wanted} wanted, {left} left of {} on {name}",
                    vm.get_ref().name.get_ref(),
                    Size(total),
                );
                let help = "give this VM or those before it less memory";
                self.wrong("memory::does-not-fit", memory.span(), "does not fit", message, help);
            }
            None => {
                let message = format!(
                    "the image does not fit: {wanted} wanted for hypervisor, guests' files \
                     and page tables, {left} left on {name}"
                );
                let span = manifest.machine.span();
                let help = "use smaller files or limits, or a machine with more memory";
                self.wrong("memory::does-not-fit", span, "this machine", message, help);
            }
        }
    }
}

/// An address in a guest, which is below 4 GiB by the checks above.
fn low(address: u64) -> u32 {
    u32::try_from(address).unwrap_or(u32::MAX)
}

/// First byte of every guest's memory, as an address in a guest.
const GUEST_MEMORY: u64 = placement::MEMORY;
