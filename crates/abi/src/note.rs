//! The note by which the hypervisor's ELF file says which ABI it was built for.
//!
//! A mismatch of tool and hypervisor cannot be told on the target, where nothing is known
//! before the tables are read. So the tool reads this note and refuses. It is in a loadable
//! section and so has a program header of type NOTE; section headers may be stripped.
//!
//! Manual: System V ABI, chapter 5, "Note Section".

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The section of the note.
pub const SECTION: &str = ".note.entresol";

/// Owner of the note, without the zero byte that ends it in the file.
pub const OWNER: &[u8] = b"Entresol";

/// Type of the note: its contents are the ABI version, one word.
pub const TYPE_ABI: u32 = 1;

/// The note as it is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AbiNote {
    /// Length of `name` with one zero byte.
    pub name_len: u32,
    /// Length of what follows `name`.
    pub contents_len: u32,
    /// Always [`TYPE_ABI`].
    pub kind: u32,
    /// [`OWNER`], zero padded to a multiple of four.
    pub name: [u8; 12],
    /// [`ABI_VERSION`](crate::image::ABI_VERSION) of the hypervisor.
    pub abi: u32,
}

impl AbiNote {
    /// The note of a hypervisor built with this crate.
    pub const OURS: Self = Self {
        name_len: 9,
        contents_len: 4,
        kind: TYPE_ABI,
        name: *b"Entresol\0\0\0\0",
        abi: crate::image::ABI_VERSION,
    };
}

const _: () = assert!(size_of::<AbiNote>() == 28 && OWNER.len() + 1 == 9);
