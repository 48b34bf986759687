//! Drives the engine with the recorded captures, as if they had been seen at a pod, a server and an uplink, and
//! compares `/metrics` with golden files in both formats; then asks for it over HTTP.
//!
//! `UPDATE_EXPECT=1 cargo test -p nslookout --test exposition` writes the golden files anew; read the difference.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nslookout::capture::counters::{
    CaptureCounters, DropReason, LinkLocalCount, Method, ProgramRuns, WatchedInterface,
};
use nslookout::capture::file::PcapFileSource;
use nslookout::capture::frame::{Direction, Frame, Ifindex, InterfaceKind, LinkType, Place, Timestamp};
use nslookout::correlate::{Limits, Vantage};
use nslookout::engine::{Engine, EngineConfig};
use nslookout::export::http;
use nslookout::export::metrics::{Build, Metrics};
use nslookout::live::Shared;
use nslookout::packet::{self, Fragment, Packet, Payload};
use nslookout::tally::TallyLimits;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A frame that keeps its bytes.
struct Recorded {
    time: Timestamp,
    link_type: LinkType,
    bytes: Vec<u8>,
    to_server: bool,
}

/// The packets of a capture that the kernel half would deliver; later fragments go where the first went.
fn recorded(name: &str) -> Vec<Recorded> {
    let mut frames = Vec::new();
    let mut first_went = HashMap::new();
    PcapFileSource::open(&data(&format!("{name}.pcap"))).unwrap().drain(usize::MAX, &mut |frame| {
        let to_server = |payload: Payload<'_>| payload.flow.destination.port() == 53;
        let to_server = match packet::parse(frame) {
            Ok(Packet::Payload(payload)) => to_server(payload),
            Ok(Packet::Fragment(Fragment { key, hop_limit, offset: 0, bytes, missing, .. })) => {
                let first = packet::parse_fragmented(&key, hop_limit, bytes, missing).unwrap();
                first_went.insert(key, to_server(first));
                to_server(first)
            }
            Ok(Packet::Fragment(Fragment { key, .. })) => first_went[&key],
            Err(_) => return,
        };
        frames.push(Recorded {
            time: frame.time,
            link_type: frame.link_type,
            bytes: frame.bytes.to_vec(),
            to_server,
        });
    });
    assert!(!frames.is_empty(), "{name}");
    frames
}

/// Where a capture is said to have been made.
#[derive(Clone, Copy)]
enum At {
    /// The interface of the pod that asks.
    Pod,
    /// The interface of the pod that answers.
    Server,
    /// An uplink, by way of which the node itself asks, seen by a source that cannot look at sockets.
    Node,
    /// An uplink that a pod's packets pass after their own interface.
    PodAndUplink,
}

fn place(kind: InterfaceKind, ifindex: u32, egress: bool, local_socket: Option<bool>) -> Place {
    let direction = if egress { Direction::Egress } else { Direction::Ingress };
    Place { ifindex: Ifindex(ifindex), kind, direction, local_socket, cgroup: None }
}

/// What was given to the engine, counted as the kernel half counts.
#[derive(Default)]
struct Fed {
    matched: BTreeMap<Vantage, u64>,
    node_or_uplink: u64,
}

impl Fed {
    fn feed(&mut self, engine: &mut Engine, recorded: &Recorded, at: At) {
        let Recorded { time, link_type, ref bytes, to_server } = *recorded;
        let sighting = |place: Place, time: Timestamp| Frame {
            time,
            place: Some(place),
            link_type,
            original_length: bytes.len() as u32,
            vlan: None,
            bytes,
        };
        let mut give = |place: Place, time: Timestamp| engine.frame(&sighting(place, time), &mut |_| {});
        match at {
            At::Pod => {
                give(place(InterfaceKind::Pod, 2, !to_server, None), time);
                *self.matched.entry(Vantage::Client).or_default() += 1;
            }
            At::Server => {
                give(place(InterfaceKind::Pod, 3, to_server, None), time);
                *self.matched.entry(Vantage::Server).or_default() += 1;
            }
            At::Node => {
                give(place(InterfaceKind::Uplink, 4, to_server, None), time);
                self.node_or_uplink += 1;
            }
            At::PodAndUplink => {
                let pod = place(InterfaceKind::Pod, 2, !to_server, None);
                let uplink = place(InterfaceKind::Uplink, 4, to_server, to_server.then_some(false));
                let soon = time + Duration::from_micros(1);
                let (first, second) = if to_server { (pod, uplink) } else { (uplink, pod) };
                give(first, time);
                give(second, soon);
                *self.matched.entry(Vantage::Client).or_default() += 1;
                // What comes in by an uplink does not say whose it is.
                match to_server {
                    true => *self.matched.entry(Vantage::Uplink).or_default() += 1,
                    false => self.node_or_uplink += 1,
                }
            }
        }
    }
}

