//! Watching a veth under a fixed load: processor time per packet, losses, and whether the agent's ledger closes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::cost::Metered;
use super::site::{Load, POD_LINK, Site, wait_for_listening};
use super::table::Table;
use super::{Bench, Found, median};
use crate::child::output_within;
use crate::netns;

/// Queries per second: 80,000 packets per second at the veth.
const RATE: u32 = 40_000;

/// The agent's HTTP server, inside the node's namespace.
const LISTEN: &str = "127.0.0.1:9953";

/// Who watches.
struct Watcher {
    name: &'static str,
    /// Program and arguments; none is the run without a watcher.
    command: Vec<String>,
    /// Has it /metrics to be asked?
    agent: bool,
}

/// One run of one watcher.
#[derive(Clone, Debug)]
struct Run {
    load: Load,
    cpu_seconds: f64,
    peak_mib: f64,
    captured: Option<u64>,
    lost: Option<u64>,
    ledger: Option<Ledger>,
}

/// The agent's own account: every packet that matched was either dropped, for a reason, or became an event.
#[derive(Clone, Copy, Debug)]
struct Ledger {
    packets: u64,
    drops: u64,
    events: u64,
}

/// Runs every watcher under the same load, in turns.
pub(super) fn measure(bench: &Bench) -> Result<Found> {
    let time = Duration::from_secs(if bench.quick { 3 } else { 10 });
    let rounds = if bench.quick { 1 } else { 3 };
    let site = Site::up(&bench.folder)?;
    let watchers = watchers(&bench.agent);
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); watchers.len()];
    let mut failures = vec![None; watchers.len()];
    for round in 1..=rounds {
        println!("bench: {RATE} queries per second for {} s each, round {round} of {rounds}", time.as_secs());
        for (index, watcher) in watchers.iter().enumerate() {
            match run_once(watcher, &site, &bench.folder, time) {
                Ok(run) => runs[index].push(run),
                Err(error) => failures[index] = Some(format!("{error:#}")),
            }
        }
    }
    report(&watchers, &runs, &failures, time, rounds)
}

fn watchers(agent: &Path) -> Vec<Watcher> {
    let agent = agent.display().to_string();
    let serve = |name, flags: &[&str]| Watcher {
        name,
        command: [agent.as_str(), "serve", "-i", POD_LINK, "--listen", LISTEN]
            .iter()
            .chain(flags)
            .map(|&word| word.to_owned())
            .collect(),
        agent: true,
    };
    let tcpdump = |name, flags: &[&str]| Watcher {
        name,
        command: ["tcpdump", "-Z", "root", "-n", "-i", POD_LINK]
            .iter()
            .chain(flags)
            .chain(&["port", "53"])
            .map(|&word| word.to_owned())
            .collect(),
        agent: false,
    };
    vec![
        Watcher { name: "nobody", command: Vec::new(), agent: false },
        serve("nslookout, tcx", &["--capture", "ebpf", "--attach", "tcx"]),
        serve("nslookout, clsact", &["--capture", "ebpf", "--attach", "clsact"]),
        serve("nslookout, packet socket", &["--capture", "packet"]),
        tcpdump("tcpdump -w /dev/null", &["-w", "/dev/null"]),
        tcpdump("tcpdump, printing", &[]),
    ]
}

