//! Where things go in a guest's memory: kernel, initial file system, device tree.
//!
//! ELF and raw guests say where they want to be. For Linux the boot protocol leaves
//! the choice to the loader (`Documentation/arch/arm/booting.rst`):
//!
//! - An Image goes to its text offset from the start of memory.
//! - A zImage runs anywhere in the first 128 MiB and writes the kernel to the start
//!   of memory. It is best placed above what it writes, else it first copies itself.
//! - Device tree and initial file system go to the top, out of the way of both, but
//!   below 512 MiB, which Linux always has in its linear map.
//!
//! # Invariants
//!
//! 1. Places are in the guest's memory and do not overlap.
//! 2. Loads start at multiples of 4.

use crate::guest::{Binary, Segment};
use std::ops::Range;

/// First byte of every guest's memory.
pub const MEMORY: u64 = 0x4000_0000;

/// Linux's linear map covers at least this much.
const REACHABLE: u64 = 512 << 20;

/// Room set aside for a generated device tree, without the user's additions.
pub const DEVICE_TREE_ROOM: u64 = 0x4000;

/// Where things go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// First instruction; bit 0 means T32.
    pub entry: u32,
    /// The binary's parts, sorted.
    pub segments: Vec<Segment>,
    /// The initial file system.
    pub initrd: Option<Range<u64>>,
    /// Room for the device tree.
    pub device_tree: Range<u64>,
}

/// Why things cannot be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misplaced {
    /// Part of the binary is outside the memory.
    Outside {
        /// First byte of the part.
        at: u64,
        /// Its length.
        len: u64,
    },
    /// Two parts of the binary overlap.
    Overlap {
        /// First byte of the second part.
        at: u64,
    },
    /// The memory is full.
    Full {
        /// What was to be placed.
        what: &'static str,
        /// Its length.
        len: u64,
    },
}

/// What to place.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The binary.
    pub binary: Binary,
    /// The file's bytes.
    pub bytes: &'a [u8],
    /// Where a raw binary goes.
    pub load: u32,
    /// A raw binary's first instruction.
    pub entry: u32,
    /// Linux's text offset, if the manifest gives it.
    pub text_offset: Option<u32>,
    /// Length of the initial file system.
    pub initrd: Option<u64>,
    /// Room for the device tree.
    pub device_tree: u64,
    /// Length of the memory.
    pub memory: u64,
}

/// Finds a place for everything.
///
/// # Errors
///
/// What cannot be placed.
pub fn place(wanted: Wanted<'_>) -> Result<Placement, Misplaced> {
    let end = MEMORY + wanted.memory;
    let len = length(wanted.bytes);
    let whole = |at: u64| vec![Segment { at, bytes: wanted.bytes.to_vec(), len }];
    let (mut segments, entry) = match wanted.binary {
        Binary::Elf { segments, entry } => (segments, Some(u64::from(entry))),
        Binary::Raw => (whole(u64::from(wanted.load)), Some(u64::from(wanted.entry))),
        Binary::Image { text_offset } => {
            let offset = wanted.text_offset.or(text_offset).unwrap_or(0x8000);
            let at = MEMORY + u64::from(offset);
            (whole(at), Some(at))
        }
        Binary::ZImage => (Vec::new(), None),
    };
    check(&segments, end)?;
    let mut taken: Vec<Range<u64>> = segments.iter().map(|s| s.at..s.at + s.len).collect();
    let top = end.min(MEMORY + REACHABLE);
    let device_tree = reserve(&mut taken, top, wanted.device_tree, "the device tree")?;
    let initrd = match wanted.initrd {
        Some(len) => Some(reserve(&mut taken, top, len, "the initrd")?),
        None => None,
    };
    let entry = match entry {
        Some(entry) => entry,
        None => {
            let limit =
                initrd.as_ref().map_or(device_tree.start, |i| i.start.min(device_tree.start));
            let at = zimage_at(limit, len).ok_or(Misplaced::Full { what: "the zImage", len })?;
            segments = whole(at);
            at
        }
    };
    let entry = u32::try_from(entry).map_err(|_| Misplaced::Outside { at: entry, len: 4 })?;
    Ok(Placement { entry, segments: aligned(segments), initrd, device_tree })
}

/// Checks that sorted `segments` are in the memory and apart.
fn check(segments: &[Segment], end: u64) -> Result<(), Misplaced> {
    let mut free = MEMORY;
    for Segment { at, len, .. } in segments {
        if *at < MEMORY || at + len > end {
            return Err(Misplaced::Outside { at: *at, len: *len });
        }
        if *at < free {
            return Err(Misplaced::Overlap { at: *at });
        }
        free = at + len;
    }
    Ok(())
}

