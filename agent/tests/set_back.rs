//! Captures that were joined, the later one first: what comes after is judged as if nothing had been before.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

use std::path::Path;
use std::time::Duration;

use nslookout::capture::frame::{Frame, LinkType, Timestamp};
use nslookout::capture::{Drained, Source};
use nslookout::engine::{Engine, EngineConfig, InsightConfig, Report};
use nslookout::findings::Change;

/// How far the clock is set back.
const DAY: Duration = Duration::from_secs(86_400);
/// What is told of a time so long after the second part began is told of the first: no capture is that long.
const LONGER_THAN_A_CAPTURE: Duration = Duration::from_secs(43_200);

/// A frame of a capture.
struct Recorded {
    time: Timestamp,
    link_type: LinkType,
    original_length: u32,
    bytes: Vec<u8>,
}

/// What was told: of findings `state id severity confidence count first-seen whom`, and of lookups how they ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    findings: Vec<String>,
    lookups: Vec<String>,
}

fn frames(name: &str) -> Vec<Recorded> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/corpus/tuned/{name}.pcap.zst"));
    let mut source = Source::file(&path).unwrap();
    let mut frames = Vec::new();
    let mut keep = |frame: &Frame<'_>| {
        let Frame { time, link_type, original_length, bytes, .. } = *frame;
        frames.push(Recorded { time, link_type, original_length, bytes: bytes.to_owned() });
    };
    while source.drain(64, &mut keep) != Drained::Ended {}
    assert!(!frames.is_empty(), "{name}");
    frames
}

fn engine() -> Engine {
    Engine::new(EngineConfig {
        ports: [53].into_iter().collect(),
        insight: Some(InsightConfig::default()),
        ..EngineConfig::default()
    })
}

/// Plays frames at a time moved by `later`; what is told of times before `until` goes to `told`, the rest is given back.
fn play(
    engine: &mut Engine,
    frames: &[Recorded],
    later: Duration,
    until: Timestamp,
    told: &mut Told,
) -> Told {
    let mut rest = Told::default();
    let mut emit = |report: Report<'_>| match report {
        Report::Finding(change) => {
            let line = line(&change);
            let at = change.finding().changed;
            if at < until { told.findings.push(line) } else { rest.findings.push(line) }
        }
        Report::Lookup(lookup) => {
            let line = format!("{} {} {}", lookup.base, lookup.outcome.as_str(), lookup.queries);
            if lookup.ended < until { told.lookups.push(line) } else { rest.lookups.push(line) }
        }
        _ => {}
    };
    for Recorded { time, link_type, original_length, bytes } in frames {
        let (time, link_type, original_length) = (*time + later, *link_type, *original_length);
        let frame = Frame { time, place: None, link_type, original_length, vlan: None, bytes };
        engine.tick(time, &mut emit);
        engine.frame(&frame, &mut emit);
    }
    engine.tick(engine.latest() + Duration::from_secs(10), &mut emit);
    rest
}

fn line(change: &Change<'_>) -> String {
    let finding = change.finding();
    format!(
        "{} {} {} {} {} {} {:?}",
        change.as_str(),
        finding.id.as_str(),
        finding.severity.as_str(),
        finding.confidence.as_str(),
        finding.count,
        finding.first_seen.as_nanos(),
        finding.subject,
    )
}

/// The capture `first` a day later, then the capture `second`: of that is told what is told of it alone.
fn check(first: &str, second: &str) {
    let frames_of = [first, second].map(frames);
    let [first_frames, second_frames] = &frames_of;
    // Whenever they were recorded.
    let (begin, other) = (second_frames[0].time, first_frames[0].time);
    let later = DAY + begin.since(other);
    let until = begin + LONGER_THAN_A_CAPTURE;

    let mut alone = Told::default();
    let mut engine_alone = engine();
    let rest = play(&mut engine_alone, second_frames, Duration::ZERO, until, &mut alone);
    assert_eq!(rest, Told::default(), "{second}");

    let (mut before, mut after) = (Told::default(), Told::default());
    let mut joined = engine();
    let mut told_first = play(&mut joined, first_frames, later, until, &mut before);
    assert_eq!(before, Told::default(), "{first}");
    let rest = play(&mut joined, second_frames, Duration::ZERO, until, &mut after);
    assert_eq!(after, alone, "{first}, then {second}");
    // What the first one told came to its end with its clock.
    told_first.findings.extend(rest.findings);
    let count = |state: &str| told_first.findings.iter().filter(|line| line.starts_with(state)).count();
    assert_eq!(count("opened"), count("closed"), "{first}: {:#?}", told_first.findings);
    assert_eq!(joined.tally().clock_steps, 1, "{first}, then {second}");
    let lookups = told_first.lookups.len() + rest.lookups.len() + after.lookups.len();
    assert_eq!(joined.insight().unwrap().lookups().total(), lookups as u64);
}

#[test]
fn what_follows_is_judged_as_if_alone() {
    let captures = [
        "search-stopped-fourth-musl-1.2.3-bind",
        "servfail-glibc-bind",
        "tcp-blocked-drop-glibc-unbound",
        "linklocal-steady-1300-unbound",
        "linklocal-burst-short",
        "refused-glibc-nsd",
        "unanswered-glibc",
        "query-storm-glibc",
        "amplification-glibc-unbound",
        "conntrack-aaaa-lost-glibc-unbound",
        "truncated-addresses-unbound",
        "old-musl-plain-unbound",
        "healthy-mixed-musl-1.2.5-glibc-go-c-ares-1.34",
    ];
    for name in captures {
        check(name, name);
        check("servfail-glibc-bind", name);
        check(name, "servfail-glibc-bind");
    }
}
