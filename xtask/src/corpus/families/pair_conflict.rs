//! `pair-conflict`: the A of a name is answered, and its AAAA says that the name does not exist (facts 3.3).

use serde_json::{Value, json};

use super::{conf, conf_of, of, one};
use crate::corpus::names::Names;
use crate::corpus::proof::{Proof, Transaction};
use crate::corpus::scenario::{Scenario, Set};
use crate::corpus::server::{Kind, Server};
use crate::corpus::zone::World;
use crate::lab::Client;

/// What the other of the pair says.
#[derive(Clone, Copy, PartialEq)]
enum Conflict {
    /// AAAA: NXDOMAIN, by a script in the PowerDNS Recursor.
    PdnsNxdomain,
    /// AAAA: NXDOMAIN.
    Nxdomain,
    /// AAAA: SERVFAIL.
    Servfail,
    /// AAAA: REFUSED.
    Refused,
    /// AAAA: nothing at all.
    Silence,
    /// A: NXDOMAIN, AAAA: an address.
    OnlyAaaa,
}

impl Conflict {
    /// Its part of a capture's name.
    fn word(self) -> &'static str {
        match self {
            Self::PdnsNxdomain => "nxdomain-pdns",
            Self::Nxdomain => "nxdomain",
            Self::Servfail => "servfail",
            Self::Refused => "refused",
            Self::Silence => "silence",
            Self::OnlyAaaa => "only-aaaa",
        }
    }
}

/// The scenarios of this family.
pub fn scenarios(set: Set) -> Vec<Scenario> {
    let positives: &[(Client, Conflict)] = of(
        set,
        &[
            (Client::Musl123, Conflict::PdnsNxdomain),
            (Client::Musl125, Conflict::PdnsNxdomain),
            (Client::Glibc, Conflict::PdnsNxdomain),
            (Client::Musl124, Conflict::Nxdomain),
            (Client::Go, Conflict::Nxdomain),
            (Client::CAres118, Conflict::Nxdomain),
            (Client::NodeLookup, Conflict::Nxdomain),
            (Client::Musl125, Conflict::Servfail),
            (Client::Glibc, Conflict::Servfail),
            (Client::Musl123, Conflict::Refused),
            (Client::Musl125, Conflict::Silence),
            (Client::Musl123, Conflict::OnlyAaaa),
            (Client::Glibc, Conflict::OnlyAaaa),
        ],
        &[
            (Client::Musl124, Conflict::PdnsNxdomain),
            (Client::CAres134, Conflict::PdnsNxdomain),
            (Client::Musl123, Conflict::Nxdomain),
            (Client::Musl123, Conflict::Servfail),
            (Client::Musl125, Conflict::Refused),
            (Client::Musl124, Conflict::Silence),
            (Client::Musl125, Conflict::OnlyAaaa),
        ],
    );
    let mut all: Vec<Scenario> =
        positives.iter().map(|&(client, conflict)| positive(set, client, conflict)).collect();
    all.extend(agreeing(set));
    all.push(two_servers(set));
    all.push(created_between(set));
    all.push(filtered(set));
    all.push(wildcard_race(set));
    all
}

/// A script for the recursor: it answers each AAAA below `domain` with NXDOMAIN, as some load balancers do.
fn lua(domain: &str) -> String {
    format!(
        "balanced = newDN(\"{domain}\")\nfunction preresolve(dq)\n  if dq.qtype == pdns.AAAA and dq.qname:isPartOf(balanced) then\n    dq.rcode = pdns.NXDOMAIN\n    return true\n  end\n  return false\nend\n"
    )
}

