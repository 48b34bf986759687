//! `linklocal-rate`: packets per second to the link-local services of AWS over one interface (facts 3.4).
//!
//! Recorded at the node's uplink. The rates are dnsperf's; what was really sent is counted in the recording.

use super::{conf, conf_of, of};
use crate::corpus::names::Names;
use crate::corpus::proof::{Proof, busiest_second, seconds_over};
use crate::corpus::scenario::{Scenario, Set, Tap};
use crate::corpus::server::{Kind, Server};
use crate::corpus::zone::World;

/// 0.7 of 1,024 packets per second: the warning.
const WARNING: usize = 717;

/// The VPC resolver.
const RESOLVER: &str = "169.254.169.253";

/// Drops what exceeds the provider's limit, beyond the capture.
const BUCKET: &str = "ip daddr 169.254.169.0/24 limit rate over 1024/second burst 64 packets counter drop";

/// The scenarios of this family.
pub fn scenarios(set: Set) -> Vec<Scenario> {
    let steady: &[(Kind, u32, u32)] = of(
        set,
        &[
            (Kind::Dnsmasq, 820, 5),
            (Kind::Unbound, 900, 5),
            (Kind::Nsd, 950, 5),
            (Kind::Bind, 1000, 5),
            (Kind::Dnsmasq, 1200, 5),
            (Kind::Unbound, 1300, 5),
        ],
        &[(Kind::Knot, 860, 5), (Kind::Nsd, 1150, 5), (Kind::Knot, 980, 5)],
    );
    let dropped: &[(Kind, u32, u32)] = of(
        set,
        &[(Kind::Dnsmasq, 1500, 4), (Kind::Unbound, 1800, 3), (Kind::Nsd, 2200, 3)],
        &[(Kind::Knot, 1600, 4)],
    );
    let mut all: Vec<Scenario> =
        steady.iter().map(|&(kind, rate, seconds)| positive(set, kind, rate, seconds, false)).collect();
    all.extend(dropped.iter().map(|&(kind, rate, seconds)| positive(set, kind, rate, seconds, true)));
    all.push(shared_by_pods(set));
    all.push(with_metadata(set));
    all.push(few_names(set));
    all.extend(elsewhere(set));
    all.push(below(set, "slow", of(set, 560, 600), 5));
    all.push(below(set, "steady-half", of(set, 400, 480), 6));
    all.push(short_burst(set, "short", of(set, 900, 850), 6));
    all.push(short_burst(set, "second", of(set, 1250, 1150), 8));
    all.push(seen_twice(set));
    all.push(not_dns(set));
    all.push(loopback(set));
    all
}

/// Many names that exist, each asked again after a while.
fn queries(names: &mut Names, count: usize) -> (World, String) {
    let domain = names.external();
    let world = World::cluster().record(&format!("*.{domain}."), 5, &format!("A {}", names.address()));
    let lines = (0..count).map(|n| format!("h{n}.{domain} A\n")).collect();
    (world, lines)
}

/// dnsperf's words for so many packets per second.
fn dnsperf(server: &str, rate: u32, seconds: u32) -> Vec<String> {
    let words =
        format!("dnsperf -s {server} -d {{dir}}/queries -l {seconds} -Q {rate} -c 4 -T 1 -q 20000 -t 1");
    words.split(' ').map(str::to_owned).collect()
}

/// Adds dnsperf to the last pod.
fn load(scenario: Scenario, server: &str, rate: u32, seconds: u32) -> Scenario {
    let words = dnsperf(server, rate, seconds);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    scenario.program(&words)
}

/// Packets to the link-local services alone.
fn egress() -> String {
    "dst net 169.254.169.0/24".to_owned()
}

/// Three of five seconds above the warning, with a little to spare.
fn nears_the_limit() -> Proof {
    Proof::that("3 of 5 seconds above 0.7 of the limit", |recorded| {
        Ok(seconds_over(&recorded.times(&egress())?, WARNING + 20) >= 3)
    })
}

