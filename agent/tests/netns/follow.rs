//! Pods come and go while the agent runs.

use crate::agent::{Agent, By};
use crate::fixture::{Namespace, Node, SERVER, plug, until};
use crate::needs_root;

/// The sum of a metric's samples whose labels hold `label`.
fn metric(node: &Namespace, name: &str, label: &str) -> u64 {
    let metrics = node.run("curl -sS --max-time 10 http://127.0.0.1:9953/metrics");
    let samples = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
    samples.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

fn check(by: By) {
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    let host = &node.node;
    let serve = Agent::start(host, &format!("serve {} --listen 127.0.0.1:9953", by.options()));
    let watch = Agent::watch(host, by.options());
    let pods = || metric(host, "nslookout_attached_interfaces", "kind=\"pod\"");
    let client_packets = || metric(host, "nslookout_capture_packets_total", "vantage=\"client\"");
    until("two pods", || (pods() == 2).then_some(()));

    for (round, name) in ["first.a.test", "second.a.test"].into_iter().enumerate() {
        let pod = Namespace::new("pod");
        plug(host, "cali7", &pod, 7);
        pod.run(&format!("dig +tries=1 +timeout=5 @{SERVER} {name}"));
        let line = watch.wait_for_name(name);
        assert_eq!(line["outcome"], "answered", "{line:#}");
        assert_eq!(line["vantage"], "client", "{line:#}");
        assert_eq!(line["interface"], "cali7", "{line:#}");
        assert_eq!(line["client"], "10.99.7.2", "{line:#}");
        until("the new pod's packets to be counted", || {
            (client_packets() == 2 * (round as u64 + 1)).then_some(())
        });
        until("the new pod to be counted", || (pods() == 3).then_some(()));
        host.run("ip link del cali7");
        until("the pod to be gone", || (pods() == 2).then_some(()));
        // What was counted stays counted.
        assert_eq!(client_packets(), 2 * (round as u64 + 1));
    }
    node.ask("after.a.test");
    assert_eq!(watch.wait_for_name("after.a.test")["interface"], "cali1");
    watch.stop().expect_exact();
    assert_eq!(metric(host, "nslookout_attach_errors_total", ""), 0);
    serve.stop().expect_exact();
}

#[test]
fn a_new_pod_by_tcx() {
    needs_root!();
    check(By::Tcx);
}

#[test]
fn a_new_pod_by_clsact() {
    needs_root!();
    check(By::Clsact);
}

#[test]
fn a_new_pod_by_a_packet_socket() {
    needs_root!();
    check(By::Packet);
}

/// A pattern that matches nothing yet waits for what will.
#[test]
fn a_pattern_waits() {
    needs_root!();
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    for by in [By::Tcx, By::Clsact, By::Packet] {
        let agent = Agent::watch(&node.node, &format!("{} -i web*", by.options()));
        let told = "`web*` matches no interface yet; one that appears will be watched";
        assert!(agent.stderr().contains(told), "{}", agent.stderr());
        let pod = Namespace::new("pod");
        plug(&node.node, "web1", &pod, 7);
        pod.run(&format!("dig +tries=1 +timeout=5 @{SERVER} a.test"));
        let line = agent.wait_for_name("a.test");
        assert_eq!(line["interface"], "web1", "{line:#}");
        node.node.run("ip link del web1");
        agent.stop().expect_exact();
    }
}
