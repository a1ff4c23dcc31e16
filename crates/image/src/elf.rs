//! The ELF file around an image: two segments at physical addresses.
//!
//! Written by hand because it is two fixed headers (System V ABI, chapters 4 and 5;
//! ARM IHI 0044): no sections, no symbols. Virtual and physical addresses are equal,
//! since the image is entered with the MMU off.

use crate::Image;
use entresol_abi::window;
use std::num::TryFromIntError;

const HEADER: u32 = 52;
const PROGRAM_HEADER: u32 = 32;
/// Segments start at multiples of this in the file.
const ALIGN: u32 = 0x1000;

/// Writes `image` as an ELF file.
///
/// # Errors
///
/// When an offset does not fit in 32 bits.
pub fn write(image: &Image) -> Result<Vec<u8>, TryFromIntError> {
    let hypervisor = Segment {
        at: image.load,
        offset: ALIGN,
        len: u32::try_from(image.hypervisor.len())?,
        memory: window::MEMORY_END - window::BASE,
        flags: 7,
    };
    let tables_len = u32::try_from(image.tables.len())?;
    let tables = Segment {
        at: image.load + image.reserved,
        offset: ALIGN + hypervisor.len.next_multiple_of(ALIGN),
        len: tables_len,
        memory: tables_len,
        flags: 4,
    };
    let mut file = header(image.entry);
    file.extend(hypervisor.header());
    file.extend(tables.header());
    file.resize(usize::try_from(hypervisor.offset)?, 0);
    file.extend(&image.hypervisor);
    file.resize(usize::try_from(tables.offset)?, 0);
    file.extend(&image.tables);
    Ok(file)
}

/// `Elf32_Ehdr` of an Arm executable (EABI version 5) with two program headers.
fn header(entry: u32) -> Vec<u8> {
    let half = |value: u16| value.to_le_bytes();
    let mut header = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    header.extend([half(2), half(40)].concat());
    for value in [1, entry, HEADER, 0, 0x0500_0000] {
        header.extend(u32::to_le_bytes(value));
    }
    for value in [52, 32, 2, 40, 0, 0] {
        header.extend(half(value));
    }
    header
}

struct Segment {
    at: u32,
    offset: u32,
    len: u32,
    memory: u32,
    flags: u32,
}

impl Segment {
    /// `Elf32_Phdr` of type LOAD.
    fn header(&self) -> Vec<u8> {
        let words = [1, self.offset, self.at, self.at, self.len, self.memory, self.flags, ALIGN];
        words.into_iter().flat_map(u32::to_le_bytes).collect()
    }
}

const _: () = assert!(HEADER + 2 * PROGRAM_HEADER <= ALIGN);
