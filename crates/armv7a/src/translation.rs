//! Short descriptors of the real translation tables.
//!
//! Encodes; does not decide, and writes no table. Everything a guest maps is not
//! global (its ASID tags it) and everything it may touch is open to User mode,
//! because guest kernels run there too.
//!
//! Manual: ARM DDI 0406C, B3.5.1 and B3.8 (TEX remap off, access flag off).

use entresol_abi::{GuestPhys, HostPhys};

/// Domain of the hypervisor's window; always a client.
pub(crate) const WINDOW_DOMAIN: u8 = 15;

/// TTBR0 bits: walks are inner and outer write-back write-allocate, shareable.
pub(crate) const WALK_ATTRIBUTES: u32 = 0x4a;

/// What kind of memory is behind a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Normal, write-back, write-allocate, shareable.
    Normal,
    /// Device, shareable.
    Device,
}

/// What User mode may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    /// Store. A mapping that exists may always be loaded from.
    pub(crate) write: bool,
    /// Fetch instructions.
    pub(crate) execute: bool,
}

/// A first-level entry that names a second-level table.
#[inline]
#[must_use]
pub(crate) const fn table(at: HostPhys, domain: u8) -> u32 {
    at.0 | (domain as u32) << 5 | 0b01
}

/// The second-level table a first-level entry names.
#[inline]
#[must_use]
pub(crate) const fn table_of(entry: u32) -> Option<HostPhys> {
    if entry & 0b11 == 0b01 { Some(HostPhys(entry & !0x3ff)) } else { None }
}

/// A first-level entry that maps 1 MiB for a guest.
#[inline]
#[must_use]
pub(crate) const fn guest_section(to: HostPhys, domain: u8, rights: Rights, memory: Memory) -> u32 {
    let memory = match memory {
        Memory::Normal => 1 << 16 | 1 << 12 | 1 << 3 | 1 << 2,
        Memory::Device => 1 << 2,
    };
    to.0 | 1 << 17
        | memory
        | access(rights) << 10
        | (domain as u32) << 5
        | (!rights.execute as u32) << 4
        | 0b10
}

/// A second-level entry that maps 4 KiB for a guest.
#[inline]
#[must_use]
pub(crate) const fn guest_page(to: HostPhys, rights: Rights, memory: Memory) -> u32 {
    let memory = match memory {
        Memory::Normal => 1 << 10 | 1 << 6 | 1 << 3 | 1 << 2,
        Memory::Device => 1 << 2,
    };
    to.0 | 1 << 11 | memory | access(rights) << 4 | 0b10 | (!rights.execute as u32)
}

/// A second-level entry that faults, and notes that a page of the virtual board is there.
/// Bits 1:0 clear is a fault; the processor ignores the others (B3.5.1).
#[inline]
#[must_use]
pub(crate) const fn board_page(at: GuestPhys, write: bool) -> u32 {
    at.0 & !0xfff | (write as u32) << 3 | NOTE
}

/// The page of the virtual board that a second-level entry notes, if it may be accessed.
#[inline]
#[must_use]
pub(crate) const fn board_page_of(entry: u32, write: bool) -> Option<GuestPhys> {
    let noted = entry & (NOTE | 0b11) == NOTE && (!write || entry & 1 << 3 != 0);
    if noted { Some(GuestPhys(entry & !0xfff)) } else { None }
}

/// Marks a faulting entry as a note.
const NOTE: u32 = 1 << 2;

/// A first-level entry of the linear view: 1 MiB for the hypervisor only.
#[inline]
#[must_use]
pub(crate) const fn linear_section(to: HostPhys) -> u32 {
    to.0 | 1 << 17 | 1 << 16 | 1 << 12 | 0b01 << 10 | (WINDOW_DOMAIN as u32) << 5 | 1 << 4 | 0b1110
}

/// A second-level entry that maps 4 KiB of device registers in the window.
#[inline]
#[must_use]
pub(crate) const fn window_device(to: HostPhys) -> u32 {
    to.0 | 1 << 10 | 0b01 << 4 | 1 << 2 | 0b10 | 1
}

/// One of the 16 equal second-level entries of 64 KiB of the window.
#[inline]
#[must_use]
pub(crate) const fn window_large(to: HostPhys, write: bool, execute: bool) -> u32 {
    // AP[2:0] 001 is read-write for PL1 only, 101 is read-only for PL1 only.
    to.0 | (!execute as u32) << 15 | 1 << 12 | 1 << 10 | (!write as u32) << 9 | 0b01 << 4 | 0b1101
}

/// AP[1:0] for User mode: 11 is read-write, 10 read-only (AP[2] clear).
const fn access(rights: Rights) -> u32 {
    if rights.write { 0b11 } else { 0b10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ARM DDI 0406C, figure B3-4: AP[2] 15, TEX 14:12, AP[1:0] 11:10, XN 4, nG 17, S 16.
    #[test]
    fn a_section_has_its_fields_where_the_manual_puts_them() {
        let rights = Rights { write: true, execute: false };
        let entry = guest_section(HostPhys(0x6010_0000), 3, rights, Memory::Normal);
        assert_eq!(
            entry,
            0x6010_0000 | 1 << 17 | 1 << 16 | 1 << 12 | 3 << 10 | 3 << 5 | 1 << 4 | 0xe
        );
    }

    /// Figure B3-5: nG 11, S 10, AP[2] 9, TEX 8:6, AP[1:0] 5:4, C 3, B 2, XN 0.
    #[test]
    fn a_read_only_page_is_executable_when_asked() {
        let entry = guest_page(
            HostPhys(0x6000_1000),
            Rights { write: false, execute: true },
            Memory::Normal,
        );
        assert_eq!(entry, 0x6000_1000 | 1 << 11 | 1 << 10 | 1 << 6 | 2 << 4 | 0xe);
    }

    /// Figure B3-5: large page XN 15, TEX 14:12.
    #[test]
    fn the_window_is_closed_to_user_mode() {
        let text = window_large(HostPhys(0x6000_0000), false, true);
        assert_eq!(text >> 4 & 3, 0b01, "AP[1:0]: no access from PL0");
        assert_eq!(text & 0b11, 0b01, "large page");
        assert_eq!(text >> 11 & 1, 0, "global");
    }
}
