//! The symbols that a Linux kernel carries in its own binary.
//!
//! A kernel with `CONFIG_KALLSYMS`, as distributions build it, names its functions in
//! oopses. The tables it does that with can be found in the raw `Image` without any symbol:
//! names are compressed by 256 tokens, and those of the digits stand in a row. From there the
//! others are found by walking backwards, each checked against what it must agree with.
//!
//! Of the layouts that Linux had, this is that of 4.6 to 6.3 for 32 bits: offsets, base, number
//! of symbols, names, markers, since 6.1 the order of names, tokens, token index. A kernel with
//! another one has no symbols here; its System.map has.
//!
//! Source of the layout: Linux's `scripts/kallsyms.c` (what it writes) and
//! `kernel/kallsyms.c` (what it reads).

use crate::symbols::Symbol;

/// Number of tokens.
const TOKENS: usize = 256;
/// Names between two markers.
const MARKED: usize = 256;
/// Most bytes of a kernel's symbol name (`KSYM_NAME_LEN`), and its type.
const LONGEST: usize = 513;
/// More symbols than any 32-bit kernel has.
const MOST: usize = 1 << 19;

/// The kernel's functions in ascending order, or none if the tables are not found.
#[must_use]
pub fn read(image: &[u8]) -> Vec<Symbol> {
    places_of_digits(image)
        .find_map(|digits| Tables::at(image, digits))
        .map(|tables| tables.symbols())
        .unwrap_or_default()
}

/// Where tokens for the digits 0 to 9 stand in a row.
fn places_of_digits(image: &[u8]) -> impl Iterator<Item = usize> + '_ {
    const DIGITS: &[u8] = b"\x000\x001\x002\x003\x004\x005\x006\x007\x008\x009\0";
    image
        .windows(DIGITS.len())
        .enumerate()
        .filter(|(_, window)| *window == DIGITS)
        .map(|(at, _)| at + 1)
}

struct Tables<'a> {
    image: &'a [u8],
    tokens: Vec<&'a [u8]>,
    /// Where the first name is, and how many there are.
    names: usize,
    count: usize,
}

impl<'a> Tables<'a> {
    /// The tables around the token of the digit 0.
    fn at(image: &'a [u8], digits: usize) -> Option<Self> {
        let before = image.get(..digits)?;
        // The zero that ends each of the tokens before that of the digit, and one more.
        let mut zeros = before.iter().enumerate().rev().filter(|(_, byte)| **byte == 0);
        let start = zeros.nth(usize::from(b'0'))?.0 + 1;
        let tokens: Vec<_> = image.get(start..)?.split(|byte| *byte == 0).take(TOKENS).collect();
        let len: usize = tokens.iter().map(|token| token.len() + 1).sum();
        let index = (start + len).next_multiple_of(4);
        let mut offset = 0;
        for (number, token) in tokens.iter().enumerate() {
            let noted = image.get(index + number * 2..index + number * 2 + 2)?;
            if u16::from_le_bytes(noted.try_into().ok()?) != u16::try_from(offset).ok()? {
                return None;
            }
            offset += token.len() + 1;
        }
        let tables = Self { image, tokens, names: 0, count: 0 };
        // Between markers and tokens there may be three bytes for each name.
        let ordered = |count: usize| {
            let markers = Markers::before(image, start.checked_sub((3 * count + 3) & !3)?)?;
            (markers.count == count.div_ceil(MARKED)).then_some(markers)
        };
        let plain = Markers::before(image, start);
        plain.into_iter().chain((1..MOST).filter_map(ordered)).find_map(|at| tables.with(&at))
    }

    /// The same with the names in front of the markers.
    fn with(&self, markers: &Markers) -> Option<Self> {
        let mut tables = Self { tokens: self.tokens.clone(), ..*self };
        // What is behind the last marker has at most this many names, of at most so many bytes.
        let least = markers.at.checked_sub(usize::try_from(markers.last).ok()?)?;
        for back in (0..MARKED * LONGEST).step_by(4) {
            tables.names = least.checked_sub(back)? & !3;
            let count = word(self.image, tables.names.checked_sub(4)?)?;
            tables.count = usize::try_from(count).ok()?;
            if tables.count.div_ceil(MARKED) == markers.count
                && tables.end().is_some_and(|end| end.next_multiple_of(4) == markers.at)
            {
                return Some(tables);
            }
        }
        None
    }

    /// The next name's tokens, and where the one behind it is.
    fn name(&self, at: usize) -> Option<(&'a [u8], usize)> {
        let first = usize::from(*self.image.get(at)?);
        let (len, from) = if first & 0x80 == 0 {
            (first, at + 1)
        } else {
            (first & 0x7f | usize::from(*self.image.get(at + 1)?) << 7, at + 2)
        };
        Some((self.image.get(from..from + len)?, from + len))
    }

