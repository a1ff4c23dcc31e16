//! Names of functions by address, and addresses by name, of a program that was built.

use crate::process;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The functions of a program.
pub(crate) struct Symbols {
    path: PathBuf,
    functions: BTreeMap<u64, String>,
}

impl Symbols {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// When the program was not built.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let table = process::run(Command::new("arm-none-eabi-nm").arg("-C").arg(path))?;
        let functions = table.lines().filter_map(|line| {
            let (address, rest) = line.split_once(' ')?;
            let (kind, name) = rest.split_once(' ')?;
            let address = u64::from_str_radix(address, 16).ok()?;
            // A T32 function's address is odd.
            matches!(kind, "t" | "T" | "W").then(|| (address & !1, plain(name)))
        });
        Ok(Self { path: path.to_owned(), functions: functions.collect() })
    }

    /// The function that holds an address.
    pub(crate) fn at(&self, address: u64) -> &str {
        self.functions.range(..=address).next_back().map_or("?", |(_, name)| name)
    }

    /// Where a function begins.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub(crate) fn find(&self, name: &str) -> Result<u64> {
        let found = self.functions.iter().find(|(_, known)| known.as_str() == name);
        let found = found.map(|(address, _)| *address);
        found.with_context(|| format!("{} has no {name}", self.path.display()))
    }
}

/// A name without its hash, and of an implementation the type only.
fn plain(name: &str) -> String {
    let name = match name.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 => name,
        _ => name,
    };
    match name.split_once("<impl ").and_then(|(_, rest)| rest.split_once('>')) {
        Some((of, method)) => format!("{of}{method}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn names_lose_their_hash_and_their_module() {
        assert_eq!(plain("a::entry::interrupt::h0123456789abcdef"), "a::entry::interrupt");
        assert_eq!(
            plain("a::turn::<impl a::hypervisor::Hypervisor>::note_turns::h0123456789abcdef"),
            "a::hypervisor::Hypervisor::note_turns"
        );
        assert_eq!(plain("memcpy"), "memcpy");
    }
}