/// One pod asks the VPC resolver too often; `dropped`: so often that the limit is exceeded and felt.
fn positive(set: Set, kind: Kind, rate: u32, seconds: u32, dropped: bool) -> Scenario {
    let word = if dropped { "dropped" } else { "steady" };
    let name = format!("linklocal-{word}-{rate}-{}", kind.name());
    let (world, lines) = queries(&mut Names::new(set, &name), 400);
    let scenario = Scenario::new(set, name)
        .server(Server::at(kind, RESOLVER, world))
        .pod(conf_of(&[], &[RESOLVER], ""))
        .file("queries", lines)
        .tap(Tap::Uplink)
        .heavy()
        .must("linklocal-rate")
        .near("query-storm", "P9: TTL 0-5 s names")
        .proof(nears_the_limit());
    let scenario = load(scenario, RESOLVER, rate, seconds);
    if !dropped {
        return scenario;
    }
    scenario
        .fault_beyond(BUCKET)
        .linger(7500)
        .may("unanswered", "P2: what exceeds the limit has no reply")
        .proof(Proof::seen(200, "no answer", |one| one.outcome == "unanswered"))
        .proof(Proof::that("1,024 packets in a second", |recorded| {
            Ok(busiest_second(&recorded.times(&egress())?) >= 1024)
        }))
}

/// No pod alone comes near the limit.
fn shared_by_pods(set: Set) -> Scenario {
    let name = "linklocal-shared-by-pods";
    let (world, lines) = queries(&mut Names::new(set, name), 400);
    let resolv_conf = conf_of(&[], &[RESOLVER], "");
    let (one, two) = of(set, (450, 480), (500, 410));
    let scenario = Scenario::new(set, name)
        .server(Server::at(of(set, Kind::Unbound, Kind::Knot), RESOLVER, world))
        .file("queries", lines)
        .tap(Tap::Uplink)
        .heavy()
        .must("linklocal-rate")
        .near("query-storm", "P9: TTL 0-5 s names")
        .proof(nears_the_limit());
    let scenario = load(scenario.pod(resolv_conf.clone()), RESOLVER, one, 5);
    load(scenario.pod(resolv_conf), RESOLVER, two, 5)
}

/// DNS, and beside it the instance metadata service: both count.
fn with_metadata(set: Set) -> Scenario {
    let name = "linklocal-with-metadata";
    let (world, lines) = queries(&mut Names::new(set, name), 400);
    let scenario = Scenario::new(set, name)
        .server(Server::at(of(set, Kind::Dnsmasq, Kind::Nsd), RESOLVER, world).with_web("169.254.169.254"))
        .pod(conf_of(&[], &[RESOLVER], ""))
        .file("queries", lines)
        .file("poll.sh", poll("169.254.169.254", 90))
        .program(&["sh", "{dir}/poll.sh"])
        .tap(Tap::Uplink)
        .heavy()
        .must("linklocal-rate")
        .near("query-storm", "P9: TTL 0-5 s names")
        .proof(nears_the_limit())
        .proof(Proof::packets(200, "dst host 169.254.169.254 and tcp dst port 80"));
    load(scenario, RESOLVER, of(set, 800, 790), 5)
}

/// A script that fetches a page `times` times.
fn poll(address: &str, times: usize) -> String {
    format!("for n in $(seq {times}); do curl -s -o /dev/null -m 2 http://{address}/; done\n")
}

/// A handful of names, far more often than their TTL asks for.
fn few_names(set: Set) -> Scenario {
    let name = "linklocal-few-names";
    let mut names = Names::new(set, name);
    let hosts = names.externals(6);
    let world = World::cluster().hosts(&hosts, 60, &mut names);
    let lines = hosts.iter().map(|host| format!("{host} A\n")).collect();
    let scenario = Scenario::new(set, name)
        .server(Server::at(of(set, Kind::Unbound, Kind::Knot), RESOLVER, world))
        .pod(conf_of(&[], &[RESOLVER], ""))
        .file("queries", lines)
        .tap(Tap::Uplink)
        .heavy()
        .must("linklocal-rate")
        .must("query-storm")
        .proof(nears_the_limit());
    load(scenario, RESOLVER, of(set, 880, 930), 5)
}

