//! DNS over TCP, from segments to transactions: what holds for every conversation, however it is cut up, delayed, sent
//! again or lost; and what the engine says of each packet.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use nslookout::capture::frame::{Frame, LinkType, Timestamp};
use nslookout::correlate::{Event, Outcome, Vantage};
use nslookout::engine::{Engine, EngineConfig, Report};
use nslookout::packet::tcp::{GiveUp, Placed, Reader, StreamLimits, StreamMessage, Streams};
use nslookout::packet::{Flow, Payload, TcpHeader, Transport};
use nslookout::tally::PacketResult;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// A message with its prefix: a header, and bytes of any value that no two messages share.
fn framed(to_server: bool, id: u16, length: usize) -> Vec<u8> {
    let mut bytes = Vec::from((length as u16).to_be_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend(if to_server { [1, 0] } else { [0x81, 0x80] });
    bytes.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    let mut state = u64::from(id) << 20 | u64::from(to_server) << 40 | length as u64 | 1 << 60;
    while bytes.len() < 2 + length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.push(state as u8);
    }
    bytes
}

/// A segment on its way.
#[derive(Clone, Debug)]
struct Sent {
    to_server: bool,
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
    bytes: Vec<u8>,
    missing: usize,
}

/// Both directions of one connection, as they were sent.
#[derive(Clone, Debug)]
struct Conversation {
    /// Numbers of the SYNs, the server's first.
    first: [u32; 2],
    /// Messages with their prefixes, those to the client first.
    messages: [Vec<Vec<u8>>; 2],
    /// Where the streams are cut into segments.
    cuts: [Vec<Index>; 2],
}

impl Conversation {
    fn stream(&self, to_server: bool) -> Vec<u8> {
        self.messages[usize::from(to_server)].concat()
    }

    fn segment(&self, to_server: bool, from: usize, to: usize) -> Sent {
        let bytes = self.stream(to_server)[from..to].to_vec();
        let [own, other] = [to_server, !to_server].map(|side| self.first[usize::from(side)].wrapping_add(1));
        let sequence = own.wrapping_add(from as u32);
        Sent { to_server, flags: PSH, sequence, acknowledgement: other, bytes, missing: 0 }
    }

    fn handshake(&self) -> [Sent; 2] {
        [(true, SYN), (false, SYN | ACK)].map(|(to_server, flags)| Sent {
            flags,
            sequence: self.first[usize::from(to_server)],
            acknowledgement: self.first[usize::from(!to_server)].wrapping_add(1),
            ..self.segment(to_server, 0, 0)
        })
    }

    /// The streams' segments of at most `most` bytes, both directions in turn.
    fn segments(&self, most: usize) -> Vec<Sent> {
        let mut sides = [true, false].map(|to_server| {
            let length = self.stream(to_server).len();
            let mut cuts: Vec<usize> =
                self.cuts[usize::from(to_server)].iter().map(|cut| cut.index(length + 1)).collect();
            cuts.extend((0..length).step_by(most));
            cuts.push(length);
            cuts.sort_unstable();
            cuts.dedup();
            let parts: Vec<Sent> =
                cuts.windows(2).map(|ends| self.segment(to_server, ends[0], ends[1])).collect();
            parts.into_iter()
        });
        let mut segments = Vec::new();
        loop {
            let turn: Vec<Sent> = sides.iter_mut().filter_map(Iterator::next).collect();
            if turn.is_empty() {
                return segments;
            }
            segments.extend(turn);
        }
    }
}

fn conversations() -> impl Strategy<Value = Conversation> {
    let side = || vec(prop_oneof![3 => 12..300_usize, 1 => 300..20_000_usize], 0..6);
    let first = prop_oneof![any::<u32>(), (u32::MAX - 30_000)..=u32::MAX];
    (first, any::<u32>(), [side(), side()], [vec(any::<Index>(), 0..30), vec(any::<Index>(), 0..30)])
        .prop_map(|(client, server, lengths, cuts)| {
            let mut to_server = false;
            let messages = lengths.map(|lengths| {
                let ids = 1_u16..;
                let side = ids.zip(lengths).map(|(id, length)| framed(to_server, id, length)).collect();
                to_server = true;
                side
            });
            Conversation { first: [server, client], messages, cuts }
        })
}

