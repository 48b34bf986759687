//! `truncated-no-tcp`: a response that was cut off, and a client that never came back over TCP (facts 3.1).

use serde_json::json;

use super::{cluster_conf, conf, conf_of, noisy, of, one};
use crate::corpus::names::Names;
use crate::corpus::proof::Proof;
use crate::corpus::scenario::{Scenario, Set};
use crate::corpus::server::{Kind, Server};
use crate::corpus::zone::World;
use crate::lab::Client;

/// What makes the response too large.
#[derive(Clone, Copy)]
enum Shape {
    /// Many addresses.
    Addresses,
    /// Five CNAMEs with long names, then a dozen addresses.
    Chain,
    /// A service with an address for each of its pods, found by the search list.
    Headless,
    /// Many addresses, and the client asks for IPv4 alone.
    OnlyA,
    /// Two names, from two processes.
    Two,
}

/// The scenarios of this family.
pub fn scenarios(set: Set) -> Vec<Scenario> {
    let mut all: Vec<Scenario> =
        positives(set).iter().map(|&(kind, shape)| positive(set, kind, shape)).collect();
    all.extend(followed(set).iter().map(|&(client, kind)| with_tcp(set, client, kind)));
    all.push(ignored_by_dig(set));
    all.push(busybox(set));
    all.push(busybox_with_dots(set));
    all.push(second_server(set));
    all.push(joined_late(set));
    all.push(truncated_over_tcp(set));
    all.push(slip(set));
    let kind = of(set, Kind::Unbound, Kind::Knot);
    all.push(noisy(positive(set, kind, Shape::Addresses)));
    all.push(noisy(busybox(set)));
    all
}

/// The server that cuts off, and what.
fn positives(set: Set) -> &'static [(Kind, Shape)] {
    of(
        set,
        &[
            (Kind::Unbound, Shape::Addresses),
            (Kind::Bind, Shape::Addresses),
            (Kind::Nsd, Shape::Addresses),
            (Kind::Dnsmasq, Shape::Addresses),
            (Kind::Unbound, Shape::Chain),
            (Kind::Bind, Shape::Chain),
            (Kind::Dnsmasq, Shape::Chain),
            (Kind::Unbound, Shape::Headless),
            (Kind::Bind, Shape::Headless),
            (Kind::Unbound, Shape::OnlyA),
            (Kind::Nsd, Shape::Two),
            (Kind::Unbound, Shape::Two),
        ],
        &[
            (Kind::Knot, Shape::Addresses),
            (Kind::Pdns, Shape::Addresses),
            (Kind::Pdns, Shape::Chain),
            (Kind::Knot, Shape::Chain),
            (Kind::Knot, Shape::Headless),
            (Kind::Pdns, Shape::Two),
        ],
    )
}

