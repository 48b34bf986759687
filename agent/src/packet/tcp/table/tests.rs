use super::*;
use crate::packet::tcp::StreamMessage;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Who sends.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Client,
    Server,
}
use Side::{Client, Server};

/// Writes down what it is given, as `client 7 40` for a message of 40 bytes with the ID 7, `server 8 30/2000 @5` for
/// the beginning of one that was seen at 5 ms.
#[derive(Default)]
struct Notes(Vec<String>);

impl Reader for Notes {
    fn plausible(&self, flow: &Flow, bytes: &[u8], length: usize) -> bool {
        let flags = if flow.destination.port() == 53 { [1, 0] } else { [0x81, 0x80] };
        // The last byte of a message is its mark, so that what begins like one need not be one.
        bytes.len() >= 12
            && bytes[2..4] == flags
            && bytes[4..6] == [0, 1]
            && (bytes.len() < length || bytes.last() == Some(&0xee))
    }

    fn message(&mut self, message: StreamMessage<'_>) -> bool {
        let StreamMessage { time, flow, bytes, length, .. } = message;
        let side = if flow.destination.port() == 53 { "client" } else { "server" };
        let id = bytes.first_chunk::<2>().map_or(0, |id| u16::from_be_bytes(*id));
        let size =
            if bytes.len() == length { length.to_string() } else { format!("{}/{length}", bytes.len()) };
        assert!(bytes.len() <= length);
        // What a message holds is told by its ID: every byte is where it was written.
        let whole = if flow.destination.port() == 53 { query(id, length) } else { response(id, length) };
        assert_eq!(bytes, &whole[2..2 + bytes.len()], "{side} {id}");
        self.0.push(format!("{side} {id} {size} @{}", time.as_nanos() / 1_000_000));
        bytes.len() >= 12
    }

    fn unseen(&mut self, _flow: &Flow) {}
}

/// A message of `length` bytes behind its prefix.
fn framed(id: u16, flags: [u8; 2], length: usize) -> Vec<u8> {
    let mut bytes = Vec::from((length as u16).to_be_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend(flags);
    bytes.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.extend((0..).map(|at: u32| (at.wrapping_mul(7) as u8) | 0x80).take(length.saturating_sub(12)));
    bytes.truncate(2 + length);
    if length > 12 {
        bytes[1 + length] = 0xee;
    }
    bytes
}

fn query(id: u16, length: usize) -> Vec<u8> {
    framed(id, [1, 0], length)
}

fn response(id: u16, length: usize) -> Vec<u8> {
    framed(id, [0x81, 0x80], length)
}

/// The streams, and what came out of them.
struct World {
    streams: Streams,
    notes: Notes,
    /// In ms.
    now: u64,
    client: SocketAddr,
    place: Option<Place>,
    /// Numbers of the SYNs.
    first: [u32; 2],
}

impl World {
    fn with(limits: StreamLimits) -> Self {
        let client = "192.0.2.1:4000".parse().unwrap();
        let streams = Streams::new(limits);
        Self { streams, notes: Notes::default(), now: 0, client, place: None, first: [1000, 5000] }
    }

    /// One connection, open.
    fn open() -> Self {
        let mut world = Self::with(StreamLimits::default());
        world.handshake();
        world
    }

    /// One connection whose beginning was not seen.
    fn joined() -> Self {
        Self::with(StreamLimits::default())
    }

    fn handshake(&mut self) {
        assert_eq!(self.raw(Client, SYN, 0, &[], 0), Placed::Control);
        assert_eq!(self.raw(Server, SYN | ACK, 0, &[], 0), Placed::Control);
        assert_eq!(self.raw(Client, ACK, 1, &[], 0), Placed::Control);
    }

    /// A segment whose number counts from SYN; `missing` bytes are cut off.
    fn raw(&mut self, side: Side, flags: u8, number: u32, bytes: &[u8], missing: usize) -> Placed {
        self.acknowledging(side, flags, number, 0, bytes, missing)
    }

    fn acknowledging(
        &mut self,
        side: Side,
        flags: u8,
        number: u32,
        acknowledgement: u32,
        bytes: &[u8],
        missing: usize,
    ) -> Placed {
        let server = "192.0.2.53:53".parse().unwrap();
        let (source, destination, [own, other]) = match side {
            Client => (self.client, server, self.first),
            Server => (server, self.client, [self.first[1], self.first[0]]),
        };
        let payload = Payload {
            flow: Flow { source, destination, transport: Transport::Tcp },
            hop_limit: 64,
            tcp: Some(TcpHeader {
                sequence: own.wrapping_add(number),
                acknowledgement: other.wrapping_add(acknowledgement),
                flags,
            }),
            fragmented: false,
            missing,
            bytes,
        };
        let placed = self.streams.segment(at(self.now), self.place, &payload, &mut self.notes);
        self.audit();
        placed
    }

    /// A segment with data whose first byte is byte `number` of its stream.
    fn send(&mut self, side: Side, number: usize, bytes: &[u8]) -> Placed {
        self.raw(side, 0, number as u32 + 1, bytes, 0)
    }

    /// Only the first `kept` bytes of a segment are captured.
    fn cut(&mut self, side: Side, number: usize, bytes: &[u8], kept: usize) -> Placed {
        self.raw(side, 0, number as u32 + 1, &bytes[..kept], bytes.len() - kept)
    }

    /// `side` has received the first `number` bytes of the other.
    fn receive(&mut self, side: Side, number: usize) {
        assert_eq!(self.acknowledging(side, ACK, 1, number as u32 + 1, &[], 0), Placed::Control);
    }

    fn later(&mut self, milliseconds: u64) -> &mut Self {
        self.now += milliseconds;
        self
    }

    fn tick(&mut self) {
        self.streams.tick(at(self.now), &mut self.notes);
        self.audit();
    }

    /// The books are right: what is accounted is there, and within the bounds.
    fn audit(&self) {
        let Streams { limits, open, holding, bytes, due, opening, closed, .. } = &self.streams;
        assert_eq!(*bytes, open.values().map(Connection::memory).sum::<usize>());
        assert!(*bytes <= limits.max_bytes);
        assert!(open.len() <= limits.max_connections);
        assert!(opening.0.len() <= limits.max_idle && closed.0.len() <= limits.max_idle);
        let held: Vec<&Key> =
            open.iter().filter(|(_, connection)| connection.memory() > 0).map(|(key, _)| key).collect();
        assert_eq!(holding.len(), held.len());
        assert!(held.iter().all(|key| holding.contains(*key)));
        assert_eq!(due.len(), open.values().filter(|connection| connection.due.is_some()).count());
    }

    fn finish(&mut self) {
        self.streams.finish(&mut self.notes);
        self.audit();
        assert_eq!((self.streams.bytes(), self.streams.connections()), (0, 0));
    }

    /// What came out since the last time.
    #[track_caller]
    fn expect(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.notes.0), expected);
    }

    /// How often a stream was given up, for gap, evicted, ended and idle, and the bytes that were skipped.
    #[track_caller]
    fn expect_lost(&self, given_up: [u64; 4], skipped_bytes: u64) {
        let counts = self.streams.counts();
        assert_eq!(
            (GiveUp::ALL.map(|reason| counts.given_up(reason)), counts.skipped_bytes),
            (given_up, skipped_bytes)
        );
    }
}

