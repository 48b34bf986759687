//! What is too much for a resolv.conf, and what is just enough (facts.md section 3.8 P14).

use super::super::played::play;
use super::*;

const ID: FindingId = FindingId::ResolvConfLimits;

fn found(stub: Stub, resolv_conf: Option<&str>) -> Option<(Severity, Confidence, u64)> {
    let steps = ["0 1:1000 7 www.example A=ans AAAA=nd", "2000 1:1001 9 www.example A=ans AAAA=nd"];
    play(stub, resolv_conf, &steps).of(ID)
}

/// A search line of so many octets.
fn line(octets: usize) -> String {
    let mut line = "search svc.cluster.local".to_owned();
    while line.len() + 61 < octets {
        line.push_str(&format!(" {}.example", "a".repeat(52)));
    }
    line.push(' ');
    line.push_str(&"b".repeat(octets - line.len()));
    line
}

#[test]
fn musl_reads_no_line_of_more_than_254_octets() {
    assert_eq!(line(255).len(), 255);
    assert_eq!(found(Stub::Musl, Some(&line(255))), Some((Severity::High, Confidence::High, 1)));
    assert_eq!(found(Stub::Unknown, Some(&line(255))), Some((Severity::Low, Confidence::Low, 1)));
    assert_eq!(found(Stub::Glibc, Some(&line(255))), Some((Severity::Info, Confidence::High, 1)));
    assert_eq!(found(Stub::Musl, Some(&line(254))), None);
}

#[test]
fn nobody_asks_a_fourth_server() {
    let servers = |count: usize| "nameserver 10.0.0.53\n".repeat(count);
    assert_eq!(found(Stub::Glibc, Some(&servers(4))), Some((Severity::Low, Confidence::High, 1)));
    assert_eq!(found(Stub::Glibc, Some(&servers(3))), None);
}

#[test]
fn an_old_glibc_takes_six_domains() {
    let list =
        |count: usize| format!("search{}", (0..count).map(|n| format!(" d{n}.example")).collect::<String>());
    assert_eq!(found(Stub::Glibc, Some(&list(7))), Some((Severity::Info, Confidence::Low, 1)));
    assert_eq!(found(Stub::Glibc, Some(&list(6))), None);
    assert_eq!(found(Stub::Musl, Some(&list(7))), None);
}

#[test]
fn nothing_is_said_of_what_nobody_told() {
    assert_eq!(found(Stub::Musl, None), None);
}
