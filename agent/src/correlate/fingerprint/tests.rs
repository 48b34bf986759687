//! Clients that are told apart by what they send; real ones are in `agent/tests/fingerprints.rs`.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::capture::frame::Timestamp;
use crate::correlate::{Outcome, Parties, Sent, Transaction, Vantage};
use crate::dns::tests::{dotted, message, question};
use crate::dns::{self, Edns, Header, Message, Name, Query, Question, RecordType, Response};
use crate::packet::Transport;

/// A client that asks, with what is known of it.
#[derive(Default)]
struct Client {
    habits: Habits,
    /// In microseconds.
    now: u64,
    hasher: hashlink::DefaultHashBuilder,
}

/// A hash of the first label.
fn label(sent: &Sent) -> u64 {
    sent.question.as_ref().unwrap().qname.mix_first_label(7)
}

impl Client {
    fn wait(&mut self, time: Duration) -> &mut Self {
        self.now += time.as_micros() as u64;
        self
    }

    fn sent(&self, name: &str, qtype: RecordType, port: u16, id: u16, edns: Option<u16>) -> Sent {
        let edns = edns.map(|size| Edns { udp_payload_size: size, version: 0, dnssec_ok: false });
        Sent {
            parties: Parties {
                vantage: Vantage::Client,
                place: None,
                client: format!("10.0.0.1:{port}").parse().unwrap(),
                server: "10.0.0.53:53".parse().unwrap(),
                transport: Transport::Udp,
            },
            time: Timestamp::from_nanos(self.now * 1000),
            header: Header { id, flags: 0x0100, counts: [1, 0, 0, 0] },
            question: Some(Question { qname: Name::from_text(name).unwrap(), qtype, qclass: 1 }),
            name_key: std::hash::BuildHasher::hash_one(&self.hasher, Name::from_text(name).unwrap()),
            number: 0,
            edns,
            echo: false,
        }
    }

    /// The query is answered 100 µs later with these bits beside QR, RD and RA.
    fn answered(&mut self, sent: &Sent, flags: u16) {
        let question_sent = sent.question.clone().unwrap();
        let name = question_sent.qname.to_string();
        let wire = |flags| {
            let asked = question(dotted(&name), question_sent.qtype.0);
            message(sent.header.id, flags, [1, 0, 0, 0], &[asked])
        };
        let parse = |wire: Vec<u8>| dns::parse(&wire, wire.len()).unwrap();
        let (query, response): (Query, Response) = match (parse(wire(0x0100)), parse(wire(0x8180 | flags))) {
            (Message::Query(query), Message::Response(response)) => (query, response),
            other => panic!("{other:?}"),
        };
        let latency = Duration::from_micros(100);
        self.habits.closed(&Transaction {
            parties: sent.parties,
            query,
            name_key: sent.name_key,
            number: 0,
            first_sent: sent.time,
            sends: 1,
            echo: false,
            outcome: Outcome::Answered { response, latency },
        });
    }

    /// A and AAAA from one port, 10 µs apart, both answered; a second passes before.
    fn pair(&mut self, name: &str, port: u16, ids: [u16; 2]) -> &mut Self {
        self.wait(Duration::from_secs(1)).pair_now(name, [port, port], ids, None)
    }

    /// The same without a pause before, from two ports, perhaps with EDNS.
    fn pair_now(&mut self, name: &str, ports: [u16; 2], ids: [u16; 2], edns: Option<u16>) -> &mut Self {
        let a = self.sent(name, RecordType::A, ports[0], ids[0], edns);
        self.habits.sent(&a, label(&a));
        self.wait(Duration::from_micros(10));
        let aaaa = self.sent(name, RecordType::AAAA, ports[1], ids[1], edns);
        self.habits.sent(&aaaa, label(&aaaa));
        self.wait(Duration::from_micros(100));
        self.answered(&a, 0);
        self.answered(&aaaa, 0);
        self
    }

    #[track_caller]
    fn check(&self, stub: Stub, confidence: Confidence) {
        let Fingerprint { stub: found, confidence: sure, because, .. } = self.habits.fingerprint();
        assert_eq!((found, sure), (stub, confidence), "{because}; {:?}", self.habits);
    }
}

/// Numbers that look random, always the same ones.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u16 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 24) as u16
    }
}

/// A step of the clock as musl 1.2.3 makes it (facts.md section 8.1); `newer`: 1.2.4 keeps the high bytes apart.
fn by_the_clock(numbers: &mut Numbers, newer: bool) -> [u16; 2] {
    let a = numbers.next();
    let aaaa = a.wrapping_add(130 + numbers.next() % 120);
    let equal = a >> 8 == aaaa >> 8;
    [a, if newer && equal { aaaa.wrapping_add(256) } else { aaaa }]
}

