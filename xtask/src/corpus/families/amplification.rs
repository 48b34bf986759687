//! `search-amplification`: names of the world outside, asked through the whole search list first (facts 3.5).

use serde_json::json;

use super::{cluster_conf, conf, conf_of, node_conf, noisy, of, one};
use crate::corpus::names::Names;
use crate::corpus::proof::{Proof, Transaction};
use crate::corpus::scenario::{Scenario, Set};
use crate::corpus::server::{Kind, Server};
use crate::corpus::zone::World;
use crate::lab::Client;

/// The scenarios of this family.
pub fn scenarios(set: Set) -> Vec<Scenario> {
    // The client, its server, and whether the node's own domain is a fourth one in the list.
    let positives: &[(Client, Kind, bool)] = of(
        set,
        &[
            (Client::Musl123, Kind::Unbound, false),
            (Client::Musl124, Kind::Bind, true),
            (Client::Musl125, Kind::Nsd, false),
            (Client::Musl125, Kind::Unbound, true),
            (Client::Glibc, Kind::Unbound, false),
            (Client::Glibc, Kind::Bind, true),
            (Client::Glibc, Kind::Dnsmasq, false),
            (Client::NodeLookup, Kind::Unbound, false),
            (Client::Go, Kind::Unbound, false),
            (Client::Go, Kind::Bind, true),
            (Client::CAres118, Kind::Nsd, false),
            (Client::CAres134, Kind::Unbound, true),
        ],
        &[
            (Client::Musl123, Kind::Knot, true),
            (Client::Musl124, Kind::Pdns, false),
            (Client::Glibc, Kind::Knot, false),
            (Client::NodeLookup, Kind::Pdns, true),
            (Client::Go, Kind::Knot, false),
            (Client::CAres134, Kind::Pdns, false),
        ],
    );
    let mut all: Vec<Scenario> = positives
        .iter()
        .enumerate()
        .map(|(n, &(client, kind, fourth))| positive(set, client, kind, fourth, n % 3 == 0))
        .collect();
    let as_is: &[(Client, Kind)] = of(
        set,
        &[(Client::Musl125, Kind::Unbound), (Client::Glibc, Kind::Bind), (Client::Go, Kind::Nsd)],
        &[(Client::Musl123, Kind::Knot), (Client::CAres134, Kind::Pdns)],
    );
    all.extend(as_is.iter().map(|&(client, kind)| as_is_first(set, client, kind)));
    all.push(missing_as_is_first(set, of(set, Client::Glibc, Client::Go)));
    all.push(missing_as_is_first(set, of(set, Client::CAres118, Client::Glibc)));
    all.push(missing_everywhere(set, of(set, Client::Musl125, Client::Musl124)));
    all.push(short_services(set, of(set, Client::Musl123, Client::Musl125), true));
    all.push(short_services(set, of(set, Client::Glibc, Client::Go), false));
    all.push(few_lookups(set, of(set, Client::Musl123, Client::Glibc)));
    all.push(health_checks(set, of(set, Client::Glibc, Client::Musl123)));
    all.push(trailing_dots(set, of(set, Client::Musl125, Client::Glibc)));
    all.push(mostly_inside(set, of(set, Client::Glibc, Client::Musl125)));
    all.push(slowly_from_a_cache(set, of(set, Client::Musl125, Client::Glibc)));
    all.push(autopath(set, of(set, Client::Glibc, Client::Go)));
    let (client, kind) = of(set, (Client::Glibc, Kind::Unbound), (Client::Go, Kind::Knot));
    all.push(noisy(positive(set, client, kind, true, false)));
    all.push(noisy(short_services(set, client, false)));
    all
}

/// So many lookups are enough.
const LOOKUPS: usize = 64;

