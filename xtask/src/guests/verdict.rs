//! Judges what a guest said on its console.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The pod's interface in the guest.
const POD_INTERFACE: &str = "cali0123456789a";

/// The ways to capture, as the guest's script names them.
const PASSES: [&str; 3] = ["auto", "clsact", "packet"];

/// The queries that the script makes in every pass: two names and a missing one, A and AAAA, and one over TCP.
const UDP_QUERIES: usize = 6;
const TCP_QUERIES: usize = 1;

/// What was said between `@@begin NAME` and `@@end NAME`, by name.
type Sections = BTreeMap<String, String>;

/// Checks every pass; gives what was seen in a line.
pub fn judge(console: &str) -> Result<String> {
    let sections = sections(console);
    ensure!(console.contains("@@done"), "the guest did not reach the end of its script");
    let unwatched = section(&sections, "unwatched")?;
    ensure!(unwatched.contains("192.0.2.1"), "the resolver in the guest does not answer: {unwatched:?}");
    let mut summaries = Vec::new();
    for pass in PASSES {
        let summary = judge_pass(&sections, pass).with_context(|| format!("pass {pass}"))?;
        summaries.push(format!("{pass}: {summary}"));
    }
    Ok(summaries.join("; "))
}

fn judge_pass(sections: &Sections, pass: &str) -> Result<String> {
    let of = |name: &str| section(sections, &format!("{pass}.{name}"));
    let errors = of("errors")?;
    let status = of("status")?.trim();
    ensure!(status == "0", "the agent ended with status {status}: {}", errors.trim());
    let listening = errors
        .lines()
        .find(|line| line.starts_with("listening on"))
        .with_context(|| format!("no line \"listening on ...\": {}", errors.trim()))?;
    // Falling back to a packet socket would hide that the kernel refused the programs.
    let method = match pass {
        "packet" => "packet socket",
        "auto" if has_tcx(section(sections, "release")?.trim()) => "attached by tcx",
        _ => "attached by clsact",
    };
    ensure!(listening.contains(method), "not {method}: {}", errors.trim());
    if method.ends_with("clsact") {
        ensure!(of("attached")?.contains("nslookout"), "no filter of ours at {POD_INTERFACE} during the run");
    }
    check_answers(of("lines")?)?;
    check_nothing_left(of("qdiscs")?, of("filters")?, of("programs")?)?;
    Ok(format!("{} queries answered, {method}, nothing left behind", UDP_QUERIES + TCP_QUERIES))
}

/// Linux has tcx from 6.6 on.
fn has_tcx(release: &str) -> bool {
    let mut numbers = release.split('.').map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(6))
}

/// Every query of the script is there once at the client's vantage, answered, with its rcode.
fn check_answers(lines: &str) -> Result<()> {
    let mut seen = BTreeMap::new();
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let record: Value =
            serde_json::from_str(line).with_context(|| format!("not a line of JSON: {line:?}"))?;
        if record["vantage"] != "client" {
            continue;
        }
        let text = |key: &str| record[key].as_str().unwrap_or("?").to_owned();
        ensure!(record["outcome"] == "answered", "not answered: {line}");
        ensure!(record["latency_ns"].as_u64().is_some_and(|ns| ns > 0), "no latency: {line}");
        ensure!(text("interface") == POD_INTERFACE, "seen at another interface: {line}");
        let qname = text("qname").trim_end_matches('.').to_owned();
        *seen.entry((qname, text("qtype"), text("transport"), text("rcode"))).or_insert(0) += 1;
    }
    for (qname, rcode) in [("web.test", "NOERROR"), ("api.test", "NOERROR"), ("missing.test", "NXDOMAIN")] {
        for qtype in ["A", "AAAA"] {
            expect_one(&mut seen, [qname, qtype, "udp", rcode])?;
        }
    }
    expect_one(&mut seen, ["web.test", "A", "tcp", "NOERROR"])?;
    ensure!(seen.is_empty(), "more than was asked: {seen:?}");
    Ok(())
}

