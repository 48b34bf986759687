//! A node with as many pods as a large one has: how soon all are watched and known by name, what that takes of memory,
//! and of a processor while nothing happens.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::attach::attach_seconds;
use super::cost::Metered;
use super::kernel::in_namespace;
use super::site::{SERVER, Site, namespace, wait_for_listening};
use super::table::Table;
use super::{Bench, Found, median};
use crate::child::Running;
use crate::generate::query_bytes;
use crate::netns;

/// Pods on the node, each with a namespace, a cgroup and a process of its own.
const PODS: u8 = 250;

/// Every pod asks once in each round, and rounds follow each other this soon.
const ROUND: Duration = Duration::from_millis(100);
const ROUNDS: u16 = 50;

/// Files of new processes are read in the first seconds; then the node is idle.
const SETTLE: Duration = Duration::from_secs(30);

/// One start of the agent among the pods.
#[derive(Clone, Copy, Debug)]
struct Trial {
    /// As the agent says it.
    attach_seconds: f64,
    /// From the start of the process to the line that says it is listening.
    ready_seconds: f64,
    /// From the start of the process to the first round in which every pod's query carries its name.
    named_seconds: f64,
    /// Queries before that which do not.
    nameless: usize,
    /// Of the idle agent: `RssAnon`, so without the ring and the binary.
    anonymous_mib: f64,
    /// Of one processor, in per cent.
    idle_percent: f64,
}

/// Tries both methods, in turns.
pub(super) fn measure(bench: &Bench) -> Result<Found> {
    let rounds = if bench.quick { 1 } else { 3 };
    let site = Site::up(&bench.folder)?;
    println!("bench: making {PODS} pods");
    let crowd = Crowd::up(&site)?;
    let methods = ["clsact", "tcx"];
    let mut trials: [Vec<Trial>; 2] = [Vec::new(), Vec::new()];
    for round in 1..=rounds {
        println!("bench: watching {PODS} pods, round {round} of {rounds}");
        for (method, trials) in methods.iter().zip(&mut trials) {
            let trial = try_once(bench, &site, &crowd, method);
            trials.push(trial.with_context(|| format!("attaching by {method}"))?);
        }
    }
    Ok(report(&methods, &trials, rounds))
}

fn try_once(bench: &Bench, site: &Site, crowd: &Crowd, method: &str) -> Result<Trial> {
    let log = bench.folder.join("pods.log");
    let lines = bench.folder.join("pods.jsonl");
    let create =
        |path: &Path| File::create(path).with_context(|| format!("failed to create {}", path.display()));
    let mut command = site.node_command(&bench.agent);
    command.args(["watch", "-i", "any", "-o", "json", "--capture", "ebpf", "--attach", method]);
    command.args(["--identity", "processes"]);
    command.stdin(Stdio::null()).stdout(create(&lines)?).stderr(create(&log)?);
    let start = Instant::now();
    let agent = Metered::spawn(&mut command)?;
    let said = wait_for_listening(&agent, &log)?;
    let ready_seconds = start.elapsed().as_secs_f64();
    let sent = crowd.ask(start)?;
    std::thread::sleep(SETTLE);
    let (idle, before) = (Instant::now(), agent.cpu_seconds()?);
    std::thread::sleep(SETTLE);
    let idle_percent = 100.0 * (agent.cpu_seconds()? - before) / idle.elapsed().as_secs_f64();
    let anonymous_mib = anonymous_mib(agent.pid())?;
    let cost = agent.stop_within("TERM", Duration::from_secs(30))?;
    ensure!(cost.success, "the agent ended with an error: {said}");
    let text = fs::read_to_string(&lines).with_context(|| format!("failed to read {}", lines.display()))?;
    let named = named_by_round(&text);
    let nameless_until =
        named.iter().rposition(|named| *named < usize::from(PODS)).map_or(0, |last| last + 1);
    let named_seconds = sent.get(nameless_until).context("not every pod got its name")?.as_secs_f64();
    let nameless = named.iter().take(nameless_until).map(|named| usize::from(PODS) - named).sum();
    Ok(Trial {
        attach_seconds: attach_seconds(&said)?,
        ready_seconds,
        named_seconds,
        nameless,
        anonymous_mib,
        idle_percent,
    })
}

/// How many queries of each round carry the name of a container.
fn named_by_round(lines: &str) -> Vec<usize> {
    let mut named = vec![0; usize::from(ROUNDS)];
    for record in lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let round = record["qname"]
            .as_str()
            .and_then(|qname| qname.strip_prefix("r-")?.split('.').next()?.parse::<usize>().ok());
        if record["client_workload"]["kind"] == "container"
            && let Some(named) = round.and_then(|round| named.get_mut(round))
        {
            *named += 1;
        }
    }
    named
}

fn anonymous_mib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib: f64 = line
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok())
        .with_context(|| format!("no RssAnon in {path}"))?;
    Ok(kib / 1024.0)
}

