//! Developer chores: `cargo xtask` lists them.
//!
//! Each chore does what it needs first (`test` builds, `build` sets up), says on
//! standard error what it does, and shows command and output of whatever fails. Nothing
//! here ships; nothing of the product is decided here.

mod bench;
mod boot_tests;
mod build;
mod demo;
mod differential;
mod layers;
mod linux;
mod measure;
mod native;
mod process;
mod profile;
mod qemu;
mod setup;
mod soak;
mod symbols;
mod test;
mod workspace;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};
use process::Step;
use std::process::ExitCode;
use workspace::Workspace;

/// Developer chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    chore: Option<Chore>,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what a fresh Debian machine lacks; fetch Debian's kernel and busybox
    Setup,
    /// Build the hypervisor, the guests and the command `entresol`
    Build,
    /// Build everything and run systems/demo.toml: Linux, real time, and a crash
    Demo,
    /// Run every test: formatter, lints, layers, licences, host, on-target, budgets
    Test,
    /// Run on-target tests only, on what was built last
    Boot {
        /// Folders below tests/boot; all if none is named
        names: Vec<String>,
    },
    /// Measure costs in instructions and compare them with bench/budgets.toml
    Bench {
        /// Systems of bench/systems; all if none is named
        #[arg(conflicts_with = "native")]
        systems: Vec<String>,
        /// Print an array of figures on standard output, and nothing else
        #[arg(long)]
        json: bool,
        /// Measure Linux on bare QEMU machines and write bench/native.toml
        #[arg(long, conflicts_with = "json")]
        native: bool,
        /// Measure Linux with each rewrite policy and protection, and write the book's table
        #[arg(long, conflicts_with_all = ["json", "native", "systems"])]
        table: bool,
    },
    /// Measure latencies, slots, deadlines and clocks for long, as bench/soak.toml says
    Soak {
        /// Runs of bench/soak.toml; all if none is named
        names: Vec<String>,
        /// Samples or reports to wait for in each, instead of those that it says
        #[arg(long)]
        samples: Option<u64>,
        /// Print an array on standard output, and nothing else
        #[arg(long)]
        json: bool,
    },
    /// Compare generated kernel code without Entresol, trapping and promoted, for long
    Differential {
        /// How many sequences, half A32 and half T32
        #[arg(long, default_value_t = 1_000_000)]
        sequences: u32,
        /// Number of the first of each: where a run was stopped, or what failed
        #[arg(long, default_value_t = 0)]
        first: u32,
        /// The machine under Entresol
        #[arg(long, default_value = "vexpress-a9")]
        machine: String,
        /// Protect the guests by domains
        #[arg(long)]
        domains: bool,
    },
    /// Check the dependency directions, where `unsafe` may stand, and file headers
    Layers,
    /// Run the on-target tests and accept what they print as golden
    Bless {
        /// Folders below tests/boot; all if none is named
        names: Vec<String>,
    },
    /// Remove what was built; the fetched packages stay
    Clean,
}

fn main() -> ExitCode {
    let Some(chore) = Arguments::parse().chore else {
        return match Arguments::command().print_help() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    };
    match run(chore) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nerror: {}", process::explained(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<ExitCode> {
    let workspace = Workspace::find();
    match chore {
        Chore::Setup => setup::setup(&workspace)?,
        Chore::Build => {
            setup::setup(&workspace)?;
            build::build(&workspace)?;
        }
        Chore::Demo => {
            setup::setup(&workspace)?;
            build::build(&workspace)?;
            return demo::demo(&workspace);
        }
        Chore::Test => return test::test(&workspace),
        Chore::Boot { names } => return test::boot(&workspace, &names),
        Chore::Bench { systems, json, native, table } => {
            setup::setup(&workspace)?;
            if native {
                bench::measure_native(&workspace)?;
            } else {
                build::build(&workspace)?;
                if table {
                    bench::write_table(&workspace)?;
                    return Ok(ExitCode::SUCCESS);
                }
                return bench::bench(&workspace, &systems, json);
            }
        }
        Chore::Soak { names, samples, json } => {
            setup::setup(&workspace)?;
            build::build(&workspace)?;
            return soak::soak(&workspace, &names, samples, json);
        }
        Chore::Differential { sequences, first, machine, domains } => {
            return differential::run(&workspace, sequences, first, &machine, domains);
        }
        Chore::Layers => layers::check(&workspace)?,
        Chore::Bless { names } => {
            setup::setup(&workspace)?;
            build::build(&workspace)?;
            boot_tests::bless(&workspace, &names)?;
        }
        Chore::Clean => clean(&workspace)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn clean(workspace: &Workspace) -> Result<()> {
    Step::new("cargo clean").run(workspace.cargo().arg("clean"))?;
    let guests = workspace.path("guests");
    if guests.join("Cargo.toml").exists() {
        Step::new("cargo clean in guests")
            .run(workspace.cargo().arg("clean").current_dir(guests))?;
    }
    Ok(())
}
