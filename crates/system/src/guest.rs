//! What a guest's binary is: ELF, zImage, Image or raw, and what it asks for.
//!
//! Detection goes by content, never by file name, and knows the usual wrong files
//! well enough to name them: a kernel for another architecture is the most common
//! mistake, and "not recognised" would not help anyone. Where a binary goes in the
//! guest's memory is decided by [`crate::placement`].
//!
//! Sources: the ELF specification and ARM IHI 0044; Linux's
//! `Documentation/arch/arm/booting.rst` and `arch/arm/boot/compressed/head.S` for
//! the zImage header; `Documentation/arch/arm64/booting.rst`, `arch/x86/boot.rst`
//! and `arch/riscv/boot-image-header.rst` for the foreign ones.

use crate::manifest::Format;
use object::{
    Endianness,
    elf::{EM_ARM, ET_EXEC, FileHeader32, PT_LOAD},
    read::elf::{FileHeader, ProgramHeader},
};

/// Bytes at a guest physical address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where they go.
    pub at: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Bytes in memory, with zeroes behind `bytes`.
    pub len: u64,
}

/// A binary that was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binary {
    /// Loadable segments and the first instruction (bit 0: T32).
    Elf {
        /// What to load.
        segments: Vec<Segment>,
        /// `e_entry`.
        entry: u32,
    },
    /// Linux, self-extracting, position independent.
    ZImage,
    /// Linux, to be loaded at this distance from the start of memory, if known.
    Image {
        /// Linux's `TEXT_OFFSET`.
        text_offset: Option<u32>,
    },
    /// Anything, at an address the manifest gives.
    Raw,
}

/// Why a binary cannot be a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Code of the problem.
    pub code: &'static str,
    /// What it is.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

pub(crate) fn unfit(
    code: &'static str,
    what: impl Into<String>,
    remedy: impl Into<String>,
) -> Unfit {
    Unfit { code, what: what.into(), remedy: remedy.into() }
}

const ARCHITECTURE: &str = "image::wrong-architecture";
const MALFORMED: &str = "image::malformed";
const ARM_REMEDY: &str = "use a kernel built for 32-bit Arm (Debian: linux-image-armmp, armhf)";

/// Recognises `bytes`, or takes them for what the manifest says.
///
/// # Errors
///
/// Why they cannot be a guest.
pub fn recognise(bytes: &[u8], format: Option<Format>) -> Result<Binary, Unfit> {
    if bytes.is_empty() {
        return Err(unfit(MALFORMED, "the file is empty", "build the guest again"));
    }
    match format {
        Some(Format::Raw) => Ok(Binary::Raw),
        Some(Format::Elf) => elf(bytes),
        Some(Format::ZImage) => {
            foreign(bytes)?;
            zimage(bytes)?.ok_or_else(|| {
                unfit(
                    MALFORMED,
                    "this is no zImage: the magic 0x016f2818 at byte 0x24 is missing",
                    "leave `format` out to have the format detected",
                )
            })
        }
        Some(Format::Image) => {
            foreign(bytes)?;
            Ok(Binary::Image { text_offset: text_offset(bytes).flatten() })
        }
        None => detect(bytes),
    }
}

fn detect(bytes: &[u8]) -> Result<Binary, Unfit> {
    if bytes.starts_with(b"\x7fELF") {
        return elf(bytes);
    }
    if let Some(zimage) = zimage(bytes)? {
        return Ok(zimage);
    }
    foreign(bytes)?;
    if let Some(text_offset) = text_offset(bytes) {
        return Ok(Binary::Image { text_offset });
    }
    Err(unfit(
        "image::unknown-format",
        "this is neither ELF, zImage nor Image",
        "for a binary without a header say `format = \"raw\"` and give `load` and `entry`; \
         for an uncompressed Linux kernel say `format = \"Image\"` and give `text-offset`",
    ))
}

