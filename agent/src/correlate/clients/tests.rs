//! How queries are folded into lookups: whole sequences, told as one line per lookup.

mod outcomes;

use std::net::SocketAddr;

use super::*;
use crate::correlate::lookups::LookupOutcome;
use crate::correlate::{Correlator, Limits, Observation};
use crate::dns::tests::{dotted, message, question};
use crate::packet::{Flow, Transport};

/// Plays questions to a correlator and to [`Clients`], and writes down the lookups.
///
/// A step is `TIME CLIENT:PORT ID NAME TYPE=RESULT …`, the time in milliseconds: the questions are sent 0.1 ms after
/// one another, and answered from 1 ms on in their order. Results: `ans nd nx sf rf`, `to` (nothing), `tc` (truncated,
/// with a record), `tc0` (without), `cname:NAME` (an alias, then a record). IDs count up from `ID`. Further words: `tcp`,
/// `to=` the server's last octet (53) or `public` or `node` for one elsewhere, `apart` (each question from the next port), `late=MS` (when answers begin).
struct Bench {
    correlator: Correlator,
    clients: Clients,
    said: Vec<String>,
    lookups: Vec<Lookup>,
}

/// The lookups of a sequence, by clients that were told a resolv.conf or not.
pub(crate) fn lookups<S: AsRef<str>>(resolv_conf: Option<&str>, steps: &[S]) -> (Vec<Lookup>, Clients) {
    let mut bench = resolv_conf.map_or_else(Bench::new, Bench::with);
    bench.play(&steps.iter().map(AsRef::as_ref).collect::<Vec<_>>());
    bench.tick(1e6);
    (bench.lookups, bench.clients)
}

#[derive(Clone, Copy, PartialEq)]
enum What<'a> {
    Query,
    Reply(&'a str),
}

impl Bench {
    fn new() -> Self {
        Self {
            correlator: Correlator::new(Limits::default()),
            clients: Clients::default(),
            said: Vec::new(),
            lookups: Vec::new(),
        }
    }

    fn with(resolv_conf: &str) -> Self {
        let mut bench = Self::new();
        bench.clients.configure(None, ResolvConf::parse(resolv_conf.as_bytes()), SearchSource::ResolvConf);
        bench
    }

    /// Plays the steps as one stream, in the order of time.
    fn play(&mut self, steps: &[&str]) {
        let mut messages: Vec<(u64, String, What<'_>)> = Vec::new();
        for step in steps {
            messages.extend(of_step(step));
        }
        messages.sort_by_key(|(nanos, ..)| *nanos);
        for (nanos, words, what) in messages {
            let time = Timestamp::from_nanos(nanos);
            let Self { correlator, clients, said, lookups } = self;
            let mut emit = |lookup: Lookup| {
                said.push(tell(&lookup));
                lookups.push(lookup);
            };
            let mut events = Vec::new();
            correlator.tick(time, &mut |event| events.push(event));
            correlator.observe(observation(time, &words, what), &mut |event| events.push(event));
            for event in &events {
                clients.event(event, &mut emit);
            }
            clients.tick(time, &mut emit);
        }
    }

    /// Everything before this time was seen.
    fn tick(&mut self, millis: f64) {
        let time = Timestamp::from_nanos((millis * 1e6) as u64);
        let Self { correlator, clients, said, lookups } = self;
        let mut emit = |lookup: Lookup| {
            said.push(tell(&lookup));
            lookups.push(lookup);
        };
        correlator.tick(time, &mut |event| clients.event(&event, &mut emit));
        clients.tick(time, &mut emit);
    }

    /// The capture ends.
    fn finish(&mut self, millis: f64) {
        let time = Timestamp::from_nanos((millis * 1e6) as u64);
        let Self { correlator, clients, said, lookups } = self;
        let mut emit = |lookup: Lookup| {
            said.push(tell(&lookup));
            lookups.push(lookup);
        };
        correlator.finish(time, &mut |event| clients.event(&event, &mut emit));
        clients.finish(time, &mut emit);
    }
}

fn of_step<'a>(step: &'a str) -> Vec<(u64, String, What<'a>)> {
    let words: Vec<&str> = step.split_whitespace().collect();
    let [time, client, id, name, rest @ ..] = words.as_slice() else { panic!("{step}") };
    let nanos = |millis: f64| (millis * 1e6) as u64;
    let time: f64 = time.parse().unwrap();
    let option = |key: &str| rest.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let to = option("to").unwrap_or("53");
    let to = ["public", "node"].into_iter().find(|word| rest.contains(word)).unwrap_or(to);
    let late: f64 = option("late").map_or(1.0, |late| late.parse().unwrap());
    let tcp = if rest.contains(&"tcp") { "tcp" } else { "udp" };
    let (host, port) = client.split_once(':').unwrap();
    let mut messages = Vec::new();
    let asked = rest
        .iter()
        .filter_map(|word| word.split_once('='))
        .filter(|(key, _)| key.chars().all(char::is_uppercase));
    for (index, (qtype, result)) in asked.enumerate() {
        let offset = if rest.contains(&"apart") { index as u16 } else { 0 };
        let port: u16 = port.parse::<u16>().unwrap() + offset;
        let id: u16 = id.parse::<u16>().unwrap() + index as u16;
        let words = format!("{host} {port} {id} {name} {qtype} {to} {tcp}");
        let at = time + index as f64 * 0.1;
        messages.push((nanos(at), words.clone(), What::Query));
        if result != "to" {
            messages.push((nanos(at + late), words, What::Reply(result)));
        }
    }
    messages
}

