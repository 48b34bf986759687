//! What follows a truncated response, told as one line each.

use std::net::SocketAddr;

use super::*;
use crate::correlate::{Parties, Vantage};
use crate::dns::tests::{dotted, message, question};
use crate::dns::{self, Message};

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// A client at 10.0.0.2, what it does at some millisecond, and what is said of it.
#[derive(Default)]
struct Bench {
    fallbacks: Fallbacks,
    said: Vec<String>,
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos((1_000_000 + millis) * 1_000_000)
}

fn address(host: u16, port: u16) -> SocketAddr {
    let [high, low] = host.to_be_bytes();
    SocketAddr::from(([10, 0, high, low], port))
}

fn parse(id: u16, flags: u16) -> Message {
    let wire = message(id, flags, [1, 0, 0, 0], &[question(dotted("big.example"), 1)]);
    dns::parse(&wire, wire.len()).unwrap()
}

impl Bench {
    /// A transaction that took 1 ms, with these bits beside QR and RD in its response; `None`: unanswered.
    fn closed(
        &mut self,
        millis: u64,
        near: SocketAddr,
        server: u16,
        transport: Transport,
        flags: Option<u16>,
    ) {
        let parties = Parties {
            vantage: Vantage::Unknown,
            place: None,
            client: near,
            server: address(server, 53),
            transport,
        };
        let Message::Query(query) = parse(7, 0x0100) else { panic!("a query") };
        let question = query.question.clone();
        let sent = Sent::new(parties, at(millis - 1), &query, (0, 0), false);
        assert_eq!(sent.question, question);
        let outcome = match flags.map(|flags| parse(7, 0x8100 | flags)) {
            Some(Message::Response(response)) => {
                Outcome::Answered { response, latency: Duration::from_millis(1) }
            }
            _ => Outcome::Unanswered { waited: Duration::from_millis(1) },
        };
        let transaction = Transaction {
            parties,
            query,
            name_key: 0,
            number: 0,
            first_sent: at(millis - 1),
            sends: 1,
            echo: false,
            outcome,
        };
        for event in [Event::Opened(sent), Event::Closed(transaction)] {
            self.fallbacks.event(&event, &mut |what| self.said.push(line(&what)));
        }
    }

    fn truncated(&mut self, millis: u64) {
        self.closed(millis, address(2, 40_000), 53, Transport::Udp, Some(0x0200));
    }

    fn segment(&mut self, millis: u64, to_server: bool, flags: u8, data: usize) {
        let (near, server) = (address(2, 50_000), address(53, 53));
        let (source, destination) = if to_server { (near, server) } else { (server, near) };
        let header = TcpHeader { sequence: millis as u32, acknowledgement: 0, flags };
        let flow = Flow { source, destination, transport: Transport::Tcp };
        let segment = Segment { time: at(millis), place: None, flow, to_server, header, data };
        self.fallbacks.segment(&segment, &mut |what| self.said.push(line(&what)));
    }

    fn tick(&mut self, millis: u64) {
        self.fallbacks.tick(at(millis), &mut |what| self.said.push(line(&what)));
    }

    #[track_caller]
    fn check(&self, expected: &[&str]) {
        assert_eq!(self.said, expected);
    }
}

