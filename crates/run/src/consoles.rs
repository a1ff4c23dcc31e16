//! The output of all VMs on one terminal, each line prefixed with its VM.
//!
//! Pure: bytes of channels in, bytes for the terminal out. Two forms:
//!
//! - *Lines*, for files and pipes: a line is written when it is complete, so that the
//!   result does not depend on how the consoles were cut into pieces. Control
//!   sequences are removed.
//! - *Live*, for a terminal: bytes appear as they come. Another VM's line breaks in on
//!   a new row, and when the first VM goes on its row is shown again.

use entresol_abi::console::Channel;
use std::collections::BTreeMap;

/// Longest part of a row that is shown again.
const ROW: usize = 512;

/// How output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Complete lines only, plain text.
    Lines,
    /// Bytes as they come, with colour or without.
    Live {
        /// Colours prefixes.
        colour: bool,
    },
}

/// Writes channels to one stream.
#[derive(Debug)]
pub struct Consoles {
    form: Form,
    /// Prefixes of channels 0 and up.
    names: Vec<String>,
    width: usize,
    rows: BTreeMap<u8, Row>,
    /// The channel whose row the terminal's cursor is in.
    open: Option<u8>,
}

/// The unfinished row of one channel.
#[derive(Debug, Default)]
struct Row {
    bytes: Vec<u8>,
    returned: bool,
    escape: Escape,
}

/// Where in a control sequence (ECMA-48, 5.4) the channel is.
#[derive(Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// Behind ESC.
    Started(Vec<u8>),
    /// Behind ESC `[`.
    Sequence(Vec<u8>),
}

impl Consoles {
    /// Writes for VMs called `names`; the hypervisor's prefix is `entresol`.
    #[must_use]
    pub fn new(form: Form, names: &[String]) -> Self {
        let names: Vec<String> =
            std::iter::once("entresol".to_owned()).chain(names.iter().cloned()).collect();
        let width = names.iter().map(String::len).max().unwrap_or(0);
        Self { form, names, width, rows: BTreeMap::new(), open: None }
    }

    /// The name of a channel.
    #[must_use]
    pub fn name(&self, channel: Channel) -> String {
        let index = usize::from(channel.0);
        self.names.get(index).cloned().unwrap_or_else(|| format!("channel {index}"))
    }

    /// Takes a byte of `channel`; appends what is to be written to `out`.
    pub fn push(&mut self, channel: Channel, byte: u8, out: &mut Vec<u8>) {
        let row = self.rows.entry(channel.0).or_default();
        let Some(bytes) = row.filter(byte, self.form != Form::Lines) else { return };
        for byte in bytes {
            match self.form {
                Form::Lines => self.line(channel, byte, out),
                Form::Live { colour } => self.live(channel, byte, colour, out),
            }
        }
    }

    /// A remark of the tool itself, on a line of its own.
    pub fn remark(&mut self, text: &str, out: &mut Vec<u8>) {
        self.break_row(out);
        for line in text.lines() {
            out.extend(b"-- ");
            out.extend(line.as_bytes());
            out.extend(self.newline());
        }
    }