/// One of the pair is answered, the other contradicts it.
fn positive(set: Set, client: Client, conflict: Conflict) -> Scenario {
    let name = format!("pair-conflict-{}-{}", conflict.word(), client.name());
    let mut names = Names::new(set, &name);
    let wanted = names.external();
    let scenario = Scenario::new(set, &name).pod(conf(set, &[], ""));
    let address = format!("A {}", names.address());
    let answered = json!({"type": "A", "answer": [address]});
    let rules = |aaaa: Value| vec![answered, aaaa];
    let server = match conflict {
        Conflict::PdnsNxdomain => {
            let world = World::cluster().host(&wanted, 5, &mut names, false);
            Server::service(Kind::Pdns, set, world).extra("lua-dns-script={dir}/../pair.lua")
        }
        Conflict::Nxdomain => Server::responder(set, rules(json!({"type": "AAAA", "rcode": 3}))),
        Conflict::Servfail => {
            Server::responder(set, rules(json!({"type": "AAAA", "rcode": 2, "soa": false})))
        }
        Conflict::Refused => Server::responder(set, rules(json!({"type": "AAAA", "rcode": 5, "soa": false}))),
        Conflict::Silence => Server::responder(set, rules(json!({"type": "AAAA", "silent": true}))),
        Conflict::OnlyAaaa => {
            let address = format!("AAAA {}", names.address6());
            Server::responder(
                set,
                vec![json!({"type": "A", "rcode": 3}), json!({"type": "AAAA", "answer": [address]})],
            )
        }
    };
    // Some of these answers are waited for up to 5 s by musl and 15 s by glibc.
    let slow = matches!(conflict, Conflict::Servfail | Conflict::Refused | Conflict::Silence);
    let scenario = scenario.file("pair.lua", lua("example")).server(server);
    let scenario = if slow {
        // Each in a process of its own, at once: otherwise they would take a quarter of a minute.
        (0..4).fold(scenario, |scenario, _| scenario.lookups(client, &one(&wanted), 1, 0))
    } else {
        scenario.lookups(client, &one(&wanted), 4, 700)
    };
    let scenario = match conflict {
        Conflict::Servfail => {
            scenario.may("servfail", "P3: musl and glibc multiply the SERVFAIL").linger(1000)
        }
        Conflict::Refused => scenario.may("refused", "P4: the AAAA is refused each time").linger(1000),
        Conflict::Silence => scenario.may("unanswered", "P2: the AAAA has no reply of any kind").linger(7500),
        _ => scenario,
    };
    // Only musl takes it for failure (3.3); four pairs at once may not show that it is musl (1.3).
    let is_musl = client.fingerprint().starts_with("musl");
    let severity = if is_musl && !slow { "high" } else { "low" };
    let scenario = scenario.must_be("pair-conflict", severity).proof(Proof::that(
        "three pairs disagree",
        move |recorded| {
            let gone = |one: &Transaction| !one.found() && !one.nodata;
            // Go and Node ask from two ports.
            let conflicts = recorded
                .twins()
                .iter()
                .filter(|pair| pair.a.found() && gone(pair.aaaa) || gone(pair.a) && pair.aaaa.found())
                .count();
            Ok(conflicts >= 3)
        },
    ));
    if is_musl { scenario.proof(Proof::failed(4)) } else { scenario.proof(Proof::all_resolved()) }
}

/// Pairs that agree, or disagree in a way that is no conflict.
fn agreeing(set: Set) -> Vec<Scenario> {
    let cases: &[(&str, Client, Kind, &str)] = of(
        set,
        &[
            ("aaaa-nodata", Client::Musl123, Kind::Unbound, "3.3: an AAAA answered ND"),
            ("aaaa-nodata", Client::Musl125, Kind::Dnsmasq, "3.3: an AAAA answered ND"),
            ("both", Client::Musl124, Kind::Bind, "3.3: both are answered"),
            ("neither", Client::Musl125, Kind::Nsd, "3.3: both say NX"),
            ("empty", Client::Musl123, Kind::Bind, "3.3: both say ND"),
            ("a-nodata", Client::Musl125, Kind::Unbound, "3.3: an A answered ND, and an AAAA"),
        ],
        &[
            ("aaaa-nodata", Client::Musl124, Kind::Knot, "3.3: an AAAA answered ND"),
            ("neither", Client::Musl123, Kind::Pdns, "3.3: both say NX"),
            ("empty", Client::Musl125, Kind::Knot, "3.3: both say ND"),
            ("a-nodata", Client::Musl124, Kind::Pdns, "3.3: an A answered ND, and an AAAA"),
        ],
    );
    cases.iter().map(|&(word, client, kind, why)| agree(set, word, client, kind, why)).collect()
}

/// One of the pairs of [`agreeing`].
fn agree(set: Set, word: &str, client: Client, kind: Kind, why: &'static str) -> Scenario {
    let name = format!("pair-agrees-{word}-{}-{}", client.name(), kind.name());
    let mut names = Names::new(set, &name);
    let wanted = names.external();
    let world = World::cluster();
    let world = match word {
        "aaaa-nodata" => world.host(&wanted, 5, &mut names, false),
        "both" => world.host(&wanted, 5, &mut names, true),
        "empty" => world.record(&wanted, 5, "TXT \"no address\""),
        "a-nodata" => world.record(&wanted, 5, &format!("AAAA {}", names.address6())),
        _ => world,
    };
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .lookups(client, &one(&wanted), 4, 700)
        .near("pair-conflict", why)
        .near("search-stopped", "3.2: without a search list the name itself is the last candidate");
    match word {
        "neither" | "empty" => scenario.proof(Proof::failed(4)),
        _ => scenario.proof(Proof::all_resolved()),
    }
}

