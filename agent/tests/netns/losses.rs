//! What a slow reader loses is counted exactly, and what it only reads late is not lost.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::agent::{Agent, By};
use crate::fixture::{Node, Process, Questions, SERVER, SOON};
use crate::needs_root;

/// What dnsperf says of itself.
struct Load {
    sent: u64,
    completed: u64,
}

impl Load {
    /// Runs dnsperf in the client's pod to its end.
    fn run(node: &Node, questions: &Questions, options: &str) -> Self {
        Self::of(&node.client.run(&Self::line(questions, options)))
    }

    fn line(questions: &Questions, options: &str) -> String {
        format!("dnsperf -s {SERVER} -d {} -t 10 {options}", questions.path.display())
    }

    fn of(output: &str) -> Self {
        let number = |what: &str| -> u64 {
            let line = output.lines().find_map(|line| line.trim().strip_prefix(what));
            let value = line.and_then(|rest| rest.split_whitespace().next());
            value.unwrap_or_else(|| panic!("no `{what}`: {output}")).parse().unwrap()
        };
        Self { sent: number("Queries sent:"), completed: number("Queries completed:") }
    }
}

/// One MiB holds fewer packets than these queries and answers.
const OVERFLOW: usize = 8_000;

/// Both sides' interfaces saw every query and answer. A packet socket loses packets that only the agent could judge,
/// too: the namespaces' multicast reports have IPv6 extension headers.
fn expect_all(by: By, matched: u64, load: &Load) {
    let all = 2 * (load.sent + load.completed);
    let strangers = if by == By::Packet { 16 } else { 0 };
    assert!((all..=all + strangers).contains(&matched), "{by:?}: {matched} of {all}");
}

fn check_overflow(by: By) {
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    let questions = Questions::new(&node, OVERFLOW);
    let agent = Agent::watch(&node.node, &format!("{} --ring 1", by.options()));
    agent.signal(Signal::STOP);
    let load = Load::run(&node, &questions, "-n 1");
    agent.signal(Signal::CONT);
    let ended = agent.stop();

    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let captured = ended.packets("captured");
    let dropped = ended.packets("dropped by kernel");
    let received = ended.packets("received by filter");
    assert!(dropped > 0 && captured > 0, "{}", ended.stderr);
    assert_eq!(captured + dropped, received, "{}", ended.stderr);
    expect_all(by, received, &load);
    let last = ended.stderr.lines().last().unwrap();
    let lost = last.strip_prefix("lost ").and_then(|rest| rest.split_once(" packets ("));
    let (lost, _) = lost.unwrap_or_else(|| panic!("{last}"));
    assert_eq!(lost.replace(',', ""), dropped.to_string(), "{last}");
    assert!(last.ends_with(&format!("may be overstated by up to {lost}")), "{last}");
}

#[test]
fn a_full_ring_is_counted() {
    needs_root!();
    check_overflow(By::Tcx);
}

#[test]
fn a_full_socket_is_counted() {
    needs_root!();
    check_overflow(By::Packet);
}

