//! `cargo xtask test`: every check of this project, stage by stage, with the time that each took.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::setup::{self, Part};
use crate::shell::{find_program, run, workspace};
use crate::{compare, demo, deploy, e2e, fuzz, guests, torture};

/// One stage: its name and what it does.
type Stage = (&'static str, fn() -> Result<()>);

/// What runs always.
const STAGES: [Stage; 5] = [
    ("format", format),
    ("lint", lint),
    ("unit, replay, property, exposition", cargo_tests),
    ("kernel, in network namespaces", netns_tests),
    ("dashboards", dashboards),
];

/// What `--all` adds: from end to end.
const END_TO_END: [Stage; 8] = [
    ("deploy", deploy::check),
    ("container, under podman", e2e::container),
    ("Kubernetes, one node", e2e::kubernetes),
    ("compare", compare::run_corpus),
    ("demo", demo::run),
    ("fuzz", fuzz::smoke),
    ("torture", torture::run_all),
    ("guests", guests),
];

/// Runs all stages, also after one that failed, and fails if one did.
pub fn run_all(end_to_end: bool) -> Result<()> {
    let mut parts = vec![Part::Build, Part::Lab, Part::Clients, Part::Promtool, Part::Readers];
    if end_to_end {
        parts.extend([Part::Fuzz, Part::Guests]);
    }
    let mut times: Vec<(&str, Duration, Result<()>)> = Vec::new();
    let mut stage = |name, work: &dyn Fn() -> Result<()>| {
        println!("\n=== {name}");
        let start = Instant::now();
        let result = work();
        if let Err(error) = &result {
            eprintln!("{name}: {error:#}");
        }
        let well = result.is_ok();
        times.push((name, start.elapsed(), result));
        well
    };
    // Without the tools nothing else can run.
    let prepare = || {
        setup::ensure(&parts)?;
        if end_to_end { e2e::prepare() } else { Ok(()) }
    };
    if stage("setup", &prepare) {
        let more: &[Stage] = if end_to_end { &END_TO_END } else { &[] };
        for (name, work) in STAGES.iter().chain(more) {
            stage(name, work);
        }
    }
    println!("\n=== result");
    for (name, time, result) in &times {
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        println!("{word:<7} {:>6.1} s  {name}", time.as_secs_f64());
    }
    let total: Duration = times.iter().map(|(_, time, _)| *time).sum();
    println!("        {:>6.1} s  in all", total.as_secs_f64());
    let failed = times.iter().filter(|(_, _, result)| result.is_err()).count();
    println!("stages: {} passed, {failed} failed", times.len() - failed);
    if failed > 0 { bail!("{failed} of {} stages failed", times.len()) } else { Ok(()) }
}

fn cargo(arguments: &[&str]) -> Result<()> {
    run(crate::cargo::cargo().args(arguments))
}

fn format() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    // The fuzz targets are a workspace of their own.
    cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])
}

/// Both halves: the kernel half is looked at on the host, since the BPF target has no clippy of its own. The kernel tests
/// are looked at by name, as they run.
fn lint() -> Result<()> {
    let kernel_half = ["-p", "nslookout-ebpf", "--features", "kernel", "--all-targets"];
    for what in [&["--all-targets"][..], &["--test", "netns"], &kernel_half] {
        cargo(&[&["clippy", "--locked"], what, &["--", "-D", "warnings"]].concat())?;
    }
    Ok(())
}

fn cargo_tests() -> Result<()> {
    cargo(&["test", "--locked"])
}

fn netns_tests() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!(
            "SKIP kernel tests in network namespaces: they need root (sudo -E env \"PATH=$PATH\" cargo xtask test)"
        );
        return Ok(());
    }
    cargo(&["test", "--locked", "--test", "netns", "--", "--test-threads=2"])
}

/// The rules are well-formed, fire when they must and keep quiet when they must.
fn dashboards() -> Result<()> {
    let Some(promtool) = find_program("promtool") else {
        bail!("no promtool: cargo xtask setup installs it")
    };
    let folder = workspace().join("dashboards/prometheus");
    run(Command::new(&promtool).args(["check", "rules", "nslookout.rules.yml"]).current_dir(&folder))?;
    run(Command::new(&promtool).args(["test", "rules", "nslookout.tests.yml"]).current_dir(&folder))
}

fn guests() -> Result<()> {
    guests::run_all(&guests::Choice::default())
}
