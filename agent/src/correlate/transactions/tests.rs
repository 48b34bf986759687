//! What becomes of queries and responses, told as one line per step.

use super::*;
use crate::capture::frame::{Direction, Place};
use crate::dns::tests::{dotted, message, question};
use crate::dns::{self, RecordType};
use crate::packet::Flow;

/// Plays messages and ticks to a correlator and writes down what it says.
///
/// A step is `TIME WHAT …`, the time in milliseconds: `tick`, `end`, `blind CLIENT:PORT`, or a message as
/// `TIME ?|! CLIENT:PORT ID TYPE NAME`, `?` a query and `!` a response; `-` for `TYPE NAME` is no question. Further
/// words: `at=pod|server|uplink|eth|lo|file` (pod), `from=`, `to=` the server's last octet (53), `port=` the
/// server's (53), `hop=` (64), `rcode=`, `tcp`. `eth` is an uplink whose source cannot see sockets.
struct Bench {
    correlator: Correlator,
    said: Vec<String>,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self { correlator: Correlator::new(limits), said: Vec::new() }
    }

    fn step(&mut self, step: &str) {
        let words: Vec<&str> = step.split_whitespace().collect();
        let millis: f64 = words[0].parse().unwrap();
        let time = Timestamp::from_nanos((millis * 1e6) as u64);
        let said = &mut self.said;
        let mut emit = |event| said.push(tell(&event));
        match words[1] {
            "tick" => self.correlator.tick(time, &mut emit),
            "end" => self.correlator.finish(time, &mut emit),
            "blind" => {
                let client = format!("10.0.0.{}", words[2]).parse().unwrap();
                self.correlator.blind(client, "10.0.0.53:53".parse().unwrap(), time);
            }
            _ => drop(self.correlator.observe(observation(time, &words[1..]), &mut emit)),
        }
    }
}

fn observation(time: Timestamp, words: &[&str]) -> Observation {
    let to_server = words[0] == "?";
    let option = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let (host, port) = words[1].split_once(':').unwrap();
    let client: SocketAddr = format!("10.0.0.{host}:{port}").parse().unwrap();
    let host = option("from").or(option("to")).unwrap_or("53");
    let server: SocketAddr = format!("10.0.0.{host}:{}", option("port").unwrap_or("53")).parse().unwrap();
    let (source, destination) = if to_server { (client, server) } else { (server, client) };
    let transport = if words.contains(&"tcp") { Transport::Tcp } else { Transport::Udp };
    let asked = (words[3] != "-").then(|| {
        let qtype = match words[3] {
            "A" => RecordType::A,
            "AAAA" => RecordType::AAAA,
            other => panic!("{other}"),
        };
        question(dotted(words[4]), qtype.0)
    });
    let rcode = option("rcode").map_or(0, |rcode| rcode.parse().unwrap());
    let flags = if to_server { 0x0100 } else { 0x8180 | rcode };
    let parts: Vec<Vec<u8>> = asked.into_iter().collect();
    let wire = message(words[2].parse().unwrap(), flags, [parts.len() as u16, 0, 0, 0], &parts);
    Observation {
        time,
        place: place(option("at").unwrap_or("pod"), to_server),
        flow: Flow { source, destination, transport },
        hop_limit: option("hop").map_or(64, |hop| hop.parse().unwrap()),
        to_server,
        message: dns::parse(&wire, wire.len()).unwrap(),
    }
}

fn place(at: &str, to_server: bool) -> Option<Place> {
    use Direction::{Egress, Ingress};
    use InterfaceKind::{Loopback, Pod, Uplink};
    let out = |yes: bool| if yes { Egress } else { Ingress };
    let (ifindex, kind, direction, local_socket) = match at {
        "pod" => (2, Pod, out(!to_server), None),
        "pod2" => (3, Pod, out(!to_server), None),
        "server" => (4, Pod, out(to_server), None),
        "uplink" => (5, Uplink, out(to_server), Some(false)),
        "uplink2" => (6, Uplink, out(to_server), Some(false)),
        "inbound" => (5, Uplink, out(!to_server), None),
        "node" => (5, Uplink, out(to_server), Some(true)),
        "eth" => (5, Uplink, out(to_server), None),
        "lo" => (1, Loopback, Egress, Some(true)),
        "file" => return None,
        other => panic!("{other}"),
    };
    Some(Place { ifindex: Ifindex(ifindex), kind, direction, local_socket, cgroup: None })
}

