//! What leaves by an uplink to the link-local services is measured as the kernel counts it, live and from its recording.

use std::process::Command;

use nslookout::capture::ethtool::statistics;
use serde_json::Value;

use crate::agent::{Agent, By, NSLOOKOUT};
use crate::fixture::{Namespace, Node, Process, Questions, plug};
use crate::needs_root;

/// The VPC resolver.
const RESOLVER: &str = "169.254.169.253";

/// A node whose default route leads over `up0` to the VPC, where its resolver answers.
struct Instance {
    node: Node,
    _vpc: Namespace,
    _resolver: Process,
}

impl Instance {
    fn new() -> Self {
        let node = Node::new();
        let vpc = Namespace::new("vpc");
        plug(&node.node, "up0", &vpc, 9);
        node.node.run("ip route add default via 10.99.9.2");
        vpc.run(&format!("ip addr add {RESOLVER}/32 dev lo"));
        let resolver = vpc.dnsmasq(53, "");
        Self { node, _vpc: vpc, _resolver: resolver }
    }

    /// The pod asks so many questions a second.
    fn load(&self, rate: u32, seconds: u32) {
        let questions = Questions::new(&self.node, 300);
        let file = questions.path.display();
        self.node.client.run(&format!("dnsperf -s {RESOLVER} -d {file} -Q {rate} -l {seconds} -c 2 -t 2"));
    }
}

/// The findings about the rate among lines of `watch --findings -o json`: what does not depend on the moment at which the
/// second was judged, as the latest queries do.
fn rates(lines: &[Value]) -> Vec<Value> {
    let keys =
        ["state", "severity", "confidence", "subject", "summary", "because", "first_seen", "last_seen"];
    let rates = lines.iter().filter(|line| line["finding"] == "linklocal-rate");
    rates.map(|line| keys.iter().map(|key| ((*key).to_owned(), line[*key].clone())).collect()).collect()
}

/// The number in `This network interface sent 912 packets within one second …`.
fn sent_in_a_second(finding: &Value) -> u32 {
    let number = finding["summary"]
        .as_str()
        .and_then(|text| text.split(" sent ").nth(1)?.split(' ').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no number of packets: {finding:#}"))
}

fn check(by: By) {
    let instance = Instance::new();
    let recording = std::env::temp_dir().join(format!("{}-rate.pcapng", instance.node.node.name));
    let write = format!("--findings --print -w {} {}", recording.display(), by.options());
    let agent = Agent::watch(&instance.node.node, &write);
    instance.load(880, 5);
    let ended = agent.stop();
    let live = rates(&ended.json);
    assert!(!live.is_empty(), "{:#?}\n{}", ended.json, ended.stderr);
    let opened = &live[0];
    // On a busy machine the load comes in bursts, and may really be above the limit.
    let severity = if sent_in_a_second(opened) >= 1024 { "high" } else { "warning" };
    assert_eq!((&opened["state"], &opened["severity"]), (&"opened".into(), &severity.into()), "{opened:#}");
    assert!(opened["subject"].to_string().contains("up0"), "{opened:#}");
    let replayed = Command::new(NSLOOKOUT)
        .args(["watch", "--findings", "-o", "json", "-r"])
        .arg(&recording)
        .output()
        .unwrap();
    let lines: Vec<Value> = String::from_utf8(replayed.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rates(&lines), live, "{}", String::from_utf8_lossy(&replayed.stderr));
    let _ = std::fs::remove_file(&recording);
}

#[test]
fn a_busy_uplink_is_named_and_a_recording_says_the_same() {
    needs_root!();
    check(By::Tcx);
}

#[test]
fn a_packet_socket_counts_by_messages() {
    needs_root!();
    check(By::Packet);
}

#[test]
fn half_the_limit_is_silent() {
    needs_root!();
    let instance = Instance::new();
    let agent = Agent::watch(&instance.node.node, "--findings");
    instance.load(500, 4);
    let ended = agent.stop();
    assert_eq!(rates(&ended.json), [] as [Value; 0]);
    ended.expect_nothing_lost();
}

#[test]
fn a_driver_s_counters_are_read() {
    needs_root!();
    let node = Node::new();
    let peer = node.client.run("cat /sys/class/net/eth0/ifindex");
    // veth's driver counts the index of its other end (drivers/net/veth.c, ethtool_stats_keys).
    let counters = node.node.enter(|| statistics("cali1").unwrap()).unwrap();
    let found =
        counters.iter().find(|(name, _)| name == "peer_ifindex").unwrap_or_else(|| panic!("{counters:?}"));
    assert_eq!(found.1.to_string(), peer.trim());
}

#[test]
fn a_driver_with_thousands_of_counters_is_read() {
    needs_root!();
    let node = Namespace::new("queues");
    node.run("ip link add wide0 numtxqueues 2000 numrxqueues 2000 type veth peer name wide1");
    let counters = node.enter(|| statistics("wide0").unwrap()).unwrap();
    // Five of each receiving queue and four of each sending one, beside the other end's index (drivers/net/veth.c).
    assert_eq!(counters.len(), 1 + 2000 * (5 + 4), "{:?}", counters.last());
    let distinct: std::collections::BTreeSet<&String> = counters.iter().map(|(name, _)| name).collect();
    assert_eq!(distinct.len(), counters.len());
}
