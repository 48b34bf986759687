//! Connections that come about, and those that do not.

use super::super::play::{Play, check};
use super::*;

const ID: FindingId = FindingId::TcpBlocked;

#[test]
fn a_connection_refused_behind_a_truncated_response() {
    let steps = [
        "1000 ? 40001 7 A big.example",
        "1000.5 ! 40001 7 A big.example tc",
        "1001 syn 50001",
        "1001.1 rst 50001",
        // The next lookup.
        "4000 ? 40002 8 A big.example",
        "4000.5 ! 40002 8 A big.example tc",
        "4001 syn 50002",
        "4001.1 rst 50002",
    ];
    check(ID, &steps, &["opened 10.0.0.2 10.0.0.53 low/low x1", "changed 10.0.0.2 10.0.0.53 high/high x2"]);
    let mut play = Play::new(ID);
    let details = play.steps(&steps).details();
    let texts: Vec<&str> = details.example.iter().map(|packet| packet.text.as_str()).collect();
    let expected =
        ["A? big.example. id 8, no EDNS", "TRUNCATED 29 B, 0 A, 0 CNAME, id 8", "SYN, 1 in all", "RST"];
    assert_eq!(texts, expected);
    assert!(details.summary.contains("answers that do not fit into UDP are lost"), "{}", details.summary);
}

#[test]
fn the_tries_of_one_lookup_are_one() {
    let steps = [
        "1000 ? 40001 7 A big.example",
        "1000.1 ? 40001 9 AAAA big.example",
        "1000.5 ! 40001 7 A big.example tc",
        "1001 syn 50001",
        "1001.1 rst 50001",
        "1001.2 ! 40001 9 AAAA big.example tc",
        "1001.3 syn 50002",
        "1001.4 rst 50002",
    ];
    check(ID, &steps, &["opened 10.0.0.2 10.0.0.53 low/low x1"]);
    // Nor is what came behind the refusal taken for a client that does not know TCP.
    check(FindingId::TruncatedNoTcp, &[&steps[..], &["9000 tick"]].concat(), &[]);
}

#[test]
fn names_that_are_asked_again_soon_are_lookups_of_their_own() {
    let lookup = |at: f64, number: u16, name: &str| {
        let (udp, tcp) = (40_000 + number, 50_000 + number);
        [
            format!("{at} ? {udp} {number} A {name}"),
            format!("{} ! {udp} {number} A {name} tc", at + 0.5),
            format!("{} syn {tcp}", at + 0.6),
            format!("{} rst {tcp}", at + 0.7),
        ]
    };
    let steps = [
        lookup(1000.0, 1, "a.example"),
        lookup(1001.0, 2, "b.example"),
        lookup(1300.0, 3, "a.example"),
        lookup(1301.0, 4, "b.example"),
    ];
    let lines: Vec<&str> = steps.iter().flatten().map(String::as_str).collect();
    check(ID, &lines, &["opened 10.0.0.2 10.0.0.53 low/low x1", "changed 10.0.0.2 10.0.0.53 high/high x3"]);
}

#[test]
fn silence_for_three_seconds_with_or_without_truncation() {
    let tries =
        |port: u16, at: u64| [0, 1000, 3000].map(|after| format!("{} syn {port}", at + after)).to_vec();
    let mut steps = [tries(50_001, 1000), tries(50_002, 6000)].concat();
    steps.push("20000 tick".into());
    let lines: Vec<&str> = steps.iter().map(String::as_str).collect();
    check(
        ID,
        &lines,
        &["opened 10.0.0.2 10.0.0.53 low/low x1", "changed 10.0.0.2 10.0.0.53 warning/medium x2"],
    );
    let first = ["900 ? 40001 7 A big.example", "900.5 ! 40001 7 A big.example tc"];
    let second = ["5900 ? 40002 8 A big.example", "5900.5 ! 40002 8 A big.example tc"];
    let lines = [&first[..], &lines[..3], &second[..], &lines[3..]].concat();
    check(ID, &lines, &["opened 10.0.0.2 10.0.0.53 low/low x1", "changed 10.0.0.2 10.0.0.53 high/high x2"]);
}

#[test]
fn slow_tcp_that_works_is_silence() {
    let steps = [
        "1000 ? 40001 7 A big.example",
        "1000.5 ! 40001 7 A big.example tc",
        "1001 syn 50001",
        "2001 syn 50001",
        "3500 synack 50001",
        "3600 ? 50001 7 A big.example tcp",
        "5000 ! 50001 7 A big.example tcp answers=60",
        "20000 tick",
    ];
    check(ID, &steps, &[]);
}

#[test]
fn a_capture_that_ends_too_early_is_silence() {
    check(ID, &["1000 syn 50001", "2000 syn 50001", "3900 tick"], &[]);
}

#[test]
fn a_lost_answer_to_a_syn_is_no_silence() {
    check(ID, &["900 lost 0", "1000 syn 50001", "2000 syn 50001", "4100 lost 1", "9000 tick"], &[]);
    // RST was seen, whatever else was lost.
    let steps = ["900 lost 0", "1000 syn 50001", "1001 rst 50001", "4100 lost 1", "9000 tick"];
    check(ID, &steps, &["opened 10.0.0.2 10.0.0.53 low/low x1"]);
}