/// Linux's self-extracting kernel: magic at 0x24, its length from start and end.
fn zimage(bytes: &[u8]) -> Result<Option<Binary>, Unfit> {
    const MAGIC: u32 = 0x016f_2818;
    match word(bytes, 0x24) {
        Some(MAGIC) => {}
        Some(magic) if magic.swap_bytes() == MAGIC => {
            return Err(unfit(ARCHITECTURE, "this zImage is big-endian", ARM_REMEDY));
        }
        _ => return Ok(None),
    }
    let extent = word(bytes, 0x2c)
        .zip(word(bytes, 0x28))
        .and_then(|(end, start)| usize::try_from(end.checked_sub(start)?).ok());
    match extent {
        Some(len) if len <= bytes.len() => Ok(Some(Binary::ZImage)),
        Some(len) => Err(unfit(
            MALFORMED,
            format!("this zImage has {len} bytes by its header but {} in the file", bytes.len()),
            "copy or build it again",
        )),
        None => Err(unfit(MALFORMED, "this zImage ends before it starts", "build it again")),
    }
}

/// Refuses what is known to be something else.
fn foreign(bytes: &[u8]) -> Result<(), Unfit> {
    let at = |offset: usize, magic: &[u8]| {
        bytes.get(offset..).is_some_and(|bytes| bytes.starts_with(magic))
    };
    let architecture = |what: &str| Err(unfit(ARCHITECTURE, what, ARM_REMEDY));
    let packed =
        |what: &str, tool: &str| Err(unfit(MALFORMED, what, format!("unpack it first: {tool}")));
    if at(0x38, b"ARM\x64") {
        architecture("this is a 64-bit Arm (AArch64) Image")
    } else if at(0x38, b"RSC\x05") {
        architecture("this is a RISC-V Image")
    } else if at(0x202, b"HdrS") {
        architecture("this is an x86 bzImage")
    } else if at(0, b"\x7fELF") {
        elf(bytes).map(|_| ())
    } else if at(0, &[0x27, 0x05, 0x19, 0x56]) {
        packed("this is a U-Boot uImage", "its payload starts behind 64 bytes of header")
    } else if at(0, &[0x1f, 0x8b]) {
        packed("this is gzip data", "gzip -d")
    } else if at(0, b"\xfd7zXZ\0") {
        packed("this is xz data", "xz -d")
    } else if at(0, &[0x28, 0xb5, 0x2f, 0xfd]) {
        packed("this is zstd data", "zstd -d")
    } else if at(0, &[0xd0, 0x0d, 0xfe, 0xed]) {
        let remedy = "`image` is the guest's kernel; a device tree goes to `device-tree`";
        Err(unfit(MALFORMED, "this is a flattened device tree", remedy))
    } else if at(0, b"070701") || at(0, b"070702") {
        let remedy = "`image` is the guest's kernel; an initial file system goes to `initrd`";
        Err(unfit(MALFORMED, "this is a cpio archive", remedy))
    } else {
        Ok(())
    }
}

/// Whether this is Linux's `head.S` (A32), and its `TEXT_OFFSET` if that can be read.
///
/// `head.S` reads the CPU's identity (`mrc p15, 0, r9, c0, c0, 0`) within its first
/// instructions, and since Linux 5.11 computes the start of memory from its own
/// address with `sub r8, r8, #TEXT_OFFSET`.
fn text_offset(bytes: &[u8]) -> Option<Option<u32>> {
    const READ_MIDR_R9: u32 = 0xee10_9f10;
    const SUB_R8_R8_IMMEDIATE: u32 = 0xe248_8000;
    let head = || (0..64).map_while(|index| word(bytes, index * 4));
    if !head().any(|word| word == READ_MIDR_R9) {
        return None;
    }
    let subtract = head().find(|word| word & 0xffff_f000 == SUB_R8_R8_IMMEDIATE);
    Some(subtract.map(|word| (word & 0xff).rotate_right((word >> 8 & 0xf) * 2)))
}

