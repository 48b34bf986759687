//! `tcp-blocked`: truncation, or a client that wants TCP, and TCP/53 does not get through (facts 3.1 d, P6).

use serde_json::json;

use super::{conf, noisy, of, one};
use crate::corpus::names::Names;
use crate::corpus::proof::Proof;
use crate::corpus::scenario::{Scenario, Set};
use crate::corpus::server::{Kind, Server};
use crate::corpus::zone::World;
use crate::lab::Client;

/// What stands in the way.
#[derive(Clone, Copy, PartialEq)]
enum Block {
    /// A policy that drops.
    Drop,
    /// A firewall that resets.
    Reset,
    /// A firewall that sends ICMP.
    Icmp,
    /// Nobody listens at the port.
    Closed,
}

impl Block {
    /// Its part of a capture's name.
    fn word(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Reset => "reset",
            Self::Icmp => "icmp",
            Self::Closed => "closed",
        }
    }

    /// What nftables do.
    fn rules(self) -> &'static str {
        match self {
            Self::Drop => "tcp dport 53 counter drop",
            Self::Reset => "tcp dport 53 reject with tcp reset",
            Self::Icmp => "tcp dport 53 reject with icmp type admin-prohibited",
            Self::Closed => "",
        }
    }
}

/// The scenarios of this family.
pub fn scenarios(set: Set) -> Vec<Scenario> {
    let positives: &[(Client, Kind, Block)] = of(
        set,
        &[
            (Client::Glibc, Kind::Unbound, Block::Drop),
            (Client::Glibc, Kind::Bind, Block::Reset),
            (Client::Glibc, Kind::Responder, Block::Closed),
            (Client::Go, Kind::Unbound, Block::Drop),
            (Client::Go, Kind::Bind, Block::Icmp),
            (Client::Musl124, Kind::Nsd, Block::Reset),
            (Client::Musl125, Kind::Dnsmasq, Block::Drop),
            (Client::Musl125, Kind::Unbound, Block::Icmp),
            (Client::CAres118, Kind::Bind, Block::Drop),
            (Client::CAres134, Kind::Responder, Block::Closed),
            (Client::NodeResolve, Kind::Unbound, Block::Reset),
        ],
        &[
            (Client::Glibc, Kind::Knot, Block::Drop),
            (Client::Go, Kind::Pdns, Block::Reset),
            (Client::Musl124, Kind::Pdns, Block::Drop),
            (Client::Musl125, Kind::Knot, Block::Reset),
            (Client::CAres134, Kind::Knot, Block::Icmp),
            (Client::NodeLookup, Kind::Responder, Block::Closed),
        ],
    );
    let mut all: Vec<Scenario> =
        positives.iter().map(|&(client, kind, block)| positive(set, client, kind, block)).collect();
    all.push(only_tcp(set, "use-vc", Block::Drop));
    all.push(only_tcp(set, "use-vc", Block::Reset));
    all.push(dig(set));
    let working: &[(Client, Kind)] = of(
        set,
        &[(Client::Glibc, Kind::Unbound), (Client::Musl125, Kind::Bind), (Client::Go, Kind::Nsd)],
        &[(Client::Musl124, Kind::Knot), (Client::CAres134, Kind::Pdns)],
    );
    all.extend(working.iter().map(|&(client, kind)| first_lost(set, client, kind)));
    all.push(slow(set, of(set, Client::Glibc, Client::Go), 1.5));
    all.push(slow(set, of(set, Client::CAres118, Client::Musl125), 0.8));
    all.push(use_vc_works(set));
    all.push(other_port(set));
    all.push(many_questions(set));
    all.push(never_tried(set));
    all.push(reset_after_answer(set));
    all.push(joined_late(set));
    let (client, kind) = of(set, (Client::Go, Kind::Unbound), (Client::Musl125, Kind::Knot));
    all.push(noisy(positive(set, client, kind, Block::Drop)));
    all.push(noisy(slow(set, client, 0.9)));
    all
}

/// Truncated, and TCP does not get through.
fn positive(set: Set, client: Client, kind: Kind, block: Block) -> Scenario {
    let name = format!("tcp-blocked-{}-{}-{}", block.word(), client.name(), kind.name());
    let mut names = Names::new(set, &name);
    let large = names.externals(2);
    let rules =
        vec![json!({"proto": "udp", "type": "A", "tc": true, "soa": false, "no_tcp": true}), json!({})];
    let server = match kind {
        Kind::Responder => Server::responder(set, rules),
        _ => {
            let world = large.iter().fold(World::cluster(), |world, name| world.big(name, 5, 96));
            Server::service(kind, set, world)
        }
    };
    let scenario = Scenario::new(set, name).server(server).pod(conf(set, &[], "")).fault(block.rules());
    large
        .iter()
        .fold(scenario, |scenario, name| scenario.lookups(client, &one(name), 2, 300))
        .limit(13)
        .must("tcp-blocked")
        .near("truncated-no-tcp", "3.1 d: TCP was tried; this raises tcp-blocked only")
        .may("query-storm", "8.2, 8.7: clients ask again and again when TCP fails")
        .proof(Proof::seen(2, "truncated", |one| one.truncated && !one.tcp))
        .proof(Proof::packets(2, "tcp dst port 53 and tcp[tcpflags] & tcp-syn != 0"))
        .proof(Proof::never("an answer over TCP", |one| one.tcp && one.answered()))
}

