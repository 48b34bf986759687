//! Answers that are larger than the link: in fragments of any order, with some of them missing; and one of 63 kB in one
//! piece.

use serde_json::Value;

use crate::agent::{Agent, By, Ended};
use crate::fixture::{Namespace, Node, Process, SERVER, SERVER_6, until};
use crate::needs_root;

/// A server whose names `bigN.test` have N records of 263 bytes, whatever the client takes.
fn responder(namespace: &Namespace, address: &str) -> Process {
    let server =
        namespace.spawn(&format!("python3 {}/tests/data/responder.py {address}", env!("CARGO_MANIFEST_DIR")));
    until(&format!("a server on {address}"), || {
        namespace.run("ss -Hlnu sport = :53").contains(address).then_some(())
    });
    server
}

/// Bytes of an answer: header, question and records.
fn bytes_of(name: &str, records: usize) -> usize {
    12 + name.len() + 2 + 4 + records * 263
}

fn answers(line: &Value) -> usize {
    line["answers"].as_array().unwrap().len()
}

fn line_of<'a>(ended: &'a Ended, name: &str) -> &'a Value {
    let lines: Vec<&Value> = ended.json.iter().filter(|line| line["qname"] == format!("{name}.")).collect();
    let [line] = lines.as_slice() else { panic!("not one line of {name}: {:#?}", ended.json) };
    line
}

/// What the kernel selected is what was read, one by one.
fn expect_closed(ended: &Ended) {
    ended.expect_nothing_lost();
    assert_eq!(ended.packets("captured"), ended.packets("received by filter"), "{}", ended.stderr);
}

/// A foreign datagram of 3 kB to the client.
const FOREIGN: &str = r#"
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(bytes(3000), ("10.99.1.2", 9999))
socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(bytes(3000), ("fd00:99:1::2", 9999))
"#;

/// Answers of 2.9 kB and 6 kB over links of 1,500 bytes are read whole.
fn check_whole(by: By) {
    let node = Node::new();
    let _servers = [SERVER, SERVER_6].map(|address| responder(&node.server, address));
    let agent = Agent::watch(&node.node, &format!("{} -i cali1", by.options()));
    node.server.python(FOREIGN);
    let mut cases = Vec::new();
    for (server, family) in [(SERVER, 4), (SERVER_6, 6)] {
        for (label, records) in [("big", 11), ("big23", 23)] {
            let name = format!("{label}.v{family}.test");
            node.dig(&format!("+bufsize=16000 +ignore @{server} {name} TXT"));
            cases.push((name, records));
        }
    }
    agent.wait_for_lines(cases.len());
    let ended = agent.stop();
    ended.expect_exact();
    expect_closed(&ended);
    // Each query, and its answer in fragments of 1,480 bytes, or of 1,448 over IPv6.
    assert_eq!(ended.packets("captured"), 4 + (2 + 5) + (3 + 5), "{}", ended.stderr);
    for (name, records) in cases {
        let line = line_of(&ended, &name);
        assert_eq!(line["outcome"], "answered", "{line:#}");
        assert_eq!(line["response_bytes"], bytes_of(&name, records), "{line:#}");
        assert_eq!(answers(line), records, "{line:#}");
        assert_eq!(line["partial"], false, "{line:#}");
        assert_eq!(line["response_fragmented"], true, "{line:#}");
    }
}

#[test]
fn whole_answers_by_tcx() {
    needs_root!();
    check_whole(By::Tcx);
}

#[test]
fn whole_answers_by_clsact() {
    needs_root!();
    check_whole(By::Clsact);
}

#[test]
fn whole_answers_by_a_packet_socket() {
    needs_root!();
    check_whole(By::Packet);
}

/// Frames made by hand, of IPv4 and IPv6: those of the queries, or, once these have come, their answers in three fragments
/// each.
const CRAFTED: &str = r#"
import socket, struct

RECORDS, SIZE = 13, 1440
CASES = [("reversed", [2, 1, 0]), ("gap", [0, 2]), ("doubled", [0, 0, 1, 1, 2, 2]), ("overlap", [0, 1, 9, 2])]

def message(number, name, answer):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    header = struct.pack("!6H", number, 0x8180 if answer else 0x0100, 1, RECORDS if answer else 0, 0, 0)
    text = b"\xfa" + b"x" * 250
    records = (struct.pack("!HHHIH", 0xC00C, 16, 1, 60, len(text)) + text) * RECORDS
    return header + labels + b"\0" + struct.pack("!2H", 16, 1) + (records if answer else b"")

def udp(number, name, answer):
    payload = message(number, name, answer)
    ports = (53, 40000 + number) if answer else (40000 + number, 53)
    return struct.pack("!4H", *ports, 8 + len(payload), 0) + payload

def ipv4(body, number, answer, offset=0, more=0):
    ends = [socket.inet_aton("10.99.1.2"), socket.inet_aton("10.99.2.2")]
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), number, offset >> 3 | more << 13, 64, 17, 0,
                         *(reversed(ends) if answer else ends))
    return b"\x08\x00" + header + body

