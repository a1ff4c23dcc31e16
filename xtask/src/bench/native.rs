//! The Linux workload on bare QEMU machines: what `ratio` is a ratio to.
//!
//! Debian's raw Image, 256 MiB, one core. The figures are kept in `bench/native.toml`,
//! with the commands, because they change only with Debian's packages and QEMU.

use super::budgets::{Budgets, How};
use super::{LIMIT, count};
use crate::build;
use crate::linux::NATIVE;
use crate::measure::Report;
use crate::process::{self, Step};
use crate::qemu::Machine;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

/// `bench/native.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Native {
    /// Debian's kernel.
    #[expect(dead_code, reason = "for people")]
    #[serde(default)]
    kernel: String,
    /// QEMU's version.
    #[expect(dead_code, reason = "for people")]
    #[serde(default)]
    qemu: String,
    /// Instructions by machine and entry.
    #[serde(default)]
    machine: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Native {
    /// Reads the file; none is none.
    pub(super) fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path)?;
        toml::from_str(&text).with_context(|| format!("{}", path.display()))
    }

    /// Instructions of an entry on a bare machine.
    pub(super) fn get(&self, machine: &str, entry: &str) -> Option<f64> {
        self.machine.get(machine)?.get(entry).copied()
    }
}

/// Measures all machines and writes the file.
///
/// # Errors
///
/// When a run does not get to its end.
pub(crate) fn measure(workspace: &Workspace) -> Result<()> {
    build::bench(workspace)?;
    let budgets = Budgets::read(&workspace.path("bench/budgets.toml"))?;
    let release = fs::read_to_string(workspace.cache("linux/release"))?;
    let qemu = process::run(Command::new("qemu-system-arm").arg("--version"))?;
    let mut text = String::from(
        "# The Linux workload on bare QEMU machines, in instructions per operation. Written by\n\
         # `cargo xtask bench --native`; the commands it ran are in front of each table.\n\n",
    );
    let _ = writeln!(text, "kernel = {release:?}");
    let _ = writeln!(text, "qemu = {:?}", qemu.lines().next().unwrap_or_default());
    for (machine, _) in NATIVE {
        let (command, report) = run(workspace, &budgets, machine)?;
        let _ = writeln!(text, "\n# {command}\n[machine.{machine}]");
        for entry in budgets.native(machine) {
            let count = count(entry, &report)?;
            let _ = writeln!(text, "\"{}\" = {count:.1}", entry.name);
            eprintln!("    {:20} {count:14.1}", entry.name);
        }
    }
    Ok(fs::write(workspace.path("bench/native.toml"), text)?)
}

fn run(workspace: &Workspace, budgets: &Budgets, machine: &str) -> Result<(String, Report)> {
    let linux = workspace.cache("linux");
    let out = workspace.target(&format!("bench/native.{machine}.counts"));
    fs::create_dir_all(workspace.target("bench"))?;
    if out.exists() {
        fs::remove_file(&out)?;
    }
    let mut arguments = vec![format!("out={}", out.display())];
    arguments.push(format!("histogram={}", out.with_extension("histogram").display()));
    for entry in budgets.native(machine) {
        if let How::Probe(probe) = &entry.how {
            arguments.push(probe.argument(workspace, &entry.name)?);
        }
    }
    let mut qemu = match machine {
        "vexpress-a9" => Machine::new(&["-M", "vexpress-a9", "-m", "256"])
            .with_path("-dtb", &linux.join("vexpress-v2p-ca9.dtb")),
        // Without a seed for the kernel's random numbers, as vexpress-a9's device tree and a VM's are:
        // a kernel that has none computes 58,000 instructions more for each program it starts.
        _ => Machine::new(&["-M", "virt,dtb-randomness=off", "-cpu", "cortex-a15", "-m", "256"]),
    };
    qemu = qemu
        .with_path("-kernel", &linux.join(format!("uimage-{machine}")))
        .with_path("-initrd", &linux.join("initrd-workload.cpio"))
        .with(&["-append", "console=ttyAMA0 rdinit=/init"])
        .with_plugin(&workspace.instrument(), &arguments);
    let root = format!("{}/", workspace.path("").display()).replace("//", "/");
    let command = qemu.shown().replace(&root, "");
    let step = Step::new(&format!("measure Linux on a bare {machine}"));
    let ended = qemu.run(LIMIT, &[])?;
    step.done("ok");
    let console = String::from_utf8_lossy(&ended.serial);
    ensure!(console.contains("WORKLOAD-DONE"), "{machine} did not get to the end:\n{console}");
    Ok((command, Report::parse(&fs::read_to_string(&out)?)?))
}