fn at(milliseconds: u64) -> Timestamp {
    Timestamp::from_nanos(milliseconds * 1_000_000)
}

#[test]
fn whole_messages_in_one_segment() {
    let mut world = World::open();
    assert_eq!(world.send(Client, 0, &query(1, 40)), Placed::New);
    world.expect(&["client 1 40 @0"]);
    let three = [query(2, 30), query(3, 12), query(4, 50)].concat();
    assert_eq!(world.later(1).send(Client, 42, &three), Placed::New);
    world.expect(&["client 2 30 @1", "client 3 12 @1", "client 4 50 @1"]);
    // Out of order, each by its ID; what the other side says is another stream.
    world.send(Server, 0, &[response(3, 70), response(1, 60)].concat());
    world.expect(&["server 3 70 @1", "server 1 60 @1"]);
    assert_eq!(world.streams.bytes(), 0);
    world.finish();
    world.expect(&[]);
    world.expect_lost([0; 4], 0);
}

#[test]
fn a_message_is_cut_anywhere() {
    let stream = [response(1, 40), response(2, 12), response(3, 300)].concat();
    for cut in 1..stream.len() {
        let mut world = World::open();
        world.send(Server, 0, &stream[..cut]);
        world.later(5).send(Server, cut, &stream[cut..]);
        let time = |end: usize| if end <= cut { 0 } else { 5 };
        world.expect(&[
            &format!("server 1 40 @{}", time(42)),
            &format!("server 2 12 @{}", time(56)),
            &format!("server 3 300 @{}", time(358)),
        ]);
        assert_eq!(world.streams.bytes(), 0, "{cut}");
        world.expect_lost([0; 4], 0);
    }
}

#[test]
fn a_message_may_come_byte_by_byte() {
    let mut world = World::open();
    let stream = [query(1, 40), query(2, 20)].concat();
    for (number, byte) in stream.iter().enumerate() {
        assert_eq!(world.later(1).send(Client, number, &[*byte]), Placed::New);
    }
    world.expect(&["client 1 40 @42", "client 2 20 @64"]);
}

#[test]
fn a_segment_of_64_kib_is_read_whole() {
    let mut world = World::open();
    world.send(Server, 0, &response(1, 60_000));
    world.expect(&["server 1 60000 @0"]);
    // The largest message that there is, in ordinary segments.
    let large = response(2, 65_535);
    for (number, part) in large.chunks(1448).enumerate() {
        world.later(1).send(Server, 60_002 + number * 1448, part);
        assert!(world.streams.bytes() <= large.len());
    }
    world.expect(&["server 2 65535 @46"]);
}

