//! Turns lookups into frames in the order of their time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::message::{Qtype, Query, Response, SERVFAIL};
use super::packet::{self, ACK, Endpoint, FIN, PSH, SYN, Segment};
use super::random::Random;
use super::truth::Truth;
use super::world::{Conversation, World, no_such_name};

const MICROSECOND: u64 = 1_000;
const SECOND: u64 = 1_000_000_000;

/// glibc and musl both send a query again after five seconds (resolv.conf(5), `timeout`).
const RESEND_AFTER: u64 = 5 * SECOND;

/// Between two queries of the flood: 100,000 of them wait at once, and the oldest that gives way has waited for longer
/// than any answer takes.
const FLOOD_PAUSE: u64 = 20 * MICROSECOND;

/// What one segment carries on a link of 1,500 bytes, within both families' headers.
const SEGMENT_BYTES: usize = 1_440;

/// The largest UDP response: what servers have agreed on since 2020, whatever the client would take.
const UDP_BYTES: u16 = 1_232;

/// A frame and when it was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimedFrame {
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Where it stands among frames of the same time.
    sequence: u64,
    /// From the Ethernet header on.
    pub frame: Vec<u8>,
}

/// How the last candidate of a lookup ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    /// The A response does not fit: TC, then the same over TCP.
    Truncated,
    /// Both questions over one TCP connection from the start, as with `options use-vc`.
    Tcp,
    /// The A query is sent twice and never answered.
    Unanswered,
    /// The A query is lost once and answered the second time.
    Retried,
    /// The server says SERVFAIL to both.
    ServerFailed,
}

/// A question and what the server will say to it.
struct Exchange {
    query: Query,
    response: Response,
}

/// Makes the traffic of a world, lookup after lookup.
pub struct Traffic {
    world: World,
    random: Random,
    /// Frames that are made already and not yet due: the answers, and queries sent again.
    pending: BinaryHeap<Reverse<TimedFrame>>,
    made: u64,
    /// Nobody else's query goes astray, so that the truth does not depend on how many a reader keeps.
    flooded: bool,
    truth: Truth,
}

impl Traffic {
    /// Traffic of `world`, decided by `random`.
    pub fn new(world: World, random: Random) -> Self {
        Self { world, random, pending: BinaryHeap::new(), made: 0, flooded: false, truth: Truth::default() }
    }

    /// Frames made so far, taken or not.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Counts of what was made so far.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// The next frame, in order of time, that was due before `now`.
    pub fn take_before(&mut self, now: u64) -> Option<TimedFrame> {
        if self.pending.peek()?.0.time_ns >= now {
            return None;
        }
        self.pending.pop().map(|Reverse(frame)| frame)
    }

    /// Makes one lookup that begins at `start`: who, which name, and all its packets.
    pub fn lookup(&mut self, start: u64) {
        let fate = match self.fate() {
            Fate::Unanswered | Fate::Retried if self.flooded => Fate::Answered,
            fate => fate,
        };
        self.play(start, fate);
    }

    /// Makes `count` queries from `start` on that nobody answers, each for a name of its own.
    pub fn never_answered(&mut self, start: u64, count: u64) {
        self.flooded = count > 0;
        for number in 0..count {
            let client = self.world.pick_client(&mut self.random);
            let conversation = self.world.client(client).conversation();
            let qname = format!("gone-{number}.example.org");
            let query = Query { id: self.random.bits() as u16, qname, qtype: Qtype::A, edns: None };
            self.truth.never_answered += 1;
            self.truth.udp_transactions += 1;
            self.count_transaction(&query);
            let time = start + number * FLOOD_PAUSE;
            self.push(time, packet::udp(&conversation.client, &conversation.server, &query.encode()));
        }
    }

    /// Makes one query at `start` for a name that no other query has, and its denial.
    pub fn random_name(&mut self, start: u64) {
        self.truth.lookups += 1;
        self.truth.random_names += 1;
        let client = self.world.pick_client(&mut self.random);
        // The count makes it one of a kind, the number makes it hard to compress or to foresee.
        let qname = format!("{:016x}-{}.example.org", self.random.bits(), self.truth.random_names);
        let asked = self.exchange(client, qname, Qtype::A, no_such_name());
        let conversation = self.world.client(client).conversation();
        self.ask_over_udp(&conversation, start, &asked, Fate::Answered);
    }

    /// Makes the lookup that ends a capture: one that is answered, so that nothing is open at the end.
    pub fn last_lookup(&mut self, start: u64) {
        self.play(start, Fate::Answered);
    }