/// Names of the world outside through the search list.
fn positive(set: Set, client: Client, kind: Kind, fourth: bool, told: bool) -> Scenario {
    let name =
        format!("amplification-{}-{}", client.name(), kind.name()) + if fourth { "-fourth" } else { "" };
    let mut names = Names::new(set, &name);
    let hosts = names.externals(LOOKUPS);
    let (_, namespace) = names.service();
    let world = World::cluster().hosts(&hosts, of(set, 30, 45), &mut names);
    let region = of(set, "eu-west-1.compute.internal", "eu-north-1.compute.internal");
    let resolv_conf =
        if fourth { node_conf(set, &namespace, region, "ndots:5") } else { cluster_conf(set, &namespace) };
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(resolv_conf)
        .lookups(client, &hosts, 1, 0)
        .must("search-amplification")
        .near("search-stopped", "3.2: every candidate says NX and the client goes on")
        .proof(Proof::all_resolved())
        .proof(Proof::that("64 lookups, three quarters of the queries in vain", |recorded| {
            // The first pod's client; others may be healthy.
            let Some(first) = recorded.transactions.iter().find(|one| one.rcode == "NXDOMAIN") else {
                return Ok(false);
            };
            let own = || recorded.transactions.iter().filter(|one| one.client == first.client);
            let vain = own().filter(|one| one.rcode == "NXDOMAIN").count();
            Ok(vain >= LOOKUPS * 6 && vain * 4 >= own().count() * 3)
        }));
    if told { scenario.told() } else { scenario }
}

/// The same names with a resolv.conf that asks for the name itself first.
fn as_is_first(set: Set, client: Client, kind: Kind) -> Scenario {
    let name = format!("amplification-not-ndots1-{}-{}", client.name(), kind.name());
    let mut names = Names::new(set, &name);
    let hosts = names.externals(LOOKUPS);
    let world = World::cluster().hosts(&hosts, 30, &mut names);
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"], "ndots:1"))
        .lookups(client, &hosts, 1, 0)
        .near("search-amplification", "3.5: as-is FIRST; nothing is wasted")
        .proof(Proof::all_resolved())
        .proof(Proof::never("NXDOMAIN", |one| one.rcode == "NXDOMAIN"))
}

/// Names that do not exist, asked as they are first and then with every suffix: ndots has no part in it.
fn missing_as_is_first(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Pdns);
    let name = format!("amplification-not-missing-{}", client.name());
    let mut names = Names::new(set, &name);
    let hosts = names.externals(LOOKUPS);
    Scenario::new(set, name)
        .server(Server::service(kind, set, World::cluster()))
        .pod(conf(set, &["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"], "ndots:2"))
        .lookups(client, &hosts, 1, 0)
        .near("search-amplification", "3.5: as-is FIRST then suffixes (name does not exist or D>=N)")
        .proof(Proof::failed(LOOKUPS))
        .proof(Proof::seen(LOOKUPS * 6, "NXDOMAIN", |one| one.rcode == "NXDOMAIN"))
}

/// Names that exist nowhere: no winner, so none outside the cluster.
fn missing_everywhere(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Nsd, Kind::Knot);
    let name = format!("amplification-not-missing-{}", client.name());
    let mut names = Names::new(set, &name);
    let hosts = names.externals(LOOKUPS);
    Scenario::new(set, name)
        .server(Server::service(kind, set, World::cluster()))
        .pod(conf(set, &["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"], "ndots:2"))
        .lookups(client, &hosts, 1, 0)
        .near(
            "search-amplification",
            "2.2: nosuch.example.com with D>=N costs musl 2 queries, none of them for a suffix",
        )
        .proof(Proof::failed(LOOKUPS))
}

/// Services of the cluster by short names: the first suffix hits, or the second.
fn short_services(set: Set, client: Client, own: bool) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Knot);
    let word = if own { "own" } else { "other" };
    let name = format!("amplification-not-services-{word}-{}", client.name());
    let mut names = Names::new(set, &name);
    let namespace = of(set, "web", "edge");
    let asker = if own { namespace } else { of(set, "tools", "infra") };
    let mut world = World::cluster();
    let mut wanted = Vec::new();
    for n in 0..LOOKUPS {
        let service = format!("{}-{n}", names.service().0);
        world = world.service(&service, namespace, 5);
        wanted.push(if own { service } else { format!("{service}.{namespace}") });
    }
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(cluster_conf(set, asker))
        .lookups(client, &wanted, 1, 0)
        .near("search-amplification", "3.5: short service names resolved at suffix 1-2")
        .proof(Proof::all_resolved())
}

/// As wasteful, but too few to say anything.
fn few_lookups(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Bind, Kind::Knot);
    let name = "amplification-not-few";
    let mut names = Names::new(set, name);
    let hosts = names.externals(of(set, 30, 38));
    let world = World::cluster().hosts(&hosts, 30, &mut names);
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(cluster_conf(set, "tools"))
        .lookups(client, &hosts, 1, 0)
        .near("search-amplification", "3.5: one client with >=50 lookups in 60 s")
        .proof(Proof::all_resolved())
}