#[test]
fn what_is_sent_again_is_known() {
    let mut world = World::open();
    let stream = [query(1, 40), query(2, 40)].concat();
    world.send(Client, 0, &stream[..50]);
    for (from, to) in [(0, 50), (0, 1), (49, 50), (20, 30)] {
        assert_eq!(world.send(Client, from, &stream[from..to]), Placed::Known, "{from}..{to}");
    }
    // Overlapping: only the new bytes count, and what was seen first wins.
    let mut other = stream.clone();
    other[..50].fill(0);
    assert_eq!(world.later(1).send(Client, 0, &other), Placed::New);
    world.expect(&["client 1 40 @0", "client 2 40 @1"]);
    assert_eq!(world.send(Client, 0, &stream), Placed::Known);
    // Keep-alive: the byte before the next, or none.
    assert_eq!(world.send(Client, stream.len() - 1, &[0]), Placed::Known);
    assert_eq!(world.send(Client, stream.len() - 1, &[]), Placed::Control);
    // Before any data it has the number of SYN.
    assert_eq!(world.raw(Server, ACK, 0, &[0], 0), Placed::Known);
    world.send(Server, 0, &response(1, 40));
    world.expect(&["server 1 40 @1"]);
    world.expect_lost([0; 4], 0);
}

#[test]
fn a_probe_of_a_closed_window_brings_one_byte() {
    let mut world = World::open();
    let stream = [query(1, 40), query(2, 40)].concat();
    world.send(Client, 0, &stream[..42]);
    assert_eq!(world.send(Client, 42, &stream[42..43]), Placed::New);
    assert_eq!(world.send(Client, 42, &stream[42..43]), Placed::Known);
    world.send(Client, 42, &stream[42..]);
    world.expect(&["client 1 40 @0", "client 2 40 @0"]);
}

#[test]
fn what_comes_early_waits() {
    let stream = [response(1, 100), response(2, 100), response(3, 100)].concat();
    let parts: Vec<(usize, &[u8])> =
        stream.chunks(50).enumerate().map(|(part, bytes)| (part * 50, bytes)).collect();
    for order in [[6, 5, 4, 3, 2, 1, 0], [0, 2, 1, 4, 3, 6, 5], [3, 0, 6, 1, 5, 2, 4]] {
        let mut world = World::open();
        for part in order {
            let (number, bytes) = parts[part];
            assert_eq!(world.send(Server, number, bytes), Placed::New);
            assert_eq!(world.send(Server, number, bytes), Placed::Known);
        }
        world.expect(&["server 1 100 @0", "server 2 100 @0", "server 3 100 @0"]);
        assert_eq!(world.streams.bytes(), 0);
        world.later(60_000).tick();
        world.expect_lost([0; 4], 0);
    }
}

#[test]
fn overlaps_behind_a_hole() {
    let stream = [response(1, 100), response(2, 100), response(3, 100)].concat();
    let mut world = World::open();
    for (from, to) in [(100, 150), (200, 250), (120, 220), (90, 260), (300, 306), (0, 95)] {
        assert_eq!(world.send(Server, from, &stream[from..to]), Placed::New, "{from}..{to}");
    }
    assert_eq!(world.send(Server, 100, &stream[100..260]), Placed::Known);
    world.expect(&["server 1 100 @0", "server 2 100 @0"]);
    // Over a piece that waits, to the end and beyond.
    world.later(1).send(Server, 250, &stream[250..]);
    world.expect(&["server 3 100 @1"]);
    assert_eq!(world.streams.bytes(), 0);

    // What was seen first wins, also where it came early.
    let mut world = World::open();
    world.send(Server, 100, &stream[100..150]);
    let mut other = stream.clone();
    other[100..150].fill(0);
    world.send(Server, 0, &other);
    world.expect(&["server 1 100 @0", "server 2 100 @0", "server 3 100 @0"]);
}

#[test]
fn numbers_wrap() {
    for first in [u32::MAX, u32::MAX - 1, u32::MAX - 20, u32::MAX - 60, 1 << 31, (1 << 31) - 30] {
        let mut world = World::with(StreamLimits::default());
        world.first = [first, first];
        world.handshake();
        let stream = [query(1, 40), query(2, 40)].concat();
        world.send(Client, 50, &stream[50..]);
        world.send(Client, 0, &stream[..20]);
        assert_eq!(world.send(Client, 0, &stream[..20]), Placed::Known);
        world.send(Client, 10, &stream[10..60]);
        world.expect(&["client 1 40 @0", "client 2 40 @0"]);
        assert_eq!(world.raw(Client, FIN, stream.len() as u32 + 1, &[], 0), Placed::Control);
        assert_eq!(world.raw(Server, FIN, 1, &[], 0), Placed::Control);
        assert_eq!(world.streams.connections(), 0, "{first}");
        world.expect_lost([0; 4], 0);
    }
}

#[test]
fn data_in_syn() {
    // RFC 7413: the server takes it, or the client sends it again.
    for again in [false, true] {
        let mut world = World::with(StreamLimits::default());
        assert_eq!(world.raw(Client, SYN, 0, &query(1, 40), 0), Placed::New);
        world.expect(&["client 1 40 @0"]);
        assert_eq!(world.streams.connections(), 0);
        assert_eq!(world.raw(Client, SYN, 0, &query(1, 40), 0), Placed::Known);
        world.raw(Server, SYN | ACK, 0, &[], 0);
        if again {
            assert_eq!(world.send(Client, 0, &query(1, 40)), Placed::Known);
        }
        world.send(Server, 0, &response(1, 40));
        world.send(Client, 42, &query(2, 40));
        world.expect(&["server 1 40 @0", "client 2 40 @0"]);
        world.expect_lost([0; 4], 0);
    }
    // The beginning of a message, and the rest once the connection is open.
    let mut world = World::with(StreamLimits::default());
    world.raw(Client, SYN, 0, &query(1, 40)[..20], 0);
    world.raw(Server, SYN | ACK, 0, &[], 0);
    world.send(Server, 0, &response(9, 40)[..5]);
    world.send(Client, 20, &query(1, 40)[20..]);
    world.send(Server, 5, &response(9, 40)[5..]);
    world.expect(&["client 1 40 @0", "server 9 40 @0"]);
}