    /// Ends all unfinished rows.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.break_row(out);
        if self.form == Form::Lines {
            let unfinished: Vec<u8> = self
                .rows
                .iter()
                .filter(|(_, row)| !row.bytes.is_empty())
                .map(|(channel, _)| *channel)
                .collect();
            for channel in unfinished {
                self.line(Channel(channel), b'\n', out);
            }
        }
    }

    fn newline(&self) -> &'static [u8] {
        if self.form == Form::Lines { b"\n" } else { b"\r\n" }
    }

    fn break_row(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            out.extend(self.newline());
        }
    }

    fn prefix(&self, channel: Channel, colour: bool, out: &mut Vec<u8>) {
        const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];
        let name = self.name(channel);
        let text = format!("{name:<width$} | ", width = self.width);
        let code = COLOURS.get(usize::from(channel.0) % COLOURS.len());
        match code.filter(|_| colour) {
            Some(code) => out.extend(format!("\x1b[{code}m{text}\x1b[0m").as_bytes()),
            None => out.extend(text.as_bytes()),
        }
    }

    fn line(&mut self, channel: Channel, byte: u8, out: &mut Vec<u8>) {
        if byte == b'\n' {
            self.prefix(channel, false, out);
            let row = self.rows.entry(channel.0).or_default();
            out.append(&mut row.bytes);
            out.push(b'\n');
        } else if byte != b'\r' {
            self.rows.entry(channel.0).or_default().bytes.push(byte);
        }
    }

    fn live(&mut self, channel: Channel, byte: u8, colour: bool, out: &mut Vec<u8>) {
        if self.open != Some(channel.0) {
            self.break_row(out);
            self.prefix(channel, colour, out);
            self.open = Some(channel.0);
            if let Some(row) = self.rows.get(&channel.0) {
                out.extend(&row.bytes);
            }
        }
        let row = self.rows.entry(channel.0).or_default();
        match byte {
            b'\n' => {
                row.bytes.clear();
                row.returned = false;
                self.open = None;
                out.extend(b"\r\n");
            }
            b'\r' => row.returned = true,
            byte => {
                if std::mem::take(&mut row.returned) {
                    row.bytes.clear();
                    out.push(b'\r');
                    self.prefix(channel, colour, out);
                }
                let row = self.rows.entry(channel.0).or_default();
                if row.bytes.len() < ROW {
                    row.bytes.push(byte);
                }
                out.push(byte);
            }
        }
    }
}

impl Row {
    /// Holds control sequences back until they are complete; drops them unless
    /// `keep`, and always those that ask the terminal for an answer.
    fn filter(&mut self, byte: u8, keep: bool) -> Option<Vec<u8>> {
        match (std::mem::take(&mut self.escape), byte) {
            (Escape::None, 0x1b) => {
                self.escape = Escape::Started(vec![byte]);
                None
            }
            (Escape::None, byte) => Some(vec![byte]),
            (Escape::Started(mut held), b'[') => {
                held.push(byte);
                self.escape = Escape::Sequence(held);
                None
            }
            (Escape::Started(mut held), byte) => {
                held.push(byte);
                keep.then_some(held)
            }
            (Escape::Sequence(mut held), byte) => {
                held.push(byte);
                let is_final = (0x40..=0x7e).contains(&byte);
                if !is_final && held.len() < 32 {
                    self.escape = Escape::Sequence(held);
                    return None;
                }
                // Device status report and device attributes are questions.
                (keep && byte != b'n' && byte != b'c').then_some(held)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(form: Form, said: &[(u8, &str)]) -> String {
        let mut consoles = Consoles::new(form, &["linux".into(), "rt".into()]);
        let mut out = Vec::new();
        for (channel, text) in said {
            for byte in text.bytes() {
                consoles.push(Channel(*channel), byte, &mut out);
            }
        }
        consoles.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_do_not_depend_on_how_they_were_cut() {
        let expected = "rt       | tick\nlinux    | hello\nlinux    | ~ # \n";
        let whole = [(2, "tick\n"), (1, "hello\r\n~ # ")];
        assert_eq!(write(Form::Lines, &whole), expected);
        let pieces = [(1, "hel"), (2, "tick\n"), (1, "lo\r\n"), (1, "~ \x1b[6n# ")];
        assert_eq!(write(Form::Lines, &pieces), expected);
    }

    #[test]
    fn live_output_shows_an_interrupted_row_again() {
        let said = [(1, "~ # "), (2, "tick\n"), (1, "ls")];
        assert_eq!(
            write(Form::Live { colour: false }, &said),
            "linux    | ~ # \r\nrt       | tick\r\nlinux    | ~ # ls\r\n"
        );
    }

    #[test]
    fn a_carriage_return_keeps_the_prefix() {
        let said = [(1, "10%\r20%\r\n")];
        assert_eq!(
            write(Form::Live { colour: false }, &said),
            "linux    | 10%\rlinux    | 20%\r\n"
        );
    }
}
