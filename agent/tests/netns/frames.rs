//! Frames out of the ordinary: VLAN tags, large answers, fragments, segments that the card would cut.

use std::fmt::Write as _;

use serde_json::Value;

use crate::agent::{Agent, By};
use crate::fixture::{Namespace, Node, SERVER, SERVER_6, Unbound};
use crate::needs_root;

/// Sends queries over `eth0` or what `LINK` says, with tags in the frames' own bytes.
const TAGGED: &str = r#"
import socket, struct

def query(number, name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)

def udp(number, name):
    payload = query(number, name)
    return struct.pack("!4H", 40000 + number, 53, 8 + len(payload), 0) + payload

def ipv4(body):
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, 17, 0,
                         socket.inet_aton("10.99.1.2"), socket.inet_aton("10.99.2.2"))
    return b"\x08\x00" + header + body

def ipv6(body):
    header = struct.pack("!IHBB16s16s", 0x60000000, len(body), 17, 64,
                         socket.inet_pton(socket.AF_INET6, "fd00:99:1::2"),
                         socket.inet_pton(socket.AF_INET6, "fd00:99:2::2"))
    return b"\x86\xdd" + header + body

def send(packet, *tags):
    frame = b"\xff" * 6 + b"\x02\0\0\0\0\x07"
    for kind, number in tags:
        frame += struct.pack("!2H", kind, number)
    wire.send(frame + packet)

wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("LINK", 0))
send(ipv4(udp(1, "plain.LINK.test")))
send(ipv4(udp(2, "tagged.LINK.test")), (0x8100, 5))
send(ipv6(udp(3, "tagged6.LINK.test")), (0x8100, 5))
send(ipv4(udp(4, "qinq.LINK.test")), (0x88a8, 6), (0x8100, 7))
send(ipv6(udp(5, "qinq6.LINK.test")), (0x88a8, 6), (0x8100, 7))
"#;

fn check_tags(by: By) {
    let node = Node::new();
    let agent = Agent::watch(&node.node, &format!("{} -i cali1 --timeout 1s", by.options()));
    // Out of the pod the kernel takes the outer tag out of the bytes before our hook; towards the pod it does not.
    node.client.python(&TAGGED.replace("LINK", "eth0"));
    node.node.python(&TAGGED.replace("LINK", "cali1"));
    agent.wait_for_lines(10);
    let ended = agent.stop();
    ended.expect_exact();
    assert_eq!(ended.json.len(), 10, "{:#?}", ended.json);
    for (link, vantage, direction) in [("eth0", "client", "ingress"), ("cali1", "server", "egress")] {
        for (number, kind) in ["plain", "tagged", "tagged6", "qinq", "qinq6"].iter().enumerate() {
            let name = format!("{kind}.{link}.test.");
            let lines: Vec<&Value> = ended.json.iter().filter(|line| line["qname"] == name).collect();
            let [line] = lines.as_slice() else { panic!("not one line of {name}: {:#?}", ended.json) };
            assert_eq!(line["outcome"], "unanswered", "{line:#}");
            assert_eq!(line["vantage"], vantage, "{line:#}");
            assert_eq!(line["direction"], direction, "{line:#}");
            assert_eq!(line["client_port"], 40_001 + number, "{line:#}");
        }
    }
}

#[test]
fn vlan_tags_by_tcx() {
    needs_root!();
    check_tags(By::Tcx);
}

#[test]
fn vlan_tags_by_clsact() {
    needs_root!();
    check_tags(By::Clsact);
}

#[test]
fn vlan_tags_by_a_packet_socket() {
    needs_root!();
    check_tags(By::Packet);
}

/// A server whose names `rN.big.test` have N addresses.
fn big_server(server: &Namespace) -> Unbound {
    let mut lines = String::from(" max-udp-size: 65000\n local-zone: \"big.test.\" static\n");
    for count in [20, 60, 240, 350, 500, 3_000] {
        for number in 0..count {
            let (high, low) = (number / 250, number % 250);
            let _ = writeln!(lines, " local-data: \"r{count}.big.test. 60 A 10.2.{high}.{low}\"");
        }
    }
    server.unbound(&lines)
}

fn set_mtu(node: &Node, mtu: u32) {
    for (namespace, link) in
        [(&node.node, "cali1"), (&node.node, "eni1"), (&node.client, "eth0"), (&node.server, "eth0")]
    {
        namespace.run(&format!("ip link set {link} mtu {mtu}"));
    }
}