fn observation(time: Timestamp, words: &str, what: What<'_>) -> Observation {
    let words: Vec<&str> = words.split(' ').collect();
    let [host, port, id, name, qtype, to, tcp] = words.as_slice() else { panic!("{words:?}") };
    let client: SocketAddr = format!("10.0.0.{host}:{port}").parse().unwrap();
    let server: SocketAddr = match *to {
        "public" => "8.8.8.8:53".parse().unwrap(),
        "node" => "169.254.20.10:53".parse().unwrap(),
        host => format!("10.0.0.{host}:53").parse().unwrap(),
    };
    let qtype = match *qtype {
        "A" => 1,
        "AAAA" => 28,
        "PTR" => 12,
        "HTTPS" => 65,
        other => panic!("{other}"),
    };
    let asked = question(dotted(name), qtype);
    let record = |owner: &str, record_type: u16, data: Vec<u8>| {
        let mut record = dotted(owner);
        record.extend(record_type.to_be_bytes());
        record.extend([0, 1, 0, 0, 0, 30]);
        record.extend((data.len() as u16).to_be_bytes());
        record.extend(data);
        record
    };
    let address = |owner: &str| {
        let data = match qtype {
            1 => vec![192, 0, 2, 1],
            28 => vec![0; 16],
            _ => dotted("host.example"),
        };
        record(owner, qtype, data)
    };
    let (flags, answers) = match what {
        What::Query => (0x0100, vec![]),
        What::Reply("ans") => (0x8180, vec![address(name)]),
        What::Reply("nd") => (0x8180, vec![]),
        What::Reply("nx") => (0x8183, vec![]),
        What::Reply("sf") => (0x8182, vec![]),
        What::Reply("rf") => (0x8185, vec![]),
        What::Reply("tc") => (0x8380, vec![address(name)]),
        What::Reply("tc0") => (0x8380, vec![]),
        What::Reply(other) => {
            let target = other.strip_prefix("cname:").unwrap();
            (0x8180, vec![record(name, 5, dotted(target)), address(target)])
        }
    };
    let counts = [1, answers.len() as u16, 0, 0];
    let parts: Vec<Vec<u8>> = std::iter::once(asked).chain(answers).collect();
    let wire = message(id.parse().unwrap(), flags, counts, &parts);
    let to_server = what == What::Query;
    let (source, destination) = if to_server { (client, server) } else { (server, client) };
    let transport = if *tcp == "tcp" { Transport::Tcp } else { Transport::Udp };
    Observation {
        time,
        place: None,
        flow: Flow { source, destination, transport },
        hop_limit: 64,
        to_server,
        message: crate::dns::parse(&wire, wire.len()).unwrap(),
    }
}

