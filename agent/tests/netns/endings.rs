//! However the agent ends, it ends in order.

use std::io::{self, BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use aya::programs::TcAttachType;
use nslookout::capture::counters::CaptureCounters;
use nslookout::capture::interfaces::Selection;
use nslookout::capture::{AttachMethod, CaptureMethod, LiveConfig, Source};
use nslookout::engine::{Engine, EngineConfig, Report};
use nslookout::identity::Identity;
use nslookout::live::{self, Live, Screen, Shared, Signals};
use rustix::process::Signal;

use crate::agent::{Agent, By, NSLOOKOUT, expect_nothing, tcx};
use crate::fixture::{Node, Process, Questions, SERVER, until};
use crate::needs_root;

#[test]
fn signals_end_it_with_a_summary() {
    needs_root!();
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    for by in [By::Tcx, By::Clsact, By::Packet] {
        for signal in [Signal::TERM, Signal::INT] {
            let agent = Agent::watch(&node.node, by.options());
            node.ask("a.test");
            agent.wait_for_lines(1);
            agent.signal(signal);
            let ended = agent.wait();
            ended.expect_exact();
            assert!(ended.stderr.contains("  1 answered  0 no answer"), "{}", ended.stderr);
            assert_eq!(ended.packets("captured"), 4, "{}", ended.stderr);
            expect_nothing(&node.node, &["cali1", "eni1", "lo"]);
        }
    }
}

/// A query that waits at the end is neither answered nor unanswered.
#[test]
fn what_waits_at_the_end_is_said_to_wait() {
    needs_root!();
    let node = Node::new();
    let agent = Agent::watch(&node.node, "-i cali1");
    let _dig = node.client.spawn(&format!("dig +tries=1 +timeout=9 @{SERVER} waits.a.test"));
    agent.signal(Signal::USR1);
    until("the query to be captured", || {
        agent.signal(Signal::USR1);
        agent.stderr().contains("\n1 packets captured").then_some(())
    });
    let ended = agent.stop();
    ended.expect_exact();
    assert_eq!(ended.json.len(), 1, "{:#?}", ended.json);
    assert_eq!(ended.json[0]["outcome"], "waiting", "{:#?}", ended.json);
    assert!(ended.stderr.contains("0 no answer  1 still waiting at the end"), "{}", ended.stderr);
}

#[test]
fn so_many_lines_or_so_long() {
    needs_root!();
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    let agent = Agent::watch(&node.node, "-c 2");
    for number in 0..3 {
        node.ask(&format!("n{number}.a.test"));
    }
    let ended = agent.wait();
    ended.expect_exact();
    assert_eq!(ended.json.len(), 2, "{:#?}", ended.json);
    expect_nothing(&node.node, &["cali1", "eni1", "lo"]);

    let ended = Agent::watch(&node.node, "--for 300ms").wait();
    ended.expect_exact();
    assert!(ended.stderr.contains("--- no DNS packet, any ---"), "{}", ended.stderr);
    expect_nothing(&node.node, &["cali1", "eni1", "lo"]);
}

/// `| head -1` in its essence: the reader goes after the first line.
#[test]
fn a_closed_pipe_ends_it_quietly() {
    needs_root!();
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    let questions = Questions::new(&node, 100);
    for by in [By::Tcx, By::Clsact, By::Packet] {
        let mut command = node.node.command(&format!("{NSLOOKOUT} {}", by.options()));
        let mut agent = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut first = String::new();
        BufReader::new(agent.0.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(first.starts_with("time "), "{first}");
        // The pipe is closed now; the first transaction finds that out.
        let line = format!("dnsperf -s {SERVER} -d {} -l 5 -Q 20", questions.path.display());
        let _load = node.client.spawn(&line);
        let status = until("the end of the agent", || agent.0.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{by:?}");
        let mut told = String::new();
        io::Read::read_to_string(agent.0.stderr.as_mut().unwrap(), &mut told).unwrap();
        let others: Vec<&str> = told.lines().filter(|line| !line.starts_with("listening on")).collect();
        assert_eq!(others, Vec::<&str>::new(), "{by:?}");
        expect_nothing(&node.node, &["cali1", "eni1", "lo"]);
    }
}

/// A screen with a bug.
struct Panicking;

impl Screen for Panicking {
    fn report(&mut self, _report: &Report<'_>) -> io::Result<ControlFlow<()>> {
        panic!("on purpose")
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn attached(&mut self, _took: Duration, _error: Option<String>, _counters: &CaptureCounters) {}

    fn statistics(&mut self, _live: &Live) {}
}

#[test]
fn a_panic_leaves_nothing_behind() {
    needs_root!();
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    let questions = Questions::new(&node, 100);
    for attach in [AttachMethod::Tcx, AttachMethod::Clsact] {
        let line = format!("dnsperf -s {SERVER} -d {} -l 10 -Q 20", questions.path.display());
        let _load = node.client.spawn(&line);
        let ended = node.node.enter(|| {
            let config = LiveConfig {
                selection: Selection::Any,
                netns: Vec::new(),
                capture: CaptureMethod::Ebpf,
                attach,
                ports: [53].into_iter().collect(),
                vpc_resolvers: Vec::new(),
                ring_bytes: 1 << 20,
            };
            let mut source = Source::live(&config).unwrap().0;
            until("the hooks", || source.first_round());
            let hooks: u32 = source.counters().unwrap().interfaces.iter().map(|link| link.hooks).sum();
            assert_eq!(hooks, 5, "two pods and lo");
            let engine = EngineConfig { ports: config.ports.clone(), ..EngineConfig::default() };
            let shared = Shared::new(Engine::new(engine));
            let signals = Signals::catch(Arc::default()).unwrap();
            live::run(&mut source, &shared, &signals, None, &mut Identity::none(), &mut Panicking)
        });
        let panic = ended.expect_err("it must panic");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
        // A child that another test starts in this very moment holds our descriptors until it becomes its program.
        for link in ["cali1", "eni1", "lo"] {
            for hook in [TcAttachType::Ingress, TcAttachType::Egress] {
                until("the links to go", || tcx(&node.node, link, hook).is_empty().then_some(()));
            }
        }
        expect_nothing(&node.node, &["cali1", "eni1", "lo"]);
    }
}
