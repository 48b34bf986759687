//! The incidents, live: each is made to happen, must be found in time, and its controls must stay silent.

mod amplification;
mod catalogue;
mod diagnose;
mod findings;
mod fingerprints;
mod incident;
mod linklocal;
mod run;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{heading, indent};
use crate::child;
use crate::lab::Lab;
use findings::{CLOSE_AFTER, Watch};
use incident::{Incident, Line};
use run::{Started, wait_for};

/// How long a client may take: musl and glibc give up within 5 s and 20 s, and TCP that nobody answers adds to it.
const CLIENT_LIMIT: Duration = Duration::from_secs(45);

/// After the last client has ended: what a rule may still wait for (2 s for TCP that never comes, 6 s for an answer),
/// so that a control has had its chance to be accused.
const AFTERMATH: Duration = Duration::from_secs(8);

/// From the begin of one incident to that of the next.
const BETWEEN: Duration = Duration::from_millis(300);

/// What closing may take beyond its time.
const CLOSE_SLACK: Duration = Duration::from_secs(3);

/// The incidents that are more than a few lookups.
const LARGE: &[&str] = &["amplification", "fingerprints", "linklocal"];

/// What every incident has at hand.
pub struct Stage<'a> {
    /// The lab, with what the incidents need.
    pub lab: &'a Lab,
    /// The agent's program.
    pub program: &'a Path,
    /// Flags for every agent.
    pub flags: &'a [String],
}

/// The incident that a person has named; an error with all names where there is none.
pub fn name_of(word: &str) -> Result<&'static str> {
    let Some(name) = catalogue::NAMES.iter().chain(LARGE).find(|name| **name == word) else {
        let names: Vec<&str> = catalogue::NAMES.iter().chain(LARGE).copied().collect();
        bail!("no incident {word}; there are: {}", names.join(", "));
    };
    Ok(name)
}

/// Shows one incident, or all; gives whether each was found and each control stayed silent.
pub fn run(lab: &Lab, program: &Path, flags: &[String], choice: Option<&'static str>) -> Result<bool> {
    let is_chosen = |name: &str| choice.is_none_or(|choice| choice == name);
    let stage = Stage { lab, program, flags };
    heading("start the agent, watching for findings");
    let mut watch = Watch::start(lab, program, flags)?;
    let mut lines = Vec::new();
    let names: Vec<&str> = catalogue::NAMES.iter().copied().filter(|name| is_chosen(name)).collect();
    if !names.is_empty() {
        let incidents: Result<Vec<Incident>> =
            names.iter().map(|name| catalogue::incident(lab, name)).collect();
        lines.extend(at_once(incidents?, &mut watch)?);
    }
    if is_chosen("amplification") {
        lines.extend(amplification::run(&stage, &mut watch)?);
    }
    if is_chosen("fingerprints") {
        lines.extend(fingerprints::run(&stage, &mut watch)?);
    }
    if is_chosen("linklocal") {
        lines.extend(linklocal::run(&stage, &mut watch)?);
    }
    if choice.is_none() {
        lines.push(see_one_close(&mut watch)?);
    }
    watch.stop()?;
    heading("verdict: was every incident found, and every control silent?");
    for line in &lines {
        line.print();
    }
    Ok(lines.iter().all(|line| line.good))
}

/// Starts all clients of these incidents, waits for what must be found, then long enough for what must not.
fn at_once(incidents: Vec<Incident>, watch: &mut Watch) -> Result<Vec<Line>> {
    heading("incidents, all at once, each on pods of its own");
    let mut shown = Vec::new();
    let mut clients = Vec::new();
    for mut incident in incidents {
        println!("{:<15} {}", incident.name, incident.title);
        let since = Instant::now();
        let mut started = Vec::new();
        for (number, run) in std::mem::take(&mut incident.runs).into_iter().enumerate() {
            started.push(clients.len());
            clients.push(Started::start(run, &format!("{}-{number}", incident.name))?);
        }
        shown.push((incident, started, since));
        // Forty programs that start in one moment would only show how busy the machine is.
        wait(watch, BETWEEN)?;
    }
    let all_ended = wait_for(&mut clients, watch, CLIENT_LIMIT)?;
    wait(watch, AFTERMATH)?;
    let mut lines =
        vec![Line::new(all_ended, format!("every client ended within {} s", CLIENT_LIMIT.as_secs()))];
    for (incident, started, since) in &shown {
        heading(&format!("{}: {}", incident.name, incident.title));
        for &client in started {
            clients[client].show()?;
        }
        show_found(incident, watch, *since);
        lines.extend(incident.expected.iter().map(|expected| expected.judge(watch, *since)));
        lines.extend(incident.silent.iter().map(|silent| silent.judge(watch, *since)));
    }
    Ok(lines)
}

/// Prints each finding of an incident as a person reads it.
fn show_found(incident: &Incident, watch: &Watch, since: Instant) {
    for expected in &incident.expected {
        let words = watch.words_about(expected.id, expected.key());
        match (expected.first(watch, since), words.is_empty()) {
            (Some(_), false) => indent(&words),
            (Some(change), true) => indent(&change.line),
            (None, _) => println!("  | ({} about {} was not found)", expected.id, expected.who),
        }
    }
}

/// Reads on for so long; an error when an agent ends or the task is interrupted.
pub fn wait(watch: &mut Watch, time: Duration) -> Result<()> {
    child::wait_until(time, || {
        watch.poll()?;
        thread::sleep(Duration::from_millis(40));
        Ok(false)
    })
    .map(|_| ())
}

/// Waits until a finding of an incident that is over has closed, as it must so long after its last evidence.
fn see_one_close(watch: &mut Watch) -> Result<Line> {
    heading("a finding closes 30 s after its last evidence");
    child::wait_until(CLOSE_AFTER + CLOSE_SLACK, || {
        watch.poll()?;
        Ok(watch.first_closed().is_some())
    })?;
    let closed = watch.first_closed();
    indent(closed.map_or("none has", |change| change.line.as_str()));
    let after = closed.and_then(|change| change.since_evidence);
    let in_time = after.is_some_and(|after| (CLOSE_AFTER..=CLOSE_AFTER + CLOSE_SLACK).contains(&after));
    let after = after.map_or_else(
        || "no finding closed".to_owned(),
        |after| format!("after {:.1} s", after.as_secs_f32()),
    );
    Ok(Line::new(in_time, format!("{:<20} {:<22} {after}", "closed", "the first that did")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_incident_has_one_name() {
        assert_eq!(name_of("truncated").unwrap(), "truncated");
        assert_eq!(name_of("linklocal").unwrap(), "linklocal");
        assert!(name_of("nosuch").unwrap_err().to_string().contains("tcp-blocked"));
    }
}
