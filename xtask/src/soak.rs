//! What takes long: distributions of latencies and slots, and minutes of whole systems.
//!
//! `bench/soak.toml` says what runs. Some runs are [`counted`] from outside by the instrument, as
//! the bench does, which keeps a short form of them; of others the guests themselves [`told`] what
//! is to be known, and `tests/boot` has the short forms.

mod counted;
mod told;

use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use counted::Counted;
pub(crate) use counted::masked;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use told::Told;

/// Most time for one run.
const LIMIT: Duration = Duration::from_secs(4 * 3600);

/// `bench/soak.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Soaks {
    counted: Vec<Counted>,
    told: Vec<Told>,
}

/// What came of a run.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Outcome {
    Counted(counted::Outcome),
    Told(told::Outcome),
}

/// Runs those named, or all; each for `samples` instead of its own number of them.
///
/// # Errors
///
/// When one cannot be run or its name is unknown.
pub(crate) fn soak(
    workspace: &Workspace,
    names: &[String],
    samples: Option<u64>,
    json: bool,
) -> Result<ExitCode> {
    let soaks = Soaks::read(&workspace.path("bench/soak.toml"))?;
    let known = soaks.counted.iter().map(|run| &run.name);
    let known: Vec<_> = known.chain(soaks.told.iter().map(|run| &run.name)).collect();
    for name in names {
        ensure!(known.contains(&name), "no run {name} in bench/soak.toml");
    }
    let wanted = |name: &String| names.is_empty() || names.contains(name);
    let mut outcomes = Vec::new();
    let mut add = |outcome: Outcome| {
        if !json {
            print!("{}", outcome.summary());
        }
        outcomes.push(outcome);
    };
    for run in soaks.counted.iter().filter(|run| wanted(&run.name)) {
        add(Outcome::Counted(run.run(workspace, samples)?));
    }
    for run in soaks.told.iter().filter(|run| wanted(&run.name)) {
        add(Outcome::Told(run.run(workspace, samples)?));
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&outcomes)?);
    }
    let kept = outcomes.iter().all(Outcome::kept);
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Soaks {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }
}

impl Outcome {
    fn kept(&self) -> bool {
        match self {
            Self::Counted(outcome) => outcome.kept(),
            Self::Told(outcome) => outcome.kept(),
        }
    }

    fn summary(&self) -> String {
        match self {
            Self::Counted(outcome) => outcome.summary(),
            Self::Told(outcome) => outcome.summary(),
        }
    }
}

/// The last lines of a console.
fn last(console: &str) -> String {
    let lines: Vec<_> = console.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soaks_of_the_bench_are_well_formed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let soaks = Soaks::read(&root.join("bench/soak.toml")).unwrap();
        assert!(soaks.counted.iter().any(|run| run.name == "flood"));
        assert!(soaks.told.iter().any(|run| run.name == "deadlines"));
    }
}
