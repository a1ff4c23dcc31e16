//! Writes an initramfs: a `newc` cpio archive, in memory.
//!
//! Reproducible: no times, no owners, inodes in order. Format: the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`.

use anyhow::Result;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const SYMLINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive being written.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

impl Archive {
    /// With the directories every initramfs has, and the console `init` starts with.
    pub(super) fn new() -> Result<Self> {
        let mut archive = Self::default();
        for name in ["bin", "dev", "proc", "sys", "tmp", "mnt"] {
            archive.directory(name)?;
        }
        archive.entry("dev/console", CHARACTER_DEVICE, &[], (5, 1))?;
        Ok(archive)
    }

    /// A directory.
    pub(super) fn directory(&mut self, name: &str) -> Result<()> {
        self.entry(name, DIRECTORY, &[], (0, 0))
    }

    /// An executable file.
    pub(super) fn program(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.entry(name, PROGRAM, bytes, (0, 0))
    }

    /// Any other file.
    pub(super) fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.entry(name, FILE, bytes, (0, 0))
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, name: &str, to: &str) -> Result<()> {
        self.entry(name, SYMLINK, to.as_bytes(), (0, 0))
    }

    /// The finished archive.
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, &[], (0, 0))?;
        Ok(self.bytes)
    }

    fn entry(&mut self, name: &str, mode: u32, bytes: &[u8], device: (u32, u32)) -> Result<()> {
        self.inode += 1;
        let size = u32::try_from(bytes.len())?;
        let name_size = u32::try_from(name.len() + 1)?;
        let links = if mode == DIRECTORY { 2 } else { 1 };
        self.bytes.extend(b"070701");
        // ino mode uid gid nlink mtime filesize dev(2) rdev(2) namesize check
        let fields =
            [self.inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
        for field in fields {
            self.bytes.extend(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(bytes);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_starts_at_a_multiple_of_four() {
        let mut archive = Archive::default();
        archive.program("init", b"#!/bin/sh\n").unwrap();
        let bytes = archive.finish().unwrap();
        // Header 110, name 5, one of padding; contents 10, two of padding.
        assert_eq!(bytes.get(116..126), Some(&b"#!/bin/sh\n"[..]));
        assert_eq!(bytes.get(128..134), Some(&b"070701"[..]));
    }

    #[test]
    fn the_same_files_make_the_same_archive() {
        let make = || Archive::new().unwrap().finish().unwrap();
        assert_eq!(make(), make());
    }
}
