//! DNS over TCP by real kernels: what clients and servers send in one piece, in many, and into the first packet.

use serde_json::Value;

use crate::agent::{Agent, By, Ended};
use crate::fixture::{Node, Process, SERVER, until};
use crate::needs_root;

/// A server over TCP: `bigN` is answered with N bytes, anything else with an address.
const SERVE: &str = r#"
import socket, struct, threading

def answer(query):
    end = 12
    while query[end]:
        end += query[end] + 1
    question, label = query[12:end + 5], query[13:13 + query[12]].decode()
    record = struct.pack("!3HI", 0xc00c, 1, 1, 60) + bytes([0, 4, 10, 1, 2, 3])
    if label.startswith("big"):
        data, left = b"", int(label[3:]) - 12 - len(question) - 12
        while len(data) < left:
            size = min(255, left - len(data) - 1)
            data += bytes([size]) + b"x" * size
        record = struct.pack("!3HIH", 0xc00c, 16, 1, 60, len(data)) + data
    message = query[:2] + struct.pack("!5H", 0x8180, 1, 1, 0, 0) + question + record
    return struct.pack("!H", len(message)) + message

def serve(client):
    buffer = b""
    while data := client.recv(65536):
        buffer += data
        answers = b""
        while len(buffer) >= 2 and len(buffer) >= 2 + int.from_bytes(buffer[:2]):
            size = 2 + int.from_bytes(buffer[:2])
            answers += answer(buffer[2:size])
            buffer = buffer[size:]
        client.sendall(answers)

server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
server.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
server.bind(("0.0.0.0", 53))
server.listen(64)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"#;

/// What the clients below have in common.
const ASK: &str = r#"
import socket, struct, time

def query(number, name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    message = struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)
    return struct.pack("!H", len(message)) + message

def connection():
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client

def connect():
    client = connection()
    client.connect(("10.99.2.2", 53))
    return client

def read(client, messages):
    def exactly(size):
        data = b""
        while len(data) < size:
            part = client.recv(size - len(data))
            assert part
            data += part
        return data
    for _ in range(messages):
        exactly(int.from_bytes(exactly(2)))
"#;

/// A node whose server answers over TCP, with room for a large answer in the first flight.
fn node() -> (Node, Process) {
    let node = Node::new();
    for namespace in [&node.client, &node.server] {
        namespace.run("sysctl -qw net.ipv4.tcp_fastopen=3");
        let route = namespace.run("ip route show default");
        namespace.run(&format!("ip route replace {} initcwnd 64 initrwnd 64", route.trim()));
    }
    let server = node.server.spawn_python(SERVE);
    node.server.wait_for_server(53, &["tcp"]);
    (node, server)
}

fn ask(node: &Node, program: &str) {
    node.client.python(&format!("{ASK}\n{program}"));
}

/// Each name was asked once and answered whole; gives its lines in the order of `names`.
fn expect_answered(ended: &Ended, names: &[&str]) -> Vec<Value> {
    assert_eq!(ended.json.len(), names.len(), "{:#?}", ended.json);
    let find = |name: &&str| {
        let lines: Vec<&Value> =
            ended.json.iter().filter(|line| line["qname"] == format!("{name}.")).collect();
        let [line] = lines.as_slice() else { panic!("not one line of {name}: {:#?}", ended.json) };
        assert_eq!(line["outcome"], "answered", "{line:#}");
        assert_eq!(line["transport"], "tcp", "{line:#}");
        assert_eq!(line["partial"], false, "{line:#}");
        assert_eq!(line["sends"], 1, "{line:#}");
        (*line).clone()
    };
    names.iter().map(find).collect()
}

/// 60,000 bytes in as few packets as the kernel likes: they are cut behind our hooks only.
fn check_large(by: By) {
    let (node, _server) = node();
    let agent = Agent::watch(&node.node, &format!("{} -i cali1", by.options()));
    ask(&node, "c = connect()\nc.sendall(query(1, 'big60000.test'))\nread(c, 1)");
    agent.wait_for_lines(1);
    let ended = agent.stop();
    ended.expect_exact();
    let line = &expect_answered(&ended, &["big60000.test"])[0];
    assert_eq!(line["response_bytes"], 60_000, "{line:#}");
    // In segments of 1448 bytes it would be 42.
    assert!(ended.packets("captured") < 30, "{}", ended.stderr);
}

#[test]
fn an_answer_of_60_kb_by_tcx() {
    needs_root!();
    check_large(By::Tcx);
}

#[test]
fn an_answer_of_60_kb_by_a_packet_socket() {
    needs_root!();
    check_large(By::Packet);
}

/// However a client cuts its queries up.
fn check_cuts(by: By) {
    let (node, _server) = node();
    let agent = Agent::watch(&node.node, &format!("{} -i cali1", by.options()));
    ask(
        &node,
        r#"
c = connect()
c.sendall(query(1, "one.test") + query(2, "two.test"))
read(c, 2)
three = query(3, "three.test")
for part in three[:2], three[2:]:
    c.sendall(part)
    time.sleep(0.05)
read(c, 1)
four = query(4, "four.test") + query(5, "five.test")
for part in four[:1], four[1:7], four[7:30], four[30:]:
    c.sendall(part)
    time.sleep(0.05)
read(c, 2)
c.close()
"#,
    );
    agent.wait_for_lines(5);
    let ended = agent.stop();
    ended.expect_exact();
    expect_answered(&ended, &["one.test", "two.test", "three.test", "four.test", "five.test"]);
}

