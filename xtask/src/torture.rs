//! `cargo xtask torture`: what nobody would do to a resolver on a good day, and what it costs the agent.
//!
//! Five parts: random bytes on port 53, captures with flipped bits, a flood of queries that nobody answers, a new name
//! in every query, and a new client in most of them. Each must end well, in bounded time and memory; where there is a
//! truth, it must be found.

mod garbage;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::bench::cost::{Cost, Metered};
use crate::bench::file::number_before;
use crate::bench::table::Table;
use crate::cargo::{build_agent, cargo};
use crate::child;
use crate::generate::{self, Plan};
use crate::setup::{self, Part};
use crate::shell::{run, workspace};

/// Packets of garbage, or names: the small and the large run that are compared.
const SIZES: [u64; 2] = [1_000_000, 2_000_000];

/// Queries that nobody answers.
const FLOOD: u64 = 100_000;

/// The default of `--max-inflight`.
const MAX_INFLIGHT: u64 = 65_536;

/// Inputs made of each capture of the tests.
const MUTATIONS: u32 = 1_000;

/// More than a machine ten times slower needs for a million packets.
const LIMIT: Duration = Duration::from_secs(120);

/// A resident set that no input may exceed: 65,536 waiting queries take about 45 MiB.
const MOST_MIB: f64 = 128.0;

/// Twice the input may take this many times the memory. All tables are bounded; by the end of the small run each has the
/// size that it keeps.
const MOST_GROWTH: f64 = 1.1;

/// What every part needs.
struct Torture {
    agent: PathBuf,
    folder: PathBuf,
}

/// One run of the agent over a capture.
struct Finished {
    cost: Cost,
    /// What it wrote to standard output.
    lines: PathBuf,
    /// What it wrote to standard error.
    log: String,
}

/// Runs all parts, also after one that failed, and prints a table.
pub fn run_all() -> Result<()> {
    setup::ensure(&[Part::Build])?;
    child::unwind_on_signals()?;
    let torture = Torture { agent: build_agent()?, folder: workspace().join("target/torture") };
    fs::create_dir_all(&torture.folder)
        .with_context(|| format!("failed to create {}", torture.folder.display()))?;
    let mut table = Table::new("torture", &["what", "packets", "wall s", "us CPU/packet", "peak MiB"]);
    let mut failed = Vec::new();
    for (name, part) in [
        ("garbage", garbage as fn(&Torture, &mut Table) -> Result<()>),
        ("flood", flood),
        ("names", names),
        ("clients", clients),
        ("mutations", mutations),
    ] {
        println!("torture: {name}");
        if let Err(error) = part(&torture, &mut table) {
            failed.push(format!("{name}: {error:#}"));
        }
        if child::interrupted() {
            bail!("interrupted");
        }
    }
    fs::remove_dir_all(&torture.folder).ok();
    println!("\n{table}");
    if !failed.is_empty() {
        bail!("torture: {}", failed.join("\n"));
    }
    Ok(())
}

impl Torture {
    /// Lets the agent read `capture`; an error where it does not end well.
    fn read(&self, capture: &Path, flags: &[&str]) -> Result<Finished> {
        let (lines, log) = (self.folder.join("lines"), self.folder.join("log"));
        let mut command = Command::new(&self.agent);
        command.args(["watch", "-n", "-r"]).arg(capture).args(flags);
        command.stdin(Stdio::null()).stdout(File::create(&lines)?).stderr(File::create(&log)?);
        let cost = Metered::spawn(&mut command)?.finish_within(LIMIT)?;
        let text = fs::read_to_string(&log).with_context(|| format!("failed to read {}", log.display()))?;
        let tail = || text.lines().rev().take(5).collect::<Vec<_>>().join(" / ");
        ensure!(cost.success, "the agent failed on {}: {}", capture.display(), tail());
        ensure!(!text.contains("panicked"), "the agent panicked on {}: {}", capture.display(), tail());
        ensure!(cost.peak_mib < MOST_MIB, "{:.0} MiB, more than {MOST_MIB}", cost.peak_mib);
        Ok(Finished { cost, lines, log: text })
    }
}

impl Finished {
    /// The number in the summary that stands before `word`.
    fn number(&self, word: &str) -> Result<u64> {
        number_before(&self.log, word).with_context(|| format!("no `{word}` in the summary: {}", self.log))
    }
}

fn row(table: &mut Table, what: String, packets: u64, cost: &Cost) {
    table.row(vec![
        what,
        packets.to_string(),
        format!("{:.1}", cost.wall_seconds),
        format!("{:.2}", cost.cpu_seconds * 1e6 / packets as f64),
        format!("{:.1}", cost.peak_mib),
    ]);
}

/// The large run may not need more memory than the small one.
fn assert_flat(costs: &[Cost]) -> Result<()> {
    let [small, large] = costs else { bail!("two runs, not {}", costs.len()) };
    ensure!(
        large.peak_mib <= small.peak_mib * MOST_GROWTH,
        "memory grows with the input: {:.1} MiB, then {:.1} MiB",
        small.peak_mib,
        large.peak_mib
    );
    Ok(())
}

