//! What `diagnose`, `watch --findings`, `watch --lookups` and `explain` print, and how they end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::Value;

/// The program with a capture on its standard input.
fn nslookout(arguments: &[&str], capture: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nslookout"))
        .args(arguments)
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that reads nothing closes it.
    let _ = child.stdin.take().unwrap().write_all(capture);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A capture of raw IPv4 in which 10.0.0.1 asks 10.0.0.2 for `host.corp.test`, so many times, 3 s apart, and is told NODATA
/// without an SOA record.
fn lame(times: u32) -> Vec<u8> {
    let mut capture = Vec::new();
    for number in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        capture.extend(number.to_le_bytes());
    }
    for number in 0..times {
        let message = |flags: &[u8]| {
            let id = (number as u16 + 7).to_be_bytes();
            [&id[..], flags, b"\0\x01\0\0\0\0\0\0\x04host\x04corp\x04test\0\0\x01\0\x01"].concat()
        };
        let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let seconds = 1_700_000_000 + 3 * number;
        capture.extend(record(seconds, 0, client, server, [40_000, 53], &message(b"\x01\0")));
        capture.extend(record(seconds, 900, server, client, [53, 40_000], &message(b"\x81\x80")));
    }
    capture
}

fn record(seconds: u32, micros: u32, from: [u8; 4], to: [u8; 4], ports: [u16; 2], message: &[u8]) -> Vec<u8> {
    let length = (28 + message.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend(b"\0\0\0\0\x40\x11\0\0");
    packet.extend([from, to].concat());
    ports.iter().for_each(|port| packet.extend(port.to_be_bytes()));
    packet.extend((length - 20).to_be_bytes());
    packet.extend(b"\0\0");
    packet.extend(message);
    let mut record = Vec::new();
    for number in [seconds, micros, length.into(), length.into()] {
        record.extend(number.to_le_bytes());
    }
    record.extend(packet);
    record
}

#[test]
fn the_exit_status_tells_the_worst_finding() {
    let check = |arguments: &[&str], capture: &[u8], expected| {
        let output = nslookout(&[&["diagnose", "-r", "-"], arguments].concat(), capture);
        assert_eq!(output.status.code(), Some(expected), "{arguments:?} {}", text(&output.stderr));
    };
    check(&[], &lame(0), 0);
    check(&["--fail-on", "info"], &lame(0), 0);
    // It is of low severity.
    check(&[], &lame(2), 0);
    check(&["--fail-on", "low"], &lame(2), 1);
    check(&["--fail-on", "low", "-o", "json"], &lame(2), 1);
    check(&["--fail-on", "warning"], &lame(2), 0);
    check(&[], b"no capture", 2);
    check(&["--fail-on", "bad"], &lame(2), 2);
    check(&["--for", "1s"], &lame(2), 2);
}

#[test]
fn the_report_reads_well() {
    let output = nslookout(&["diagnose", "-r", "-"], &lame(3));
    assert_eq!(text(&output.stderr), "");
    let report = text(&output.stdout);
    for line in report.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let expected = "\
1 finding (1 low) in 3 queries (3 lookups) from 22:13:20 to 22:13:26, standard
input.

1. LOW lame-nodata: server 10.0.0.2
   10.0.0.2 answers A of host.corp.test. with NODATA, without the SOA record
   that belongs there.
   Seen 3 times from 22:13:20 to 22:13:26. Confidence high.
   - Without it nobody knows who says no, and nobody may cache it (RFC 2308
     sections 2.2 and 5)
   In numbers: name host.corp.test.
   One example:
     10.0.0.1:40000 and 10.0.0.2:53 over udp
";
    assert!(report.starts_with(expected), "{report}");
    for part in [
        "22:13:23.000 > A? host.corp.test. id 8, no EDNS",
        "22:13:23.000 < NODATA",
        "What to change:\n     1. Forward corp.test. to a server that holds it and answers NXDOMAIN",
        "            server=/corp.test/ADDRESS-OF-THAT-SERVER\n",
        "More: nslookout explain lame-nodata\n         nslookout -r FILE -v\n",
        "Looked for and not found: truncated-no-tcp, search-stopped,",
    ] {
        assert!(report.contains(part), "{part} is not in\n{report}");
    }
    let report = text(&nslookout(&["diagnose", "-r", "-"], &lame(0)).stdout);
    assert!(
        report.starts_with("Nothing wrong was found in 0 queries (0 lookups), standard input: no DNS"),
        "{report}"
    );
}

/// A capture that ends 4 s after the last of so many queries, 1 s apart, of which only the first was answered; its answer
/// is whole, or truncated. A query of another client, with its answer, stands at the end.
fn open(queries: u32, flags: &[u8]) -> Vec<u8> {
    let mut capture = lame(0);
    let (client, other, server) = ([10, 0, 0, 1], [10, 0, 0, 3], [10, 0, 0, 2]);
    let message = |id: u32, flags: &[u8]| {
        let id = (id as u16).to_be_bytes();
        [&id[..], flags, b"\0\x01\0\0\0\0\0\0\x04host\x04corp\x04test\0\0\x01\0\x01"].concat()
    };
    for number in 0..queries {
        let ports = [40_000 + number as u16, 53];
        capture.extend(record(1_700_000_000 + number, 0, client, server, ports, &message(number, b"\x01\0")));
        if number == 0 {
            capture.extend(record(1_700_000_000, 900, server, client, [53, 40_000], &message(0, flags)));
        }
    }
    let end = 1_700_000_000 + queries + 3;
    capture.extend(record(end, 0, other, server, [40_000, 53], &message(9, b"\x01\0")));
    capture.extend(record(end, 900, server, other, [53, 40_000], &message(9, b"\x81\x83")));
    capture
}

#[test]
fn what_was_open_at_the_end_is_told_and_not_called_absent() {
    let report = |capture: &[u8]| {
        let output = nslookout(&["diagnose", "-r", "-"], capture);
        assert_eq!(output.status.code(), Some(0));
        text(&output.stdout)
    };
    let told = report(&open(3, b"\x81\x83"));
    let expected = "\
Nothing wrong was found, as far as can be told, in 4 queries (4 lookups) from
22:13:20 to 22:13:26, standard input.
2 queries still waited for an answer when the capture ended. The oldest was 5.0
s old: 10.0.0.1 had asked 10.0.0.2 for A of host.corp.test. So unanswered cannot
be judged for them.

Could not look for, or not everywhere:
  unanswered: 2 queries still waited for an answer when the capture ended.
  resolv-conf-limits: no --resolv-conf told how a client that was seen is
    configured.
  unused-aaaa: no client was watched for 10 minutes, which it takes.
Looked for and not found: truncated-no-tcp,";
    assert!(told.starts_with(expected), "{told}");
    assert!(!told.split_once("not found:").unwrap().1.contains("unanswered"), "{told}");
    assert!(report(&open(2, b"\x81\x83")).contains("1 query still waited for an answer"));
    // Everything was answered, and one is enough to know that nothing is open.
    let told = report(&open(1, b"\x81\x83"));
    assert!(told.starts_with("Nothing wrong was found in 2 queries (2 lookups)"), "{told}");
    assert!(told.contains(" unanswered,"), "{told}");

    let output = nslookout(&["diagnose", "-r", "-", "-o", "json"], &open(3, b"\x81\x83"));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let waiting = &document["unfinished"]["waiting"];
    assert_eq!((&waiting["count"], &waiting["worst"]["client"]), (&2.into(), &"10.0.0.1".into()));
    assert_eq!((&waiting["worst"]["server"], &waiting["worst"]["qtype"]), (&"10.0.0.2".into(), &"A".into()));
    assert_eq!(waiting["worst"]["waited_ns"], 5_000_900_000_u64);
    // A file has no more to give.
    assert_eq!(document["unfinished"]["enough_ns"], Value::Null);
    assert_eq!(document["unfinished"]["truncated"]["count"], 0);
    assert!(!document["not_found"].as_array().unwrap().contains(&"unanswered".into()));
    let first = &document["not_judged"][0];
    assert_eq!(first["id"], "unanswered");
    assert_eq!(first["reason"], "2 queries still waited for an answer when the capture ended");
}

#[test]
fn a_truncated_answer_at_the_end_is_told() {
    // TC is in it, and the other client's query 4 s later ends what is waited for.
    let truncated = open(1, b"\x83\x80");
    let [header, record] = [24, 16];
    let length = |at: usize| u32::from_le_bytes(truncated[at + 8..at + 12].try_into().unwrap()) as usize;
    let second = header + record + length(header);
    let cut = &truncated[..second + record + length(second)];
    let told = text(&nslookout(&["diagnose", "-r", "-"], cut).stdout);
    assert!(
        told.contains("What followed 1 truncated answer was not seen. The oldest was 0.00 ms old:"),
        "{told}"
    );
    assert!(told.contains("\n  truncated-no-tcp: there is one truncated answer"), "{told}");
    assert!(!told.split_once("not found:").unwrap().1.contains("truncated-no-tcp"), "{told}");
}

#[test]
fn where_nothing_came_nothing_was_looked_for() {
    let told = text(&nslookout(&["diagnose", "-r", "-"], &lame(0)).stdout);
    assert!(told.ends_with("Could not look for anything: no query was seen.\n"), "{told}");
    let output = nslookout(&["diagnose", "-r", "-", "-o", "json"], &lame(0));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["not_found"], serde_json::json!([]));
    assert_eq!(document["not_judged"].as_array().unwrap().len(), 24);
}

