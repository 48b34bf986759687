//! The parts of a report that a small capture does not show.

use super::*;
use crate::findings::bench::{Bench, musl_pairs};

/// The report on what the bench played, as text and as a document.
fn report(steps: &[String]) -> (String, serde_json::Value) {
    let bench = Bench::play(steps);
    let diagnosis = Diagnosis {
        source: &SourceReport {
            name: "any",
            counters: None,
            trouble: &["the last record is cut off".into()],
        },
        engine: &bench.engine,
        insight: bench.engine.insight().unwrap(),
        names: &Names::default(),
        file: None,
        enough: None,
    };
    (diagnosis.text(&TimeZone::UTC, false), diagnosis.json())
}

/// A musl client to which AAAA of a name is never answered, and this many packets that the capture lost.
fn silence(lost: u64) -> Vec<String> {
    let ask = |number: u64| {
        format!("{} 5:{} 9 a.test A=ans AAAA=to again=2500", 20_000 + 10_000 * number, 50_000 + number)
    };
    let losses = ["10000 lost 0".to_owned(), format!("35000 lost {lost}")];
    [musl_pairs(0, 5), (0..4).map(ask).collect(), losses.to_vec()].concat()
}

#[test]
fn what_is_held_back_is_not_called_absent() {
    let (text, document) = report(&silence(100));
    let words = "Held back: pair-conflict for 10.0.0.5 at 10.0.0.53. It seemed so 4 times, but";
    assert!(text.contains(words), "{text}");
    let absent = text.split_once("Looked for and not found:").unwrap().1.split_once(".\n").unwrap().0;
    assert!(!absent.contains("pair-conflict"), "{absent}");
    assert!(text.contains("any: the last record is cut off\n"), "{text}");
    let held = document["held_back"].as_array().unwrap();
    let note = held.iter().find(|note| note["id"] == "pair-conflict").unwrap();
    assert_eq!((&note["evidence"], &note["lost"]), (&4.into(), &100.into()));
    assert_eq!(note["subject"]["client"], "10.0.0.5");
    assert!(!document["not_found"].as_array().unwrap().contains(&"pair-conflict".into()));
}

#[test]
fn what_many_have_is_told_in_full_of_a_few() {
    let of_client = |client: u8| {
        let ask = move |number: u64| {
            format!("{} {client}:{} 9 a.test A=ans AAAA=nx", 20_000 + 10_000 * number, 50_000 + number)
        };
        musl_pairs(0, client).into_iter().chain((0..4).map(ask))
    };
    let mut steps: Vec<String> = (5..10).flat_map(of_client).collect();
    steps.sort_by_key(|step| step.split(' ').next().and_then(|millis| millis.parse::<u64>().ok()));
    let (text, document) = report(&steps);
    assert_eq!(text.matches("HIGH pair-conflict").count(), 3, "{text}");
    let rest = "And 2 more pair-conflict (10.0.0.8 at 10.0.0.53, 10.0.0.9 at 10.0.0.53).";
    assert!(text.contains(rest) && text.contains("-o json has all of them in full."), "{text}");
    let findings = document["findings"].as_array().unwrap();
    assert_eq!(findings.iter().filter(|finding| finding["id"] == "pair-conflict").count(), 5);
}

#[test]
fn the_worst_comes_first_and_configuration_last() {
    let (text, _) = report(&silence(0));
    let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} is not in\n{text}"));
    let parts = [
        "1. HIGH pair-conflict: 10.0.0.5 at 10.0.0.53",
        "INFO old-musl",
        "Looked for and not found",
        "Stub resolvers: 1 musl-before-1.2.4 (10.0.0.5).",
    ];
    let places = parts.map(place);
    assert!(places.is_sorted(), "{places:?}\n{text}");
    assert!(!text.contains("Held back"), "{text}");
    assert!(text.contains("nslookout --lookups -v\n"), "{text}");
}

#[test]
fn words_for_a_shell_are_quoted_where_they_have_to_be() {
    for (word, expected) in [
        ("pod.pcap", "pod.pcap"),
        ("cali0a1b@if2", "cali0a1b@if2"),
        ("my file", "'my file'"),
        ("a'b", "'a'\\''b'"),
        ("", "''"),
        ("a\n1. HIGH \x1b[31m", "$'a\\0121. HIGH \\033[31m'"),
        ("it's\t\\", "$'it\\'s\\011\\\\'"),
    ] {
        assert_eq!(quoted(word), expected);
    }
}

#[test]
fn only_some_clients_are_named() {
    let clients = |count| (0..count).map(|host| format!("10.0.0.{host}")).collect::<Vec<_>>();
    assert_eq!(some_of("musl", &clients(2)), "2 musl (10.0.0.0, 10.0.0.1)");
    assert_eq!(some_of("go", &clients(9)), "9 go (10.0.0.0, 10.0.0.1, 10.0.0.2, 10.0.0.3, …)");
}
