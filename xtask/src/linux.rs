//! Debian's armhf kernel and busybox, and the initramfs images made of them.
//!
//! In `.cache/linux`, which is fetched once: the second time works without a network.
//!
//! ```text
//! vmlinuz  Image  busybox  config  vexpress-v2p-ca9.dtb   as the packages ship them
//!                                            (Image: unpacked from vmlinuz)
//! uimage-*                                   Image with QEMU's load address in front
//! modules/                                   the kernel package's modules
//! tools/                                     mke2fs and what it links to
//! initrd-demo.cpio                           a shell, and a load if asked for
//! initrd-workload.cpio                       bench/workload
//! initrd-watchdog.cpio                       answers a watchdog for a while
//! initrd-clock.cpio                          compares its clock with another VM's, under load
//! initrd-modules.cpio                        ext4 on a loop device, with its modules
//! initrd-siblings.cpio                       what two processors do to each other
//! initrd-whole.cpio                          all that a whole Linux can do, one by one
//! release                                    the kernel's version; written last
//! ```

mod cpio;
mod debian;
mod initrd;
mod modules;
mod zimage;

use crate::process::Step;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Bare QEMU machines that run Debian's kernel natively, and the start of their memory.
pub(crate) const NATIVE: &[(&str, u32)] =
    &[("vexpress-a9", 0x6000_0000), ("virt-a15", 0x4000_0000)];

/// Fetches and unpacks what is missing.
pub(crate) fn fetch(workspace: &Workspace) -> Result<()> {
    let linux = workspace.cache("linux");
    if !linux.join("release").exists() || !linux.join("tools").exists() {
        eprintln!("Fetching Debian's armhf kernel and busybox into {}:", linux.display());
        let root = debian::fetch(workspace)?;
        let release = unpack(&root, &linux)?;
        fs::write(linux.join("release"), release)?;
    }
    Ok(())
}

/// Writes the initramfs images; the programs in them must have been built.
pub(crate) fn write_initrds(workspace: &Workspace) -> Result<()> {
    let step = Step::new("write the initramfs images");
    initrd::write_all(workspace)?;
    step.done("ok");
    Ok(())
}

fn unpack(root: &Path, linux: &Path) -> Result<String> {
    let step = Step::new("unpack the kernel");
    let modules = root.join("lib/modules");
    let release = fs::read_dir(&modules)?
        .next()
        .context("the kernel package has no modules")??
        .file_name()
        .to_string_lossy()
        .into_owned();
    let vmlinuz = fs::read(root.join(format!("boot/vmlinuz-{release}")))?;
    let image = zimage::decompress(&vmlinuz)?;
    for (machine, ram) in NATIVE {
        fs::write(linux.join(format!("uimage-{machine}")), zimage::to_uimage(&image, *ram)?)?;
    }
    fs::write(linux.join("vmlinuz"), vmlinuz)?;
    fs::write(linux.join("Image"), image)?;
    let tree = format!("usr/lib/linux-image-{release}/vexpress-v2p-ca9.dtb");
    for (from, to) in [
        (format!("boot/config-{release}"), "config"),
        (tree, "vexpress-v2p-ca9.dtb"),
        ("bin/busybox".to_owned(), "busybox"),
    ] {
        fs::copy(root.join(&from), linux.join(to)).with_context(|| format!("copy {from}"))?;
    }
    initrd::keep_tools(root, linux)?;
    let kept = linux.join("modules");
    if kept.exists() {
        fs::remove_dir_all(&kept)?;
    }
    fs::rename(&modules, &kept)?;
    step.done(&release);
    Ok(release)
}