fn tell(event: &Event) -> String {
    let of = |parties: &Parties| {
        let last = |address: SocketAddr| address.ip().to_string().split('.').next_back().unwrap().to_owned();
        let at = match parties.vantage {
            Vantage::Client => String::new(),
            other => format!(" at {}", other.as_str()),
        };
        format!("{}:{}{at}", last(parties.client), parties.client.port())
    };
    match event {
        Event::Opened(Sent { parties, question, .. }) => {
            let qtype = question.as_ref().map_or("-".into(), |question| question.qtype.to_string());
            format!("open {} {qtype}", of(parties))
        }
        Event::Retransmitted(sent) => format!("again {}", of(&sent.parties)),
        Event::Closed(transaction) => {
            let (outcome, duration) = match &transaction.outcome {
                Outcome::Answered { response, latency } => (response.rcode.to_string(), *latency),
                Outcome::Unanswered { waited } => ("unanswered".into(), *waited),
                Outcome::Unseen { waited } => ("unseen".into(), *waited),
                Outcome::Waiting { waited } => ("waiting".into(), *waited),
            };
            let asked = transaction.query.question.as_ref();
            let asked = asked.map_or("-".into(), |asked| format!("{} {}", asked.qtype, asked.qname));
            let sends = transaction.sends;
            let sends = if sends > 1 { format!(" sends {sends}") } else { String::new() };
            let echo = if transaction.echo { " echo" } else { "" };
            let millis = duration.as_micros() as f64 / 1e3;
            format!("{} {asked} {outcome} {millis}{sends}{echo}", of(&transaction.parties))
        }
        Event::Late { stray, latency } => {
            format!("late {} {}", of(&stray.parties), latency.as_micros() as f64 / 1e3)
        }
        Event::Orphan { stray, reason: OrphanReason::NoQuery } => {
            format!("orphan {}", of(&stray.parties))
        }
        Event::Orphan { stray, reason: OrphanReason::Duplicate } => {
            format!("duplicate {}", of(&stray.parties))
        }
        Event::Copy => "copy".into(),
        Event::Evicted { .. } => "evicted".into(),
    }
}

#[track_caller]
fn check_with(limits: Limits, steps: &[&str], expected: &[&str]) {
    let mut bench = Bench::new(limits);
    steps.iter().for_each(|step| bench.step(step));
    assert_eq!(bench.said, expected);
}

#[track_caller]
fn check(steps: &[&str], expected: &[&str]) {
    check_with(Limits::default(), steps, expected);
}

#[test]
fn a_query_is_answered() {
    check(
        &["0 ? 1:1000 7 A a.test", "1.5 ! 1:1000 7 A a.test", "60000 end"],
        &["open 1:1000 A", "1:1000 A a.test. NOERROR 1.5"],
    );
    check(
        &["0 ? 1:1000 7 A a.test tcp", "1.5 ! 1:1000 7 A a.test tcp rcode=3", "60000 end"],
        &["open 1:1000 A", "1:1000 A a.test. NXDOMAIN 1.5"],
    );
}

#[test]
fn an_answer_that_nobody_could_see_is_not_said_to_be_missing() {
    let play = |blind: &str, words: &str, expected: &str| {
        let query = format!("1000 ? 1:1000 7 A a.test {words}");
        check(&[&query, blind, "8000 tick"], &["open 1:1000 A", expected]);
    };
    let (unseen, unanswered) = ("1:1000 A a.test. unseen 6000", "1:1000 A a.test. unanswered 6000");
    play("2000 blind 1:1000", "tcp", unseen);
    play("1000 blind 1:1000", "tcp", unseen);
    // Before the query, another connection, another transport.
    play("999 blind 1:1000", "tcp", unanswered);
    play("2000 blind 1:1001", "tcp", unanswered);
    play("2000 blind 1:1000", "", unanswered);
    // What is seen all the same counts.
    check(
        &["1000 ? 1:1000 7 A a.test tcp", "1001 blind 1:1000", "1002 ! 1:1000 7 A a.test tcp", "8000 tick"],
        &["open 1:1000 A", "1:1000 A a.test. NOERROR 2"],
    );
}

