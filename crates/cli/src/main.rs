//! The `entresol` command: reads arguments, calls the crates below, prints.
//!
//! It decides nothing itself: manifests are judged by `entresol-system`, images
//! written by `entresol-image`, emulators driven by `entresol-run`. What is left is
//! wording, progress and the exit status.
//!
//! # Exit status
//!
//! 0 done; 1 the manifest, a guest or the run has a problem; 2 wrong arguments.

#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod discover;
mod inspect;
mod profile;
mod rewrite;

use arguments::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::New(new) => commands::new(&new),
        Command::Check(check) => commands::check(&check),
        Command::Build(build) => commands::build(&build),
        Command::Run(run) => commands::run(&run),
        Command::Attach(attach) => commands::attach(&attach),
        Command::Order(order) => commands::order(&order),
        Command::Profile(arguments) => profile::profile(&arguments),
        Command::Inspect(inspect) => commands::inspect(&inspect),
        Command::Rewrite(arguments) => rewrite::rewrite(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            failure.print();
            ExitCode::from(1)
        }
    }
}
