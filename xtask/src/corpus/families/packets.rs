//! What packets show beside their messages: fragments, foreign sources, IDs (facts 3.7 P5, 3.8 P8, P13).

use serde_json::json;

use super::{conf, conf_of, of, one};
use crate::corpus::names::Names;
use crate::corpus::proof::{Proof, Transaction};
use crate::corpus::scenario::{Scenario, Set};
use crate::corpus::server::{Kind, Server};
use crate::corpus::zone::World;
use crate::lab::Client;

/// The scenarios of this family.
pub fn scenarios(set: Set) -> Vec<Scenario> {
    let mut all = vec![
        fragmented(set, of(set, Kind::Unbound, Kind::Knot), of(set, 180, 210)),
        fragmented(set, of(set, Kind::Nsd, Kind::Pdns), of(set, 120, 150)),
        nearly_fragmented(set),
        large_over_tcp(set),
    ];
    all.extend(wrong_source(set));
    all.extend(ids(set));
    all
}

/// A server that may send 4,096 octets over UDP.
fn roomy(kind: Kind, set: Set, world: World) -> Server {
    let server = Server::service(kind, set, world);
    match kind {
        Kind::Unbound => server.extra(" edns-buffer-size: 4096\n max-udp-size: 4096\n"),
        Kind::Knot => server.extra("server:\n    udp-max-payload: 4096\n"),
        Kind::Nsd => server.extra("server:\n ipv4-edns-size: 4096\n"),
        _ => server.extra("udp-truncation-threshold=4096\nedns-outgoing-bufsize=4096\n"),
    }
}

/// Answers larger than a packet.
fn fragmented(set: Set, kind: Kind, count: usize) -> Scenario {
    let name = format!("fragmented-{}", kind.name());
    let large = Names::new(set, &name).external();
    let dig = of(set, "dig", "kdig");
    let query = [dig, "+bufsize=4096", &large, "A"];
    Scenario::new(set, name)
        .server(roomy(kind, set, World::cluster().big(&large, 5, count)))
        .pod(conf(set, &[], ""))
        .program(&query)
        .program_after(400, &query)
        .program_after(800, &query)
        .program_after(1200, &query)
        .must("fragmented")
        .near("oversize-udp", "3.1 b: the query said 4,096")
        .proof(Proof::packets(4, "ip[6:2] & 0x3fff != 0"))
}

/// As large as one packet can be.
fn nearly_fragmented(set: Set) -> Scenario {
    let name = "fragmented-not-nearly";
    let large = Names::new(set, name).external();
    let dig = of(set, "dig", "kdig");
    let query = [dig, "+bufsize=4096", &large, "A"];
    Scenario::new(set, name)
        .server(roomy(of(set, Kind::Unbound, Kind::Knot), set, World::cluster().big(&large, 5, 86)))
        .pod(conf(set, &[], ""))
        .program(&query)
        .program_after(400, &query)
        .program_after(800, &query)
        .near("fragmented", "P5: MF=1 or offset>0")
        .proof(Proof::seen(3, "large", |one| one.bytes > 1400))
        .proof(Proof::no_packet("ip[6:2] & 0x3fff != 0"))
}

/// Several segments are no fragments.
fn large_over_tcp(set: Set) -> Scenario {
    let name = "fragmented-not-tcp";
    let large = Names::new(set, name).external();
    let dig = of(set, "dig", "kdig");
    let query = [dig, "+tcp", &large, "A"];
    Scenario::new(set, name)
        .server(roomy(of(set, Kind::Nsd, Kind::Pdns), set, World::cluster().big(&large, 5, 200)))
        .pod(conf(set, &[], ""))
        .program(&query)
        .program_after(400, &query)
        .program_after(800, &query)
        .near("fragmented", "P5: fragments of IP; here a stream in segments")
        .proof(Proof::seen(3, "large over TCP", |one| one.tcp && one.bytes > 3000))
}