#[test]
fn musl_is_known_by_the_clock_in_its_ids() {
    let mut client = Client::default();
    // Incident 1's own steps (facts.md section 1.3), none of them with equal high bytes but the last.
    client.pair("a.example", 1001, [0x10f0, 0x10f0 + 232]).pair("b.example", 1002, [0x20c0, 0x20c0 + 185]);
    client.check(Stub::Unknown, Confidence::Low);
    client.pair("c.example", 1003, [0x30c0, 0x30c0 + 177]);
    client.check(Stub::Musl, Confidence::Low);
    client.pair("d.example", 1004, [0x4010, 0x4010 + 192]);
    client.check(Stub::MuslBefore124, Confidence::Medium);
}

#[test]
fn the_version_shows_after_many_pairs() {
    for (newer, after_20, after_60) in [
        (false, (Stub::MuslBefore124, Confidence::High), (Stub::MuslBefore124, Confidence::High)),
        (true, (Stub::Musl124OrNewer, Confidence::Medium), (Stub::Musl124OrNewer, Confidence::High)),
    ] {
        let (mut client, mut numbers) = (Client::default(), Numbers(7));
        for pair in 0..60 {
            if pair == 20 {
                client.check(after_20.0, after_20.1);
            }
            client.pair("a.example", 2000 + pair, by_the_clock(&mut numbers, newer));
        }
        client.check(after_60.0, after_60.1);
    }
}

#[test]
fn a_counter_is_no_clock() {
    let (mut counter, mut steady) = (Client::default(), Client::default());
    for pair in 0..40 {
        counter.pair("a.example", 2000 + pair, [0x1000 + 2 * pair, 0x1001 + 2 * pair]);
        steady.pair("a.example", 2000 + pair, [256 * pair, 256 * pair + 40]);
    }
    counter.check(Stub::Unknown, Confidence::Low);
    // Of a coarse clock it may be.
    steady.check(Stub::MuslBefore124, Confidence::Medium);
}

#[test]
fn random_ids_are_hardly_ever_musl() {
    // 3 of 100 random pairs are a step apart that the clock may make: three in a row at the very beginning are musl with
    // low confidence in 1 of 30,000 clients, and five with more in 1 of 30,000,000.
    let (mut low, mut surer) = (0, 0);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for _ in 0..5_000 {
        let mut client = Client::default();
        let mut worst = None;
        for pair in 0..24 {
            client.pair("a.example", 1000 + pair, [numbers.next(), numbers.next()]);
            let Fingerprint { stub, confidence, .. } = client.habits.fingerprint();
            if stub.is_musl() {
                worst = worst.max(Some(confidence));
            }
        }
        low += usize::from(worst == Some(Confidence::Low));
        surer += usize::from(worst > Some(Confidence::Low));
    }
    assert!(low <= 1 && surer == 0, "{low} {surer}");
}

#[test]
fn glibc_takes_a_new_port_for_each_candidate_and_c_ares_does_not() {
    let (mut glibc, mut c_ares) = (Client::default(), Client::default());
    let mut numbers = Numbers(3);
    for lookup in 0..6 {
        for (index, suffix) in ["a.svc", "svc", "cluster"].into_iter().enumerate() {
            let name = format!("n{lookup}.{suffix}");
            let port = 3000 + 10 * lookup + index as u16;
            glibc.pair_now(&name, [port; 2], [numbers.next(), numbers.next()], None);
            c_ares.pair_now(&name, [3000 + lookup; 2], [numbers.next(), numbers.next()], None);
        }
        glibc.wait(Duration::from_secs(1));
        c_ares.wait(Duration::from_secs(1));
    }
    glibc.check(Stub::Glibc, Confidence::High);
    c_ares.check(Stub::CAres, Confidence::High);
}

#[test]
fn one_name_at_a_time_may_be_glibc_or_node_or_busybox() {
    let (mut client, mut numbers) = (Client::default(), Numbers(11));
    for lookup in 0..40 {
        client.pair("a.example", 4000 + lookup, [numbers.next(), numbers.next()]);
    }
    client.check(Stub::Unknown, Confidence::Low);
}

#[test]
fn busybox_asks_for_all_candidates_at_once() {
    let mut client = Client::default();
    for qtype in [RecordType::A, RecordType::AAAA] {
        for (index, suffix) in ["a.svc", "svc", "cluster"].into_iter().enumerate() {
            let id = 1000 * qtype.0 + 7 * index as u16;
            let sent = client.sent(&format!("n1.{suffix}"), qtype, 1001, id, None);
            client.habits.sent(&sent, label(&sent));
            client.wait(Duration::from_micros(5));
        }
    }
    client.check(Stub::BusyboxNslookup, Confidence::Medium);
}

