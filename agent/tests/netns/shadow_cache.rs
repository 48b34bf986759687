//! What the model of a cache foresees is what a real one does.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::agent::{Agent, NSLOOKOUT};
use crate::fixture::{Namespace, Node, Process, SERVER, plug};
use crate::needs_root;

/// The server that knows the names, beyond the node.
const ORIGIN: &str = "10.99.8.2";

/// A file that goes with its guard.
struct Temporary(PathBuf);

impl Temporary {
    fn new(node: &Node, name: &str, content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{}-{name}", node.node.name));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Names with five different TTLs, and an SOA for those that do not exist and for AAAA.
fn zone() -> String {
    let mut lines = String::from(
        " local-zone: \"test.\" static\n local-data: \"test. 3 SOA ns.test. root.test. 1 60 60 60 3\"\n",
    );
    for number in 0..200 {
        let ttl = [1, 2, 3, 5, 30][number % 5];
        lines += &format!(" local-data: \"n{number}.test. {ttl} A 10.1.2.3\"\n");
    }
    lines
}

/// A cache in the server's pod that forwards everything, with a socket for its statistics.
fn cache(node: &Node) -> (Process, Temporary, PathBuf) {
    let socket = std::env::temp_dir().join(format!("{}.socket", node.node.name));
    let text = format!(
        "server:\n use-syslog: no\n do-daemonize: no\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n directory: \"/\"\n \
         interface: 0.0.0.0\n access-control: 0.0.0.0/0 allow\n local-zone: \"test.\" nodefault\n module-config: \"iterator\"\n \
         num-threads: 1\n\
         remote-control:\n control-enable: yes\n control-interface: {}\n control-use-cert: no\n\
         forward-zone:\n name: \".\"\n forward-addr: {ORIGIN}\n",
        socket.display()
    );
    let config = Temporary::new(node, "cache.conf", &text);
    let process = node.server.spawn(&format!("unbound -d -c {}", config.0.display()));
    node.server.wait_for_server(53, &["udp", "tcp"]);
    (process, config, socket)
}

/// Plays the questions to `server` for some seconds under an agent; gives the queries that it saw, and how many of them a
/// cache would have answered.
fn foresee(node: &Node, questions: &Temporary, server: &str) -> (u64, u64) {
    let recording = Temporary::new(node, "stream.pcapng", "");
    let agent = Agent::watch(&node.node, &format!("-i cali1 -w {}", recording.0.display()));
    let file = questions.0.display();
    node.client.run(&format!("dnsperf -s {server} -d {file} -Q 400 -l 6 -c 4 -t 2"));
    agent.stop().expect_nothing_lost();
    let output =
        Command::new(NSLOOKOUT).args(["diagnose", "-o", "json", "-r"]).arg(&recording.0).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cache = &report["what_if"]["cache"];
    (cache["queries"].as_u64().unwrap(), cache["hits"].as_u64().unwrap())
}

#[test]
fn a_real_cache_answers_what_was_foreseen() {
    needs_root!();
    let node = Node::new();
    let origin = Namespace::new("origin");
    plug(&node.node, "eni2", &origin, 8);
    let _origin = origin.unbound(&zone());
    let (_cache, _config, socket) = cache(&node);
    // 200 names, every seventh question for one that does not exist, every fifth for AAAA.
    let lines: Vec<String> = (0..4_001_usize)
        .map(|number| {
            let host = number.wrapping_mul(7919) % 200;
            match number {
                number if number % 7 == 0 => format!("x{}.test A\n", host % 40),
                number if number % 5 == 0 => format!("n{host}.test AAAA\n"),
                _ => format!("n{host}.test A\n"),
            }
        })
        .collect();
    let questions = Temporary::new(&node, "questions", &lines.concat());

    // Without a cache: what would one save?
    let (queries, hits) = foresee(&node, &questions, ORIGIN);
    let foreseen = hits as f64 / queries as f64;
    // The same questions to a real one, which counts.
    let (seen, hits) = foresee(&node, &questions, SERVER);
    let control = format!("unbound-control -s {} stats_noreset", socket.display());
    let statistics = node.server.run(&control);
    let number = |key: &str| -> f64 {
        let line = statistics.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {key} in:\n{statistics}")).parse().unwrap()
    };
    let measured = number("total.num.cachehits") / number("total.num.queries");
    let at_cache = hits as f64 / seen as f64;
    eprintln!(
        "hit share: foreseen {foreseen:.4}, measured {measured:.4}, by the model at the cache {at_cache:.4}"
    );
    assert!((0.3..0.95).contains(&measured), "{measured}: the questions tell nothing");
    assert!((foreseen - measured).abs() <= 0.05, "foreseen {foreseen:.4}, measured {measured:.4}");
    assert!((at_cache - measured).abs() <= 0.05, "by the model {at_cache:.4}, measured {measured:.4}");
}