#[test]
fn syn_again_is_no_new_connection() {
    let mut world = World::with(StreamLimits::default());
    world.raw(Client, SYN, 0, &[], 0);
    world.handshake();
    world.send(Client, 0, &query(1, 40)[..20]);
    world.handshake();
    world.send(Client, 20, &query(1, 40)[20..]);
    world.send(Server, 0, &response(1, 40));
    world.expect(&["client 1 40 @0", "server 1 40 @0"]);
    world.expect_lost([0; 4], 0);
}

#[test]
fn another_syn_is_a_new_connection() {
    let mut world = World::open();
    world.send(Client, 0, &query(1, 40));
    world.send(Server, 0, &response(1, 400)[..100]);
    world.expect(&["client 1 40 @0"]);
    world.first = [77_000, 88_000];
    world.later(1).handshake();
    world.expect(&["server 1 98/400 @0"]);
    world.send(Client, 0, &query(2, 40));
    world.send(Server, 0, &response(2, 40));
    world.expect(&["client 2 40 @1", "server 2 40 @1"]);
    world.expect_lost([0, 0, 1, 0], 0);
    // Before there was data, too.
    let mut world = World::open();
    world.first = [77_000, 88_000];
    world.handshake();
    world.send(Client, 0, &query(2, 40)[..20]);
    world.send(Client, 20, &query(2, 40)[20..]);
    world.expect(&["client 2 40 @0"]);
}

#[test]
fn fin_ends_a_stream_behind_its_last_byte() {
    let mut world = World::open();
    // The end comes first.
    let stream = query(1, 40);
    world.raw(Client, FIN, 21, &stream[20..], 0);
    world.send(Client, 0, &stream[..20]);
    world.expect(&["client 1 40 @0"]);
    assert_eq!(world.streams.connections(), 1);
    world.send(Server, 0, &response(1, 40));
    world.raw(Server, FIN | ACK, 43, &[], 0);
    world.expect(&["server 1 40 @0"]);
    assert_eq!((world.streams.connections(), world.streams.bytes()), (0, 0));
    // What is sent again behind the end.
    assert_eq!(world.send(Server, 0, &response(1, 40)), Placed::Known);
    assert_eq!(world.raw(Server, FIN, 43, &[], 0), Placed::Control);
    world.expect_lost([0; 4], 0);
    // And a connection on the same ports whose SYN was not seen.
    world.first = [77_000, 88_000];
    world.send(Client, 0, &query(2, 40));
    world.expect(&["client 2 40 @0"]);
}

#[test]
fn an_end_in_the_middle_of_a_message() {
    for flags in [FIN, RST] {
        let mut world = World::open();
        world.send(Client, 0, &query(1, 40)[..6]);
        world.later(3).send(Server, 0, &response(1, 400)[..100]);
        world.later(4).raw(Server, flags, 101, &[], 0);
        world.raw(Client, flags, 7, &[], 0);
        // Of the query not even the header is known.
        world.expect(&["server 1 98/400 @3"]);
        world.expect_lost([0, 0, 2, 0], 0);
        assert_eq!((world.streams.connections(), world.streams.bytes()), (0, 0));
    }
    // A text that comes with RST is none of the stream.
    let mut world = World::open();
    world.send(Server, 0, &response(1, 400)[..100]);
    assert_eq!(world.raw(Server, RST, 101, &response(1, 400)[100..], 0), Placed::Control);
    world.expect(&["server 1 98/400 @0"]);
    // Anybody can send RST with any number.
    let mut world = World::open();
    world.send(Server, 0, &response(1, 400)[..100]);
    world.raw(Server, RST, 1 << 30, &[], 0);
    world.send(Server, 100, &response(1, 400)[100..]);
    world.expect(&["server 1 400 @0"]);
}

#[test]
fn a_message_without_its_end_goes_on_behind_it() {
    let mut world = World::open();
    let stream = [response(1, 400), response(2, 40)].concat();
    // One segment, cut off by the capture.
    assert_eq!(world.cut(Server, 0, &stream[..402], 82), Placed::New);
    world.expect(&["server 1 80/400 @0"]);
    world.later(1).send(Server, 402, &stream[402..]);
    world.expect(&["server 2 40 @1"]);
    world.expect_lost([0; 4], 0);

    // The message is larger than the segment that was cut: what follows of it is passed over.
    let mut world = World::open();
    world.cut(Server, 0, &stream[..200], 82);
    assert_eq!(world.send(Server, 200, &stream[200..300]), Placed::New);
    world.send(Server, 300, &stream[300..]);
    world.expect(&["server 1 80/400 @0", "server 2 40 @0"]);
    world.expect_lost([0; 4], 0);

    // Less than the header is known.
    let mut world = World::open();
    world.cut(Server, 0, &stream[..200], 13);
    world.send(Server, 200, &stream[200..]);
    world.expect(&["server 2 40 @0"]);
    world.expect_lost([1, 0, 0, 0], 0);

    // Nothing but the headers of TCP is captured.
    let mut world = World::open();
    assert_eq!(world.cut(Server, 0, &stream[..402], 0), Placed::New);
    world.send(Server, 402, &stream[402..]);
    world.expect(&["server 2 40 @0"]);
    world.expect_lost([1, 0, 0, 0], 0);
}

