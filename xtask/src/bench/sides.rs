//! Rewrite policies and protections side by side: the table of `docs/src/explanation/costs.md`.

use super::budgets::Budgets;
use super::native::Native;
use super::{count, run};
use crate::process::Step;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;

/// The book's page, and the table's first line in it.
const PAGE: &str = "docs/src/explanation/costs.md";
const HEAD: &str = "| operation | ";

const MACHINE: &str = "vexpress-a9";
const POLICIES: [&str; 3] = ["trap", "adaptive", "eager"];
const PROTECTIONS: [&str; 2] = ["tables", "domains"];

/// Entries and what they are called.
const ROWS: [(&str, &str); 10] = [
    ("linux.getppid", "null system call"),
    ("linux.pipe", "round trip between two processes"),
    ("linux.fork", "fork, exit, wait"),
    ("linux.exec", "shell forks and executes"),
    ("linux.fault", "anonymous page fault"),
    ("linux.signal", "signal delivered and returned"),
    ("linux.dd", "4 KiB block read and written"),
    ("linux.user", "sha256 of 4 MiB"),
    ("linux.gzip", "dd, gzip, wc through pipes"),
    ("linux.boot", "boot to the first user program"),
];

/// Measures Linux with each policy and protection, and writes the table.
///
/// # Errors
///
/// When one cannot be run, or the page has no such table.
pub(crate) fn write_table(workspace: &Workspace) -> Result<()> {
    let budgets = Budgets::read(&workspace.path("bench/budgets.toml"))?;
    let native = Native::read(&workspace.path("bench/native.toml"))?;
    let system = fs::read_to_string(workspace.path("bench/systems/linux.toml"))?;
    let mut lines = ROWS.map(|(_, title)| format!("| {title} |"));
    let mut head = HEAD.trim_end().to_owned();
    for policy in POLICIES {
        for protection in PROTECTIONS {
            let _ = write!(head, " {policy}, {protection} |");
            let own = format!("[[vm]]\nrewrite = {policy:?}\nprotection = {protection:?}\n");
            // As deep as bench/systems, for its paths.
            let manifest = workspace.target("bench/sides.toml");
            fs::write(&manifest, system.replace("[[vm]]\n", &own))?;
            let step = Step::new(&format!("measure Linux with {policy} and {protection}"));
            let report = step.end(run(workspace, &budgets, "linux", MACHINE, &manifest))?;
            for (line, (name, _)) in lines.iter_mut().zip(ROWS) {
                let entry = budgets.entries.iter().find(|entry| entry.name == name);
                let cost = count(entry.context(name)?, &report)?;
                let ratio = cost / native.get(MACHINE, name).context(name)?;
                // What is close to 1 is told apart by its third digit.
                let digits = if ratio < 1.1 { 3 } else { 2 };
                let _ = write!(line, " {ratio:.digits$} |");
            }
        }
    }
    let rule = format!("|{}", "---|".repeat(1 + POLICIES.len() * PROTECTIONS.len()));
    let table = format!("{head}\n{rule}\n{}\n", lines.join("\n"));
    print!("{table}");
    let page = workspace.path(PAGE);
    let text = fs::read_to_string(&page)?;
    let (before, rest) = text.split_once(HEAD).with_context(|| format!("no table in {PAGE}"))?;
    let (_, behind) = rest.split_once("\n\n").context("nothing behind the table")?;
    Ok(fs::write(&page, format!("{before}{table}\n{behind}"))?)
}
