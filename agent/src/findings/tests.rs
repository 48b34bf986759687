//! The list of rules, the ledger, losses and incidents.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::incidents::{Incidents, Unit};
use super::*;
use crate::capture::counters::{DropReason, Method, WatchedInterface};
use crate::capture::frame::InterfaceKind;
use crate::dns::Name;
use crate::identity::who::Behind;
use crate::identity::who::tests::pod;

#[test]
fn every_rule_is_in_the_list_once_and_in_the_order_of_a_report() {
    let ids: Vec<FindingId> = detectors().iter().map(|detector| detector.id()).collect();
    assert_eq!(ids, FindingId::ALL);
}

#[test]
fn every_rule_is_found_by_its_name() {
    for id in FindingId::ALL {
        assert_eq!(id.as_str().parse(), Ok(id));
    }
    assert_eq!("nosuch".parse::<FindingId>(), Err(UnknownFinding("nosuch".into())));
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

fn subject(host: u16) -> Subject {
    let [high, low] = host.to_be_bytes();
    Subject::client(ClientId { interface: None, address: IpAddr::from([10, 0, high, low]) })
}

fn details(summary: &str) -> Details {
    Details {
        summary: summary.to_owned(),
        because: Vec::new(),
        numbers: Vec::new(),
        example: Vec::new(),
        remedies: Vec::new(),
    }
}

/// A ledger that closes after 10 s, and what it told: `opened 1 low`, the host and the severity of each change.
struct Book {
    ledger: Ledger,
    told: Vec<String>,
}

impl Book {
    fn new() -> Self {
        Self { ledger: Ledger::new(Duration::from_secs(10)), told: Vec::new() }
    }

    fn raise(&mut self, seconds: u64, host: u16, severity: Severity, confidence: Confidence, summary: &str) {
        let sighting = Sighting {
            id: FindingId::Unanswered,
            subject: subject(host),
            severity,
            confidence,
            seen: (at(seconds), at(seconds)),
            count: 1,
        };
        let told = &mut self.told;
        let details = || (details(summary), Behind::default());
        self.ledger.raise(at(seconds), sighting, details, &mut |change| told.push(tell(change)));
    }

    fn low(&mut self, seconds: u64, host: u16) {
        self.raise(seconds, host, Severity::Low, Confidence::Low, "low");
    }

    fn tick(&mut self, seconds: u64) {
        let told = &mut self.told;
        self.ledger.tick(at(seconds), &mut |change| told.push(tell(change)));
    }

    /// From now on everyone is known as this pod.
    fn identify(&mut self, name: &str) {
        let behind = |_: &Subject| Behind { instances: vec![pod(name, "cart")], others: false };
        self.ledger.identify(behind, |mut details, _, _, behind| {
            details.because.push(behind.instances[0].full());
            details
        });
    }

    fn hold_back(&mut self, host: u16, evidence: u64) {
        let note = HeldBack { id: FindingId::Unanswered, subject: subject(host), evidence, lost: 7 };
        self.ledger.hold_back(note);
    }
}

fn tell(change: &Change<'_>) -> String {
    let finding = change.finding();
    let IpAddr::V4(address) = finding.subject.client.unwrap().address else { unreachable!() };
    let [_, _, high, low] = address.octets();
    format!("{} {} {}", change.as_str(), u16::from_be_bytes([high, low]), finding.severity.as_str())
}

#[test]
fn who_stands_behind_a_finding_may_be_known_later() {
    let mut book = Book::new();
    book.low(1, 1);
    assert!(book.ledger.open()[0].behind.is_nobody());
    book.identify("cart-1");
    // Once it is known it stays, whoever has the address next.
    book.identify("cart-2");
    let open = book.ledger.open();
    assert_eq!(open[0].behind.only().map(|instance| instance.name.as_str()), Some("cart-1"));
    assert_eq!(open[0].details.because, ["shop/cart (Deployment), pod cart-1"]);
    book.tick(50);
    assert!(book.ledger.all()[0].behind.only().is_some());
}

#[test]
fn a_finding_opens_continues_changes_and_closes() {
    let mut book = Book::new();
    book.low(100, 1);
    book.low(105, 1);
    book.tick(109);
    book.raise(110, 1, Severity::High, Confidence::Low, "worse");
    book.raise(111, 1, Severity::Low, Confidence::Medium, "surer");
    book.raise(112, 1, Severity::High, Confidence::Medium, "as bad");
    book.tick(121);
    assert_eq!(book.told, ["opened 1 low", "changed 1 high", "changed 1 high"]);
    book.tick(122);
    assert_eq!(book.told.last().unwrap(), "closed 1 high");
    let all = book.ledger.all();
    let [finding] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((finding.first_seen, finding.last_seen, finding.count), (at(100), at(112), 5));
    assert_eq!((finding.closed, finding.changed), (Some(at(122)), at(122)));
    assert!(book.ledger.open().is_empty());
}

#[test]
fn of_what_closed_the_mildest_is_forgotten_first() {
    let mut book = Book::new();
    book.raise(100, 0, Severity::High, Confidence::High, "high");
    book.tick(110);
    for host in 1..=300 {
        book.low(200, host);
    }
    book.tick(210);
    let all = book.ledger.all();
    assert_eq!((all.len(), all[0].severity), (256, Severity::High));
    assert!(!all.iter().any(|finding| finding.subject == subject(1)));
}

#[test]
fn a_subject_covers_its_parts() {
    let client = subject(1).client.unwrap();
    let server = IpAddr::from([10, 0, 0, 53]);
    let (of_server, of_client) = (Subject::server(server), Subject::client(client));
    let part = Subject::client_of(client, server);
    assert!(of_server.covers(&part) && of_client.covers(&part));
    assert!(!part.covers(&of_server) && !part.covers(&part) && !of_server.covers(&of_client));
    assert!(!Subject::server(IpAddr::from([10, 0, 0, 54])).covers(&part));
}

#[test]
fn what_closed_may_open_again_and_is_one_finding_in_a_report() {
    let mut book = Book::new();
    book.raise(100, 1, Severity::High, Confidence::High, "first");
    book.tick(110);
    book.low(200, 1);
    book.low(200, 2);
    assert_eq!(book.told, ["opened 1 high", "closed 1 high", "opened 1 low", "opened 2 low"]);
    let all = book.ledger.all();
    assert_eq!(all.len(), 2);
    let whole = &all[0];
    assert_eq!((whole.first_seen, whole.last_seen, whole.count), (at(100), at(200), 2));
    assert_eq!(
        (whole.severity, whole.closed, whole.details.summary.as_str()),
        (Severity::High, None, "first")
    );
}

#[test]
fn words_are_those_of_the_worst_sighting_and_not_written_too_often() {
    let mut book = Book::new();
    let summary = |book: &Book| book.ledger.open()[0].details.summary.clone();
    book.raise(100, 1, Severity::Warning, Confidence::Medium, "one");
    book.raise(100, 1, Severity::Warning, Confidence::Medium, "within a second");
    assert_eq!(summary(&book), "one");
    book.raise(101, 1, Severity::Warning, Confidence::Medium, "a second later");
    assert_eq!(summary(&book), "a second later");
    book.raise(105, 1, Severity::Low, Confidence::Medium, "weaker");
    assert_eq!(summary(&book), "a second later");
    book.raise(105, 1, Severity::High, Confidence::Low, "worse");
    assert_eq!(summary(&book), "worse");
    assert_eq!(book.ledger.open()[0].count, 5);
}

#[test]
fn a_report_begins_with_what_harms_most() {
    let mut book = Book::new();
    book.low(100, 1);
    book.raise(100, 2, Severity::High, Confidence::Low, "");
    book.raise(100, 3, Severity::High, Confidence::High, "");
    book.low(100, 4);
    book.low(101, 4);
    let hosts: Vec<Subject> = book.ledger.all().iter().map(|finding| finding.subject).collect();
    assert_eq!(hosts, [3, 2, 4, 1].map(subject));
}

/// A thousand subjects are enough for anybody; the next one waits, unless it is worse than another.
#[test]
fn the_ledger_is_bounded_and_equals_do_not_drive_each_other_out() {
    let mut book = Book::new();
    for round in 0..3 {
        for host in 0..2000 {
            book.low(100 + round, host);
        }
    }
    assert_eq!((book.ledger.open().len(), book.told.len()), (1024, 1024));
    assert_eq!(book.ledger.crowded_out(), 3 * (2000 - 1024));
    book.told.clear();
    book.raise(104, 5000, Severity::High, Confidence::Low, "");
    assert_eq!(book.told, ["closed 0 low", "opened 5000 high"]);
    assert_eq!(book.ledger.open().len(), 1024);
    book.tick(1000);
    assert_eq!(book.ledger.open().len(), 0);
    assert_eq!(book.ledger.all().len(), 256);
}

#[test]
fn what_was_held_back_is_told_until_it_is_found() {
    let mut book = Book::new();
    book.hold_back(1, 2);
    book.hold_back(2, 1);
    book.hold_back(1, 3);
    let held = |book: &Book| book.ledger.held_back().map(|note| note.evidence).collect::<Vec<_>>();
    assert_eq!(held(&book), [1, 3]);
    book.low(100, 1);
    assert_eq!(held(&book), [1]);
    // It is open: nothing is held back of it.
    book.hold_back(1, 4);
    assert_eq!(held(&book), [1]);
    (10..1000).for_each(|host| book.hold_back(host, 1));
    assert_eq!(held(&book).len(), 256);
}

proptest! {
    /// Whatever comes when: a finding opens once, closes after 10 s without evidence and not before, and changes for the
    /// worse only.
    #[test]
    fn a_finding_does_not_flap(steps in proptest::collection::vec((0_u64..8, 0_u16..3, 0_usize..4, any::<bool>()), 1..200)) {
        let mut book = Book::new();
        let mut now = 1000;
        // The model: when each one's last evidence came, and how many times one opened.
        let mut last: BTreeMap<u16, u64> = BTreeMap::new();
        let mut opened = 0;
        for (pause, host, severity, raise) in steps {
            for _ in 0..pause {
                now += 1;
                book.tick(now);
                last.retain(|_, seen| now - *seen < 10);
                prop_assert_eq!(book.ledger.open().len(), last.len());
            }
            if raise {
                opened += usize::from(last.insert(host, now).is_none());
                book.raise(now, host, Severity::ALL[severity], Confidence::Low, "");
            }
        }
        let count = |state: &str| book.told.iter().filter(|line| line.starts_with(state)).count();
        prop_assert_eq!(count("opened"), opened);
        prop_assert_eq!(count("closed"), opened - last.len());
        // From info to high there are three steps.
        prop_assert!(count("changed") <= 3 * opened);
    }
}

/// Counters at one time: packets lost at each of two interfaces, and at none that is known.
fn counters(pod: u64, uplink: u64, nowhere: u64) -> CaptureCounters {
    let interface = |ifindex, name: &str, kind| WatchedInterface {
        ifindex: Ifindex(ifindex),
        name: name.into(),
        kind,
        method: Method::Tcx,
        hooks: 2,
    };
    let reason = DropReason::RingFull;
    CaptureCounters {
        interfaces: vec![
            interface(2, "cali2", InterfaceKind::Pod),
            interface(5, "eth0", InterfaceKind::Uplink),
        ],
        lost_at: vec![("cali2".into(), reason, pod), ("eth0".into(), reason, uplink)],
        drops: [((crate::correlate::Vantage::Client, reason), pod + uplink + nowhere)].into(),
        ..CaptureCounters::default()
    }
}

#[test]
fn losses_are_those_of_the_window_and_the_place() {
    let mut losses = Losses::default();
    let (pod, uplink) = (Some(Ifindex(2)), Some(Ifindex(5)));
    assert_eq!(losses.between(None, at(0), at(100)), 0);
    for (time, lost) in [(10, [0, 0, 0]), (20, [5, 0, 0]), (30, [5, 7, 0]), (40, [5, 7, 100])] {
        losses.read(at(time), &counters(lost[0], lost[1], lost[2]));
    }
    let check = |place, from, until, expected| {
        assert_eq!(losses.between(place, at(from), at(until)), expected, "{place:?} {from} {until}");
    };
    check(pod, 10, 20, 5);
    // The window reaches to the readings around it.
    check(pod, 15, 16, 5);
    check(pod, 20, 30, 0);
    check(uplink, 20, 30, 7);
    check(None, 10, 30, 12);
    // What was lost nobody knows where may have been lost here.
    check(pod, 30, 40, 100);
    check(uplink, 0, 99, 107);
    check(Some(Ifindex(9)), 10, 30, 0);
}

#[test]
fn losses_long_ago_are_forgotten() {
    let mut losses = Losses::default();
    (0..500).for_each(|second| losses.read(at(second), &counters(second, 0, 0)));
    assert_eq!(losses.between(None, at(400), at(410)), 10);
    assert_eq!(losses.between(None, at(0), at(499)), 127);
}

/// How often it happened to `10.0.0.HOST` at such times in milliseconds, as the strength of each.
fn strengths(unit: Unit, steps: &[(u64, u16, &str)]) -> Vec<(u64, Strength, bool)> {
    let repetition = Thresholds::default().repetition;
    let mut incidents = Incidents::default();
    let times = steps.iter().map(|(millis, host, name)| {
        let time = Timestamp::from_nanos(millis * 1_000_000);
        let name = Name::from_text(name).unwrap();
        let times = incidents.add(time, subject(*host), &name, unit, &repetition);
        (times.count, times.strength, times.new)
    });
    times.collect()
}

#[test]
fn what_happens_again_is_an_incident() {
    let steps = [
        (100_000, 1, "a.test"),
        (101_000, 2, "a.test"),
        (102_000, 1, "b.test"),
        // Twice for a name.
        (103_000, 2, "a.test"),
        // Three times for a client.
        (104_000, 1, "c.test"),
        // A minute later it is forgotten.
        (165_000, 1, "a.test"),
    ];
    let (single, repeated) = (Strength::Single, Strength::Repeated);
    let expected = [
        (1, single, true),
        (1, single, true),
        (2, single, true),
        (2, repeated, true),
        (3, repeated, true),
        (1, single, true),
    ];
    assert_eq!(strengths(Unit::Lookup, &steps), expected);
}

#[test]
fn messages_of_one_lookup_are_one_incident() {
    let (single, repeated) = (Strength::Single, Strength::Repeated);
    let repetition = Thresholds::default().repetition;
    // A and AAAA, and what comes a second later.
    let steps = [(1000, 1, "a.test"), (1000, 1, "a.test"), (1890, 1, "a.test"), (2000, 1, "a.test")];
    let message = [(1, single, true), (1, single, false), (1, single, false), (2, repeated, true)];
    assert_eq!(strengths(repetition.unit(false), &steps), message);
    // What Go asks anew after 5 s is the same lookup.
    let steps = [(1000, 1, "a.test"), (6000, 1, "a.test"), (8000, 1, "a.test")];
    let anew = [(1, single, true), (1, single, false), (2, repeated, true)];
    assert_eq!(strengths(repetition.unit(true), &steps), anew);
}

#[test]
fn incidents_are_bounded() {
    let repetition = Thresholds::default().repetition;
    let name = Name::from_text("a.test").unwrap();
    let mut incidents = Incidents::default();
    for host in 0..10_000 {
        incidents.add(at(100), subject(host), &name, Unit::Lookup, &repetition);
    }
    for _ in 0..1000 {
        incidents.add(at(100), subject(9_999), &name, Unit::Lookup, &repetition);
    }
    assert_eq!(incidents.kept(), 4096 - 1 + 32);
}
