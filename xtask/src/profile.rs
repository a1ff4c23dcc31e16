//! Judges what `entresol profile` says of a system by counts that it had no part in.
//!
//! Three sources must agree within one percent: the profile; the instrument's plain counts
//! of another run, which know of the window's edges only; and the hypervisor's counters in
//! the machine's memory, which know of causes but not of instructions.

use crate::measure::Report;
use crate::process;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// Arguments of the instrument for counts at `path`: stays in the hypervisor, and their length.
pub(crate) fn counted(path: &Path) -> [String; 2] {
    [format!("out={}", path.display()), "probe=traps:in:out".to_owned()]
}

/// What a test asks of a profile.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// So many of the first VM's costliest sites must be in a function that has a name.
    sites: usize,
}

/// What the test reads of the profile.
#[derive(Deserialize)]
struct Profile {
    hypervisor: u64,
    vms: Vec<Vm>,
}

#[derive(Deserialize)]
struct Vm {
    traps: u64,
    counters: Vec<Counter>,
    causes: Vec<Cause>,
    sites: Vec<Site>,
}

#[derive(Deserialize)]
struct Counter {
    name: String,
    count: u64,
}

#[derive(Deserialize)]
struct Cause {
    cause: String,
    traps: u64,
}

#[derive(Deserialize)]
struct Site {
    address: u32,
    symbol: Option<String>,
}

impl Wanted {
    /// Profiles the system of `manifest`; `counts` are of another run of it, [`counted`].
    ///
    /// # Errors
    ///
    /// What does not agree, or has no name.
    pub(crate) fn check(
        &self,
        workspace: &Workspace,
        manifest: &Path,
        name: &str,
        counts: &Path,
    ) -> Result<()> {
        let mut command = workspace.entresol();
        command.arg("profile").arg(manifest).args(["--machine", name, "--json"]);
        command.arg("--instrument").arg(workspace.instrument());
        let profile: Profile = serde_json::from_str(&process::run(&mut command)?)?;
        self.names(&profile)?;

        let report = Report::parse(&fs::read_to_string(counts).context("no counts")?)?;
        let samples = report.samples("traps")?;
        let traps = profile.vms.iter().map(|vm| vm.traps).sum();
        agree("traps", traps, samples.number)?;
        agree("instructions in the hypervisor", profile.hypervisor, samples.sum)?;

        for vm in &profile.vms {
            // The causes that a counter has to itself.
            for (cause, counter) in [
                ("sensitive", "sensitive"),
                ("cp15", "cp15"),
                ("device", "mmio"),
                ("scan", "scanned"),
            ] {
                let counted = vm.counters.iter().find(|other| other.name == counter);
                let counted = counted.with_context(|| format!("no counter {counter}"))?.count;
                let found = vm.causes.iter().find(|other| other.cause == cause);
                agree(cause, found.map_or(0, |found| found.traps), counted)?;
            }
        }
        Ok(())
    }

    fn names(&self, profile: &Profile) -> Result<()> {
        let vm = profile.vms.first().context("no VM")?;
        ensure!(vm.sites.len() >= self.sites, "only {} sites", vm.sites.len());
        for site in vm.sites.iter().take(self.sites) {
            ensure!(site.symbol.is_some(), "{:#010x} has no symbol", site.address);
        }
        Ok(())
    }
}

/// Within one percent.
fn agree(what: &str, profile: u64, outside: u64) -> Result<()> {
    let close = profile.abs_diff(outside) * 100 <= outside;
    ensure!(close, "{what}: {profile} by the profile, {outside} by other counts");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_agree_within_one_percent() {
        assert!(agree("traps", 990, 1000).is_ok());
        assert!(agree("traps", 1011, 1000).is_err());
        assert!(agree("traps", 0, 0).is_ok());
        assert!(agree("traps", 1, 0).is_err());
    }
}
