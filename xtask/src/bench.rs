//! `cargo xtask bench`: what the agent costs, beside the tools that people use today, measured in one run.
//!
//! Four parts: a capture file, live traffic at a fixed rate, nanoseconds in the kernel, and attaching. Everything
//! happens in network namespaces of its own, at bounded rates and for bounded times. Every number is a median of
//! rounds in which the tools take turns, so that a busy moment of the machine does not fall on one of them alone.

mod attach;
pub mod cost;
pub mod file;
mod kernel;
mod live;
mod pods;
mod site;
pub mod table;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::cargo::build_agent;
use crate::child;
use crate::setup::{self, Part};
use crate::shell::workspace;
use table::Table;

/// What to measure, and how long.
#[derive(Args, Debug)]
pub struct Scope {
    /// A tenth of the packets and one round: to see that it runs, not to quote
    #[arg(long)]
    quick: bool,
    /// Where the numbers go [default: target/bench/results.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only this part; may be given more than once
    #[arg(long = "only", value_enum)]
    parts: Vec<Section>,
}

/// The parts of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Reading a capture file
    File,
    /// Watching a veth under load
    Live,
    /// Nanoseconds per packet in the kernel
    Kernel,
    /// Attaching, detaching and following interfaces
    Attach,
    /// 250 pods: how soon they are named, memory, and what idling costs
    Pods,
}

/// What every part needs to know.
struct Bench {
    /// The agent, built for release.
    agent: PathBuf,
    /// Its kernel half.
    object: PathBuf,
    /// Where files may be written.
    folder: PathBuf,
    quick: bool,
}

/// What a part found out: for people and for programs.
struct Found {
    tables: Vec<Table>,
    json: Value,
}

/// Measures, prints tables, writes JSON.
pub fn run_all(scope: &Scope) -> Result<()> {
    setup::ensure(&[Part::Build, Part::Bench])?;
    child::unwind_on_signals()?;
    let bench = prepare(scope.quick)?;
    let mut results = Map::new();
    results.insert("machine".into(), machine());
    results.insert("quick".into(), scope.quick.into());
    let mut failed = Vec::new();
    for (section, measure) in [
        (Section::File, file::measure as fn(&Bench) -> Result<Found>),
        (Section::Live, live::measure),
        (Section::Kernel, kernel::measure),
        (Section::Attach, attach::measure),
        (Section::Pods, pods::measure),
    ] {
        if !scope.parts.is_empty() && !scope.parts.contains(&section) {
            continue;
        }
        let name = format!("{section:?}").to_lowercase();
        match measure(&bench) {
            Ok(found) => {
                for table in &found.tables {
                    println!("\n{table}");
                }
                results.insert(name, found.json);
            }
            Err(error) => {
                println!("\n{name}: not measured: {error:#}");
                results.insert(name.clone(), json!({ "error": format!("{error:#}") }));
                failed.push(name);
            }
        }
        if child::interrupted() {
            bail!("interrupted");
        }
    }
    let path = scope.json.clone().unwrap_or_else(|| bench.folder.join("results.json"));
    let text = serde_json::to_string_pretty(&Value::Object(results)).context("failed to write JSON")?;
    std::fs::write(&path, text + "\n").with_context(|| format!("failed to write {}", path.display()))?;
    println!("\nnumbers: {}", path.display());
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(", "));
    }
    Ok(())
}

/// Builds the agent as it is shipped.
fn prepare(quick: bool) -> Result<Bench> {
    let target = workspace().join("target");
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let agent = build_agent()?;
    // Cargo puts what a build script makes for a target into the folder of that target.
    let object =
        agent.ancestors().nth(2).map(|target| target.join("bpf/bpfel-unknown-none/release/nslookout-ebpf"));
    let object = object.context("the agent lies in no target folder")?;
    Ok(Bench { agent, object, folder, quick })
}

/// On what these numbers were measured.
fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name").map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned())
        })
        .unwrap_or_default();
    json!({
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "cpu": model,
    })
}

/// The middle one, or the mean of the two in the middle; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn median_of_odd_even_and_none() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
