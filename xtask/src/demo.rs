//! `cargo xtask demo`: real lookups by real resolvers under a live agent, and a verdict on each.

mod agent;
mod lookups;
mod metrics;
mod verdict;

use std::io::{IsTerminal, stdout};
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::child;
use crate::lab::{self, Lab, SERVICE_IP, SERVICE_IP6};
use crate::setup::{self, Part};
use agent::{Agent, LISTEN};
use lookups::{Expected, Lookup};

/// The two watches read the same packets apart; this long after one has a line, the other has it too.
const SETTLE: Duration = Duration::from_millis(200);

/// Builds, raises the lab, watches real lookups, and takes everything down; an error unless all was seen.
pub fn run() -> Result<()> {
    run_with(&[])
}

/// [`run`] with flags for every agent of the demo, so that each way of capturing can be put to the same trial.
pub fn run_with(flags: &[String]) -> Result<()> {
    let start = Instant::now();
    setup::ensure(&[Part::Build, Part::Lab])?;
    heading("build the agent, both halves");
    let program = agent::build()?;

    heading("raise the lab: a node with pods, a cluster resolver behind a Service IP, and a VPC");
    let lab = Lab::up()?;
    lab::describe();

    heading("start the agent on the node");
    let start_agent = |name: &str, arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').chain(flags.iter().map(String::as_str)).collect();
        println!("$ nslookout {} &", arguments.join(" "));
        Agent::start(&lab, &program, name, &arguments)
    };
    let mut serve = start_agent(
        "serve",
        &format!("serve -i any --listen {LISTEN} --cluster-dns {SERVICE_IP} --cluster-dns {SERVICE_IP6}"),
    )?;
    let mut json = start_agent("watch-json", "watch -i any -o json")?;
    let mut text = start_agent("watch", "watch -i any")?;
    serve.wait_until_served(&lab)?;
    text.wait_until_listening()?;
    json.wait_until_listening()?;
    indent(&text.stderr()?);
    thread::sleep(SETTLE);
    indent(&text.news()?);

    let mut expected = Vec::new();
    for lookup in lookups::all(&lab)? {
        expected.extend(perform(lookup, &mut text, &mut json)?);
    }
    heading("wait for what is still open: the query that nobody answers");
    wait_until_seen(&expected, &mut json, Duration::from_secs(12))?;
    indent(&text.news()?);

    heading("Ctrl-C: what watch says at its end");
    let ends = [text.stop("INT")?, json.stop("INT")?];
    indent(&text.news()?);
    println!("{}", after_listening(&text.stderr()?));

    heading("what Prometheus gets from serve");
    let exposition = agent::get(&lab, "/metrics")?;
    metrics::show(&exposition);
    let end = serve.stop("TERM")?;

    heading("verdict");
    let mut good = judge(&expected, &json)?;
    good &= counts_agree(&exposition, &json)?;
    good &= is_everywhere(&exposition, &lab);
    good &= all_ended_well(&[("watch", ends[0]), ("watch -o json", ends[1]), ("serve", end)]);
    drop(lab);
    println!("the lab is down; {:.0} s in all", start.elapsed().as_secs_f32());
    if !good {
        bail!("not every query was seen and matched; the agent's output is in target/lab/demo");
    }
    Ok(())
}

/// Runs one lookup and shows what the client got and what the agent saw; gives the queries it made.
fn perform(mut lookup: Lookup, text: &mut Agent, json: &mut Agent) -> Result<Vec<Expected>> {
    heading(&lookup.heading);
    println!("$ {}", lookup.typed);
    let finished = child::finish_within(&mut lookup.command, Duration::from_secs(20))?;
    // A client that fails is part of the show; what counts is whether the agent saw its queries.
    for line in shorten(&finished.stdout) {
        println!("{line}");
    }
    let answered: Vec<Expected> =
        lookup.expected.iter().filter(|query| query.rcode.is_some()).cloned().collect();
    wait_until_seen(&answered, json, Duration::from_secs(3))?;
    thread::sleep(SETTLE);
    indent(&text.news()?);
    Ok(lookup.expected)
}

/// Waits until the agent has reported all of these, or the time is up: the verdict comes at the end.
fn wait_until_seen(expected: &[Expected], json: &mut Agent, limit: Duration) -> Result<bool> {
    child::wait_until(limit, || {
        json.must_run()?;
        Ok(verdict::all_seen(expected, &verdict::parse(&json.stdout()?)))
    })
}

fn judge(expected: &[Expected], json: &Agent) -> Result<bool> {
    let verdicts = verdict::judge(expected, &verdict::parse(&json.stdout()?));
    for verdict in &verdicts {
        println!("{}", verdict.text());
    }
    Ok(verdicts.iter().all(verdict::Verdict::passed))
}

/// `serve` watched apart from `watch`, and must have counted the same: the clients' queries and the resolvers' own.
fn counts_agree(exposition: &str, json: &Agent) -> Result<bool> {
    let counted = metrics::sum(exposition, "nslookout_queries_total");
    let printed = verdict::client_queries(&verdict::parse(&json.stdout()?));
    let agree = counted == printed as f64;
    let word = if agree { "PASS" } else { "FAIL" };
    println!("{word}  /metrics counts {counted} queries of clients and resolvers, watch printed {printed}");
    Ok(agree)
}

/// Every wire of the node is watched: those of the pods, the uplink and lo.
fn is_everywhere(exposition: &str, lab: &Lab) -> bool {
    let attached = metrics::sum(exposition, "nslookout_attached_interfaces");
    let there = lab.pods().len() + 2;
    let word = if attached == there as f64 { "PASS" } else { "FAIL" };
    println!("{word}  attached to {attached} of {there} interfaces: every pod's, the uplink, lo");
    word == "PASS"
}

fn all_ended_well(ends: &[(&str, ExitStatus)]) -> bool {
    for (name, status) in ends.iter().filter(|(_, status)| !status.success()) {
        println!("FAIL  {name} ended with {status}");
    }
    ends.iter().all(|(_, status)| status.success())
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

fn after_listening(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().skip_while(|line| !line.contains("listening on")).skip(1).collect();
    lines.join("\n")
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

    #[test]
    fn the_summary_is_what_comes_after_listening() {
        assert_eq!(after_listening("note\nlistening on any\n--- summary\n"), "--- summary");
    }
}
