//! The book cannot rot: its transcripts are tests, its references are complete.
//!
//! A transcript of the tool is taken from `tests/cli`, never written in a page. What a
//! running system says, in a block marked `boot=NAME`, must be expected by `tests/boot/NAME`.
//! Every key, call and counter of the sources has its entry in a reference page.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    assert!(path.exists(), "there is no {}", path.display());
    fs::read_to_string(path).unwrap()
}

fn pages(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|end| end == "md") {
            found.push(path);
        }
    }
}

fn book() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    pages(&root().join("docs/src"), &mut found);
    found.into_iter().map(|path| (path.clone(), read(path))).collect()
}

/// The fenced blocks of a page: what follows the opening fence, and the lines.
fn blocks(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.trim_start().strip_prefix("```") {
            let inside = |line: &&str| !line.trim_start().starts_with("```");
            blocks.push((info, lines.by_ref().take_while(inside).collect()));
        }
    }
    blocks
}

#[test]
fn no_transcript_of_the_tool_is_written_in_a_page() {
    for (path, text) in book() {
        for (info, _) in blocks(&text) {
            let known = info.is_empty() || ["sh", "toml", "text", "rust", "c"].contains(&info);
            let boot = info.starts_with("text,boot=");
            assert!(known || boot, "{}: a block of {info:?}", path.display());
        }
    }
}

#[test]
fn what_a_system_says_in_the_book_is_expected_by_its_boot_test() {
    for (path, text) in book() {
        for (info, lines) in blocks(&text) {
            let Some(name) = info.strip_prefix("text,boot=") else { continue };
            let test = read(format!("tests/boot/{name}/test.toml")).replace("\\\"", "\"");
            for line in lines {
                let (_, said) = line.split_once("| ").unwrap();
                for piece in said.split('…') {
                    let piece = piece.trim_start_matches(", ");
                    assert!(
                        test.contains(piece),
                        "{}: {piece:?} is not expected by {name}",
                        path.display()
                    );
                }
            }
        }
    }
}

#[test]
fn every_file_that_a_page_names_is_there() {
    for (path, text) in book() {
        let directory = path.parent().unwrap();
        for (_, after) in
            text.match_indices("{{#include ").map(|(at, m)| text.split_at(at + m.len()))
        {
            let target = after.split("}}").next().unwrap();
            let (file, part) = target.split_once(':').unwrap_or((target, ""));
            let included = read(directory.join(file));
            if part.starts_with(|first: char| first.is_ascii_alphabetic()) {
                let anchor = format!("ANCHOR: {part}");
                assert!(included.contains(&anchor), "{}: no {anchor} in {file}", path.display());
            }
        }
        for (_, after) in text.match_indices("](").map(|(at, m)| text.split_at(at + m.len())) {
            let target = after.split([')', '#']).next().unwrap();
            let local = !target.is_empty() && !target.contains("://");
            assert!(!local || directory.join(target).exists(), "{}: no {target}", path.display());
        }
    }
}

#[test]
fn an_include_is_not_indented_since_only_its_first_line_would_be() {
    for (path, text) in book() {
        let indented = text.lines().find(|line| line.starts_with(' ') && line.contains("{{#"));
        assert_eq!(indented, None, "{}", path.display());
    }
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = read("docs/src/SUMMARY.md");
    for (path, _) in book() {
        let name = path.strip_prefix(root().join("docs/src")).unwrap().display().to_string();
        assert!(name == "SUMMARY.md" || summary.contains(&format!("({name})")), "{name}");
    }
}

#[test]
fn every_decision_is_in_the_book() {
    let page = read("docs/src/decisions.md");
    let mut found = Vec::new();
    pages(&root().join("docs/decisions"), &mut found);
    for path in found {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(page.contains(&name), "{name} is not included");
    }
}

/// Names of the public fields of the structures in `source`, from the one called `first` to
/// the one called `last`.
fn fields(source: &str, first: &str, last: &str) -> Vec<String> {
    let from = source.find(&format!("pub struct {first} {{")).unwrap();
    let at = source.find(&format!("pub struct {last} {{")).unwrap();
    let end = at + source[at..].find("\n}").unwrap();
    source[from..end]
        .lines()
        .filter_map(|line| line.strip_prefix("    pub "))
        .filter_map(|line| line.split_once(": "))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn every_key_of_the_manifest_has_an_entry() {
    let page = read("docs/src/reference/manifest.md");
    let source = read("crates/system/src/manifest.rs");
    let names = fields(&source, "Manifest", "Limits");
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("`{}`", name.replace('_', "-"))), "no entry for {name}");
    }
}

#[test]
fn every_key_of_a_machine_has_an_entry() {
    let page = read("docs/src/reference/machine.md");
    let names = fields(&read("crates/system/src/machine.rs"), "Machine", "Device");
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let key = name.replace('_', "-");
        let table = page.contains(&format!("`[{key}]`")) || page.contains(&format!("`[[{key}]]`"));
        assert!(table || page.contains(&format!("`{key}`")), "no entry for {name}");
    }
}

#[test]
fn every_hypercall_has_an_entry() {
    let page = read("docs/src/reference/hypercalls.md");
    let source = read("crates/abi/src/hypercall.rs");
    let calls: Vec<_> = source
        .lines()
        .filter_map(|line| line.trim().strip_suffix(','))
        .filter_map(|line| line.split_once(" = 0x"))
        .collect();
    assert!(calls.len() > 10, "{calls:?}");
    for (name, number) in calls {
        assert!(page.contains(&format!("| 0x{number} | `{name}` |")), "no entry for {name}");
    }
}

#[test]
fn every_counter_has_an_entry() {
    let page = read("docs/src/reference/counters.md");
    let names = fields(&read("crates/abi/src/observe.rs"), "Observed", "VmCounters");
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("| `{name}` |")), "no entry for {name}");
    }
}
