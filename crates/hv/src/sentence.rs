//! Sentences for people: text with places for values.
//!
//! # Why not `core::fmt`
//!
//! It is 3 KB of text for padding, alignment and precision that no sentence needs.

/// Takes text, a byte at a time.
pub trait Sink {
    /// Takes the next byte.
    fn put(&mut self, byte: u8);
}

/// What stands in a place of a sentence.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// Text as it is.
    Text(&'a str),
    /// An address or a register: `0x` and eight digits.
    Hex(u32),
    /// How many, in decimal.
    Count(u32),
}

/// Says `text`, each `%` of it replaced by the next of `values`. A `%` without a value says
/// nothing.
#[inline(never)]
pub fn say(to: &mut dyn Sink, text: &str, values: &[Value<'_>]) {
    let mut values = values.iter();
    for byte in text.bytes() {
        match byte {
            b'%' => match values.next() {
                Some(Value::Text(text)) => text.bytes().for_each(|byte| to.put(byte)),
                Some(Value::Hex(word)) => hex(to, *word),
                Some(Value::Count(count)) => decimal(to, *count),
                None => {}
            },
            _ => to.put(byte),
        }
    }
}

fn hex(to: &mut dyn Sink, word: u32) {
    to.put(b'0');
    to.put(b'x');
    for digit in (0..8).rev() {
        let digit = (word >> (digit * 4) & 0xf).to_le_bytes()[0];
        to.put(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
}

/// By subtraction: nothing that divides is in the text.
fn decimal(to: &mut dyn Sink, count: u32) {
    let (mut rest, mut started) = (count, false);
    for unit in UNITS {
        let mut digit = b'0';
        while rest >= unit {
            rest -= unit;
            digit += 1;
        }
        started |= digit != b'0' || unit == 1;
        if started {
            to.put(digit);
        }
    }
}

/// Powers of ten, the largest first.
const UNITS: [u32; 10] =
    [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];

#[cfg(test)]
impl Sink for String {
    fn put(&mut self, byte: u8) {
        self.push(char::from(byte));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(text: &str, values: &[Value<'_>]) -> String {
        let mut said = String::new();
        say(&mut said, text, values);
        said
    }

    #[test]
    fn values_stand_where_their_places_are() {
        let values = [Value::Text("linux"), Value::Hex(0xbeef), Value::Count(0)];
        assert_eq!(said("vm %: % at %, %", &values), "vm linux: 0x0000beef at 0, ");
        assert_eq!(said("none", &values), "none");
    }

    proptest! {
        #[test]
        fn numbers_are_as_rust_writes_them(number: u32, shift in 0_u32..32) {
            let number = number >> shift;
            prop_assert_eq!(said("%", &[Value::Count(number)]), format!("{number}"));
            prop_assert_eq!(said("%", &[Value::Hex(number)]), format!("{number:#010x}"));
        }
    }
}
