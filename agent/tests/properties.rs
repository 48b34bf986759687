//! What holds for every input: nothing panics, what is built is read back, and neither the order in which clients take
//! turns nor the rhythm of the ticks changes what is said of a client.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::tz::TimeZone;
use nslookout::capture::frame::{Frame, LinkType, Timestamp};
use nslookout::correlate::{Event, Outcome};
use nslookout::dns;
use nslookout::engine::{Engine, EngineConfig, Report};
use nslookout::export::summary::{SourceReport, summary};
use nslookout::packet::{self, Packet};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// A frame with its time in microseconds.
type Timed = (u64, Vec<u8>);

fn frame(link_type: LinkType, time: Timestamp, bytes: &[u8]) -> Frame<'_> {
    Frame { time, place: None, link_type, original_length: bytes.len() as u32, vlan: None, bytes }
}

/// Everything that may stand between the beginning of a frame and its payload.
#[derive(Clone, Debug)]
struct Envelope {
    link_type: LinkType,
    tags: Vec<u16>,
    source: SocketAddr,
    destination: SocketAddr,
    tcp: bool,
    hop_limit: u8,
    /// Words of IPv4 or of TCP options.
    options: (u8, u8),
    /// IPv6 extension headers: which, and how many more than 8 bytes, in units of 8.
    extensions: Vec<(u8, u8)>,
    /// Bytes behind the packet, as Ethernet pads short frames.
    padding: usize,
}

impl Envelope {
    fn wrap(&self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.link_type == LinkType::Ethernet {
            bytes.extend([2; 12]);
            for tag in &self.tags {
                bytes.extend(tag.to_be_bytes());
                bytes.extend([0, 7]);
            }
            bytes.extend(if self.source.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
        }
        bytes.extend(self.network(&self.transport(payload)));
        bytes.extend(vec![0xee; self.padding]);
        bytes
    }

    fn transport(&self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.source.port().to_be_bytes());
        bytes.extend(self.destination.port().to_be_bytes());
        if self.tcp {
            bytes.extend([0; 8]);
            bytes.extend([(5 + self.options.1) << 4, 0x18, 0, 0, 0, 0, 0, 0]);
            bytes.extend(vec![1; usize::from(self.options.1) * 4]);
        } else {
            bytes.extend((8 + payload.len() as u16).to_be_bytes());
            bytes.extend([0, 0]);
        }
        bytes.extend(payload);
        bytes
    }

    fn network(&self, rest: &[u8]) -> Vec<u8> {
        let protocol = if self.tcp { 6 } else { 17 };
        let mut bytes = Vec::new();
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = 20 + usize::from(self.options.0) * 4;
                bytes.extend([0x40 | (header / 4) as u8, 0]);
                bytes.extend(((header + rest.len()) as u16).to_be_bytes());
                bytes.extend([0, 1, 0x40, 0, self.hop_limit, protocol, 0, 0]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend(vec![1; usize::from(self.options.0) * 4]);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut headers = Vec::new();
                let kinds = self.extensions.iter().map(|(kind, _)| *kind).chain([protocol]);
                for ((kind, more), next) in self.extensions.iter().zip(kinds.clone().skip(1)) {
                    // The authentication header counts in words, less two; the others in units of 8, less one.
                    let length = if *kind == 51 { 2 * more } else { *more };
                    headers.extend([next, length]);
                    headers.extend(vec![0; 6 + usize::from(*more) * 8]);
                }
                bytes.extend([0x60, 0, 0, 0]);
                bytes.extend(((headers.len() + rest.len()) as u16).to_be_bytes());
                bytes.extend([kinds.clone().next().unwrap(), self.hop_limit]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend(headers);
            }
            _ => unreachable!("both ends are of one family"),
        }
        bytes.extend(rest);
        bytes
    }
}

