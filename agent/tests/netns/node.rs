//! What the node itself asks, and what its pods ask beyond it, is one line each.

use serde_json::Value;

use crate::agent::{Agent, By, Ended};
use crate::fixture::{CLIENT, Namespace, Node, SERVER, plug};
use crate::needs_root;

/// A node whose default route leads over `up0` to a network with a resolver.
struct Uplinked {
    node: Node,
    outside: Namespace,
}

/// The resolver outside.
const OUTSIDE: &str = "10.99.9.2";
/// The same by IPv6.
const OUTSIDE_6: &str = "fd00:99:9::2";
/// The node's own address on the uplink.
const UPLINK: &str = "10.99.9.1";

impl Uplinked {
    fn new() -> Self {
        let node = Node::new();
        let outside = Namespace::new("outside");
        plug(&node.node, "up0", &outside, 9);
        node.node.run(&format!("ip route add default via {OUTSIDE}"));
        node.node.run(&format!("ip route add default via {OUTSIDE_6}"));
        Self { node, outside }
    }
}

/// Every line as `name client-address vantage interface outcome`, sorted.
fn brief(lines: &[Value]) -> Vec<String> {
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or("-").to_owned();
    let keys = ["qname", "transport", "client", "vantage", "interface", "outcome"];
    let mut brief: Vec<String> = lines.iter().map(|line| keys.map(|key| text(line, key)).join(" ")).collect();
    brief.sort();
    brief
}

/// Exactly these lines.
fn expect(ended: &Ended, mut expected: Vec<String>) {
    expected.sort();
    assert_eq!(brief(&ended.json), expected, "{:#?}", ended.json);
    ended.expect_exact();
}

#[test]
fn the_node_asks_itself() {
    needs_root!();
    let node = Node::new();
    // dnsmasq serves TCP on addresses that an interface has.
    node.node.run("ip addr add 127.0.0.53/8 dev lo");
    let _server = node.node.dnsmasq(53, "--listen-address=127.0.0.53 --listen-address=::1");
    for by in [By::Tcx, By::Clsact, By::Packet] {
        let agent = Agent::watch(&node.node, by.options());
        node.node.run("dig +tries=1 @127.0.0.53 udp.a.test");
        node.node.run("dig +tries=1 +tcp @127.0.0.53 tcp.a.test");
        node.node.run("dig +tries=1 @::1 six.a.test");
        agent.wait_for_lines(3);
        expect(
            &agent.stop(),
            vec![
                "udp.a.test. udp 127.0.0.1 client lo answered".into(),
                "tcp.a.test. tcp 127.0.0.1 client lo answered".into(),
                "six.a.test. udp ::1 client lo answered".into(),
            ],
        );
    }
}

fn check_uplink(by: By) {
    let Uplinked { node, outside } = Uplinked::new();
    let _server = outside.dnsmasq(53, "");
    for masquerade in [false, true] {
        if masquerade {
            node.node.run("nft add table ip nat");
            node.node.run("nft add chain ip nat post { type nat hook postrouting priority 100 ; }");
            node.node.run("nft add rule ip nat post oifname up0 ip saddr 10.99.1.0/24 masquerade");
        }
        let agent = Agent::watch(&node.node, by.options());
        for tcp in ["+notcp", "+tcp"] {
            node.node.run(&format!("dig +tries=1 {tcp} @{OUTSIDE} host.a.test"));
            node.node.run(&format!("dig +tries=1 {tcp} @{OUTSIDE_6} host6.a.test"));
            node.dig(&format!("{tcp} @{OUTSIDE} pod.a.test"));
            node.dig(&format!("{tcp} @{OUTSIDE_6} pod6.a.test"));
        }
        agent.wait_for_lines(8);
        let mut expected = Vec::new();
        for transport in ["udp", "tcp"] {
            expected.extend([
                format!("host.a.test. {transport} {UPLINK} client up0 answered"),
                format!("host6.a.test. {transport} fd00:99:9::1 client up0 answered"),
                format!("pod.a.test. {transport} {CLIENT} client cali1 answered"),
                format!("pod6.a.test. {transport} fd00:99:1::2 client cali1 answered"),
            ]);
        }
        expect(&agent.stop(), expected);
    }
}

#[test]
fn the_uplink_by_tcx() {
    needs_root!();
    check_uplink(By::Tcx);
}

#[test]
fn the_uplink_by_clsact() {
    needs_root!();
    check_uplink(By::Clsact);
}

#[test]
fn the_uplink_by_a_packet_socket() {
    needs_root!();
    check_uplink(By::Packet);
}

/// A pod asks a cache on the node, which asks outside: a line each.
#[test]
fn a_cache_on_the_node_asks_by_itself() {
    needs_root!();
    let Uplinked { node, outside } = Uplinked::new();
    let _server = outside.dnsmasq(53, "");
    let _cache = node.node.dnsmasq(53, &format!("--server=/up.a.test/{OUTSIDE} --cache-size=0"));
    for by in [By::Tcx, By::Packet] {
        let agent = Agent::watch(&node.node, by.options());
        node.dig("@10.99.1.1 up.a.test");
        agent.wait_for_lines(2);
        expect(
            &agent.stop(),
            vec![
                format!("up.a.test. udp {CLIENT} client cali1 answered"),
                format!("up.a.test. udp {UPLINK} client up0 answered"),
            ],
        );
    }
}

/// A limit that is known: the node's own questions to a pod are seen where the pod answers, and nowhere else.
#[test]
fn the_node_asks_a_pod() {
    needs_root!();
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    for by in [By::Tcx, By::Packet] {
        let agent = Agent::watch(&node.node, by.options());
        node.node.run(&format!("dig +tries=1 @{SERVER} a.test"));
        agent.wait_for_lines(1);
        expect(&agent.stop(), vec!["a.test. udp 10.99.2.1 server eni1 answered".into()]);
    }
}

/// Behind a service's address: the pod asks the service, the server's pod sees itself asked, and that is one line.
#[test]
fn a_service_is_one_line() {
    needs_root!();
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    node.node.run("nft add table ip nat");
    node.node.run("nft add chain ip nat pre { type nat hook prerouting priority -100 ; }");
    node.node.run(&format!("nft add rule ip nat pre ip daddr 10.96.0.10 dnat to {SERVER}"));
    for by in [By::Tcx, By::Clsact, By::Packet] {
        let agent = Agent::watch(&node.node, by.options());
        node.dig("@10.96.0.10 udp.a.test");
        node.dig("+tcp @10.96.0.10 tcp.a.test");
        agent.wait_for_lines(2);
        let ended = agent.stop();
        assert!(ended.json.iter().all(|line| line["server"] == "10.96.0.10"), "{:#?}", ended.json);
        expect(
            &ended,
            ["udp", "tcp"]
                .map(|transport| format!("{transport}.a.test. {transport} {CLIENT} client cali1 answered"))
                .to_vec(),
        );
    }
}