fn line(what: &Followed) -> String {
    match what {
        Followed::Fallback(fallback) => match &fallback.then {
            Then::Tcp { cost, length } => format!("tcp after {} ms, {length} B", cost.as_millis()),
            other => format!("{other:?}"),
        },
        Followed::Attempt(attempt) => {
            let why = if attempt.after_truncation { " after TC" } else { "" };
            format!("{:?} to {} SYN{why}", attempt.obstacle, attempt.syns)
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn nothing_is_said_after_two_seconds_and_not_before() {
    let mut bench = Bench::default();
    bench.truncated(10);
    bench.tick(2010);
    bench.check(&[]);
    bench.tick(2011);
    bench.check(&["Nothing"]);
    bench.tick(100_000);
    bench.check(&["Nothing"]);
}

#[test]
fn tcp_has_its_cost_and_its_length() {
    let mut bench = Bench::default();
    bench.truncated(10);
    bench.segment(11, true, SYN, 0);
    bench.segment(12, false, SYN | ACK, 0);
    bench.segment(13, true, ACK, 31);
    bench.tick(2500);
    bench.check(&[]);
    bench.closed(2600, address(2, 50_000), 53, Transport::Tcp, Some(0));
    bench.check(&["tcp after 2590 ms, 29 B"]);
}

#[test]
fn tcp_without_an_answer() {
    let mut bench = Bench::default();
    bench.truncated(10);
    bench.segment(11, true, SYN, 0);
    bench.segment(12, false, SYN | ACK, 0);
    bench.closed(13, address(2, 50_000), 53, Transport::Tcp, None);
    bench.check(&["TcpUnanswered"]);
}

#[test]
fn rst_is_told_at_once_and_silence_after_three_seconds() {
    let mut bench = Bench::default();
    bench.truncated(10);
    bench.segment(11, true, SYN, 0);
    bench.segment(12, false, RST | ACK, 0);
    bench.check(&["Blocked(Reset)", "Reset to 1 SYN after TC"]);
    let mut bench = Bench::default();
    bench.truncated(10);
    bench.segment(11, true, SYN, 0);
    bench.segment(1011, true, SYN, 0);
    bench.tick(3011);
    bench.check(&[]);
    bench.tick(3012);
    bench.check(&["Blocked(Silence)", "Silence to 2 SYN after TC"]);
}

#[test]
fn a_question_in_a_syn_that_is_not_taken_is_blocked() {
    // TCP Fast Open, as musl from 1.2.4 on has it: the question is read though nobody took it.
    let mut bench = Bench::default();
    bench.truncated(10);
    bench.segment(11, true, SYN, 31);
    let parties = Parties {
        vantage: Vantage::Unknown,
        place: None,
        client: address(2, 50_000),
        server: address(53, 53),
        transport: Transport::Tcp,
    };
    let Message::Query(query) = parse(7, 0x0100) else { panic!("a query") };
    let opened = Event::Opened(Sent::new(parties, at(11), &query, (0, 0), false));
    bench.fallbacks.event(&opened, &mut |_| {});
    bench.tick(3012);
    bench.check(&["Blocked(Silence)", "Silence to 1 SYN after TC"]);
}

#[test]
fn the_same_syn_at_the_next_interface_is_one() {
    let mut bench = Bench::default();
    let header = TcpHeader { sequence: 99, acknowledgement: 0, flags: SYN };
    for server in [address(53, 53), address(153, 53)] {
        let flow = Flow { source: address(2, 50_000), destination: server, transport: Transport::Tcp };
        let segment = Segment { time: at(10), place: None, flow, to_server: true, header, data: 0 };
        bench.fallbacks.segment(&segment, &mut |_| {});
    }
    bench.tick(4000);
    bench.check(&["Silence to 1 SYN"]);
}

#[test]
fn another_servers_whole_answer_makes_up_for_it() {
    for flags in [0, 3] {
        let mut bench = Bench::default();
        bench.truncated(10);
        bench.closed(11, address(2, 40_000), 54, Transport::Udp, Some(flags));
        bench.check(&["OtherServer"]);
    }
    // SERVFAIL and REFUSED do not.
    for flags in [2, 5] {
        let mut bench = Bench::default();
        bench.truncated(10);
        bench.closed(11, address(2, 40_000), 54, Transport::Udp, Some(flags));
        bench.check(&[]);
    }
    let mut bench = Bench::default();
    bench.closed(9, address(2, 40_000), 54, Transport::Udp, Some(0));
    bench.truncated(10);
    bench.check(&["OtherServer"]);
}

#[test]
fn the_end_of_the_capture_leaves_it_open() {
    let mut bench = Bench::default();
    bench.truncated(10);
    bench.fallbacks.finish(at(1000), &mut |what| bench.said.push(line(&what)));
    bench.check(&["Unknown"]);
}

#[test]
fn a_storm_of_truncated_responses_keeps_its_bounds_and_its_verdicts() {
    let mut bench = Bench::default();
    let mut most = 0;
    // 1,000 clients with 40 each, and as many connections that come to nothing.
    for round in 0..40 {
        for host in 0..1000 {
            let near = address(1000 + host, 40_000 + round);
            bench.closed(10 + u64::from(round), near, 53, Transport::Udp, Some(0x0200));
            let (waiting, pairs, _, connections) = bench.fallbacks.sizes();
            most = most.max(waiting);
            assert!(waiting <= 8192 && pairs <= 4096 && connections <= 4096);
        }
    }
    assert_eq!(most, 8192);
    bench.tick(10_000);
    assert_eq!(bench.said.len(), 8192);
    assert!(bench.said.iter().all(|said| said == "Nothing"));
    assert_eq!(bench.fallbacks.sizes().0, 0);
}

#[test]
fn clients_that_come_back_at_once_leave_no_notes_behind() {
    let mut bench = Bench::default();
    let (mut most, clients) = (0, 20_000);
    for host in 0..clients {
        for port in [40_000, 40_001] {
            let near = address(100 + host, port);
            bench.closed(10, near, 53, Transport::Udp, Some(0x0200));
            bench.closed(10, near, 53, Transport::Tcp, Some(0));
        }
        let (waiting, _, notes, _) = bench.fallbacks.sizes();
        assert_eq!(waiting, 0);
        most = most.max(notes);
    }
    // The last one that waits while all others are thrown away has its verdict.
    bench.closed(11, address(1, 40_000), 53, Transport::Udp, Some(0x0200));
    bench.tick(10_000);
    assert_eq!((most, bench.said.len()), (4 * 8192, 2 * usize::from(clients) + 1));
    assert_eq!(bench.said.last().map(String::as_str), Some("Nothing"));
}