/// `BASE OUTCOME after MS, QUERIES/WASTED queries for CANDIDATES by SOURCE`, the winner in brackets.
fn tell(lookup: &Lookup) -> String {
    let candidates: Vec<String> = lookup
        .candidates
        .iter()
        .enumerate()
        .map(|(index, candidate)| {
            let tail = candidate.name.parent(lookup.base.label_count());
            let tail = if candidate.as_is { "as-is".to_owned() } else { tail.to_string() };
            if lookup.winner == Some(index) { format!("[{tail}]") } else { tail }
        })
        .collect();
    let left = if lookup.outcome == LookupOutcome::Stopped {
        let names: Vec<String> = lookup.remaining.iter().map(ToString::to_string).collect();
        format!(", left {}", names.join(" "))
    } else {
        String::new()
    };
    format!(
        "{} {} {:.0} ms {}/{} {} {}{}{left}",
        lookup.base,
        lookup.outcome.as_str(),
        lookup.ended.since(lookup.started).as_secs_f64() * 1e3,
        lookup.queries,
        lookup.wasted,
        candidates.join(" "),
        lookup.source.as_str(),
        if lookup.autopath { " autopath" } else { "" },
    )
}

#[track_caller]
fn check_with(mut bench: Bench, steps: &[&str], expected: &[&str]) {
    bench.play(steps);
    bench.tick(200_000.0);
    assert_eq!(bench.said, expected);
    assert_eq!(bench.clients.open(), 0);
}

#[track_caller]
fn check(steps: &[&str], expected: &[&str]) {
    check_with(Bench::new(), steps, expected);
}

const KUBERNETES: &str = "search ns.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";

#[test]
fn a_and_aaaa_of_one_name_are_one_lookup() {
    check(&["0 1:1000 7 a.example A=ans AAAA=nd"], &["a.example. answered 1 ms 2/0 [as-is] unknown"]);
    // Each from its own port, in either order, or one after the other.
    check(
        &[
            "0 1:1000 7 a.example AAAA=ans A=ans apart",
            "100 1:1001 9 b.example A=ans",
            "102 1:1002 3 b.example AAAA=ans",
        ],
        &["a.example. answered 1 ms 2/0 [as-is] unknown", "b.example. answered 3 ms 2/0 [as-is] unknown"],
    );
}

#[test]
fn other_types_are_lookups_of_their_own() {
    check(
        &[
            "0 1:1000 7 a.example A=ans AAAA=ans",
            "0 1:1001 9 a.example HTTPS=nd",
            "2 1:1001 11 1.2.0.192.in-addr.arpa PTR=ans",
        ],
        &[
            "a.example. answered 1 ms 2/0 [as-is] unknown",
            "1.2.0.192.in-addr.arpa. answered 1 ms 1/0 [as-is] unknown",
            "a.example. nodata 1 ms 1/0 as-is unknown",
        ],
    );
}

const WALK: [&str; 4] = [
    "0 1:1000 7 api.stripe.example.ns.svc.cluster.local A=nx AAAA=nx",
    "2 1:1001 9 api.stripe.example.svc.cluster.local A=nx AAAA=nx",
    "4 1:1002 11 api.stripe.example.cluster.local A=nx AAAA=nx",
    "6 1:1003 13 api.stripe.example A=ans AAAA=nd",
];
const WALKED: &str =
    "api.stripe.example. answered 7 ms 8/6 ns.svc.cluster.local. svc.cluster.local. cluster.local. [as-is]";

#[test]
fn a_walk_through_the_search_list_is_one_lookup() {
    check(&WALK, &[&format!("{WALKED} inferred")]);
    check_with(Bench::with(KUBERNETES), &WALK, &[&format!("{WALKED} resolv_conf")]);
}