/// Everything that reached the reader: of which client, which way, when, the bytes and the length of the whole.
type Taken = (u16, bool, u64, Vec<u8>, usize);

#[derive(Default)]
struct Collector(Vec<Taken>);

impl Reader for Collector {
    fn plausible(&self, flow: &Flow, bytes: &[u8], _length: usize) -> bool {
        let flags = if flow.destination.port() == 53 { [1, 0] } else { [0x81, 0x80] };
        bytes.len() >= 12 && bytes[2..12] == [&flags[..], &[0, 1, 0, 0, 0, 0, 0, 0]].concat()
    }

    fn message(&mut self, message: StreamMessage<'_>) -> bool {
        let StreamMessage { time, flow, bytes, length, .. } = message;
        assert!(bytes.len() == length || (12..length).contains(&bytes.len()), "{} of {length}", bytes.len());
        let to_server = flow.destination.port() == 53;
        let client = if to_server { flow.source } else { flow.destination };
        self.0.push((client.port(), to_server, time.as_nanos(), bytes.to_vec(), length));
        true
    }

    fn unseen(&mut self, _flow: &Flow) {}
}

const SERVER: ([u8; 4], u16) = ([192, 0, 2, 53], 53);

fn flow(client: u16, to_server: bool) -> Flow {
    let (client, server) = (SocketAddr::from(([192, 0, 2, 1], client)), SocketAddr::from(SERVER));
    let (source, destination) = if to_server { (client, server) } else { (server, client) };
    Flow { source, destination, transport: Transport::Tcp }
}

/// Gives a segment to the streams.
fn feed(
    streams: &mut Streams,
    collector: &mut Collector,
    millisecond: u64,
    client: u16,
    sent: &Sent,
) -> Placed {
    let payload = Payload {
        flow: flow(client, sent.to_server),
        hop_limit: 64,
        tcp: Some(TcpHeader {
            sequence: sent.sequence,
            acknowledgement: sent.acknowledgement,
            flags: sent.flags,
        }),
        fragmented: false,
        missing: sent.missing,
        bytes: &sent.bytes,
    };
    streams.segment(at(millisecond), None, &payload, collector)
}

fn at(millisecond: u64) -> Timestamp {
    Timestamp::from_nanos(millisecond * 1_000_000)
}

/// Moves each segment back by less than `most` places.
fn shuffle(segments: Vec<Sent>, delays: &[usize]) -> Vec<Sent> {
    let mut delays = delays.iter().cycle();
    let mut placed: Vec<(usize, Sent)> = segments
        .into_iter()
        .enumerate()
        .map(|(place, sent)| (place + delays.next().unwrap(), sent))
        .collect();
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, sent)| sent).collect()
}

/// What the network and the capture do to a segment.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Keep,
    Again,
    Lose,
    /// Only the first bytes are captured.
    Cut(Index),
    /// The other side acknowledges all of it.
    Acknowledge,
    /// This many ms pass.
    Wait(u64),
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        6 => Just(Fate::Keep),
        1 => Just(Fate::Again),
        1 => Just(Fate::Lose),
        1 => any::<Index>().prop_map(Fate::Cut),
        1 => Just(Fate::Acknowledge),
        1 => prop_oneof![Just(20), Just(6_000), Just(130_000)].prop_map(Fate::Wait),
    ];
    vec(fate, 1..40)
}

