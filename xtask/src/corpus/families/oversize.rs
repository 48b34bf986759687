//! `oversize-udp`: a response over UDP that is larger than the client said it can take, without TC (facts 3.1 b).
//!
//! No server at hand does so any more (CoreDNS did up to 1.10.0), hence the responder.

use serde_json::json;

use super::{conf, of, one};
use crate::corpus::names::Names;
use crate::corpus::proof::{Proof, Transaction};
use crate::corpus::scenario::{Scenario, Set};
use crate::corpus::server::{Kind, Server};
use crate::corpus::zone::World;
use crate::lab::Client;

/// The scenarios of this family.
pub fn scenarios(set: Set) -> Vec<Scenario> {
    // The client and the addresses of the response: 16 octets each, and about 45 more.
    let positives: &[(Client, usize)] = of(
        set,
        &[
            (Client::Musl123, 60),
            (Client::Musl123, 34),
            (Client::Musl124, 40),
            (Client::Musl125, 60),
            (Client::Glibc, 60),
            (Client::Glibc, 31),
            (Client::NodeResolve, 50),
            (Client::NodeLookup, 44),
            (Client::CAres118, 60),
            (Client::BusyBox, 60),
            (Client::Go, 86),
        ],
        &[
            (Client::Musl123, 47),
            (Client::Musl125, 36),
            (Client::Glibc, 52),
            (Client::CAres118, 38),
            (Client::CAres134, 85),
        ],
    );
    let mut all: Vec<Scenario> =
        positives.iter().map(|&(client, count)| positive(set, client, count)).collect();
    all.push(dig(set));
    let advertised: &[(Client, Kind)] = of(
        set,
        &[
            (Client::Go, Kind::Unbound),
            (Client::CAres134, Kind::Bind),
            (Client::Dig, Kind::Nsd),
            (Client::Dig, Kind::Dnsmasq),
        ],
        &[(Client::Go, Kind::Knot), (Client::Dig, Kind::Pdns)],
    );
    all.extend(advertised.iter().map(|&(client, kind)| with_edns(set, client, kind)));
    all.push(glibc_edns(set));
    all.push(of_size(set, of(set, Client::Musl123, Client::Musl125), 512));
    all.push(of_size(set, of(set, Client::Glibc, Client::CAres118), 500));
    all.push(small_advertisement(set));
    all.push(small_words_of_the_server(set));
    all.push(over_tcp(set));
    all.push(cut_off(set, of(set, Client::Glibc, Client::Musl125)));
    all.push(just_fits(set));
    all
}

/// More than the query allows: 512 octets without an OPT record (RFC 1035 section 4.2.1, RFC 6891 section 6.2.3).
fn is_oversize(one: &Transaction) -> bool {
    !one.tcp && !one.truncated && one.bytes > one.edns.unwrap_or(512).max(512)
}

/// A client that did not say it can take more.
fn positive(set: Set, client: Client, count: usize) -> Scenario {
    let name = format!("oversize-{}-{count}", client.name());
    let large = Names::new(set, &name).external();
    let rules = vec![json!({"type": "A", "count": count}), json!({"type": "AAAA"})];
    Scenario::new(set, name)
        .server(Server::responder(set, rules))
        .pod(conf(set, &[], ""))
        .lookups(client, &one(&large), 4, 500)
        .must("oversize-udp")
        .near("truncated-no-tcp", "3.1 b is a finding of its own: TC=0")
        .proof(Proof::seen(3, "too large", is_oversize))
}

/// dig names a size, and gets more.
fn dig(set: Set) -> Scenario {
    let words = of(set, "dig", "kdig");
    let name = format!("oversize-{words}");
    let large = Names::new(set, &name).external();
    let size = of(set, "+bufsize=1000", "+bufsize=1100");
    let query = [words, size, &large, "A"];
    Scenario::new(set, name)
        .server(Server::responder(set, vec![json!({"type": "A", "count": 80, "opt": 1232})]))
        .pod(conf(set, &[], ""))
        .program(&query)
        .program_after(600, &query)
        .program_after(1200, &query)
        .must("oversize-udp")
        .proof(Proof::seen(3, "too large", is_oversize))
}

/// Large, but announced.
fn with_edns(set: Set, client: Client, kind: Kind) -> Scenario {
    let name = format!("oversize-not-edns-{}-{}", client.name(), kind.name());
    let large = Names::new(set, &name).external();
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, World::cluster().big(&large, 5, of(set, 60, 55))))
        .pod(conf(set, &[], ""))
        .lookups(client, &one(&large), 4, 400)
        .near("oversize-udp", "3.1 b: query without OPT; this one has an OPT of 1,232")
        .near("fragmented", "3.7 P5: it fits one packet")
        .proof(Proof::seen(4, "large and allowed", |one| one.bytes > 800 && one.edns >= Some(one.bytes)));
    if matches!(client, Client::Dig | Client::Kdig) { scenario.no_stub() } else { scenario }
}

