//! Answers of somebody else.

use super::super::play::{Play, check};
use super::*;

const ID: FindingId = FindingId::WrongSource;

#[test]
fn a_response_from_an_address_that_was_not_asked() {
    let steps = [
        "1000 ? 40001 7 A a.example",
        "1000.5 ! 40001 7 A a.example from=54",
        // musl asks again: still the same lookup's second answer, later.
        "3500 ? 40001 7 A a.example",
        "3500.5 ! 40001 7 A a.example from=54",
        "20000 tick",
    ];
    check(ID, &steps, &["opened 10.0.0.2 10.0.0.53 low/low x1", "changed 10.0.0.2 10.0.0.53 high/high x2"]);
    let mut play = Play::new(ID);
    let details = play.steps(&steps).details();
    assert_eq!(
        details.summary,
        "10.0.0.2 asks 10.0.0.53:53 for a.example. and is answered by 10.0.0.54:53: it must drop that, and waits until it \
         gives up"
    );
    assert_eq!(details.remedies[0].lines, ["nameserver 10.0.0.54"]);
}

#[test]
fn the_right_answer_beside_it_is_silence() {
    // A NAT that is seen from both sides; any of several servers.
    let steps = [
        "1000 ? 40001 7 A a.example",
        "1000.5 ! 40001 7 A a.example from=54",
        "1000.7 ! 40001 7 A a.example from=53",
        "20000 tick",
    ];
    check(ID, &steps, &[]);
}

#[test]
fn answers_of_all_servers_that_were_asked_are_silence() {
    let steps = [
        "1000 ? 40001 7 A a.example",
        "1000.1 ? 40001 7 A a.example to=54",
        "1000.5 ! 40001 7 A a.example from=54",
        "1000.7 ! 40001 7 A a.example from=53",
        "20000 tick",
    ];
    check(ID, &steps, &[]);
}

#[test]
fn an_answer_without_any_query_is_silence() {
    check(ID, &["1000 ! 40001 7 A a.example from=54", "20000 tick"], &[]);
    let other_id = ["1000 ? 40001 8 A a.example", "1000.5 ! 40001 7 A a.example from=54", "20000 tick"];
    check(ID, &other_id, &[]);
}
