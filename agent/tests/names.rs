//! What is known of workloads stands in lines, objects, reports and metrics, and comes back from a recording.
//!
//! Real packets of musl 1.2.3 (tests/corpus), as if they had been seen at a pod's interface. `cargo test -p nslookout --test
//! names`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use jiff::tz::TimeZone;
use nslookout::capture::Namer;
use nslookout::capture::file::{FILE_LAG, PcapFileSource};
use nslookout::capture::frame::{Direction, Frame, Ifindex, InterfaceKind, LinkType, Place, Timestamp};
use nslookout::engine::{Engine, EngineConfig, InsightConfig, Report};
use nslookout::export::capture_file::{Encapsulation, RecordConfig, Recording, Rotation};
use nslookout::export::findings::text::FindingLines;
use nslookout::export::lookups::LookupLines;
use nslookout::export::metrics::{Build, Metrics};
use nslookout::export::names::Names;
use nslookout::identity::facts::{
    Container, Fact, Instance, InstanceId, Libc, LibcKind, PodDns, Resolver, ResolverSource, ServerRole,
    Whose, Workload,
};
use nslookout::live::Shared;
use nslookout::packet::{self, Packet};

/// Lookups of external names by musl 1.2.3 with a search list of three domains.
const CAPTURE: &str = "tests/corpus/held-out/amplification-musl-1.2.3-knot-fourth.pcap.zst";
/// Where they are said to have been seen.
const INTERFACE: Ifindex = Ifindex(7);

struct Kept {
    time: Timestamp,
    link_type: LinkType,
    bytes: Vec<u8>,
    to_server: bool,
}

impl Kept {
    fn frame(&self) -> Frame<'_> {
        let direction = if self.to_server { Direction::Ingress } else { Direction::Egress };
        let place = Place { ifindex: INTERFACE, kind: InterfaceKind::Pod, direction, ..place() };
        Frame {
            time: self.time,
            place: Some(place),
            link_type: self.link_type,
            original_length: self.bytes.len() as u32,
            vlan: None,
            bytes: &self.bytes,
        }
    }
}

fn place() -> Place {
    Place {
        ifindex: INTERFACE,
        kind: InterfaceKind::Pod,
        direction: Direction::Ingress,
        local_socket: None,
        cgroup: None,
    }
}

/// The packets of the capture, and who asks whom.
fn packets() -> (Vec<Kept>, std::net::IpAddr) {
    let (mut kept, mut server) = (Vec::new(), None);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(CAPTURE);
    PcapFileSource::open(&path).unwrap().drain(usize::MAX, &mut |frame| {
        let Ok(Packet::Payload(payload)) = packet::parse(frame) else { return };
        let to_server = payload.flow.destination.port() == 53;
        if to_server {
            server = Some(payload.flow.destination.ip());
        }
        let Frame { time, link_type, bytes, .. } = *frame;
        kept.push(Kept { time, link_type, bytes: bytes.to_vec(), to_server });
    });
    (kept, server.unwrap())
}

/// A pod as the API server and its processes describe it.
fn cart() -> Instance {
    let text = str::to_owned;
    Instance {
        id: InstanceId(text("6f0c2f6e-uid")),
        workload: Workload { namespace: text("shop"), kind: text("Deployment"), name: text("cart") },
        name: text("cart-7d9f"),
        containers: vec![Container {
            name: text("app"),
            image: Some(text("registry.example/cart:1.2")),
            id: None,
            libc: Some(Libc {
                kind: LibcKind::Musl,
                version: Some(text("1.2.3")),
                release: Some(text("Alpine 3.17.3")),
            }),
        }],
        resolver: Some(Resolver {
            resolv_conf: text(
                "nameserver 10.96.0.10\nsearch infra.svc.cluster.local svc.cluster.local cluster.local eu-north-1.compute.internal\noptions ndots:5\n",
            ),
            source: ResolverSource::PodSpec,
        }),
        dns: Some(PodDns { policy: text("ClusterFirst"), options: vec![text("edns0")], ..PodDns::default() }),
    }
}

fn facts(server: std::net::IpAddr) -> Vec<Fact> {
    let whose = Whose { interfaces: vec![INTERFACE], ..Whose::default() };
    vec![
        Fact::Here { whose, instance: Arc::new(cart()) },
        Fact::Server { address: server, role: ServerRole::Cluster },
    ]
}

/// What a live run shows.
#[derive(Default)]
struct Shown {
    lookups: Vec<String>,
    findings: Vec<String>,
}

fn engine() -> Engine {
    Engine::new(EngineConfig {
        ports: [53].into_iter().collect(),
        insight: Some(InsightConfig::default()),
        ..EngineConfig::default()
    })
}

/// Runs as a live capture does, and records; the facts are learnt before the packet `learnt`.
fn run(path: &Path, learnt: usize) -> (Shown, Engine) {
    let (packets, server) = packets();
    let mut engine = engine();
    let config = RecordConfig {
        path: path.to_owned(),
        rotation: Rotation::default(),
        encapsulation: Encapsulation::Cooked,
        ports: [53].into_iter().collect(),
        begun: Some(packets[0].time),
        zone: TimeZone::UTC,
        input: None,
    };
    let mut recording = Recording::create(config, Namer::Kernel(Default::default())).unwrap();
    let (mut names, mut shown) = (Names::default(), Shown::default());
    let lines = FindingLines { zone: TimeZone::UTC, colour: false, verbose: true };
    let lookups = LookupLines { zone: TimeZone::UTC, name_width: 40, shorten: false, verbose: false };
    let mut show = |report: &Report<'_>, names: &Names| match report {
        Report::Lookup(lookup) => shown.lookups.push(lookups.line(lookup, names)),
        Report::Finding(change) => shown.findings.push(lines.line(change, names)),
        _ => {}
    };
    for (number, kept) in packets.iter().enumerate() {
        if number == learnt {
            for fact in facts(server) {
                let time = engine.latest();
                engine.learn(time, &fact);
                names.learn(time, &fact);
                recording.fact(time, &fact).unwrap();
            }
        }
        let frame = kept.frame();
        recording.frame(&frame).unwrap();
        engine.tick(engine.latest().max(frame.time).before(FILE_LAG), &mut |report| show(&report, &names));
        engine.frame(&frame, &mut |report| show(&report, &names));
    }
    let end = engine.latest();
    engine.finish(end, &mut |report| show(&report, &names));
    recording.finish().unwrap();
    (shown, engine)
}

struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("nsltest-{}-{name}.pcapng", std::process::id())))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Reads the recording back; gives standard output.
fn read(arguments: &[&str], file: &File) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_nslookout"))
        .args(arguments)
        .arg("-r")
        .arg(&file.0)
        .env("TZ", "UTC")
        .output()
        .unwrap();
    assert!(output.status.code().is_some_and(|code| code < 2), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_recording_shows_the_same_names_and_findings() {
    for learnt in [0, 40] {
        let file = File::new(&format!("same-{learnt}"));
        let (shown, _) = run(&file.0, learnt);
        let lines =
            |arguments: &[&str]| -> String { read(arguments, &file).split_once('\n').unwrap().1.to_owned() };
        assert_eq!(lines(&["--lookups"]), shown.lookups.join("\n") + "\n", "{learnt}");
        assert_eq!(lines(&["--findings", "-v"]), shown.findings.join("\n") + "\n", "{learnt}");
        assert!(shown.lookups.last().unwrap().contains(" shop/cart-7d9f "), "{:?}", shown.lookups.last());
        let found = shown.findings.join("\n");
        assert!(found.contains("search-amplification") && found.contains("old-musl"), "{found}");
    }
}

#[test]
fn lines_have_names_and_with_n_addresses() {
    let file = File::new("lines");
    run(&file.0, 0);
    for arguments in [&[][..], &["--messages"], &["--lookups"], &["--findings"]] {
        let named = read(arguments, &file);
        assert!(named.contains("shop/cart"), "{arguments:?}: {named}");
        let numeric = read(&[arguments, &["-n"]].concat(), &file);
        assert!(!numeric.contains("shop/cart"), "{arguments:?}: {numeric}");
        assert_eq!(named.lines().count(), numeric.lines().count(), "{arguments:?}");
    }
    let object = |arguments: &[&str]| -> serde_json::Value {
        let text = read(&[&["-o", "json", "-c", "1"], arguments].concat(), &file);
        serde_json::from_str(text.lines().next().unwrap()).unwrap()
    };
    let workload = serde_json::json!({
        "namespace": "shop", "kind": "Deployment", "name": "cart", "instance": "cart-7d9f",
    });
    assert_eq!(object(&[])["client_workload"], workload);
    assert_eq!(object(&["--lookups"])["client_workload"], workload);
    assert_eq!(object(&["--messages"])["source_workload"], workload);
    assert_eq!(object(&["--findings"])["subject"]["workload"], workload);
    assert_eq!(object(&["--lookups"])["search_source"], "pod_spec");
    // Addresses stay.
    assert_eq!(object(&[])["client"], object(&["-n"])["client"]);
}

#[test]
fn a_report_names_the_workload_and_the_line_to_change() {
    let file = File::new("report");
    run(&file.0, 0);
    let report = read(&["diagnose"], &file);
    for part in [
        "search-amplification: shop/cart (Deployment), pod cart-7d9f, ",
        "old-musl: shop/cart (Deployment), pod cart-7d9f, ",
        "            # Deployment shop/cart: spec.template.spec\n            # kubectl -n shop edit deployment cart\n",
        "            dnsConfig:\n              options:\n              - name: edns0\n              - name: ndots\n",
    ] {
        assert!(report.contains(part), "no `{part}` in\n{report}");
    }
    let flat = report.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "- its image registry.example/cart:1.2 has musl 1.2.3 (Alpine 3.17.3, from its files)",
        "- ndots:5 and four search domains from dnsPolicy ClusterFirst in the pod spec",
    ] {
        assert!(flat.contains(part), "no `{part}` in\n{report}");
    }
}

/// The sum of all samples of a metric whose line has these words.
fn sum(text: &str, metric: &str, words: &[&str]) -> u64 {
    let samples = text.lines().filter(|line| line.starts_with(&format!("nslookout_{metric}{{")));
    let samples = samples.filter(|line| words.iter().all(|word| line.contains(word)));
    samples.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn metrics_are_by_workload_however_late_it_was_known() {
    let metrics = |learnt: usize| {
        let file = File::new(&format!("metrics-{learnt}"));
        let (_, engine) = run(&file.0, learnt);
        let build = Build { version: String::new(), revision: String::new(), kernel: String::new() };
        Metrics::new(Shared::new(engine), build).classic().unwrap()
    };
    let (early, late) = (metrics(0), metrics(40));
    let cart = ["namespace=\"shop\"", "workload=\"cart\""];
    for metric in ["queries_total", "responses_total"] {
        let all = sum(&early, metric, &[]);
        assert!(all > 100, "{early}");
        for text in [&early, &late] {
            assert_eq!((sum(text, metric, &[]), sum(text, metric, &cart)), (all, all), "{metric}");
        }
    }
    assert_eq!(sum(&early, "queries_total", &["resolver=\"cluster\""]), sum(&early, "queries_total", &[]));
    let answered = sum(&early, "responses_total", &[]);
    assert_eq!(sum(&early, "query_duration_seconds_count", &["namespace=\"shop\""]), answered);
}