/// As many packets, but to addresses that do not count.
fn elsewhere(set: Set) -> Vec<Scenario> {
    /// Named in two cases.
    const NODE_LOCAL: &str = "3.4: must not count 169.254.20.10 (NodeLocal)";
    let cases: &[(&str, &str, Kind, &str)] = of(
        set,
        &[
            ("nodelocal", "169.254.20.10", Kind::Unbound, NODE_LOCAL),
            (
                "pod-identity",
                "169.254.170.23",
                Kind::Nsd,
                "3.4: must not count 169.254.170.23 (EKS Pod Identity)",
            ),
            (
                "ecs-bridge",
                "169.254.172.1",
                Kind::Dnsmasq,
                "3.4: must not count 169.254.172.0/22 (ECS bridge)",
            ),
            ("other", "169.254.7.7", Kind::Unbound, "3.4: must not count other 169.254/16"),
            ("endpoint", "10.0.9.53", Kind::Bind, "3.4: Route 53 Resolver endpoints are not link-local"),
        ],
        &[
            ("nodelocal", "169.254.20.10", Kind::Knot, NODE_LOCAL),
            ("ecs-metadata", "169.254.170.2", Kind::Knot, "3.4: must not count 169.254.170.2 (ECS)"),
            ("endpoint", "10.9.7.2", Kind::Knot, "3.4: Route 53 Resolver endpoints are not link-local"),
        ],
    );
    let mut all: Vec<Scenario> = cases
        .iter()
        .map(|&(word, address, kind, why)| {
            let name = format!("linklocal-not-{word}");
            let (world, lines) = queries(&mut Names::new(set, &name), 400);
            away(set, name, Server::at(kind, address, world), lines, why)
        })
        .collect();
    let name = "linklocal-not-coredns";
    let (world, lines) = queries(&mut Names::new(set, name), 400);
    let server = Server::service(of(set, Kind::Unbound, Kind::Knot), set, world);
    all.push(away(set, name.to_owned(), server, lines, "3.4: pod to CoreDNS traffic is not link-local"));
    all
}

/// More than 1,024 packets a second, to a server that does not count.
fn away(set: Set, name: String, server: Server, lines: String, why: &'static str) -> Scenario {
    let address = server.address.clone();
    let scenario = Scenario::new(set, name)
        .server(server)
        .pod(conf_of(&[], &[&address], ""))
        .file("queries", lines)
        .tap(Tap::Uplink)
        .heavy()
        .near("linklocal-rate", why)
        .near("query-storm", "P9: TTL 0-5 s names")
        .proof(Proof::that("1,024 packets in a second", |recorded| {
            Ok(busiest_second(&recorded.times("udp dst port 53")?) >= 1024)
        }));
    load(scenario, &address, of(set, 1250, 1200), 4)
}

/// Replies do not count, so that queries and replies together may exceed what queries alone may not.
fn below(set: Set, word: &str, rate: u32, seconds: u32) -> Scenario {
    let name = format!("linklocal-below-{word}");
    let (world, lines) = queries(&mut Names::new(set, &name), 400);
    let scenario = Scenario::new(set, name)
        .server(Server::at(of(set, Kind::Dnsmasq, Kind::Knot), RESOLVER, world))
        .pod(conf_of(&[], &[RESOLVER], ""))
        .file("queries", lines)
        .tap(Tap::Uplink)
        .heavy()
        .near("linklocal-rate", "3.4: count egress only; below 0.7 of the limit")
        .near("query-storm", "P9: TTL 0-5 s names")
        .proof(Proof::that("no second above 0.65 of the limit", |recorded| {
            Ok(busiest_second(&recorded.times(&egress())?) < 665)
        }))
        .proof(Proof::that("with the replies above 0.7 of it", |recorded| {
            Ok(busiest_second(&recorded.times("udp port 53")?) > WARNING)
        }));
    load(scenario, RESOLVER, rate, seconds)
}

