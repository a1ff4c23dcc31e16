//! Writes a system as one bootable image.
//!
//! [`build`] takes a checked [`System`] and the hypervisor's binary; the result is
//! written as an ELF file, which emulators and debuggers load, or as raw bytes for
//! boot loaders that copy to an address. All decisions about places were taken by
//! `entresol-system`; this crate only fills them in.
//!
//! - [`device_tree`]: the board that each VM is told it runs on.
//! - [`hypervisor`]: reads the hypervisor's ELF file.
//! - [`pack`]: tables and payloads, as [`entresol_abi::image`] wants them.
//! - [`elf`]: the ELF file around the image.

#![forbid(unsafe_code)]

pub mod device_tree;
pub mod elf;
pub mod hypervisor;
pub mod pack;

pub use hypervisor::Hypervisor;

use entresol_abi::image::ABI_VERSION;
use entresol_abi::window;
use entresol_system::System;
use miette::Diagnostic;
use std::path::PathBuf;
use thiserror::Error;

/// A bootable image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Where its first byte goes in the machine's memory.
    pub load: u32,
    /// Its first instruction.
    pub entry: u32,
    /// The hypervisor's binary, from `load`.
    pub hypervisor: Vec<u8>,
    /// Bytes between `load` and the tables.
    pub reserved: u32,
    /// Tables and payloads.
    pub tables: Vec<u8>,
}

/// Why an image cannot be built.
#[derive(Debug, Error, Diagnostic)]
pub enum Error {
    /// No hypervisor was found.
    #[error("the hypervisor's binary was not found; looked at {}", list(.0))]
    #[diagnostic(
        code(hypervisor::missing),
        help("build it with `cargo xtask build`, or name it with --hypervisor PATH")
    )]
    NoHypervisor(Vec<PathBuf>),
    /// The hypervisor cannot be read.
    #[error("cannot read the hypervisor {path}: {error}", path = .0.display(), error = .1)]
    #[diagnostic(code(hypervisor::unreadable), help("build it with `cargo xtask build`"))]
    Unreadable(PathBuf, std::io::Error),
    /// The hypervisor's file is not one.
    #[error("{path} is not Entresol's hypervisor: {what}", path = .0.display(), what = .1)]
    #[diagnostic(
        code(hypervisor::malformed),
        help("build it with `cargo xtask build`, for armv7a-none-eabi")
    )]
    BadHypervisor(PathBuf, String),
    /// The hypervisor was built for other tables than this crate writes.
    #[error("{path} is a hypervisor {found}, this `entresol` writes images for version {ABI_VERSION}",
        path = .0.display(), found = of_version(*.1))]
    #[diagnostic(
        code(hypervisor::other_abi),
        help(
            "build both from the same sources: `cargo xtask build`, then use target/release/entresol"
        )
    )]
    OtherAbi(PathBuf, Option<u32>),
    /// The hypervisor's file has no symbols.
    #[error("{path} has no symbols, so it cannot be watched", path = .0.display())]
    #[diagnostic(
        code(hypervisor::stripped),
        help("use the file that `cargo xtask build` makes, as it is")
    )]
    Stripped(PathBuf),
    /// A VM's additions to its device tree cannot be read.
    #[error("the device tree of `{vm}` cannot be merged: {what}")]
    #[diagnostic(
        code(device_tree::malformed),
        help("compile it again: dtc -I dts -O dtb -o extra.dtb extra.dts")
    )]
    DeviceTree {
        /// The VM.
        vm: String,
        /// What is wrong.
        what: String,
    },
    /// A generated device tree is larger than the room set aside for it.
    #[error("the device tree of `{vm}` has {len} bytes, more than the {room} set aside")]
    #[diagnostic(
        code(device_tree::too_large),
        help("shorten the VM's command line or its device tree")
    )]
    LargeTree {
        /// The VM.
        vm: String,
        /// Bytes of the tree.
        len: usize,
        /// Bytes set aside.
        room: usize,
    },
    /// The image does not fit its format.
    #[error("the image is larger than the 4 GiB a 32-bit machine can address")]
    #[diagnostic(code(image::too_large), help("use smaller guests' files"))]
    TooLarge,
}

fn of_version(found: Option<u32>) -> String {
    found.map_or_else(
        || "that does not tell its ABI version".to_owned(),
        |version| format!("of ABI version {version}"),
    )
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Builds the image of `system`.
///
/// # Errors
///
/// A device tree that cannot be merged or is too large.
pub fn build(system: &System, hypervisor: &Hypervisor) -> Result<Image, Error> {
    let tables = pack::pack(system)?;
    let load = system.machine.load;
    let reserved = window::reserved(entresol_system::cores(&system.vms));
    let mut bytes = hypervisor.bytes.clone();
    if let Some(word) = bytes.get_mut(TABLES..TABLES + 4) {
        word.copy_from_slice(&reserved.to_le_bytes());
    }
    let entry = load + hypervisor.entry_offset;
    Ok(Image { load, entry, hypervisor: bytes, reserved, tables })
}

impl Image {
    /// The image as bytes from `load` on.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`].
    pub fn to_raw(&self) -> Result<Vec<u8>, Error> {
        let reserved = usize::try_from(self.reserved).map_err(|_| Error::TooLarge)?;
        let mut raw = self.hypervisor.clone();
        raw.resize(reserved, 0);
        raw.extend(&self.tables);
        Ok(raw)
    }

    /// The image as an ELF file.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`].
    pub fn to_elf(&self) -> Result<Vec<u8>, Error> {
        elf::write(self).map_err(|_| Error::TooLarge)
    }
}

#[expect(clippy::as_conversions, reason = "u32 to usize in a constant, on the host")]
const TABLES: usize = window::TABLES as usize;