/// musl 1.2.3 gets a truncated answer and leaves it at that.
fn positive(set: Set, kind: Kind, shape: Shape) -> Scenario {
    let word = match shape {
        Shape::Addresses => "addresses",
        Shape::Chain => "chain",
        Shape::Headless => "headless",
        Shape::OnlyA => "only-a",
        Shape::Two => "two",
    };
    let name = format!("truncated-{word}-{}", kind.name());
    let mut names = Names::new(set, &name);
    let (service, namespace) = names.service();
    let large = names.externals(2);
    let world = match shape {
        Shape::Addresses | Shape::OnlyA => World::cluster().big(&large[0], 5, of(set, 59, 47)),
        Shape::Chain => World::cluster().chain(&large[0], 5, 5, of(set, 12, 16)),
        Shape::Headless => {
            World::cluster().big(&format!("{service}.{namespace}.svc.cluster.local."), 5, of(set, 44, 70))
        }
        Shape::Two => World::cluster().big(&large[0], 5, 40).big(&large[1], 5, 52),
    };
    let plain = conf(set, &[], "");
    let scenario = Scenario::new(set, name).server(Server::service(kind, set, world));
    let client = Client::Musl123;
    let scenario = match shape {
        Shape::Addresses | Shape::Chain => scenario.pod(plain).lookups(client, &one(&large[0]), 4, 400),
        Shape::Headless => {
            scenario.pod(cluster_conf(set, &namespace)).lookups(client, &one(&service), 3, 900)
        }
        Shape::OnlyA => scenario.pod(plain).lookups_of_a(client, &one(&large[0]), 4, 300),
        Shape::Two => scenario.pod(plain).lookups(client, &one(&large[0]), 3, 700).lookups(
            client,
            &one(&large[1]),
            3,
            500,
        ),
    };
    // BIND sends the addresses that fit: degraded, where the others' clients fail (3.1).
    let severity = if kind == Kind::Bind { "warning" } else { "high" };
    scenario
        .must_be("truncated-no-tcp", severity)
        .near("tcp-blocked", "no TCP was tried, so nothing says that it is blocked")
        .near("oversize-udp", "3.1 b: TC=0 is what makes a response too large; here it was cut off")
        .linger(3500)
        .proof(Proof::seen(3, "truncated over UDP", |one| one.truncated && !one.tcp && one.edns.is_none()))
        .proof(Proof::no_packet("tcp"))
}

/// Clients that come back over TCP, and the server that cuts off.
fn followed(set: Set) -> &'static [(Client, Kind)] {
    of(
        set,
        &[
            (Client::Glibc, Kind::Unbound),
            (Client::Glibc, Kind::Bind),
            (Client::Go, Kind::Unbound),
            (Client::CAres118, Kind::Bind),
            (Client::CAres134, Kind::Unbound),
            (Client::NodeResolve, Kind::Nsd),
            (Client::NodeLookup, Kind::Dnsmasq),
            (Client::Musl124, Kind::Nsd),
            (Client::Musl125, Kind::Dnsmasq),
            (Client::Dig, Kind::Unbound),
        ],
        &[
            (Client::Glibc, Kind::Knot),
            (Client::Go, Kind::Pdns),
            (Client::CAres134, Kind::Knot),
            (Client::Musl124, Kind::Knot),
            (Client::Musl125, Kind::Pdns),
            (Client::Kdig, Kind::Knot),
        ],
    )
}

/// The same answer and a client that comes back.
fn with_tcp(set: Set, client: Client, kind: Kind) -> Scenario {
    let name = format!("truncated-then-tcp-{}-{}", client.name(), kind.name());
    let mut names = Names::new(set, &name);
    let large = names.external();
    // More than 1,232 bytes for those with EDNS, and no more than 768 for musl 1.2.4, which reads no more.
    let count = match client {
        Client::Musl124 => 40,
        Client::Go | Client::CAres134 | Client::Dig | Client::Kdig => 96,
        _ => 59,
    };
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, World::cluster().big(&large, 5, count)))
        .pod(conf(set, &[], ""))
        .lookups(client, &one(&large), 4, 500)
        .near("truncated-no-tcp", "3.1: TC then TCP (glibc, Go, c-ares, musl 1.2.4 or newer)")
        .near("tcp-blocked", "3.1 d: TCP was tried and it worked")
        .near("oversize-udp", "3.1 b: what exceeds 512 bytes comes over TCP")
        .linger(3500)
        .proof(Proof::seen(4, "truncated over UDP", |one| one.truncated && !one.tcp))
        .proof(Proof::seen(4, "answered over TCP", |one| one.tcp && one.answered() && !one.truncated));
    match client {
        Client::Dig | Client::Kdig => scenario.no_stub(),
        Client::Glibc | Client::NodeLookup => scenario
            .near("query-storm", "8.2: glibc repeats the pair from new ports while its buffer grows")
            .near(
                "late-reply",
                "8.6: glibc closes its socket at TC, so the AAAA meets ICMP though it is not late",
            )
            .proof(Proof::all_resolved()),
        _ => scenario.proof(Proof::all_resolved()),
    }
}