#[test]
fn queries_cut_up_by_tcx() {
    needs_root!();
    check_cuts(By::Tcx);
}

#[test]
fn queries_cut_up_by_a_packet_socket() {
    needs_root!();
    check_cuts(By::Packet);
}

/// A connection that was there first.
fn check_joined(by: By) {
    let (node, _server) = node();
    let program = r#"
c = connect()
for number in range(2000):
    c.sendall(query(number, f"n{number}.test")[:9])
    c.sendall(query(number, f"n{number}.test")[9:])
    read(c, 1)
    c.sendall(query(number, f"big5000.m{number}.test"))
    read(c, 1)
    time.sleep(0.02)
"#;
    let _client = node.client.spawn_python(&format!("{ASK}\n{program}"));
    until("a connection", || node.server.run("ss -Htn sport = :53").contains("ESTAB").then_some(()));
    let agent = Agent::watch(&node.node, &format!("{} -i cali1", by.options()));
    agent.wait_for_lines(40);
    let ended = agent.stop();
    ended.expect_nothing_lost();
    // A message in two segments may have been in flight; from the first whole one on nothing is skipped.
    assert!(ended.note("whose beginning was not seen") < 6_000, "{}", ended.stderr);
    let answered: Vec<&Value> = ended.json.iter().filter(|line| line["outcome"] == "answered").collect();
    let waiting = ended.json.len() - answered.len();
    assert!(waiting <= 1, "{:#?}", ended.json);
    // The hooks are let go of one after the other: of the answer that still waits there may be the acknowledgement alone.
    assert!(ended.note("given up") <= waiting as u64, "{}", ended.stderr);
    // In turn, none left out.
    let names: Vec<&str> = answered.iter().map(|line| line["qname"].as_str().unwrap()).collect();
    let number = |name: &str| -> u32 {
        let (_, rest) = name.rsplit_once(['n', 'm']).unwrap();
        rest.trim_end_matches(".test.").parse().unwrap()
    };
    for pair in names.windows(2) {
        let (one, next) = (number(pair[0]), number(pair[1]));
        let step = u32::from(pair[0].starts_with("big"));
        assert_eq!(next, one + step, "{names:?}");
        assert_ne!(pair[0].starts_with("big"), pair[1].starts_with("big"), "{names:?}");
    }
}

#[test]
fn a_connection_that_was_there_first_by_tcx() {
    needs_root!();
    check_joined(By::Tcx);
}

#[test]
fn a_connection_that_was_there_first_by_a_packet_socket() {
    needs_root!();
    check_joined(By::Packet);
}

/// TCP Fast Open (RFC 7413): the second connection has its query in SYN.
#[test]
fn a_query_in_syn() {
    needs_root!();
    let (node, _server) = node();
    let agent = Agent::watch(&node.node, "-i cali1");
    ask(
        &node,
        r#"
for number, name in enumerate(["one.test", "two.test", "three.test"]):
    c = connection()
    c.sendto(query(number, name), socket.MSG_FASTOPEN, ("10.99.2.2", 53))
    read(c, 1)
    c.close()
"#,
    );
    agent.wait_for_lines(3);
    let ended = agent.stop();
    ended.expect_exact();
    expect_answered(&ended, &["one.test", "two.test", "three.test"]);
    let in_syn = node.server.run("nstat -asz TcpExtTCPFastOpenPassive");
    assert!(in_syn.contains("TcpExtTCPFastOpenPassive        2 "), "{in_syn}");
}

/// Connections that are never opened leave the others alone, also those in the middle of a message.
#[test]
fn a_flood_of_syn() {
    needs_root!();
    let (node, _server) = node();
    let agent = Agent::watch(&node.node, "-i cali1");
    ask(
        &node,
        r#"
clients = [connect() for _ in range(50)]
for number, client in enumerate(clients):
    client.sendall(query(number, f"n{number}.test")[:11])
wire = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
# The checksum of TCP is wrong, so that the server does not answer.
for number in range(40000):
    source = struct.pack("!I", 0x0a800000 + number // 50000)
    packet = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, 0) + source + socket.inet_aton("10.99.2.2")
    packet += struct.pack("!2H2I2B3H", 10000 + number % 50000, 53, number, 0, 0x50, 2, 1000, 0xdead, 0)
    wire.sendto(packet, ("10.99.2.2", 0))
for number, client in enumerate(clients):
    client.sendall(query(number, f"n{number}.test")[11:])
    read(client, 1)
"#,
    );
    node.dig(&format!("+tcp @{SERVER} last.test"));
    agent.wait_for_lines(51);
    let ended = agent.stop();
    ended.expect_exact();
    assert!(ended.packets("captured") > 40_000, "{}", ended.stderr);
    let names: Vec<String> = (0..50).map(|number| format!("n{number}.test")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.push("last.test");
    expect_answered(&ended, &names);
}
