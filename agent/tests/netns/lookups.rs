//! What a pod asks is one line, whatever the method, transport, address family and answer.

use aya::programs::TcAttachType;
use serde_json::Value;

use crate::agent::{Agent, By, expect_nothing, filters, has_clsact, tcx};
use crate::fixture::{CLIENT, CLIENT_6, Node, SERVER, SERVER_6};
use crate::needs_root;

/// One lookup by dig and what its line says.
struct Case {
    transport: &'static str,
    client: &'static str,
    server: &'static str,
    port: u16,
    name: &'static str,
    qtype: &'static str,
    rcode: &'static str,
    data: Option<&'static str>,
}

/// Every transport with every address family, with and without a name.
fn cases(first_port: u16) -> Vec<Case> {
    let mut cases = Vec::new();
    for transport in ["udp", "tcp"] {
        for (client, server) in [(CLIENT, SERVER), (CLIENT_6, SERVER_6)] {
            for (name, qtype, rcode, data) in [
                ("a.test", "A", "NOERROR", Some("10.1.2.3")),
                ("a.test", "AAAA", "NOERROR", Some("fd00::123")),
                ("missing.test", "A", "NXDOMAIN", None),
            ] {
                let port = first_port + cases.len() as u16;
                cases.push(Case { transport, client, server, port, name, qtype, rcode, data });
            }
        }
    }
    cases
}

impl Case {
    fn ask(&self, node: &Node) {
        let Self { client, server, port, name, qtype, .. } = self;
        let tcp = if self.transport == "tcp" { "+tcp" } else { "+notcp" };
        node.dig(&format!("-b {client}#{port} @{server} {tcp} {name} {qtype}"));
    }

    /// The line is about this lookup, and right.
    fn check(&self, lines: &[Value], vantage: &str) {
        let own = |line: &&Value| line["client_port"] == self.port && line["vantage"] == vantage;
        let mine: Vec<&Value> = lines.iter().filter(own).collect();
        let [line] = mine.as_slice() else {
            panic!("not one line of {vantage} port {}: {mine:#?}\nof {lines:#?}", self.port)
        };
        let text = |key: &str| line[key].as_str().unwrap_or_else(|| panic!("no {key}: {line:#}"));
        assert_eq!(text("outcome"), "answered", "{line:#}");
        assert_eq!(text("qname"), format!("{}.", self.name), "{line:#}");
        assert_eq!(text("qtype"), self.qtype, "{line:#}");
        assert_eq!(text("rcode"), self.rcode, "{line:#}");
        assert_eq!(text("transport"), self.transport, "{line:#}");
        assert_eq!(text("client"), self.client, "{line:#}");
        assert_eq!(text("server"), self.server, "{line:#}");
        assert_eq!(line["server_port"], 53, "{line:#}");
        assert_eq!(line["sends"], 1, "{line:#}");
        assert_eq!(line["partial"], false, "{line:#}");
        assert_eq!(line["answers"][0]["data"].as_str(), self.data, "{line:#}");
        let latency = line["latency_ns"].as_u64().unwrap();
        assert!(latency > 0 && latency < 5_000_000_000, "{line:#}");
        let (interface, direction) =
            if vantage == "client" { ("cali1", "ingress") } else { ("eni1", "egress") };
        assert_eq!(text("interface"), interface, "{line:#}");
        assert_eq!(text("direction"), direction, "{line:#}");
    }
}

/// Looks up every case under `by`, at the client's interface, the server's, and at all.
fn check(by: By) {
    let node = Node::new();
    let _server = node.server.dnsmasq(53, "");
    // Where both ends are watched a lookup is printed once, as its client saw it.
    for (first_port, links, vantage) in
        [(40_000, "-i cali1", "client"), (41_000, "-i eni1", "server"), (42_000, "", "client")]
    {
        let agent = Agent::watch(&node.node, &format!("{} {links}", by.options()));
        expect_hooks(&node, by, links);
        let cases = cases(first_port);
        for case in &cases {
            case.ask(&node);
        }
        agent.wait_for_lines(cases.len());
        let ended = agent.stop();
        ended.expect_exact();
        for case in &cases {
            case.check(&ended.json, vantage);
        }
        assert_eq!(ended.json.len(), cases.len(), "{:#?}", ended.json);
        // Every UDP lookup is two packets; each TCP one brings its handshake.
        let captured = ended.packets("captured");
        assert!(captured >= 2 * ended.json.len() as u64, "{}", ended.stderr);
        assert_eq!(ended.packets("received by filter"), captured, "{}", ended.stderr);
        assert_eq!(ended.packets("dropped by kernel"), 0);
        expect_nothing(&node.node, &["cali1", "eni1", "lo"]);
    }
}

/// What the kernel says of the hooks of the watched interfaces, and of the others; on `lo` egress alone is used.
fn expect_hooks(node: &Node, by: By, links: &str) {
    for link in ["cali1", "eni1", "lo"] {
        let watched = links.is_empty() || links.contains(link);
        assert_eq!(has_clsact(&node.node, link), watched && by == By::Clsact, "{link}");
        for (hook, tcx_hook) in [("ingress", TcAttachType::Ingress), ("egress", TcAttachType::Egress)] {
            let used = watched && (link != "lo" || hook == "egress");
            let expected = if used && by == By::Tcx { vec![format!("nsl_{hook}")] } else { Vec::new() };
            assert_eq!(tcx(&node.node, link, tcx_hook), expected, "{link} {hook}");
            let shown = filters(&node.node, link, hook);
            assert_eq!(shown.contains("nslookout-"), used && by == By::Clsact, "{link} {hook}: {shown}");
            assert_eq!(shown.contains("pref 1 "), used && by == By::Clsact, "{link} {hook}: {shown}");
        }
    }
}

#[test]
fn lookups_are_seen_by_tcx() {
    needs_root!();
    check(By::Tcx);
}

#[test]
fn lookups_are_seen_by_clsact() {
    needs_root!();
    check(By::Clsact);
}

#[test]
fn lookups_are_seen_by_a_packet_socket() {
    needs_root!();
    check(By::Packet);
}

/// Only what goes to or from the given ports is looked at.
#[test]
fn ports_are_chosen() {
    needs_root!();
    let node = Node::new();
    let ports = [53, 5353, 5454];
    let _servers = ports.map(|port| node.server.dnsmasq(port, ""));
    for by in [By::Tcx, By::Packet] {
        for (options, expected) in
            [("--port 5353", &[5353][..]), ("--port 5454 --port 53", &[53, 5454]), ("", &[53])]
        {
            let agent = Agent::watch(&node.node, &format!("{} -i cali1 {options}", by.options()));
            for port in ports {
                node.dig(&format!("@{SERVER} -p {port} p{port}.a.test"));
                node.dig(&format!("@{SERVER} -p {port} +tcp p{port}.a.test"));
            }
            // The last one asked for may have the smallest port: all wanted ones are waited for.
            agent.wait_for_lines(2 * expected.len());
            let ended = agent.stop();
            ended.expect_exact();
            let mut seen: Vec<u64> =
                ended.json.iter().map(|line| line["server_port"].as_u64().unwrap()).collect();
            seen.sort_unstable();
            let twice: Vec<u64> = expected.iter().flat_map(|port| [*port, *port]).collect();
            assert_eq!(seen, twice, "{by:?} {options}: {:#?}", ended.json);
            for line in &ended.json {
                assert_eq!(line["outcome"], "answered", "{line:#}");
                assert_eq!(line["qname"], format!("p{}.a.test.", line["server_port"]), "{line:#}");
            }
        }
    }
}
