//! Which parts of a binary are code, and in which instruction set.
//!
//! For people who inspect a guest before they run it. The hypervisor knows better,
//! since it sees where code is entered; here the executable segments of an ELF file
//! count as code, all of any other binary, and the mapping symbols `$a` and `$t`
//! (ARM IHI 0044, 5.5.5), if the file has any, tell A32 from T32. Literal pools
//! (`$d`) stay part of the code around them, as the hypervisor's scanner sees them.

use crate::{
    guest::{self, Binary, Unfit},
    manifest::Format,
    placement::MEMORY,
};
use object::{
    Endianness,
    elf::{FileHeader32, PF_X, PT_LOAD},
    read::elf::{FileHeader, ProgramHeader, Sym},
};

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// Arm.
    A32,
    /// Thumb.
    T32,
}

/// A stretch of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Its address in the guest.
    pub at: u32,
    /// The code, with its literal pools.
    pub bytes: Vec<u8>,
    /// Its instruction set.
    pub set: Set,
}

/// A guest's binary, as one inspects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its format.
    pub format: Format,
    /// Its first instruction; bit 0 means T32.
    pub entry: u32,
    /// Its code.
    pub code: Vec<Code>,
}

/// Finds the code of a binary. `load` is where a raw one goes.
///
/// # Errors
///
/// Why the binary cannot be a guest.
pub fn guest(bytes: &[u8], format: Option<Format>, load: u32) -> Result<Guest, Unfit> {
    let whole = |format, at: u32, set| Guest {
        format,
        entry: at | u32::from(set == Set::T32),
        code: vec![Code { at: at & !1, bytes: bytes.to_vec(), set }],
    };
    let memory = u32::try_from(MEMORY).unwrap_or(0);
    Ok(match guest::recognise(bytes, format)? {
        Binary::Elf { entry, .. } => {
            Guest { format: Format::Elf, entry, code: elf_code(bytes, entry) }
        }
        Binary::ZImage => whole(Format::ZImage, memory + (32 << 20), Set::A32),
        Binary::Image { text_offset } => {
            whole(Format::Image, memory + text_offset.unwrap_or(0x8000), Set::A32)
        }
        Binary::Raw => whole(Format::Raw, load, set_of(load)),
    })
}

pub(crate) fn set_of(entry: u32) -> Set {
    if entry & 1 == 1 { Set::T32 } else { Set::A32 }
}

/// The executable segments, cut where the instruction set changes. The file was
/// recognised, so what cannot be read is taken for absent.
fn elf_code(file: &[u8], entry: u32) -> Vec<Code> {
    let Ok(header) = FileHeader32::<Endianness>::parse(file) else { return Vec::new() };
    let Ok(endian) = header.endian() else { return Vec::new() };
    let Ok(segments) = header.program_headers(endian, file) else { return Vec::new() };
    let changes = mapping_symbols(header, endian, file);
    let mut code = Vec::new();
    for segment in segments {
        if segment.p_type(endian) != PT_LOAD || segment.p_flags(endian).0 & PF_X.0 == 0 {
            continue;
        }
        let bytes = segment.data(endian, file).unwrap_or_default();
        let (virt, phys) = (segment.p_vaddr(endian), segment.p_paddr(endian));
        let Ok(len) = u32::try_from(bytes.len()) else { continue };
        let start = match changes.first() {
            // Without symbols, all is in the set of the first instruction.
            None => vec![(virt, set_of(entry))],
            Some(_) => {
                let before = changes.iter().rev().find(|(at, _)| *at <= virt);
                vec![(virt, before.map_or(Set::A32, |(_, set)| *set))]
            }
        };
        let inside = changes.iter().filter(|(at, _)| (virt + 1..virt + len).contains(at));
        let mut cuts: Vec<(u32, Set)> = start.into_iter().chain(inside.copied()).collect();
        cuts.dedup_by_key(|(_, set)| *set);
        let ends = cuts.iter().skip(1).map(|(at, _)| *at).chain([virt + len]);
        for ((from, set), to) in cuts.iter().zip(ends) {
            let offset = |at: u32| usize::try_from(at - virt).unwrap_or(usize::MAX);
            let bytes = bytes.get(offset(*from)..offset(to)).unwrap_or_default();
            if !bytes.is_empty() {
                code.push(Code { at: phys + (from - virt), bytes: bytes.to_vec(), set: *set });
            }
        }
    }
    code
}

/// Where the instruction set changes, by virtual address.
fn mapping_symbols(
    header: &FileHeader32<Endianness>,
    endian: Endianness,
    file: &[u8],
) -> Vec<(u32, Set)> {
    let Ok(sections) = header.sections(endian, file) else { return Vec::new() };
    let Ok(symbols) = sections.symbols(endian, file, object::elf::SHT_SYMTAB) else {
        return Vec::new();
    };
    let mut changes = Vec::new();
    for symbol in symbols.iter() {
        let name = symbols.symbol_name(endian, symbol).unwrap_or_default();
        let set = match name {
            [b'$', b'a'] | [b'$', b'a', b'.', ..] => Set::A32,
            [b'$', b't'] | [b'$', b't', b'.', ..] => Set::T32,
            _ => continue,
        };
        changes.push((symbol.st_value(endian), set));
    }
    changes.sort_by_key(|(at, _)| *at);
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_binary_is_all_code_in_the_set_its_address_says() {
        let guest = guest(&[0; 8], Some(Format::Raw), 0x4000_8001).unwrap();
        assert_eq!(guest.entry, 0x4000_8001);
        assert_eq!(guest.code, [Code { at: 0x4000_8000, bytes: vec![0; 8], set: Set::T32 }]);
    }
}
