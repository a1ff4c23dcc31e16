//! What the commands do: each calls the crate that knows how, and prints.

use crate::arguments::{Attach, Build, Check, Inspect, New, Order, Run, System, Talk, What};
use crate::inspect::Inspection;
use entresol_image::{Hypervisor, Image, hypervisor};
use entresol_run::{
    Ended, MAX_VMS, Qemu, control,
    interactive::{self, Answer},
};
use entresol_system::{
    self as system, Problem, Problems, Report, code, manifest::Format, schedule::Schedule, template,
};
use miette::{Diagnostic, Report as Pretty};
use std::path::{Path, PathBuf};
use std::{fs::File, io, io::Write, process::ExitCode, time::Duration};
use thiserror::Error;

/// Why a command failed.
pub(crate) enum Failure {
    /// The manifest has mistakes.
    Manifest(Problems),
    /// Something else, in one report.
    Other(Pretty),
}

impl Failure {
    /// Prints every problem on standard error.
    pub(crate) fn print(self) {
        match self {
            Self::Manifest(Problems(problems)) => {
                for problem in problems {
                    eprintln!("{:?}", Pretty::new(problem));
                }
            }
            Self::Other(report) => eprintln!("{report:?}"),
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Manifest(problems)
    }
}

impl From<entresol_image::Error> for Failure {
    fn from(error: entresol_image::Error) -> Self {
        Self::Other(Pretty::new(error))
    }
}

impl From<entresol_run::Error> for Failure {
    fn from(error: entresol_run::Error) -> Self {
        Self::Other(Pretty::new(error))
    }
}

impl From<entresol_run::instrument::Error> for Failure {
    fn from(error: entresol_run::instrument::Error) -> Self {
        Self::Other(Pretty::new(error))
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Other(Pretty::new(problem))
    }
}

/// A file cannot be written.
#[derive(Debug, Error, Diagnostic)]
#[error("cannot write {path}: {error}")]
#[diagnostic(code(output::unwritable), help("choose another place"))]
struct Unwritable {
    path: String,
    error: io::Error,
}

pub(crate) type Outcome = Result<ExitCode, Failure>;

pub(crate) fn unwritable(path: &Path, error: io::Error) -> Failure {
    Failure::Other(Pretty::new(Unwritable { path: path.display().to_string(), error }))
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| unwritable(path, error))
}