fn envelopes() -> impl Strategy<Value = Envelope> {
    let v4 = (any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    let v6 = (any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    let tags = vec(prop_oneof![Just(0x8100_u16), Just(0x88a8)], 0..=2);
    let extensions = vec((prop_oneof![Just(0_u8), Just(43), Just(51), Just(60), Just(135)], 0..4_u8), 0..=8);
    let link_type = prop_oneof![Just(LinkType::Ethernet), Just(LinkType::RawIp)];
    let ports = any::<(u16, u16)>();
    let rest = (any::<bool>(), any::<u8>(), (0..=10_u8, 0..=10_u8), extensions, 0..20_usize);
    (link_type, tags, prop_oneof![v4, v6], ports, rest).prop_map(|(link_type, tags, ips, ports, rest)| {
        let (tcp, hop_limit, options, extensions, padding) = rest;
        Envelope {
            link_type,
            tags,
            source: SocketAddr::new(ips.0, ports.0),
            destination: SocketAddr::new(ips.1, ports.1),
            tcp,
            hop_limit,
            options,
            extensions,
            padding,
        }
    })
}

/// A message with a question and, for a response, an address.
fn message(id: u16, flags: u16, labels: &[String], qtype: u16, answers: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [id, flags, 1, answers, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    for label in labels {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(qtype.to_be_bytes());
    bytes.extend([0, 1]);
    for _ in 0..answers {
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    }
    bytes
}

fn messages() -> impl Strategy<Value = Vec<u8>> {
    let labels = vec("[a-z0-9]{1,20}", 0..6);
    (any::<u16>(), any::<u16>(), labels, any::<u16>(), 0..4_u16)
        .prop_map(|(id, flags, labels, qtype, answers)| message(id, flags, &labels, qtype, answers))
}

/// Overwrites a few bytes and cuts the end off.
fn mutate(mut bytes: Vec<u8>, changes: &[(Index, u8)], cut: Option<Index>) -> Vec<u8> {
    for (index, byte) in changes {
        if !bytes.is_empty() {
            let at = index.index(bytes.len());
            bytes[at] = *byte;
        }
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len() + 1));
    }
    bytes
}

/// Everything that is printed of a message must be printable too.
fn read_all(bytes: &[u8], length: usize) {
    match dns::parse(bytes, length) {
        Ok(dns::Message::Response(response)) => {
            for answer in response.answers() {
                let text = format!("{} {} {}", answer.name, answer.record_type, answer.data());
                assert!(text.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{text:?}");
            }
            let _ = response.is_nodata();
        }
        Ok(dns::Message::Query(query)) => {
            let text = query.question.map_or(String::new(), |question| question.qname.to_string());
            assert!(text.bytes().all(|octet| (b'!'..=b'~').contains(&octet)), "{text:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packet_never_panics(bytes in vec(any::<u8>(), 0..200), raw in any::<bool>()) {
        let link_type = if raw { LinkType::RawIp } else { LinkType::Ethernet };
        let _ = packet::parse(&frame(link_type, Timestamp::default(), &bytes));
    }

    #[test]
    fn packet_never_panics_on_a_frame_gone_wrong(
        envelope in envelopes(),
        payload in vec(any::<u8>(), 0..100),
        changes in vec(any::<(Index, u8)>(), 0..8),
        cut in any::<Option<Index>>(),
    ) {
        let bytes = mutate(envelope.wrap(&payload), &changes, cut);
        if let Ok(Packet::Payload(read)) = packet::parse(&frame(envelope.link_type, Timestamp::default(), &bytes)) {
            prop_assert!(read.bytes.len() <= bytes.len());
        }
    }

    #[test]
    fn dns_never_panics(bytes in vec(any::<u8>(), 0..600), more in 0..600_usize) {
        read_all(&bytes, bytes.len() + more);
    }

    #[test]
    fn dns_never_panics_on_a_message_gone_wrong(
        message in messages(),
        changes in vec(any::<(Index, u8)>(), 0..8),
        cut in any::<Option<Index>>(),
        more in prop_oneof![Just(0), 1..600_usize],
    ) {
        let bytes = mutate(message, &changes, cut);
        read_all(&bytes, bytes.len() + more);
    }

    #[test]
    fn the_engine_never_panics(frames in vec((envelopes(), messages(), vec(any::<(Index, u8)>(), 0..4)), 1..20)) {
        let mut engine = engine();
        for (number, (mut envelope, message, changes)) in frames.into_iter().enumerate() {
            envelope.destination.set_port(53);
            let bytes = mutate(envelope.wrap(&message), &changes, None);
            let time = Timestamp::from_nanos(number as u64 * 1_000_000_000);
            engine.frame(&frame(envelope.link_type, time, &bytes), &mut |_| {});
            engine.tick(time, &mut |_| {});
        }
        engine.finish(engine.latest(), &mut |_| {});
        prop_assert_eq!(engine.inflight(), 0);
    }

    #[test]
    fn a_frame_gives_back_its_payload(envelope in envelopes(), payload in vec(any::<u8>(), 0..300)) {
        let bytes = envelope.wrap(&payload);
        let Ok(Packet::Payload(read)) = packet::parse(&frame(envelope.link_type, Timestamp::default(), &bytes))
        else {
            panic!("{envelope:?}")
        };
        prop_assert_eq!(read.bytes, &payload[..]);
        prop_assert_eq!(read.flow.source, envelope.source);
        prop_assert_eq!(read.flow.destination, envelope.destination);
        prop_assert_eq!(read.flow.transport == packet::Transport::Tcp, envelope.tcp);
        prop_assert_eq!(read.hop_limit, envelope.hop_limit);
        prop_assert_eq!((read.fragmented, read.missing), (false, 0));
    }

    #[test]
    fn a_message_gives_back_its_question(
        id in any::<u16>(),
        labels in vec("[a-zA-Z0-9_-]{1,63}", 0..4),
        qtype in any::<u16>(),
        response in any::<bool>(),
    ) {
        let flags = if response { 0x8180 } else { 0x0100 };
        let bytes = message(id, flags, &labels, qtype, 0);
        let read = dns::parse(&bytes, bytes.len()).unwrap();
        prop_assert_eq!(read.header().id, id);
        let question = match read {
            dns::Message::Query(query) if !response => query.question.unwrap(),
            dns::Message::Response(read) if response => read.question.unwrap(),
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(question.qtype.0, qtype);
        prop_assert_eq!(question.qname.to_string(), format!("{}.", labels.join(".")));
    }

    #[test]
    fn clients_do_not_disturb_each_other(clients in vec(conversations(), 1..6), turns in vec(any::<Index>(), 200)) {
        let apart: Vec<String> = clients
            .iter()
            .enumerate()
            .flat_map(|(number, client)| play(&frames_of(number, client), &[]))
            .collect();
        // Whose turn it is at one instant is arbitrary; each client's own messages keep their order and time.
        let streams: Vec<Vec<Timed>> =
            clients.iter().enumerate().map(|(number, client)| frames_of(number, client)).collect();
        let together = play(&interleave(streams, &turns), &[]);
        prop_assert_eq!(sorted(together), sorted(apart));
    }

    #[test]
    fn the_rhythm_of_ticks_changes_nothing(
        clients in vec(conversations(), 1..6),
        ticks in vec(any::<bool>(), 1..20),
        others in vec(any::<bool>(), 1..20),
    ) {
        let mut frames: Vec<Timed> =
            clients.iter().enumerate().flat_map(|(number, client)| frames_of(number, client)).collect();
        frames.sort_by_key(|(time, _)| *time);
        prop_assert_eq!(sorted(play(&frames, &ticks)), sorted(play(&frames, &others)));
    }
}

fn engine() -> Engine {
    Engine::new(EngineConfig { ports: [53].into_iter().collect(), ..EngineConfig::default() })
}

/// One question of a client: which ID, name and port it takes, when it is sent (again), and when it is answered.
#[derive(Clone, Debug)]
struct Asked {
    id: u16,
    port: u16,
    name: u8,
    /// After the question before, in ms.
    pause: u64,
    sends: Vec<u64>,
    answers: Vec<u64>,
}

fn conversations() -> impl Strategy<Value = Vec<Asked>> {
    // Few IDs, ports and names, so that they are often used again.
    let asked =
        (0..3_u16, 0..2_u16, 0..2_u8, 0..9_000_u64, vec(1..6_000_u64, 0..3), vec(0..12_000_u64, 0..3));
    vec(
        asked.prop_map(|(id, port, name, pause, sends, answers)| Asked {
            id,
            port,
            name,
            pause,
            sends,
            answers,
        }),
        1..6,
    )
}

/// The frames of client `number`, in the order of their time, in microseconds.
fn frames_of(number: usize, conversation: &[Asked]) -> Vec<Timed> {
    let server: SocketAddr = "10.0.0.53:53".parse().unwrap();
    let mut frames = Vec::new();
    let mut now = 1_000_000;
    for asked in conversation {
        now += asked.pause * 1000;
        let client = SocketAddr::new(IpAddr::from([10, 0, 1, number as u8]), 4000 + asked.port);
        let labels = [format!("n{}", asked.name), "test".to_owned()];
        let packet = |to_server: bool, bytes: &[u8]| {
            let (source, destination) = if to_server { (client, server) } else { (server, client) };
            Envelope {
                link_type: LinkType::RawIp,
                tags: Vec::new(),
                source,
                destination,
                tcp: false,
                hop_limit: 64,
                options: (0, 0),
                extensions: Vec::new(),
                padding: 0,
            }
            .wrap(bytes)
        };
        // No client's ID is another's: the same message within 5 ms would be taken for a copy on its way.
        let id = asked.id + number as u16 * 100;
        let mut sent = now;
        frames.push((sent, packet(true, &message(id, 0x0100, &labels, 1, 0))));
        for later in &asked.sends {
            sent += later * 1000;
            frames.push((sent, packet(true, &message(id, 0x0100, &labels, 1, 0))));
        }
        for later in &asked.answers {
            frames.push((now + later * 1000 + 500, packet(false, &message(id, 0x8180, &labels, 1, 1))));
        }
    }
    frames.sort_by_key(|(time, _)| *time);
    frames
}

/// Merges streams by time; `turns` decides between frames of one instant.
fn interleave(streams: Vec<Vec<Timed>>, turns: &[Index]) -> Vec<Timed> {
    let mut by_time: BTreeMap<u64, Vec<Vec<Timed>>> = BTreeMap::new();
    for stream in streams {
        for instant in stream.chunk_by(|one, next| one.0 == next.0) {
            by_time.entry(instant[0].0).or_default().push(instant.to_vec());
        }
    }
    let mut turns = turns.iter().cycle();
    let mut merged = Vec::new();
    for (_, mut waiting) in by_time {
        while !waiting.is_empty() {
            let whose = turns.next().unwrap().index(waiting.len());
            merged.push(waiting[whose].remove(0));
            waiting.retain(|rest| !rest.is_empty());
        }
    }
    merged
}

/// The transactions that an engine finds, as text; `ticks` says behind which frames the watermark comes by, in turn.
fn play(frames: &[Timed], ticks: &[bool]) -> Vec<String> {
    let mut engine = engine();
    let mut found = Vec::new();
    let mut emit = |report: Report<'_>| match report {
        Report::Event(Event::Closed(transaction)) => {
            let parties = transaction.parties;
            let outcome = match &transaction.outcome {
                Outcome::Answered { latency, .. } => format!("answered {latency:?}"),
                Outcome::Unanswered { waited } => format!("unanswered {waited:?}"),
                Outcome::Unseen { waited } => format!("unseen {waited:?}"),
                Outcome::Waiting { waited } => panic!("still waiting after {waited:?}"),
            };
            let name = &transaction.query.question.as_ref().unwrap().qname;
            let (at, sends) = (transaction.first_sent.as_nanos(), transaction.sends);
            found.push(format!("{} {name} at {at} sends {sends} {outcome}", parties.client));
        }
        Report::Event(Event::Late { stray, latency }) => {
            found.push(format!("{} late {latency:?}", stray.parties.client));
        }
        Report::Malformed { error, .. } => panic!("{error}"),
        Report::Event(_) | Report::Message(_) | Report::Lookup(_) | Report::Finding(_) => {}
    };
    let mut ticks = ticks.iter().cycle();
    for (micros, bytes) in frames {
        let time = Timestamp::from_nanos(micros * 1000);
        engine.frame(&frame(LinkType::RawIp, time, bytes), &mut emit);
        if ticks.next() == Some(&true) {
            engine.tick(time.before(Duration::from_millis(10)), &mut emit);
        }
    }
    engine.finish(engine.latest() + Duration::from_secs(60), &mut emit);
    found
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// The table of servers is bounded; what does not fit is told together, not left out.
#[test]
fn servers_beyond_the_table_are_told_together() {
    let mut engine = engine();
    let mut ask = |server: SocketAddr, id: u16| {
        let envelope = Envelope {
            link_type: LinkType::RawIp,
            tags: Vec::new(),
            source: "10.0.0.1:4000".parse().unwrap(),
            destination: server,
            tcp: false,
            hop_limit: 64,
            options: (0, 0),
            extensions: Vec::new(),
            padding: 0,
        };
        let bytes = envelope.wrap(&message(id, 0x0100, &["a".to_owned()], 1, 0));
        engine.frame(&frame(LinkType::RawIp, Timestamp::from_nanos(1_000_000_000), &bytes), &mut |_| {});
    };
    for number in 0..256_u16 {
        ask(format!("10.0.1.{number}:53").parse().unwrap(), number);
    }
    (0..500).for_each(|id| ask("10.9.9.9:53".parse().unwrap(), id));
    engine.finish(Timestamp::from_nanos(60_000_000_000), &mut |_| {});
    let source = SourceReport { name: "test", counters: None, trouble: &[] };
    let text = summary(engine.tally(), None, &source, &TimeZone::UTC);
    let row =
        text.lines().find(|line| line.contains("servers seen later")).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(row.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["500", "500"], "{text}");
}