/// glibc told to use TCP alone: no truncation comes before.
fn only_tcp(set: Set, options: &str, block: Block) -> Scenario {
    let name = format!("tcp-blocked-{}-use-vc", block.word());
    let kind = of(set, Kind::Bind, Kind::Knot);
    let mut names = Names::new(set, &name);
    let hosts = names.externals(3);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], options))
        .fault(block.rules());
    hosts
        .iter()
        .fold(scenario, |scenario, name| scenario.lookups(Client::Glibc, &one(name), 1, 0))
        .limit(12)
        .no_stub()
        // No name is seen, and three connections at once may be one lookup of Go: A, AAAA, and again.
        .must_be("tcp-blocked", if block == Block::Drop { "warning" } else { "low" })
        .proof(Proof::packets(3, "tcp dst port 53 and tcp[tcpflags] & tcp-syn != 0"))
        .proof(Proof::no_packet("udp port 53"))
}

/// A tool that is told to use TCP.
fn dig(set: Set) -> Scenario {
    let (words, time, tries) = of(set, ("dig", "+time=4", "+tries=2"), ("kdig", "+timeout=4", "+retry=1"));
    let name = format!("tcp-blocked-drop-{words}");
    let kind = of(set, Kind::Nsd, Kind::Knot);
    let mut names = Names::new(set, &name);
    let hosts = names.externals(3);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .fault(Block::Drop.rules());
    hosts
        .iter()
        .fold(scenario, |scenario, name| scenario.program(&[words, "+tcp", time, tries, name, "A"]))
        .limit(12)
        .must("tcp-blocked")
        .proof(Proof::packets(3, "tcp dst port 53 and tcp[tcpflags] & tcp-syn != 0"))
}

/// The first SYN of each connection is lost; TCP sends it again after a second, and all is well.
fn first_lost(set: Set, client: Client, kind: Kind) -> Scenario {
    let name = format!("tcp-works-first-syn-lost-{}-{}", client.name(), kind.name());
    let mut names = Names::new(set, &name);
    let large = names.external();
    // More than 1,232 bytes, for those with EDNS.
    let world = World::cluster().big(&large, 5, 96);
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .fault(
            "tcp dport 53 tcp flags syn ip saddr . tcp sport != @first_syn \
             add @first_syn { ip saddr . tcp sport timeout 30s } counter drop",
        )
        .lookups(client, &one(&large), 3, 300)
        .near("tcp-blocked", "3.1 d asks for a SYN without SYN-ACK; here TCP is slow but works")
        .near("truncated-no-tcp", "3.1: TC then TCP")
        .proof(Proof::seen(3, "answered over TCP", |one| one.tcp && one.answered()))
        .proof(Proof::that("SYNs were lost", |recorded| {
            let syns =
                recorded.packets("tcp dst port 53 and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn")?;
            let accepted = recorded.packets("tcp src port 53 and tcp[tcpflags] & tcp-syn != 0")?;
            Ok(accepted >= 3 && syns >= accepted + 3)
        }))
}

/// The server takes its time over TCP.
fn slow(set: Set, client: Client, delay: f64) -> Scenario {
    let name = format!("tcp-works-slow-{}", client.name());
    let large = Names::new(set, &name).external();
    let rules = vec![
        json!({"proto": "udp", "type": "A", "tc": true, "soa": false}),
        json!({"proto": "tcp", "type": "A", "count": 60, "delay": delay}),
        json!({"type": "AAAA"}),
    ];
    Scenario::new(set, name)
        .server(Server::responder(set, rules))
        .pod(conf(set, &[], ""))
        .lookups(client, &one(&large), 3, 300)
        .near("tcp-blocked", "3.1 d: TCP slow but works")
        .near("truncated-no-tcp", "3.1: TC then TCP")
        .proof(Proof::all_resolved())
        .proof(Proof::seen(3, "answered over TCP", |one| one.tcp && one.answered()))
}

