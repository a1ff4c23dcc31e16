//! Reads the hypervisor's ELF file: a flat binary, and its size.
//!
//! The hypervisor is linked at its window's virtual addresses and runs from any
//! physical address that is a multiple of 1 MiB, so its place in the flat binary is
//! its distance from the window's start.

use crate::Error;
use entresol_abi::{image::ABI_VERSION, note, window};
use entresol_system::report::HypervisorSize as Size;
use object::{
    Endianness,
    elf::{EM_ARM, FileHeader32, PT_LOAD, PT_NOTE, SHF_ALLOC, SHF_WRITE, SHT_SYMTAB, Sym32},
    read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym},
};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The hypervisor.
#[derive(Clone, Debug)]
pub struct Hypervisor {
    /// Its binary, from the window's first byte.
    pub bytes: Vec<u8>,
    /// Distance of its first instruction from the window's first byte.
    pub entry_offset: u32,
    /// What it takes of its window.
    pub size: Size,
    /// What is watched from outside, unless its symbols were stripped.
    pub watched: Option<Watched>,
}

/// Addresses in the window that are of interest from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its exception vectors.
    pub vectors: Range<u32>,
    /// Its counters ([`entresol_abi::observe`]).
    pub counters: u32,
}

/// File name of the hypervisor's ELF file.
const NAME: &str = "entresol-kernel";

/// Where the hypervisor's file is: `given`, else what the environment variable
/// `ENTRESOL_HYPERVISOR` names, else beside the running program, else in the
/// workspace the program was built in or is started in.
///
/// # Errors
///
/// [`Error::NoHypervisor`] with the places looked at.
pub fn find(given: Option<&Path>) -> Result<PathBuf, Error> {
    let named = given.map(Path::to_owned);
    if let Some(path) = named.or_else(|| std::env::var_os("ENTRESOL_HYPERVISOR").map(Into::into)) {
        return if path.is_file() { Ok(path) } else { Err(Error::NoHypervisor(vec![path])) };
    }
    let built = Path::new("target/armv7a-none-eabi/release").join(NAME);
    let mut places = Vec::new();
    if let Ok(program) = std::env::current_exe() {
        let beside = program.with_file_name(NAME);
        places.push(beside);
        // target/<profile>/entresol: the workspace is two levels up.
        places.extend(program.ancestors().skip(3).take(2).map(|root| root.join(&built)));
    }
    places.push(built);
    match places.iter().find(|path| path.is_file() && is_elf(path)) {
        Some(path) => Ok(path.clone()),
        None => Err(Error::NoHypervisor(places)),
    }
}

/// Whether it is an ELF file for Arm: beside a host program of the same workspace
/// lies the host's build of the same package.
fn is_elf(path: &Path) -> bool {
    let Ok(bytes) = std::fs::read(path) else { return false };
    FileHeader32::<Endianness>::parse(bytes.as_slice())
        .is_ok_and(|header| header.e_machine(Endianness::Little) == EM_ARM)
}

impl Hypervisor {
    /// Reads the hypervisor's ELF file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, was not linked at the window, or is of another ABI.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes =
            std::fs::read(path).map_err(|error| Error::Unreadable(path.to_owned(), error))?;
        let hypervisor =
            Self::parse(&bytes).map_err(|what| Error::BadHypervisor(path.to_owned(), what))?;
        match abi(&bytes) {
            Some(ABI_VERSION) => Ok(hypervisor),
            found => Err(Error::OtherAbi(path.to_owned(), found)),
        }
    }

    fn parse(file: &[u8]) -> Result<Self, String> {
        let header =
            FileHeader32::<Endianness>::parse(file).map_err(|_| "no 32-bit ELF file".to_owned())?;
        let endian = header.endian().map_err(|error| error.to_string())?;
        if header.e_machine(endian) != EM_ARM || endian != Endianness::Little {
            return Err("not for little-endian Arm".to_owned());
        }
        let mut bytes = Vec::new();
        let mut memory = 0;
        for segment in header.program_headers(endian, file).map_err(|error| error.to_string())? {
            if segment.p_type(endian) != PT_LOAD {
                continue;
            }
            let at = segment.p_vaddr(endian);
            let end = u64::from(at) + u64::from(segment.p_memsz(endian));
            if at < window::BASE || end > u64::from(window::MEMORY_END) {
                return Err(format!("segment {at:#010x}..{end:#010x} is outside the window"));
            }
            memory = memory.max(end - u64::from(window::BASE));
            let data = segment.data(endian, file).map_err(|()| "the file is cut off".to_owned())?;
            let start = usize::try_from(at - window::BASE).map_err(|error| error.to_string())?;
            let end = start + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            if let Some(to) = bytes.get_mut(start..end) {
                to.copy_from_slice(data);
            }
        }
        if bytes.is_empty() {
            return Err("it has no loadable segment".to_owned());
        }
        let entry_offset = header
            .e_entry(endian)
            .checked_sub(window::BASE)
            .ok_or("its entry is outside the window")?;
        let size = Size { text: text(header, endian, file), memory };
        let watched = watched(header, endian, file);
        Ok(Self { bytes, entry_offset, size, watched })
    }
}

fn watched(header: &FileHeader32<Endianness>, endian: Endianness, file: &[u8]) -> Option<Watched> {
    let sections = header.sections(endian, file).ok()?;
    let symbols = sections.symbols(endian, file, SHT_SYMTAB).ok()?;
    let find = |name: &[u8]| {
        let named = |symbol: &&Sym32<Endianness>| {
            symbols.symbol_name(endian, *symbol).is_ok_and(|found| found == name)
        };
        symbols.iter().find(named).map(|symbol| symbol.st_value(endian))
    };
    Some(Watched {
        vectors: find(b"__vectors")?..find(b"__vectors_end")?,
        counters: find(b"ENTRESOL_OBSERVED")?,
    })
}

/// The ABI version that the hypervisor's note tells, if it has one.
fn abi(file: &[u8]) -> Option<u32> {
    let endian = Endianness::Little;
    let header = FileHeader32::<Endianness>::parse(file).ok()?;
    for segment in header.program_headers(endian, file).ok()? {
        if segment.p_type(endian) != PT_NOTE {
            continue;
        }
        let Ok(Some(mut notes)) = segment.notes(endian, file) else { continue };
        while let Ok(Some(found)) = notes.next() {
            if found.name() == note::OWNER && found.n_type(endian).0 == note::TYPE_ABI {
                return found.desc().try_into().ok().map(u32::from_le_bytes);
            }
        }
    }
    None
}

/// Bytes of loaded sections that nobody may write: code and constants.
fn text(header: &FileHeader32<Endianness>, endian: Endianness, file: &[u8]) -> u64 {
    let Ok(sections) = header.section_headers(endian, file) else { return 0 };
    sections
        .iter()
        .filter(|section| section.sh_flags(endian).0 & (SHF_ALLOC.0 | SHF_WRITE.0) == SHF_ALLOC.0)
        .map(|section| u64::from(section.sh_size(endian)))
        .sum()
}