/// Two names, over and over.
fn health_checks(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Pdns);
    let name = "amplification-not-health-checks";
    let mut names = Names::new(set, name);
    let hosts = names.externals(2);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(cluster_conf(set, "tools"))
        .lookups(client, &hosts, 30, 250)
        .near("search-amplification", "3.5: health checks of a few names")
        .near("query-storm", "P9: TTL 0-5 s names")
        .proof(Proof::all_resolved())
}

/// A dot at the end of each name.
fn trailing_dots(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Nsd, Kind::Knot);
    let name = "amplification-not-trailing-dot";
    let mut names = Names::new(set, name);
    let hosts = names.externals(LOOKUPS);
    let world = World::cluster().hosts(&hosts, 30, &mut names);
    let wanted: Vec<String> = hosts.iter().map(|host| format!("{host}.")).collect();
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(cluster_conf(set, "tools"))
        .lookups(client, &wanted, 1, 0)
        .near("search-amplification", "2.1: a trailing dot asks as-is only")
        .told()
        .proof(Proof::all_resolved())
}

/// Most lookups are for services that are found at once; less than half of the queries is waste.
fn mostly_inside(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Knot);
    let name = "amplification-not-mostly-inside";
    let mut names = Names::new(set, name);
    let namespace = of(set, "shop", "prod");
    let hosts = names.externals(8);
    let mut world = World::cluster().hosts(&hosts, 30, &mut names);
    let mut wanted = hosts;
    for n in 0..LOOKUPS {
        let service = format!("{}-{n}", names.service().0);
        world = world.service(&service, namespace, 5);
        wanted.push(service);
    }
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(cluster_conf(set, namespace))
        .lookups(client, &wanted, 1, 0)
        .near("search-amplification", "3.5: waste ratio >=50 %; here less")
        .proof(Proof::all_resolved())
        .proof(Proof::that("less than 30 % in vain", |recorded| {
            let vain = recorded.transactions.iter().filter(|one| one.rcode == "NXDOMAIN").count();
            Ok(vain > 0 && vain * 10 < recorded.transactions.len() * 3)
        }))
}

/// As wasteful, but a lookup every two seconds, and the cache on the node answers.
fn slowly_from_a_cache(set: Set, client: Client) -> Scenario {
    let name = "amplification-not-slowly";
    let mut names = Names::new(set, name);
    let hosts = names.externals(LOOKUPS);
    let world = World::cluster().hosts(&hosts, 30, &mut names);
    let (kind, cache) = (of(set, Kind::Unbound, Kind::Knot), "169.254.20.10");
    let search = ["web.svc.cluster.local", "svc.cluster.local", "cluster.local"];
    let scenario = Scenario::new(set, name).server(Server::at(kind, cache, world)).pod(conf_of(
        &search,
        &[cache],
        "ndots:5",
    ));
    (0_u64..)
        .zip(&hosts)
        .fold(scenario, |scenario, (n, host)| scenario.lookups_after(n * 2000, client, &one(host)))
        .near("search-amplification", "3.5: waste answered from a local cache at low rate")
        .proof(Proof::all_resolved())
        .proof(Proof::seen(LOOKUPS * 6, "NXDOMAIN", |one| one.rcode == "NXDOMAIN"))
}

/// The server walks the list: one candidate each, answered by a CNAME that it makes up.
fn autopath(set: Set, client: Client) -> Scenario {
    let name = "amplification-not-autopath";
    let mut names = Names::new(set, name);
    let hosts = names.externals(LOOKUPS);
    let namespace = of(set, "shop", "prod");
    let rules = hosts
        .iter()
        .flat_map(|host| {
            let asked = format!("{host}.{namespace}.svc.cluster.local");
            let (alias, address) = (format!("CNAME {host}"), format!("A {}", names.address()));
            [
                json!({"name": asked, "type": "A", "aa": true, "answer": [alias, address]}),
                json!({"name": asked, "type": "AAAA", "aa": true, "answer": [alias]}),
            ]
        })
        .collect();
    Scenario::new(set, name)
        .server(Server::responder(set, rules))
        .pod(cluster_conf(set, namespace))
        .lookups(client, &hosts, 1, 0)
        .near("search-amplification", "3.5: autopath in place (one query, CNAME from suffixed name)")
        .proof(Proof::all_resolved())
        .proof(Proof::never("NXDOMAIN", |one: &Transaction| one.rcode == "NXDOMAIN"))
}
