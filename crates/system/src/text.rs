//! A binary's executable parts, with their places in the file, to be changed there.
//!
//! Like [`code`](crate::code) of a binary that is only looked at; here the file stays whole, and
//! mapping symbols (ARM IHI 0044, 5.5.5) keep literal pools (`$d`) apart from code too. Of an ELF
//! file the executable segments count; of an uncompressed kernel or a raw binary, all of it.

use crate::{
    code::{Set, set_of},
    guest::{self, Binary, Unfit, unfit},
    manifest::Format,
    placement::MEMORY,
};
use object::{
    Endianness,
    elf::{FileHeader32, PF_X, PT_LOAD, SHF_ALLOC, SHT_SYMTAB},
    read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym},
};
use std::ops::Range;

/// What mapping symbols say of the bytes that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Code of an instruction set.
    Code(Set),
    /// Data.
    Data,
}

/// An executable part of a binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its bytes in the file.
    pub file: Range<usize>,
    /// Where it is loaded, a guest physical address.
    pub at: u32,
    /// Where it is linked to run; `at` if that is not known.
    pub linked: u32,
}

/// The executable parts of a binary, and what it says of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its format.
    pub format: Format,
    /// Its first instruction, where it is linked to run, and its set.
    pub entry: (u32, Set),
    /// Executable parts.
    pub parts: Vec<Part>,
    /// Mapping symbols by linked address, ascending; none if the file has none.
    pub marks: Vec<(u32, Mark)>,
}

/// Finds the executable parts of a binary. `load` is where a raw one goes; odd means T32.
///
/// # Errors
///
/// Why the binary cannot be a guest, or cannot be changed.
pub fn text(bytes: &[u8], format: Option<Format>, load: u32) -> Result<Text, Unfit> {
    let whole = |format, at: u32, set| Text {
        format,
        entry: (at, set),
        parts: vec![Part { file: 0..bytes.len(), at, linked: at }],
        marks: Vec::new(),
    };
    let memory = u32::try_from(MEMORY).unwrap_or(0);
    match guest::recognise(bytes, format)? {
        Binary::Elf { entry, .. } => Ok(elf(bytes, entry)),
        Binary::ZImage => Err(unfit(
            "image::compressed",
            "this is a zImage: its kernel is compressed, and unpacked when it starts",
            "rewrite the kernel itself (arch/arm/boot/Image or vmlinux of its build); \
             a zImage's instructions are replaced when they run",
        )),
        Binary::Image { text_offset } => {
            Ok(whole(Format::Image, memory + text_offset.unwrap_or(0x8000), Set::A32))
        }
        Binary::Raw => Ok(whole(Format::Raw, load & !1, set_of(load))),
    }
}

/// Where a Linux `Image` that is loaded at `at` is linked to run, of which `function` is a
/// function. Kernel and user space share the address space in quarters or halves, or at
/// 0xb000_0000; the kernel is at the same distance from there as from the start of memory.
#[must_use]
pub fn linked_image(at: u32, function: u32) -> u32 {
    const SPLIT: u32 = 0xf000_0000;
    (function & SPLIT).wrapping_add(at.wrapping_sub(u32::try_from(MEMORY).unwrap_or(0)))
}

/// The file was recognised, so what cannot be read is taken for absent.
fn elf(file: &[u8], entry: u32) -> Text {
    let mut text = Text {
        format: Format::Elf,
        entry: (entry & !1, set_of(entry)),
        parts: Vec::new(),
        marks: Vec::new(),
    };
    let Ok(header) = FileHeader32::<Endianness>::parse(file) else { return text };
    let Ok(endian) = header.endian() else { return text };
    for segment in header.program_headers(endian, file).unwrap_or_default() {
        if segment.p_type(endian) != PT_LOAD || segment.p_flags(endian).0 & PF_X.0 == 0 {
            continue;
        }
        let offset = usize::try_from(segment.p_offset(endian)).unwrap_or(usize::MAX);
        let len = usize::try_from(segment.p_filesz(endian)).unwrap_or(usize::MAX);
        let (at, linked) = (segment.p_paddr(endian), segment.p_vaddr(endian));
        let range = offset..offset.saturating_add(len).min(file.len());
        // The same word of a page both ways, or the pages cannot be told apart.
        let linked = if (at ^ linked) & 0xfff == 0 { linked } else { at };
        text.parts.push(Part { file: range, at, linked });
        if (linked..linked + segment.p_filesz(endian)).contains(&(at_entry(entry, at, linked))) {
            text.entry.0 = at_entry(entry, at, linked);
        }
    }
    text.marks = marks(header, endian, file).unwrap_or_default();
    text
}

/// The entry where it is linked to run: `e_entry` may be either kind of address.
fn at_entry(entry: u32, at: u32, linked: u32) -> u32 {
    let entry = entry & !1;
    if entry >= linked { entry } else { entry.wrapping_sub(at).wrapping_add(linked) }
}

fn marks(
    header: &FileHeader32<Endianness>,
    endian: Endianness,
    file: &[u8],
) -> Option<Vec<(u32, Mark)>> {
    let sections = header.sections(endian, file).ok()?;
    let symbols = sections.symbols(endian, file, SHT_SYMTAB).ok()?;
    // A mapping symbol holds to the end of its section; sections without any are data, though
    // they may be in the same segment.
    let mut marks = Vec::new();
    for section in header.section_headers(endian, file).ok()? {
        if section.sh_flags(endian).0 & SHF_ALLOC.0 != 0 {
            let (start, len) = (section.sh_addr(endian), section.sh_size(endian));
            marks.extend([(start, Mark::Data), (start.wrapping_add(len), Mark::Data)]);
        }
    }
    let sections_alone = marks.len();
    for symbol in symbols.iter() {
        let mark = match symbols.symbol_name(endian, symbol).unwrap_or_default() {
            [b'$', b'a'] | [b'$', b'a', b'.', ..] => Mark::Code(Set::A32),
            [b'$', b't'] | [b'$', b't', b'.', ..] => Mark::Code(Set::T32),
            [b'$', b'd'] | [b'$', b'd', b'.', ..] => Mark::Data,
            _ => continue,
        };
        marks.push((symbol.st_value(endian), mark));
    }
    if marks.len() == sections_alone {
        return None;
    }
    // Stable: what a symbol says comes after what ends or begins there.
    marks.sort_by_key(|(at, _)| *at);
    Some(marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zimage_is_refused_because_it_is_compressed() {
        let mut bytes = vec![0; 0x400];
        bytes[0x24..0x28].copy_from_slice(&0x016f_2818_u32.to_le_bytes());
        bytes[0x2c..0x30].copy_from_slice(&0x400_u32.to_le_bytes());
        assert_eq!(text(&bytes, None, 0).unwrap_err().code, "image::compressed");
    }

    #[test]
    fn an_image_is_linked_at_its_distance_from_the_start_of_kernel_space() {
        assert_eq!(linked_image(0x4020_8000, 0xc030_0000), 0xc020_8000);
        assert_eq!(linked_image(0x4000_8000, 0x8012_3456), 0x8000_8000);
    }

    #[test]
    fn a_raw_binary_is_one_part() {
        let text = text(&[0; 8], Some(Format::Raw), 0x4000_8001).unwrap();
        assert_eq!(text.entry, (0x4000_8000, Set::T32));
        assert_eq!(text.parts, [Part { file: 0..8, at: 0x4000_8000, linked: 0x4000_8000 }]);
    }
}