#[test]
fn two_clients_may_use_one_id_at_once() {
    check(
        &[
            "0 ? 1:1000 7 A a.test",
            "1 ? 2:1000 7 A b.test at=pod2",
            "2 ? 1:1001 7 A c.test",
            "3 ! 2:1000 7 A b.test at=pod2",
            "4 ! 1:1001 7 A c.test",
            "5 ! 1:1000 7 A a.test",
            "60000 end",
        ],
        &[
            "open 1:1000 A",
            "open 2:1000 A",
            "open 1:1001 A",
            "2:1000 A b.test. NOERROR 2",
            "1:1001 A c.test. NOERROR 2",
            "1:1000 A a.test. NOERROR 5",
        ],
    );
}

#[test]
fn two_pods_may_share_an_address_behind_their_own_interfaces() {
    check(
        &[
            "0 ? 1:1000 7 A a.test",
            "1 ? 1:1000 7 A a.test at=pod2",
            "2 ! 1:1000 7 A a.test at=pod2",
            "4 ! 1:1000 7 A a.test",
        ],
        &["open 1:1000 A", "open 1:1000 A", "1:1000 A a.test. NOERROR 1", "1:1000 A a.test. NOERROR 4"],
    );
}

#[test]
fn one_id_may_carry_two_questions() {
    // An old musl derives both IDs from the clock, which may stand still between them.
    check(
        &[
            "0 ? 1:1000 7 A a.test",
            "0.1 ? 1:1000 7 AAAA a.test",
            "2 ! 1:1000 7 AAAA a.test rcode=2",
            "3 ! 1:1000 7 A a.test",
            "60000 end",
        ],
        &[
            "open 1:1000 A",
            "open 1:1000 AAAA",
            "1:1000 AAAA a.test. SERVFAIL 1.9",
            "1:1000 A a.test. NOERROR 3",
        ],
    );
    // The port and ID used again for the next name, while the first is still open.
    check(
        &["0 ? 1:1000 7 A a.test", "1 ? 1:1000 7 A b.test", "2 ! 1:1000 7 A b.test", "7000 tick"],
        &["open 1:1000 A", "open 1:1000 A", "1:1000 A b.test. NOERROR 1", "1:1000 A a.test. unanswered 6000"],
    );
}

#[test]
fn unanswered_is_6_s_after_the_last_send() {
    let opened = "open 1:1000 A";
    check(&["0 ? 1:1000 7 A a.test", "6000 tick"], &[opened]);
    check(&["0 ? 1:1000 7 A a.test", "6000.001 tick"], &[opened, "1:1000 A a.test. unanswered 6000"]);
    check(
        &["0 ? 1:1000 7 A a.test", "2500 ? 1:1000 7 A a.test", "8500 tick", "8501 tick"],
        &[opened, "again 1:1000", "1:1000 A a.test. unanswered 8500 sends 2"],
    );
    check(&["0 ? 1:1000 7 A a.test", "5999 end"], &[opened, "1:1000 A a.test. waiting 5999"]);
    check(&["0 ? 1:1000 7 A a.test", "6001 end"], &[opened, "1:1000 A a.test. unanswered 6000"]);
}

#[test]
fn unanswered_is_at_most_30_s_after_the_first_send() {
    let sends: Vec<String> = (0..8).map(|send| format!("{} ? 1:1000 7 A a.test", send * 4000)).collect();
    let mut steps: Vec<&str> = sends.iter().map(String::as_str).collect();
    steps.extend(["30000 tick", "30001 tick"]);
    let mut expected = vec!["open 1:1000 A"];
    expected.extend(["again 1:1000"; 7]);
    expected.push("1:1000 A a.test. unanswered 30000 sends 8");
    check(&steps, &expected);
    // A send after that is another query.
    steps.truncate(8);
    steps.extend(["32000 ? 1:1000 7 A a.test", "32001 ! 1:1000 7 A a.test"]);
    expected.extend(["open 1:1000 A", "1:1000 A a.test. NOERROR 1"]);
    check(&steps, &expected);
}