/// One second of load, answered in full: neither three of five seconds nor anything unanswered.
fn short_burst(set: Set, word: &str, rate: u32, quiet_s: u64) -> Scenario {
    let name = format!("linklocal-burst-{word}");
    let (world, lines) = queries(&mut Names::new(set, &name), 400);
    let scenario = Scenario::new(set, name)
        .server(Server::at(of(set, Kind::Unbound, Kind::Knot), RESOLVER, world))
        .pod(conf_of(&[], &[RESOLVER], ""))
        .file("queries", lines)
        .tap(Tap::Uplink)
        .heavy()
        .linger(quiet_s * 1000)
        .near(
            "linklocal-rate",
            "3.4: for 3 of 5 s, or above the limit with replies missing; a second alone is neither",
        )
        .near("query-storm", "P9: TTL 0-5 s names")
        .proof(Proof::that("one busy second", |recorded| {
            let times = recorded.times(&egress())?;
            Ok(busiest_second(&times) > WARNING && seconds_over(&times, WARNING) < 3)
        }))
        .proof(Proof::never("no answer", |one| one.outcome == "unanswered"));
    load(scenario, RESOLVER, rate, 1)
}

/// Each packet is in the capture twice: at the pod's veth and at the uplink.
fn seen_twice(set: Set) -> Scenario {
    let name = "linklocal-seen-twice";
    let (world, lines) = queries(&mut Names::new(set, name), 400);
    let scenario = Scenario::new(set, name)
        .server(Server::at(of(set, Kind::Nsd, Kind::Knot), RESOLVER, world))
        .pod(conf_of(&[], &[RESOLVER], ""))
        .file("queries", lines)
        .tap(Tap::Any)
        .heavy()
        .near("linklocal-rate", "3.4: the same packet on veth and ENI")
        .near("query-storm", "P9: TTL 0-5 s names")
        .proof(Proof::that("1,000 copies in a second", |recorded| {
            let copies = busiest_second(&recorded.times(&egress())?);
            Ok((1000..1300).contains(&copies))
        }));
    load(scenario, RESOLVER, of(set, 540, 560), 5)
}

/// Requests to the ECS agent's metadata, which is link-local and does not count.
fn not_dns(set: Set) -> Scenario {
    let name = "linklocal-not-task-metadata";
    let mut names = Names::new(set, name);
    let hosts = names.externals(4);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    let script = poll("169.254.170.2", 150);
    let poller = ["sh", "{dir}/poll.sh"];
    Scenario::new(set, name)
        .server(Server::service(of(set, Kind::Unbound, Kind::Knot), set, world).with_web("169.254.170.2"))
        .pod(conf(set, &[], ""))
        .lookups(of(set, crate::lab::Client::Glibc, crate::lab::Client::Go), &hosts, 2, 500)
        .file("poll.sh", script)
        .program(&poller)
        .program(&poller)
        .program(&poller)
        .program(&poller)
        .tap(Tap::Uplink)
        .heavy()
        .no_stub()
        .near("linklocal-rate", "3.4: must not count 169.254.170.2 (ECS)")
        .proof(Proof::packets(2500, "dst host 169.254.170.2"))
}

/// A stub on the loopback, as systemd-resolved is one; here dnsmasq.
fn loopback(set: Set) -> Scenario {
    let name = "linklocal-not-loopback";
    let (_, lines) = queries(&mut Names::new(set, name), 400);
    let stub = of(set, "127.0.0.53", "127.0.0.54");
    let listen = format!("--listen-address={stub}");
    let words = "dnsmasq -k --conf-file=/dev/null --bind-interfaces --no-resolv --no-hosts --user=root --pid-file= --local-ttl=5";
    let mut server: Vec<&str> = words.split(' ').collect();
    server.extend([listen.as_str(), "--address=/example/192.0.2.80"]);
    let words = dnsperf(stub, of(set, 1250, 1200), 4);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Scenario::new(set, name)
        .pod(conf_of(&[], &[stub], ""))
        .file("queries", lines)
        .program(&server)
        .limit(7)
        .program_after(1000, &words)
        .tap(Tap::Loopback)
        .heavy()
        .near("linklocal-rate", "3.4: must not count 127.0.0.0/8")
        .near("query-storm", "P9: TTL 0-5 s names")
        .proof(Proof::that("1,024 packets in a second", |recorded| {
            Ok(busiest_second(&recorded.times("udp dst port 53")?) >= 1024)
        }))
}
