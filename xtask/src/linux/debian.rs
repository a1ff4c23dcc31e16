//! Fetches armhf packages through a package state of our own.
//!
//! apt gets its own state, cache and sources directory and another architecture, so the
//! system's configuration is read (its sources, to use the same mirror) and never written.

use crate::process::{self, Step};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Depends on the kernel of the day.
const KERNEL: &str = "linux-image-armmp";

/// Unpacked beside the kernel: a shell, and `mke2fs` with what it links to.
const PACKAGES: &[&str] =
    &["busybox-static", "e2fsprogs", "libext2fs2", "libcom-err2", "libblkid1", "libuuid1", "libc6"];

/// Fetches and unpacks the packages; returns the directory that holds their files.
pub(super) fn fetch(workspace: &Workspace) -> Result<PathBuf> {
    let apt = Apt::new(workspace.cache("apt"))?;
    let step = Step::new("apt-get update, in a state of its own");
    // A mirror may be in the middle of a sync: go on if what we need can be had.
    let updated = apt.run("apt-get", &["update"]);
    step.done(if updated.is_ok() { "ok" } else { "incomplete" });
    let fetched = kernel(&apt).and_then(|kernel| download(workspace, &apt, &kernel));
    match (fetched, updated) {
        (Ok(packages), _) => unpack(workspace, &packages),
        (Err(error), Err(update)) => Err(error.context(update)),
        (Err(error), Ok(_)) => Err(error),
    }
}

struct Apt {
    directory: PathBuf,
}

impl Apt {
    fn new(directory: PathBuf) -> Result<Self> {
        for below in ["state/lists/partial", "cache/archives/partial", "sources"] {
            fs::create_dir_all(directory.join(below))?;
        }
        fs::write(directory.join("state/status"), "")?;
        let sources = directory.join("sources");
        let mut found = copy_sources(Path::new("/etc/apt/sources.list.d"), &sources)?;
        let list = Path::new("/etc/apt/sources.list");
        if list.exists() {
            fs::copy(list, sources.join("system.list"))?;
            found = true;
        }
        if !found {
            bail!("/etc/apt names no package sources");
        }
        Ok(Self { directory })
    }

    fn command(&self, program: &str) -> Command {
        let directory = self.directory.display();
        let mut command = Command::new(program);
        for option in [
            format!("Dir::State={directory}/state"),
            format!("Dir::State::status={directory}/state/status"),
            format!("Dir::Cache={directory}/cache"),
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            format!("Dir::Etc::sourceparts={directory}/sources"),
            "APT::Architecture=armhf".to_owned(),
            "APT::Architectures=armhf".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            // The system's hooks clean the system's caches.
            "APT::Update::Post-Invoke=".to_owned(),
            "APT::Update::Post-Invoke-Success=".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        process::run(self.command(program).args(arguments))
    }
}

/// Copies the sources that are Debian's own; third parties rarely have armhf.
fn copy_sources(from: &Path, to: &Path) -> Result<bool> {
    let mut found = false;
    let Ok(entries) = fs::read_dir(from) else { return Ok(false) };
    for entry in entries {
        let path = entry?.path();
        let ours = path.extension().is_some_and(|end| end == "sources" || end == "list")
            && fs::read_to_string(&path)?.contains("debian");
        if let (true, Some(name)) = (ours, path.file_name()) {
            fs::copy(&path, to.join(name))?;
            found = true;
        }
    }
    Ok(found)
}

/// The package of the kernel that the meta package depends on today.
fn kernel(apt: &Apt) -> Result<String> {
    let text = apt.run("apt-cache", &["depends", KERNEL])?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))
        .map(|rest| format!("linux-image-{rest}"))
        .with_context(|| format!("{KERNEL} depends on no kernel:\n{text}"))
}

fn download(workspace: &Workspace, apt: &Apt, kernel: &str) -> Result<PathBuf> {
    let packages = workspace.cache("linux/packages");
    if packages.exists() {
        fs::remove_dir_all(&packages)?;
    }
    fs::create_dir_all(&packages)?;
    let mut command = apt.command("apt-get");
    command.arg("download").arg(kernel).args(PACKAGES).current_dir(&packages);
    Step::new(&format!("download {kernel} and {}", PACKAGES.join(", "))).run(&mut command)?;
    Ok(packages)
}

fn unpack(workspace: &Workspace, packages: &Path) -> Result<PathBuf> {
    let root = workspace.cache("linux/root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let step = Step::new("unpack the packages");
    for entry in fs::read_dir(packages)? {
        let mut command = Command::new("dpkg-deb");
        process::run(command.arg("--extract").arg(entry?.path()).arg(&root))?;
    }
    step.done("ok");
    Ok(root)
}
