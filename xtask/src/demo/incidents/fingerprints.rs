//! Every kind of client in a pod of its own: is its stub resolver named right, or honestly not at all?

use std::time::{Duration, Instant};

use anyhow::Result;

use super::catalogue::INCIDENT_LIMIT;
use super::diagnose::Diagnosis;
use super::findings::{Severity, Watch};
use super::incident::{Expected, Line, Silent};
use super::run::{Run, Started, wait_for};
use super::{CLIENT_LIMIT, Stage, wait};
use crate::demo::heading;
use crate::lab::{Client, Rounds, SERVICE_IP};

/// The pods, each with its client.
const FLEET: &[(&str, Client)] = &[
    ("fleet/musl-1-2-3", Client::Musl123),
    ("fleet/musl-1-2-4", Client::Musl124),
    ("fleet/musl-1-2-5", Client::Musl125),
    ("fleet/glibc", Client::Glibc),
    ("fleet/go", Client::Go),
    ("fleet/c-ares-1-18", Client::CAres118),
    ("fleet/c-ares-1-34", Client::CAres134),
    ("fleet/node-resolve", Client::NodeResolve),
    ("fleet/node-lookup", Client::NodeLookup),
    ("fleet/busybox", Client::BusyBox),
    ("fleet/dig", Client::Dig),
    ("fleet/kdig", Client::Kdig),
];

/// Two external names and a Service, twelve times: over the search list some 100 pairs, of which 20 tell musl's versions
/// apart, and fewer lookups than would make a client a spendthrift.
const NAMES: &[&str] = &["www.example.test", "assets.shop.example", "kubernetes.default"];
const ROUNDS: Rounds = Rounds { times: 12, pause: Duration::from_millis(100) };

/// Runs every client, and compares what the agent says of each with what it is.
pub fn run(stage: &Stage, watch: &mut Watch) -> Result<Vec<Line>> {
    heading("fingerprints: every kind of client in a pod of its own");
    let pods: Result<Vec<_>> = FLEET.iter().map(|(pod, _)| stage.lab.pod(pod)).collect();
    let pods = pods?;
    let interfaces: Vec<&str> = pods.iter().map(|pod| pod.interface).collect();
    let diagnosis = Diagnosis::start(stage, "diagnose-fingerprints", &interfaces)?;
    let since = Instant::now();
    let mut clients = Vec::new();
    for (pod, client) in FLEET {
        let run = Run::of(stage.lab, pod, *client, NAMES, ROUNDS)?;
        clients.push(Started::start(run, &format!("fingerprints-{}", client.name()))?);
    }
    wait_for(&mut clients, watch, CLIENT_LIMIT)?;
    wait(watch, Duration::from_secs(1))?;
    let report = diagnosis.finish()?;
    let mut lines = Vec::new();
    println!("{:<14} {:<20} {:<20}", "client", "is", "found");
    for ((_, client), pod) in FLEET.iter().zip(&pods) {
        let found = report.stub(pod.address);
        println!("{:<14} {:<20} {found:<20}", client.name(), client.fingerprint());
        lines.push(judge(*client, &found));
    }
    let old = "fleet/musl-1-2-3";
    lines.push(
        Expected::about(stage.lab, "old-musl", old, SERVICE_IP, INCIDENT_LIMIT)?
            .at_least(Severity::Info)
            .judge(watch, since),
    );
    for (pod, _) in FLEET.iter().filter(|(pod, _)| *pod != old) {
        lines.push(Silent::never(stage.lab, pod, "old-musl")?.judge(watch, since));
    }
    Ok(lines)
}

/// A wrong name is a fault with every client; no name is one with those whose habits are beyond doubt.
fn judge(client: Client, found: &str) -> Line {
    use Client::{CAres134, Glibc, Go, Musl123, Musl124, Musl125};
    let is_known = matches!(client, Musl123 | Musl124 | Musl125 | Glibc | Go | CAres134);
    let good = found == client.fingerprint() || (found == "unknown" && !is_known);
    let is = client.fingerprint();
    Line::new(good, format!("{:<20} {:<22} is {is}, found {found}", "fingerprint", client.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_right_only_where_the_wire_cannot_tell() {
        assert!(judge(Client::Dig, "unknown").good);
        assert!(!judge(Client::Dig, "glibc").good);
        assert!(!judge(Client::Musl123, "unknown").good);
        assert!(judge(Client::BusyBox, "unknown").good);
        assert!(judge(Client::Go, "go").good);
    }

    #[test]
    fn the_fleet_is_complete() {
        assert!(Client::ALL.iter().all(|client| FLEET.iter().any(|(_, of_fleet)| of_fleet == client)));
    }
}
