//! The first half of the demo: real lookups by real resolvers, every query of which must be seen and matched.

use std::path::Path;
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::agent::{self, Agent, LISTEN};
use super::lookups::{self, Expected, Lookup};
use super::{heading, indent, metrics, shorten, verdict};
use crate::child;
use crate::lab::{Lab, SERVICE_IP, SERVICE_IP6};

/// The two watches read the same packets apart; this long after one has a line, the other has it too.
const SETTLE: Duration = Duration::from_millis(200);

/// Watches real lookups with `watch` and `serve`, and gives whether all was seen.
pub fn run(lab: &Lab, program: &Path, flags: &[String]) -> Result<bool> {
    heading("start the agent on the node");
    let start_agent = |name: &str, arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').chain(flags.iter().map(String::as_str)).collect();
        println!("$ nslookout {} &", arguments.join(" "));
        Agent::start(lab, program, name, &arguments)
    };
    let mut serve = start_agent(
        "serve",
        &format!("serve -i any --listen {LISTEN} --cluster-dns {SERVICE_IP} --cluster-dns {SERVICE_IP6}"),
    )?;
    let mut json = start_agent("watch-json", "watch -i any -o json")?;
    let mut text = start_agent("watch", "watch -i any")?;
    serve.wait_until_served(lab)?;
    text.wait_until_listening()?;
    json.wait_until_listening()?;
    indent(&text.stderr()?);
    thread::sleep(SETTLE);
    indent(&text.news()?);

    let mut expected = Vec::new();
    for lookup in lookups::all(lab)? {
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
    let exposition = agent::get(lab, "/metrics")?;
    metrics::show(&exposition);
    let end = serve.stop("TERM")?;

    heading("verdict: was every query seen and matched?");
    let mut good = judge(&expected, &json)?;
    good &= counts_agree(&exposition, &json)?;
    good &= is_everywhere(&exposition, lab);
    good &= all_ended_well(&[("watch", ends[0]), ("watch -o json", ends[1]), ("serve", end)]);
    Ok(good)
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

fn after_listening(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().skip_while(|line| !line.contains("listening on")).skip(1).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_what_comes_after_listening() {
        assert_eq!(after_listening("note\nlistening on any\n--- summary\n"), "--- summary");
    }
}
