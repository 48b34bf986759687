//! Error codes: SERVFAIL and REFUSED (facts 3.7 P3, P4).

use serde_json::json;

use super::{conf, of, one};
use crate::corpus::names::Names;
use crate::corpus::proof::Proof;
use crate::corpus::scenario::{Scenario, Set};
use crate::corpus::server::{Kind, Server};
use crate::corpus::zone::World;
use crate::lab::Client;

/// The scenarios of this family.
pub fn scenarios(set: Set) -> Vec<Scenario> {
    vec![
        servfail(set, of(set, Client::Glibc, Client::Go), of(set, Kind::Bind, Kind::Pdns)),
        servfail(set, of(set, Client::Musl123, Client::Musl125), of(set, Kind::Nsd, Kind::Knot)),
        few_servfail(set),
        small_share_of_servfail(set),
        refused(set, of(set, Client::Glibc, Client::Go), of(set, Kind::Nsd, Kind::Knot)),
        refused_without_question(set, of(set, Client::Glibc, Client::CAres118)),
        refused_once(set),
        notimp(set),
        badvers(set),
    ]
}

/// Lines by which a server has zones that it cannot load, and so answers with SERVFAIL.
fn broken_zones(kind: Kind, hosts: &[String]) -> String {
    let line = |host: &String| match kind {
        Kind::Bind => format!("zone \"{host}\" {{ type primary; file \"missing\"; }};\n"),
        Kind::Nsd => format!("zone:\n name: \"{host}\"\n zonefile: \"missing\"\n"),
        _ => format!("  - domain: {host}.\n    file: missing\n"),
    };
    hosts.iter().map(line).collect()
}

/// The server cannot answer for names of several zones.
fn servfail(set: Set, client: Client, kind: Kind) -> Scenario {
    let name = format!("servfail-{}-{}", client.name(), kind.name());
    let hosts = Names::new(set, &name).externals(5);
    let server = Server::service(kind, set, World::cluster());
    let server = match kind {
        Kind::Pdns => server.extra("lua-dns-script={dir}/../broken.lua"),
        _ => server.extra(broken_zones(kind, &hosts)),
    };
    let broken = "function preresolve(dq)\n  if dq.qname:isPartOf(newDN(\"example\")) then\n    dq.rcode = pdns.SERVFAIL\n    return true\n  end\n  return false\nend\n";
    let scenario =
        Scenario::new(set, name).file("broken.lua", broken.to_owned()).server(server).pod(conf(set, &[], ""));
    // At once: musl waits 5 s for each, and five questions within 10 s make a burst.
    hosts
        .iter()
        .fold(scenario, |scenario, host| scenario.lookups(client, &one(host), 1, 0))
        .must("servfail")
        .proof(Proof::failed(5))
        .proof(Proof::that("5 SERVFAIL within 10 s", |recorded| {
            let times: Vec<f64> = recorded
                .transactions
                .iter()
                .filter(|one| one.rcode == "SERVFAIL")
                .map(|one| one.time)
                .collect();
            Ok(times.len() >= 5 && times[4] - times[0] < 9.0)
        }))
}

/// Three in all.
fn few_servfail(set: Set) -> Scenario {
    let name = "servfail-not-few";
    let mut names = Names::new(set, name);
    let hosts = names.externals(3);
    let address = format!("A {}", names.address());
    let rules = vec![
        json!({"name": hosts[0], "type": "A", "rcode": 2, "soa": false}),
        json!({"type": "A", "answer": [address]}),
        json!({"type": "AAAA"}),
    ];
    let dig = of(set, "dig", "kdig");
    Scenario::new(set, name)
        .server(Server::responder(set, rules))
        .pod(conf(set, &[], ""))
        .lookups(Client::Glibc, &hosts[1..], 3, 300)
        .program(&[dig, &hosts[0], "A"])
        .program_after(800, &[dig, &hosts[0], "A"])
        .program_after(1600, &[dig, &hosts[0], "A"])
        .no_stub()
        .near("servfail", "P3: >=5 SF in 10 s")
        .proof(Proof::that("3 or 4 SERVFAIL", |recorded| {
            let count = recorded.transactions.iter().filter(|one| one.rcode == "SERVFAIL").count();
            Ok((1..5).contains(&count))
        }))
}

