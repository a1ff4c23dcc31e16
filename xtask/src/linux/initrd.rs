//! The initramfs images: what is in each.

use super::cpio::Archive;
use super::modules::Modules;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// What `ext4` on a loop device needs by name; the rest is found by dependency.
const MODULES: &[&str] = &["loop", "crc32c_generic", "ext4"];

/// The kernel's own tests of what patches and generates code.
const SELF_TESTS: &[&str] = &["test_static_keys", "test_bpf"];

/// What is loaded and unloaded again and again.
const IN_A_LOOP: &[&str] = &["loop", "test_static_keys"];

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

/// Copies what the images need of the unpacked packages.
pub(super) fn keep_tools(root: &Path, linux: &Path) -> Result<()> {
    let tools = linux.join("tools");
    fs::create_dir_all(&tools)?;
    fs::copy(root.join("sbin/mke2fs"), tools.join("mke2fs")).context("copy mke2fs")?;
    for name in LIBRARIES {
        fs::write(tools.join(name), library(root, name)?)?;
    }
    Ok(())
}

/// Writes all of them.
pub(super) fn write_all(workspace: &Workspace) -> Result<()> {
    let linux = workspace.cache("linux");
    let mut demo = with_busybox(&linux)?;
    demo.program("init", include_bytes!("init/demo"))?;
    add_closure(&mut demo, &linux, IN_A_LOOP)?;
    write(&linux, "initrd-demo.cpio", demo)?;

    let mut workload = with_busybox(&linux)?;
    workload.program("bin/ubench", &read(&workspace.program("ubench"))?)?;
    workload.program("init", &read(&workspace.path("bench/workload/init"))?)?;
    write(&linux, "initrd-workload.cpio", workload)?;

    let mut clock = with_busybox(&linux)?;
    clock.program("init", include_bytes!("init/clock"))?;
    clock.program("bin/userland", &read(&workspace.program("userland"))?)?;
    write(&linux, "initrd-clock.cpio", clock)?;

    let mut watchdog = with_busybox(&linux)?;
    watchdog.program("init", include_bytes!("init/watchdog"))?;
    add_closure(&mut watchdog, &linux, &["sp805_wdt"])?;
    write(&linux, "initrd-watchdog.cpio", watchdog)?;

    let mut modules = with_busybox(&linux)?;
    modules.program("init", include_bytes!("init/modules"))?;
    add_modules(&mut modules, &linux)?;
    write(&linux, "initrd-modules.cpio", modules)?;

    let mut siblings = with_busybox(&linux)?;
    siblings.program("init", include_bytes!("init/siblings"))?;
    siblings.program("bin/userland", &read(&workspace.program("userland"))?)?;
    add_closure(&mut siblings, &linux, IN_A_LOOP)?;
    write(&linux, "initrd-siblings.cpio", siblings)?;

    let mut whole = with_busybox(&linux)?;
    whole.program("init", include_bytes!("init/whole"))?;
    whole.program("bin/check-modules", include_bytes!("init/modules"))?;
    whole.program("bin/userland", &read(&workspace.program("userland"))?)?;
    add_modules(&mut whole, &linux)?;
    for (name, bytes) in Modules::find(&linux.join("modules"))?.closure(SELF_TESTS)? {
        whole.file(&format!("modules/{name}.ko"), &bytes)?;
    }
    write(&linux, "initrd-whole.cpio", whole)
}

/// Modules and what they need.
fn add_closure(archive: &mut Archive, linux: &Path, names: &[&str]) -> Result<()> {
    archive.directory("modules")?;
    for (name, bytes) in Modules::find(&linux.join("modules"))?.closure(names)? {
        archive.file(&format!("modules/{name}.ko"), &bytes)?;
    }
    Ok(())
}

/// Modules in their order, and `mke2fs`.
fn add_modules(archive: &mut Archive, linux: &Path) -> Result<()> {
    archive.directory("modules")?;
    let mut order = String::new();
    for (name, bytes) in Modules::find(&linux.join("modules"))?.closure(MODULES)? {
        archive.file(&format!("modules/{name}.ko"), &bytes)?;
        order.push_str(&name);
        order.push('\n');
    }
    archive.file("modules/order", order.as_bytes())?;
    // Not as `mke2fs`: busybox's shell prefers its own, which knows ext2 only.
    archive.program("bin/mkfs.ext4", &read(&linux.join("tools/mke2fs"))?)?;
    archive.directory("lib")?;
    archive.link("lib/arm-linux-gnueabihf", ".")?;
    for name in LIBRARIES {
        archive.program(&format!("lib/{name}"), &read(&linux.join("tools").join(name))?)?;
    }
    Ok(())
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
