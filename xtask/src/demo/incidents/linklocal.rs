//! 1024 packets a second: a burst to the VPC resolver over the limit of the network interface, then the same questions
//! through a cache on the node.
//!
//! What the agent predicts of a cache from the burst is held against what the real one then answered by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::catalogue::INCIDENT_LIMIT;
use super::diagnose::{Diagnosis, Report};
use super::findings::{Severity, Watch};
use super::incident::{Expected, Line};
use super::run::{Run, Started, wait_for};
use super::{Stage, wait};
use crate::child::{self, Running};
use crate::demo::agent::Agent;
use crate::demo::{heading, indent, verdict};
use crate::generate::random::Random;
use crate::lab::{IMDS, NODE, NODE_CACHE, NODE_IP, VPC, VPC_RESOLVER, fill};
use crate::{netns, shell};

/// Who asks, beside the node itself.
const POD: &str = "load/generator";
/// Each of the two asks so often, and so the limit is exceeded by nearly half.
const QUERIES_PER_SECOND: u32 = 750;
/// For so long.
const SECONDS: u32 = 5;
/// Of so many names, the popular ones far more often.
const NAMES: u64 = 500;
/// The largest difference between the predicted and the real share of hits.
const TOLERANCE: f64 = 0.05;

/// Runs both, and compares.
pub fn run(stage: &Stage, watch: &mut Watch) -> Result<Vec<Line>> {
    netns::nft(VPC, &fill(include_str!("../../../lab/incidents/limit.nft"))?)?;
    let _imds = start_imds()?;
    let questions = [write_questions("pod", 1)?, write_questions("node", 2)?];

    heading(
        "linklocal: 1,500 packets a second to the VPC resolver, and the network interface may send 1,024",
    );
    let diagnosis = Diagnosis::start(stage, "diagnose-linklocal", &["any"])?;
    let since = Instant::now();
    load(stage, watch, "burst", VPC_RESOLVER, &questions)?;
    wait(watch, Duration::from_secs(2))?;
    let dropped = dropped()?;
    println!("the limit dropped {dropped} packets");
    let expected = Expected {
        id: "linklocal-rate",
        who: "the node's eth0".into(),
        client: None,
        server: None,
        interface: Some("eth0"),
        severity: Severity::High,
        qname: None,
        within: INCIDENT_LIMIT,
    };
    indent(&watch.words_about(expected.id, expected.key()));
    let mut lines = vec![
        Line::new(
            dropped > 0,
            format!("{:<20} {:<22} {dropped} packets dropped by it", "limit", "of the VPC"),
        ),
        expected.judge(watch, since),
    ];
    let predicted = diagnosis.finish()?;
    lines.extend(with_cache(stage, watch, &questions, dropped, &predicted)?);
    Ok(lines)
}

/// The same questions through the cache on the node, which must end the incident.
fn with_cache(
    stage: &Stage,
    watch: &mut Watch,
    questions: &[PathBuf; 2],
    dropped_before: u64,
    predicted: &Report,
) -> Result<Vec<Line>> {
    heading("linklocal: the same questions through a cache on the node, a real unbound");
    let diagnosis = Diagnosis::start(stage, "diagnose-node-cache", &["any"])?;
    let mut arguments = vec!["watch", "-o", "json", "-i", "any"];
    arguments.extend(stage.flags.iter().map(String::as_str));
    let mut counter = Agent::start(stage.lab, stage.program, "node-cache-json", &arguments)?;
    counter.wait_until_listening()?;
    load(stage, watch, "cached", NODE_CACHE, questions)?;
    wait(watch, Duration::from_secs(1))?;
    counter.stop("INT")?;
    let report = diagnosis.finish()?;
    let dropped = dropped()? - dropped_before;
    let seen = verdict::parse(&counter.stdout()?);
    let pod = stage.lab.pod(POD)?.address;
    // The node's own packets to an address of its lo have that address as their source.
    let asked: usize = [pod, NODE_CACHE, "127.0.0.1"]
        .iter()
        .map(|client| verdict::client_queries_of(&seen, client, NODE_CACHE))
        .sum();
    let forwarded = verdict::client_queries_of(&seen, NODE_IP, VPC_RESOLVER);
    let silent = !report.has_found("linklocal-rate") && dropped == 0;
    let control =
        format!("{:<20} {:<22} no linklocal-rate, {dropped} packets dropped", "control", "with a node cache");
    let real = 1.0 - forwarded as f64 / asked.max(1) as f64;
    let comparison = hit_share(predicted).map_or_else(
        |error| Line::new(false, format!("{error:#} ({asked} asked, {forwarded} forwarded)")),
        |share| compare(share, real, asked, forwarded),
    );
    Ok(vec![Line::new(silent, control), comparison])
}