/// The segments of a conversation as they are seen, with the time of each in ms.
fn damaged(conversation: &Conversation, open: bool, fates: &[Fate], delays: &[usize]) -> Vec<(u64, Sent)> {
    let mut fates = fates.iter().cycle();
    let mut now = 1;
    let mut seen: Vec<(u64, Sent)> = Vec::new();
    if open {
        seen.extend(conversation.handshake().map(|sent| (now, sent)));
    }
    for sent in shuffle(conversation.segments(8_000), delays) {
        now += 1;
        match fates.next().unwrap() {
            Fate::Keep => seen.push((now, sent)),
            Fate::Again => seen.extend([(now, sent.clone()), (now, sent)]),
            Fate::Lose => {}
            Fate::Cut(index) => {
                let kept = index.index(sent.bytes.len() + 1);
                let missing = sent.bytes.len() - kept;
                seen.push((now, Sent { bytes: sent.bytes[..kept].to_vec(), missing, ..sent }));
            }
            Fate::Acknowledge => {
                let end = sent.sequence.wrapping_add(sent.bytes.len() as u32);
                let acknowledgement =
                    Sent { flags: ACK, acknowledgement: end, ..conversation.segment(!sent.to_server, 0, 0) };
                seen.extend([(now, sent), (now, acknowledgement)]);
            }
            Fate::Wait(milliseconds) => {
                seen.push((now, sent));
                now += milliseconds;
            }
        }
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_messages_come_in_order_however_the_segments_do(
        conversation in conversations(),
        delays in vec(0..8_usize, 1..50),
        more in vec(any::<(Index, usize, usize)>(), 0..10),
        fin in any::<bool>(),
    ) {
        let mut segments = conversation.segments(8_000);
        // Sent again, and overlapping with what was sent before.
        for (index, before, behind) in more {
            let from = index.index(segments.len() + 1);
            let Some(sent) = segments.get(from) else { continue };
            let to_server = sent.to_server;
            let first = conversation.first[usize::from(to_server)].wrapping_add(1);
            let begin = sent.sequence.wrapping_sub(first) as usize;
            let end = begin + sent.bytes.len();
            let length = conversation.stream(to_server).len();
            let (begin, end) = (begin.saturating_sub(before % 4_000), (end + behind % 4_000).min(length));
            segments.insert(from, conversation.segment(to_server, begin, end));
        }
        if fin {
            for to_server in [true, false] {
                let length = conversation.stream(to_server).len();
                let last = conversation.segment(to_server, length, length);
                segments.push(Sent { flags: FIN, ..last });
            }
        }
        let mut streams = Streams::default();
        let mut collector = Collector::default();
        let all = conversation.handshake().into_iter().chain(shuffle(segments, &delays));
        for (millisecond, sent) in (20_u64..).zip(all) {
            feed(&mut streams, &mut collector, millisecond, 4_000, &sent);
            streams.tick(at(millisecond - 10), &mut collector);
        }
        prop_assert_eq!(streams.bytes(), 0);
        for to_server in [true, false] {
            let taken = collector.0.iter().filter(|taken| taken.1 == to_server);
            let taken: Vec<&[u8]> = taken.map(|taken| taken.3.as_slice()).collect();
            let sent: Vec<&[u8]> =
                conversation.messages[usize::from(to_server)].iter().map(|message| &message[2..]).collect();
            prop_assert_eq!(taken, sent);
        }
        let counts = streams.counts();
        prop_assert!(GiveUp::ALL.iter().all(|reason| counts.given_up(*reason) == 0), "{:?}", counts);
        prop_assert_eq!((counts.skipped_bytes, counts.beginnings), (0, 0));
        streams.finish(&mut collector);
        prop_assert_eq!((streams.bytes(), streams.connections()), (0, 0));
    }

    #[test]
    fn nothing_comes_out_that_was_not_sent(
        conversation in conversations(),
        open in any::<bool>(),
        fates in fates(),
        delays in vec(0..8_usize, 1..50),
    ) {
        let mut streams = Streams::default();
        let mut collector = Collector::default();
        for (millisecond, sent) in damaged(&conversation, open, &fates, &delays) {
            streams.tick(at(millisecond), &mut collector);
            feed(&mut streams, &mut collector, millisecond, 4_000, &sent);
            prop_assert!(streams.bytes() <= StreamLimits::default().max_bytes);
        }
        streams.finish(&mut collector);
        prop_assert_eq!((streams.bytes(), streams.connections()), (0, 0));
        for to_server in [true, false] {
            let mut left: Vec<&[u8]> =
                conversation.messages[usize::from(to_server)].iter().map(|message| &message[2..]).collect();
            for (_, _, _, bytes, length) in collector.0.iter().filter(|taken| taken.1 == to_server) {
                let sent = left.iter().position(|sent| sent.len() == *length && sent.starts_with(bytes));
                // Each once at most, whole or not.
                prop_assert!(sent.is_some(), "{} of {} bytes", bytes.len(), length);
                left.remove(sent.unwrap());
            }
        }
    }

    #[test]
    fn clients_do_not_disturb_each_other(
        clients in vec((conversations(), any::<bool>(), fates(), vec(0..8_usize, 1..20)), 1..5),
    ) {
        let seen = clients.iter().enumerate().flat_map(|(number, (conversation, open, fates, delays))| {
            let seen = damaged(conversation, *open, fates, delays);
            seen.into_iter().map(move |(millisecond, sent)| (millisecond, 4_000 + number as u16, sent))
        });
        let mut seen: Vec<(u64, u16, Sent)> = seen.collect();
        seen.sort_by_key(|(millisecond, ..)| *millisecond);
        let play = |only: Option<u16>| {
            let mut streams = Streams::default();
            let mut collector = Collector::default();
            for (millisecond, client, sent) in &seen {
                // Time passes for all, whoever sends.
                streams.tick(at(*millisecond), &mut collector);
                if only.is_none_or(|only| only == *client) {
                    feed(&mut streams, &mut collector, *millisecond, *client, sent);
                }
            }
            streams.finish(&mut collector);
            let mut by_client: BTreeMap<(u16, bool), Vec<Taken>> = BTreeMap::new();
            for taken in collector.0 {
                by_client.entry((taken.0, taken.1)).or_default().push(taken);
            }
            by_client
        };
        let apart: BTreeMap<(u16, bool), Vec<Taken>> =
            (0..clients.len()).flat_map(|number| play(Some(4_000 + number as u16))).collect();
        prop_assert_eq!(play(None), apart);
    }

    #[test]
    fn whatever_comes_nothing_panics_and_the_bounds_hold(
        segments in vec(
            (0..6_u16, any::<bool>(), any::<u8>(), any::<(u16, u16)>(), vec(any::<u8>(), 0..600), 0..3_usize, 0..4_000_u64),
            1..200,
        ),
    ) {
        let limits = StreamLimits {
            max_connections: 4,
            max_idle: 3,
            max_bytes_per_stream: 1_500,
            max_bytes: 4_000,
            ..StreamLimits::default()
        };
        let mut streams = Streams::new(limits);
        let mut collector = Collector::default();
        let mut now = 0;
        for (client, to_server, flags, numbers, mut bytes, missing, pause) in segments {
            now += pause;
            // Mostly data, and small lengths, so that messages are found.
            let flags = if flags & 0xe0 == 0 { flags } else { flags & (ACK | PSH) };
            bytes.iter_mut().step_by(3).for_each(|byte| *byte &= 1);
            let (sequence, acknowledgement) = (u32::from(numbers.0 & 0x0fff), u32::from(numbers.1 & 0x0fff));
            let sent = Sent { to_server, flags, sequence, acknowledgement, bytes, missing: missing * 100 };
            feed(&mut streams, &mut collector, now, client, &sent);
            prop_assert!(streams.bytes() <= limits.max_bytes);
            prop_assert!(streams.connections() <= limits.max_connections);
            streams.tick(at(now), &mut collector);
            prop_assert!(streams.bytes() <= limits.max_bytes);
        }
        streams.finish(&mut collector);
        prop_assert_eq!((streams.bytes(), streams.connections()), (0, 0));
    }
}

/// A message about `name` with `records` addresses, whose header has `flags`.
fn dns(id: u16, flags: u16, name: &str, records: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [id, flags, 1, records, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    for _ in 0..records {
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    }
    [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()
}

fn query(id: u16, name: &str) -> Vec<u8> {
    dns(id, 0x0100, name, 0)
}

fn response(id: u16, name: &str, records: u16) -> Vec<u8> {
    dns(id, 0x8180, name, records)
}

/// The engine, and what it said.
struct World {
    engine: Engine,
    now: u64,
    client: SocketAddr,
    /// Bytes that were sent, to the client and to the server.
    sent: [u32; 2],
    /// What segments to the server acknowledge.
    acknowledged: Option<u32>,
    told: Vec<String>,
    packets: u64,
}

impl World {
    fn new() -> Self {
        let config = EngineConfig { ports: [53].into_iter().collect(), ..EngineConfig::default() };
        let client = "192.0.2.1:4000".parse().unwrap();
        Self {
            engine: Engine::new(config),
            now: 1_000_000,
            client,
            sent: [0; 2],
            acknowledged: None,
            told: Vec::new(),
            packets: 0,
        }
    }

    fn open(client: &str) -> Self {
        let mut world = Self { client: client.parse().unwrap(), ..Self::new() };
        for (to_server, flags) in [(true, SYN), (false, SYN | ACK), (true, ACK)] {
            let number = u32::from(flags == ACK);
            assert_eq!(world.segment(to_server, flags, number, &[], 0), PacketResult::TcpControl);
        }
        world
    }

    /// One segment, of whose bytes `kept` are captured; gives the packet's result.
    fn segment(
        &mut self,
        to_server: bool,
        flags: u8,
        number: u32,
        bytes: &[u8],
        missing: usize,
    ) -> PacketResult {
        let server = SocketAddr::from(SERVER);
        let (source, destination) = if to_server { (self.client, server) } else { (server, self.client) };
        let (SocketAddr::V4(from), SocketAddr::V4(to)) = (source, destination) else { panic!("IPv4") };
        let length = 40 + bytes.len();
        let mut packet = vec![0x45, 0];
        packet.extend((length as u16).to_be_bytes());
        packet.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
        packet.extend([from.ip().octets(), to.ip().octets()].concat());
        packet.extend([from.port().to_be_bytes(), to.port().to_be_bytes()].concat());
        packet.extend((7_000 + number).to_be_bytes());
        let acknowledged = self.acknowledged.filter(|_| to_server);
        packet.extend(acknowledged.map_or(0, |number| 7_000 + number).to_be_bytes());
        let flags = flags | acknowledged.map_or(0, |_| ACK);
        packet.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
        packet.extend(bytes);
        packet.truncate(length - missing);
        self.now += 1;
        let frame = Frame {
            time: at(self.now),
            place: None,
            link_type: LinkType::RawIp,
            original_length: length as u32,
            vlan: None,
            bytes: &packet,
        };
        let before = self.engine.tally().packets.clone();
        let told = &mut self.told;
        self.engine.frame(&frame, &mut |report| tell(told, &report));
        self.packets += 1;
        assert_eq!(self.engine.tally().captured(), self.packets);
        let after = &self.engine.tally().packets;
        let changed: Vec<PacketResult> = PacketResult::ALL
            .into_iter()
            .filter(|result| {
                before.get(&(Vantage::Unknown, *result)) != after.get(&(Vantage::Unknown, *result))
            })
            .collect();
        let [result] = changed.as_slice() else { panic!("{changed:?}") };
        *result
    }

    /// The next bytes of a stream.
    fn send(&mut self, to_server: bool, bytes: &[u8]) -> PacketResult {
        self.cut(to_server, bytes, 0)
    }

    /// The next bytes of a stream, the last `missing` of which are not captured.
    fn cut(&mut self, to_server: bool, bytes: &[u8], missing: usize) -> PacketResult {
        let number = 1 + self.sent[usize::from(to_server)];
        self.sent[usize::from(to_server)] += bytes.len() as u32;
        self.segment(to_server, PSH, number, bytes, missing)
    }

    fn tick(&mut self, later: Duration) {
        self.now += later.as_millis() as u64;
        let told = &mut self.told;
        self.engine.tick(at(self.now), &mut |report| tell(told, &report));
    }

    #[track_caller]
    fn expect(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.told), expected);
    }
}

fn tell(told: &mut Vec<String>, report: &Report<'_>) {
    let line = match report {
        Report::Event(Event::Closed(transaction)) => {
            let name = &transaction.query.question.as_ref().unwrap().qname;
            match &transaction.outcome {
                Outcome::Answered { response, latency } => {
                    let partial = if response.partial { " in part" } else { "" };
                    let client = transaction.parties.client;
                    format!(
                        "{client} {name} {} in {} ms{partial}",
                        response.answers().count(),
                        latency.as_millis()
                    )
                }
                other => format!("{name} {other:?}"),
            }
        }
        Report::Malformed { error, .. } => error.clone(),
        Report::Event(Event::Orphan { .. }) => "orphan".to_owned(),
        _ => return,
    };
    told.push(line);
}

/// A segment that the capture lost may hide any number of answers: none of them is said to be missing.
#[test]
fn an_answer_in_a_lost_segment_is_unseen() {
    let mut world = World::open("192.0.2.1:4000");
    world.send(true, &query(1, "one.test"));
    world.sent[0] += response(1, "one.test", 1).len() as u32;
    world.send(true, &query(2, "two.test"));
    assert_eq!(world.send(false, &response(2, "two.test", 1)), PacketResult::TcpPartial);
    world.tick(Duration::from_secs(5));
    world.expect(&["192.0.2.1:4000 two.test. 1 in 1 ms"]);
    world.send(true, &query(3, "three.test"));
    world.tick(Duration::from_secs(7));
    world.expect(&["one.test. Unseen { waited: 6s }", "three.test. Unanswered { waited: 6s }"]);
    assert_eq!((world.engine.tally().summary.unseen, world.engine.tally().summary.unanswered), (1, 1));
}

/// Of a connection that was joined in its middle, numbers alone tell that there was an answer.
#[test]
fn an_answer_that_only_its_numbers_show_is_unseen() {
    let check = |answer: u32, then: &dyn Fn(&mut World), expected: &str| {
        let mut world = World::new();
        world.acknowledged = Some(1 + 5_000);
        world.sent[0] = 5_000;
        world.send(true, &query(1, "one.test"));
        world.sent[0] += answer;
        then(&mut world);
        world.tick(Duration::from_secs(8));
        world.expect(&[&format!("one.test. {expected} {{ waited: 6s }}")]);
    };
    let acknowledge = |more: u32| {
        move |world: &mut World| {
            world.acknowledged = Some(1 + 5_000 + more);
            world.segment(true, ACK, 1 + world.sent[1], &[], 0);
        }
    };
    check(42, &acknowledge(42), "Unseen");
    check(0, &acknowledge(0), "Unanswered");
    // FIN alone.
    check(0, &acknowledge(1), "Unanswered");
    let close = |world: &mut World| {
        world.segment(false, FIN | ACK, 1 + world.sent[0], &[], 0);
    };
    check(42, &close, "Unseen");
    check(0, &close, "Unanswered");
}

/// What a SYN brought and the capture cut off is a hole, whatever is remembered of the connection.
#[test]
fn data_of_a_syn_that_was_cut_off_is_a_hole() {
    let mut world = World::new();
    let ask = query(1, "one.test");
    assert_eq!(world.segment(true, SYN, 0, &ask[..1], 1), PacketResult::Snap);
    assert_eq!(world.segment(false, SYN | ACK, 0, &[], 0), PacketResult::TcpControl);
    // Two bytes on, a length would be read that is none.
    assert_eq!(world.segment(true, PSH, 2, &ask[1..20], 0), PacketResult::TcpPartial);
    assert_eq!(world.segment(true, PSH, 21, &ask[20..], 0), PacketResult::TcpPartial);
    assert_eq!(
        world.segment(true, PSH, 1 + ask.len() as u32, &query(2, "two.test"), 0),
        PacketResult::Message
    );
    world.send(false, &response(2, "two.test", 1));
    world.expect(&["192.0.2.1:4000 two.test. 1 in 1 ms"]);
}

#[test]
fn a_stray_reset_ends_nothing() {
    let mut world = World::open("192.0.2.1:4000");
    world.send(true, &query(1, "one.test"));
    let answer = response(1, "one.test", 1);
    world.send(false, &answer[..10]);
    world.segment(false, RST, 1_000_000, &[], 0);
    world.send(false, &answer[10..]);
    world.expect(&["192.0.2.1:4000 one.test. 1 in 3 ms"]);
}

/// A second later the same ports and the same numbers are another connection, not a second sighting of the first.
#[test]
fn a_connection_may_begin_with_the_numbers_of_the_last() {
    let mut world = World::new();
    for id in [1, 2] {
        for (to_server, flags) in [(true, SYN), (false, SYN | ACK), (true, ACK)] {
            let number = u32::from(flags == ACK);
            assert_eq!(world.segment(to_server, flags, number, &[], 0), PacketResult::TcpControl);
        }
        assert_eq!(world.send(true, &query(id, "one.test")), PacketResult::Message);
        assert_eq!(world.send(false, &response(id, "one.test", 1)), PacketResult::Message);
        for to_server in [true, false] {
            world.segment(to_server, FIN | ACK, 1 + world.sent[usize::from(to_server)], &[], 0);
        }
        world.sent = [0; 2];
        world.tick(Duration::from_secs(1));
    }
    world.expect(&["192.0.2.1:4000 one.test. 1 in 1 ms"; 2]);
}

/// The beginning came in time: that a segment behind it was lost makes it no missing answer.
#[test]
fn a_query_waits_for_what_is_held_of_its_answer() {
    let mut world = World::open("192.0.2.1:4000");
    world.send(true, &query(1, "one.test"));
    world.tick(Duration::from_millis(3_997));
    let answer = response(1, "one.test", 20);
    world.send(false, &answer[..100]);
    world.sent[0] += 100;
    world.send(false, &answer[200..]);
    for _ in 0..10 {
        world.tick(Duration::from_millis(300));
        world.expect(&[]);
    }
    world.tick(Duration::from_millis(300));
    world.expect(&["192.0.2.1:4000 one.test. 4 in 3998 ms in part"]);
}

#[test]
fn every_packet_has_its_result() {
    let mut world = World::open("192.0.2.1:4000");
    let ask = query(1, "one.test");
    assert_eq!(world.send(true, &ask[..1]), PacketResult::TcpPartial);
    assert_eq!(world.segment(true, PSH, 1, &ask[..1], 0), PacketResult::Duplicate);
    assert_eq!(world.send(true, &[&ask[1..], &query(2, "two.test")[..9]].concat()), PacketResult::Message);
    assert_eq!(world.send(true, &query(2, "two.test")[9..]), PacketResult::Message);
    assert_eq!(world.segment(true, PSH, 1, &ask, 0), PacketResult::Duplicate);
    let answers = [response(2, "two.test", 1), response(1, "one.test", 3)].concat();
    assert_eq!(world.send(false, &answers), PacketResult::Message);
    world.expect(&["192.0.2.1:4000 two.test. 1 in 2 ms", "192.0.2.1:4000 one.test. 3 in 3 ms"]);

    // What the capture cut off is no doubt about where the next message begins.
    world.send(true, &query(3, "three.test"));
    assert_eq!(world.cut(false, &response(3, "three.test", 10), 100), PacketResult::Snap);
    world.send(true, &query(4, "four.test"));
    assert_eq!(world.send(false, &response(4, "four.test", 1)), PacketResult::Message);
    world.expect(&["192.0.2.1:4000 three.test. 3 in 1 ms in part", "192.0.2.1:4000 four.test. 1 in 1 ms"]);

    // A message that is none does not end the stream, and one that goes the wrong way is none.
    assert_eq!(world.send(true, &[0, 3, 1, 2, 3]), PacketResult::Malformed);
    assert_eq!(world.send(true, &[0, 0]), PacketResult::Malformed);
    let mut malformed = query(5, "five.test");
    malformed[14] = 0xff;
    assert_eq!(world.send(true, &malformed), PacketResult::Malformed);
    assert_eq!(world.send(true, &response(6, "six.test", 1)), PacketResult::NotDns);
    assert_eq!(world.send(true, &[&malformed[..], &query(7, "seven.test")].concat()), PacketResult::Message);
    assert_eq!(world.send(false, &response(7, "seven.test", 1)), PacketResult::Message);
    world.expect(&[
        "shorter than a DNS header",
        "shorter than a DNS header",
        "a compression pointer does not lead to an earlier name",
        "a compression pointer does not lead to an earlier name",
        "192.0.2.1:4000 seven.test. 1 in 1 ms",
    ]);
    assert_eq!(world.segment(true, FIN | ACK, 1 + world.sent[1], &[], 0), PacketResult::TcpControl);
    assert_eq!(world.segment(false, RST, 1 + world.sent[0], &[], 0), PacketResult::TcpControl);
    world.tick(Duration::from_secs(200));
    world.expect(&[]);
    assert_eq!(world.engine.tally().streams.skipped_bytes, 0);
}

/// Resolvers of old, and some that forward, ask from port 53: of each message QR tells which way it goes.
#[test]
fn both_ports_may_be_a_servers() {
    let mut world = World::open("192.0.2.1:53");
    world.send(true, &query(1, "one.test"));
    world.send(false, &response(1, "one.test", 1));
    world.expect(&["192.0.2.1:53 one.test. 1 in 1 ms"]);
    // The same two may ask each other, even over one connection.
    world.send(false, &[query(2, "two.test"), response(3, "none.test", 1)].concat());
    world.send(true, &response(2, "two.test", 2));
    world.expect(&["192.0.2.53:53 two.test. 2 in 1 ms"]);

    // Joined in the middle, too.
    let mut world = World { client: "192.0.2.1:53".parse().unwrap(), ..World::new() };
    world.send(true, &query(1, "one.test"));
    world.send(false, &response(1, "one.test", 1));
    world.expect(&["192.0.2.1:53 one.test. 1 in 1 ms"]);
}

/// Whoever waits for the rest of an answer gives up while its query still waits.
#[test]
fn an_answer_without_its_end_answers() {
    for (cause, waited) in [("patience", Duration::from_secs(4)), ("the end", Duration::ZERO)] {
        let mut world = World::open("192.0.2.1:4000");
        world.send(true, &query(1, "one.test"));
        let answer = response(1, "one.test", 100);
        world.send(false, &answer[..500]);
        world.sent[0] += 100;
        world.send(false, &answer[600..]);
        world.expect(&[]);
        if cause == "patience" {
            world.tick(waited);
        } else {
            let told = &mut world.told;
            world.engine.finish(at(world.now), &mut |report| tell(told, &report));
        }
        world.expect(&["192.0.2.1:4000 one.test. 29 in 1 ms in part"]);
        let streams = world.engine.tally().streams;
        assert_eq!((streams.beginnings, streams.given_up(GiveUp::Gap)), (1, 0), "{cause}");
    }
}

/// Only what looks like DNS to its last byte tells where messages begin.
#[test]
fn a_connection_is_joined_in_the_middle() {
    let long = response(1, "one.test", 100);
    for (begins, whole) in [(long.clone(), true), ([&long[..1_000], &[0xff; 628]].concat(), false)] {
        let mut world = World::new();
        // The middle of something, and zeros that a length prefix alone would take for messages.
        // As the beginning of a message of 2000 bytes, but with 512 records, of at least 11 bytes each.
        let crowded = [0x07, 0xd0, 0, 1, 0x81, 0x80, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1];
        let zeros = [0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for noise in [&[0xab; 700][..], &[0; 700], &zeros, &crowded] {
            assert_eq!(world.send(false, noise), PacketResult::TcpPartial);
        }
        // A message in two segments.
        assert_eq!(world.send(false, &begins[..800]), PacketResult::TcpPartial);
        let result = if whole { PacketResult::Message } else { PacketResult::TcpPartial };
        assert_eq!(world.send(false, &begins[800..]), result);
        let skipped = 1_433 + if whole { 0 } else { begins.len() as u64 };
        assert_eq!(world.engine.tally().streams.skipped_bytes, skipped);
        assert_eq!(world.send(false, &response(2, "two.test", 1)), PacketResult::Message);
    }
}