fn run_once(watcher: &Watcher, site: &Site, folder: &Path, time: Duration) -> Result<Run> {
    let Some((program, arguments)) = watcher.command.split_first() else {
        let load = site.load(53, RATE, time)?;
        return Ok(Run { load, cpu_seconds: 0.0, peak_mib: 0.0, captured: None, lost: None, ledger: None });
    };
    let log: PathBuf = folder.join("watcher.log");
    let errors = File::create(&log).with_context(|| format!("failed to create {}", log.display()))?;
    let mut command = site.node_command(Path::new(program));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    let metered = Metered::spawn(&mut command)?;
    wait_for_listening(&metered, &log)?;
    // Starting (loading programs, above all) is not what a packet costs.
    let before = metered.cpu_seconds()?;
    let load = site.load(53, RATE, time)?;
    // The agent reads what the kernel has collected within 50 ms; tcpdump's last block waits up to a second.
    std::thread::sleep(Duration::from_millis(1_200));
    let ledger = if watcher.agent { Some(ask_ledger(site)?) } else { None };
    let cost = metered.stop_within("INT", Duration::from_secs(10))?;
    ensure!(cost.success, "{} ended with an error", watcher.name);
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    let (captured, lost) = match &ledger {
        Some(ledger) => (Some(ledger.packets), Some(ledger.drops)),
        None => (tcpdump_count(&said, "captured"), tcpdump_count(&said, "dropped by kernel")),
    };
    Ok(Run { load, cpu_seconds: cost.cpu_seconds - before, peak_mib: cost.peak_mib, captured, lost, ledger })
}

