//! AAAA that is never there, by lookups.

use std::net::SocketAddr;

use crate::capture::frame::Timestamp;
use crate::correlate::ClientId;
use crate::correlate::fingerprint::Fingerprint;
use crate::correlate::lookups::{Answer, Ask, Candidate, Lookup, LookupOutcome, Reply, Verdict};
use crate::correlate::resolv_conf::SearchSource;
use crate::correlate::servers::Servers;
use crate::correlate::shadow_cache::CacheSavings;
use crate::correlate::what_if::WhatIf;
use crate::dns::{Name, Rcode, RecordType};
use crate::engine::scene::at;
use crate::findings::{FindingId, Findings, Ground, Severity, Shown, Thresholds};
use crate::packet::Transport;

/// A lookup of A and AAAA, each with its verdict; `None`: not asked.
fn lookup(client: &str, time: Timestamp, a: Option<Verdict>, aaaa: Option<Verdict>) -> Lookup {
    let server: SocketAddr = "10.96.0.10:53".parse().unwrap();
    let name = Name::from_text("www.example").unwrap();
    let ask = |qtype, verdict| Ask {
        server,
        client_port: 1000,
        transport: Transport::Udp,
        id: 7,
        qtype,
        edns: None,
        sent: time,
        again: Vec::new(),
        reply: Reply::Answered(Answer {
            at: time,
            verdict,
            rcode: Rcode::NOERROR,
            length: 60,
            truncated: false,
            authoritative: false,
            recursion_available: true,
            soa: true,
            counts: [1, 0, 0],
            late: false,
        }),
    };
    let asks = [(RecordType::A, a), (RecordType::AAAA, aaaa)];
    let asks: Vec<Ask> = asks.into_iter().filter_map(|(qtype, verdict)| Some(ask(qtype, verdict?))).collect();
    Lookup {
        client: ClientId { interface: None, address: client.parse().unwrap() },
        base: name.clone(),
        queries: asks.len() as u32,
        candidates: vec![Candidate { name, as_is: true, asks }],
        winner: Some(0),
        outcome: LookupOutcome::Answered,
        started: time,
        ended: time,
        wasted: 0,
        source: SearchSource::Inferred,
        search: None,
        ndots: None,
        remaining: Vec::new(),
        autopath: false,
        fingerprint: Fingerprint::default(),
    }
}

/// What is found of lookups over `seconds`, two a second; `aaaa` tells the verdict of each.
fn found(client: &str, seconds: u32, aaaa: impl Fn(u32) -> Option<Verdict>) -> Vec<Severity> {
    let mut findings = Findings::new(Thresholds::default());
    let (servers, what_if) = (Servers::default(), WhatIf::default());
    for number in 0..seconds * 2 {
        let time = at(f64::from(number) * 500.0);
        let lookup = lookup(client, time, Some(Verdict::Answer), aaaa(number));
        let ground = Ground { servers: &servers, what_if: &what_if, cache: CacheSavings::default() };
        findings.show(time, Shown::Lookup(&lookup), ground, &mut |_| {});
    }
    let all = findings.ledger().all();
    all.iter().filter(|one| one.id == FindingId::UnusedAaaa).map(|one| one.severity).collect()
}

#[test]
fn ten_minutes_without_one_are_told() {
    assert_eq!(found("10.0.0.1", 602, |_| Some(Verdict::NoData)), [Severity::Info]);
    assert_eq!(found("10.0.0.1", 602, |_| Some(Verdict::NxDomain)), [Severity::Info]);
    assert_eq!(found("fd00::1", 602, |_| Some(Verdict::NoData)), [Severity::Info]);
}

#[test]
fn less_is_not() {
    // Not long enough; a dual-stack network; a client with a global address; hardly any AAAA; no responses.
    assert_eq!(found("10.0.0.1", 590, |_| Some(Verdict::NoData)), []);
    let some = |number| Some(if number % 50 == 0 { Verdict::Answer } else { Verdict::NoData });
    assert_eq!(found("10.0.0.1", 602, some), []);
    assert_eq!(found("2001:db8::1", 602, |_| Some(Verdict::NoData)), []);
    assert_eq!(found("10.0.0.1", 602, |number| (number % 4 == 0).then_some(Verdict::NoData)), []);
    assert_eq!(found("10.0.0.1", 602, |_| Some(Verdict::ServFail)), []);
}