/// A running agent that has seen the captures.
fn shared() -> Shared {
    let mut engine = Engine::new(EngineConfig {
        ports: [53].into_iter().collect(),
        limits: Limits::default(),
        tally: TallyLimits { cluster_dns: vec!["192.0.2.53".parse().unwrap()], ..TallyLimits::default() },
        ..EngineConfig::default()
    });
    let places = [
        ("answers", At::Pod),
        ("fragments", At::Pod),
        ("ipv6", At::Node),
        ("late", At::Pod),
        ("mid-flight", At::Pod),
        ("one-of-two", At::Pod),
        ("refused", At::Server),
        ("search-list", At::PodAndUplink),
        ("strays", At::Pod),
        ("tcp", At::Pod),
        ("truncated", At::Pod),
        ("unanswered", At::Pod),
    ];
    let mut frames: Vec<(Recorded, At)> = Vec::new();
    for (name, at) in places {
        frames.extend(recorded(name).into_iter().map(|frame| (frame, at)));
    }
    frames.sort_by_key(|(frame, _)| frame.time);
    let mut fed = Fed::default();
    for (frame, at) in &frames {
        engine.tick(frame.time.before(Duration::from_millis(10)), &mut |_| {});
        fed.feed(&mut engine, frame, *at);
    }
    // One query still waits.
    let last = frames.iter().rfind(|(frame, _)| frame.to_server).unwrap();
    let time = engine.latest() + Duration::from_secs(60);
    engine.tick(time, &mut |_| {});
    let last = Recorded { time, bytes: last.0.bytes.clone(), ..last.0 };
    fed.feed(&mut engine, &last, At::Pod);

    let shared = Shared::new(engine);
    shared.lock().counters = Some(counters(fed));
    shared.lock().ready = true;
    shared
}

/// What a source would say of itself that has matched what was `fed`, and a few packets that it lost.
fn counters(fed: Fed) -> CaptureCounters {
    let watched = |name: &str, kind, hooks| WatchedInterface {
        ifindex: Ifindex(name.len() as u32),
        name: name.to_owned(),
        kind,
        method: Method::Tcx,
        hooks,
    };
    let linklocal = |interface: &str, kind, service, egress, ingress| LinkLocalCount {
        interface: interface.to_owned(),
        kind,
        service,
        egress,
        ingress,
        recent: Vec::new(),
    };
    let drops = BTreeMap::from([
        ((Vantage::Client, DropReason::RingFull), 5),
        ((Vantage::Server, DropReason::ShortRead), 1),
        ((Vantage::Uplink, DropReason::RingFull), 2),
    ]);
    let mut matched = fed.matched;
    for ((vantage, _), count) in &drops {
        *matched.entry(*vantage).or_default() += count;
    }
    CaptureCounters {
        lost_at: vec![("cali3ad697901f8".into(), DropReason::RingFull, 1)],
        matched,
        matched_node_or_uplink: fed.node_or_uplink,
        dropped_node_or_uplink: 0,
        drops,
        seen: 12_345,
        later_fragments: 3,
        interfaces: vec![
            watched("veth2", InterfaceKind::Pod, 2),
            watched("veth3", InterfaceKind::Pod, 2),
            watched("eth0", InterfaceKind::Uplink, 2),
            watched("lo", InterfaceKind::Loopback, 1),
        ],
        attach_errors: BTreeMap::from([("no_such_device".to_owned(), 1)]),
        linklocal: vec![
            linklocal("eth0", InterfaceKind::Uplink, "dns", 1000, 990),
            linklocal("eth0", InterfaceKind::Uplink, "imds", 20, 20),
            linklocal("veth2", InterfaceKind::Pod, "dns", 7, 7),
        ],
        programs: vec![ProgramRuns { program: "ingress", seconds: 0.25, runs: 1_000_000 }],
        ..CaptureCounters::default()
    }
}

fn metrics(shared: &Shared) -> Metrics {
    let build = Build { version: "1.2.3".into(), revision: "0123abc".into(), kernel: "6.1.0".into() };
    Metrics::new(shared.clone(), build)
}

/// Compares, or writes the golden file anew.
#[track_caller]
fn compare(actual: &str, name: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        return std::fs::write(data(name), actual).unwrap();
    }
    let expected = std::fs::read_to_string(data(name)).unwrap_or_default();
    let difference = actual.lines().zip(expected.lines()).find(|(actual, expected)| actual != expected);
    assert!(actual == expected, "{name} differs, first in {difference:?}; all of it:\n{actual}");
}

