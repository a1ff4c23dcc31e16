//! The plugin that watches a machine from outside, and the machine's memory as a file.
//!
//! Both cost the guests nothing: the plugin runs in QEMU, and the memory is read in the
//! file that QEMU was told to keep it in. What the plugin reports is not understood here.

use miette::Diagnostic;
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// File name of the plugin.
const NAME: &str = "libinstrument.so";

/// Why a machine cannot be watched.
#[derive(Debug, Error, Diagnostic)]
pub enum Error {
    /// The plugin was not found.
    #[error("the instrument was not found; looked at {}", list(.0))]
    #[diagnostic(
        code(instrument::missing),
        help("build it with `cargo xtask build`, or name it with --instrument PATH")
    )]
    Missing(Vec<PathBuf>),
    /// It left no report.
    #[error("the instrument left no report: {0}")]
    #[diagnostic(
        code(instrument::no_report),
        help("let the VMs turn themselves off, or end the run with --until TEXT")
    )]
    NoReport(io::Error),
    /// The machine's memory cannot be read.
    #[error("cannot read the machine's memory: {0}")]
    #[diagnostic(code(instrument::memory), help("free space where temporary files are"))]
    Memory(#[from] io::Error),
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Where the plugin is: `given`, else what the environment variable `ENTRESOL_INSTRUMENT`
/// names, else beside the running program, else in the workspace the program was built in
/// or is started in.
///
/// # Errors
///
/// [`Error::Missing`] with the places looked at.
pub fn find(given: Option<&Path>) -> Result<PathBuf, Error> {
    let named = given.map(Path::to_owned);
    let named = named.or_else(|| std::env::var_os("ENTRESOL_INSTRUMENT").map(Into::into));
    let built = Path::new("target/instrument/release").join(NAME);
    let mut places: Vec<PathBuf> = named.into_iter().collect();
    if places.is_empty() {
        if let Ok(program) = std::env::current_exe() {
            places.push(program.with_file_name(NAME));
            // target/<profile>/entresol: the workspace is two levels up.
            places.extend(program.ancestors().skip(3).take(2).map(|root| root.join(&built)));
        }
        places.push(built);
    }
    match places.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => Err(Error::Missing(places)),
    }
}

/// What the plugin is to watch.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The plugin.
    pub plugin: PathBuf,
    /// A directory for its report and the machine's memory.
    pub directory: PathBuf,
    /// Addresses of the hypervisor's exception vectors.
    pub vectors: Range<u32>,
    /// Address of the hypervisor's counters.
    pub counters: u32,
    /// Bytes of them before those of the VMs, for each VM, and the number of VMs.
    pub shape: [usize; 3],
    /// The machine's memory, as QEMU is told its size.
    pub memory: String,
}

impl Watch {
    /// Arguments for QEMU.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let Self { plugin, vectors, counters, shape: [head, each, vms], memory, .. } = self;
        let (report, ram) = (self.report_path(), self.memory_path());
        let backend = format!(
            "memory-backend-file,id=watched,size={memory},share=on,mem-path={}",
            ram.display()
        );
        let watch = format!(
            "{},out={}.counts,sites={},vectors={:#x}..{:#x},counters={counters:#x}:{head:#x}:{each:#x}:{vms:#x}",
            plugin.display(),
            report.display(),
            report.display(),
            vectors.start,
            vectors.end,
        );
        ["-object", &backend, "-machine", "memory-backend=watched", "-plugin", &watch]
            .map(str::to_owned)
            .to_vec()
    }

    fn report_path(&self) -> PathBuf {
        self.directory.join("sites")
    }

    fn memory_path(&self) -> PathBuf {
        self.directory.join("memory")
    }

    /// The plugin's report on what it saw.
    ///
    /// # Errors
    ///
    /// When there is none: the machine was killed, or never started.
    pub fn report(&self) -> Result<String, Error> {
        std::fs::read_to_string(self.report_path()).map_err(Error::NoReport)
    }

    /// `len` bytes of the machine's memory at `offset` from a megabyte's start, in the first
    /// megabyte where they start with `mark`; and as many again further on, at each multiple of
    /// `stride` below `copies` of them.
    ///
    /// # Errors
    ///
    /// When there is no such place, or the memory cannot be read.
    pub fn memory(
        &self,
        mark: &[u8],
        offset: u32,
        len: usize,
        stride: u32,
        copies: u32,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let mut file = File::open(self.memory_path())?;
        let size = file.metadata()?.len();
        let mut bytes = vec![0; len];
        let mut at = u64::from(offset);
        while at + u64::try_from(len).unwrap_or(u64::MAX) <= size {
            let mut read = |at: u64| {
                file.seek(SeekFrom::Start(at))?;
                file.read_exact(&mut bytes)?;
                Ok::<_, Error>(bytes.clone())
            };
            if read(at)?.starts_with(mark) {
                return (0..copies).map(|copy| read(at + u64::from(copy * stride))).collect();
            }
            at += 1 << 20;
        }
        Err(io::Error::other("the hypervisor's counters are not there").into())
    }
}

/// A directory's parent for the machine's memory: not on a disk if that can be had.
#[must_use]
pub fn temporary() -> PathBuf {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_are_found_in_whichever_megabyte_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let watch = Watch {
            plugin: "plugin.so".into(),
            directory: directory.path().to_owned(),
            vectors: 0xffb0_0020..0xffb0_0060,
            counters: 0xffb3_0000,
            shape: [16, 48, 8],
            memory: "3M".into(),
        };
        let mut memory = vec![0; 3 << 20];
        memory[(2 << 20) + 0x40..][..8].copy_from_slice(b"MARK1234");
        memory[(2 << 20) + 0x240..][..8].copy_from_slice(b"MARK5678");
        std::fs::write(watch.memory_path(), memory).unwrap();
        let copies = watch.memory(b"MARK", 0x40, 8, 0x200, 2).unwrap();
        assert_eq!(copies, [b"MARK1234", b"MARK5678"]);
        assert!(watch.memory(b"MARK", 0x44, 8, 0, 1).is_err());
        assert!(watch.report().is_err());
        let arguments = watch.arguments().join(" ");
        assert!(arguments.contains("vectors=0xffb00020..0xffb00060"), "{arguments}");
        assert!(arguments.contains("counters=0xffb30000:0x10:0x30:0x8"), "{arguments}");
    }
}
