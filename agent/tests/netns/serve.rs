//! What `serve` tells on standard error.

use std::thread;
use std::time::Duration;

use crate::agent::Agent;
use crate::fixture::{Node, until};
use crate::needs_root;

#[test]
fn a_finding_that_grows_worse_is_told() {
    needs_root!();
    let node = Node::new();
    // Nobody is asked for what it does not know: it refuses that.
    let _server = node.server.dnsmasq(53, "");
    let agent = Agent::start(&node.node, "serve --listen 127.0.0.1:0 -i cali1");
    let told = |state: &str, severity: &str| {
        until(&format!("refused {state} with {severity}"), || {
            let stderr = agent.stderr();
            let is_told = |line: &&str| [state, severity, "refused"].iter().all(|word| line.contains(word));
            stderr.lines().find(is_told).map(str::to_owned)
        })
    };
    node.ask("once.elsewhere");
    let opened = told("opened", "low");
    assert!(opened.contains("10.99.1.2"), "{opened}");
    // Again and again, with pauses: each is a lookup of its own.
    for name in ["once.elsewhere", "twice.elsewhere", "once.elsewhere", "thrice.elsewhere"] {
        thread::sleep(Duration::from_secs(2));
        node.ask(name);
    }
    let changed = told("changed", "warning");
    assert!(changed.contains("10.99.1.2"), "{changed}");
    agent.stop().expect_nothing_lost();
}