/// musl asks two servers at once, of which one knows the name for IPv4 alone and the other not at all.
fn two_servers(set: Set) -> Scenario {
    let name = "pair-agrees-two-servers";
    let mut names = Names::new(set, name);
    let wanted = names.external();
    let (first, second) = of(set, ("10.0.9.53", "10.0.9.54"), ("10.9.7.2", "10.9.7.3"));
    let address = format!("A {}", names.address());
    let knows = vec![json!({"type": "A", "answer": [address]}), json!({"type": "AAAA", "delay": 0.2})];
    let denies = vec![json!({"type": "A", "rcode": 3, "delay": 0.2}), json!({"type": "AAAA", "rcode": 3})];
    let at = |address: &str, rules| Server { rules, ..Server::at(Kind::Responder, address, World::new()) };
    Scenario::new(set, name)
        .server(at(first, knows))
        .server(at(second, denies))
        .pod(conf_of(&[], &[first, second], ""))
        .lookups(of(set, Client::Musl125, Client::Musl124), &one(&wanted), 4, 900)
        .near("pair-conflict", "3.3: replies from different servers")
        .must("servers-disagree")
        .may("lame-nodata", "one name gives NX at one server and ND at the other")
        .may("late-reply", "the slower server's reply meets a closed port")
        .proof(Proof::failed(4))
        .proof(Proof::seen(4, "NXDOMAIN", |one| one.rcode == "NXDOMAIN"))
        .proof(Proof::seen(4, "an address", Transaction::found))
}

/// AAAA is asked first and gives NXDOMAIN; seconds later the name is there, and A is asked.
fn created_between(set: Set) -> Scenario {
    let name = "pair-agrees-created-between";
    let mut names = Names::new(set, name);
    let wanted = names.externals(3);
    let address = format!("A {}", names.address());
    let rules = vec![json!({"type": "A", "answer": [address]})];
    let dig = of(set, "dig", "kdig");
    let server = format!("@{}", Server::service_ip(set));
    let scenario = Scenario::new(set, name).server(Server::responder(set, rules)).pod(conf(set, &[], ""));
    wanted
        .iter()
        .fold(scenario, |scenario, name| {
            scenario.program(&[dig, &server, name, "AAAA"]).program_after(2000, &[dig, &server, name, "A"])
        })
        .no_stub()
        .near("pair-conflict", "3.3: name created/deleted between (pair >1 s apart)")
        .proof(Proof::seen(3, "NXDOMAIN", |one| one.rcode == "NXDOMAIN"))
        .proof(Proof::seen(3, "an address", Transaction::found))
}

/// A resolver that leaves out IPv6 addresses, as BIND's filter-aaaa and dnsmasq's filter-AAAA do.
fn filtered(set: Set) -> Scenario {
    let kind = of(set, Kind::Bind, Kind::Dnsmasq);
    let name = format!("pair-agrees-filtered-{}", kind.name());
    let mut names = Names::new(set, &name);
    let wanted = names.external();
    let world = World::cluster().host(&wanted, 5, &mut names, true);
    let server = Server::service(kind, set, world);
    let server = match kind {
        Kind::Bind => {
            server.extra("plugin query \"filter-aaaa.so\" { filter-aaaa-on-v4 yes; filter-aaaa-on-v6 yes; };")
        }
        _ => server.extra("filter-AAAA"),
    };
    Scenario::new(set, name)
        .server(server)
        .pod(conf(set, &[], ""))
        .lookups(of(set, Client::Musl123, Client::Musl125), &one(&wanted), 4, 700)
        .near("pair-conflict", "3.3: DNS64/AAAA filter answering ND")
        .may("lame-nodata", "P7: the filter leaves a NODATA without an SOA")
        .proof(Proof::all_resolved())
        .proof(Proof::seen(4, "NODATA", |one| one.nodata))
}

/// Two names that a wildcard begins to cover between the A and the AAAA of their first lookup.
fn wildcard_race(set: Set) -> Scenario {
    let name = "pair-agrees-wildcard-race";
    let mut names = Names::new(set, name);
    let wanted = names.externals(2);
    let (address, address6) = (format!("A {}", names.address()), format!("AAAA {}", names.address6()));
    let rules = vec![
        json!({"type": "AAAA", "rcode": 3, "first": 1}),
        json!({"type": "A", "answer": [address], "delay": 0.02}),
        json!({"type": "AAAA", "answer": [address6]}),
    ];
    Scenario::new(set, name)
        .server(Server::responder(set, rules))
        .pod(conf(set, &[], ""))
        .lookups(of(set, Client::Musl124, Client::Musl125), &wanted, 4, 700)
        .near("pair-conflict", "3.3: wildcard races; 3.0: once for each of two names")
        .proof(Proof::failed(2))
        .proof(Proof::seen(14, "an address", Transaction::found))
        .proof(Proof::that("one NXDOMAIN for each name", |recorded| {
            Ok(recorded.transactions.iter().filter(|one| one.rcode == "NXDOMAIN").count() == 2)
        }))
}
