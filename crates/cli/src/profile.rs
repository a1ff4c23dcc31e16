//! `entresol profile`: runs a system under the instrument and says what trapped where.
//!
//! The system is the one that `run` would start, to the bit: nothing is added to image or
//! guests. Its consoles are not shown, because the profile is what was asked for; `--log`
//! keeps them.

use crate::arguments::Profile as Arguments;
use crate::commands::{
    Failure, Outcome, find_hypervisor_file, load, print, qemu, unwritable, write,
};
use entresol_image::{Error as Image, Hypervisor};
use entresol_run::instrument::{self, Watch};
use entresol_run::session::Failure as Run;
use entresol_run::{Channel, Ended, Session};
use entresol_system::manifest::Format;
use entresol_system::{Problem, System, Vm, text};
use entresol_trace::profile::Guest;
use entresol_trace::{Profile, Symbols, counters, svg, table::Table};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, process::ExitCode};

/// How long QEMU may take to end when asked.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of the hypervisor's counters, and the mark they start with.
const COUNTERS: usize = size_of::<entresol_trace::Observed>();
const MARK: [u8; 4] = entresol_trace::MAGIC.to_le_bytes();

/// `entresol profile`.
pub(crate) fn profile(arguments: &Arguments) -> Outcome {
    let system = load(&arguments.system)?;
    let guests = guests(&system, &arguments.symbols)?;
    let channel = channel(&system, arguments.to.as_deref())?;
    let plugin = instrument::find(arguments.instrument.as_deref())?;
    let path = find_hypervisor_file(&arguments.system)?;
    let hypervisor = Hypervisor::read(&path)?;
    let watched = hypervisor.watched.clone().ok_or(Image::Stripped(path))?;
    let place = instrument::temporary();
    let directory = tempfile::Builder::new()
        .prefix("entresol-")
        .tempdir_in(&place)
        .map_err(|error| unwritable(&place, error))?;

    let image = directory.path().join("system.elf");
    write(&image, &entresol_image::build(&system, &hypervisor)?.to_elf()?)?;
    let mut qemu = qemu(&system, &arguments.qemu)?;
    let watch = Watch {
        plugin,
        directory: directory.path().to_owned(),
        vectors: watched.vectors,
        counters: watched.counters,
        shape: counters::SHAPE,
        memory: qemu.memory.clone(),
    };
    qemu.args.extend(watch.arguments());
    let limit = Duration::from_secs(arguments.timeout);
    let mut session = Session::start_interruptible(&qemu, &image, limit).map_err(failed)?;
    let ended = match &arguments.until {
        Some(text) => {
            let said = session.expect(channel, text, limit);
            session.end(PATIENCE);
            said.map(|_| Ended::Quit)
        }
        None => session.wait(),
    };
    if let Some(log) = &arguments.log {
        log_consoles(&session, &system, log)?;
    }
    let ended = ended.map_err(failed)?;
    if ended == Ended::TimeLimit {
        return Err(Problem::new("profile::time-limit", "the time limit passed")
            .help("allow more with --timeout, or end the run earlier with --until TEXT")
            .into());
    }
    if ended == Ended::Killed {
        return Err(Problem::new("profile::interrupted", "the machine was ended from outside")
            .help("a profile is made when the run ends")
            .into());
    }
    let report = watch.report().inspect_err(|_| eprint!("{}", session.complaints()))?;
    let offset = watched.counters - entresol_trace::BASE;
    let stride = entresol_trace::CORE_STRIDE;
    let memories = watch.memory(&MARK, offset, COUNTERS, stride, qemu.cores)?;
    let profile = counters::read(&memories)
        .ok_or_else(|| "there are no counters".to_owned())
        .and_then(|observed| Profile::new(&system.machine.name, &guests, &report, &observed))
        .map_err(|what| Problem::new("profile::report", format!("not understood: {what}")))
        .map_err(|problem| problem.help("build everything again: `cargo xtask build`"))?;
    show(&profile, arguments)?;
    if let Ended::Exit(status @ 1..) = ended {
        eprintln!("entresol: not every VM ended well (status {status})");
    }
    Ok(ExitCode::SUCCESS)
}