#[test]
fn a_query_sent_again_is_the_same_transaction() {
    // glibc, 5 s later.
    check(
        &["0 ? 1:1000 7 A a.test", "5000 ? 1:1000 7 A a.test", "5003 ! 1:1000 7 A a.test", "60000 end"],
        &["open 1:1000 A", "again 1:1000", "1:1000 A a.test. NOERROR 5003 sends 2"],
    );
    // musl, 2.5 s later, and only the one of the pair that has no answer.
    check(
        &[
            "0 ? 1:1000 7 A a.test",
            "0.1 ? 1:1000 8 AAAA a.test",
            "1 ! 1:1000 7 A a.test",
            "2500 ? 1:1000 8 AAAA a.test",
            "2502 ! 1:1000 8 AAAA a.test",
            "60000 end",
        ],
        &[
            "open 1:1000 A",
            "open 1:1000 AAAA",
            "1:1000 A a.test. NOERROR 1",
            "again 1:1000",
            "1:1000 AAAA a.test. NOERROR 2501.9 sends 2",
        ],
    );
    // The same ID from another port is not.
    check(&["0 ? 1:1000 7 A a.test", "5000 ? 1:1001 7 A a.test"], &["open 1:1000 A", "open 1:1001 A"]);
}

#[test]
fn a_query_right_behind_its_servfail_is_a_new_transaction() {
    for at in ["pod", "file"] {
        let steps = [
            "0 ? 1:1000 7 A a.test at=",
            "1 ! 1:1000 7 A a.test rcode=2 at=",
            "1.2 ? 1:1000 7 A a.test at=",
            "2 ! 1:1000 7 A a.test at=",
            "60000 end",
        ]
        .map(|step| step.replace("at=", &format!("at={at}")));
        let expected = [
            "open 1:1000@ A",
            "1:1000@ A a.test. SERVFAIL 1",
            "open 1:1000@ A",
            "again 1:1000@",
            "1:1000@ A a.test. NOERROR 0.8",
        ]
        .map(|line| line.replace('@', if at == "file" { " at unknown" } else { "" }));
        check(&steps.each_ref().map(String::as_str), &expected.each_ref().map(String::as_str));
    }
    // glibc's self-heal asks again what was answered; after 10 s it is a new question.
    let steps = ["0 ? 1:1000 7 A a.test", "1 ! 1:1000 7 A a.test", "10001 ? 1:1000 7 A a.test"];
    check(&steps, &["open 1:1000 A", "1:1000 A a.test. NOERROR 1", "open 1:1000 A", "again 1:1000"]);
    let steps = ["0 ? 1:1000 7 A a.test", "1 ! 1:1000 7 A a.test", "10002 ? 1:1000 7 A a.test"];
    check(&steps, &["open 1:1000 A", "1:1000 A a.test. NOERROR 1", "open 1:1000 A"]);
}

#[test]
fn a_response_after_the_time_out_is_late_once() {
    let expected =
        ["open 1:1000 A", "1:1000 A a.test. unanswered 6000", "late 1:1000 7000", "duplicate 1:1000"];
    let (ask, answer, again) =
        ("0 ? 1:1000 7 A a.test", "7000 ! 1:1000 7 A a.test", "7001 ! 1:1000 7 A a.test");
    check(&[ask, "6500 tick", answer, again, "60000 end"], &expected);
    // Whether or not the watermark came by in between.
    check(&[ask, answer, again, "60000 end"], &expected);
    // Nor does it matter that the response repeats no question.
    check(&[ask, "7000 ! 1:1000 7 - rcode=5"], &expected[..3]);
    // In time to the last moment.
    check(&[ask, "6000 ! 1:1000 7 A a.test"], &["open 1:1000 A", "1:1000 A a.test. NOERROR 6000"]);
    // Nor does another question that has taken its ID and port in between.
    check(
        &[ask, "6500 ? 1:1000 7 A b.test", "6501 ! 1:1000 7 A b.test", answer, again],
        &[
            "open 1:1000 A",
            "open 1:1000 A",
            "1:1000 A b.test. NOERROR 1",
            "1:1000 A a.test. unanswered 6000",
            "late 1:1000 7000",
            "duplicate 1:1000",
        ],
    );
    // Not remembered for ever.
    check(
        &[ask, "6500 tick", "36001 ! 1:1000 7 A a.test", "37000 tick"],
        &["open 1:1000 A", "1:1000 A a.test. unanswered 6000", "orphan 1:1000"],
    );
}