    fn play(&mut self, start: u64, fate: Fate) {
        self.truth.lookups += 1;
        let walks = self.random.chance(6_000);
        let name = self.world.name(walks, &mut self.random).clone();
        let client = self.world.pick_client(&mut self.random);
        let search = self.world.client(client).search.clone();
        let mut now = start;
        if walks {
            self.truth.search_lookups += 1;
            for domain in &search {
                let denied = [Qtype::A, Qtype::Aaaa].map(|qtype| {
                    let qname = format!("{}.{domain}", name.spoken);
                    self.exchange(client, qname, qtype, no_such_name())
                });
                now = self.ask_pair(client, now, &denied, Fate::Answered) + self.think();
            }
        }
        let qname = if name.service { format!("{}.{}", name.spoken, search[0]) } else { name.spoken.clone() };
        let last = [Qtype::A, Qtype::Aaaa].map(|qtype| {
            let response = match (fate, qtype) {
                (Fate::ServerFailed, _) => Response { rcode: SERVFAIL, ..Response::default() },
                (Fate::Truncated, Qtype::A) => {
                    let limit = self.world.client(client).edns.unwrap_or(512);
                    name.large_response(limit, &mut self.random)
                }
                _ => name.response(qtype),
            };
            self.exchange(client, qname.clone(), qtype, response)
        });
        if fate == Fate::Tcp {
            self.ask_over_tcp(client, now, &last);
        } else {
            self.ask_pair(client, now, &last, fate);
        }
    }

    /// Draws how a lookup ends; the shares are those of the module's doc, in 10,000.
    fn fate(&mut self) -> Fate {
        match self.random.below(10_000) {
            0..100 => Fate::Truncated,
            100..200 => Fate::Tcp,
            200..250 => Fate::Unanswered,
            250..260 => Fate::Retried,
            260..280 => Fate::ServerFailed,
            _ => Fate::Answered,
        }
    }

    fn exchange(&mut self, client: usize, qname: String, qtype: Qtype, response: Response) -> Exchange {
        let edns = self.world.client(client).edns;
        let query = Query { id: self.random.bits() as u16, qname, qtype, edns };
        Exchange { query, response }
    }

    /// What a client does between an answer and its next question.
    fn think(&mut self) -> u64 {
        self.random.between(15, 80) * MICROSECOND
    }

    /// From a query to its response: mostly out of the server's cache, one in twenty from far away.
    fn latency(&mut self) -> u64 {
        let far = self.random.chance(500);
        let mean = if far { 20_000 * MICROSECOND } else { 250 * MICROSECOND };
        60 * MICROSECOND + self.random.exponential(mean)
    }

    /// Asks A and AAAA at once from one socket, as glibc and musl do; gives the time when both are settled.
    ///
    /// `fate` holds for the A query; the AAAA query is answered always.
    fn ask_pair(&mut self, client: usize, start: u64, pair: &[Exchange; 2], fate: Fate) -> u64 {
        let [a, aaaa] = pair;
        let conversation = self.world.client(client).conversation();
        let second = start + self.random.between(5, 20) * MICROSECOND;
        let a_settled = self.ask_over_udp(&conversation, start, a, fate);
        let aaaa_settled = self.ask_over_udp(&conversation, second, aaaa, Fate::Answered);
        let settled = a_settled.max(aaaa_settled);
        if fate == Fate::Truncated {
            let again = settled + self.think();
            return self.ask_over_tcp(client, again, std::slice::from_ref(a));
        }
        settled
    }

    fn ask_over_udp(&mut self, conversation: &Conversation, start: u64, asked: &Exchange, fate: Fate) -> u64 {
        self.truth.udp_transactions += 1;
        self.count_transaction(&asked.query);
        let query = asked.query.encode();
        self.push(start, packet::udp(&conversation.client, &conversation.server, &query));
        let mut sent = start;
        if matches!(fate, Fate::Unanswered | Fate::Retried) {
            sent = start + RESEND_AFTER + self.random.between(20, 900) * MICROSECOND;
            self.truth.retransmits += 1;
            self.push(sent, packet::udp(&conversation.client, &conversation.server, &query));
        }
        if fate == Fate::Unanswered {
            return sent + RESEND_AFTER;
        }
        let answered = sent + self.latency();
        let response = if fate == Fate::Truncated {
            self.truth.truncated += 1;
            let limit = asked.query.edns.unwrap_or(512).min(UDP_BYTES);
            asked.response.encode_truncated(&asked.query, usize::from(limit))
        } else {
            asked.response.encode(&asked.query)
        };
        self.truth.udp_responses += 1;
        // As the file has it, in whole microseconds.
        self.truth.udp_latency_us += answered / MICROSECOND - start / MICROSECOND;
        self.truth.count_response(&asked.response);
        self.push(answered, packet::udp(&conversation.server, &conversation.client, &response));
        answered
    }