#[test]
fn a_list_that_was_learned_tells_the_next_lookup_by_its_first_candidate() {
    let mut steps = WALK.to_vec();
    steps.push("1000 1:1004 7 db.ns.svc.cluster.local A=ans AAAA=nd");
    steps.push("2000 1:1005 7 db.other.ns.svc.cluster.local A=nx AAAA=nx");
    steps.push("2002 1:1006 9 db.other.svc.cluster.local A=ans AAAA=nd");
    // Another client knows nothing of it.
    steps.push("3000 2:1004 7 db.ns.svc.cluster.local A=ans AAAA=nd");
    check(
        &steps,
        &[
            &format!("{WALKED} inferred"),
            "db. answered 1 ms 2/0 [ns.svc.cluster.local.] inferred",
            "db.other. answered 3 ms 4/2 ns.svc.cluster.local. [svc.cluster.local.] inferred",
            "db.ns.svc.cluster.local. answered 1 ms 2/0 [as-is] unknown",
        ],
    );
}

#[test]
fn a_search_that_stops_at_nodata_says_what_was_left() {
    let list = "search ns.svc.cluster.local svc.cluster.local corp.example cluster.local\noptions ndots:5\n";
    let steps = [
        "0 1:1000 7 db.other.ns.svc.cluster.local A=nx AAAA=nx",
        "2 1:1001 9 db.other.svc.cluster.local A=nx AAAA=nx",
        "4 1:1002 11 db.other.corp.example A=nd AAAA=nd",
    ];
    let walked = "db.other. stopped 5 ms 6/0 ns.svc.cluster.local. svc.cluster.local. corp.example.";
    let left = ", left db.other.cluster.local. db.other.";
    check_with(Bench::with(list), &steps, &[&format!("{walked} resolv_conf{left}")]);
    check(&steps, &[&format!("{walked} inferred, left db.other.")]);
    // NXDOMAIN for A sends every resolver on; what the last name says is the end.
    let mixed = "4 1:1002 11 db.other.corp.example A=nx AAAA=nd";
    check(
        &[steps[0], steps[1], mixed],
        &["db.other. nodata 5 ms 6/0 ns.svc.cluster.local. svc.cluster.local. corp.example. inferred"],
    );
    check_with(
        Bench::with(KUBERNETES),
        &[WALK[0], WALK[1], WALK[2], "6 1:1003 13 api.stripe.example A=nd AAAA=nd"],
        &[
            "api.stripe.example. nodata 7 ms 8/0 ns.svc.cluster.local. svc.cluster.local. cluster.local. as-is resolv_conf",
        ],
    );
}

#[test]
fn who_stops_looking_within_the_second_cannot_say_that_it_stopped() {
    let list = "search a.example b.example\noptions ndots:5\n";
    let mut bench = Bench::with(list);
    bench.play(&["0 1:1000 7 db.a.example A=nd AAAA=nd"]);
    let Bench { clients, said, .. } = &mut bench;
    clients.finish(Timestamp::from_nanos(900_000_000), &mut |lookup| said.push(tell(&lookup)));
    assert_eq!(bench.said, ["db. nodata 1 ms 2/0 a.example. resolv_conf"]);
    let stopped = "db. stopped 1 ms 2/0 a.example. resolv_conf, left db.b.example. db.";
    check_with(Bench::with(list), &["0 1:1000 7 db.a.example A=nd AAAA=nd"], &[stopped]);
    // With fewer ndots it may as well be the name itself, in full.
    let list = list.replace("ndots:5", "ndots:2");
    let nodata = "db. nodata 1 ms 2/0 a.example. resolv_conf";
    check_with(Bench::with(&list), &["0 1:1000 7 db.a.example A=nd AAAA=nd"], &[nodata]);
}

#[test]
fn one_that_goes_on_within_a_second_did_not_stop() {
    let late = "900 1:1003 13 api.stripe.example A=ans AAAA=nd";
    check(&[WALK[0], WALK[1], WALK[2], late], &[&format!("{WALKED} inferred").replace(" 7 ms", " 901 ms")]);
}