#[test]
fn a_second_response_is_a_duplicate() {
    check(
        &["0 ? 1:1000 7 A a.test", "1 ! 1:1000 7 A a.test", "1.1 ! 1:1000 7 A a.test", "60000 end"],
        &["open 1:1000 A", "1:1000 A a.test. NOERROR 1", "duplicate 1:1000"],
    );
    // From a pod of the same node: at each of the two interfaces one response and one duplicate.
    check(
        &[
            "0 ? 1:1000 7 A a.test",
            "0.01 ? 1:1000 7 A a.test at=server hop=63",
            "1 ! 1:1000 7 A a.test at=server",
            "1.01 ! 1:1000 7 A a.test hop=63",
            "3000 ! 1:1000 7 A a.test at=server",
            "3000.01 ! 1:1000 7 A a.test hop=63",
        ],
        &[
            "open 1:1000 A",
            "open 1:1000 at server A",
            "1:1000 at server A a.test. NOERROR 0.99 echo",
            "1:1000 A a.test. NOERROR 1.01",
            "duplicate 1:1000 at server",
            "duplicate 1:1000",
        ],
    );
    // In a file the same message within 5 ms is a copy, later it is a duplicate.
    check(
        &[
            "0 ? 1:1000 7 A a.test at=file",
            "1 ! 1:1000 7 A a.test at=file",
            "5 ! 1:1000 7 A a.test at=file",
            "11 ! 1:1000 7 A a.test at=file",
        ],
        &[
            "open 1:1000 at unknown A",
            "1:1000 at unknown A a.test. NOERROR 1",
            "copy",
            "duplicate 1:1000 at unknown",
        ],
    );
}

#[test]
fn a_response_without_a_query_is_an_orphan_after_10_ms() {
    check(&["0 ! 1:1000 7 A a.test", "10 tick"], &[]);
    check(&["0 ! 1:1000 7 A a.test", "10.001 tick"], &["orphan 1:1000"]);
    check(&["0 ! 1:1000 7 A a.test", "1 end"], &["orphan 1:1000"]);
    // The wrong question, server, port or transport answers nothing.
    for wrong in [
        "7 A b.test",
        "7 AAAA a.test",
        "8 A a.test",
        "7 A a.test from=54",
        "7 A a.test port=54",
        "7 A a.test tcp",
    ] {
        let answer = format!("1 ! 1:1000 {wrong}");
        check(
            &["0 ? 1:1000 7 A a.test", &answer, "2 end"],
            &["open 1:1000 A", "orphan 1:1000", "1:1000 A a.test. waiting 2"],
        );
    }
}

#[test]
fn a_response_may_be_seen_10_ms_before_its_query() {
    check(
        &["100 ! 1:1000 7 A a.test", "105 ? 1:1000 7 A a.test", "60000 end"],
        &["open 1:1000 A", "1:1000 A a.test. NOERROR 0"],
    );
    // Delivered before, seen after.
    check(
        &["101 ! 1:1000 7 A a.test", "100 ? 1:1000 7 A a.test", "60000 end"],
        &["open 1:1000 A", "1:1000 A a.test. NOERROR 1"],
    );
    check(
        &["100 ! 1:1000 7 A a.test", "115 ? 1:1000 7 A a.test", "120 end"],
        &["open 1:1000 A", "orphan 1:1000", "1:1000 A a.test. waiting 5"],
    );
    check(
        &["100 ! 1:1000 7 A b.test", "105 ? 1:1000 7 A a.test", "120 end"],
        &["open 1:1000 A", "orphan 1:1000", "1:1000 A a.test. waiting 15"],
    );
}

