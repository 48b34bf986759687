//! `search-stopped`: NODATA for a candidate of the search list, and musl asks no further (facts 3.2).

use serde_json::json;

use super::{conf, node_conf, noisy, of, one};
use crate::corpus::names::Names;
use crate::corpus::proof::{Proof, Transaction};
use crate::corpus::scenario::{Scenario, Set};
use crate::corpus::server::{Kind, Server};
use crate::corpus::zone::World;
use crate::lab::Client;

/// Which zone says NODATA, and how the client asks.
#[derive(Clone, Copy)]
enum Shape {
    /// The company's domain, fourth of five candidates; negative responses with an SOA.
    Fourth,
    /// The same, and the agent knows the resolv.conf.
    FourthTold,
    /// The company's domain comes first; only the resolv.conf shows that others were left.
    FirstTold,
    /// A zone that unbound redirects, without an SOA.
    Redirect,
    /// IPv4 alone.
    OnlyA,
    /// Two names in turn.
    Two,
}

/// The scenarios of this family.
pub fn scenarios(set: Set) -> Vec<Scenario> {
    let positives: &[(Client, Kind, Shape)] = of(
        set,
        &[
            (Client::Musl123, Kind::Unbound, Shape::Redirect),
            (Client::Musl125, Kind::Unbound, Shape::Redirect),
            (Client::Musl123, Kind::Bind, Shape::Fourth),
            (Client::Musl124, Kind::Unbound, Shape::Fourth),
            (Client::Musl125, Kind::Nsd, Shape::Fourth),
            (Client::Musl125, Kind::Dnsmasq, Shape::FourthTold),
            (Client::Musl123, Kind::Dnsmasq, Shape::FourthTold),
            (Client::Musl123, Kind::Unbound, Shape::FirstTold),
            (Client::Musl125, Kind::Bind, Shape::FirstTold),
            (Client::Musl124, Kind::Nsd, Shape::OnlyA),
            (Client::Musl123, Kind::Bind, Shape::Two),
            (Client::Musl125, Kind::Unbound, Shape::Two),
        ],
        &[
            (Client::Musl123, Kind::Knot, Shape::Fourth),
            (Client::Musl124, Kind::Pdns, Shape::Fourth),
            (Client::Musl125, Kind::Knot, Shape::FourthTold),
            (Client::Musl124, Kind::Knot, Shape::FirstTold),
            (Client::Musl123, Kind::Pdns, Shape::OnlyA),
            (Client::Musl124, Kind::Unbound, Shape::Redirect),
        ],
    );
    let going_on: &[(Client, Kind)] = of(
        set,
        &[
            (Client::Glibc, Kind::Unbound),
            (Client::Go, Kind::Bind),
            (Client::CAres118, Kind::Nsd),
            (Client::CAres134, Kind::Unbound),
            (Client::NodeLookup, Kind::Dnsmasq),
        ],
        &[(Client::Glibc, Kind::Knot), (Client::Go, Kind::Pdns), (Client::CAres134, Kind::Knot)],
    );
    let mut all: Vec<Scenario> =
        positives.iter().map(|&(client, kind, shape)| positive(set, client, kind, shape)).collect();
    all.extend(going_on.iter().map(|&(client, kind)| goes_on(set, client, kind)));
    let musl = of(set, Client::Musl123, Client::Musl124);
    all.push(last_candidate(set, musl));
    all.push(as_is_first(set, of(set, Client::Musl125, Client::Musl123)));
    all.push(mixed(set, "nx-nd", musl, json!({"type": "A", "rcode": 3}), json!({"type": "AAAA"})));
    all.push(mixed(set, "nd-nx", musl, json!({"type": "A"}), json!({"type": "AAAA", "rcode": 3})));
    all.push(service_without_endpoints(set, of(set, Client::Musl123, Client::Musl125)));
    all.push(service_without_ipv6(set, of(set, Client::Musl125, Client::Musl124)));
    all.push(autopath(set, of(set, Client::Musl123, Client::Musl125)));
    all.push(capture_ends(set, of(set, Client::Musl124, Client::Musl123)));
    let (client, kind) = of(set, (Client::Musl125, Kind::Nsd), (Client::Musl123, Kind::Knot));
    all.push(noisy(positive(set, client, kind, Shape::Fourth)));
    all.push(noisy(service_without_endpoints(set, client)));
    all
}

/// For proofs.
fn is_nodata(one: &Transaction) -> bool {
    one.nodata
}