fn elf(bytes: &[u8]) -> Result<Binary, Unfit> {
    let broken = |_| unfit(MALFORMED, "this ELF file is damaged", "build or copy it again");
    match (bytes.get(4), bytes.get(5)) {
        (Some(1), Some(1)) => {}
        (Some(2), _) => {
            let what = match bytes.get(18..20) {
                Some([183, 0]) => "this ELF file is for 64-bit Arm (AArch64)",
                Some([62, 0]) => "this ELF file is for x86-64",
                _ => "this ELF file is 64-bit",
            };
            return Err(unfit(ARCHITECTURE, what, ARM_REMEDY));
        }
        (Some(1), Some(2)) => {
            return Err(unfit(ARCHITECTURE, "this ELF file is big-endian", ARM_REMEDY));
        }
        _ => return Err(unfit(MALFORMED, "this ELF file has no class", "build it again")),
    }
    let header = FileHeader32::<Endianness>::parse(bytes).map_err(broken)?;
    let endian = header.endian().map_err(broken)?;
    if header.e_machine(endian) != EM_ARM {
        let what = match header.e_machine(endian).0 {
            3 => "this ELF file is for x86".to_owned(),
            8 => "this ELF file is for MIPS".to_owned(),
            243 => "this ELF file is for RISC-V".to_owned(),
            other => format!("this ELF file is for machine {other}, not Arm (40)"),
        };
        return Err(unfit(ARCHITECTURE, what, ARM_REMEDY));
    }
    if header.e_type(endian) != ET_EXEC {
        let remedy = "link it at a fixed address, to type EXEC";
        return Err(unfit(MALFORMED, "this ELF file is not an executable", remedy));
    }
    let mut segments = Vec::new();
    for segment in header.program_headers(endian, bytes).map_err(broken)? {
        if segment.p_type(endian) != PT_LOAD || segment.p_memsz(endian) == 0 {
            continue;
        }
        let data = segment.data(endian, bytes).map_err(|()| {
            unfit(MALFORMED, "this ELF file is shorter than its segments", "copy it again")
        })?;
        segments.push(Segment {
            at: u64::from(segment.p_paddr(endian)),
            bytes: data.to_vec(),
            len: u64::from(segment.p_memsz(endian)),
        });
    }
    if segments.is_empty() {
        let remedy = "check the linker script: nothing is loaded";
        return Err(unfit(MALFORMED, "this ELF file has no loadable segment", remedy));
    }
    segments.sort_by_key(|segment| segment.at);
    let entry = header.e_entry(endian);
    let at = u64::from(entry & !1);
    if !segments.iter().any(|segment| (segment.at..segment.at + segment.len).contains(&at)) {
        let remedy = "set the linker script's ENTRY to a symbol in a loaded section";
        let what = format!("this ELF file's entry {entry:#010x} is in no segment");
        return Err(unfit(MALFORMED, what, remedy));
    }
    Ok(Binary::Elf { segments, entry })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_le_bytes(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(at: usize, magic: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 0x400];
        bytes[at..at + magic.len()].copy_from_slice(magic);
        bytes
    }

    #[test]
    fn kernels_of_other_architectures_are_named() {
        for (bytes, name) in [
            (file(0x38, b"ARM\x64"), "AArch64"),
            (file(0x202, b"HdrS"), "x86 bzImage"),
            (file(0x38, b"RSC\x05"), "RISC-V"),
            (file(0, b"\x7fELF\x02\x01\x01"), "64-bit"),
            (file(0, b"\x7fELF\x01\x02\x01"), "big-endian"),
        ] {
            let unfit = recognise(&bytes, None).unwrap_err();
            assert_eq!(unfit.code, ARCHITECTURE);
            assert!(unfit.what.contains(name), "{}", unfit.what);
        }
    }

    #[test]
    fn a_zimage_is_told_by_its_header_and_must_be_whole() {
        let mut bytes = file(0x24, &0x016f_2818_u32.to_le_bytes());
        bytes[0x2c..0x30].copy_from_slice(&0x400_u32.to_le_bytes());
        assert_eq!(recognise(&bytes, None), Ok(Binary::ZImage));
        bytes.pop();
        assert_eq!(recognise(&bytes, None).unwrap_err().code, MALFORMED);
    }

    #[test]
    fn an_image_tells_its_text_offset() {
        let mut bytes = file(8, &0xee10_9f10_u32.to_le_bytes());
        assert_eq!(recognise(&bytes, None), Ok(Binary::Image { text_offset: None }));
        // sub r8, r8, #0x208000
        bytes[0x40..0x44].copy_from_slice(&0xe248_8982_u32.to_le_bytes());
        assert_eq!(recognise(&bytes, None), Ok(Binary::Image { text_offset: Some(0x20_8000) }));
    }

    #[test]
    fn anything_may_be_raw_but_only_if_told_so() {
        let bytes = file(0, b"anything");
        assert_eq!(recognise(&bytes, Some(Format::Raw)), Ok(Binary::Raw));
        assert_eq!(recognise(&bytes, None).unwrap_err().code, "image::unknown-format");
    }
}
