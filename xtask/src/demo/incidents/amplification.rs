//! Eight queries for one name: lookups of external names under `ndots:5`, then the same under `ndots:1`.
//!
//! What the agent predicts for `ndots:1` from the first run is held against what the second really sent.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::catalogue::INCIDENT_LIMIT;
use super::diagnose::{Diagnosis, Report};
use super::findings::{Severity, Watch};
use super::incident::{Expected, Line, Silent};
use super::run::{Run, Started, wait_for};
use super::{CLIENT_LIMIT, Stage, wait};
use crate::child;
use crate::demo::agent::Agent;
use crate::demo::{heading, indent, verdict};
use crate::lab::{Client, Rounds, SERVICE_IP};

/// Who asks under `ndots:5`, and who the same under `ndots:1`.
const WASTEFUL: [(&str, Client); 2] = [("crawl/musl", Client::Musl123), ("crawl/glibc", Client::Glibc)];
const THRIFTY: [(&str, Client); 2] =
    [("crawl/musl-ndots-1", Client::Musl123), ("crawl/glibc-ndots-1", Client::Glibc)];

/// Four times 20 names: 80 lookups of each client, of which the rule wants 50 in a minute.
const SITES: usize = 20;
const ROUNDS: Rounds = Rounds { times: 4, pause: Duration::from_millis(300) };

/// The largest difference between the predicted and the real saving.
const TOLERANCE: f64 = 0.05;

/// Runs both, and compares.
pub fn run(stage: &Stage, watch: &mut Watch) -> Result<Vec<Line>> {
    heading("amplification: 80 lookups of external names, by musl and by glibc, under ndots:5");
    let wasteful = interfaces(stage, &WASTEFUL)?;
    let thrifty = interfaces(stage, &THRIFTY)?;
    let mut arguments = vec!["watch", "-o", "json"];
    arguments.extend(wasteful.iter().chain(&thrifty).flat_map(|interface| ["-i", interface]));
    arguments.extend(stage.flags.iter().map(String::as_str));
    let mut counter = Agent::start(stage.lab, stage.program, "amplification-json", &arguments)?;
    counter.wait_until_listening()?;
    let diagnosis = Diagnosis::start(stage, "diagnose-amplification", &wasteful)?;

    let since = Instant::now();
    crawl(stage, watch, &WASTEFUL)?;
    let mut lines = Vec::new();
    for (pod, _) in WASTEFUL {
        let expected = Expected::about(stage.lab, "search-amplification", pod, SERVICE_IP, INCIDENT_LIMIT)?;
        child::wait_until(INCIDENT_LIMIT, || {
            watch.poll()?;
            Ok(expected.first(watch, since).is_some())
        })?;
        wait(watch, Duration::from_millis(200))?;
        indent(&watch.words_about(expected.id, expected.key()));
        lines.push(expected.judge(watch, since));
    }
    let report = diagnosis.finish()?;

    heading("amplification: the same lookups under ndots:1");
    crawl(stage, watch, &THRIFTY)?;
    wait(watch, Duration::from_secs(2))?;
    for (pod, _) in THRIFTY {
        lines.push(Silent::but(stage.lab, pod, &[("old-musl", Severity::Low)])?.judge(watch, since));
    }
    counter.stop("INT")?;
    let seen = verdict::parse(&counter.stdout()?);
    let before = queries_of(stage, &seen, &WASTEFUL)?;
    let after = queries_of(stage, &seen, &THRIFTY)?;
    let predicted = saved_by_ndots_1(&report);
    lines.push(predicted.map_or_else(
        |error| Line::new(false, format!("{error:#} ({before} queries before, {after} after)")),
        |predicted| compare(predicted, before as f64 - after as f64, before, after),
    ));
    Ok(lines)
}

/// The clients look all sites up, at once.
fn crawl(stage: &Stage, watch: &mut Watch, clients: &[(&'static str, Client)]) -> Result<()> {
    let sites: Vec<String> = (1..=SITES).map(|site| format!("site-{site}.crawl.example")).collect();
    let sites: Vec<&str> = sites.iter().map(String::as_str).collect();
    let mut started = Vec::new();
    for (pod, client) in clients {
        println!(
            "{pod} $ {} … site-{SITES}.crawl.example   ({} times)",
            client.typed(&sites[..1]),
            ROUNDS.times
        );
        let run = Run::of(stage.lab, pod, *client, &sites, ROUNDS)?;
        started.push(Started::start(run, &format!("amplification-{}", pod.replace('/', "-")))?);
    }
    wait_for(&mut started, watch, CLIENT_LIMIT)?;
    Ok(())
}

fn interfaces(stage: &Stage, clients: &[(&str, Client)]) -> Result<Vec<&'static str>> {
    clients.iter().map(|(pod, _)| Ok(stage.lab.pod(pod)?.interface)).collect()
}

/// How many queries these clients sent, as `watch` counted them.
fn queries_of(stage: &Stage, seen: &[Value], clients: &[(&str, Client)]) -> Result<usize> {
    let mut count = 0;
    for (pod, _) in clients {
        let address = stage.lab.pod(pod)?.address;
        count += verdict::client_queries_of(seen, address, SERVICE_IP);
    }
    Ok(count)
}

fn saved_by_ndots_1(report: &Report) -> Result<f64> {
    Ok(report.prediction(["ndots_1", "of"])? - report.prediction(["ndots_1", "queries"])?)
}

fn compare(predicted: f64, real: f64, before: usize, after: usize) -> Line {
    let good = real > 0.0 && (predicted - real).abs() <= TOLERANCE * real;
    let what = format!("{:<20} {:<22}", "predicted, real", "ndots:1");
    Line::new(
        good,
        format!("{what} {predicted} queries saved predicted, {real} really ({before} before, {after} after)"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_may_be_off_by_a_twentieth() {
        assert!(compare(480.0, 480.0, 640, 160).good);
        assert!(compare(460.0, 480.0, 640, 160).good);
        assert!(!compare(450.0, 480.0, 640, 160).good);
        assert!(!compare(0.0, 0.0, 0, 0).good);
    }
}
