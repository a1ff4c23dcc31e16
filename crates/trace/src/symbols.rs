//! Which function a guest address belongs to.
//!
//! From an ELF file, from a text as `System.map` and `/proc/kallsyms` are, or from a Linux
//! `Image` that carries its own names ([`kallsyms`]); what a file is, is
//! told by its contents.
//!
//! A kernel starts with the MMU off, at physical addresses, and goes on at the virtual ones
//! that its symbols have. So where its image is loaded, and linked, is told too.

use crate::kallsyms;
use object::{
    Endianness,
    elf::{FileHeader32, SHT_SYMTAB, STT_FUNC, STT_NOTYPE},
    read::elf::{FileHeader, Sym},
};
use std::ops::Range;

/// A function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its first instruction.
    pub address: u32,
    /// Its name.
    pub name: String,
}

/// The functions of one guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    /// In ascending order.
    list: Vec<Symbol>,
    /// Where the image lies before the MMU is on.
    loaded: Range<u32>,
    /// Where it is linked to run.
    linked: u32,
    /// One past what the last symbol may be of.
    end: u32,
}

/// How far behind its start an address may be and still be called the last symbol's.
const LAST: u32 = 0x1_0000;

impl Symbols {
    /// Reads the symbols of a file; none if it has none that are known.
    #[must_use]
    pub fn read(file: &[u8]) -> Self {
        let mut list = if file.starts_with(b"\x7fELF") {
            elf(file).unwrap_or_default()
        } else {
            match std::str::from_utf8(file) {
                Ok(text) => map(text),
                Err(_) => kallsyms::read(file),
            }
        };
        list.sort_by_key(|symbol| symbol.address);
        list.dedup_by_key(|symbol| symbol.address);
        let end = list.last().map_or(0, |last| last.address.saturating_add(LAST));
        Self { list, loaded: 0..0, linked: 0, end }
    }

    /// The same for a guest whose image is loaded at a physical address, and linked to run
    /// at another.
    #[must_use]
    pub fn loaded_at(mut self, loaded: Range<u32>, linked: u32) -> Self {
        self.loaded = loaded;
        self.linked = linked;
        self
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Where functions begin, ascending.
    pub fn addresses(&self) -> impl Iterator<Item = u32> + '_ {
        self.list.iter().map(|symbol| symbol.address)
    }

    /// The function that an address is in, and the distance from its start.
    #[must_use]
    pub fn find(&self, address: u32) -> Option<(&str, u32)> {
        self.at(address).or_else(|| {
            let first = self.list.first()?.address;
            let inside = self.loaded.contains(&address);
            self.at(first.checked_add(address.checked_sub(self.loaded.start)?)?).filter(|_| inside)
        })
    }

    fn at(&self, address: u32) -> Option<(&str, u32)> {
        let behind = self.list.partition_point(|symbol| symbol.address <= address);
        let symbol = self.list.get(behind.checked_sub(1)?)?;
        (address < self.end).then(|| (symbol.name.as_str(), address - symbol.address))
    }
}

fn elf(file: &[u8]) -> Option<Vec<Symbol>> {
    let header = FileHeader32::<Endianness>::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, file).ok()?;
    let symbols = sections.symbols(endian, file, SHT_SYMTAB).ok()?;
    let mut found = Vec::new();
    for symbol in symbols.iter() {
        let name = symbols.symbol_name(endian, symbol).unwrap_or_default();
        let kind = symbol.st_type();
        let code = kind == STT_FUNC || kind == STT_NOTYPE && !name.starts_with(b"$");
        if code && !name.is_empty() && symbol.st_shndx(endian).0 != 0 {
            // Bit 0 of a function's address says T32.
            let address = symbol.st_value(endian) & if kind == STT_FUNC { !1 } else { !0 };
            found.push(Symbol { address, name: readable(&String::from_utf8_lossy(name)) });
        }
    }
    Some(found)
}

/// A Rust name as its author wrote it, any other as it is.
fn readable(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

/// Lines of address, type and name; what is not of that form is skipped.
fn map(text: &str) -> Vec<Symbol> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let address = u32::from_str_radix(words.next()?, 16).ok()?;
        let code = matches!(words.next()?, "t" | "T" | "w" | "W");
        let name = words.next()?;
        // Those who may not know addresses see zeros in /proc/kallsyms.
        let usable = code && address != 0 && !name.starts_with('$');
        usable.then(|| Symbol { address, name: name.to_owned() })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &[u8] = b"c0208000 T _text\nc0208040 t start\nc0208050 D data\n\
        c0208100 T later\t[module]\n00000000 T hidden\nnot a line\n";

    #[test]
    fn an_address_is_in_the_function_that_starts_last_before_it() {
        let symbols = Symbols::read(MAP);
        assert_eq!(symbols.find(0xc020_8044), Some(("start", 4)));
        assert_eq!(symbols.find(0xc020_8060), Some(("start", 0x20)));
        assert_eq!(symbols.find(0xc020_8100), Some(("later", 0)));
        assert_eq!(symbols.find(0xc020_7fff), None);
        assert_eq!(symbols.find(0xf020_8000), None);
    }

    #[test]
    fn a_physical_address_of_the_image_is_that_of_its_symbol() {
        let symbols = Symbols::read(MAP).loaded_at(0x4020_8000..0x4120_8000, 0xc020_8000);
        assert_eq!(symbols.find(0x4020_8044), Some(("start", 4)));
        assert_eq!(symbols.find(0x4020_7fff), None);
    }
}