/// glibc told to use TCP alone, and it works.
fn use_vc_works(set: Set) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Pdns);
    let name = format!("tcp-works-use-vc-{}", kind.name());
    let mut names = Names::new(set, &name);
    let hosts = names.externals(5);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], "use-vc"))
        .lookups(Client::Glibc, &hosts, 2, 300)
        .no_stub()
        .near("tcp-blocked", "P6: the SYN of a use-vc client is answered")
        .proof(Proof::all_resolved())
        .proof(Proof::no_packet("udp port 53"))
}

/// A closed port that is not DNS.
fn other_port(set: Set) -> Scenario {
    let kind = of(set, Kind::Bind, Kind::Knot);
    let name = "tcp-works-other-port-closed";
    let mut names = Names::new(set, name);
    let hosts = names.externals(4);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    let server = Server::service(kind, set, world);
    let url = format!("http://{}:853/", server.address);
    let elsewhere = format!("http://{}:5353/", of(set, "10.0.0.1", "10.9.0.1"));
    Scenario::new(set, name)
        .server(server)
        .pod(conf(set, &[], ""))
        .lookups(Client::Glibc, &hosts, 2, 300)
        .program(&["curl", "-s", "-m", "3", &url])
        .program(&["curl", "-s", "-m", "3", &elsewhere])
        .program_after(500, &["curl", "-s", "-m", "3", &elsewhere])
        .near("tcp-blocked", "P6 is about port 53; these SYNs go to others")
        .proof(Proof::all_resolved())
        .proof(Proof::packets(1, "tcp[tcpflags] & tcp-syn != 0 and not port 53"))
}

/// Several questions over one connection, and an end in good order.
fn many_questions(set: Set) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Knot);
    let words = of(set, "dig", "kdig");
    let name = "tcp-works-many-questions";
    let mut names = Names::new(set, name);
    let hosts = names.externals(6);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    let mut command = vec![words, "+tcp", of(set, "+keepopen", "+keepopen")];
    command.extend(hosts.iter().map(String::as_str));
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .program(&command)
        .near("tcp-blocked", "P6: TCP works")
        .proof(Proof::seen(6, "answered over TCP", |one| one.tcp && one.answered()))
}

/// TCP is blocked, but nobody knows, since nobody tries.
fn never_tried(set: Set) -> Scenario {
    let kind = of(set, Kind::Nsd, Kind::Pdns);
    let name = "tcp-blocked-never-tried";
    let mut names = Names::new(set, name);
    let large = names.external();
    let world = World::cluster().big(&large, 5, 59);
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .fault(Block::Drop.rules())
        .lookups(Client::Musl123, &one(&large), 4, 500)
        .near("tcp-blocked", "3.1 d: TC=1, then SYN; here there is no SYN")
        .must("truncated-no-tcp")
        .linger(3500)
        .proof(Proof::seen(4, "truncated", |one| one.truncated))
        .proof(Proof::no_packet("tcp"))
}

/// A client that closes in a hurry once it has its answer: a reset at the end of a connection that worked.
fn reset_after_answer(set: Set) -> Scenario {
    let kind = of(set, Kind::Bind, Kind::Knot);
    let name = "tcp-works-reset-after-answer";
    let mut names = Names::new(set, name);
    let host = names.external();
    let world = World::cluster().host(&host, 5, &mut names, false);
    let server = Server::service(kind, set, world);
    let address = server.address.clone();
    Scenario::new(set, name)
        .server(server)
        .pod(conf(set, &[], ""))
        .file("hurry.py", include_str!("../hurry.py").to_owned())
        .program(&["python3", "{dir}/hurry.py", &address, &host, "4"])
        .near("tcp-blocked", "3.1 d: SYN with RST; here the RST comes after the answer")
        .proof(Proof::seen(4, "answered over TCP", |one| one.tcp && one.answered()))
        .proof(Proof::packets(4, "tcp[tcpflags] & tcp-rst != 0"))
}

/// The capture begins while connections are open: their SYNs are not in it.
fn joined_late(set: Set) -> Scenario {
    let name = "tcp-works-joined-late";
    let hosts = Names::new(set, name).externals(3);
    let rules = vec![json!({"proto": "tcp", "type": "A", "count": 3, "delay": 2.0}), json!({})];
    let server = Server::responder(set, rules);
    let words = of(set, "dig", "kdig");
    let scenario = Scenario::new(set, name).server(server).pod(conf(set, &[], ""));
    hosts
        .iter()
        .fold(scenario, |scenario, name| scenario.program(&[words, "+tcp", name, "A"]))
        .join(1000)
        .near("tcp-blocked", "the connections began before the capture, and they work")
        .proof(Proof::no_packet("tcp[tcpflags] & tcp-syn != 0"))
        .proof(Proof::packets(3, "tcp src port 53"))
}
