//! Compares what a guest prints under Entresol with what it prints without.
//!
//! The reference is a bare QEMU virt with a Cortex-A15, the machine that is most like the
//! virtual board: the guest's binary is the same, bit for bit. Lines are compared by
//! their names, the text before the first colon. One whose name contains `.manual` may
//! differ, because there QEMU does not do what the manual says; so may those that the test
//! names, each of which is to be told of in CAVEATS.md.

use crate::qemu::Machine;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The part `[native]` of a `test.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Native {
    /// The guest's ELF file, relative to the folder.
    image: PathBuf,
    /// The consoles of the VMs that run it under Entresol.
    #[serde(default = "first_vm")]
    channels: Vec<u8>,
    /// Names of lines that may differ; `*` is any text.
    #[serde(default)]
    differ: Vec<String>,
    /// The same for one machine.
    #[serde(default)]
    differ_on: BTreeMap<String, Vec<String>>,
}

fn first_vm() -> Vec<u8> {
    vec![1]
}

impl Native {
    /// A guest of which no line may differ.
    pub(crate) fn of(image: &Path, channels: &[u8]) -> Self {
        Self {
            image: image.to_owned(),
            channels: channels.to_owned(),
            differ: Vec::new(),
            differ_on: BTreeMap::new(),
        }
    }

    /// Runs the guest without Entresol and compares with `transcript`, a test's output on
    /// `machine`.
    ///
    /// # Errors
    ///
    /// The lines that differ and may not.
    pub(crate) fn check(
        &self,
        folder: &Path,
        machine: &str,
        transcript: &str,
        limit: Duration,
    ) -> Result<()> {
        let bare = Machine::new(&["-M", "virt", "-cpu", "cortex-a15", "-m", "128M"])
            .with_path("-kernel", &folder.join(&self.image));
        let ended = bare.run(limit, &[])?;
        ensure!(ended.status.is_some(), "without Entresol it did not end: {}", ended.errors);
        let reference = String::from_utf8_lossy(&ended.serial).replace('\r', "");
        let only_here = self.differ_on.get(machine).into_iter().flatten();
        let differ: Vec<_> = self.differ.iter().chain(only_here).map(String::as_str).collect();
        let reference: Vec<_> = reference.lines().collect();
        for channel in &self.channels {
            let prefix = format!("{channel}| ");
            let printed: Vec<_> =
                transcript.lines().filter_map(|line| line.strip_prefix(&prefix)).collect();
            compare(&reference, &printed, &differ)
                .with_context(|| format!("vm {channel} differs"))?;
        }
        Ok(())
    }
}

fn compare(reference: &[&str], printed: &[&str], differ: &[&str]) -> Result<()> {
    let name = |line: &&str| line.split(':').next().unwrap_or_default().to_owned();
    for pattern in differ {
        let known = reference.iter().any(|line| matches(pattern, &name(line)));
        ensure!(known, "no line is named {pattern:?}, which may differ");
    }
    let may_differ = |name: &str| {
        name.contains(".manual") || differ.iter().any(|pattern| matches(pattern, name))
    };
    let mut wrong = Vec::new();
    let mut pairs = reference.iter().zip(printed);
    for (native, here) in &mut pairs {
        if name(native) != name(here) {
            wrong.push(format!("  native  {native}\n  printed {here}"));
            break;
        }
        if native != here && !may_differ(&name(native)) {
            wrong.push(format!("  native  {native}\n  printed {here}"));
        }
    }
    if wrong.is_empty() {
        ensure!(
            reference.len() == printed.len(),
            "{} lines, natively {}",
            printed.len(),
            reference.len()
        );
        return Ok(());
    }
    let count = wrong.len();
    wrong.truncate(10);
    bail!("not as without Entresol ({count} lines, perhaps more):\n{}", wrong.join("\n"))
}

/// Whether `pattern`, in which `*` is any text, is all of `text`.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, behind)) => text.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| matches(behind, rest.get(at..).unwrap_or_default()))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        assert!(matches("on.*.ldr_*", "on.a32.ldr_checked"));
        assert!(matches("*.end", "a.end") && matches("a*", "a"));
        assert!(!matches("on.*.ldr", "on.a32.ldr_checked"));
    }

    #[test]
    fn only_named_lines_may_differ() {
        let native = ["a: 1", "b.manual: 1", "c: 1"];
        assert!(compare(&native, &["a: 1", "b.manual: 2", "c: 1"], &[]).is_ok());
        assert!(compare(&native, &["a: 1", "b.manual: 1", "c: 2"], &["c"]).is_ok());
        let error = compare(&native, &["a: 2", "b.manual: 1", "c: 1"], &["c"]).unwrap_err();
        assert!(error.to_string().contains("native  a: 1"), "{error}");
        assert!(compare(&native, &["a: 1", "b.manual: 1"], &[]).is_err());
        assert!(compare(&native, &native, &["d"]).is_err());
    }
}
