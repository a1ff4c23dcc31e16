//! What a report says of a VM's health.

use crate::{
    Vm,
    duration::Duration,
    health::{self, Event},
    manifest::Policy,
};
use serde::{Serialize, Serializer};
use std::fmt;

/// What follows when something befalls a VM.
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    /// In how many nanoseconds its heartbeats follow each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<u32>,
    /// The events that can befall it, and what follows each.
    #[serde(serialize_with = "as_map")]
    pub policies: Vec<(&'static str, String)>,
    /// How many restarts are allowed, 0 for no limit.
    pub restarts: u32,
    /// In how many milliseconds, 0 for ever.
    pub restarts_within: u32,
    /// Who takes over when it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// Whose backup it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_of: Option<String>,
    /// Whether the manifest says nothing of all that.
    #[serde(skip)]
    trivial: bool,
}

fn as_map<S: Serializer>(
    policies: &[(&'static str, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(policies.iter().map(|(event, policy)| (event, policy)))
}

impl Health {
    pub(super) fn new(vm: &Vm, vms: &[Vm]) -> Self {
        let can = |event: &Event| match event {
            Event::Watchdog => vm.watchdog,
            Event::Heartbeat => vm.heartbeat != 0,
            Event::Budget => vm.budget.is_some(),
            _ => true,
        };
        let policies = health::ALL.into_iter().zip(vm.policies).filter(|(event, _)| can(event));
        let trivial =
            policies.clone().all(|(event, policy)| policy == health::default(event, Policy::Stop));
        let partner = vm.partner.and_then(|index| vms.get(index)).map(|vm| vm.name.clone());
        Self {
            heartbeat: Some(vm.heartbeat).filter(|period| *period != 0),
            policies: policies
                .map(|(event, policy)| (health::name(event), policy.to_string()))
                .collect(),
            restarts: vm.restarts,
            restarts_within: vm.restarts_within,
            backup: partner.clone().filter(|_| !vm.is_backup),
            backup_of: partner.clone().filter(|_| vm.is_backup),
            trivial: trivial && partner.is_none() && vm.heartbeat == 0,
        }
    }

    /// Whether the manifest says nothing of all that.
    #[must_use]
    pub const fn is_trivial(&self) -> bool {
        self.trivial
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policies: Vec<_> =
            self.policies.iter().map(|(event, policy)| format!("{event} {policy}")).collect();
        writeln!(f, "  health {}", policies.join(", "))?;
        if let Some(heartbeat) = self.heartbeat {
            writeln!(f, "  a heartbeat every {}", Duration(u64::from(heartbeat)))?;
        }
        if self.restarts != 0 {
            write!(f, "  at most {} restarts", self.restarts)?;
            match self.restarts_within {
                0 => writeln!(f)?,
                within => writeln!(f, " in {}", Duration(u64::from(within) * 1_000_000))?,
            }
        }
        if let Some(backup) = &self.backup {
            writeln!(f, "  {backup} takes over")?;
        }
        if let Some(primary) = &self.backup_of {
            writeln!(f, "  takes over from {primary}")?;
        }
        Ok(())
    }
}