def ipv6(body, number, answer, offset=0, more=0):
    ends = [socket.inet_pton(socket.AF_INET6, "fd00:99:1::2"), socket.inet_pton(socket.AF_INET6, "fd00:99:2::2")]
    fragment = struct.pack("!BBHI", 17, 0, offset | more, number) if offset or more else b""
    header = struct.pack("!IHBB16s16s", 0x60000000, len(fragment + body), 44 if fragment else 17, 64,
                         *(reversed(ends) if answer else ends))
    return b"\x86\xdd" + header + fragment + body

wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("LINK", 3 if ANSWER else 0))
waiting = 2 * len(CASES) if ANSWER else 0
while waiting:
    waiting -= b"\4test\0" in wire.recv(2048)
number = 0
for version, ip in ("v4", ipv4), ("v6", ipv6):
    for name, order in CASES:
        number += 1
        whole = udp(number, f"{name}.{version}.test", ANSWER)
        parts = [ip(whole, number, ANSWER)]
        if ANSWER:
            cut = lambda at: ip(whole[at:at + SIZE], number, ANSWER, at, int(at + SIZE < len(whole)))
            starts = [at * SIZE for at in range(3)]
            parts = [cut(starts[at]) if at < 9 else cut(SIZE - 8) for at in order]
        for part in parts:
            wire.send(b"\xff" * 6 + b"\x02\0\0\0\0\x07" + part)
"#;

/// Fragments in reverse order, with a gap, doubled, and overlapping.
fn check_crafted(by: By) {
    let node = Node::new();
    let agent = Agent::watch(&node.node, &format!("{} -i cali1 --timeout 4s", by.options()));
    let sockets = || node.node.run("ss -Hn0").matches("cali1").count();
    let before = sockets();
    let _server = node.node.spawn_python(&CRAFTED.replace("LINK", "cali1").replace("ANSWER", "True"));
    until("a server of crafted answers", || (sockets() > before).then_some(()));
    node.client.python(&CRAFTED.replace("LINK", "eth0").replace("ANSWER", "False"));
    agent.wait_for_lines(8);
    let ended = agent.stop();
    expect_closed(&ended);
    // A packet socket sees all fragments; the kernel half cannot ascribe those that come before the first.
    let ordered_only = by != By::Packet;
    for version in ["v4", "v6"] {
        let check = |case: &str, outcome: &str, whole: bool| {
            let name = format!("{case}.{version}.test");
            let line = line_of(&ended, &name);
            assert_eq!(line["outcome"], outcome, "{line:#}");
            if outcome == "answered" {
                assert_eq!(line["response_bytes"], bytes_of(&name, 13), "{line:#}");
                // 1,440 bytes hold five records; of the sixth nothing is told.
                assert_eq!(answers(line), if whole { 13 } else { 5 }, "{line:#}");
                assert_eq!(line["partial"], !whole, "{line:#}");
                assert_eq!(line["response_fragmented"], true, "{line:#}");
                let waited = line["latency_ns"].as_u64().unwrap();
                assert!(waited < 900_000_000, "patience counts into the latency: {line:#}");
            }
        };
        check("reversed", "answered", !ordered_only);
        check("gap", "answered", false);
        check("doubled", "answered", true);
        check("overlap", "unanswered", false);
    }
    let incomplete = if ordered_only { 4 } else { 2 };
    let line = format!("datagrams not put together: {} (incomplete {incomplete}, overlap 2)", incomplete + 2);
    assert!(ended.stderr.contains(&line), "{line}: {}", ended.stderr);
    assert_eq!(ended.note("without the first"), if ordered_only { 4 } else { 0 }, "{}", ended.stderr);
}

#[test]
fn any_order_by_tcx() {
    needs_root!();
    check_crafted(By::Tcx);
}

#[test]
fn any_order_by_clsact() {
    needs_root!();
    check_crafted(By::Clsact);
}

#[test]
fn any_order_by_a_packet_socket() {
    needs_root!();
    check_crafted(By::Packet);
}

/// On `lo`, whose packets have 64 KiB, an answer of 63 kB is one packet, which takes many records of the ring.
fn check_largest(by: By) {
    let node = Namespace::new("largest");
    let _servers = ["127.0.0.1", "::1"].map(|address| responder(&node, address));
    let agent = Agent::watch(&node, &format!("{} -i lo", by.options()));
    let cases =
        [("127.0.0.1", "big240.v4.test", 240), ("::1", "big240.v6.test", 240), ("::1", "big17.test", 17)];
    for (server, name, _) in cases {
        node.run(&format!("dig +tries=1 +timeout=5 +bufsize=65535 +ignore @{server} {name} TXT"));
    }
    agent.wait_for_lines(cases.len());
    let ended = agent.stop();
    ended.expect_exact();
    expect_closed(&ended);
    for (_, name, records) in cases {
        let line = line_of(&ended, name);
        assert_eq!(line["response_bytes"], bytes_of(name, records), "{line:#}");
        assert_eq!(answers(line), records, "{line:#}");
        assert_eq!(
            (&line["partial"], &line["response_fragmented"]),
            (&false.into(), &false.into()),
            "{line:#}"
        );
    }
}

#[test]
fn the_largest_datagrams_by_tcx() {
    needs_root!();
    check_largest(By::Tcx);
}

#[test]
fn the_largest_datagrams_by_clsact() {
    needs_root!();
    check_largest(By::Clsact);
}

#[test]
fn the_largest_datagrams_by_a_packet_socket() {
    needs_root!();
    check_largest(By::Packet);
}