#[test]
fn a_response_without_question_matches_by_addresses_ports_and_id() {
    check(
        &["0 ? 1:1000 7 A a.test", "1 ! 1:1000 7 - rcode=5", "60000 end"],
        &["open 1:1000 A", "1:1000 A a.test. REFUSED 1"],
    );
    check(
        &["0 ? 1:1000 7 A a.test", "0 ? 1:1000 8 AAAA a.test", "1 ! 1:1000 8 - rcode=5"],
        &["open 1:1000 A", "open 1:1000 AAAA", "1:1000 AAAA a.test. REFUSED 1"],
    );
    // Of two questions under one ID the older one gets it.
    check(
        &[
            "0 ? 1:1000 7 A a.test",
            "1 ? 1:1000 7 AAAA a.test",
            "2 ! 1:1000 7 - rcode=5",
            "3 ! 1:1000 7 - rcode=5",
        ],
        &["open 1:1000 A", "open 1:1000 AAAA", "1:1000 A a.test. REFUSED 2", "1:1000 AAAA a.test. REFUSED 2"],
    );
    check(&["0 ? 1:1000 7 -", "1 ! 1:1000 7 - rcode=1"], &["open 1:1000 -", "1:1000 - FORMERR 1"]);
}

#[test]
fn names_match_in_any_case() {
    check(
        &["0 ? 1:1000 7 A a.TeSt", "1 ! 1:1000 7 A A.test", "60000 end"],
        &["open 1:1000 A", "1:1000 A a.TeSt. NOERROR 1"],
    );
    check(&["0 ? 1:1000 7 A a.test", "1000 ? 1:1000 7 A A.TEST"], &["open 1:1000 A", "again 1:1000"]);
}

#[test]
fn a_query_seen_again_on_its_way_is_an_echo() {
    let steps = [
        "0 ? 1:1000 7 A a.test",
        "0.01 ? 1:1000 7 A a.test at=server hop=63",
        "1 ! 1:1000 7 A a.test at=server",
        "1.01 ! 1:1000 7 A a.test hop=63",
    ];
    check(
        &steps,
        &[
            "open 1:1000 A",
            "open 1:1000 at server A",
            "1:1000 at server A a.test. NOERROR 0.99 echo",
            "1:1000 A a.test. NOERROR 1.01",
        ],
    );
    // At the uplink, with another address behind the NAT, and back by another uplink.
    let steps = [
        "0 ? 1:1000 7 A a.test",
        "0.01 ? 99:2000 7 A a.test at=uplink hop=63",
        "1 ! 99:2000 7 A a.test at=uplink2",
        "1.01 ! 1:1000 7 A a.test hop=63",
    ];
    check(
        &steps,
        &[
            "open 1:1000 A",
            "open 99:2000 at uplink A",
            "99:2000 at uplink A a.test. NOERROR 0.99 echo",
            "1:1000 A a.test. NOERROR 1.01",
        ],
    );
    // From off the node to a resolver pod: the uplink is nearer to the client.
    let steps = [
        "0 ? 99:2000 7 A a.test at=inbound",
        "0.01 ? 99:2000 7 A a.test at=server hop=63",
        "1 ! 99:2000 7 A a.test at=server",
        "1.01 ! 99:2000 7 A a.test at=inbound hop=63",
    ];
    check(
        &steps,
        &[
            "open 99:2000 at uplink A",
            "open 99:2000 at server A",
            "99:2000 at server A a.test. NOERROR 0.99 echo",
            "99:2000 at uplink A a.test. NOERROR 1.01",
        ],
    );
    // A bond and its port, or a bridge and its card: the same message at once is neither sent again nor a duplicate.
    let steps = [
        "0 ? 99:2000 7 A a.test at=uplink",
        "0.01 ? 99:2000 7 A a.test at=uplink2",
        "1 ! 99:2000 7 A a.test at=uplink2",
        "1.01 ! 99:2000 7 A a.test at=uplink",
    ];
    check(&steps, &["open 99:2000 at uplink A", "copy", "99:2000 at uplink A a.test. NOERROR 1", "copy"]);
    // What no client's interface has shown comes from elsewhere.
    let steps = ["0 ? 1:1000 7 A a.test at=server", "1 ! 1:1000 7 A a.test at=server"];
    check(&steps, &["open 1:1000 at server A", "1:1000 at server A a.test. NOERROR 1"]);
    let steps = ["0 ? 1:1000 7 A a.test", "5.1 ? 1:1000 7 A a.test at=server", "5.2 end"];
    check(
        &steps,
        &[
            "open 1:1000 A",
            "open 1:1000 at server A",
            "1:1000 A a.test. waiting 5.2",
            "1:1000 at server A a.test. waiting 0.1",
        ],
    );
}