fn expect_one(
    seen: &mut BTreeMap<(String, String, String, String), u32>,
    [qname, qtype, transport, rcode]: [&str; 4],
) -> Result<()> {
    let key = (qname.to_owned(), qtype.to_owned(), transport.to_owned(), rcode.to_owned());
    match seen.remove(&key) {
        Some(1) => Ok(()),
        count => bail!("{key:?} was seen {} times, not once; also seen: {seen:?}", count.unwrap_or(0)),
    }
}

/// No filter, program or qdisc of ours; the qdisc that was there before is still there.
fn check_nothing_left(qdiscs: &str, filters: &str, programs: &str) -> Result<()> {
    ensure!(filters.trim().is_empty(), "filters left behind: {}", filters.trim());
    ensure!(programs.trim().is_empty(), "programs left behind: {}", programs.trim());
    let clsact: Vec<&str> = qdiscs.lines().filter(|line| line.contains("clsact")).collect();
    match clsact.as_slice() {
        [only] if only.contains("caliabcdef01234") => Ok(()),
        _ => bail!("clsact is to be left on caliabcdef01234 alone, where it was before; found {clsact:?}"),
    }
}

fn section<'a>(sections: &'a Sections, name: &str) -> Result<&'a str> {
    sections.get(name).map(String::as_str).with_context(|| format!("no section {name} on the console"))
}

fn sections(console: &str) -> Sections {
    let mut found = Sections::new();
    let mut open: Option<(String, String)> = None;
    for line in console.lines() {
        // A serial console ends lines with CR LF.
        let line = line.trim_end_matches('\r');
        match (line.strip_prefix("@@begin "), line.strip_prefix("@@end "), &mut open) {
            (Some(name), ..) => open = Some((name.to_owned(), String::new())),
            (None, Some(_), _) => found.extend(open.take()),
            (None, None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None, None) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<String> {
        let line = |qname: &str, qtype: &str, transport: &str, rcode: &str| {
            format!(
                r#"{{"vantage":"client","interface":"{POD_INTERFACE}","qname":"{qname}","qtype":"{qtype}","transport":"{transport}","outcome":"answered","rcode":"{rcode}","latency_ns":5}}"#
            )
        };
        let mut lines = vec![line("web.test.", "A", "tcp", "NOERROR")];
        for (qname, rcode) in
            [("web.test.", "NOERROR"), ("api.test", "NOERROR"), ("missing.test", "NXDOMAIN")]
        {
            lines.extend(["A", "AAAA"].map(|qtype| line(qname, qtype, "udp", rcode)));
        }
        lines
    }

    #[test]
    fn all_answers_pass_and_a_missing_or_doubled_one_fails() {
        let lines = lines();
        assert!(check_answers(&lines.join("\n")).is_ok());
        assert!(check_answers(&lines[1..].join("\n")).is_err());
        assert!(check_answers(&[lines.clone(), vec![lines[2].clone()]].concat().join("\n")).is_err());
    }

    #[test]
    fn tcx_is_there_from_6_6_on() {
        assert!(!has_tcx("5.10.0-46-cloud-amd64") && !has_tcx("6.1.0-56-cloud-amd64"));
        assert!(has_tcx("6.6.1") && has_tcx("6.12.117+deb13-cloud-amd64") && has_tcx("7.0.0"));
    }

    #[test]
    fn sections_are_read_between_their_markers() {
        let found =
            sections("noise\r\n@@begin a\r\none\r\ntwo\r\n@@end a\r\nnoise\r\n@@begin b\r\n@@end b\r\n");
        assert_eq!(found["a"], "one\ntwo\n");
        assert_eq!(found["b"], "");
    }

    #[test]
    fn a_foreign_qdisc_must_stay_and_ours_must_go() {
        let foreign = "qdisc clsact ffff: dev caliabcdef01234 parent ffff:fff1\n";
        assert!(check_nothing_left(foreign, "", "").is_ok());
        assert!(check_nothing_left("", "", "").is_err());
        assert!(check_nothing_left(&foreign.replace("caliabcdef01234", "lo"), "", "").is_err());
        assert!(check_nothing_left(foreign, "filter protocol all bpf nsl_ingress", "").is_err());
    }
}