#[test]
fn the_name_itself_may_come_first() {
    check_with(
        Bench::with("search a.example b.example\noptions ndots:1"),
        &[
            "0 1:1000 7 no.such A=nx AAAA=nx apart",
            "2 1:1002 9 no.such.a.example A=nx AAAA=nx apart",
            "4 1:1004 11 no.such.b.example A=nx AAAA=nx apart",
        ],
        &["no.such. nxdomain 5 ms 6/0 as-is a.example. b.example. resolv_conf"],
    );
}

#[test]
fn lookups_at_once_are_told_apart() {
    // Two threads walk for two names, and two for the same name.
    let mut steps = Vec::new();
    let other: Vec<String> =
        WALK.iter().map(|step| step.replace("stripe.", "shop.").replace("1:10", "1:20")).collect();
    let same: Vec<String> =
        WALK.iter().map(|step| step.replace("1:10", "1:30").replace(" 7 ", " 107 ")).collect();
    steps.extend(WALK);
    steps.extend(other.iter().map(String::as_str));
    steps.extend(same.iter().map(String::as_str));
    let walked = format!("{WALKED} inferred");
    let mut bench = Bench::with(KUBERNETES);
    bench.play(&steps);
    bench.tick(9000.0);
    bench.said.sort();
    let told = |name: &str| walked.replace("stripe", name).replace("inferred", "resolv_conf");
    assert_eq!(bench.said, [told("shop"), told("stripe"), told("stripe")]);
}

#[test]
fn retries_belong_to_the_lookup() {
    // musl repeats what was not answered.
    check(
        &["0 1:1000 7 a.example A=ans AAAA=to", "2500 1:1000 8 a.example AAAA=ans"],
        &["a.example. answered 2501 ms 3/0 [as-is] unknown"],
    );
    // Go asks anew, from another port.
    check(
        &["0 1:1000 7 a.example A=ans AAAA=to apart", "5000 1:2000 90 a.example AAAA=ans"],
        &["a.example. answered 5001 ms 3/0 [as-is] unknown"],
    );
    // glibc repeats the first, though it was answered, then the second.
    check(
        &[
            "0 1:1000 7 a.example A=ans AAAA=to",
            "5000 1:1000 7 a.example A=ans",
            "5002 1:1000 8 a.example AAAA=ans",
        ],
        &["a.example. answered 5003 ms 4/0 [as-is] unknown"],
    );
    // A second call within that time is another lookup.
    check(
        &["0 1:1000 7 a.example A=to AAAA=to", "3000 1:2000 90 a.example A=ans AAAA=ans"],
        &["a.example. answered 1 ms 2/0 [as-is] unknown", "a.example. unanswered 6000 ms 2/0 as-is unknown"],
    );
}

#[test]
fn several_servers_and_errors() {
    // musl asks all servers at once; one is dead.
    check(
        &[
            "0 1:1000 7 a.ns.example A=nx AAAA=nx",
            "0 1:1000 7 a.ns.example A=to AAAA=to to=54",
            "2 1:1001 9 a A=ans AAAA=ans",
            "2 1:1001 9 a A=to AAAA=to to=54",
        ],
        &["a. answered 3 ms 8/4 ns.example. [as-is] inferred"],
    );
    // glibc asks the next after 5 s.
    check(
        &["0 1:1000 7 a.example A=to AAAA=to", "5000 1:1001 7 a.example A=ans AAAA=ans to=54"],
        &["a.example. answered 5001 ms 4/0 [as-is] unknown"],
    );
    // SERVFAIL is asked again at once, and by musl after 2.5 s too.
    check(
        &[
            "0 1:1000 7 a.example A=ans AAAA=sf",
            "2 1:1000 8 a.example AAAA=sf",
            "2500 1:1000 8 a.example AAAA=sf",
        ],
        &["a.example. answered 2501 ms 4/0 [as-is] unknown"],
    );
}

