//! The initramfs images: what is in each.

use super::cpio::Archive;
use super::modules::Modules;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// What `ext4` on a loop device needs by name; the rest is found by dependency.
const MODULES: &[&str] = &["loop", "crc32c_generic", "ext4"];

/// The loader and libraries of `mke2fs`.
const LIBRARIES: &[&str] = &[
    "ld-linux-armhf.so.3",
    "libc.so.6",
    "libext2fs.so.2",
    "libe2p.so.2",
    "libcom_err.so.2",
    "libblkid.so.1",
    "libuuid.so.1",
];

/// A shell.
pub(super) fn write_demo(linux: &Path) -> Result<()> {
    let mut archive = with_busybox(linux)?;
    archive.program("init", include_bytes!("init/demo"))?;
    write(linux, "initrd-demo.cpio", archive)
}

/// Modules of the same package at work.
pub(super) fn write_modules(linux: &Path, root: &Path) -> Result<()> {
    let mut archive = with_busybox(linux)?;
    archive.program("init", include_bytes!("init/modules"))?;
    archive.directory("modules")?;
    let modules = Modules::find(&linux.join("modules"))?.closure(MODULES)?;
    let mut order = String::new();
    for (name, bytes) in modules {
        archive.file(&format!("modules/{name}.ko"), &bytes)?;
        order.push_str(&name);
        order.push('\n');
    }
    archive.file("modules/order", order.as_bytes())?;
    // Not as `mke2fs`: busybox's shell prefers its own, which knows ext2 only.
    archive.program("bin/mkfs.ext4", &read(&root.join("sbin/mke2fs"))?)?;
    archive.directory("lib")?;
    archive.link("lib/arm-linux-gnueabihf", ".")?;
    for name in LIBRARIES {
        archive.program(&format!("lib/{name}"), &library(root, name)?)?;
    }
    write(linux, "initrd-modules.cpio", archive)
}

/// The bench's workload.
pub(super) fn write_workload(workspace: &Workspace) -> Result<()> {
    let linux = workspace.cache("linux");
    let mut archive = with_busybox(&linux)?;
    archive.program("bin/ubench", &read(&workspace.ubench())?)?;
    archive.program("init", &read(&workspace.path("bench/workload/init"))?)?;
    write(&linux, "initrd-workload.cpio", archive)
}

fn with_busybox(linux: &Path) -> Result<Archive> {
    let mut archive = Archive::new()?;
    archive.program("bin/busybox", &read(&linux.join("busybox"))?)?;
    Ok(archive)
}

fn library(root: &Path, name: &str) -> Result<Vec<u8>> {
    let places = ["lib/arm-linux-gnueabihf", "usr/lib/arm-linux-gnueabihf"];
    places
        .iter()
        .find_map(|place| fs::read(root.join(place).join(name)).ok())
        .with_context(|| format!("{name} is in none of the packages"))
}

fn write(linux: &Path, name: &str, archive: Archive) -> Result<()> {
    Ok(fs::write(linux.join(name), archive.finish()?)?)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