    fn end(&self) -> Option<usize> {
        (0..self.count).try_fold(self.names, |at, _| self.name(at).map(|(_, next)| next))
    }

    fn symbols(&self) -> Vec<Symbol> {
        let Some(base_at) = self.names.checked_sub(8) else { return Vec::new() };
        let Some(offsets) = base_at.checked_sub(self.count * 4) else { return Vec::new() };
        let base = word(self.image, base_at).unwrap_or(0);
        let mut symbols = Vec::new();
        let mut at = self.names;
        for number in 0..self.count {
            let Some((name, next)) = self.name(at) else { break };
            at = next;
            let bytes = name.iter().filter_map(|token| self.tokens.get(usize::from(*token)));
            let text =
                String::from_utf8_lossy(&bytes.copied().collect::<Vec<_>>().concat()).into_owned();
            let mut text = text.chars();
            let is_code = matches!(text.next(), Some('t' | 'T' | 'w' | 'W'));
            if let Some(offset) = word(self.image, offsets + number * 4).filter(|_| is_code) {
                let address = base.wrapping_add(offset);
                symbols.push(Symbol { address, name: text.as_str().to_owned() });
            }
        }
        symbols.sort_by_key(|symbol| symbol.address);
        symbols
    }
}

/// Where every 256th name is, from the first name.
struct Markers {
    at: usize,
    count: usize,
    last: u32,
}

impl Markers {
    /// The markers that end at `end`.
    fn before(image: &[u8], end: usize) -> Option<Self> {
        let mut at = end.checked_sub(4)? & !3;
        let last = word(image, at)?;
        let mut above = last;
        let mut count = 1;
        while above != 0 {
            at = at.checked_sub(4)?;
            let marker = word(image, at)?;
            if marker >= above {
                return None;
            }
            above = marker;
            count += 1;
        }
        (count > 1).then_some(Self { at, count, last })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel's tables with `count` functions `f0`, `f1` and so on, 16 bytes each.
    fn tables(count: u32, ordered: bool) -> Vec<u8> {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut image: Vec<u8> = vec![0xaa; 64];
        let offsets: Vec<u32> = (0..count).map(|number| number * 16).collect();
        image.extend::<Vec<u8>>(words(&offsets));
        image.extend::<Vec<u8>>(words(&[0xc000_8000, count]));
        let mut names = Vec::new();
        let mut markers = Vec::new();
        for number in 0..count {
            if number.is_multiple_of(256) {
                markers.push(u32::try_from(names.len()).unwrap());
            }
            // Token 0xff is "Tf".
            let name = [b"\xff".as_slice(), number.to_string().as_bytes()].concat();
            names.push(u8::try_from(name.len()).unwrap());
            names.extend(name);
        }
        names.resize(names.len().next_multiple_of(4), 0);
        image.extend(names);
        image.extend::<Vec<u8>>(words(&markers));
        if ordered {
            image.extend((0..count).flat_map(|number| [1, 2, number.to_le_bytes()[0]]));
            image.resize(image.len().next_multiple_of(4), 0);
        }
        let tokens: Vec<Vec<u8>> = (0..=255)
            .map(|byte| match byte {
                0xff => b"Tf".to_vec(),
                b'0'..=b'9' => vec![byte],
                _ => b"xy".to_vec(),
            })
            .collect();
        let mut offset: u16 = 0;
        let mut index = Vec::new();
        for token in &tokens {
            index.extend(offset.to_le_bytes());
            offset += u16::try_from(token.len() + 1).unwrap();
            image.extend(token);
            image.push(0);
        }
        image.resize(image.len().next_multiple_of(4), 0);
        image.extend(index);
        image
    }

    #[test]
    fn finds_the_functions_of_a_kernel_by_its_tables() {
        for ordered in [false, true] {
            let symbols = read(&tables(1001, ordered));
            assert_eq!(symbols.len(), 1001);
            let last = Symbol { address: 0xc000_8000 + 1000 * 16, name: "f1000".into() };
            assert_eq!(symbols[1000], last);
        }
    }

    #[test]
    fn what_only_resembles_the_tables_has_no_symbols() {
        let mut image = tables(1000, false);
        let last = image.len() - 1;
        image[last] ^= 1;
        assert!(read(&image).is_empty());
        assert!(read(b"\x000\x001\x002\x003\x004\x005\x006\x007\x008\x009\0").is_empty());
        assert!(read(&[]).is_empty());
    }
}
