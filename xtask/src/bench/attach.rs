//! Attaching to a crowd of interfaces, leaving it, and how soon a new pod is watched.

use std::fs::File;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::cost::Metered;
use super::kernel::in_namespace;
use super::site::{SERVER, Site, namespace, wait_for_listening};
use super::table::Table;
use super::{Bench, Found, median};
use crate::generate::query_bytes;
use crate::netns;

/// Pods on the node: 200 hooks.
const CROWD: u32 = 100;

/// A new pod asks this often, this many times.
const PAUSE: Duration = Duration::from_millis(2);
const QUERIES: u16 = 500;

/// One start of the agent among the crowd.
#[derive(Clone, Copy, Debug)]
struct Trial {
    attach_seconds: f64,
    /// From the start of the process to the line that says it is listening.
    ready_seconds: f64,
    detach_seconds: f64,
    /// From before the new interface was made to the first of its queries that was seen.
    follow_seconds: f64,
    /// Queries of the new pod that came before that.
    missed: u16,
}

/// Tries both methods, in turns.
pub(super) fn measure(bench: &Bench) -> Result<Found> {
    let rounds = if bench.quick { 1 } else { 5 };
    let site = Site::up(&bench.folder)?;
    let crowd = Crowd::up(&site)?;
    let methods = ["clsact", "tcx"];
    let mut trials: [Vec<Trial>; 2] = [Vec::new(), Vec::new()];
    for round in 1..=rounds {
        println!("bench: attaching to {CROWD} interfaces, round {round} of {rounds}");
        for (method, trials) in methods.iter().zip(&mut trials) {
            trials.push(try_once(bench, &site, method).with_context(|| format!("attaching by {method}"))?);
        }
    }
    drop(crowd);
    report(&methods, &trials, rounds)
}

fn try_once(bench: &Bench, site: &Site, method: &str) -> Result<Trial> {
    let log = bench.folder.join("attach.log");
    let lines = bench.folder.join("attach.jsonl");
    let create =
        |path: &Path| File::create(path).with_context(|| format!("failed to create {}", path.display()));
    let mut command = site.node_command(&bench.agent);
    command.args(["watch", "-i", "any", "-n", "-o", "json", "--capture", "ebpf", "--attach", method]);
    command.stdin(Stdio::null()).stdout(create(&lines)?).stderr(create(&log)?);
    let start = Instant::now();
    let agent = Metered::spawn(&mut command)?;
    let said = wait_for_listening(&agent, &log)?;
    let ready_seconds = start.elapsed().as_secs_f64();
    let sent = new_pod(site)?;
    // Lines are written in the order of their time, a moment after the packets.
    std::thread::sleep(Duration::from_millis(300));
    let stop = Instant::now();
    let cost = agent.stop_within("TERM", Duration::from_secs(30))?;
    let detach_seconds = stop.elapsed().as_secs_f64();
    ensure!(cost.success, "the agent ended with an error: {said}");
    let text =
        std::fs::read_to_string(&lines).with_context(|| format!("failed to read {}", lines.display()))?;
    let missed = first_seen(&text).context("no query of the new pod was seen")?;
    let follow = sent.get(usize::from(missed)).context("a query was seen that was never sent")?;
    Ok(Trial {
        attach_seconds: attach_seconds(&said)?,
        ready_seconds,
        detach_seconds,
        follow_seconds: follow.as_secs_f64(),
        missed,
    })
}

/// A pod appears and asks at once, again and again; gives when each query left, from before the interface was made.
fn new_pod(site: &Site) -> Result<Vec<Duration>> {
    let pod = Pod::new("new")?;
    let start = Instant::now();
    site.connect("cali0new000", "10.1.9.9", &pod.0)?;
    in_namespace(&pod.0, || {
        let socket = UdpSocket::bind("10.1.9.9:0").context("failed to bind a socket in the new pod")?;
        socket.connect((SERVER, 53)).context("failed to connect it")?;
        let mut sent = Vec::new();
        for number in 0..QUERIES {
            let query = query_bytes(number, &format!("n-{number}.new.bench.example"));
            sent.push(start.elapsed());
            socket.send(&query).context("failed to send a query")?;
            std::thread::sleep(PAUSE);
        }
        Ok(sent)
    })
}