#[test]
fn a_cut_segment_that_came_early() {
    let stream = [response(1, 400), response(2, 400), response(3, 40)].concat();
    let mut world = World::open();
    assert_eq!(world.cut(Server, 402, &stream[402..804], 100), Placed::New);
    assert_eq!(world.cut(Server, 402, &stream[402..804], 100), Placed::Known);
    world.send(Server, 804, &stream[804..]);
    world.expect(&[]);
    world.send(Server, 0, &stream[..402]);
    world.expect(&["server 1 400 @0", "server 2 98/400 @0", "server 3 40 @0"]);
    // What was cut off may be captured all the same.
    let mut world = World::open();
    world.cut(Server, 402, &stream[402..804], 100);
    world.send(Server, 500, &stream[500..]);
    world.send(Server, 0, &stream[..402]);
    world.expect(&["server 1 400 @0", "server 2 400 @0", "server 3 40 @0"]);
    world.expect_lost([0; 4], 0);
}

#[test]
fn a_hole_over_a_prefix_gives_the_stream_up() {
    let stream = [response(1, 100), response(2, 100), response(3, 100), response(4, 100)].concat();
    let mut world = World::open();
    world.cut(Server, 0, &stream[..150], 50);
    world.expect(&["server 1 48/100 @0"]);
    world.expect_lost([1, 0, 0, 0], 0);
    // Nothing is read until a segment shows where messages begin.
    assert_eq!(world.send(Server, 150, &stream[150..250]), Placed::New);
    world.expect_lost([1, 0, 0, 0], 100);
    assert_eq!(world.send(Server, 150, &stream[150..250]), Placed::Known);
    world.send(Server, 250, &stream[250..306]);
    world.expect(&[]);
    world.send(Server, 306, &stream[306..]);
    world.expect(&["server 4 100 @0"]);
    world.expect_lost([1, 0, 0, 0], 156);
    // In step again: a message may come in parts.
    world.send(Server, 408, &response(5, 100)[..50]);
    world.send(Server, 458, &response(5, 100)[50..]);
    world.expect(&["server 5 100 @0"]);
}

#[test]
fn an_acknowledged_hole_is_not_waited_for() {
    let stream = [response(1, 400), response(2, 40)].concat();
    let mut world = World::open();
    world.send(Server, 0, &stream[..100]);
    world.send(Server, 200, &stream[200..300]);
    world.later(50).tick();
    world.expect(&[]);
    world.receive(Client, 300);
    world.later(10).tick();
    world.expect(&[]);
    world.later(1).tick();
    world.expect(&["server 1 98/400 @0"]);
    world.send(Server, 300, &stream[300..]);
    world.expect(&["server 2 40 @61"]);
    world.expect_lost([0; 4], 0);

    // The acknowledgement was seen first: two CPUs may write out of order.
    let mut world = World::open();
    world.send(Server, 0, &stream[..100]);
    world.receive(Client, 402);
    world.later(9).send(Server, 100, &stream[100..402]);
    world.later(60_000).tick();
    world.expect(&["server 1 400 @9"]);

    // The rest was acknowledged, and nothing of it was seen.
    let mut world = World::open();
    world.send(Server, 0, &stream[..100]);
    world.receive(Client, 402);
    world.later(11).tick();
    world.expect(&["server 1 98/400 @0"]);
    world.send(Server, 402, &stream[402..]);
    world.expect(&["server 2 40 @11"]);
    world.expect_lost([0; 4], 0);

    // Behind the hole there is more, all of it acknowledged.
    let mut world = World::open();
    world.send(Server, 0, &stream[..100]);
    world.send(Server, 200, &stream[200..]);
    world.receive(Client, stream.len());
    world.later(11).tick();
    world.expect(&["server 1 98/400 @0", "server 2 40 @0"]);
    world.expect_lost([0; 4], 0);

    // A whole message was acknowledged that was not seen: nobody knows how many there were.
    let mut world = World::open();
    world.send(Server, 0, &stream[..402]);
    world.receive(Client, 444);
    world.later(11).tick();
    world.expect_lost([1, 0, 0, 0], 0);
    world.send(Server, 444, &response(3, 40));
    world.expect(&["server 1 400 @0", "server 3 40 @11"]);

    // FIN counts as a byte, but is none of the message.
    let mut world = World::open();
    world.send(Server, 0, &stream[..100]);
    world.raw(Server, FIN, 403, &[], 0);
    world.receive(Client, 403);
    world.later(11).tick();
    world.expect(&["server 1 98/400 @0"]);
    world.expect_lost([0; 4], 0);
    for seen in [false, true] {
        let mut world = World::open();
        world.send(Server, 0, &stream);
        if seen {
            world.raw(Server, FIN, stream.len() as u32 + 1, &[], 0);
        }
        world.receive(Client, stream.len() + 1);
        world.later(60_000).tick();
        world.expect_lost([0; 4], 0);
    }
}