/// glibc with `options edns0` announces 1,200 octets.
fn glibc_edns(set: Set) -> Scenario {
    let kind = of(set, Kind::Bind, Kind::Pdns);
    let name = format!("oversize-not-glibc-edns0-{}", kind.name());
    let large = Names::new(set, &name).external();
    Scenario::new(set, name)
        .server(Server::service(kind, set, World::cluster().big(&large, 5, 60)))
        .pod(conf(set, &[], "edns0"))
        .lookups(Client::Glibc, &one(&large), 4, 400)
        .near("oversize-udp", "1.3: glibc with edns0 says 1200")
        .proof(Proof::all_resolved())
        .proof(Proof::seen(4, "large and allowed", |one| one.bytes > 800 && one.edns == Some(1200)))
}

/// At the limit, or just below.
fn of_size(set: Set, client: Client, size: u64) -> Scenario {
    let name = format!("oversize-not-{size}");
    let mut names = Names::new(set, &name);
    let host = names.external();
    let address = format!("A {}", names.address());
    let rules = vec![json!({"type": "A", "answer": [address], "size": size}), json!({"type": "AAAA"})];
    Scenario::new(set, name)
        .server(Server::responder(set, rules))
        .pod(conf(set, &[], ""))
        .lookups(client, &one(&host), 4, 400)
        .near("oversize-udp", "3.1 b: UDP payload >512; these have 512 or less")
        .proof(Proof::all_resolved())
        .proof(Proof::that("of this size", move |recorded| {
            Ok(recorded.transactions.iter().filter(|one| one.bytes == size).count() >= 4)
        }))
}

/// An OPT record with less than 512 means 512.
fn small_advertisement(set: Set) -> Scenario {
    let name = "oversize-not-small-opt";
    let mut names = Names::new(set, name);
    let host = names.external();
    let address = format!("A {}", names.address());
    let rules = vec![json!({"type": "A", "answer": [address], "opt": 1232, "size": 480})];
    let words = of(set, "dig", "kdig");
    let query = [words, "+bufsize=300", &host, "A"];
    Scenario::new(set, name)
        .server(Server::responder(set, rules))
        .pod(conf(set, &[], ""))
        .program(&query)
        .program_after(500, &query)
        .program_after(1000, &query)
        .near("oversize-udp", "section 6: size <512 means 512 (RFC 6891 6.2.3)")
        .proof(Proof::seen(3, "larger than the OPT record says", |one| {
            one.edns == Some(300) && one.bytes > 400 && one.bytes <= 512
        }))
}

/// The size in a response says what the server can receive, not what it sends.
fn small_words_of_the_server(set: Set) -> Scenario {
    let name = "oversize-not-opt-of-the-reply";
    let host = Names::new(set, name).external();
    let rules = vec![json!({"type": "A", "count": 50, "opt": 512}), json!({"type": "AAAA", "opt": 512})];
    Scenario::new(set, name)
        .server(Server::responder(set, rules))
        .pod(conf(set, &[], ""))
        .lookups(of(set, Client::CAres134, Client::Go), &one(&host), 4, 400)
        .near("oversize-udp", "section 6: in a REPLY the size states what the RESPONDER can receive")
        .proof(Proof::all_resolved())
        .proof(Proof::seen(4, "large and allowed", |one| one.bytes > 800 && one.edns >= Some(one.bytes)))
}

/// Over TCP there is no such limit.
fn over_tcp(set: Set) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Knot);
    let name = "oversize-not-tcp";
    let large = Names::new(set, name).external();
    Scenario::new(set, name)
        .server(Server::service(kind, set, World::cluster().big(&large, 5, 100)))
        .pod(conf(set, &[], "use-vc"))
        .lookups(Client::Glibc, &one(&large), 4, 400)
        .no_stub()
        .near("oversize-udp", "3.1 b is about UDP")
        .proof(Proof::seen(4, "large over TCP", |one| one.tcp && one.bytes > 1200 && one.edns.is_none()))
}

/// The server cuts off as it should.
fn cut_off(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Bind, Kind::Pdns);
    let name = format!("oversize-not-cut-off-{}", client.name());
    let large = Names::new(set, &name).external();
    Scenario::new(set, name)
        .server(Server::service(kind, set, World::cluster().big(&large, 5, 100)))
        .pod(conf(set, &[], ""))
        .lookups(client, &one(&large), 4, 400)
        .near("oversize-udp", "3.1 b: TC=0; these have TC=1 and at most 512 octets")
        .proof(Proof::seen(4, "truncated", |one| one.truncated && one.bytes <= 512))
        .proof(Proof::never("too large", is_oversize))
}

/// As many addresses as an ordinary server can send.
fn just_fits(set: Set) -> Scenario {
    let name = "oversize-not-just-fits";
    let host = Names::new(set, name).external();
    let count = (512 - 12 - (host.len() + 2) - 4) / 16;
    let world = World::cluster().big(&host, 5, count);
    Scenario::new(set, name)
        .server(Server::service(of(set, Kind::Unbound, Kind::Knot), set, world))
        .pod(conf(set, &[], ""))
        .lookups(of(set, Client::Musl123, Client::Glibc), &one(&host), 4, 400)
        .near("oversize-udp", "3.1 b: the largest response that an ordinary server sends without EDNS")
        .proof(Proof::all_resolved())
        .proof(Proof::seen(4, "nearly 512", |one| (490..=512).contains(&one.bytes) && !one.truncated))
}