#[test]
fn truncated_responses_and_what_follows_are_one_lookup() {
    let once = ["0 1:1000 7 big.example A=tc AAAA=nd", "2 1:1001 7 big.example A=ans AAAA=nd tcp"];
    check(&once, &["big.example. answered 3 ms 4/0 [as-is] unknown"]);
    // glibc once more while its buffer grows.
    check(
        &[
            once[0],
            once[1],
            "3.5 1:1002 70 big.example A=tc AAAA=nd",
            "6 1:1003 70 big.example A=ans AAAA=nd tcp",
        ],
        &["big.example. answered 7 ms 8/0 [as-is] unknown"],
    );
    // An old musl is content with it.
    check(&["0 1:1000 7 big.example A=tc AAAA=nd"], &["big.example. answered 1 ms 2/0 [as-is] unknown"]);
    check(&["0 1:1000 7 big.example A=tc0 AAAA=nd"], &["big.example. nodata 1 ms 2/0 as-is unknown"]);
}

#[test]
fn a_server_that_walks_the_list_itself() {
    check(
        &[
            "0 1:1000 7 api.stripe.example.ns.svc.cluster.local A=cname:api.stripe.example AAAA=cname:api.stripe.example",
        ],
        &["api.stripe.example. answered 1 ms 2/0 [ns.svc.cluster.local.] unknown autopath"],
    );
}

#[test]
fn nslookup_of_busybox_asks_all_at_once() {
    check(
        &[
            "0 1:1000 7 db.ns.svc.cluster.local A=ans AAAA=nd",
            "0.3 1:1000 9 db.svc.cluster.local A=nx AAAA=nx",
            "0.6 1:1000 11 db.cluster.local A=nx AAAA=nx",
        ],
        &["db. answered 2 ms 6/4 [ns.svc.cluster.local.] svc.cluster.local. cluster.local. inferred"],
    );
}

#[test]
fn a_resolver_that_gets_no_answer_goes_on_too() {
    // glibc: 10 s for the first suffix, then the name itself.
    check(
        &[
            "0 1:1000 7 a.example.ns.svc A=to AAAA=to",
            "5000 1:1000 7 a.example.ns.svc A=to AAAA=to",
            "10000 1:1001 9 a.example A=to AAAA=to",
        ],
        &["a.example. unanswered 16000 ms 6/0 ns.svc. as-is inferred"],
    );
}

#[test]
fn the_memory_is_bounded() {
    let mut bench = Bench::new();
    let steps: Vec<String> =
        (0..100).map(|number| format!("{number} 1:{} 7 a.example A=to", 1000 + number)).collect();
    bench.play(&steps.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((bench.clients.open(), bench.said.len()), (64, 36));
}

#[test]
fn notes_are_bounded_and_those_that_count_stay() {
    let mut bench = Bench::new();
    bench.play(&["0 1:1000 7 a.example A=nx AAAA=nx"]);
    for serial in 1000..1000 + 3 * table::MAX_NOTES as u64 {
        bench.clients.table.wait(Slot::default(), serial, Wait::Next, Timestamp::from_nanos(2_000_000_000));
    }
    assert!(bench.clients.table.notes() <= table::MAX_NOTES);
    bench.tick(1_500.0);
    assert_eq!(bench.said, ["a.example. nxdomain 1 ms 2/0 as-is unknown"]);
}

#[test]
fn clients_are_bounded_and_who_goes_on_stays() {
    let mut clients = Clients::default();
    let id = |number: u32| ClientId { interface: None, address: IpAddr::from(number.to_be_bytes()) };
    let faithful = clients.client(id(u32::MAX), &mut |_| {});
    for number in 0..3 * MAX_CLIENTS as u32 {
        clients.client(id(number), &mut |_| {});
        assert_eq!(clients.client(id(u32::MAX), &mut |_| {}), faithful);
    }
    assert_eq!((clients.clients.len(), clients.places.len()), (MAX_CLIENTS, MAX_CLIENTS));
    assert_eq!(clients.places.get(&id(7)), None);
}
