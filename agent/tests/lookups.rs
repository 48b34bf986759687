//! Lookups of real clients, from the captures of tests/data.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

use std::path::Path;

use nslookout::capture::frame::Frame;
use nslookout::capture::{Drained, Source};
use nslookout::correlate::lookups::{Lookup, LookupOutcome};
use nslookout::correlate::resolv_conf::{ResolvConf, SearchSource};
use nslookout::engine::{Engine, EngineConfig, InsightConfig, Report};

/// The lookups of a capture, as one line each: base, outcome, queries, wasted, candidates.
fn lookups(capture: &str, resolv_conf: Option<&str>) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(capture);
    let mut source = Source::file(&path).unwrap();
    let told = |text: &str| (None, ResolvConf::parse(text.as_bytes()), SearchSource::ResolvConf);
    let insight = InsightConfig {
        resolv_confs: resolv_conf.map(told).into_iter().collect(),
        ..InsightConfig::default()
    };
    let mut engine = Engine::new(EngineConfig {
        ports: [53].into_iter().collect(),
        insight: Some(insight),
        ..EngineConfig::default()
    });
    let mut said = Vec::new();
    let mut emit = |report: Report<'_>| {
        if let Report::Lookup(lookup) = report {
            said.push(tell(lookup));
        }
    };
    let mut deliver = |frame: &Frame<'_>| {
        engine.frame(frame, &mut emit);
        engine.tick(frame.time, &mut emit);
    };
    while source.drain(64, &mut deliver) != Drained::Ended {}
    engine.finish(engine.latest(), &mut emit);
    said
}

fn tell(lookup: &Lookup) -> String {
    let Lookup { base, queries, wasted, source, .. } = lookup;
    assert_eq!(lookup.winner.is_some(), lookup.outcome == LookupOutcome::Answered);
    let (outcome, source) = (lookup.outcome.as_str(), source.as_str());
    format!("{base} {outcome} {queries}/{wasted} of {} {source}", lookup.candidates.len())
}

#[track_caller]
fn check(capture: &str, resolv_conf: Option<&str>, expected: &[&str]) {
    assert_eq!(lookups(capture, resolv_conf), expected);
}

#[test]
fn both_libraries_walk_the_search_list() {
    let walked = "www.example.test. answered 8/6 of 4";
    let inferred = format!("{walked} inferred");
    check("search-list.pcap", None, &[&inferred, &inferred]);
    let told = format!("{walked} resolv_conf");
    let list = "search ns.svc.cluster.test svc.cluster.test cluster.test\noptions ndots:5\n";
    check("search-list.pcap", Some(list), &[&told, &told]);
}

#[test]
fn what_follows_a_truncated_response_is_part_of_the_lookup() {
    // musl 1.2.3, which takes what there is; glibc, which asks three times by UDP and TCP; dig.
    check(
        "truncated.pcap",
        None,
        &[
            "big.example.test. answered 2/0 of 1 unknown",
            "big.example.test. answered 12/0 of 1 unknown",
            "big.example.test. answered 2/0 of 1 unknown",
        ],
    );
}

#[test]
fn repetitions_are_part_of_the_lookup() {
    // musl and glibc at the same time, each asks twice; then dig.
    check(
        "unanswered.pcap",
        None,
        &[
            "www.example.test. unanswered 4/0 of 1 unknown",
            "www.example.test. unanswered 4/0 of 1 unknown",
            "www.test. answered 1/0 of 1 unknown",
        ],
    );
    // dig, and glibc, which tries again at once.
    check(
        "refused.pcap",
        None,
        &["www.example.test. error 1/0 of 1 unknown", "www.example.test. error 4/0 of 1 unknown"],
    );
}