/// An answer of `count` addresses, whole or up to where the capture could read.
fn expect_big(line: &Value, count: usize, transport: &str, whole: bool) {
    assert_eq!(line["outcome"], "answered", "{line:#}");
    assert_eq!(line["rcode"], "NOERROR", "{line:#}");
    assert_eq!(line["truncated"], false, "{line:#}");
    assert_eq!(line["transport"], transport, "{line:#}");
    // Sixteen bytes for each, behind header, question and EDNS; of UDP the first fragment's length is the datagram's.
    let bytes = line["response_bytes"].as_u64().unwrap() as usize;
    assert!((16 * count..16 * count + 80).contains(&bytes), "{line:#}");
    assert_eq!(line["partial"], !whole, "{line:#}");
    let answers = line["answers"].as_array().unwrap();
    assert!(if whole { answers.len() == count } else { answers.len() < count }, "{line:#}");
    assert!(!answers.is_empty(), "{line:#}");
}

/// Answers on a network of large frames: UDP up to the 4 KiB of a record, TCP of any size.
fn check_large(by: By) {
    let node = Node::new();
    let _server = big_server(&node.server);
    set_mtu(&node, 9_000);
    let agent = Agent::watch(&node.node, &format!("{} -i cali1", by.options()));
    let dig = "+nocookie +bufsize=16000 +ignore";
    for (count, server) in [(20, SERVER), (60, SERVER_6), (240, SERVER), (240, SERVER_6), (500, SERVER)] {
        node.dig(&format!("{dig} @{server} r{count}.big.test"));
    }
    agent.wait_for_lines(5);
    let ended = agent.stop();
    ended.expect_nothing_lost();
    assert_eq!(ended.json.len(), 5, "{:#?}", ended.json);
    for (line, count) in ended.json.iter().zip([20, 60, 240, 240, 500]) {
        // A packet socket has no records: it reads whole packets.
        expect_big(line, count, "udp", count < 250 || by == By::Packet);
    }
    assert_eq!(ended.note("cut off"), u64::from(by != By::Packet), "{}", ended.stderr);
}

#[test]
fn large_datagrams_by_tcx() {
    needs_root!();
    check_large(By::Tcx);
}

#[test]
fn large_datagrams_by_a_packet_socket() {
    needs_root!();
    check_large(By::Packet);
}

/// Over a veth TCP sends what the window allows in one piece, which a card would cut: 6 KiB to a dig whose largest
/// segment is 1220 bytes. An answer of several such pieces is read whole, too.
fn check_segments(by: By) {
    let node = Node::new();
    let _server = big_server(&node.server);
    let cases = [(60, SERVER), (240, SERVER_6), (350, SERVER), (350, SERVER_6), (3_000, SERVER)];
    let agent = Agent::watch(&node.node, &format!("{} -i cali1", by.options()));
    for (count, server) in cases {
        node.dig(&format!("+tcp @{server} r{count}.big.test"));
    }
    agent.wait_for_lines(cases.len());
    let ended = agent.stop();
    ended.expect_exact();
    assert_eq!(ended.json.len(), cases.len(), "{:#?}", ended.json);
    for (line, (count, _)) in ended.json.iter().zip(cases) {
        expect_big(line, count, "tcp", true);
    }
}

#[test]
fn large_segments_by_tcx() {
    needs_root!();
    check_segments(By::Tcx);
}

#[test]
fn large_segments_by_clsact() {
    needs_root!();
    check_segments(By::Clsact);
}

#[test]
fn large_segments_by_a_packet_socket() {
    needs_root!();
    check_segments(By::Packet);
}

/// A datagram larger than the MTU is read by its first fragment; the others are counted.
fn check_fragments(by: By) {
    let node = Node::new();
    let _server = big_server(&node.server);
    let agent = Agent::watch(&node.node, &format!("{} -i cali1", by.options()));
    for server in [SERVER, SERVER_6] {
        node.dig(&format!("+bufsize=16000 +ignore @{server} r240.big.test"));
    }
    agent.wait_for_lines(2);
    let ended = agent.stop();
    ended.expect_nothing_lost();
    assert_eq!(ended.json.len(), 2, "{:#?}", ended.json);
    for line in &ended.json {
        expect_big(line, 240, "udp", false);
    }
    // Two of IPv4; unbound sends by the smallest MTU of IPv6, which makes three.
    assert_eq!(ended.note("later fragments"), 5, "{}", ended.stderr);
}

#[test]
fn fragments_by_tcx() {
    needs_root!();
    check_fragments(By::Tcx);
}

#[test]
fn fragments_by_a_packet_socket() {
    needs_root!();
    check_fragments(By::Packet);
}