/// A sample line of the exposition.
fn sum_of(metrics: &str, name: &str, vantage: &str) -> u64 {
    let start = format!("nslookout_{name}_total{{");
    let label = format!("vantage=\"{vantage}\"");
    let samples = metrics.lines().filter(|line| line.starts_with(&start) && line.contains(&label));
    samples.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

/// For each vantage, every matched packet is either lost or an event.
fn check_ledger(by: By, lost_at: &str) {
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    let questions = Questions::new(&node, OVERFLOW);
    let serve = format!("serve {} --ring 1 --listen 127.0.0.1:9953", by.options());
    let agent = Agent::start(&node.node, &serve);
    let scrape = || node.node.run("curl -sS --max-time 10 http://127.0.0.1:9953/metrics");
    agent.signal(Signal::STOP);
    let load = Load::run(&node, &questions, "-n 1");
    agent.signal(Signal::CONT);
    // The ledger closes once all packets are read.
    let all = 2 * (load.sent + load.completed);
    let mut metrics = String::new();
    let (mut matched, mut open) = (0, Vec::new());
    let vantages = ["client", "server", "uplink", "unknown"];
    let deadline = Instant::now() + SOON;
    while Instant::now() < deadline && (matched < all || !open.is_empty()) {
        thread::sleep(Duration::from_millis(100));
        metrics = scrape();
        let sums = vantages.map(|vantage| {
            ["capture_packets", "capture_drops", "events"].map(|name| sum_of(&metrics, name, vantage))
        });
        matched = sums.iter().map(|[matched, ..]| matched).sum();
        open = sums.into_iter().filter(|[matched, lost, events]| *matched != lost + events).collect();
    }
    assert!(open.is_empty(), "matched, lost, events: {open:?}\n{metrics}");
    expect_all(by, matched, &load);
    assert!(sum_of(&metrics, "capture_drops", lost_at) > 0, "{metrics}");
    assert!(sum_of(&metrics, "events", "client") > 0, "{metrics}");
    assert!(sum_of(&metrics, "events", "server") > 0, "{metrics}");
    let ended = agent.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    expect_all(by, ended.packets("received by filter"), &load);
}

#[test]
fn the_ledger_of_a_full_ring_closes() {
    needs_root!();
    check_ledger(By::Clsact, "client");
}

#[test]
fn the_ledger_of_a_full_socket_closes() {
    needs_root!();
    check_ledger(By::Packet, "unknown");
}

/// Answers each query after 300 ms, so that dozens are under way at any moment.
const SLOW_SERVER: &str = r#"
import collections, select, socket, time

wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
wire.bind(("", 53))
waiting = collections.deque()
while True:
    pause = max(0, waiting[0][0] - time.monotonic()) if waiting else None
    if select.select([wire], [], [], pause)[0]:
        query, client = wire.recvfrom(4096)
        waiting.append((time.monotonic() + 0.3, query, client))
    while waiting and waiting[0][0] <= time.monotonic():
        _, query, client = waiting.popleft()
        wire.sendto(query[:2] + b"\x81\x80" + query[4:], client)
"#;

/// A reader that stands still for longer than the time-out takes nothing for unanswered.
#[test]
fn a_late_reader_invents_nothing() {
    needs_root!();
    let node = Node::new();
    let _server = node.server.spawn_python(SLOW_SERVER);
    node.server.wait_for_server(53, &["udp"]);
    let questions = Questions::new(&node, 100);
    let agents =
        [By::Tcx, By::Packet].map(|by| Agent::watch(&node.node, &format!("{} -i cali1", by.options())));
    // More than the agent reads in one go waits for it afterwards, with queries before a border, answers behind.
    let mut command = node.client.command(&Load::line(&questions, "-l 12 -Q 400 -q 1000"));
    let mut dnsperf = Process(command.stdout(Stdio::piped()).spawn().unwrap());
    for agent in &agents {
        agent.wait_for_lines(1);
        agent.signal(Signal::STOP);
    }
    // Not a wait for something: the standstill itself, longer than the 6 s of the time-out.
    thread::sleep(Duration::from_secs(10));
    for agent in &agents {
        agent.signal(Signal::CONT);
    }
    let mut output = String::new();
    std::io::Read::read_to_string(dnsperf.0.stdout.as_mut().unwrap(), &mut output).unwrap();
    let load = Load::of(&output);
    assert!(load.completed > 3_000, "{output}");
    assert_eq!(load.sent, load.completed, "{output}");
    for agent in agents {
        let ended = agent.stop();
        ended.expect_exact();
        assert!(ended.stderr.contains(" 0 no answer"), "{}", ended.stderr);
        assert!(ended.json.iter().all(|line| line["outcome"] == "answered"), "{}", ended.stderr);
        assert_eq!(ended.json.len() as u64, load.completed, "{}", ended.stderr);
    }
}