#[test]
fn metrics_are_as_expected_in_both_formats() {
    let metrics = metrics(&shared());
    compare(&metrics.open_metrics().unwrap(), "metrics.openmetrics.expected");
    compare(&metrics.classic().unwrap(), "metrics.classic.expected");
}

#[test]
fn promtool_has_no_complaint() {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        return eprintln!("skipped promtool_has_no_complaint: promtool is not on PATH");
    };
    let text = metrics(&shared()).classic().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

/// The sum of a metric's samples by the value of their label `vantage`.
fn by_vantage(text: &str, metric: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with(&format!("{metric}{{"))) {
        let vantage = line.split("vantage=\"").nth(1).unwrap().split('"').next().unwrap();
        *sums.entry(vantage.to_owned()).or_default() +=
            line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    }
    sums
}

/// The value of a metric without labels.
fn sample(text: &str, metric: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(&format!("{metric} "))).unwrap().parse().unwrap()
}

/// The sum of all samples of a metric that have all these labels.
fn sum(text: &str, metric: &str, labels: &[&str]) -> u64 {
    let samples = text.lines().filter(|line| line.starts_with(&format!("{metric}{{")));
    let samples = samples.filter(|line| labels.iter().all(|label| line.contains(label)));
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn the_ledger_closes() {
    let text = metrics(&shared()).classic().unwrap();
    let captured = by_vantage(&text, "nslookout_capture_packets_total");
    let mut accounted = by_vantage(&text, "nslookout_events_total");
    for (vantage, drops) in by_vantage(&text, "nslookout_capture_drops_total") {
        *accounted.entry(vantage).or_default() += drops;
    }
    assert_eq!(captured, accounted);
    assert!(captured.len() == 3 && captured.values().all(|count| *count > 0), "{captured:?}");
}

#[test]
fn every_query_is_answered_unanswered_waiting_or_given_up() {
    // The uplink and the server see some of the same queries, and none of the sums is larger for it.
    let text = metrics(&shared()).classic().unwrap();
    let queries = sum(&text, "nslookout_queries_total", &[]);
    let responses = sum(&text, "nslookout_responses_total", &[]);
    let unanswered = sum(&text, "nslookout_unanswered_queries_total", &[]);
    let waiting = sample(&text, "nslookout_inflight_queries");
    assert_eq!(waiting, 1);
    assert_eq!(sample(&text, "nslookout_inflight_evictions_total"), 0);
    assert_eq!(queries, responses + unanswered + waiting);
    let durations = sum(&text, "nslookout_query_duration_seconds_count", &[]);
    assert_eq!(durations, responses);
    assert_eq!(sum(&text, "nslookout_edns_queries_total", &[]), queries);
    assert_eq!(sum(&text, "nslookout_server_responses_total", &["rcode=\"REFUSED\""]), 5);
    assert_eq!(sum(&text, "nslookout_responses_total", &["rcode=\"REFUSED\""]), 0);
}

/// One request over a connection of its own: status, content type and body.
fn get(port: u16, path: &str, accept: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
    (status, kind.to_owned(), body.to_owned())
}

#[test]
fn http_serves_what_is_asked_for() {
    let shared = shared();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (served, of_server) = (metrics(&shared), shared.clone());
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(http::serve(listener, served, of_server, async { drop(stopped.await) }))
    });

    let open_metrics =
        "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    let (status, kind, body) = get(port, "/metrics", open_metrics);
    assert_eq!((status, kind.as_str()), (200, "application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert_eq!(body, metrics(&shared).open_metrics().unwrap());
    assert!(body.ends_with("# EOF\n"));
    for accept in ["*/*", "text/plain;version=0.0.4"] {
        let (status, kind, body) = get(port, "/metrics", accept);
        assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"));
        assert_eq!(body, metrics(&shared).classic().unwrap());
        assert!(!body.contains("# EOF"));
    }

    assert_eq!(get(port, "/healthz", "*/*").0, 200);
    assert_eq!(
        get(port, "/readyz", "*/*"),
        (200, "text/plain; charset=utf-8".into(), "ok: 4 interfaces under watch\n".into())
    );
    assert_eq!(get(port, "/", "*/*").0, 200);
    assert_eq!(get(port, "/nowhere", "*/*").0, 404);
    shared.lock().counters = None;
    assert_eq!(get(port, "/readyz", "*/*").0, 503);
    if let Some(long_ago) = Instant::now().checked_sub(Duration::from_secs(11)) {
        shared.lock().beat = long_ago;
        let (status, _, body) = get(port, "/healthz", "*/*");
        assert_eq!((status, body.as_str()), (503, "the capture loop has been stuck for 11 s\n"));
    }

    stop.send(()).unwrap();
    server.join().unwrap().unwrap();
}
