//! A VM's files: its binary, initial file system and device-tree additions.

use super::{Checks, GUEST_MEMORY};
use crate::{
    guest::{self, Binary},
    manifest::{self, Format, Scan, Size},
    placement::{self, DEVICE_TREE_ROOM, Misplaced, Placement, Wanted},
    rewritten::{self, Rewritten, Run},
};

/// A VM's files, read and placed.
pub(super) struct Placed {
    pub(super) format: Format,
    pub(super) placement: Placement,
    pub(super) initrd: Option<Vec<u8>>,
    pub(super) additions: Option<Vec<u8>>,
    pub(super) rewritten: Vec<Run>,
}

/// Stands in for the files of a VM that has a mistake.
pub(super) fn nothing() -> Placed {
    Placed {
        format: Format::Raw,
        placement: Placement { entry: 0, segments: Vec::new(), initrd: None, device_tree: 0..0 },
        initrd: None,
        additions: None,
        rewritten: Vec::new(),
    }
}

impl Checks<'_> {
    /// Reads and places a VM's files; `None` after reporting what is wrong.
    pub(super) fn binary(&mut self, vm: &manifest::Vm, memory: u64) -> Option<Placed> {
        let bytes = self.read("image::missing", &vm.image);
        let initrd = vm.initrd.as_ref().map(|path| self.read("initrd::missing", path));
        let additions = vm.device_tree.as_ref().map(|path| self.device_tree(path));
        let bytes = bytes?;
        // A file that is named but missing was reported.
        let initrd = initrd.map_or(Some(None), |read| read.map(Some))?;
        let additions = additions.map_or(Some(None), |read| read.map(Some))?;

        let (bytes, runs) = self.rewritten(vm, &bytes);
        let wanted_format = vm.format.as_ref().map(|format| *format.get_ref());
        let binary = match guest::recognise(bytes, wanted_format) {
            Ok(binary) => binary,
            Err(unfit) => {
                let message = format!(
                    "`{}` cannot run as a guest: {}",
                    vm.image.get_ref().display(),
                    unfit.what
                );
                self.wrong(unfit.code, vm.image.span(), "this image", message, unfit.remedy);
                return None;
            }
        };
        let format = match binary {
            Binary::Elf { .. } => Format::Elf,
            Binary::ZImage => Format::ZImage,
            Binary::Image { .. } => Format::Image,
            Binary::Raw => Format::Raw,
        };
        let (load, entry) = self.addresses(vm, format)?;
        let length = |bytes: &Vec<u8>| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let wanted = Wanted {
            binary,
            bytes,
            load,
            entry,
            text_offset: vm.text_offset.as_ref().map(|offset| *offset.get_ref()),
            initrd: initrd.as_ref().map(length),
            device_tree: DEVICE_TREE_ROOM
                + additions.as_ref().map_or(0, length).next_multiple_of(0x1000),
            memory,
        };
        match placement::place(wanted) {
            Ok(placement) => {
                let rewritten = self.loaded(vm, format, &placement, runs)?;
                Some(Placed { format, placement, initrd, additions, rewritten })
            }
            Err(misplaced) => {
                self.misplaced(vm, memory, misplaced);
                None
            }
        }
    }

    /// The binary without what `entresol rewrite` put behind it, and the pages that are not to
    /// be scanned, if the manifest asks for that.
    fn rewritten<'a>(&mut self, vm: &manifest::Vm, bytes: &'a [u8]) -> (&'a [u8], Vec<Run>) {
        let off = vm.scan.as_ref().filter(|scan| *scan.get_ref() == Scan::Off);
        let (binary, runs, wrong) = match rewritten::split(bytes) {
            Rewritten::Yes(binary, runs) => (binary, runs, None),
            Rewritten::No => (bytes, Vec::new(), Some("was not rewritten ahead of time")),
            Rewritten::Changed => (bytes, Vec::new(), Some("was changed after it was rewritten")),
        };
        let Some(off) = off else { return (binary, Vec::new()) };
        if let Some(wrong) = wrong {
            let message = format!("`{}` {wrong}", vm.image.get_ref().display());
            let help = "make the image with `entresol rewrite KERNEL -o IMAGE`, or remove `scan`";
            self.wrong("image::not-rewritten", off.span(), "asked for here", message, help);
        }
        (binary, runs)
    }

    /// Where these pages are in the guest's memory.
    fn loaded(
        &mut self,
        vm: &manifest::Vm,
        format: Format,
        placement: &Placement,
        runs: Vec<Run>,
    ) -> Option<Vec<Run>> {
        let to = placement.segments.first().map_or(0, |segment| segment.at);
        let to = u32::try_from(to).unwrap_or(0);
        let runs: Vec<Run> =
            runs.into_iter().map(|run| Run { at: run.loaded(format, to), ..run }).collect();
        if runs.iter().any(|run| run.at & 0xfff != 0) {
            let path = vm.image.get_ref().display();
            let message =
                format!("`{path}` was rewritten for another place in a page than {to:#x}");
            let help = "rewrite it for the address at which it is loaded (--load)";
            self.wrong("image::not-rewritten", vm.image.span(), "this image", message, help);
            return None;
        }
        Some(runs)
    }

    /// `load` and `entry`, which raw binaries must have and others must not.
    fn addresses(&mut self, vm: &manifest::Vm, format: Format) -> Option<(u32, u32)> {
        if let Some(offset) = vm.text_offset.as_ref().filter(|_| format != Format::Image) {
            self.useless("text-offset", offset.span(), format, "only an Image has one");
        }
        if format == Format::Raw {
            let Some(load) = &vm.load else {
                let message = "a raw binary does not say where it is to be loaded";
                let help = "add `load = 0x40008000` (and `entry`, if it differs from `load`)";
                self.wrong("image::no-address", vm.image.span(), "this image", message, help);
                return None;
            };
            if load.get_ref() & 3 != 0 {
                let message = format!("load = {:#x} is not a multiple of 4", load.get_ref());
                self.wrong("image::address", load.span(), "here", message, "align the binary");
                return None;
            }
            let entry = vm.entry.as_ref().map_or(*load.get_ref(), |entry| *entry.get_ref());
            return Some((*load.get_ref(), entry));
        }
        for (key, value) in [("load", &vm.load), ("entry", &vm.entry)] {
            if let Some(value) = value {
                self.useless(key, value.span(), format, "the image decides it");
            }
        }
        Some((0, 0))
    }

    fn useless(&mut self, key: &str, span: std::ops::Range<usize>, format: Format, why: &str) {
        let message = format!("`{key}` has no effect on {format} images: {why}");
        let help = format!("remove `{key}`, or set `format` if the image was misjudged");
        self.wrong("manifest::useless-key", span, "here", message, help);
    }

    fn device_tree(&mut self, path: &toml::Spanned<std::path::PathBuf>) -> Option<Vec<u8>> {
        let bytes = self.read("device-tree::missing", path)?;
        if bytes.starts_with(&[0xd0, 0x0d, 0xfe, 0xed]) {
            return Some(bytes);
        }
        let message = format!("`{}` is no flattened device tree", path.get_ref().display());
        let help = "compile the source first: dtc -I dts -O dtb -o extra.dtb extra.dts";
        self.wrong("device-tree::malformed", path.span(), "this file", message, help);
        None
    }

    fn misplaced(&mut self, vm: &manifest::Vm, memory: u64, misplaced: Misplaced) {
        let end = GUEST_MEMORY + memory;
        match misplaced {
            Misplaced::Outside { at, len } => {
                let message = format!(
                    "the image has a segment at {at:#010x}..{:#010x}, \
                     outside the VM's memory {GUEST_MEMORY:#010x}..{end:#010x}",
                    at + len
                );
                let help = "link the guest inside its memory, or give the VM more `memory`";
                self.wrong("image::outside-memory", vm.image.span(), "this image", message, help);
            }
            Misplaced::Overlap { at } => {
                let message = format!("the image's segment at {at:#010x} overlaps another one");
                let help = "correct the guest's linker script: physical addresses clash";
                self.wrong("image::overlap", vm.image.span(), "this image", message, help);
            }
            Misplaced::Full { what, len } => {
                let message =
                    format!("{what} ({}) does not fit in {} of memory", Size(len), Size(memory));
                let help = "give the VM more `memory`, or use smaller files";
                self.wrong("memory::too-small", vm.memory.span(), "this size", message, help);
            }
        }
    }
}
