//! Several servers at once.

use super::super::play::{Play, check};
use super::*;

const ID: FindingId = FindingId::ServersDisagree;

/// Two lookups at two servers; the first denies the name after `first` ms, the second knows it after `second` ms.
fn lookups(first: u32, second: u32) -> Vec<String> {
    [1000, 4000]
        .into_iter()
        .flat_map(|at| {
            let mut steps = vec![
                (0, format!("{at} ? 40001 7 A a.example")),
                (0, format!("{at}.1 ? 40001 7 A a.example to=54")),
                (first, format!("{} ! 40001 7 A a.example rcode=3", at + first)),
                (second, format!("{} ! 40001 7 A a.example from=54 answers=1", at + second)),
            ];
            steps.sort();
            steps.into_iter().map(|(_, step)| step)
        })
        .collect()
}

#[track_caller]
fn check_lines(steps: &[String], expected: &[&str]) {
    check(ID, &steps.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn a_quick_denial_and_a_slow_answer() {
    let steps = lookups(2, 300);
    check_lines(&steps, &["opened 10.0.0.2 low/low x1", "changed 10.0.0.2 high/high x2"]);
    let mut play = Play::new(ID);
    let details = play.steps(&steps.iter().map(String::as_str).collect::<Vec<_>>()).details();
    assert_eq!(
        details.summary,
        "10.0.0.2 asks 10.0.0.53 and 10.0.0.54 for a.example. at once: one denies the name, the other knows it; the denial \
         came first"
    );
    assert_eq!(details.remedies[0].lines, ["nameserver 10.0.0.54"]);
}

#[test]
fn the_answer_first_is_luck() {
    check_lines(&lookups(300, 2), &["opened 10.0.0.2 low/low x1", "changed 10.0.0.2 warning/high x2"]);
}

#[test]
fn servers_that_agree_fail_or_are_asked_in_turn_are_silence() {
    let replaced = |from: &str, to: &str| -> Vec<String> {
        lookups(2, 300).iter().map(|step| step.replace(from, to)).collect()
    };
    check_lines(&replaced("answers=1", "rcode=3"), &[]);
    check_lines(&replaced("rcode=3", "rcode=2"), &[]);
    check_lines(&replaced("rcode=3", "rcode=5"), &[]);
    let in_turn = [
        "1000 ? 40001 7 A a.example",
        "1002 ! 40001 7 A a.example rcode=3",
        "1003 ? 40001 7 A a.example to=54",
        "1004 ! 40001 7 A a.example from=54 answers=1",
    ];
    check(ID, &in_turn, &[]);
}
