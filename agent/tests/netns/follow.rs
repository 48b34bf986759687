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

/// CNIs make an interface under one name and give it another at once: all of a burst are watched, by their last names.
#[test]
fn interfaces_renamed_at_once_are_watched() {
    needs_root!();
    for by in [By::Tcx, By::Clsact] {
        let node = Node::new();
        let host = &node.node;
        let serve = Agent::start(host, &format!("serve {} --listen 127.0.0.1:9953", by.options()));
        let pods = || metric(host, "nslookout_attached_interfaces", "kind=\"pod\"");
        until("two pods", || (pods() == 2).then_some(()));
        for number in 0..20 {
            host.run(&format!("ip link add vethtmp{number} type veth peer name x{number}"));
            host.run(&format!("ip link set vethtmp{number} name caliz{number}"));
        }
        until("all of them", || (pods() == 22).then_some(()));
        assert_eq!(metric(host, "nslookout_attach_errors_total", ""), 0, "{by:?}");
        serve.stop();
    }
}

/// A bridge is an uplink from the moment that a default route leaves by it.
#[test]
fn a_default_route_that_comes_later_makes_an_uplink() {
    needs_root!();
    let node = Node::new();
    let host = &node.node;
    host.run("ip link add br0 type bridge");
    host.run("ip addr add 10.77.0.1/24 dev br0");
    host.run("ip link set br0 up");
    let serve = Agent::start(host, "serve --listen 127.0.0.1:9953");
    let uplinks = || metric(host, "nslookout_attached_interfaces", "kind=\"uplink\"");
    assert_eq!(uplinks(), 0);
    host.run("ip route add default via 10.77.0.2 dev br0 metric 50 onlink");
    until("the uplink", || (uplinks() == 1).then_some(()));
    host.run("ip route del default via 10.77.0.2 dev br0 metric 50");
    until("it to be none again", || (uplinks() == 0).then_some(()));
    serve.stop().expect_exact();
}

/// Attaching to a hundred interfaces by tcx takes a second or more; what passes meanwhile is not lost.
#[test]
fn packets_are_read_while_attaching_goes_on() {
    needs_root!();
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    let host = &node.node;
    for number in 0..60 {
        host.run(&format!("ip link add caliz{number} type veth peer name x{number}"));
    }
    let agent = Agent::spawn(host, "watch -o json");
    until("the first line, before everything is attached", || {
        node.ask("early.a.test");
        (!agent.lines().is_empty()).then_some(())
    });
    let early = !agent.stderr().contains("listening on");
    until("all to be attached", || agent.stderr().contains("listening on").then_some(()));
    agent.stop();
    assert!(early, "the first line came only after everything was attached");
}