/// musl asks no further.
fn positive(set: Set, client: Client, kind: Kind, shape: Shape) -> Scenario {
    let word = match shape {
        Shape::Fourth => "fourth",
        Shape::FourthTold => "fourth-told",
        Shape::FirstTold => "first-told",
        Shape::Redirect => "redirect",
        Shape::OnlyA => "only-a",
        Shape::Two => "two",
    };
    let name = format!("search-stopped-{word}-{}-{}", client.name(), kind.name());
    let mut names = Names::new(set, &name);
    let (company, (_, namespace)) = (names.company(), names.service());
    let wanted = names.externals(2);
    let world = World::cluster().hosts(&wanted, 5, &mut names);
    let redirect = format!(" local-zone: \"{company}.\" redirect\n local-data: \"{company}. TXT nothing\"\n");
    let server = match shape {
        Shape::Redirect => Server::service(kind, set, world).extra(redirect),
        _ => {
            Server::service(kind, set, world.zone(&format!("{company}.")).empty_below(&format!("{company}.")))
        }
    };
    let resolv_conf = match shape {
        Shape::FirstTold => {
            let own = format!("{namespace}.svc.cluster.local");
            conf(set, &[&company, &own, "svc.cluster.local", "cluster.local"], "ndots:5")
        }
        _ => node_conf(set, &namespace, &company, "ndots:5"),
    };
    let scenario = Scenario::new(set, name).server(server).pod(resolv_conf);
    let scenario = match shape {
        Shape::OnlyA => scenario.lookups_of_a(client, &one(&wanted[0]), 3, 1300),
        Shape::Two => scenario.lookups(client, &wanted, 3, 1500),
        Shape::Redirect => scenario.lookups(client, &one(&wanted[0]), 4, 400),
        _ => scenario.lookups(client, &one(&wanted[0]), 3, 1300),
    };
    let scenario = match shape {
        Shape::Redirect => scenario.must("lame-nodata"),
        _ => scenario.near("lame-nodata", "3.8 P7: the negative responses have an SOA"),
    };
    let scenario =
        if matches!(shape, Shape::FourthTold | Shape::FirstTold) { scenario.told() } else { scenario };
    scenario
        .must("search-stopped")
        .near("pair-conflict", "3.3: both of the pair say the same")
        .proof(Proof::failed(3))
        .proof(Proof::seen(3, "NODATA", is_nodata))
        .proof(Proof::never("an address", Transaction::found))
}

/// The same zone, and a client that asks on.
fn goes_on(set: Set, client: Client, kind: Kind) -> Scenario {
    let name = format!("search-stopped-not-{}-{}", client.name(), kind.name());
    let mut names = Names::new(set, &name);
    let (company, (_, namespace)) = (names.company(), names.service());
    let wanted = names.external();
    let world = World::cluster().host(&wanted, 5, &mut names, true);
    let world = world.zone(&format!("{company}.")).empty_below(&format!("{company}."));
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(node_conf(set, &namespace, &company, "ndots:5"))
        .lookups(client, &one(&wanted), 4, 600)
        .near("search-stopped", "3.2: client goes on")
        .may("lame-nodata", "3.2: where the client goes on, the NODATA is reported as lame")
        .proof(Proof::seen(4, "NODATA", is_nodata))
        .proof(Proof::all_resolved())
}

/// The name itself exists without addresses, and nothing is left to ask.
fn last_candidate(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Knot);
    let name = "search-stopped-last-candidate";
    let mut names = Names::new(set, name);
    let (wanted, (_, namespace)) = (names.external(), names.service());
    let world = World::cluster().record(&wanted, 5, "TXT \"no address\"");
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(super::cluster_conf(set, &namespace))
        .lookups(client, &one(&wanted), 4, 1200)
        .near("search-stopped", "3.2: the ND candidate is the last one")
        .told()
        .proof(Proof::failed(4))
        .proof(Proof::seen(4, "NODATA", is_nodata))
}

/// Enough dots: the name itself is asked first, and musl asks nothing else.
fn as_is_first(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Bind, Kind::Pdns);
    let name = "search-stopped-as-is";
    let mut names = Names::new(set, name);
    let (wanted, company, (_, namespace)) = (names.external(), names.company(), names.service());
    let world = World::cluster().record(&wanted, 5, "TXT \"no address\"");
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(node_conf(set, &namespace, &company, "ndots:2"))
        .lookups(client, &one(&wanted), 4, 1200)
        .near("search-stopped", "3.2: as-is lookup (D>=N) answering ND")
        .told()
        .proof(Proof::failed(4))
        .proof(Proof::seen(8, "NODATA", is_nodata))
        .proof(Proof::never("a candidate", |one| one.qname.contains("cluster.local")))
}