#[test]
fn the_document_has_every_member() {
    let output = nslookout(&["diagnose", "-r", "-", "-o", "json"], &lame(3));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["source"], "standard input");
    assert_eq!(document["from"], "2023-11-14T22:13:20.000000000Z");
    assert_eq!(document["to"], "2023-11-14T22:13:26.000900000Z");
    assert_eq!(document["queries"], 3);
    let [finding] = document["findings"].as_array().unwrap().as_slice() else { panic!("{document}") };
    assert_eq!(finding["id"], "lame-nodata");
    assert_eq!(
        finding["subject"],
        serde_json::json!({
            "client": null, "interface": null, "server": "10.0.0.2", "workload": null, "workloads": [], "others": false,
        })
    );
    assert_eq!((&finding["severity"], &finding["confidence"]), (&"low".into(), &"high".into()));
    assert_eq!((&finding["count"], &finding["closed"]), (&3.into(), &Value::Null));
    assert_eq!(finding["numbers"]["name"], "host.corp.test.");
    assert_eq!(finding["example"][0]["source"], "10.0.0.1:40000");
    assert_eq!(finding["remedies"][0]["place"], "server");
    assert_eq!(finding["page"], "docs/findings/lame-nodata.md");
    let not_found = document["not_found"].as_array().unwrap();
    let not_judged: Vec<&Value> =
        document["not_judged"].as_array().unwrap().iter().map(|blind| &blind["id"]).collect();
    assert_eq!(not_judged, ["resolv-conf-limits", "unused-aaaa"]);
    assert_eq!(not_found.len(), 21);
    assert!(!not_found.contains(&"lame-nodata".into()));
    assert_eq!(document["held_back"], serde_json::json!([]));
    let [fingerprint] = document["fingerprints"].as_array().unwrap().as_slice() else { panic!("{document}") };
    assert_eq!((&fingerprint["client"], &fingerprint["stub"]), (&"10.0.0.1".into(), &"unknown".into()));
    let lookups = &document["lookups"];
    assert_eq!(
        (&lookups["total"], &lookups["queries"], &lookups["wasted"]),
        (&3.into(), &3.into(), &0.into())
    );
    assert_eq!(lookups["by_outcome"]["nodata"], 3);
    for member in ["ndots_1", "ndots_2", "trailing_dot"] {
        assert!(document["what_if"][member]["of"].is_u64(), "{member}");
    }
    assert!(document["what_if"]["cache"]["hits"].is_u64());
}

