//! Makes a fresh Debian machine ready: packages, Rust target, Debian's kernel.
//!
//! Says what is missing before installing it, and does nothing when nothing is. What is
//! fetched for the guest architecture never touches the system's own package state.

use crate::linux;
use crate::process::{self, Step};
use crate::workspace::{TARGET, Workspace};
use anyhow::{Context, Result};
use std::process::Command;

/// Debian packages of the host, and what for.
const PACKAGES: &[(&str, &str)] = &[
    ("qemu-system-arm", "runs every image"),
    ("ipxe-qemu", "boot ROM of a network card that QEMU's virt machine has by default"),
    ("binutils-arm-none-eabi", "objdump, against which the instruction tables are tested"),
    ("clang", "compiles the guest in C, which tests the C header"),
    ("xz-utils", "unpacks Debian's kernel"),
];

/// Checked with this version; built without debug information, in under a minute.
const CARGO_DENY: &str = "0.20.2";

/// Installs what is missing.
pub(crate) fn setup(workspace: &Workspace) -> Result<()> {
    packages()?;
    target()?;
    cargo_deny(workspace)?;
    linux::fetch(workspace)
}

fn packages() -> Result<()> {
    let missing: Vec<_> = PACKAGES.iter().filter(|(name, _)| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("Installing Debian packages on this machine:");
    for (name, why) in &missing {
        eprintln!("    {name:24} {why}");
    }
    Step::new("apt-get update").run(as_root("apt-get").arg("update"))?;
    let mut install = as_root("apt-get");
    install.args(["install", "--yes", "--no-install-recommends"]);
    install.args(missing.iter().map(|(name, _)| name));
    Step::new("apt-get install").run(&mut install)?;
    Ok(())
}

fn installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    process::run(&mut query).is_ok_and(|status| status == "installed")
}

fn as_root(program: &str) -> Command {
    let root = process::run(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    let mut command = if root {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg(program);
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn target() -> Result<()> {
    let sysroot = process::run(Command::new("rustc").args(["--print", "sysroot"]))?;
    let libraries = std::path::Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET);
    if !libraries.exists() {
        eprintln!("Installing the Rust target {TARGET}:");
        Step::new("rustup target add")
            .run(Command::new("rustup").args(["target", "add", TARGET]))
            .with_context(|| format!("install the Rust target {TARGET} by hand"))?;
    }
    Ok(())
}

fn cargo_deny(workspace: &Workspace) -> Result<()> {
    let mut version = workspace.cargo();
    version.args(["deny", "--version"]);
    if process::run(&mut version).is_ok() {
        return Ok(());
    }
    eprintln!("Installing cargo-deny {CARGO_DENY}, which checks licences and duplicates:");
    let mut install = workspace.cargo();
    install.args(["install", "cargo-deny", "--version", CARGO_DENY, "--locked"]);
    install.args(["--no-default-features", "--profile", "dev", "--config", "profile.dev.debug=0"]);
    Step::new("cargo install cargo-deny").run(&mut install)?;
    Ok(())
}
