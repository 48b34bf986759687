//! Nanoseconds that the BPF programs take per packet, by the kernel's own statistics, less those of an empty program.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader};
use serde_json::{Value, json};

use super::cost::Metered;
use super::site::{OTHER_PORT, POD_LINK, Site, wait_for_listening};
use super::table::Table;
use super::{Bench, Found, median};
use crate::shell::output;

/// Queries per second: enough for a mean, far from any limit.
const RATE: u32 = 20_000;

/// The switch of the statistics (bpf_stats_enabled, Documentation/admin-guide/sysctl/kernel.rst).
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Nanoseconds and runs of one program since it was loaded.
#[derive(Clone, Copy, Debug, Default)]
struct Stats {
    time_ns: u64,
    runs: u64,
}

/// Measures both directions under DNS and under other UDP, each in several rounds.
pub(super) fn measure(bench: &Bench) -> Result<Found> {
    let rounds = if bench.quick { 1 } else { 5 };
    let time = Duration::from_secs(if bench.quick { 1 } else { 3 });
    let site = Site::up(&bench.folder)?;
    let _statistics = Statistics::switch_on()?;
    let log = bench.folder.join("kernel.log");
    let errors = fs::File::create(&log).with_context(|| format!("failed to create {}", log.display()))?;
    let mut command = site.node_command(&bench.agent);
    command.args([
        "serve",
        "-i",
        POD_LINK,
        "--listen",
        "127.0.0.1:9953",
        "--capture",
        "ebpf",
        "--attach",
        "tcx",
    ]);
    let agent = Metered::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors))?;
    wait_for_listening(&agent, &log)?;
    let empty = attach_empty(&site.node, &bench.object)?;
    let mut programs = names_of(agent.pid())?;
    programs.extend(names_of(std::process::id())?);
    let mut samples: BTreeMap<(&str, String), Vec<f64>> = BTreeMap::new();
    for round in 1..=rounds {
        println!("bench: nanoseconds in the kernel, round {round} of {rounds}");
        for (traffic, port) in [("dns", 53), ("other UDP", OTHER_PORT)] {
            let before = all_stats(agent.pid())?;
            site.load(port, RATE, time)?;
            let after = all_stats(agent.pid())?;
            for (id, name) in &programs {
                let (Some(from), Some(to)) = (before.get(id), after.get(id)) else { continue };
                if to.runs > from.runs {
                    let mean = (to.time_ns - from.time_ns) as f64 / (to.runs - from.runs) as f64;
                    samples.entry((traffic, name.clone())).or_default().push(mean);
                }
            }
        }
    }
    drop(empty);
    agent.stop_within("TERM", Duration::from_secs(10))?;
    report(&samples, rounds)
}

fn report(samples: &BTreeMap<(&str, String), Vec<f64>>, rounds: usize) -> Result<Found> {
    let title = format!("nanoseconds per packet in the kernel, median of {rounds}");
    let mut table = Table::new(title, &["traffic", "program", "ns", "ns less an empty program"]);
    let mut list: Vec<Value> = Vec::new();
    for traffic in ["dns", "other UDP"] {
        let of = |name: &str| samples.get(&(traffic, name.to_owned()));
        let empty =
            of("nsl_empty").with_context(|| format!("the empty program did not run under {traffic}"))?;
        for name in ["nsl_ingress", "nsl_egress", "nsl_empty"] {
            let values = of(name).with_context(|| format!("{name} did not run under {traffic}"))?;
            // Round by round, so that a slow moment of the machine is taken from both sides.
            let less = median(values.iter().zip(empty).map(|(value, empty)| value - empty).collect());
            let mean = median(values.clone());
            table.row(vec![traffic.into(), name.into(), format!("{mean:.0}"), format!("{less:.0}")]);
            list.push(json!({ "traffic": traffic, "program": name, "ns": mean, "ns_less_empty": less, "rounds": values }));
        }
    }
    table.note("ingress of the pod's interface sees its queries, egress the responses; statistics themselves cost time,");
    table.note("which is why only the difference to the empty program on the same hook counts.");
    Ok(Found { tables: vec![table], json: Value::Array(list) })
}

