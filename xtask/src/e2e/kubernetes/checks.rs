//! The checks, in the order in which each leaves the scene to the next.

mod findings;
mod install;
mod life;
mod naming;
mod rights;

use std::fs;

use anyhow::{Context, Result, bail};

use super::daemon;
use super::scene::Scene;
use crate::e2e::verdict::Verdicts;

/// A check: what it is called, and what it does; its words are what was seen.
type Check = (&'static str, fn(&mut Scene) -> Result<String>);

/// All of them.
const CHECKS: &[Check] = &[
    ("dry-run", install::dry_run),
    ("install", install::install),
    ("workloads", naming::workloads),
    ("search-stopped", findings::search_stopped),
    ("search-amplification", findings::search_amplification),
    ("short-lived", naming::short_lived),
    ("diagnose", findings::diagnose),
    ("first-query", naming::first_query),
    ("host-network", naming::host_network),
    ("api-server-down", life::api_server_down),
    ("series-leave", naming::series_leave),
    ("rolling-update", life::rolling_update),
    ("crash", life::crash),
    ("rights-listed", rights::listed),
    ("rights-needed", rights::needed),
    ("identity-off", life::identity_off),
    ("uninstall", life::uninstall),
];

/// What every other check needs.
const ALWAYS: &str = "install";

/// An error for a name that is no check's.
pub fn must_exist(names: &[String]) -> Result<()> {
    for name in names {
        if !CHECKS.iter().any(|(known, _)| known == name) {
            let known: Vec<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
            bail!("no check `{name}`; there are {}", known.join(", "));
        }
    }
    Ok(())
}

/// Runs these checks, or all; one that fails does not keep the next from running.
///
/// # Errors
///
/// Where the agent could not be installed: there is nothing to check then; or where the task was interrupted.
pub fn run(scene: &mut Scene, names: &[String], verdicts: &mut Verdicts) -> Result<()> {
    for (name, work) in CHECKS {
        let is_chosen = names.is_empty() || *name == ALWAYS || names.iter().any(|chosen| chosen == name);
        if !is_chosen {
            continue;
        }
        let passed = verdicts.check(name, || work(scene));
        if crate::child::interrupted() {
            bail!("interrupted");
        }
        if !passed {
            let log = daemon::folder().join(format!("agent-at-{name}.log"));
            fs::write(&log, scene.agent_says())
                .with_context(|| format!("failed to write {}", log.display()))?;
        }
        if !passed && *name == ALWAYS {
            bail!("the agent is not installed, so nothing else can be checked");
        }
    }
    Ok(())
}
