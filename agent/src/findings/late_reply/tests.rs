//! Answers in time and too late.

use super::super::play::{Play, check};
use super::*;

const ID: FindingId = FindingId::LateReply;
const ONCE: &[&str] = &["opened 10.0.0.2 10.0.0.53 low/low x1"];

#[test]
fn when_nobody_waits_any_more() {
    let steps = ["1000 ? 40001 7 A a.example", "8000 ! 40001 7 A a.example"];
    check(ID, &steps, ONCE);
    let more = ["20000 ? 40002 8 A a.example", "27000 ! 40002 8 A a.example"];
    let both = [ONCE, &["changed 10.0.0.2 10.0.0.53 warning/high x2"]].concat();
    check(ID, &[steps, more].concat(), &both);
    let mut play = Play::new(ID);
    let summary = play.steps(&steps).details().summary;
    assert_eq!(summary, "10.0.0.2 gets its answer for a.example. from 10.0.0.53 too late, after 7.0 s");
}

#[test]
fn after_more_than_any_resolver_waits() {
    check(ID, &["1000 ? 40001 7 A a.example", "6500 ! 40001 7 A a.example"], ONCE);
    check(ID, &["1000 ? 40001 7 A a.example", "5900 ! 40001 7 A a.example"], &[]);
}

#[test]
fn both_copies_were_answered() {
    let steps = [
        "1000 ? 40001 7 A a.example",
        "3500 ? 40001 7 A a.example",
        "3700 ! 40001 7 A a.example",
        "6200 ! 40001 7 A a.example",
    ];
    check(ID, &steps, ONCE);
}

#[test]
fn a_repeat_that_is_answered_at_once_may_be_for_a_lost_one() {
    let steps = ["1000 ? 40001 7 A a.example", "3500 ? 40001 7 A a.example", "3500.5 ! 40001 7 A a.example"];
    check(ID, &steps, &[]);
    // More than a second behind either copy is slow.
    let steps = ["1000 ? 40001 7 A a.example", "3500 ? 40001 7 A a.example", "5000 ! 40001 7 A a.example"];
    check(ID, &steps, ONCE);
}

#[test]
fn go_and_c_ares_ask_anew_from_another_port() {
    let steps = [
        "1000 ? 40001 7 A a.example edns=1232",
        "3000 ? 40002 7 A a.example edns=1232",
        "3500 ! 40001 7 A a.example",
        "5500 ! 40002 7 A a.example",
    ];
    check(ID, &steps, ONCE);
    // Two types at once, and one before the other, are in order.
    let steps = [
        "1000 ? 40001 7 A a.example",
        "1000.1 ? 40002 8 AAAA a.example",
        "1000.5 ! 40002 8 AAAA a.example",
        "1000.7 ! 40001 7 A a.example",
    ];
    check(ID, &steps, &[]);
}

#[test]
fn an_answer_sent_twice_to_one_query_is_silence() {
    check(
        ID,
        &["1000 ? 40001 7 A a.example", "1001 ! 40001 7 A a.example", "1030 ! 40001 7 A a.example"],
        &[],
    );
}