#[test]
fn without_sockets_an_earlier_sighting_tells_whose_a_packet_on_an_uplink_is() {
    // The node's own: no interface of a pod has shown it.
    check(
        &["0 ? 1:1000 7 A a.test at=eth", "1 ! 1:1000 7 A a.test at=eth", "2 ! 1:1000 7 A a.test at=eth"],
        &["open 1:1000 A", "1:1000 A a.test. NOERROR 1", "duplicate 1:1000"],
    );
    // A pod's.
    check(
        &[
            "0 ? 1:1000 7 A a.test",
            "0.1 ? 99:2000 7 A a.test at=eth",
            "1 ! 99:2000 7 A a.test at=eth",
            "1.1 ! 1:1000 7 A a.test",
        ],
        &[
            "open 1:1000 A",
            "open 99:2000 at uplink A",
            "99:2000 at uplink A a.test. NOERROR 0.9 echo",
            "1:1000 A a.test. NOERROR 1.1",
        ],
    );
    // With sockets the response still carries none: its query tells.
    check(
        &["0 ? 1:1000 7 A a.test at=node", "1 ! 1:1000 7 A a.test at=eth"],
        &["open 1:1000 A", "1:1000 A a.test. NOERROR 1"],
    );
    check(
        &["0 ? 1:1000 7 A a.test at=uplink", "1 ! 1:1000 7 A a.test at=eth"],
        &["open 1:1000 at uplink A", "1:1000 at uplink A a.test. NOERROR 1"],
    );
    // Asked on an uplink, answered on lo, as with a service address that the node translates.
    check(
        &["0 ? 1:1000 7 A a.test at=node", "1 ! 1:1000 7 A a.test at=lo"],
        &["open 1:1000 A", "1:1000 A a.test. NOERROR 1"],
    );
}

#[test]
fn in_a_file_the_same_message_again_is_folded() {
    let opened = "open 1:1000 at unknown A";
    // At a bridge and its port; the response likewise.
    check(
        &[
            "0 ? 1:1000 7 A a.test at=file",
            "0.1 ? 1:1000 7 A a.test at=file",
            "1 ! 1:1000 7 A a.test at=file",
            "1.1 ! 1:1000 7 A a.test at=file",
            "60000 end",
        ],
        &[opened, "copy", "1:1000 at unknown A a.test. NOERROR 1", "copy"],
    );
    // Behind a router that translates addresses.
    check(
        &[
            "0 ? 1:1000 7 A a.test at=file",
            "0.1 ? 99:2000 7 A a.test at=file to=10 hop=63",
            "1 ! 99:2000 7 A a.test at=file from=10",
            "1.1 ! 1:1000 7 A a.test at=file hop=63",
            "60000 end",
        ],
        &[opened, "copy", "1:1000 at unknown A a.test. NOERROR 1.1"],
    );
    // Unanswered, it is so once, and a late answer is late once.
    check(
        &[
            "0 ? 1:1000 7 A a.test at=file",
            "0.1 ? 99:2000 7 A a.test at=file hop=63",
            "7000 ! 99:2000 7 A a.test at=file",
            "7000.1 ! 1:1000 7 A a.test at=file hop=63",
            "60000 end",
        ],
        &[
            opened,
            "copy",
            "copy",
            "1:1000 at unknown A a.test. unanswered 6000",
            "late 1:1000 at unknown 7000.1",
        ],
    );
    // And so is a duplicate.
    check(
        &[
            "0 ? 1:1000 7 A a.test at=file",
            "0.1 ? 99:2000 7 A a.test at=file hop=63",
            "1 ! 99:2000 7 A a.test at=file",
            "1.1 ! 1:1000 7 A a.test at=file hop=63",
            "100 ! 99:2000 7 A a.test at=file",
            "100.1 ! 1:1000 7 A a.test at=file hop=63",
        ],
        &[opened, "copy", "1:1000 at unknown A a.test. NOERROR 1.1", "copy", "duplicate 1:1000 at unknown"],
    );
    // 5 ms later it was sent again.
    check(
        &[
            "0 ? 1:1000 7 A a.test at=file",
            "5 ? 1:1000 7 A a.test at=file",
            "10.1 ? 1:1000 7 A a.test at=file",
        ],
        &[opened, "copy", "again 1:1000 at unknown"],
    );
}