/// Random bytes: whatever is printed of them is printable, and every packet is counted.
fn garbage(torture: &Torture, table: &mut Table) -> Result<()> {
    let mut costs = Vec::new();
    for packets in SIZES {
        let capture = torture.folder.join("garbage.pcap");
        garbage::write(&capture, packets)
            .with_context(|| format!("failed to write {}", capture.display()))?;
        let finished = torture.read(&capture, &["-v"])?;
        row(table, "random bytes on port 53".into(), packets, &finished.cost);
        let lines = assert_printable(&finished.lines)?;
        ensure!(lines > packets / 10, "only {lines} lines: the garbage is not looked at");
        costs.push(finished.cost);
    }
    assert_flat(&costs)
}

/// Counts the lines of a file that a terminal may see.
fn assert_printable(path: &Path) -> Result<u64> {
    let mut lines = 0;
    for line in BufReader::new(File::open(path)?).lines() {
        let line = line?;
        lines += 1;
        // The last is the sign for what was left out, which is the agent's own.
        ensure!(line.chars().all(|one| matches!(one, ' '..='~' | '…')), "not printable: {line:?}");
    }
    Ok(lines)
}

/// A flood that nobody answers: the others are answered all the same, as fast as they were.
fn flood(torture: &Torture, table: &mut Table) -> Result<()> {
    let capture = torture.folder.join("flood.pcap");
    let plan = Plan { packets: 400_000, never_answered: FLOOD, ..Plan::default() };
    let truth = generate::write_file(&capture, &plan)?;
    let finished = torture.read(&capture, &["-o", "json"])?;
    row(table, format!("{FLOOD} queries that nobody answers, and others"), truth.packets, &finished.cost);
    check("answered", finished.number("answered")?, truth.answered())?;
    let (unanswered, given_up) = (finished.number("no answer")?, finished.number("given up")?);
    check("no answer and given up", unanswered + given_up, truth.never_answered)?;
    // Room is needed for those of the others that wait at the same time, too.
    let least = FLOOD - MAX_INFLIGHT;
    ensure!((least..least + 2_000).contains(&given_up), "{given_up} queries given up, {least} have no room");
    check("microseconds of latency over UDP", udp_latency_us(&finished.lines)?, truth.udp_latency_us)?;
    table.note(format!(
        "flood: all {} others answered, their latencies exact; {unanswered} unanswered, {given_up} given up for want of room",
        truth.answered()
    ));
    Ok(())
}

fn check(what: &str, found: u64, truth: u64) -> Result<()> {
    ensure!(found == truth, "{what}: {found} of {truth}");
    Ok(())
}

/// The latencies of all answers over UDP together, as the lines have them.
fn udp_latency_us(path: &Path) -> Result<u64> {
    let mut sum = 0;
    for line in BufReader::new(File::open(path)?).lines() {
        let line: Value = serde_json::from_str(&line?).context("a line that is no JSON")?;
        if line["transport"] == "udp" && line["outcome"] == "answered" {
            sum += line["latency_ns"].as_u64().context("no latency_ns")? / 1_000;
        }
    }
    Ok(sum)
}

/// A new name in every query: names are not kept.
fn names(torture: &Torture, table: &mut Table) -> Result<()> {
    once_each(torture, table, "names, each once", |_| Plan::default().clients)
}

/// A new name in every query, and a new client in most: of clients too only so many are kept.
fn clients(torture: &Torture, table: &mut Table) -> Result<()> {
    once_each(torture, table, "names, each once, by as many clients", |names| names as u32)
}

/// A new name in every query, by so many clients as `clients` has for so many names.
fn once_each(torture: &Torture, table: &mut Table, what: &str, clients: fn(u64) -> u32) -> Result<()> {
    let mut costs = Vec::new();
    for names in SIZES {
        let capture = torture.folder.join("names.pcap");
        let truth = write_apart(&capture, 2 * names, clients(names))?;
        let number = |name: &str| truth[name].as_u64().with_context(|| format!("no {name} in the truth"));
        let finished = torture.read(&capture, &[])?;
        row(table, format!("{names} {what}"), number("packets")?, &finished.cost);
        check("answered", finished.number("answered")?, number("answered")?)?;
        costs.push(finished.cost);
    }
    assert_flat(&costs)
}

/// Writes a capture of names that are asked once each, in a process of its own, and gives its truth: a program that is
/// started is charged with what the process that starts it still holds, and a million clients leave hundreds of MiB here.
fn write_apart(capture: &Path, packets: u64, clients: u32) -> Result<Value> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["generate", "--random-names", "--packets", &packets.to_string()]);
    command.args(["--clients", &clients.to_string()]).arg(capture).stdout(Stdio::null());
    run(&mut command)?;
    let path = generate::truth_path(capture);
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("no truth in {}", path.display()))
}

/// Flipped bits in every capture of the tests, in one process.
fn mutations(_: &Torture, table: &mut Table) -> Result<()> {
    let mut command = cargo();
    command.args(["test", "--quiet", "--locked", "--test", "mutations"]);
    command.args(["--", "--nocapture"]);
    command.env("NSLOOKOUT_MUTATIONS", MUTATIONS.to_string());
    let finished = child::finish_within(&mut command, 5 * LIMIT)?;
    let said = finished.stdout.lines().find(|line| line.starts_with("mutations: "));
    match (finished.status.success(), said) {
        (true, Some(said)) => table.note(said),
        _ => bail!("{}{}", finished.stdout, finished.stderr),
    }
    Ok(())
}
