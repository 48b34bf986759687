//! `cargo xtask corpus`: the labelled corpus of captures in `agent/tests/corpus`.
//!
//! A table of scenarios in code (`families/`), each with real clients, real resolvers and a label that says what must be
//! found in its capture. Recording needs root and what `cargo xtask setup` installs; it is done once, and again where a
//! scenario changes. Replaying is a test of the agent and needs nothing.

mod families;
mod labels;
mod names;
mod proof;
mod record;
mod scenario;
mod server;
mod site;
mod zone;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, bail};

use crate::cargo::build_agent;
use crate::setup::{self, Part};
use crate::{child, shell};
use scenario::{Scenario, Set};

/// What to do with the corpus.
#[derive(clap::Subcommand)]
pub enum Action {
    /// Write the labels of all scenarios
    Labels,
    /// Record scenarios; one whose incident did not happen is told and not kept
    Record {
        /// Only those of this set
        #[arg(long)]
        set: Option<Set>,
        /// Only those that have no capture yet
        #[arg(long)]
        missing: bool,
        /// So many at a time
        #[arg(long, default_value_t = 8)]
        jobs: usize,
        /// Only those whose names begin so
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
}

/// Where recording keeps its files.
fn dir() -> PathBuf {
    shell::workspace().join("target/corpus")
}

/// Does what was asked.
pub fn run(action: &Action) -> Result<()> {
    let all: Vec<Scenario> = Set::ALL.iter().flat_map(|&set| families::scenarios(set)).collect();
    match action {
        Action::Labels => labels::write(&all),
        Action::Record { set, missing, jobs, names } => {
            let wanted = |scenario: &Scenario| {
                set.is_none_or(|set| scenario.set == set)
                    && (names.is_empty() || names.iter().any(|name| scenario.name.starts_with(name)))
                    && !(*missing && labels::capture(scenario).exists())
            };
            labels::write(&all)?;
            record_all(all.into_iter().filter(wanted).collect(), *jobs)
        }
    }
}

fn record_all(scenarios: Vec<Scenario>, jobs: usize) -> Result<()> {
    setup::ensure(&[Part::Lab, Part::Clients, Part::Corpus])?;
    child::unwind_on_signals()?;
    let agent = build_agent()?.to_string_lossy().into_owned();
    let (heavy, mut light): (Vec<Scenario>, Vec<Scenario>) =
        scenarios.into_iter().partition(|scenario| scenario.heavy);
    // What takes longest begins first.
    light.sort_by_key(|scenario| std::cmp::Reverse(patience(scenario)));
    let count = light.len() + heavy.len();
    let failed = record_many(&light, jobs, 0, &agent) + record_many(&heavy, 1, light.len(), &agent);
    println!("{} of {count} recorded", count - failed);
    if failed > 0 {
        bail!("{failed} scenarios were not recorded");
    }
    Ok(())
}

/// The longest time that a program of the scenario says it may take.
fn patience(scenario: &Scenario) -> std::time::Duration {
    let jobs = scenario.pods.iter().flat_map(|pod| &pod.jobs);
    jobs.map(|job| job.limit).max().unwrap_or_default()
}

/// Records all, `jobs` at a time, and gives how many failed.
fn record_many(scenarios: &[Scenario], jobs: usize, first: usize, agent: &str) -> usize {
    let (next, failed, screen) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(()));
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some((n, scenario)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|n| Some((n, scenarios.get(n)?)))
                {
                    if child::interrupted() {
                        failed.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    let result = record::record(scenario, first + n, agent);
                    let _screen = screen.lock();
                    match result {
                        Ok(bytes) => println!("{} {}: {bytes} bytes", scenario.set.name(), scenario.name),
                        Err(error) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            println!("{} {}: NOT RECORDED: {error:#}", scenario.set.name(), scenario.name);
                        }
                    }
                }
            });
        }
    });
    failed.into_inner()
}