/// dig is told to ignore truncation.
fn ignored_by_dig(set: Set) -> Scenario {
    let kind = of(set, Kind::Bind, Kind::Pdns);
    let name = format!("truncated-dig-ignore-{}", kind.name());
    let large = Names::new(set, &name).external();
    let dig = ["dig", "+noedns", "+ignore", &large, "A"];
    Scenario::new(set, name)
        .server(Server::service(kind, set, World::cluster().big(&large, 5, 59)))
        .pod(conf(set, &[], ""))
        .program(&dig)
        .program_after(700, &dig)
        .program_after(1400, &dig)
        .near("truncated-no-tcp", "3.1: dig +ignore/+notcp; its queries have AD=1")
        .linger(3500)
        .proof(Proof::seen(3, "truncated over UDP", |one| one.truncated && !one.tcp))
        .proof(Proof::no_packet("tcp"))
}

/// BusyBox asks for all candidates of a name without a dot in one burst, which no other client does.
fn busybox(set: Set) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Knot);
    let name = format!("truncated-busybox-short-{}", kind.name());
    let (service, namespace) = Names::new(set, &name).service();
    let large = format!("{service}.{namespace}.svc.cluster.local.");
    ignored_by_busybox(set, name, kind, &large, &service, &namespace)
        .near("truncated-no-tcp", "3.1: BusyBox nslookup itself")
}

/// A name with dots is asked as it is. Debian's BusyBox is linked with glibc and sets no AD.
fn busybox_with_dots(set: Set) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Knot);
    let name = format!("truncated-busybox-{}", kind.name());
    let large = Names::new(set, &name).external();
    ignored_by_busybox(set, name, kind, &large, &large, "web").may(
        "truncated-no-tcp",
        "3.1 names nslookup by AD=1, which is not set here: nothing tells this client from an unknown libc",
    )
}

/// nslookup of BusyBox never uses TCP.
fn ignored_by_busybox(
    set: Set,
    name: String,
    kind: Kind,
    large: &str,
    asked: &str,
    namespace: &str,
) -> Scenario {
    Scenario::new(set, name)
        .server(Server::service(kind, set, World::cluster().big(large, 5, 59)))
        .pod(cluster_conf(set, namespace))
        .lookups(Client::BusyBox, &one(asked), 4, 500)
        .linger(3500)
        .proof(Proof::seen(3, "truncated over UDP", |one| one.truncated && !one.tcp))
        .proof(Proof::no_packet("tcp"))
}

/// musl asks both servers at once and takes the reply that comes first: a whole one. The other cuts off, a little later.
fn second_server(set: Set) -> Scenario {
    let name = "truncated-second-server-whole";
    let large = Names::new(set, name).external();
    let (first, second) = of(set, ("10.0.9.53", "10.0.9.54"), ("10.9.7.2", "10.9.7.3"));
    let few = World::cluster().big(&large, 5, 3);
    let rules = vec![
        json!({"type": "A", "tc": true, "soa": false, "delay": 0.03}),
        json!({"type": "AAAA", "delay": 0.03}),
    ];
    let many = Server { rules, ..Server::at(Kind::Responder, first, World::new()) };
    Scenario::new(set, name)
        .server(many)
        .server(Server::at(of(set, Kind::Nsd, Kind::Knot), second, few))
        .pod(conf_of(&[], &[first, second], ""))
        .lookups(Client::Musl123, &one(&large), 4, 500)
        .near("truncated-no-tcp", "3.1: second nameserver's untruncated reply accepted by musl")
        .near("servers-disagree", "P15 asks for other rcodes; both say NOERROR")
        .near("late-reply", "8.6: the slower of two servers meets ICMP though it is not late")
        .linger(3500)
        .proof(Proof::all_resolved())
        .proof(Proof::seen(4, "truncated", |one| one.truncated))
        .proof(Proof::seen(4, "whole A", |one| one.qtype == "A" && one.found() && !one.truncated))
        .proof(Proof::no_packet("tcp"))
}