/// Replies from another address than the one that was asked, and what looks like it.
fn wrong_source(set: Set) -> Vec<Scenario> {
    let (asked, other) = of(set, ("10.0.9.61", "10.0.9.60"), ("10.9.7.61", "10.9.7.60"));
    let positive = |client: Client| {
        let name = format!("wrong-source-{}", client.name());
        let mut names = Names::new(set, &name);
        let hosts = names.externals(3);
        let address = format!("A {}", names.address());
        let rules = vec![
            json!({"name": "probe.example"}),
            json!({"type": "A", "answer": [address], "source": other}),
            json!({"type": "AAAA", "source": other}),
        ];
        let server = Server { rules, ..Server::at(Kind::Responder, asked, World::new()) }.also_at(other);
        let scenario = Scenario::new(set, name).server(server).pod(conf_of(&[], &[asked], ""));
        hosts
            .iter()
            .fold(scenario, |scenario, name| scenario.lookups(client, &one(name), 1, 0))
            .limit(22)
            .linger(7000)
            .must("wrong-source")
            .may("unanswered", "P8: both then time out")
            .proof(Proof::failed(0))
            .proof(Proof::packets(3, &format!("udp src port 53 and src host {other}")))
    };
    let near = |word: &str, rules: Vec<serde_json::Value>, why: &'static str| {
        let name = format!("wrong-source-not-{word}");
        let mut names = Names::new(set, &name);
        let hosts = names.externals(4);
        Scenario::new(set, name)
            .server(Server::responder(set, rules))
            .pod(conf(set, &[], ""))
            .lookups(of(set, Client::Glibc, Client::Musl125), &hosts, 2, 200)
            .near("wrong-source", why)
            .proof(Proof::all_resolved())
    };
    vec![
        positive(of(set, Client::Musl123, Client::Musl124)),
        positive(of(set, Client::Glibc, Client::Go)),
        near(
            "twice",
            vec![
                json!({"type": "A", "answer": ["A 192.0.2.9"], "times": 2}),
                json!({"type": "AAAA", "times": 2}),
            ],
            "P8: each reply comes twice, from the address that was asked",
        ),
        near(
            "translated",
            vec![json!({"type": "A", "answer": ["A 192.0.2.17"]}), json!({"type": "AAAA"})],
            "P8: NAT seen at a hook before un-DNAT; every interface of the node is in the capture",
        )
        .tap(crate::corpus::scenario::Tap::Any)
        .no_stub(),
    ]
}

/// One ID and port for two open questions, and what looks like it.
fn ids(set: Set) -> Vec<Scenario> {
    let positive = |word: &'static str| {
        let name = format!("id-reuse-{word}");
        let mut names = Names::new(set, &name);
        let hosts = names.externals(6);
        let rules = vec![
            json!({"type": "A", "answer": ["A 192.0.2.33"], "delay": 0.2}),
            json!({"type": "AAAA", "delay": 0.2}),
        ];
        let server = Server::responder(set, rules);
        let address = server.address.clone();
        let mut words = vec!["python3", "{dir}/one_id.py", &address, word];
        words.extend(hosts.iter().map(String::as_str));
        Scenario::new(set, &name)
            .server(server)
            .pod(conf(set, &[], ""))
            .file("one_id.py", include_str!("../one_id.py").to_owned())
            .program(&words)
            .must("id-reuse")
            .proof(Proof::that("two open questions with one ID", |recorded| {
                let all = &recorded.transactions;
                let same = |one: &Transaction, other: &Transaction| {
                    (one.id, one.client_port) == (other.id, other.client_port)
                        && (&one.qname, &one.qtype) != (&other.qname, &other.qtype)
                        && (one.time - other.time).abs() < 0.1
                };
                Ok(all.iter().filter(|one| all.iter().any(|other| same(one, other))).count() >= 4)
            }))
    };
    let near = |client: Client, why: &'static str| {
        let name = format!("id-reuse-not-{}", client.name());
        let mut names = Names::new(set, &name);
        let hosts = names.externals(30);
        let kind = of(set, Kind::Unbound, Kind::Knot);
        let world = World::cluster().hosts(&hosts, 5, &mut names);
        Scenario::new(set, name)
            .server(Server::service(kind, set, world))
            .pod(conf(set, &[], ""))
            .lookups(client, &hosts, 1, 0)
            .near("id-reuse", why)
            .proof(Proof::seen(60, "answered", Transaction::answered))
    };
    vec![
        positive("pair"),
        positive("names"),
        near(of(set, Client::CAres118, Client::CAres134), "P13: not c-ares' long-lived port"),
        near(
            of(set, Client::BusyBox, Client::Musl123),
            "P13: one port for both of a pair, with different IDs",
        ),
    ]
}