    /// One TCP connection from SYN to the last ACK, with all questions sent at once; gives the time of its end.
    fn ask_over_tcp(&mut self, client: usize, start: u64, asked: &[Exchange]) -> u64 {
        let conversation = self.world.client(client).conversation();
        let round_trip = self.random.between(40, 200) * MICROSECOND;
        let sequences = [self.random.bits() as u32, self.random.bits() as u32];
        let mut stream = Stream { conversation, sequences, now: start, traffic: self };
        stream.open(round_trip);
        let queries: Vec<u8> = asked.iter().flat_map(|exchange| prefixed(&exchange.query.encode())).collect();
        stream.send(Side::Client, &queries);
        stream.acknowledge(Side::Server, round_trip);
        for exchange in asked {
            let latency = stream.traffic.latency();
            stream.now += latency;
            stream.send(Side::Server, &prefixed(&exchange.response.encode(&exchange.query)));
            stream.acknowledge(Side::Client, 10 * MICROSECOND);
        }
        stream.close(round_trip);
        let end = stream.now;
        self.truth.tcp_connections += 1;
        for exchange in asked {
            self.truth.tcp_transactions += 1;
            self.truth.tcp_responses += 1;
            self.count_transaction(&exchange.query);
            self.truth.count_response(&exchange.response);
        }
        end
    }

    fn count_transaction(&mut self, query: &Query) {
        self.truth.count_qtype(query.qtype);
        self.truth.edns += u64::from(query.edns.is_some());
    }

    fn push(&mut self, time_ns: u64, frame: Vec<u8>) {
        self.truth.packets += 1;
        // The EtherType, and the protocol of an IPv4 or the next header of an IPv6 packet.
        let ipv6 = frame[12..14] == [0x86, 0xdd];
        let protocol = if ipv6 { frame[20] } else { frame[23] };
        self.truth.ipv6_packets += u64::from(ipv6);
        self.truth.tcp_packets += u64::from(protocol == 6);
        if self.truth.first_ns == 0 || time_ns < self.truth.first_ns {
            self.truth.first_ns = time_ns;
        }
        self.truth.last_ns = self.truth.last_ns.max(time_ns);
        self.made += 1;
        self.pending.push(Reverse(TimedFrame { time_ns, sequence: self.made, frame }));
    }
}

/// A message as it stands in a TCP stream, behind its length (RFC 1035 section 4.2.2).
fn prefixed(message: &[u8]) -> Vec<u8> {
    let mut bytes = (message.len() as u16).to_be_bytes().to_vec();
    bytes.extend(message);
    bytes
}

/// Who sends a segment.
#[derive(Clone, Copy, Debug)]
enum Side {
    Client,
    Server,
}

/// A TCP connection that is being played.
struct Stream<'a> {
    conversation: Conversation,
    /// The next sequence number of the client and of the server.
    sequences: [u32; 2],
    now: u64,
    traffic: &'a mut Traffic,
}

impl Stream<'_> {
    /// SYN, SYN and ACK, ACK.
    fn open(&mut self, round_trip: u64) {
        let server_next = self.sequences[1];
        self.sequences[1] = 0;
        self.segment(Side::Client, SYN, &[], 0);
        self.sequences[1] = server_next;
        self.segment(Side::Server, SYN | ACK, &[], round_trip);
        self.segment(Side::Client, ACK, &[], 10 * MICROSECOND);
    }

    /// `bytes` in as many segments as they take.
    fn send(&mut self, side: Side, bytes: &[u8]) {
        let count = bytes.len().div_ceil(SEGMENT_BYTES);
        for (index, part) in bytes.chunks(SEGMENT_BYTES).enumerate() {
            let push = if index + 1 == count { PSH } else { 0 };
            self.segment(side, ACK | push, part, 5 * MICROSECOND);
        }
    }

    fn acknowledge(&mut self, side: Side, after: u64) {
        self.segment(side, ACK, &[], after);
    }

    /// FIN from the client, FIN and ACK from the server, ACK.
    fn close(&mut self, round_trip: u64) {
        self.segment(Side::Client, FIN | ACK, &[], 20 * MICROSECOND);
        self.segment(Side::Server, FIN | ACK, &[], round_trip);
        self.segment(Side::Client, ACK, &[], 10 * MICROSECOND);
    }

    /// One segment, `after` the one before; SYN and FIN each take a sequence number.
    fn segment(&mut self, side: Side, flags: u8, payload: &[u8], after: u64) {
        self.now += after;
        let Conversation { client, server } = &self.conversation;
        let (own, from, to): (usize, &Endpoint, &Endpoint) = match side {
            Side::Client => (0, client, server),
            Side::Server => (1, server, client),
        };
        let segment =
            Segment { sequence: self.sequences[own], acknowledgement: self.sequences[1 - own], flags };
        let frame = packet::tcp(from, to, segment, payload);
        let taken = payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        self.sequences[own] = self.sequences[own].wrapping_add(taken);
        self.traffic.push(self.now, frame);
    }
}