fn report(methods: &[&str], trials: &[Vec<Trial>], rounds: usize) -> Found {
    let heading = [
        "method",
        "attach s",
        "ready after s",
        "all named after s",
        "nameless queries",
        "anonymous MiB",
        "idle CPU %",
    ];
    let mut table = Table::new(format!("{PODS} pods, median of {rounds}"), &heading);
    let mut list = Vec::new();
    for (method, trials) in methods.iter().zip(trials) {
        let middle = |value: fn(&Trial) -> f64| median(trials.iter().map(value).collect());
        let attach = middle(|trial| trial.attach_seconds);
        let (ready, named) = (middle(|trial| trial.ready_seconds), middle(|trial| trial.named_seconds));
        let nameless = middle(|trial| trial.nameless as f64);
        let (anonymous, idle) = (middle(|trial| trial.anonymous_mib), middle(|trial| trial.idle_percent));
        table.row(vec![
            (*method).to_owned(),
            format!("{attach:.2}"),
            format!("{ready:.2}"),
            format!("{named:.2}"),
            format!("{nameless:.0}"),
            format!("{anonymous:.1}"),
            format!("{idle:.2}"),
        ]);
        list.push(json!({
            "method": method,
            "pods": PODS,
            "attach_seconds": attach,
            "ready_seconds": ready,
            "named_seconds": named,
            "nameless_queries": nameless,
            "anonymous_mib": anonymous,
            "idle_percent": idle,
        }));
    }
    table.note(format!(
        "each pod is a network namespace with a process in a cgroup; all ask every {} ms once the agent is ready",
        ROUND.as_millis()
    ));
    Found { tables: vec![table], json: Value::Array(list) }
}

/// The pods and a socket in each.
struct Crowd {
    sockets: Vec<UdpSocket>,
    _pods: Vec<Pod>,
}

impl Crowd {
    fn up(site: &Site) -> Result<Self> {
        let (mut pods, mut sockets) = (Vec::new(), Vec::new());
        for number in 0..PODS {
            let pod = Pod::new(number)?;
            let address = format!("10.1.1.{number}");
            site.connect(&format!("cali0crowd{number:03}"), &address, &pod.name)?;
            sockets.push(in_namespace(&pod.name, || {
                let socket =
                    UdpSocket::bind((address.as_str(), 0)).context("failed to bind a socket in a pod")?;
                socket.connect((SERVER, 53)).context("failed to connect it")?;
                Ok(socket)
            })?);
            pods.push(pod);
        }
        Ok(Self { sockets, _pods: pods })
    }

    /// Lets every pod ask once a round; gives when each round began, from `start`.
    fn ask(&self, start: Instant) -> Result<Vec<Duration>> {
        let mut sent = Vec::new();
        for round in 0..ROUNDS {
            let begun = Instant::now();
            sent.push(start.elapsed());
            for (number, socket) in (0..).zip(&self.sockets) {
                let query = query_bytes(number, &format!("r-{round}.p-{number}.bench.example"));
                socket.send(&query).context("failed to send a query")?;
            }
            std::thread::sleep(ROUND.saturating_sub(begun.elapsed()));
        }
        Ok(sent)
    }
}

/// A network namespace, and a process in it that is a container's by its cgroup.
struct Pod {
    name: String,
    cgroup: PathBuf,
    process: Option<Running>,
}

impl Pod {
    fn new(number: u8) -> Result<Self> {
        let name = namespace(&format!("pod{number}"));
        let id = format!("{:056x}{number:08x}", std::process::id());
        let cgroup = cgroups()?.join("docker").join(id);
        netns::add(&name)?;
        let mut pod = Self { name, cgroup, process: None };
        fs::create_dir_all(&pod.cgroup)
            .with_context(|| format!("failed to create {}", pod.cgroup.display()))?;
        let script = format!("echo 0 > {}/cgroup.procs && exec sleep 3600", pod.cgroup.display());
        // Not by `ip netns exec`, which hides the cgroups behind a /sys of its own.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", pod.name)).args(["sh", "-c", &script]);
        pod.process = Some(Running::spawn(command.stdin(Stdio::null()))?);
        Ok(pod)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.process = None;
        netns::delete(&self.name).ok();
        // The kernel lets go of the process a moment after it was reaped.
        for _ in 0..100 {
            if fs::remove_dir(&self.cgroup).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Where the cgroup filesystem of version 2 is.
fn cgroups() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").context("failed to read /proc/mounts")?;
    let mut found = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let folder = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(folder))
    });
    found.next().context("no cgroup2 in /proc/mounts; mount -t cgroup2 none /sys/fs/cgroup mounts it")
}

#[cfg(test)]
mod tests {
    use super::named_by_round;

    #[test]
    fn only_names_of_containers_count() {
        let lines = "{\"qname\":\"r-0.p-7.bench.example.\",\"client_workload\":{\"kind\":\"container\"}}\n\
                     {\"qname\":\"r-1.p-7.bench.example.\"}\n\
                     {\"qname\":\"r-1.p-8.bench.example.\",\"client_workload\":{\"kind\":\"process\"}}\n\
                     {\"qname\":\"x.\",\"client_workload\":{\"kind\":\"container\"}}\n";
        assert_eq!(named_by_round(lines)[..2], [1, 0]);
    }
}
