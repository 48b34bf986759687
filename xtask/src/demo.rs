//! `cargo xtask demo`: real lookups by real resolvers under a live agent, and a verdict on each; then the incidents.

mod agent;
mod basics;
mod incidents;
mod lookups;
mod metrics;
mod verdict;

use std::io::{IsTerminal, stdout};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::cargo::build_agent;
use crate::lab::{self, Lab};
use crate::setup::{self, Part};

/// The whole demo: the lookups, then every incident.
pub fn run() -> Result<()> {
    run_with(&[])
}

/// The demo as the command line asks for it: the name of an incident to show that one alone, then flags for every agent
/// (`--attach clsact`, `--capture packet`), so that each way of capturing can be put to the same trial.
pub fn run_with(words: &[String]) -> Result<()> {
    let (incident, flags) = match words.split_first() {
        Some((name, flags)) if !name.starts_with('-') => (Some(incidents::name_of(name)?), flags),
        _ => (None, words),
    };
    let start = Instant::now();
    setup::ensure(&[Part::Build, Part::Lab, Part::Clients])?;
    heading("build the agent, both halves");
    let program = build_agent()?;

    heading("raise the lab: a node with pods, a cluster resolver behind a Service IP, and a VPC");
    let mut lab = Lab::up()?;
    lab::describe();
    let seen = incident.is_some() || basics::run(&lab, &program, flags)?;

    heading("add to the lab: pods for the incidents, and resolvers with the faults of real ones");
    lab.add_incidents()?;
    println!("{} pods more", lab::INCIDENT_PODS.len());
    let found = incidents::run(&lab, &program, flags, incident)?;
    drop(lab);
    println!("the lab is down; {:.0} s in all", start.elapsed().as_secs_f32());
    match (seen, found) {
        (true, true) => Ok(()),
        (false, _) => bail!("not every query was seen and matched; the agent's output is in target/lab/demo"),
        (_, false) => bail!("not every incident was found as it must be; all output is in target/lab/demo"),
    }
}

fn heading(text: &str) {
    let bold = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (on, off) = if bold { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    println!("\n{on}== {text}{off}");
}

/// The agent's lines, set apart from the client's.
fn indent(lines: &str) {
    for line in lines.lines() {
        println!("  | {line}");
    }
}

/// What a person would read of a client's output: not dig's frame around the answer, and not 59 addresses.
fn shorten(output: &str) -> Vec<String> {
    let says_something = |line: &&str| {
        let notable = ["status:", "timed out", "no servers"].iter().any(|word| line.contains(word));
        !line.is_empty() && (!line.starts_with(';') || notable)
    };
    let lines: Vec<&str> = output.lines().filter(says_something).collect();
    let shown = lines.iter().take(4).map(|line| line.chars().take(110).collect());
    let rest = (lines.len() > 4).then(|| format!("… and {} lines more", lines.len() - 4));
    shown.chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_dig_is_the_answer() {
        let output =
            ";; ->>HEADER<<- opcode: QUERY, status: NXDOMAIN, id: 1\n;; flags: qr\n\na. 60 IN A 192.0.2.1\n";
        assert_eq!(shorten(output).len(), 2);
        assert_eq!(shorten(&"a. 60 IN A 192.0.2.1\n".repeat(59)).last().unwrap(), "… and 55 lines more");
    }
}
