//! Names of generated cases: text without a heap.

use core::fmt::{self, Write};

/// Up to 48 bytes; the rest is cut off.
pub(crate) struct Name {
    bytes: [u8; 48],
    len: usize,
}

impl Name {
    pub(crate) fn new(text: fmt::Arguments<'_>) -> Self {
        let mut name = Self { bytes: [0; 48], len: 0 };
        // Writing cuts off instead of failing.
        let _ = name.write_fmt(text);
        name
    }

    pub(crate) fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or("?")
    }
}

impl Write for Name {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = byte;
                self.len += 1;
            }
        }
        Ok(())
    }
}