#[test]
fn patience_ends() {
    let stream = [response(1, 400), response(2, 40)].concat();
    let mut world = World::open();
    world.send(Server, 0, &stream[..100]);
    world.send(Server, 200, &stream[200..]);
    world.later(5_000).tick();
    world.expect(&[]);
    world.later(1).tick();
    world.expect(&["server 1 98/400 @0", "server 2 40 @0"]);
    assert_eq!(world.streams.bytes(), 0);
    // It comes after all; whether it was seen before nobody remembers.
    assert_eq!(world.send(Server, 100, &stream[100..200]), Placed::New);
    world.expect_lost([0; 4], 0);
    // A hole before FIN counts too.
    let mut world = World::open();
    world.send(Server, 0, &stream[..100]);
    world.raw(Server, FIN, 403, &[], 0);
    world.later(5_001).tick();
    world.expect(&["server 1 98/400 @0"]);
    // One that is filled is another one.
    let mut world = World::open();
    world.send(Server, 100, &stream[100..200]);
    world.send(Server, 300, &stream[300..]);
    world.later(4_000).send(Server, 0, &stream[..100]);
    world.later(4_000).tick();
    world.expect(&[]);
    world.send(Server, 200, &stream[200..300]);
    world.expect(&["server 1 400 @8000", "server 2 40 @8000"]);
    world.expect_lost([0; 4], 0);
}

