//! IDs and ports that do not tell questions apart.

use super::super::play::{Play, check};
use super::*;

const ID: FindingId = FindingId::IdReuse;

#[test]
fn a_and_aaaa_under_one_id() {
    let lookup = |at: u32| {
        [
            format!("{at} ? 40001 7 A a.example"),
            format!("{at}.01 ? 40001 7 AAAA a.example"),
            format!("{at}.5 ! 40001 7 A a.example"),
            format!("{at}.6 ! 40001 7 AAAA a.example"),
        ]
    };
    let steps = [lookup(1000), lookup(4000)].concat();
    check(
        ID,
        &steps.iter().map(String::as_str).collect::<Vec<_>>(),
        &["opened 10.0.0.2 low/low x1", "changed 10.0.0.2 warning/high x2"],
    );
}

#[test]
fn two_names_under_one_id() {
    let steps = ["1000 ? 40001 7 A a.example", "1002 ? 40001 7 A b.example", "1100 ! 40001 7 A a.example"];
    check(ID, &steps, &["opened 10.0.0.2 low/low x1"]);
}

#[test]
fn the_same_question_again_other_servers_and_answered_ones_are_silence() {
    check(ID, &["1000 ? 40001 7 A a.example", "3500 ? 40001 7 A a.example"], &[]);
    check(ID, &["1000 ? 40001 7 A a.example", "1000.1 ? 40001 7 A a.example to=54"], &[]);
    for answer in ["1001 ! 40001 7 A a.example", "1001 ! 40001 7 A a.example rcode=2"] {
        check(ID, &["1000 ? 40001 7 A a.example", answer, "1002 ? 40001 7 A b.example"], &[]);
        check(ID, &["1000 ? 40001 7 A a.example", answer, "1002 ? 40001 7 A a.example"], &[]);
    }
}

/// A lookup every 20 s for as long from port 53, the IDs counted up to `ids`.
#[track_caller]
fn check_fixed(seconds: u32, ids: u32, expected: &[&str]) {
    let mut play = Play::new(ID);
    for at in (20..seconds).step_by(20) {
        let id = at / 20 % ids;
        play.steps(&[
            &format!("{at}000 ? 40000 {id} A n{at}.example"),
            &format!("{at}001 ! 40000 {id} A n{at}.example"),
        ]);
    }
    play.finish();
    assert_eq!(play.said(), expected);
}

#[test]
fn one_port_and_few_ids_for_more_than_an_hour() {
    check_fixed(4200, 16, &["opened 10.0.0.2 low/medium x1"]);
    check_fixed(3500, 16, &[]);
    check_fixed(4200, 60_000, &[]);
}