/// The capture begins when the queries have been sent, and only the responses are in it.
fn joined_late(set: Set) -> Scenario {
    let name = "truncated-joined-late";
    let mut names = Names::new(set, name);
    let large = names.externals(3);
    let rules = vec![
        json!({"type": "A", "tc": true, "answer": [], "soa": false, "delay": 2.0}),
        json!({"type": "AAAA", "answer": [], "delay": 2.0}),
    ];
    let scenario = Scenario::new(set, name).server(Server::responder(set, rules)).pod(conf(set, &[], ""));
    large
        .iter()
        .fold(scenario, |scenario, name| scenario.lookups(Client::Musl123, &one(name), 1, 0))
        .near("truncated-no-tcp", "3.1: capture started mid-flow")
        .no_stub()
        .join(1000)
        .linger(3500)
        .proof(Proof::packets(3, "udp src port 53 and udp[10] & 0x02 != 0"))
        .proof(Proof::no_packet("udp dst port 53"))
}

/// TC in a response over TCP says nothing about UDP.
fn truncated_over_tcp(set: Set) -> Scenario {
    let name = "truncated-over-tcp";
    let large = Names::new(set, name).external();
    let rules = vec![json!({"type": "A", "proto": "tcp", "tc": true, "count": 20})];
    let words = of(set, "dig", "kdig");
    let query = [words, "+tcp", &large, "A"];
    Scenario::new(set, name)
        .server(Server::responder(set, rules))
        .pod(conf(set, &[], ""))
        .program(&query)
        .program_after(600, &query)
        .program_after(1200, &query)
        .near("truncated-no-tcp", "3.1: TC inside a TCP reply")
        .near("tcp-blocked", "TCP works")
        .linger(3500)
        .proof(Proof::seen(3, "truncated over TCP", |one| one.truncated && one.tcp))
}

/// A recursor in a pod asks an authoritative server that limits its responses: some come empty with TC=1, as a hint to use
/// TCP (response rate limiting, "slip").
fn slip(set: Set) -> Scenario {
    let name = "truncated-slip";
    let domain = Names::new(set, name).external();
    let server = Server::service(Kind::Nsd, set, World::cluster())
        .extra("server:\n rrl-ratelimit: 4\n rrl-slip: 1\n rrl-whitelist-ratelimit: 4\n");
    let recursor = format!(
        "daemon=no\nlocal-address=127.0.0.1\nsetuid=\nsetgid=\ndnssec=off\ndont-query=\nhint-file=\n\
         forward-zones=.={}\nthreads=1\nwrite-pid=no\nsecurity-poll-suffix=\nloglevel=3\nroot-nx-trust=no\n",
        server.address
    );
    let queries: String = (0..of(set, 60, 45)).map(|n| format!("missing-{n}.{domain} A\n")).collect();
    Scenario::new(set, name)
        .server(server)
        .pod(conf(set, &[], ""))
        .file("recursor.conf", recursor)
        .file("queries", queries)
        .program(&["pdns_recursor", "--config-dir={dir}", "--socket-dir={dir}"])
        .limit(8)
        .program_after(
            2500,
            &["dnsperf", "-s", "127.0.0.1", "-d", "{dir}/queries", "-n", "1", "-Q", "60", "-q", "50"],
        )
        .no_stub()
        .near("truncated-no-tcp", "3.1: response-rate-limit \"slip\" towards recursors")
        .linger(3000)
        .proof(Proof::seen(5, "truncated over UDP", |one| one.truncated && !one.tcp))
        .proof(Proof::seen(5, "answered over TCP", |one| one.tcp && one.answered()))
}
