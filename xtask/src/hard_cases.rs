//! `cargo xtask hard-cases DIR`: one small capture for each case that cannot well be recorded, and the truth about it.
//!
//! Always the same bytes. IPv4 and IPv6 stand side by side in each file wherever the case knows both. All addresses are
//! those for documentation. What a reader must find is written to `NAME.json`: the numbers of messages and of
//! transactions by their end, as `nslookout watch -o json` tells them.

mod broken;
mod capture;
mod edns;
mod fragments;
mod matching;
mod message;
mod names;
mod sizes;
mod tcp;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use crate::generate::pcap::PcapWriter;
use capture::Capture;

/// What a reader of the capture must find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Truth {
    /// DNS messages on their way to or from a server port.
    messages: u64,
    /// Transactions whose response came in time.
    answered: u64,
    /// Transactions whose response did not come within 6 s of the last send.
    unanswered: u64,
    /// Transactions whose response might still have come when the capture ended.
    waiting: u64,
    /// Responses to one of the unanswered.
    late: u64,
}

impl Truth {
    /// Each query is one message and has one response.
    const fn all_answered(transactions: u64) -> Self {
        Self { messages: 2 * transactions, answered: transactions, unanswered: 0, waiting: 0, late: 0 }
    }
}

/// One capture.
struct Case {
    /// That of the file.
    name: &'static str,
    /// Too large to be kept in the repository.
    large: bool,
    /// Writes the frames and knows what they are.
    write: fn(&mut Capture) -> Truth,
}

const fn small(name: &'static str, write: fn(&mut Capture) -> Truth) -> Case {
    Case { name, large: false, write }
}

const fn large(name: &'static str, write: fn(&mut Capture) -> Truth) -> Case {
    Case { name, large: true, write }
}

/// All cases, room by room.
fn cases() -> impl Iterator<Item = &'static Case> {
    let rooms: [&[Case]; 7] = [
        &matching::CASES,
        &sizes::CASES,
        &fragments::CASES,
        &tcp::CASES,
        &edns::CASES,
        &names::CASES,
        &broken::CASES,
    ];
    rooms.into_iter().flatten()
}

/// Writes the captures and their truth into `folder`; the large ones only where `all` asks for them.
pub fn run(folder: &Path, all: bool) -> Result<()> {
    write(folder, |case| all || !case.large)
}

/// Writes the large captures alone.
pub fn write_large(folder: &Path) -> Result<()> {
    write(folder, |case| case.large)
}

fn write(folder: &Path, wanted: impl Fn(&Case) -> bool) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    for case in cases().filter(|case| wanted(case)) {
        let path = folder.join(case.name).with_extension("pcap");
        write_case(case, &path).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

fn write_case(case: &Case, path: &Path) -> Result<()> {
    let mut capture = Capture::default();
    let truth = (case.write)(&mut capture);
    let mut writer = PcapWriter::new(BufWriter::new(File::create(path)?))?;
    for (time_ns, frame) in &capture.frames {
        writer.write(*time_ns, frame)?;
    }
    writer.finish()?;
    let Truth { messages, answered, unanswered, waiting, late } = truth;
    let truth = json!({
        "messages": messages,
        "answered": answered,
        "unanswered": unanswered,
        "waiting": waiting,
        "late": late,
    });
    let mut file = File::create(path.with_extension("json"))?;
    writeln!(file, "{truth:#}").context("failed to write the truth")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_small_captures_are_small() {
        let mut names: Vec<&str> = cases().map(|case| case.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        let mut bytes = 0;
        for case in cases().filter(|case| !case.large) {
            let mut capture = Capture::default();
            (case.write)(&mut capture);
            bytes += 24 + capture.frames.iter().map(|(_, frame)| 16 + frame.len()).sum::<usize>();
        }
        assert!(bytes < 300_000, "{bytes} bytes");
    }
}
