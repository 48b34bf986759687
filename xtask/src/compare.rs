//! `cargo xtask compare [FILE…]`: what the agent reads from a capture beside what tshark reads.
//!
//! Message by message and transaction by transaction; every difference is printed. Those for which tshark is wrong stand
//! in a list with the reason (`explained.rs`, docs/compare.md); any other one, and an entry that matches nothing any
//! more, fails the task.

mod agent;
mod difference;
mod explained;
mod names;
mod reading;
mod tshark;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cargo::build_agent;
use crate::hard_cases;
use crate::setup::{self, Part};
use crate::shell::workspace;
use difference::{Difference, differences};
use explained::{Explained, Verdict};
use reading::Reading;

/// For one reader and one capture; tshark takes a second for a small one.
const LIMIT: Duration = Duration::from_secs(300);

/// Differences of one file that are printed; the others are counted.
const MAX_PRINTED: usize = 40;

/// What all files together gave.
#[derive(Default)]
struct Total {
    files: usize,
    messages: usize,
    transactions: usize,
    explained: usize,
    unexplained: usize,
    stale: usize,
}

/// Compares `files`; without any, the recorded captures and all hard cases.
pub fn run(files: &[PathBuf]) -> Result<()> {
    setup::ensure(&[Part::Build, Part::Readers])?;
    let agent = build_agent()?;
    let mut total = Total::default();
    let files = if files.is_empty() {
        let corpus = corpus()?;
        let names: Vec<&str> = corpus.iter().map(|file| file_name(file)).collect();
        for Explained { file, field, .. } in explained::orphans(&names) {
            println!("{file} {field}: explained in the list, but there is no such capture");
            total.stale += 1;
        }
        corpus
    } else {
        files.to_vec()
    };
    for file in &files {
        if let Err(error) = compare(&agent, file, &mut total) {
            println!("{}: not compared: {error:#}", file.display());
            total.unexplained += 1;
        }
    }
    let Total { files, messages, transactions, explained, unexplained, stale } = total;
    println!(
        "{files} captures, {messages} messages and {transactions} transactions by tshark: {unexplained} unexplained differences, {explained} explained, {stale} explanations that match nothing"
    );
    if unexplained + stale > 0 {
        bail!("tshark and nslookout disagree");
    }
    Ok(())
}

/// All of the corpus, for `cargo xtask test`.
pub fn run_corpus() -> Result<()> {
    run(&[])
}

/// Recorded captures, the small hard cases beside them, and the large ones, which are made now.
fn corpus() -> Result<Vec<PathBuf>> {
    let data = workspace().join("agent/tests/data");
    let large = workspace().join("target/compare");
    hard_cases::write_large(&large)?;
    let mut files = Vec::new();
    for folder in [&data, &data.join("hard"), &large] {
        let entries =
            std::fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
        let mut captures: Vec<PathBuf> = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .with_context(|| format!("failed to list {}", folder.display()))?;
        captures.retain(|path| is_capture(path));
        captures.sort();
        files.extend(captures);
    }
    Ok(files)
}

/// By its name: pcap or pcapng, packed or not.
fn is_capture(path: &Path) -> bool {
    let name = file_name(path);
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    name.ends_with(".pcap") || name.ends_with(".pcapng")
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Compares one file and prints what differs.
fn compare(agent: &Path, file: &Path, total: &mut Total) -> Result<()> {
    let name = file_name(file);
    let theirs = tshark::read(file)?;
    let ours = match agent::read(agent, file) {
        // A kind of file that is refused, which tshark reads and finds no DNS in: the same result.
        Err(_) if theirs.messages.is_empty() => Reading::default(),
        ours => ours?,
    };
    total.files += 1;
    total.messages += theirs.messages.len();
    total.transactions += theirs.transactions.len();
    let Verdict { unexplained, explained, stale } = explained::judge(name, differences(&theirs, &ours));
    if !unexplained.is_empty() || !stale.is_empty() {
        println!("{name}: {} unexplained, {} explained", unexplained.len(), explained.len());
    }
    for Difference { frame, field, tshark, nslookout } in unexplained.iter().take(MAX_PRINTED) {
        println!("  frame {frame} {field}: tshark {tshark}, nslookout {nslookout}");
    }
    if let Some(more) = unexplained.len().checked_sub(MAX_PRINTED + 1) {
        println!("  and {} more", more + 1);
    }
    for (Explained { field, reason, .. }, frame) in &stale {
        println!("  frame {frame} {field}: no longer differs, though the list says: {reason}");
    }
    total.unexplained += unexplained.len();
    total.explained += explained.len();
    total.stale += stale.len();
    Ok(())
}
