//! Rules of the workspace that the compiler does not check.
//!
//! 1. Dependency directions. The arrows between crates; a crate may use what it reaches
//!    along them, because that adds no direction. Development dependencies are free.
//! 2. `unsafe` stands in few crates, and the pure ones forbid it.
//! 3. Every file starts with a header and is short.

use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The arrows. `devices` knows what a machine is from `abi`, as every layer may.
const ARROWS: &[(&str, &[&str])] = &[
    ("kernel", &["armv7a", "devices", "hv"]),
    ("armv7a", &["vcpu", "hv", "abi"]),
    ("devices", &["hv", "abi"]),
    ("vcpu", &["isa", "rewrite", "abi"]),
    ("rewrite", &["isa"]),
    ("hv", &["abi"]),
    ("guest", &["abi"]),
    ("cli", &["system", "image", "run", "trace", "rewrite"]),
    ("image", &["abi", "system"]),
    ("trace", &["abi"]),
    ("run", &["abi"]),
    ("system", &["abi", "hv"]),
    ("isa", &[]),
    ("abi", &[]),
];

/// Crates that forbid `unsafe` altogether.
const PURE: &[&str] = &["abi", "isa", "rewrite", "vcpu", "hv"];

/// Crates in which `unsafe` may stand.
const UNSAFE: &[&str] = &["armv7a", "devices", "kernel", "guest"];

/// Most lines of a file.
const MOST_LINES: usize = 600;

/// Prefix of the workspace's packages.
const PREFIX: &str = "entresol-";

/// Checks all rules.
///
/// # Errors
///
/// Every violation, one a line.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut faults = directions(&packages(workspace)?);
    let crates = workspace.path("crates");
    for name in PURE {
        let root = crates.join(name).join("src/lib.rs");
        let text = fs::read_to_string(&root).with_context(|| format!("{}", root.display()))?;
        if !text.contains("forbid(unsafe_code)") {
            faults.push(format!("crates/{name}/src/lib.rs does not forbid(unsafe_code)"));
        }
    }
    sources(&crates, &mut |path, text| {
        let name = path.strip_prefix(&crates).ok().and_then(|below| below.iter().next());
        let free = name.is_some_and(|name| UNSAFE.iter().any(|free| name == *free));
        faults.extend(file(path, text, free));
    })?;
    for (directory, free) in [("xtask", false), ("bench", true), ("guests", true), ("tests", true)]
    {
        sources(&workspace.path(directory), &mut |path, text| {
            faults.extend(file(path, text, free));
        })?;
    }
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("\n")) }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

fn packages(workspace: &Workspace) -> Result<Vec<Package>> {
    let mut command = workspace.cargo();
    command.args(["metadata", "--no-deps", "--format-version", "1"]);
    let Metadata { packages } = serde_json::from_str(&process::run(&mut command)?)?;
    Ok(packages)
}

fn directions(packages: &[Package]) -> Vec<String> {
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut faults = Vec::new();
    for package in packages {
        let Some(name) = package.name.strip_prefix(PREFIX) else { continue };
        if !arrows.contains_key(name) {
            faults.push(format!("{name} has no place in the layers"));
            continue;
        }
        for dependency in &package.dependencies {
            let Some(used) = dependency.name.strip_prefix(PREFIX) else { continue };
            if dependency.kind.as_deref() != Some("dev") && !reaches(&arrows, name, used) {
                faults.push(format!("{name} may not depend on {used}"));
            }
        }
    }
    faults
}

fn reaches(arrows: &BTreeMap<&str, &[&str]>, from: &str, to: &str) -> bool {
    arrows
        .get(from)
        .is_some_and(|next| next.iter().any(|step| *step == to || reaches(arrows, step, to)))
}

/// Calls `look` with each Rust source below a directory, built files left out.
fn sources(directory: &Path, look: &mut dyn FnMut(&Path, &str)) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                sources(&path, look)?;
            }
        } else if path.extension().is_some_and(|end| end == "rs") {
            look(&path, &fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

fn file(path: &Path, text: &str, may_be_unsafe: bool) -> Vec<String> {
    let shown = path.display();
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!("{shown}: does not start with a header (//!)"));
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        faults.push(format!("{shown}: {lines} lines, over {MOST_LINES}"));
    }
    if !may_be_unsafe {
        let numbers = text.lines().enumerate().filter(|(_, line)| has_unsafe(line));
        faults.extend(numbers.map(|(index, _)| format!("{shown}:{}: unsafe", index + 1)));
    }
    faults
}

/// Whether a line of code, not of comment, has the word followed by what makes it one.
fn has_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    // Assembled, so that this file passes its own check.
    let word = concat!("un", "safe");
    code.match_indices(word).any(|(at, _)| {
        let (before, behind) = code.split_at(at);
        let behind = behind.trim_start_matches(word);
        let whole = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let opens = [" {", " fn", " impl", " extern", " trait", "("];
        whole && opens.iter().any(|next| behind.starts_with(next))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, uses: &str, kind: Option<&str>) -> Package {
        Package {
            name: format!("{PREFIX}{name}"),
            dependencies: vec![Dependency {
                name: format!("{PREFIX}{uses}"),
                kind: kind.map(str::to_owned),
            }],
        }
    }

    #[test]
    fn policy_may_not_know_an_architecture() {
        assert_eq!(directions(&[package("hv", "armv7a", None)]).len(), 1);
        assert_eq!(directions(&[package("hv", "armv7a", Some("dev"))]).len(), 0);
    }

    #[test]
    fn what_is_reached_along_the_arrows_may_be_used() {
        assert!(directions(&[package("kernel", "abi", None)]).is_empty());
        assert!(!directions(&[package("abi", "kernel", None)]).is_empty());
    }

    #[test]
    fn a_comment_about_it_is_not_unsafe() {
        let word = concat!("un", "safe");
        assert!(has_unsafe(&format!("    {word} {{ *pointer }}")));
        assert!(!has_unsafe(&format!("// {word} {{ }} stands elsewhere")));
        assert!(!has_unsafe(&format!("#![forbid({word}_code)]")));
        assert!(!has_unsafe(&format!("if may_be_{word} {{")));
    }
}
