//! What leaves the node that should not (facts.md section 3.8 P18).

use super::super::played::{Played, play};
use super::*;
use crate::correlate::fingerprint::Stub;

const ID: FindingId = FindingId::PublicLeak;

/// Three lookups of a name at a public resolver, or at the cluster's own.
fn asked(name: &str, public: bool) -> Played {
    let server = if public { "public" } else { "" };
    let steps: Vec<String> = (0..3)
        .map(|time| format!("{} 1:{} {} {name} A=nx AAAA=nx {server}", 2000 * time, 1000 + time, 100 * time))
        .collect();
    play(Stub::Glibc, None, &steps)
}

#[test]
fn names_of_the_cluster_at_a_public_resolver() {
    let found = asked("db.bank.svc.cluster.local", true);
    assert_eq!(found.of(ID), Some((Severity::Info, Confidence::High, 3)));
    let finding = found.finding(ID).unwrap();
    assert_eq!(finding.subject.server, Some("8.8.8.8".parse().unwrap()));
    assert_eq!(finding.details.numbers[0], text("name", "db.bank.svc.cluster.local."));
}

#[test]
fn a_single_label_at_the_end_of_a_search() {
    let steps = ["0 1:1000 7 db.corp.example A=nx AAAA=nx public", "2 1:1001 9 db A=nx AAAA=nx public"];
    assert_eq!(play(Stub::Glibc, None, &steps).of(ID), Some((Severity::Info, Confidence::Low, 1)));
    // Whoever walks from the root asks for one label too.
    assert_eq!(asked("com", true).of(ID), None);
}

#[test]
fn not_public_names_and_not_the_clusters_own_server() {
    assert_eq!(asked("www.example.com", true).of(ID), None);
    assert_eq!(asked("db.bank.svc.cluster.local", false).of(ID), None);
}

#[test]
fn addresses_that_are_public() {
    for public in ["8.8.8.8", "1.1.1.1", "100.63.0.1", "2001:4860:4860::8888", "::ffff:9.9.9.9"] {
        assert!(is_public(public.parse().unwrap()), "{public}");
    }
    for other in [
        "10.96.0.10",
        "172.20.0.10",
        "192.168.1.1",
        "127.0.0.53",
        "169.254.169.253",
        "100.64.0.10",
        "192.0.2.53",
        "198.18.0.1",
        "192.0.0.9",
        "0.0.0.0",
        "224.0.0.251",
        "255.255.255.255",
        "fd00:10:96::a",
        "fe80::1",
        "::1",
        "2001:db8::53",
        "::ffff:10.0.0.1",
    ] {
        assert!(!is_public(other.parse().unwrap()), "{other}");
    }
}
