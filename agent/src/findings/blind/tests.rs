//! What was not looked at is told, rule by rule.

use crate::findings::bench::{Bench, musl_pairs};
use crate::findings::{Blind, FindingId};

/// Why a rule could not look after these steps.
fn reason(steps: &[String], id: FindingId) -> Option<String> {
    let bench = Bench::play(steps);
    let queries = bench.engine.tally().summary.queries();
    let blind = bench.engine.insight().unwrap().blind(queries);
    blind.into_iter().find(|blind| blind.id == id).map(|Blind { reason, .. }| reason)
}

#[track_caller]
fn check(steps: &[String], id: FindingId, expected: Option<&str>) {
    let reason = reason(steps, id);
    match (&reason, expected) {
        (None, None) => {}
        (Some(reason), Some(expected)) => assert!(reason.contains(expected), "{reason}"),
        _ => panic!("{reason:?}, not {expected:?}"),
    }
}

#[test]
fn without_a_query_no_rule_could_look() {
    let bench = Bench::play::<String>(&[]);
    let blind = bench.engine.insight().unwrap().blind(0);
    assert_eq!(blind.len(), FindingId::ALL.len());
    assert!(blind.iter().all(|blind| blind.reason == "no query was seen"));
}

#[test]
fn a_version_of_musl_takes_many_pairs() {
    let few = &musl_pairs(0, 5)[..6];
    check(few, FindingId::OldMusl, Some("one client asks as musl does"));
    check(&musl_pairs(0, 5), FindingId::OldMusl, None);
    check(&["0 5:1 1 a.test A=ans".into()], FindingId::OldMusl, None);
}

#[test]
fn ten_minutes_of_one_client_are_needed() {
    let steps = |minutes: u64| -> Vec<String> {
        (0..=minutes)
            .map(|minute| format!("{} 5:{} 9 a.test A=ans", 60_000 * minute, 1000 + minute))
            .collect()
    };
    check(&steps(9), FindingId::UnusedAaaa, Some("for 10 minutes"));
    check(&steps(11), FindingId::UnusedAaaa, None);
}

#[test]
fn nobody_told_a_resolv_conf() {
    check(&["0 5:1 1 a.test A=ans".into()], FindingId::ResolvConfLimits, Some("--resolv-conf"));
}

#[test]
fn what_waited_long_enough_is_not_open() {
    check(&["0 5:1 1 a.test A=to".into()], FindingId::Unanswered, None);
    check(&["0 5:1 1 a.test A=ans".into()], FindingId::TruncatedNoTcp, None);
}