/// Reads the agent's three sums from its exposition.
fn ask_ledger(site: &Site) -> Result<Ledger> {
    let mut curl: Command = netns::command(&site.node, "curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "5", &format!("http://{LISTEN}/metrics")]);
    let text = output_within(&mut curl, Duration::from_secs(10)).context("failed to ask for /metrics")?;
    let sum = |name: &str| {
        sum_of(&text, name).with_context(|| format!("no {name} on /metrics, so its ledger cannot be checked"))
    };
    Ok(Ledger {
        packets: sum("nslookout_capture_packets_total")?,
        // A family without a series is a family without a loss.
        drops: sum_of(&text, "nslookout_capture_drops_total").unwrap_or(0),
        events: sum("nslookout_events_total")?,
    })
}

/// The sum over all series of a family; `None` where there is none.
fn sum_of(exposition: &str, family: &str) -> Option<u64> {
    let values: Vec<u64> = exposition
        .lines()
        .filter_map(|line| line.strip_prefix(family))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter_map(|rest| rest.rsplit_once(' '))
        .filter_map(|(_, value)| value.parse::<f64>().ok())
        .map(|value| value as u64)
        .collect();
    if values.is_empty() { None } else { Some(values.iter().sum()) }
}

/// The count in a line like `80000 packets captured`.
fn tcpdump_count(said: &str, what: &str) -> Option<u64> {
    said.lines()
        .find(|line| line.ends_with(&format!("packets {what}")) || line.ends_with(&format!("packet {what}")))?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

fn report(
    watchers: &[Watcher],
    runs: &[Vec<Run>],
    failures: &[Option<String>],
    time: Duration,
    rounds: usize,
) -> Result<Found> {
    let title = format!(
        "watching a veth at {RATE} queries/s for {} s (dnsperf against unbound), median of {rounds}",
        time.as_secs()
    );
    let heading = [
        "watcher",
        "us CPU/packet",
        "CPU %",
        "peak MiB",
        "captured",
        "lost",
        "ledger",
        "q/s",
        "unanswered",
        "mean us",
        "max ms",
    ];
    let mut table = Table::new(title, &heading);
    let mut list = Vec::new();
    for ((watcher, runs), failure) in watchers.iter().zip(runs).zip(failures) {
        if let Some(failure) = failure {
            table.note(format!("{}: {failure}", watcher.name));
        }
        if runs.is_empty() {
            list.push(json!({ "watcher": watcher.name, "error": failure }));
            continue;
        }
        let (cells, value) = describe(watcher, runs, time);
        table.row(cells);
        list.push(value);
    }
    table.note("captured: share of the packets that dnsperf sent and received; the ledger closes where");
    table.note("packets matched in the kernel = packets dropped + events, to the last one, in every round.");
    Ok(Found {
        tables: vec![table],
        json: json!({ "rate": RATE, "seconds": time.as_secs(), "rounds": rounds, "watchers": list }),
    })
}

fn describe(watcher: &Watcher, runs: &[Run], time: Duration) -> (Vec<String>, Value) {
    let middle = |value: &dyn Fn(&Run) -> f64| median(runs.iter().map(value).collect());
    let truth = |run: &Run| (run.load.sent + run.load.completed) as f64;
    let watching = !watcher.command.is_empty();
    let per_packet = middle(&|run| run.cpu_seconds * 1e6 / truth(run).max(1.0));
    let percent = middle(&|run| run.cpu_seconds * 100.0 / time.as_secs_f64());
    let peak = middle(&|run| run.peak_mib);
    let captured = middle(&|run| run.captured.unwrap_or(0) as f64 * 100.0 / truth(run).max(1.0));
    let lost: u64 = runs.iter().filter_map(|run| run.lost).sum();
    let exact = runs.iter().all(|run| run.captured == Some(run.load.sent + run.load.completed));
    let closes = runs.iter().all(|run| run.ledger.is_some_and(|sum| sum.packets == sum.drops + sum.events));
    let (rate, mean) = (middle(&|run| run.load.rate), middle(&|run| run.load.latency_us));
    // On a machine of few cores sockets overflow under such a load by themselves: see the row of nobody.
    let unanswered = middle(&|run| run.load.lost as f64 * 100.0 / (run.load.sent as f64).max(1.0));
    let worst = middle(&|run| run.load.latency_max_us) / 1e3;
    let when = |condition: bool, text: String| if condition { text } else { "-".into() };
    let cells = vec![
        watcher.name.to_owned(),
        when(watching, format!("{per_packet:.2}")),
        when(watching, format!("{percent:.1}")),
        when(watching, format!("{peak:.0}")),
        when(watching, if exact { "all".into() } else { format!("{captured:.3} %") }),
        when(watching, lost.to_string()),
        when(watcher.agent, if closes { "closes".into() } else { "OPEN".into() }),
        format!("{rate:.0}"),
        format!("{unanswered:.2} %"),
        format!("{mean:.0}"),
        format!("{worst:.1}"),
    ];
    let rounds: Vec<Value> = runs.iter().map(round_json).collect();
    let value = json!({
        "watcher": watcher.name,
        "cpu_us_per_packet": per_packet,
        "cpu_percent": percent,
        "peak_mib": peak,
        "captured_percent": captured,
        "captured_all": watching && exact,
        "lost": lost,
        "ledger_closes": watcher.agent.then_some(closes),
        "queries_per_second": rate,
        "unanswered_percent": unanswered,
        "latency_mean_us": mean,
        "rounds": rounds,
    });
    (cells, value)
}

fn round_json(run: &Run) -> Value {
    json!({
        "cpu_seconds": run.cpu_seconds,
        "sent": run.load.sent,
        "completed": run.load.completed,
        "load_lost": run.load.lost,
        "captured": run.captured,
        "lost": run.lost,
        "ledger": run.ledger.map(|sum| json!({ "packets": sum.packets, "drops": sum.drops, "events": sum.events })),
        "latency_mean_us": run.load.latency_us,
        "latency_max_us": run.load.latency_max_us,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_a_family_are_summed() {
        let text = "# TYPE nslookout_events counter\nnslookout_events_total{result=\"message\"} 10\n\
                    nslookout_events_total{result=\"not_dns\"} 2\nnslookout_events_totally 5\n";
        assert_eq!(sum_of(text, "nslookout_events_total"), Some(12));
        assert_eq!(sum_of(text, "nslookout_other_total"), None);
    }

    #[test]
    fn counts_of_tcpdump_are_read() {
        let said = "listening on x\n800 packets captured\n802 packets received by filter\n2 packets dropped by kernel\n";
        assert_eq!(tcpdump_count(said, "captured"), Some(800));
        assert_eq!(tcpdump_count(said, "dropped by kernel"), Some(2));
    }
}