#[test]
fn too_much_behind_a_hole_is_not_waited_for() {
    let mut world = World::open();
    let stream: Vec<u8> = (0..40).flat_map(|id| response(id, 3_998)).collect();
    for (number, part) in stream.chunks(4_000).enumerate().skip(1) {
        world.send(Server, number * 4_000, part);
        assert!(world.streams.bytes() <= 2 * world.streams.limits.max_bytes_per_stream);
    }
    world.expect_lost([1, 0, 0, 0], 0);
    // The hole is as long as a message, but may have been anything.
    let all: Vec<String> = (1..40).map(|id| format!("server {id} 3998 @0")).collect();
    world.expect(&all.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(world.streams.bytes(), 0);

    // Too many pieces.
    let mut world = World::open();
    for number in 0..1_000 {
        world.send(Server, 100 + 2 * number, &[0]);
        assert!(world.streams.bytes() < 8_192);
    }
    world.expect(&[]);

    // One that is larger than all that is ever kept.
    let mut world = World::open();
    let large: Vec<u8> = (1..4).flat_map(|id| response(id, 60_000)).collect();
    world.send(Server, 100, &large);
    world.expect(&["server 1 60000 @0", "server 2 60000 @0", "server 3 60000 @0"]);
}

#[test]
fn a_stream_is_joined_where_a_segment_is_whole_messages() {
    let stream = [query(1, 100), query(2, 100), query(3, 100), query(4, 100)].concat();
    let mut world = World::joined();
    assert_eq!(world.send(Client, 50, &stream[50..102]), Placed::New);
    assert_eq!(world.send(Client, 50, &stream[50..102]), Placed::Known);
    world.expect(&[]);
    world.expect_lost([0; 4], 52);
    assert_eq!(world.send(Client, 102, &stream[102..306]), Placed::New);
    world.expect(&["client 2 100 @0", "client 3 100 @0"]);
    assert_eq!(world.send(Client, 102, &stream[102..306]), Placed::Known);
    world.send(Client, 306, &stream[306..350]);
    world.send(Client, 350, &stream[350..]);
    world.expect(&["client 4 100 @0"]);
    world.expect_lost([0; 4], 52);

    // Seven zero bytes and more look like messages to a length prefix alone, and a response is no query.
    for wrong in [vec![0; 100], response(1, 100), query(1, 11), [query(1, 40), vec![0, 0]].concat()] {
        let mut world = World::joined();
        world.send(Client, 0, &wrong);
        world.expect(&[]);
        world.expect_lost([0; 4], wrong.len() as u64);
    }
    // The prefix in a segment of its own shows nothing.
    let mut world = World::joined();
    world.send(Client, 0, &stream[..2]);
    world.send(Client, 2, &stream[2..102]);
    world.send(Client, 102, &stream[102..204]);
    world.expect(&["client 2 100 @0"]);
    world.expect_lost([0; 4], 102);
}

#[test]
fn a_stream_is_joined_by_a_large_message() {
    let large = response(1, 4_000);
    let mut world = World::joined();
    world.send(Server, 0, &large[..1_448]);
    world.send(Server, 1_448, &large[1_448..2_896]);
    world.expect(&[]);
    world.send(Server, 2_896, &[&large[2_896..], &response(2, 40)].concat());
    world.expect(&["server 1 4000 @0", "server 2 40 @0"]);
    world.expect_lost([0; 4], 0);

    // What began like a message is none: the rest is looked at again.
    let mut world = World::joined();
    let mut wrong = large.clone();
    *wrong.last_mut().unwrap() = 0;
    world.send(Server, 0, &wrong[..1_448]);
    world.send(Server, 1_448, &[&wrong[1_448..], &response(2, 40)].concat());
    world.expect(&["server 2 40 @0"]);
    world.expect_lost([0; 4], wrong.len() as u64);

    // Without its end it is not believed.
    let mut world = World::joined();
    world.send(Server, 0, &large[..1_448]);
    world.finish();
    world.expect(&[]);
    world.expect_lost([0; 4], 1_448);
    let mut world = World::joined();
    world.send(Server, 0, &large[..1_448]);
    world.send(Server, 2_896, &large[2_896..]);
    world.later(6_000).tick();
    world.expect(&[]);
    world.expect_lost([0; 4], large.len() as u64 - 1_448);
}

#[test]
fn a_segment_from_before_the_first_is_read_by_itself() {
    let stream = [query(1, 100), query(2, 100), query(3, 100)].concat();
    let mut world = World::joined();
    world.send(Client, 204, &stream[204..]);
    assert_eq!(world.send(Client, 102, &stream[102..204]), Placed::New);
    assert_eq!(world.send(Client, 102, &stream[102..204]), Placed::Known);
    assert_eq!(world.send(Client, 50, &stream[50..102]), Placed::New);
    world.expect(&["client 3 100 @0", "client 2 100 @0"]);
    world.expect_lost([0; 4], 52);
}

#[test]
fn what_cannot_belong_to_a_stream() {
    let mut world = World::open();
    world.send(Client, 0, &query(1, 40)[..20]);
    // An attempt to disturb.
    assert_eq!(world.send(Client, 1 << 30, &[0; 40]), Placed::New);
    world.send(Client, 20, &query(1, 40)[20..]);
    world.expect(&["client 1 40 @0"]);
    world.expect_lost([0; 4], 40);
    // Another connection on the same ports, whose SYN was not seen.
    world.send(Client, 1 << 30, &query(2, 40));
    world.send(Client, (1 << 30) + 42, &query(3, 40)[..20]);
    world.send(Client, (1 << 30) + 62, &query(3, 40)[20..]);
    world.expect(&["client 2 40 @0", "client 3 40 @0"]);
}

#[test]
fn a_malformed_message_is_passed_on() {
    let mut world = World::open();
    // Shorter than a header, even empty: the stream goes on behind it.
    let stream = [query(1, 40), query(0, 0), query(2, 5), query(3, 11), query(4, 40)].concat();
    world.send(Client, 0, &stream);
    world.expect(&["client 1 40 @0", "client 0 0 @0", "client 2 5 @0", "client 3 11 @0", "client 4 40 @0"]);
    let mut world = World::open();
    for (number, byte) in stream.iter().enumerate() {
        world.send(Client, number, &[*byte]);
    }
    world.expect(&["client 1 40 @0", "client 0 0 @0", "client 2 5 @0", "client 3 11 @0", "client 4 40 @0"]);
}

#[test]
fn every_hook_has_its_own_streams() {
    let place = |ifindex, kind, direction| {
        Some(Place { ifindex: Ifindex(ifindex), kind, direction, local_socket: None, cgroup: None })
    };
    let stream = query(1, 40);
    let mut world = World::joined();
    let places = [
        place(1, InterfaceKind::Pod, Direction::Ingress),
        place(2, InterfaceKind::Uplink, Direction::Ingress),
        // In and out by one interface.
        place(2, InterfaceKind::Uplink, Direction::Egress),
        None,
    ];
    for (flags, number, bytes) in [(SYN, 0, &[][..]), (0, 1, &stream[..20]), (0, 21, &stream[20..])] {
        for place in places {
            world.place = place;
            assert_ne!(world.raw(Client, flags, number, bytes, 0), Placed::Known);
        }
    }
    world.expect(&["client 1 40 @0"; 4]);
    // In a file that does not say where, the second sighting is one again.
    assert_eq!(world.raw(Client, 0, 21, &stream[20..], 0), Placed::Known);

    // What is acknowledged is known at the same interface, on the way back; on `lo` both ways are egress.
    for (kind, there, back) in [
        (InterfaceKind::Pod, Direction::Egress, Direction::Ingress),
        (InterfaceKind::Uplink, Direction::Ingress, Direction::Egress),
        (InterfaceKind::Loopback, Direction::Egress, Direction::Egress),
    ] {
        let mut world = World::joined();
        world.place = place(3, kind, there);
        world.raw(Server, SYN | ACK, 0, &[], 0);
        world.send(Server, 0, &response(1, 400)[..100]);
        world.place = place(4, kind, back);
        world.receive(Client, 402);
        world.later(11).tick();
        world.expect(&[]);
        world.place = place(3, kind, back);
        world.receive(Client, 402);
        world.later(11).tick();
        world.expect(&["server 1 98/400 @0"]);
    }
}

#[test]
fn a_flood_of_syn_leaves_streams_alone() {
    let mut world = World::open();
    let own = world.client;
    world.send(Server, 0, &response(1, 400)[..100]);
    for client in 0..100_000_u32 {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + client / 1_000);
        world.client = SocketAddr::new(address.into(), 10_000 + (client % 1_000) as u16);
        let payload = Payload {
            flow: Flow {
                source: world.client,
                destination: "192.0.2.53:53".parse().unwrap(),
                transport: Transport::Tcp,
            },
            hop_limit: 64,
            tcp: Some(TcpHeader { sequence: client, acknowledgement: 0, flags: SYN }),
            fragmented: false,
            missing: 0,
            bytes: &[],
        };
        world.streams.segment(at(world.now), None, &payload, &mut world.notes);
    }
    world.audit();
    assert_eq!((world.streams.connections(), world.streams.opening.0.len()), (1, 16_384));
    world.client = own;
    world.send(Server, 100, &response(1, 400)[100..]);
    world.expect(&["server 1 400 @0"]);
    world.later(120_001).tick();
    assert_eq!((world.streams.connections(), world.streams.opening.0.len()), (0, 0));
}