/// One of the pair does not exist, the other has no address: musl from 1.2.1 on goes on.
fn mixed(set: Set, word: &str, client: Client, a: serde_json::Value, aaaa: serde_json::Value) -> Scenario {
    let name = format!("search-stopped-{word}");
    let mut names = Names::new(set, &name);
    let (wanted, company, (_, namespace)) = (names.external(), names.company(), names.service());
    let below = format!("*.{company}");
    let with_name = |mut rule: serde_json::Value| {
        rule["name"] = json!(below);
        rule
    };
    let rules = vec![
        with_name(a),
        with_name(aaaa),
        json!({"name": wanted, "type": "A", "answer": [format!("A {}", names.address())]}),
        json!({"name": wanted, "type": "AAAA"}),
    ];
    let why = if word == "nx-nd" {
        "3.2: NX on A and ND on AAAA"
    } else {
        "3.2: ND on A and NX on AAAA stops musl 1.1.13-1.2.0 only; this one goes on"
    };
    Scenario::new(set, name)
        .server(Server::responder(set, rules))
        .pod(node_conf(set, &namespace, &company, "ndots:5"))
        .lookups(client, &one(&wanted), 4, 600)
        .near("search-stopped", why)
        .near("pair-conflict", "3.3 asks for an address in one of the pair; NX and ND is P7")
        .must("lame-nodata")
        .proof(Proof::seen(4, "NODATA", is_nodata))
        .proof(Proof::all_resolved())
}

/// CoreDNS answers NODATA for a service that has no endpoints.
fn service_without_endpoints(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Knot);
    let name = "search-stopped-no-endpoints";
    let mut names = Names::new(set, name);
    let (service, namespace) = names.service();
    let owner = format!("{service}.{namespace}.svc.cluster.local.");
    let world = World::cluster().record(&owner, 5, "TXT \"a service without endpoints\"");
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(super::cluster_conf(set, &namespace))
        .lookups(client, &one(&service), 4, 1200)
        .near(
            "search-stopped",
            "3.2: suffix is a cluster suffix and the name is a real Service without endpoints",
        )
        .told()
        .proof(Proof::failed(4))
        .proof(Proof::seen(8, "NODATA", is_nodata))
}

/// The usual service: an IPv4 address, and NODATA for AAAA.
fn service_without_ipv6(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Bind, Kind::Pdns);
    let name = "search-stopped-no-ipv6";
    let mut names = Names::new(set, name);
    let (service, namespace) = names.service();
    let world = World::cluster().service(&service, &namespace, 5);
    let other = of(set, "web", "edge");
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(super::cluster_conf(set, other))
        .lookups(client, &one(&format!("{service}.{namespace}")), 4, 1200)
        .near("search-stopped", "3.2: AAAA=ND with A=ANS")
        .near("pair-conflict", "3.3: an AAAA answered ND")
        .proof(Proof::all_resolved())
        .proof(Proof::seen(4, "NODATA", is_nodata))
}

/// The server walks the list itself and answers the first candidate by a CNAME that it makes up.
fn autopath(set: Set, client: Client) -> Scenario {
    let name = "search-stopped-autopath";
    let mut names = Names::new(set, name);
    let (wanted, (_, namespace)) = (names.external(), names.service());
    let asked = format!("{wanted}.{namespace}.svc.cluster.local");
    let (alias, address) = (format!("CNAME {wanted}"), format!("A {}", names.address()));
    let rules = vec![
        json!({"name": asked, "type": "A", "aa": true, "answer": [alias, address]}),
        json!({"name": asked, "type": "AAAA", "aa": true, "answer": [alias]}),
    ];
    Scenario::new(set, name)
        .server(Server::responder(set, rules))
        .pod(super::cluster_conf(set, &namespace))
        .lookups(client, &one(&wanted), 4, 1200)
        .near("search-stopped", "3.2: autopath replies (synthetic CNAME)")
        .near("search-amplification", "3.5: autopath in place")
        .proof(Proof::all_resolved())
        .proof(Proof::seen(4, "a made-up CNAME", |one| one.answers.contains(&"CNAME".to_owned())))
}

/// Whoever stops the capture right after a NODATA does not know what came then.
fn capture_ends(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Nsd, Kind::Knot);
    let name = "search-stopped-capture-ends";
    let mut names = Names::new(set, name);
    let (wanted, company, (_, namespace)) = (names.externals(3), names.company(), names.service());
    let world = World::cluster().hosts(&wanted, 5, &mut names);
    let world = world.zone(&format!("{company}.")).empty_below(&format!("{company}."));
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(node_conf(set, &namespace, &company, "ndots:5"));
    wanted
        .iter()
        .fold(scenario, |scenario, name| scenario.lookups(client, &one(name), 1, 0))
        .near("search-stopped", "3.2: process exit or capture loss right after; a second must pass first")
        .linger(0)
        .proof(Proof::failed(3))
        .proof(Proof::that("the capture ends within half a second", |recorded| {
            let times = recorded.times("udp port 53")?;
            Ok(times.last().zip(times.first()).is_some_and(|(last, first)| last - first < 0.5))
        }))
}
