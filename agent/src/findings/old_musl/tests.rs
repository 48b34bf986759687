//! musl before 1.2.4, known by many pairs and by nothing less.

use super::super::play::{Play, check};
use super::*;

const ID: FindingId = FindingId::OldMusl;

/// As many lookups, the IDs of each pair `step` apart; of every third pair the high bytes differ.
fn pairs(count: u32, step: u32) -> Vec<String> {
    let mut steps = Vec::new();
    for at in 1..=count {
        let low = if at % 3 == 0 { 0xf0 } else { 0x10 };
        let (ms, port, id) = (1000 * at, 40_000 + at, 0x0100 * at + low);
        // By a clock, which makes no step twice in a row.
        let aaaa = (id + step + at % 5) % 65_536;
        steps.push(format!("{ms} ? {port} {id} A n{at}.example"));
        steps.push(format!("{ms}.01 ? {port} {aaaa} AAAA n{at}.example"));
        steps.push(format!("{ms}.5 ! {port} {id} A n{at}.example answers=1"));
        steps.push(format!("{ms}.6 ! {port} {aaaa} AAAA n{at}.example soa"));
    }
    steps
}

#[track_caller]
fn check_pairs(count: u32, step: u32, expected: &[&str]) {
    let steps = pairs(count, step);
    check(ID, &steps.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn twenty_pairs_tell() {
    check_pairs(20, 150, &["opened 10.0.0.2 info/high x1"]);
}

#[test]
fn few_pairs_newer_versions_and_other_resolvers_are_silence() {
    check_pairs(9, 150, &[]);
    // From 1.2.4 on the high bytes always differ.
    check_pairs(60, 300, &[]);
    check_pairs(60, 20_000, &[]);
}

#[test]
fn it_names_what_will_not_fit() {
    let mut play = Play::new(ID);
    play.steps(&[
        "100 ? 40001 7 A wide.example host=3 edns=1232",
        "100.5 ! 40001 7 A wide.example host=3 edns=1232 answers=60",
    ]);
    let steps = pairs(20, 150);
    play.steps(&steps.iter().map(String::as_str).collect::<Vec<_>>()).finish();
    let because = play.details().because;
    assert!(because.iter().any(|line| line.contains("wide.example. 1001 B")), "{because:?}");
}