/// Every connection holds the beginning of a message.
fn flood(world: &mut World, connections: usize, held: usize) {
    for client in 0..connections {
        world.client.set_port(10_000 + client as u16);
        world.later(1).handshake();
        world.send(Server, 0, &response(client as u16, 60_000)[..held]);
    }
}

#[test]
fn connections_are_bounded() {
    let limits = StreamLimits { max_connections: 10, ..StreamLimits::default() };
    let mut world = World::with(limits);
    flood(&mut world, 15, 100);
    world.expect(&[
        "server 0 98/60000 @1",
        "server 1 98/60000 @2",
        "server 2 98/60000 @3",
        "server 3 98/60000 @4",
        "server 4 98/60000 @5",
    ]);
    world.expect_lost([0, 5, 0, 0], 0);
    // One that is used stays, and what holds nothing goes without a word.
    world.client.set_port(10_005);
    world.send(Server, 100, &response(5, 60_000)[100..]);
    world.expect(&["server 5 60000 @15"]);
    for client in 20..30 {
        world.client.set_port(10_000 + client);
        world.handshake();
        world.send(Client, 0, &query(client, 40));
    }
    world.expect_lost([0, 14, 0, 0], 0);
    world.notes.0.clear();
    world.finish();
    world.expect(&[]);
}

#[test]
fn memory_is_bounded() {
    let limits = StreamLimits { max_bytes: 100_000, ..StreamLimits::default() };
    let mut world = World::with(limits);
    flood(&mut world, 20, 10_000);
    assert!(world.streams.bytes() > 80_000, "{}", world.streams.bytes());
    // Those without memory are no use to evict.
    assert!(world.streams.connections() < 11);
    let evicted = world.streams.counts().given_up(GiveUp::Evicted);
    assert_eq!(evicted, 20 - world.streams.connections() as u64);
    assert_eq!(world.notes.0.len() as u64, evicted);
    world.finish();
    assert_eq!(world.notes.0.len(), 20);
    world.expect_lost([0, evicted, 0, 0], 0);

    // The least recently used gives way.
    let mut world = World::with(limits);
    flood(&mut world, 3, 20_000);
    world.client.set_port(10_000);
    world.later(1).send(Server, 20_000, &response(0, 60_000)[20_000..20_001]);
    world.client.set_port(10_009);
    world.handshake();
    world.send(Server, 0, &response(9, 60_000)[..30_000]);
    world.expect(&["server 1 19998/60000 @2"]);

    // A prefix claims nothing.
    let mut world = World::open();
    world.send(Server, 0, &response(1, 65_535)[..20]);
    assert!(world.streams.bytes() <= 64, "{}", world.streams.bytes());
}

#[test]
fn silence_ends_a_connection() {
    let mut world = World::open();
    world.send(Client, 0, &query(1, 40));
    world.send(Server, 0, &response(1, 400)[..100]);
    world.later(120_000).tick();
    assert_eq!(world.streams.connections(), 1);
    world.later(1).tick();
    world.expect(&["client 1 40 @0", "server 1 98/400 @0"]);
    world.expect_lost([0, 0, 0, 1], 0);
    assert_eq!((world.streams.connections(), world.streams.bytes()), (0, 0));
    // Without anything held nobody misses it; later data joins in the middle.
    let mut world = World::open();
    world.send(Client, 0, &query(1, 40));
    world.later(200_000).tick();
    assert_eq!(world.streams.connections(), 0);
    world.send(Client, 42, &query(2, 40));
    world.expect(&["client 1 40 @0", "client 2 40 @200000"]);
    world.expect_lost([0; 4], 0);
}

#[test]
fn the_end_of_the_capture_delivers_what_is_known() {
    let mut world = World::open();
    world.send(Client, 0, &query(1, 40)[..8]);
    world.send(Server, 0, &response(1, 400)[..100]);
    world.send(Server, 500, &response(2, 40));
    world.later(1).finish();
    // The second was behind a hole that may have held anything, but is a message by itself.
    world.expect(&["server 1 98/400 @0", "server 2 40 @0"]);
    world.expect_lost([0; 4], 0);
    assert_eq!(world.streams.counts().beginnings, 1);
}