/// Takes the highest free pages below `top`.
fn reserve(
    taken: &mut Vec<Range<u64>>,
    top: u64,
    len: u64,
    what: &'static str,
) -> Result<Range<u64>, Misplaced> {
    let len_pages = len.next_multiple_of(0x1000).max(0x1000);
    taken.sort_by_key(|range| std::cmp::Reverse(range.start));
    let mut limit = top;
    for range in taken.iter() {
        if range.end.next_multiple_of(0x1000) + len_pages <= limit {
            break;
        }
        limit = limit.min(range.start & !0xfff);
    }
    let start = limit.checked_sub(len_pages).filter(|start| *start >= MEMORY);
    let start = start.ok_or(Misplaced::Full { what, len })?;
    taken.push(start..start + len_pages);
    Ok(start..start + len)
}

/// As high as there is room below `limit`, with some for the decompressor's heap.
fn zimage_at(limit: u64, len: u64) -> Option<u64> {
    const HEAP: u64 = 1 << 20;
    [32 << 20, 16 << 20, 8 << 20, 0x8000]
        .map(|offset| MEMORY + offset)
        .into_iter()
        .find(|at| at + len + HEAP <= limit)
}

/// Widens segments to whole words and joins those that then touch.
fn aligned(segments: Vec<Segment>) -> Vec<Segment> {
    let mut out: Vec<Segment> = Vec::new();
    for segment in segments {
        let start = segment.at & !3;
        match out.last_mut() {
            Some(last) if start < last.at + length(&last.bytes) => {
                let gap = usize::try_from(segment.at - last.at).unwrap_or(usize::MAX);
                last.bytes.resize(gap, 0);
                last.bytes.extend(segment.bytes);
                last.len = segment.at + segment.len - last.at;
            }
            _ if segment.bytes.is_empty() => continue,
            _ => {
                let gap = usize::try_from(segment.at - start).unwrap_or(0);
                let mut bytes = vec![0; gap];
                bytes.extend(segment.bytes);
                out.push(Segment { at: start, bytes, len: segment.at + segment.len - start });
            }
        }
        if let Some(last) = out.last_mut() {
            last.bytes.resize(last.bytes.len().next_multiple_of(4), 0);
        }
    }
    out
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(binary: Binary, bytes: &[u8], memory: u64) -> Wanted<'_> {
        Wanted {
            binary,
            bytes,
            load: 0x4000_8000,
            entry: 0x4000_8001,
            text_offset: None,
            initrd: None,
            device_tree: DEVICE_TREE_ROOM,
            memory,
        }
    }

    #[test]
    fn linux_goes_where_the_boot_protocol_wants_it() {
        let bytes = vec![1; 5 << 20];
        let mut zimage = wanted(Binary::ZImage, &bytes, 64 << 20);
        zimage.initrd = Some(3 << 20);
        let placed = place(zimage).unwrap();
        assert_eq!(placed.entry, 0x4200_0000);
        assert_eq!(placed.device_tree, 0x43ff_c000..0x4400_0000);
        assert_eq!(placed.initrd, Some(0x43cf_c000..0x43ff_c000));

        let image = wanted(Binary::Image { text_offset: Some(0x20_8000) }, &bytes, 1 << 30);
        let placed = place(image).unwrap();
        assert_eq!(placed.entry, 0x4020_8000);
        assert_eq!(placed.device_tree.end, 0x6000_0000);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let bytes = vec![1; 5 << 20];
        let full = place(wanted(Binary::ZImage, &bytes, 4 << 20));
        assert_eq!(full, Err(Misplaced::Full { what: "the zImage", len: 5 << 20 }));
        let outside = place(wanted(Binary::Raw, &bytes, 4 << 20));
        assert_eq!(outside, Err(Misplaced::Outside { at: 0x4000_8000, len: 5 << 20 }));
    }

    #[test]
    fn the_device_tree_avoids_the_binary() {
        let top = Segment { at: 0x400f_f000, bytes: vec![1], len: 0x1000 };
        let binary = Binary::Elf { segments: vec![top], entry: 0x400f_f000 };
        let placed = place(wanted(binary, &[], 1 << 20)).unwrap();
        assert_eq!(placed.device_tree, 0x400f_b000..0x400f_f000);
    }

    #[test]
    fn unaligned_segments_become_whole_words_and_join() {
        let segment = |at, bytes: &[u8]| Segment { at, bytes: bytes.to_vec(), len: length(bytes) };
        let joined = aligned(vec![segment(0x4000_0001, &[1, 2]), segment(0x4000_0003, &[3, 4])]);
        assert_eq!(joined.len(), 1);
        assert_eq!(joined[0].at, 0x4000_0000);
        assert_eq!(joined[0].bytes, [0, 1, 2, 3, 4, 0, 0, 0]);
    }
}