#[test]
fn in_a_file_one_query_to_two_servers_is_not_folded() {
    // musl asks all its servers at once, with the same hop limit.
    check(
        &[
            "0 ? 1:1000 7 A a.test at=file",
            "0.05 ? 1:1000 7 A a.test at=file to=54",
            "1 ! 1:1000 7 A a.test at=file",
            "2 ! 1:1000 7 A a.test at=file from=54",
            "60000 end",
        ],
        &[
            "open 1:1000 at unknown A",
            "open 1:1000 at unknown A",
            "1:1000 at unknown A a.test. NOERROR 1",
            "1:1000 at unknown A a.test. NOERROR 1.95",
        ],
    );
}

#[test]
fn frames_expire_nothing_but_the_watermark_does() {
    let mut bench = Bench::new(Limits::default());
    bench.step("0 ? 1:1000 7 A a.test");
    bench.step("60000 ? 2:1000 7 A b.test");
    bench.step("60001 ! 2:1000 7 A b.test");
    assert_eq!(bench.correlator.inflight(), 1);
    // A stalled consumer: the response was there in time.
    bench.step("5000 ! 1:1000 7 A a.test");
    assert_eq!(bench.said.last().unwrap(), "1:1000 A a.test. NOERROR 5000");
    assert_eq!(bench.correlator.inflight(), 0);
}

#[test]
fn the_watermark_expires_all_that_is_due_whatever_its_order() {
    check(
        &[
            "0 ? 1:1000 7 A a.test",
            "1 ? 2:1000 7 A b.test",
            "2 ? 2:1000 7 AAAA b.test",
            "3 ? 3:1000 7 A c.test",
            "4000 ? 1:1000 7 A a.test",
            "6002.5 tick",
            "9000 tick",
            "10001 tick",
        ],
        &[
            "open 1:1000 A",
            "open 2:1000 A",
            "open 2:1000 AAAA",
            "open 3:1000 A",
            "again 1:1000",
            "2:1000 A b.test. unanswered 6000",
            "2:1000 AAAA b.test. unanswered 6000",
            "3:1000 A c.test. unanswered 6000",
            "1:1000 A a.test. unanswered 10000 sends 2",
        ],
    );
}

#[test]
fn memory_is_bounded_and_an_eviction_is_never_unanswered() {
    const KEPT: usize = 10;
    const MORE: usize = 7;
    let mut bench = Bench::new(Limits { max_inflight: KEPT, ..Limits::default() });
    for client in 0..KEPT + MORE {
        bench.step(&format!("{client} ? {}:1000 7 A a.test", client + 1));
        assert!(bench.correlator.inflight() <= KEPT);
    }
    assert_eq!(bench.said.iter().filter(|line| *line == "evicted").count(), MORE);
    bench.said.clear();
    // The evicted ones' answers belong to nobody.
    for client in 0..MORE {
        bench.step(&format!("100 ! {}:1000 7 A a.test", client + 1));
    }
    bench.step("200 tick");
    let orphans: Vec<String> = (0..MORE).map(|client| format!("orphan {}:1000", client + 1)).collect();
    assert_eq!(bench.said, orphans);
    bench.said.clear();
    bench.step("60000 end");
    assert_eq!(bench.said.len(), KEPT);
    assert!(bench.said.iter().all(|line| line.ends_with("unanswered 6000")), "{:?}", bench.said);
    assert!(bench.correlator.closed.len() <= KEPT);
}

#[test]
fn many_questions_under_one_key_are_bounded() {
    let mut bench = Bench::new(Limits::default());
    for name in 0..MAX_PER_KEY + 3 {
        bench.step(&format!("{name} ? 1:1000 7 A n{name}.test"));
    }
    assert_eq!(bench.said.iter().filter(|line| *line == "evicted").count(), 3);
    assert_eq!(bench.correlator.inflight(), MAX_PER_KEY);
    bench.step("60000 end");
    assert_eq!(bench.correlator.inflight(), 0);
}

#[test]
fn early_responses_are_bounded() {
    let mut bench = Bench::new(Limits::default());
    for port in 0..MAX_EARLY + 3 {
        bench.step(&format!("0 ! 1:{} 7 A a.test", port + 1));
    }
    assert_eq!(bench.said, ["orphan 1:1", "orphan 1:2", "orphan 1:3"]);
}