/// The lines of an output of JSON objects.
fn objects(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn findings_are_told_when_they_open_change_and_close() {
    let output = nslookout(&["--findings", "-o", "json", "-r", "-"], &lame(2));
    let states: Vec<_> = objects(&output).iter().map(|line| line["state"].clone()).collect();
    assert_eq!(states, ["opened", "changed"]);
    let opened = &objects(&output)[0];
    assert_eq!((&opened["finding"], &opened["confidence"]), (&"lame-nodata".into(), &"low".into()));
    assert!(opened["time"].as_str().unwrap().starts_with("2023-11-14T22:13:2"));

    // With a pause of more than 2 s each is a finding of its own.
    let output = nslookout(&["--findings", "--close-after", "2s", "-r", "-"], &lame(2));
    let lines = text(&output.stdout);
    let words: Vec<Vec<&str>> =
        lines.lines().map(|line| line.split_whitespace().skip(1).take(3).collect()).collect();
    assert_eq!(words[0], ["state", "severity", "finding"]);
    assert_eq!(
        words[1..],
        [
            ["opened", "low", "lame-nodata"],
            ["closed", "low", "lame-nodata"],
            ["opened", "low", "lame-nodata"]
        ]
    );
    assert!(!lines.contains("What to change"), "{lines}");
    let verbose = text(&nslookout(&["--findings", "-v", "-r", "-"], &lame(2)).stdout);
    assert!(verbose.contains("    What to change:\n"), "{verbose}");
    // The summary names it too.
    let summary = text(&output.stderr);
    let line = " findings: lame-nodata server 10.0.0.2 (low, confidence high)     nslookout explain ID\n";
    assert!(summary.contains(line), "{summary}");
    let output = nslookout(&["--no-findings", "-r", "-"], &lame(2));
    assert!(!text(&output.stderr).contains("findings"), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 3);
}

#[test]
fn lookups_are_told_as_lines_and_objects() {
    let output = nslookout(&["--lookups", "-o", "json", "-r", "-"], &lame(2));
    let lookups = objects(&output);
    assert_eq!(lookups.len(), 2);
    let lookup = &lookups[0];
    for (member, expected) in [
        ("client", "10.0.0.1"),
        ("name", "host.corp.test."),
        ("outcome", "nodata"),
        ("stub", "unknown"),
        ("started", "2023-11-14T22:13:20.000000000Z"),
        ("time", "2023-11-14T22:13:20.000900000Z"),
    ] {
        assert_eq!(lookup[member], expected, "{member}");
    }
    assert_eq!(
        (&lookup["queries"], &lookup["wasted"], &lookup["winner"]),
        (&1.into(), &0.into(), &Value::Null)
    );
    assert_eq!(lookup["duration_ns"], 900_000);
    let ask = &lookup["candidates"][0]["asks"][0];
    assert_eq!(
        (&ask["qtype"], &ask["outcome"], &ask["nodata"]),
        (&"A".into(), &"answered".into(), &true.into())
    );
    assert_eq!((&ask["latency_ns"], &ask["soa"]), (&900_000.into(), &false.into()));
    // Nobody told how the client is configured, and one name shows no list.
    assert_eq!(lookup["search_source"], "unknown");
    assert_eq!((lookup.get("search"), lookup.get("ndots")), (Some(&Value::Null), Some(&Value::Null)));

    let lines = text(&nslookout(&["--lookups", "-v", "-r", "-"], &lame(1)).stdout);
    let [heading, line, candidate] = lines.lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(heading.starts_with("time          client          name "), "{heading}");
    let words: Vec<&str> = line.split_whitespace().collect();
    let expected = [
        "22:13:20.000",
        "10.0.0.1",
        "host.corp.test",
        "nodata",
        "0.9",
        "1",
        "0",
        "unknown",
        "asked",
        "host.corp.test",
    ];
    assert_eq!(words, expected);
    assert_eq!(candidate.trim_start(), "host.corp.test: A udp NODATA");
}

#[test]
fn a_lookup_tells_the_search_list_that_was_told() {
    let file = std::env::temp_dir().join(format!("nslookout-resolv-{}.conf", std::process::id()));
    std::fs::write(&file, "search shop.svc.cluster.test svc.cluster.test\noptions ndots:2\n").unwrap();
    let told = format!("10.0.0.1={}", file.display());
    let output = nslookout(&["--lookups", "-o", "json", "--resolv-conf", &told, "-r", "-"], &lame(1));
    std::fs::remove_file(&file).unwrap();
    let lookup = &objects(&output)[0];
    assert_eq!(lookup["search_source"], "resolv_conf");
    assert_eq!(lookup["search"], serde_json::json!(["shop.svc.cluster.test.", "svc.cluster.test."]));
    assert_eq!(lookup["ndots"], 2);
}

#[test]
fn lines_are_about_one_thing() {
    for pair in [["--messages", "--lookups"], ["--lookups", "--findings"], ["--findings", "--no-findings"]] {
        let output = nslookout(&[&pair[..], &["-r", "-"]].concat(), &lame(0));
        assert_eq!(output.status.code(), Some(2), "{pair:?}");
        assert!(text(&output.stderr).contains("cannot be used with"), "{}", text(&output.stderr));
    }
}

#[test]
fn every_finding_is_explained() {
    let explain = |arguments: &[&str]| nslookout(&[&["explain"], arguments].concat(), b"");
    let table = text(&explain(&[]).stdout);
    assert_eq!(table.lines().count(), 24);
    for line in table.lines() {
        assert!(line.chars().count() <= 80, "{line}");
        let id = line.split_whitespace().next().unwrap();
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/findings/{id}.md"));
        let output = explain(&[id]);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(text(&output.stdout), std::fs::read_to_string(page).unwrap());
    }
    let output = explain(&["serfvail"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()));
    let told = text(&output.stderr);
    assert!(told.contains("`serfvail`; the nearest is `servfail`"), "{told}");
}

/// Ctrl-C ends a live run early, and the report comes all the same.
#[test]
fn a_signal_ends_the_capture_early() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: needs root");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_nslookout"))
        .args(["diagnose", "-i", "lo", "--port", "5999", "--for", "300s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    let begun = told.any(|line| line.unwrap().contains("the report comes in 300 s; Ctrl-C ends it early"));
    assert!(begun);
    rustix::process::kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let report = text(&output.stdout);
    assert!(
        report.starts_with("Nothing wrong was found in 0 queries (0 lookups), lo: no DNS packet"),
        "{report}"
    );
}

/// What diagnose finds in a capture of the corpus with such flags, by name.
fn found_in(capture: &str, flags: &[&str]) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/tuned").join(capture);
    let arguments = [&["diagnose", "-o", "json", "-r", file.to_str().unwrap()], flags].concat();
    let output = nslookout(&arguments, &[]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["findings"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn thresholds_have_effect() {
    let blocked = "tcp-blocked-drop-musl-1.2.5-dnsmasq.pcap.zst";
    let truncated = "truncated-chain-bind.pcap.zst";
    let cases = [
        ("deep-cname-7-unbound.pcap.zst", "deep-cname.cnames=20", "deep-cname", (true, false)),
        // Of no interest by default: fewer aliases than six.
        ("deep-cname-not-4-dnsmasq.pcap.zst", "deep-cname.cnames=4", "deep-cname", (false, true)),
        (blocked, "tcp.silence=30s", "tcp-blocked", (true, false)),
        (truncated, "truncated.comes-back=30s", "truncated-no-tcp", (true, false)),
    ];
    for (capture, threshold, id, (before, after)) in cases {
        let has = |flags: &[&str]| found_in(capture, flags).iter().any(|found| found == id);
        assert_eq!((has(&[]), has(&["--threshold", threshold])), (before, after), "{capture} {threshold}");
    }
}

#[test]
fn an_unknown_threshold_is_told_with_the_nearest() {
    let output = nslookout(&["diagnose", "-r", "-", "--threshold", "linklocal.packet=9"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("`linklocal.packet`; the nearest is `linklocal.packets`"), "{said}");
    assert!(said.contains("nslookout explain thresholds"), "{said}");
    let table = text(&nslookout(&["explain", "thresholds"], &[]).stdout);
    assert!(table.contains("linklocal.packets                1024   packets a second"), "{table}");
}