/// The smallest number among the names that the agent saw from the new pod.
fn first_seen(lines: &str) -> Option<u16> {
    lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|record| record["qname"].as_str()?.strip_prefix("n-")?.split('.').next()?.parse().ok())
        .min()
}

/// The seconds in the agent's line `listening on any (101 interfaces, 202 hooks attached by tcx in 1.70 s)`.
pub(super) fn attach_seconds(said: &str) -> Result<f64> {
    said.lines()
        .find(|line| line.contains("listening on"))
        .and_then(|line| line.split_once(" in ")?.1.split_once(" s)")?.0.parse().ok())
        .with_context(|| format!("no time of attaching in {said:?}"))
}

fn report(methods: &[&str], trials: &[Vec<Trial>], rounds: usize) -> Result<Found> {
    let title = format!("{CROWD} interfaces (two hooks each), median of {rounds}");
    let heading = [
        "method",
        "attach s",
        "ready after s",
        "detach and exit s",
        "new pod watched ms",
        "its queries missed",
    ];
    let mut table = Table::new(title, &heading);
    let mut list = Vec::new();
    for (method, trials) in methods.iter().zip(trials) {
        let middle = |value: fn(&Trial) -> f64| median(trials.iter().map(value).collect());
        let (attach, ready) = (middle(|trial| trial.attach_seconds), middle(|trial| trial.ready_seconds));
        let (detach, follow) = (middle(|trial| trial.detach_seconds), middle(|trial| trial.follow_seconds));
        let missed = middle(|trial| f64::from(trial.missed));
        table.row(vec![
            (*method).to_owned(),
            format!("{attach:.2}"),
            format!("{ready:.2}"),
            format!("{detach:.2}"),
            format!("{:.1}", follow * 1e3),
            format!("{missed:.0}"),
        ]);
        list.push(json!({
            "method": method,
            "interfaces": CROWD,
            "attach_seconds": attach,
            "ready_seconds": ready,
            "detach_seconds": detach,
            "new_interface_ms": follow * 1e3,
            "new_interface_missed_queries": missed,
        }));
    }
    table.note(format!(
        "new pod: from before its interface was made to its first query seen; it asks every {} ms as soon as it has an address",
        PAUSE.as_millis()
    ));
    Ok(Found { tables: vec![table], json: Value::Array(list) })
}

/// Interfaces of many pods, which lead to one namespace; gone with it.
struct Crowd {
    _pods: Pod,
}

impl Crowd {
    fn up(site: &Site) -> Result<Self> {
        let pods = Pod::new("crowd")?;
        let lines: Vec<String> = (0..CROWD)
            .map(|number| {
                format!(
                    "link add cali1c{number:03} type veth peer name p{number} netns {}\nlink set cali1c{number:03} up",
                    pods.0
                )
            })
            .collect();
        netns::ip(&site.node, &lines.join("\n"))?;
        Ok(Self { _pods: pods })
    }
}

/// A namespace of this run, removed when dropped; interfaces that lead to it go with it.
struct Pod(String);

impl Pod {
    fn new(role: &str) -> Result<Self> {
        let pod = Self(namespace(role));
        netns::add(&pod.0)?;
        Ok(pod)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        netns::delete(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attach_time_is_read_from_the_line() {
        let said = "nslookout: a note\nlistening on any (101 interfaces, 202 hooks attached by tcx in 1.70 s), udp\n";
        assert_eq!(attach_seconds(said).unwrap(), 1.70);
        assert!(attach_seconds("listening on any").is_err());
    }

    #[test]
    fn first_seen_is_the_smallest_number() {
        let lines = "{\"qname\":\"n-12.new.bench.example.\"}\n{\"qname\":\"n-7.new.bench.example.\"}\n{\"qname\":\"x.\"}\n";
        assert_eq!(first_seen(lines), Some(7));
    }
}