fn failed(error: Run) -> Failure {
    match error {
        Run::Run(error) => error.into(),
        other => Problem::new("profile::not-reached", other.to_string())
            .help("profile what the VM does say, or allow more with --timeout")
            .into(),
    }
}

fn show(profile: &Profile, arguments: &Arguments) -> Outcome {
    if let Some(path) = &arguments.svg {
        write(path, svg::draw(profile, arguments.top).as_bytes())?;
    }
    if arguments.json {
        let json = serde_json::to_string_pretty(&profile);
        print(&json.map_err(|error| Failure::Other(miette::Report::msg(error)))?)
    } else {
        print(&Table { profile, top: arguments.top }.to_string())
    }
}

/// What each console said, one after the other.
fn log_consoles(session: &Session, system: &System, path: &Path) -> Result<(), Failure> {
    let names = std::iter::once("entresol").chain(system.vms.iter().map(|vm| vm.name.as_str()));
    let mut text = String::new();
    for (channel, name) in (0_u8..).zip(names) {
        for line in session.output(Channel(channel)).lines() {
            let _ = writeln!(text, "{name:8} | {line}");
        }
    }
    let mut file = fs::File::create(path).map_err(|error| unwritable(path, error))?;
    file.write_all(text.as_bytes()).map_err(|error| unwritable(path, error))
}

fn channel(system: &System, name: Option<&str>) -> Result<Channel, Problem> {
    let index = match name {
        None => 0,
        Some(name) => position(system, name)?,
    };
    Ok(Channel(u8::try_from(index + 1).unwrap_or(u8::MAX)))
}

fn position(system: &System, name: &str) -> Result<usize, Problem> {
    system.vms.iter().position(|vm| vm.name == name).ok_or_else(|| {
        let names: Vec<_> = system.vms.iter().map(|vm| vm.name.as_str()).collect();
        Problem::new("run::unknown-vm", format!("no VM is called `{name}`"))
            .help(format!("the VMs are: {}", names.join(", ")))
    })
}

/// The VMs' names and functions: of the files named, else of their images.
fn guests(system: &System, named: &[String]) -> Result<Vec<Guest>, Problem> {
    let mut files: Vec<Option<PathBuf>> = vec![None; system.vms.len()];
    for text in named {
        let (index, file) = match text.split_once('=') {
            Some((name, file)) => (position(system, name)?, file),
            None => (0, text.as_str()),
        };
        if let Some(slot) = files.get_mut(index) {
            *slot = Some(file.into());
        }
    }
    let guests = system.vms.iter().zip(files);
    guests
        .map(|(vm, file)| Ok(Guest { name: vm.name.clone(), symbols: symbols(vm, file)? }))
        .collect()
}

fn symbols(vm: &Vm, file: Option<PathBuf>) -> Result<Symbols, Problem> {
    let named = file.is_some();
    let path = file.unwrap_or_else(|| vm.image.clone());
    let bytes = fs::read(&path).map_err(|error| {
        Problem::new("profile::symbols", format!("cannot read {}: {error}", path.display()))
            .help("name an ELF file, a System.map or a copy of /proc/kallsyms")
    })?;
    let symbols = Symbols::read(&bytes);
    if named && symbols.is_empty() {
        let what = format!("{} has no symbols", path.display());
        return Err(Problem::new("profile::symbols", what).help(
            "name an ELF file, a System.map or a copy of /proc/kallsyms that is not all zeros",
        ));
    }
    let here = |load: &&entresol_system::Load| load.to == vm.entry & !1;
    let image = vm.loads.iter().find(here).filter(|_| vm.format == Format::Image);
    let first = symbols.addresses().next();
    Ok(match (image, first) {
        (Some(load), Some(first)) => {
            let len = u32::try_from(load.bytes.len()).unwrap_or(u32::MAX);
            let linked = text::linked_image(load.to, first);
            symbols.loaded_at(load.to..load.to.saturating_add(len), linked)
        }
        _ => symbols,
    })
}
