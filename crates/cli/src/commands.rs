//! What the commands do: each calls the crate that knows how, and prints.

use crate::arguments::{Build, Check, System};
use entresol_image::{Hypervisor, Image, hypervisor};
use entresol_system::{self as system, Problems, Report};
use miette::{Diagnostic, Report as Pretty};
use std::{io, path::Path, process::ExitCode};
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

/// A file cannot be written.
#[derive(Debug, Error, Diagnostic)]
#[error("cannot write {path}: {error}")]
#[diagnostic(code(output::unwritable), help("choose another place with -o"))]
struct Unwritable {
    path: String,
    error: io::Error,
}

type Outcome = Result<ExitCode, Failure>;

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| {
        Failure::Other(Pretty::new(Unwritable { path: path.display().to_string(), error }))
    })
}

fn load(arguments: &System) -> Result<system::System, Failure> {
    Ok(system::load(&arguments.manifest, arguments.machine.as_deref())?)
}

fn find_hypervisor(arguments: &System) -> Result<Hypervisor, entresol_image::Error> {
    Hypervisor::read(&hypervisor::find(arguments.hypervisor.as_deref())?)
}

/// `entresol check`.
pub(crate) fn check(arguments: &Check) -> Outcome {
    let system = load(&arguments.system)?;
    // Without a hypervisor the manifest can still be judged; only its size is unknown.
    let text = match find_hypervisor(&arguments.system) {
        Ok(hypervisor) => Some(hypervisor.text),
        Err(entresol_image::Error::NoHypervisor(_)) if arguments.system.hypervisor.is_none() => {
            None
        }
        Err(error) => return Err(error.into()),
    };
    let report = Report::new(&system, text);
    if arguments.json {
        let json = serde_json::to_string_pretty(&report);
        println!("{}", json.map_err(|error| Failure::Other(Pretty::msg(error)))?);
    } else {
        println!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}

/// `entresol build`.
pub(crate) fn build(arguments: &Build) -> Outcome {
    let (system, image) = make(&arguments.system)?;
    let elf =
        arguments.output.clone().unwrap_or_else(|| arguments.system.manifest.with_extension("elf"));
    write(&elf, &image.to_elf()?)?;
    eprintln!("{}: {} with {} VMs", elf.display(), system.machine.name, system.vms.len());
    if let Some(raw) = &arguments.raw {
        write(raw, &image.to_raw())?;
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