fn hit_share(report: &Report) -> Result<f64> {
    Ok(report.prediction(["cache", "hits"])? / report.prediction(["cache", "queries"])?.max(1.0))
}

fn compare(predicted: f64, real: f64, asked: usize, forwarded: usize) -> Line {
    let good = asked > 0 && (predicted - real).abs() <= TOLERANCE;
    let what = format!("{:<20} {:<22}", "predicted, real", "hits of a node cache");
    let (predicted, real) = (predicted * 100.0, real * 100.0);
    Line::new(
        good,
        format!(
            "{what} {predicted:.1} % predicted, {real:.1} % really ({asked} asked, {forwarded} forwarded)"
        ),
    )
}

/// dnsperf in the pod and on the node at once, and a few requests for the instance's metadata.
fn load(stage: &Stage, watch: &mut Watch, name: &str, server: &str, questions: &[PathBuf; 2]) -> Result<()> {
    let dnsperf = |mut command: Command, file: &Path, place: &'static str| {
        // Nothing may hold it back: as many may be under way as are lost in a second.
        let words = format!("-s {server} -Q {QUERIES_PER_SECOND} -l {SECONDS} -q 4000 -t 1 -c 1");
        command.args(words.split(' ')).arg("-d").arg(file);
        println!("{place} $ dnsperf {words} -d FILE");
        Run { pod: place, typed: "dnsperf".into(), command }
    };
    let imds = format!(
        "for i in $(seq 20); do curl -s -m 2 http://{IMDS}/latest/meta-data/instance-id; sleep 0.2; done"
    );
    let runs = [
        dnsperf(stage.lab.pod_command(POD, "dnsperf")?, &questions[0], POD),
        dnsperf(stage.lab.node_command("dnsperf"), &questions[1], "the node"),
        Run::shell(stage.lab, POD, &imds)?,
    ];
    let mut started = Vec::new();
    for (number, run) in runs.into_iter().enumerate() {
        started.push(Started::start(run, &format!("linklocal-{name}-{number}"))?);
    }
    wait_for(&mut started, watch, Duration::from_secs(u64::from(SECONDS) + 20))?;
    started[..2].iter().try_for_each(Started::show_statistics)
}

/// A file of questions for dnsperf, the same for the same seed: as many as one run asks.
fn write_questions(name: &str, seed: u64) -> Result<PathBuf> {
    let mut random = Random::new(seed);
    let count = u64::from(QUERIES_PER_SECOND * SECONDS);
    let text: String =
        (0..count).map(|_| format!("host-{}.load.example A\n", random.skewed(NAMES))).collect();
    let path = shell::workspace().join(format!("target/lab/demo/questions-{name}.txt"));
    fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path)
}

/// The instance metadata service, which knows the node's uplink.
fn start_imds() -> Result<Running> {
    let folder = shell::workspace().join("target/lab/demo/imds");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let mut address = netns::command(NODE, "cat");
    let mac = child::output_within(address.arg("/sys/class/net/eth0/address"), Duration::from_secs(5))?;
    let interfaces = folder.join("interfaces.json");
    fs::write(&interfaces, interfaces_of(mac.trim()).to_string()).context("failed to write the metadata")?;
    let mut command = netns::command(VPC, "python3");
    command.arg(shell::workspace().join("xtask/lab/aws/imds.py"));
    // The client of the incident knows version 1 only, as many do.
    command.args(["--tokens", "optional", "--bind", IMDS, "--interfaces"]).arg(&interfaces);
    command.arg("--log").arg(folder.join("requests"));
    Running::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
}

/// What the service says of the node's uplink, whose hardware address is `mac`.
fn interfaces_of(mac: &str) -> Value {
    json!({ mac: {
        "interface-id": "eni-0123456789abcdef0",
        "local-ipv4s": [NODE_IP],
        "vpc-ipv4-cidr-blocks": ["10.0.0.0/16"],
        "subnet-ipv4-cidr-block": "10.0.0.0/24",
    }})
}

/// How many packets the limit has dropped so far, by its own counter.
fn dropped() -> Result<u64> {
    let mut nft = netns::command(VPC, "nft");
    nft.args(["list", "table", "inet", "nslookout-limit"]);
    let text = child::output_within(&mut nft, Duration::from_secs(5))?;
    let mut words = text.split_whitespace().skip_while(|word| *word != "packets");
    let is_number = words.find_map(|word| word.parse().ok());
    is_number.with_context(|| format!("the limit has no counter: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_may_be_off_by_five_points() {
        assert!(compare(0.95, 0.92, 7500, 600).good);
        assert!(!compare(0.99, 0.92, 7500, 600).good);
        assert!(!compare(1.0, 1.0, 0, 0).good);
    }
}