/// Six between a hundred and twenty good replies before and as many after them.
fn small_share_of_servfail(set: Set) -> Scenario {
    let kind = of(set, Kind::Nsd, Kind::Knot);
    let name = "servfail-not-share";
    let mut names = Names::new(set, name);
    let hosts = names.externals(60);
    let bad = names.externals(6);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    let extra = broken_zones(kind, &bad);
    let dig = of(set, "dig", "kdig");
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, world).extra(extra))
        .pod(conf(set, &[], ""))
        .lookups(Client::Glibc, &hosts, 2, 4000);
    bad.iter()
        .fold(scenario, |scenario, host| scenario.program_after(2000, &[dig, host, "A"]))
        .no_stub()
        .near("servfail", "P3: >=20 % of replies")
        .proof(Proof::that("5 SERVFAIL or more, and less than a tenth", |recorded| {
            let count = recorded.transactions.iter().filter(|one| one.rcode == "SERVFAIL").count();
            Ok(count >= 5 && count * 10 < recorded.transactions.len())
        }))
}

/// An authoritative server that has no such zone.
fn refused(set: Set, client: Client, kind: Kind) -> Scenario {
    let name = format!("refused-{}-{}", client.name(), kind.name());
    let mut names = Names::new(set, &name);
    let hosts = names.externals(4);
    let mut world = World::cluster();
    world.zones.retain(|zone| zone.apex != ".");
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .lookups(client, &hosts, 1, 200)
        .must("refused")
        .proof(Proof::failed(4))
        .proof(Proof::seen(4, "REFUSED", |one| one.rcode == "REFUSED"))
}

/// unbound's refusal has no question in it.
fn refused_without_question(set: Set, client: Client) -> Scenario {
    let name = format!("refused-no-question-{}", client.name());
    let mut names = Names::new(set, &name);
    let hosts = names.externals(4);
    let server = Server::service(Kind::Unbound, set, World::cluster())
        .extra(" access-control: 0.0.0.0/0 refuse\n access-control: 10.200.0.0/16 allow\n");
    let scenario = Scenario::new(set, name).server(server).pod(conf(set, &[], ""));
    hosts
        .iter()
        .fold(scenario, |scenario, name| scenario.lookups(client, &one(name), 1, 0))
        .limit(20)
        .linger(7000)
        .must("refused")
        .near("unanswered", "8.2: match by addresses, ports and ID where the response has no question")
        .proof(Proof::packets(4, "udp src port 53 and udp[11] & 0x0f = 5 and udp[13] = 0"))
}

/// One refusal among many answers.
fn refused_once(set: Set) -> Scenario {
    let name = "refused-once";
    let mut names = Names::new(set, name);
    let hosts = names.externals(6);
    let address = format!("A {}", names.address());
    let rules = vec![
        json!({"name": hosts[0], "type": "A", "rcode": 5, "soa": false, "first": 1}),
        json!({"type": "A", "answer": [address]}),
        json!({"type": "AAAA"}),
    ];
    Scenario::new(set, name)
        .server(Server::responder(set, rules))
        .pod(conf(set, &[], ""))
        .lookups(of(set, Client::Glibc, Client::Go), &hosts, 2, 300)
        .may("refused", "3.0: a single one is a low-confidence note")
        .proof(Proof::that("one REFUSED", |recorded| {
            Ok(recorded.transactions.iter().filter(|one| one.rcode == "REFUSED").count() == 1)
        }))
}

/// NOTIMP is no refusal of the client.
fn notimp(set: Set) -> Scenario {
    let name = "refused-not-notimp";
    let mut names = Names::new(set, name);
    let host = names.external();
    let address = format!("A {}", names.address());
    let rules = vec![
        json!({"type": "TXT", "rcode": 4, "soa": false}),
        json!({"type": "A", "answer": [address]}),
        json!({"type": "AAAA"}),
    ];
    let dig = of(set, "dig", "kdig");
    Scenario::new(set, name)
        .server(Server::responder(set, rules))
        .pod(conf(set, &[], ""))
        .lookups(Client::Glibc, &one(&host), 3, 300)
        .program(&[dig, &host, "TXT"])
        .program_after(500, &[dig, &host, "TXT"])
        .program_after(1000, &[dig, &host, "TXT"])
        .no_stub()
        .near("refused", "P4 is REFUSED; this is NOTIMP for one odd type")
        .near("servfail", "P3 is SERVFAIL")
        .proof(Proof::seen(3, "NOTIMP", |one| one.rcode == "NOTIMP"))
}

/// A version of EDNS that no server knows: an extended code (RFC 6891 section 6.1.3).
fn badvers(set: Set) -> Scenario {
    let kind = of(set, Kind::Bind, Kind::Knot);
    let name = "refused-not-badvers";
    let mut names = Names::new(set, name);
    let host = names.external();
    let world = World::cluster().host(&host, 5, &mut names, true);
    let query = ["dig", "+edns=1", "+noednsnegotiation", &host, "A"];
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .program(&query)
        .program_after(500, &query)
        .program_after(1000, &query)
        .near("refused", "P4 is REFUSED; this is BADVERS")
        .near("servfail", "P3 is SERVFAIL")
        .proof(Proof::seen(3, "BADVERS", |one| one.rcode == "BADVERS"))
}
