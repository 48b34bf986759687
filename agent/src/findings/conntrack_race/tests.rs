//! A pair that loses one half, and what looks like it.

use super::super::play::{Play, check};
use super::*;

const ID: FindingId = FindingId::ConntrackRace;

/// So many lookups, so many seconds apart, by a pattern in which `T` is the time, `P` the port, `I` and `J` the IDs of A and AAAA.
fn lookups(times: u16, seconds: f64, pattern: &[(f64, &str)]) -> Vec<String> {
    (0..times)
        .flat_map(|lookup| {
            pattern.iter().map(move |(after, step)| {
                let words = step
                    .replace('P', &(40_000 + lookup).to_string())
                    .replace('I', &(7000 + lookup).to_string())
                    .replace('J', &(50_000 + lookup).to_string());
                format!("{} {words} n{lookup}.example", 1000.0 * (1.0 + seconds * f64::from(lookup)) + after)
            })
        })
        .collect()
}

fn three(pattern: &[(f64, &str)]) -> Vec<String> {
    lookups(3, 10.0, pattern)
}

#[track_caller]
fn check_three(pattern: &[(f64, &str)], expected: &[&str]) {
    let mut steps = three(pattern);
    steps.push("60000 tick".into());
    check(ID, &steps.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

const FOUND: &[&str] = &["opened 10.0.0.2 10.0.0.53 high/medium x3"];

#[test]
fn musl_asks_again_after_two_and_a_half_seconds() {
    check_three(
        &[
            (0.0, "? P I A"),
            (0.01, "? P J AAAA"),
            (0.5, "! P I A"),
            (2502.0, "? P J AAAA"),
            (2502.5, "! P J AAAA"),
        ],
        FOUND,
    );
    check_three(
        &[
            (0.0, "? P I A"),
            (0.01, "? P J AAAA"),
            (0.5, "! P J AAAA"),
            (2502.0, "? P I A"),
            (2502.5, "! P I A"),
        ],
        FOUND,
    );
}

#[test]
fn glibc_asks_for_both_again_after_five() {
    check_three(
        &[
            (0.0, "? P I A"),
            (0.01, "? P J AAAA"),
            (0.5, "! P I A"),
            (5000.0, "? P I A"),
            (5000.5, "! P I A"),
            (5000.6, "? P J AAAA"),
            (5001.0, "! P J AAAA"),
        ],
        FOUND,
    );
    check_three(
        &[
            (0.0, "? P I A"),
            (0.01, "? P J AAAA"),
            (0.5, "! P J AAAA"),
            (5000.0, "? P I A"),
            (5000.5, "! P I A"),
            (5000.6, "? P J AAAA"),
            (5001.0, "! P J AAAA"),
        ],
        FOUND,
    );
}

#[test]
fn a_race_counts_once() {
    let pattern = [
        (0.0, "? P I A"),
        (0.01, "? P J AAAA"),
        (0.5, "! P I A"),
        (2502.0, "? P J AAAA"),
        (2502.5, "! P J AAAA"),
    ];
    // A minute always holds three of them.
    let mut steps = lookups(10, 25.0, &pattern);
    steps.push("240000 tick".into());
    let mut play = Play::new(ID);
    play.steps(&steps.iter().map(String::as_str).collect::<Vec<_>>()).finish();
    assert_eq!(play.said(), FOUND);
    assert_eq!(play.finding().count, 10);
}

#[test]
fn two_are_not_enough() {
    let pattern = [
        (0.0, "? P I A"),
        (0.01, "? P J AAAA"),
        (0.5, "! P I A"),
        (2502.0, "? P J AAAA"),
        (2502.5, "! P J AAAA"),
    ];
    let mut steps = three(&pattern);
    steps.truncate(2 * pattern.len());
    check(ID, &steps.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
}

#[test]
fn both_lost_or_the_repeat_too_is_silence() {
    check_three(
        &[
            (0.0, "? P I A"),
            (0.01, "? P J AAAA"),
            (2502.0, "? P I A"),
            (2502.1, "? P J AAAA"),
            (2502.5, "! P I A"),
            (2502.6, "! P J AAAA"),
        ],
        &[],
    );
    check_three(&[(0.0, "? P I A"), (0.01, "? P J AAAA"), (0.5, "! P I A"), (2502.0, "? P J AAAA")], &[]);
}

#[test]
fn a_slow_server_is_silence() {
    // It answers 0.3 s after the repeat; or at once, and then the second copy too.
    check_three(
        &[
            (0.0, "? P I A"),
            (0.01, "? P J AAAA"),
            (0.5, "! P I A"),
            (2502.0, "? P J AAAA"),
            (2800.0, "! P J AAAA"),
        ],
        &[],
    );
    check_three(
        &[
            (0.0, "? P I A"),
            (0.01, "? P J AAAA"),
            (0.5, "! P I A"),
            (2502.0, "? P J AAAA"),
            (2510.0, "! P J AAAA"),
            (5012.0, "! P J AAAA"),
        ],
        &[],
    );
}

#[test]
fn separate_ports_one_after_the_other_and_c_ares_are_silence() {
    check_three(
        &[
            (0.0, "? P I A"),
            (0.01, "? 999 J AAAA"),
            (0.5, "! P I A"),
            (2502.0, "? 999 J AAAA"),
            (2502.5, "! 999 J AAAA"),
        ],
        &[],
    );
    check_three(
        &[
            (0.0, "? P I A"),
            (0.5, "! P I A"),
            (20.0, "? P J AAAA"),
            (2522.0, "? P J AAAA"),
            (2522.5, "! P J AAAA"),
        ],
        &[],
    );
    // Only what was lost, after 5 s.
    check_three(
        &[
            (0.0, "? P I A"),
            (0.01, "? P J AAAA"),
            (0.5, "! P I A"),
            (5000.0, "? P J AAAA"),
            (5000.5, "! P J AAAA"),
        ],
        &[],
    );
}

#[test]
fn what_nothing_translates_is_silence() {
    for server in ["169.254.20.10", "169.254.169.253", "127.0.0.53", "fe80::1", "fd00:ec2::253", "::1"] {
        assert!(!is_translated(server.parse().unwrap()), "{server}");
    }
    for server in ["10.96.0.10", "172.20.0.10", "8.8.8.8", "fd00:10:96::a"] {
        assert!(is_translated(server.parse().unwrap()), "{server}");
    }
}

#[test]
fn lost_packets_may_have_been_the_answers() {
    let pattern = [
        (0.0, "? P I A"),
        (0.01, "? P J AAAA"),
        (0.5, "! P I A"),
        (2502.0, "? P J AAAA"),
        (2502.5, "! P J AAAA"),
    ];
    let mut steps = vec!["900 lost 0".to_owned()];
    steps.extend(three(&pattern));
    steps.extend(["24000 lost 1".to_owned(), "60000 tick".to_owned()]);
    check(ID, &steps.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
}

#[test]
fn the_details_tell_which_half_and_how_long() {
    let pattern = [
        (0.0, "? P I A"),
        (0.01, "? P J AAAA"),
        (0.5, "! P I A"),
        (2502.0, "? P J AAAA"),
        (2502.5, "! P J AAAA"),
    ];
    let steps = three(&pattern);
    let mut play = Play::new(ID);
    play.steps(&steps.iter().map(String::as_str).collect::<Vec<_>>()).finish();
    let Details { summary, because, example, .. } = play.details();
    assert!(
        summary.starts_with("10.0.0.2 waits 2.5 s for n2.example.: of A and AAAA to 10.0.0.53 one"),
        "{summary}"
    );
    assert!(because[1].starts_with("AAAA was sent again after 2.502 s"), "{because:?}");
    assert_eq!(example.len(), 5);
}

/// One pair that loses a half, as musl: `number` gives port, IDs and time.
fn half_lost(number: u32, lost: &str) -> Vec<String> {
    let (time, port) = (1000.0 + 3000.0 * f64::from(number), 41_000 + number);
    let other = if lost == "A" { "AAAA" } else { "A" };
    let id = |qtype: &str| if qtype == "A" { 7000 + number } else { 50_000 + number };
    let step = |after: f64, what: &str, qtype: &str| {
        format!("{} {what} {port} {} {qtype} n{number}.example", time + after, id(qtype))
    };
    vec![
        step(0.0, "?", "A"),
        step(0.01, "?", "AAAA"),
        step(0.5, "!", other),
        step(2502.0, "?", lost),
        step(2502.5, "!", lost),
    ]
}

#[test]
fn either_half_alike_is_plain_loss() {
    let mut play = Play::new(ID);
    let steps: Vec<String> = ["A", "AAAA", "A", "AAAA", "AAAA", "A"]
        .iter()
        .zip(0..)
        .flat_map(|(lost, number)| half_lost(number, lost))
        .collect();
    play.steps(&steps.iter().map(String::as_str).collect::<Vec<_>>()).finish();
    let Details { because, .. } = play.details();
    assert!(because.iter().all(|line| !line.contains("never reached")), "{because:?}");
    assert!(because.last().is_some_and(|line| line.contains("plain loss")), "{because:?}");
}

#[test]
fn lost_queries_without_a_pair_are_plain_loss() {
    let mut steps: Vec<String> = (0..3).flat_map(|number| half_lost(number, "AAAA")).collect();
    for (time, what) in [(1500.0, "?"), (4000.0, "?"), (4001.0, "!")] {
        steps.push(format!("{time} {what} 33333 1 A single.example"));
    }
    let time =
        |step: &String| step.split(' ').next().and_then(|time| time.parse::<f64>().ok()).unwrap_or_default();
    steps.sort_by(|one, other| time(one).total_cmp(&time(other)));
    steps.push("60000 tick".into());
    check(
        ID,
        &steps.iter().map(String::as_str).collect::<Vec<_>>(),
        &["opened 10.0.0.2 10.0.0.53 low/low x3"],
    );
}

#[test]
fn what_has_a_public_address_is_no_service() {
    for server in ["10.96.0.10", "100.64.0.1", "fd00:10:96::a"] {
        assert!(is_private(server.parse().unwrap()), "{server}");
    }
    assert!(!is_private("8.8.8.8".parse().unwrap()));
}