#[test]
fn edns_tells_go_c_ares_and_glibc() {
    for (ports, size, stub) in [
        ([1, 2], 1232, Stub::Go),
        ([1, 1], 1232, Stub::CAres),
        ([1, 1], 1280, Stub::CAres),
        ([1, 1], 1200, Stub::Glibc),
        ([1, 2], 4096, Stub::Unknown),
    ] {
        let (mut client, mut numbers) = (Client::default(), Numbers(5));
        for _ in 0..4 {
            let ids = [numbers.next(), numbers.next()];
            client.wait(Duration::from_secs(1)).pair_now("a.example", ports, ids, Some(size));
        }
        let sure = if stub == Stub::Unknown { Confidence::Low } else { Confidence::High };
        client.check(stub, sure);
    }
}

#[test]
fn two_programs_behind_one_address_are_no_certain_one() {
    let (mut client, mut numbers) = (Client::default(), Numbers(13));
    for lookup in 0..60 {
        client.pair("a.example", 1000 + lookup, by_the_clock(&mut numbers, false));
        client.pair("b.example", 2000 + lookup, [numbers.next(), numbers.next()]);
        client.check(Stub::Unknown, Confidence::Low);
    }
    let mut client = Client::default();
    for lookup in 0..60 {
        client.pair("a.example", 1000 + lookup, by_the_clock(&mut numbers, false));
        let ids = [numbers.next(), numbers.next()];
        client.wait(Duration::from_secs(1)).pair_now("b.example", [5, 6], ids, Some(1232));
        if lookup > 0 {
            client.check(Stub::Unknown, Confidence::Low);
        }
    }
}

#[test]
fn a_tool_now_and_then_makes_it_less_sure_only() {
    let (mut client, mut numbers) = (Client::default(), Numbers(17));
    for lookup in 0..40 {
        client.pair("a.example", 1000 + lookup, by_the_clock(&mut numbers, false));
    }
    client.check(Stub::MuslBefore124, Confidence::High);
    client.wait(Duration::from_secs(1)).pair_now("a.example", [5, 6], [1, 40_000], Some(4096));
    client.check(Stub::MuslBefore124, Confidence::Medium);
}

#[test]
fn servfail_again_and_again_at_once_is_musl() {
    let mut client = Client::default();
    let a = client.sent("a.example", RecordType::A, 1001, 7, None);
    client.habits.sent(&a, label(&a));
    for _ in 0..3 {
        client.wait(Duration::from_micros(100));
        client.answered(&a, 2);
        client.wait(Duration::from_micros(50));
        let again = Sent { time: Timestamp::from_nanos(client.now * 1000), ..a.clone() };
        client.habits.sent(&again, label(&again));
        client.habits.again(&again);
    }
    client.check(Stub::Musl, Confidence::Low);
}

#[test]
fn a_small_thing_per_client() {
    // One name apart, of which the octets are shared with the lookup that is open.
    assert!(size_of::<Habits>() <= 200, "{}", size_of::<Habits>());
}

/// Anything that a client may send or get.
#[derive(Clone, Debug)]
struct Step {
    what: u8,
    pause: u64,
    name: u8,
    qtype: u16,
    port: u16,
    id: u16,
    edns: Option<u16>,
    flags: u16,
}

fn step() -> impl Strategy<Value = Step> {
    let pause = prop_oneof![0u64..2_000, Just(2_500_000), Just(5_000_000)];
    let edns = prop::option::of(prop_oneof![Just(1232), Just(1200), any::<u16>()]);
    let (qtype, flags) =
        (prop_oneof![Just(1u16), Just(28), Just(65)], prop_oneof![Just(0u16), Just(2), Just(0x200)]);
    (0u8..4, pause, 0u8..3, qtype, 0u16..3, 0u16..300, edns, flags).prop_map(
        |(what, pause, name, qtype, port, id, edns, flags)| Step {
            what,
            pause,
            name,
            qtype,
            port,
            id,
            edns,
            flags,
        },
    )
}

proptest! {
    #[test]
    fn whatever_a_client_does_it_is_judged(steps in vec(step(), 0..400)) {
        let mut client = Client::default();
        for Step { what, pause, name, qtype, port, id, edns, flags } in steps {
            client.wait(Duration::from_micros(pause));
            let mut sent = client.sent(&format!("n{name}.example"), RecordType(qtype), port, id, edns);
            match what {
                0 => client.habits.sent(&sent, label(&sent)),
                1 => client.habits.again(&sent),
                2 => client.answered(&sent, flags),
                _ => {
                    sent.parties.transport = Transport::Tcp;
                    client.habits.sent(&sent, label(&sent));
                }
            }
            let Fingerprint { stub, because, .. } = client.habits.fingerprint();
            prop_assert!(stub == Stub::Unknown || !because.is_empty());
        }
    }
}
