//! Where things are in the workspace, and how its programs are called.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The only target that is not the host.
pub(crate) const TARGET: &str = "armv7a-none-eabi";

/// The checkout this program was built from.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace of the package that cargo is running.
    pub(crate) fn find() -> Self {
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.parent().map(Path::to_path_buf).unwrap_or(package);
        Self { root }
    }

    /// A path below the root.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// A path below the directory of fetched and derived files, which outlives `clean`.
    pub(crate) fn cache(&self, below: &str) -> PathBuf {
        self.root.join(".cache").join(below)
    }

    /// A path below cargo's target directory.
    pub(crate) fn target(&self, below: &str) -> PathBuf {
        self.root.join("target").join(below)
    }

    /// `cargo`, in the root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // What `cargo run` sets for this package must not reach the packages it builds.
        for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
            command.env_remove(name);
        }
        command.current_dir(&self.root);
        command
    }

    /// The host tool, once built.
    pub(crate) fn entresol(&self) -> Command {
        let mut command = Command::new(self.target("release/entresol"));
        command.current_dir(&self.root);
        command.env("ENTRESOL_HYPERVISOR", self.hypervisor());
        command
    }

    /// The hypervisor, once built.
    pub(crate) fn hypervisor(&self) -> PathBuf {
        self.target(&format!("{TARGET}/release/entresol-kernel"))
    }

    /// A guest of `bench/micro`, a Linux program, or else a guest of `guests`, once built.
    pub(crate) fn guest(&self, name: &str) -> PathBuf {
        [self.target(&format!("micro/{TARGET}/release/{name}")), self.program(name)]
            .into_iter()
            .find(|measured| measured.exists())
            .unwrap_or_else(|| self.path(&format!("guests/target/{TARGET}/release/{name}")))
    }

    /// The plugin that counts instructions, once built.
    pub(crate) fn instrument(&self) -> PathBuf {
        self.target("instrument/release/libinstrument.so")
    }

    /// A Linux program (`ubench`, `userland`), once built.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.target(&format!("{name}/{TARGET}/release/{name}"))
    }
}
