//! When a search list costs too much, and when it only seems so (facts.md section 3.5).

use super::super::played::{Played, play};
use super::*;
use crate::correlate::fingerprint::Stub;

const ID: FindingId = FindingId::SearchAmplification;
const DOMAINS: [&str; 3] = [".shop.svc.cluster.local", ".svc.cluster.local", ".cluster.local"];
const LIST: &str = "search shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";

/// A lookup of a name at a time, which is asked below so many domains first, or last, and found as `place` says.
fn lookup(time: usize, name: &str, places: &[&str], server: &str) -> Vec<String> {
    let last = places.len() - 1;
    let step = |(index, place): (usize, &&str)| {
        let said = if index == last { "A=ans AAAA=nd" } else { "A=nx AAAA=nx" };
        format!(
            "{} 1:{} {} {name}{place} {said} {server}",
            time + 2 * index,
            1000 + index,
            (time * 7 + index) % 60_000
        )
    };
    places.iter().enumerate().map(step).collect()
}

const WALK: [&str; 4] = [DOMAINS[0], DOMAINS[1], DOMAINS[2], ""];

/// `times` lookups, every 500 ms, of `names` names in turn.
fn load(times: usize, names: usize, places: &[&str], server: &str) -> Vec<String> {
    (0..times)
        .flat_map(|time| lookup(500 * time, &format!("api{}.stripe.example", time % names), places, server))
        .collect()
}

fn played(steps: &[String]) -> Played {
    play(Stub::Musl, None, steps)
}

#[test]
fn fifty_walks_for_external_names_are_too_many() {
    assert_eq!(played(&load(49, 49, &WALK, "")).of(ID), None);
    let found = Some((Severity::Warning, Confidence::High, 50));
    assert_eq!(played(&load(50, 50, &WALK, "")).of(ID), found);
    assert_eq!(play(Stub::Glibc, Some(LIST), &load(50, 50, &WALK, "")).of(ID), found);
}

#[test]
fn a_walk_counts_once_at_most() {
    // About fifty a minute: now the threshold is reached, and now not.
    let steps: Vec<String> = (0..200)
        .flat_map(|time| lookup(1_180 * time, &format!("api{time}.stripe.example"), &WALK, ""))
        .collect();
    let (_, _, count) = played(&steps).of(ID).unwrap();
    assert!((50..=200).contains(&count), "{count}");
}

#[test]
fn it_says_how_many_would_do() {
    let played = play(Stub::Glibc, Some(LIST), &load(50, 50, &WALK, ""));
    let details = played.finding(ID).unwrap().details;
    assert_eq!(
        details.summary,
        "10.0.0.1 sends 8 queries where 2 suffice: api49.stripe.example. is asked below 3 search domains first"
    );
    assert_eq!(details.because[1], "300 of 400 queries (75 %) asked for names that do not exist");
    assert_eq!(
        details.because[3],
        "with ndots:2 these lookups would have cost 100 queries in place of 400, with ndots:1 100, with trailing dots 100"
    );
    assert!(details.numbers.contains(&Measure { name: "reduction", value: Quantity::Ratio(0.75) }));
}

#[test]
fn not_over_a_longer_time() {
    let steps: Vec<String> = (0..50)
        .flat_map(|time| lookup(1500 * time, &format!("api{time}.stripe.example"), &WALK, ""))
        .collect();
    assert_eq!(played(&steps).of(ID), None);
}

#[test]
fn not_the_name_itself_first() {
    let steps = load(60, 60, &["", DOMAINS[0], DOMAINS[1]], "");
    assert_eq!(played(&steps).of(ID), None);
    assert_eq!(played(&load(60, 60, &[""], "")).of(ID), None);
}

#[test]
fn not_services_by_short_names() {
    for places in [&[DOMAINS[0]][..], &[DOMAINS[0], DOMAINS[1]]] {
        let steps: Vec<String> =
            (0..60).flat_map(|time| lookup(500 * time, &format!("db{time}.bank"), places, "")).collect();
        assert_eq!(played(&steps).of(ID), None);
        assert_eq!(play(Stub::Glibc, Some(LIST), &steps).of(ID), None);
    }
}

#[test]
fn not_names_that_exist_nowhere() {
    let steps: Vec<String> =
        load(60, 60, &WALK, "").iter().map(|step| step.replace("A=ans AAAA=nd", "A=nx AAAA=nx")).collect();
    assert_eq!(played(&steps).of(ID), None);
}

#[test]
fn not_names_of_the_cluster() {
    let steps: Vec<String> = (0..60)
        .flat_map(|time| lookup(500 * time, &format!("db{time}.bank.svc.cluster.local"), &WALK, ""))
        .collect();
    assert_eq!(played(&steps).of(ID), None);
}

#[test]
fn not_a_server_that_walks_the_list_itself() {
    let steps: Vec<String> = (0..60)
        .map(|time| {
            let name = format!("api{time}.stripe.example");
            format!("{} 1:1000 7 {name}.shop.svc.cluster.local A=cname:{name} AAAA=cname:{name}", 500 * time)
        })
        .collect();
    assert_eq!(played(&steps).of(ID), None);
}

#[test]
fn not_health_checks_of_a_few_names() {
    assert_eq!(played(&load(100, 2, &WALK, "")).of(ID), None);
    assert_eq!(played(&load(100, 5, &WALK, "")).of(ID), None);
    assert!(played(&load(100, 6, &WALK, "")).of(ID).is_some());
}

#[test]
fn not_where_less_than_half_is_wasted() {
    let mut steps = load(20, 20, &WALK, "");
    steps.extend((0..200).flat_map(|time| lookup(60 * time + 9, &format!("own{time}.example"), &[""], "")));
    assert_eq!(played(&steps).of(ID), None);
}

#[test]
fn not_at_a_cache_on_the_node_at_a_low_rate() {
    let at_node = |mut steps: Vec<String>| {
        steps.iter_mut().for_each(|step| step.push_str(" node"));
        steps
    };
    assert_eq!(played(&at_node(load(60, 60, &WALK, ""))).of(ID), None);
    let many: Vec<String> = (0..620)
        .flat_map(|time| lookup(90 * time, &format!("api{time}.stripe.example"), &WALK, ""))
        .collect();
    assert!(played(&at_node(many)).of(ID).is_some());
}