/// Loads the agent's own empty classifier and puts it on both tcx hooks of the pod's interface.
///
/// By tcx alone: such a link is a file descriptor, so it goes away from any namespace, and with this process. What
/// the kernel counts is the program's run, which is the same behind a clsact filter.
fn attach_empty(namespace: &str, object: &Path) -> Result<Ebpf> {
    in_namespace(namespace, || {
        let mut ebpf = EbpfLoader::new()
            .load_file(object)
            .with_context(|| format!("failed to load {}", object.display()))?;
        let program: &mut SchedClassifier = ebpf
            .program_mut("nsl_empty")
            .context("the object has no program nsl_empty")?
            .try_into()
            .context("nsl_empty is no classifier")?;
        program.load().context("failed to load nsl_empty")?;
        for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
            program
                .attach_with_options(POD_LINK, direction, TcAttachOptions::TcxOrder(LinkOrder::default()))
                .context("failed to attach nsl_empty by tcx (Linux 6.6 has it)")?;
        }
        Ok(ebpf)
    })
}

/// Runs `work` on a thread of its own in the network namespace `name`.
pub(super) fn in_namespace<T: Send>(name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let path = Path::new("/run/netns").join(name);
    let file = fs::File::open(&path).with_context(|| format!("failed to open {}", path.display()))?;
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                rustix::thread::move_into_link_name_space(
                    file.as_fd(),
                    Some(rustix::thread::LinkNameSpaceType::Network),
                )
                .with_context(|| format!("failed to enter {name}"))?;
                work()
            })
            .join()
            .map_err(|_| anyhow::anyhow!("the thread in {name} panicked"))?
    })
}

/// The programs that the agent or this process holds, by ID.
fn all_stats(agent: u32) -> Result<BTreeMap<u32, Stats>> {
    let mut stats = stats_of(agent)?;
    stats.extend(stats_of(std::process::id())?);
    Ok(stats)
}

/// What /proc/PID/fdinfo says of each program that the process has open: its ID, and time and runs so far.
fn stats_of(pid: u32) -> Result<BTreeMap<u32, Stats>> {
    let folder = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&folder).with_context(|| format!("failed to list {folder}"))?;
    let mut found = BTreeMap::new();
    for entry in entries.filter_map(Result::ok) {
        // A descriptor may be closed between the listing and the reading.
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
                .and_then(|rest| rest.trim().parse().ok())
        };
        if let (Some(id), Some(time_ns), Some(runs)) =
            (value("prog_id"), value("run_time_ns"), value("run_cnt"))
        {
            found.insert(id as u32, Stats { time_ns, runs });
        }
    }
    Ok(found)
}

/// The names of the programs that the process has open, by ID.
fn names_of(pid: u32) -> Result<BTreeMap<u32, String>> {
    let ids = stats_of(pid)?;
    ensure!(!ids.is_empty(), "process {pid} holds no BPF program open, so there is nothing to measure");
    let mut names = BTreeMap::new();
    for id in ids.into_keys() {
        let text = output(Command::new("bpftool").args(["--json", "prog", "show", "id", &id.to_string()]))?;
        let value: Value = serde_json::from_str(&text).with_context(|| format!("bpftool said {text:?}"))?;
        names.insert(id, value["name"].as_str().unwrap_or_default().to_owned());
    }
    Ok(names)
}

/// The kernel's BPF statistics, on until dropped.
struct Statistics {
    before: String,
}

impl Statistics {
    fn switch_on() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).with_context(|| format!("failed to read {SWITCH}"))?;
        fs::write(SWITCH, "1").with_context(|| format!("failed to write {SWITCH}"))?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        fs::write(SWITCH, self.before.trim()).ok();
    }
}