/// Prints a result. Whoever closed the pipe has read enough.
pub(crate) fn print(text: &str) -> Outcome {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(unwritable(Path::new("standard output"), error))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Reads a manifest; prints what should be known of it on standard error.
pub(crate) fn load(arguments: &System) -> Result<system::System, Failure> {
    let mut system = system::load(&arguments.manifest, arguments.machine.as_deref())?;
    for warning in system.warnings.drain(..) {
        eprintln!("{:?}", Pretty::new(warning));
    }
    Ok(system)
}

pub(crate) fn find_hypervisor_file(arguments: &System) -> Result<PathBuf, entresol_image::Error> {
    hypervisor::find(arguments.hypervisor.as_deref())
}

fn find_hypervisor(arguments: &System) -> Result<Hypervisor, entresol_image::Error> {
    Hypervisor::read(&find_hypervisor_file(arguments)?)
}

/// `entresol check`.
pub(crate) fn check(arguments: &Check) -> Outcome {
    let system = load(&arguments.system)?;
    // Without a hypervisor the manifest can still be judged; only its size is unknown.
    let size = match find_hypervisor(&arguments.system) {
        Ok(hypervisor) => Some(hypervisor.size),
        Err(entresol_image::Error::NoHypervisor(_) | entresol_image::Error::OtherAbi(..))
            if arguments.system.hypervisor.is_none() =>
        {
            None
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(path) = &arguments.schedule {
        write(path, Schedule::new(&system).to_svg(&system).as_bytes())?;
    }
    let report = Report::new(&system, size);
    if arguments.json {
        let json = serde_json::to_string_pretty(&report);
        print(&json.map_err(|error| Failure::Other(Pretty::msg(error)))?)
    } else {
        print(&report.to_string())
    }
}

/// `entresol build`.
pub(crate) fn build(arguments: &Build) -> Outcome {
    let (system, image) = make(&arguments.system)?;
    let elf =
        arguments.output.clone().unwrap_or_else(|| arguments.system.manifest.with_extension("elf"));
    write(&elf, &image.to_elf()?)?;
    eprintln!("{}: {} with {} VMs", elf.display(), system.machine.name, system.vms.len());
    if let Some(raw) = &arguments.raw {
        write(raw, &image.to_raw()?)?;
        eprintln!("{}: raw, to be copied to {:#010x}", raw.display(), image.load);
    }
    Ok(ExitCode::SUCCESS)
}

fn make(arguments: &System) -> Result<(system::System, Image), Failure> {
    let system = load(arguments)?;
    let hypervisor = find_hypervisor(arguments)?;
    let image = entresol_image::build(&system, &hypervisor)?;
    Ok((system, image))
}

/// `entresol new`.
pub(crate) fn new(arguments: &New) -> Outcome {
    let path = &arguments.manifest;
    let text = template::manifest(&arguments.machine, &arguments.image);
    File::create_new(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| unwritable(path, error))?;
    eprintln!("{}: edit it, then run `entresol check {0}`", path.display());
    Ok(ExitCode::SUCCESS)
}

fn names(system: &system::System) -> Vec<String> {
    system.vms.iter().map(|vm| vm.name.clone()).collect()
}

/// The index of the VM of this name.
fn index_of(name: &str, names: &[String]) -> Result<usize, Problem> {
    names.iter().position(|vm| vm == name).ok_or_else(|| {
        Problem::new("run::unknown-vm", format!("no VM is called `{name}`"))
            .help(format!("the VMs are: {}", names.join(", ")))
    })
}

fn options(names: Vec<String>, talk: &Talk) -> Result<interactive::Options, Failure> {
    let keyboard = talk.to.as_deref().map_or(Ok(0), |name| index_of(name, &names))?;
    let log = match &talk.log {
        None => None,
        Some(path) => Some(File::create(path).map_err(|error| unwritable(path, error))?),
    };
    Ok(interactive::Options {
        names,
        keyboard,
        input_after: talk.input_after.clone(),
        until: talk.until.clone(),
        limit: talk.timeout.map(Duration::from_secs),
        log,
    })
}

/// `entresol attach`.
pub(crate) fn attach(arguments: &Attach) -> Outcome {
    let names = match &arguments.manifest {
        Some(manifest) => names(&system::load(manifest, None)?),
        None => (1..=MAX_VMS).map(|number| format!("vm {number}")).collect(),
    };
    let options = options(names, &arguments.talk)?;
    let ended = interactive::attach(&arguments.line.name, arguments.line.speed, options)?;
    Ok(match ended {
        Ended::Exit(_) | Ended::Quit => ExitCode::SUCCESS,
        Ended::TimeLimit => complain("the time limit passed"),
        Ended::Killed => complain("the serial line ended"),
    })
}

/// `entresol order`.
pub(crate) fn order(arguments: &Order) -> Outcome {
    let names = names(&system::load(&arguments.manifest, None)?);
    let vm = index_of(&arguments.vm, &names)?;
    let order = match arguments.order {
        What::Start => control::START,
        What::Stop => control::STOP,
        What::Restart => control::RESTART,
        What::Pause => control::PAUSE,
        What::Resume => control::RESUME,
    };
    let order = entresol_run::Order { vm: low(vm), order: low(order) };
    let limit = Duration::from_secs(arguments.timeout);
    let (line, vm) = (&arguments.line, &arguments.vm);
    let problem = match interactive::order(&line.name, line.speed, order, limit)? {
        Answer::Done => return Ok(ExitCode::SUCCESS),
        Answer::Refused => Problem::new(
            "order::refused",
            format!("{vm} takes no orders from the console"),
        )
        .help(format!("add `console-controls = [\"{vm}\"]` to the manifest of the running system")),
        Answer::None => Problem::new("order::no-answer", format!("no answer on {}", line.name))
            .help("is it the serial line that the hypervisor has, at its speed (--speed)?"),
    };
    Err(problem.into())
}

/// What is known to fit a byte.
fn low(number: impl TryInto<u8>) -> u8 {
    number.try_into().unwrap_or(u8::MAX)
}

/// `entresol run`.
pub(crate) fn run(arguments: &Run) -> Outcome {
    let (system, image) = make(&arguments.system)?;
    let qemu = qemu(&system, &arguments.qemu)?;
    let options = options(names(&system), &arguments.talk)?;
    let temporary = std::env::temp_dir();
    let place = |error| unwritable(&temporary, error);
    let mut file = tempfile::Builder::new()
        .prefix("entresol-")
        .suffix(".elf")
        .tempfile_in(&temporary)
        .map_err(place)?;
    file.write_all(&image.to_elf()?).map_err(place)?;
    let ended = interactive::run(&qemu, file.path(), options)?;
    Ok(match ended {
        Ended::Exit(0) | Ended::Quit => ExitCode::SUCCESS,
        Ended::Exit(status) => complain(&format!("not every VM ended well (status {status})")),
        Ended::TimeLimit => complain("the time limit passed; the machine was ended"),
        Ended::Killed => complain("the machine was killed"),
    })
}

fn complain(what: &str) -> ExitCode {
    eprintln!("entresol: {what}");
    ExitCode::from(1)
}

pub(crate) fn qemu(system: &system::System, more: &[String]) -> Result<Qemu, Problem> {
    let machine = &system.machine;
    let qemu = machine.qemu.as_ref().ok_or_else(|| {
        Problem::new("run::no-emulator", format!("QEMU does not emulate {}", machine.name))
            .help("add a [qemu] table to the machine's description, or use `entresol build`")
    })?;
    Ok(Qemu {
        binary: qemu.binary.clone(),
        machine: qemu.machine.clone(),
        cpu: qemu.cpu.clone(),
        cores: system::cores(&system.vms),
        memory: qemu.memory.clone(),
        args: qemu.args.iter().chain(more).cloned().collect(),
    })
}

/// `entresol inspect`.
pub(crate) fn inspect(arguments: &Inspect) -> Outcome {
    let path = &arguments.image;
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let format = arguments.format.as_deref().map(format_of);
    let guest = code::guest(&bytes, format, arguments.load).map_err(|unfit| {
        let what = format!("`{}` cannot run as a guest: {}", path.display(), unfit.what);
        Problem::new(unfit.code, what).help(unfit.remedy)
    })?;
    let inspection = Inspection::new(&guest, arguments.all);
    if arguments.json {
        let json = serde_json::to_string_pretty(&inspection);
        print(&json.map_err(|error| Failure::Other(Pretty::msg(error)))?)
    } else {
        print(&inspection.to_string())
    }
}

pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::new("image::missing", format!("cannot read {}: {error}", path.display()))
        .help("build or fetch the file, or correct the path")
}

/// A format by its name, which was checked with the arguments.
pub(crate) fn format_of(name: &str) -> Format {
    match name {
        "elf" => Format::Elf,
        "zImage" => Format::ZImage,
        "Image" => Format::Image,
        _ => Format::Raw,
    }
}
