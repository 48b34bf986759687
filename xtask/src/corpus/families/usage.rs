//! How clients use DNS: storms, useless types, long chains, resolv.conf and names (facts 3.7 to 3.8).

use super::{cluster_conf, conf, conf_of, of, one};
use crate::corpus::names::Names;
use crate::corpus::proof::{Proof, Transaction, seconds_over};
use crate::corpus::scenario::{Scenario, Set, Tap};
use crate::corpus::server::{Kind, Server};
use crate::corpus::zone::World;
use crate::lab::Client;

/// The scenarios of this family.
pub fn scenarios(set: Set) -> Vec<Scenario> {
    let mut all = vec![
        storm(set, of(set, Client::Glibc, Client::Go)),
        storm(set, of(set, Client::Musl125, Client::CAres118)),
        storm_of_short_ttl(set, of(set, Client::Glibc, Client::Musl124)),
        storm_of_names(set, of(set, Client::Go, Client::Glibc)),
        unused_aaaa(set, of(set, Client::Glibc, Client::Musl125), 0),
        unused_aaaa(set, of(set, Client::Musl124, Client::Go), 0),
        unused_aaaa(set, of(set, Client::Go, Client::Glibc), 1),
        aaaa_for_a_minute(set, of(set, Client::Glibc, Client::Musl124)),
        deep(set, of(set, Kind::Unbound, Kind::Nsd), of(set, 7, 8)),
        deep(set, of(set, Kind::Bind, Kind::Pdns), of(set, 6, 9)),
        not_deep(set, of(set, Kind::Unbound, Kind::Nsd), 5),
        not_deep(set, of(set, Kind::Dnsmasq, Kind::Pdns), of(set, 4, 3)),
    ];
    all.extend(limits(set));
    all.extend(short_names(set));
    all.extend(leaks(set));
    all
}

/// Lookups, 40 ms apart: more than ten a second for more than ten seconds.
const STORM: u32 = 320;

/// One name, again and again, though its TTL is a minute.
fn storm(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Knot);
    let name = format!("query-storm-{}", client.name());
    let mut names = Names::new(set, &name);
    let host = names.external();
    let world = World::cluster().host(&host, 60, &mut names, true);
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .lookups(client, &one(&host), STORM, 40)
        .must("query-storm")
        .near("search-amplification", "3.5: as-is first; one name")
        .proof(Proof::all_resolved())
        .proof(Proof::that("12 A a second", |recorded| {
            let times: Vec<f64> =
                recorded.transactions.iter().filter(|one| one.qtype == "A").map(|one| one.time).collect();
            Ok(seconds_over(&times, 12) == 5 && times.len() >= STORM as usize)
        }))
}

/// The same with a TTL of 5 s.
fn storm_of_short_ttl(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Nsd, Kind::Knot);
    let name = "query-storm-not-short-ttl";
    let mut names = Names::new(set, name);
    let host = names.external();
    let world = World::cluster().host(&host, 5, &mut names, true);
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .lookups(client, &one(&host), STORM, 40)
        .near("query-storm", "P9: TTL 0-5 s names (CoreDNS default ttl 5)")
        .proof(Proof::all_resolved())
}

/// As many queries, each for a name of its own.
fn storm_of_names(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Pdns);
    let name = "query-storm-not-many-names";
    let mut names = Names::new(set, name);
    let hosts = names.externals(STORM as usize);
    let world = World::cluster().hosts(&hosts, 60, &mut names);
    let scenario = Scenario::new(set, name).server(Server::service(kind, set, world)).pod(conf(set, &[], ""));
    (0_u64..)
        .zip(hosts.chunks(40))
        .fold(scenario, |scenario, (n, some)| scenario.lookups_after(n * 1600, client, some))
        .near("query-storm", "P9: same (client, qname, qtype) asked again; these are different names")
        .proof(Proof::all_resolved())
}

/// Ten minutes of lookups whose AAAA is never there; `dual` of twenty names have one.
fn unused_aaaa(set: Set, client: Client, dual: usize) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Knot);
    let name = format!("unused-aaaa{}-{}", if dual == 0 { "" } else { "-not-some" }, client.name());
    let mut names = Names::new(set, &name);
    let hosts = names.externals(20);
    let mut world = World::cluster();
    for (n, host) in hosts.iter().enumerate() {
        world = world.host(host, 5, &mut names, n < dual);
    }
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .lookups(client, &hosts, 21, 30_500)
        .limit(700)
        .proof(Proof::all_resolved())
        .proof(Proof::that("more than 10 minutes", |recorded| {
            let times = recorded.times("udp port 53")?;
            Ok(times.last().zip(times.first()).is_some_and(|(last, first)| last - first > 605.0))
        }));
    if dual == 0 {
        scenario.must("unused-aaaa")
    } else {
        scenario.near("unused-aaaa", "P10: >=99 % of AAAA ND/NX; here 95 %")
    }
}

/// A minute is too short to say that a type is never used.
fn aaaa_for_a_minute(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Bind, Kind::Pdns);
    let name = "unused-aaaa-not-a-minute";
    let mut names = Names::new(set, name);
    let hosts = names.externals(12);
    let world = hosts.iter().fold(World::cluster(), |world, host| world.host(host, 5, &mut names, false));
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .lookups(client, &hosts, 6, 8000)
        .limit(90)
        .near("unused-aaaa", "P10: over 10 min")
        .proof(Proof::all_resolved())
}

/// A chain of CNAMEs of this length.
fn chained(set: Set, name: &str, kind: Kind, depth: usize) -> Scenario {
    let host = Names::new(set, name).external();
    let world = World::cluster().chain(&host, 5, depth, 1);
    // With an OPT record, so that the whole chain fits.
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], "edns0"))
        .lookups(Client::Glibc, &one(&host), 4, 400)
        .proof(Proof::all_resolved())
        .proof(Proof::that("chains of this length", move |recorded| {
            let length = |one: &Transaction| one.answers.iter().filter(|kind| *kind == "CNAME").count();
            Ok(recorded.transactions.iter().filter(|one| length(one) == depth).count() >= 4)
        }))
}

/// Six or more.
fn deep(set: Set, kind: Kind, depth: usize) -> Scenario {
    chained(set, &format!("deep-cname-{depth}-{}", kind.name()), kind, depth).must("deep-cname")
}

/// Fewer.
fn not_deep(set: Set, kind: Kind, depth: usize) -> Scenario {
    let name = format!("deep-cname-not-{depth}-{}", kind.name());
    chained(set, &name, kind, depth).near("deep-cname", "P11: >=6 CNAMEs in one answer")
}

/// Resolv.conf files that the agent is told, with something cut off or not.
fn limits(set: Set) -> Vec<Scenario> {
    let services = [Server::service_ip(set), "10.0.9.71", "10.0.9.72", "10.0.9.73"];
    let company = |n: usize| format!("department-{n:02}.{}.example", of(set, "acme", "tyrell"));
    let many: Vec<String> = (0..of(set, 10, 12)).map(company).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let case = |word: &str, client: Client, resolv_conf: String| {
        let name = format!("resolv-conf-{word}");
        let mut names = Names::new(set, &name);
        let hosts: Vec<String> = names.externals(4).iter().map(|host| format!("{host}.")).collect();
        let world = World::cluster().hosts(&hosts, 5, &mut names);
        Scenario::new(set, name)
            .server(Server::service(of(set, Kind::Unbound, Kind::Knot), set, world))
            .pod(resolv_conf)
            .lookups(client, &hosts, 2, 300)
            .told()
            .proof(Proof::all_resolved())
    };
    let musl = of(set, Client::Musl125, Client::Musl123);
    let long = conf(set, &many, "ndots:5");
    // A line of exactly 254 octets is read.
    let own = ["web.svc.cluster.local", "svc.cluster.local", "cluster.local"];
    let fill = 254 - "search ".len() - own.iter().map(|domain| domain.len() + 1).sum::<usize>();
    let label = |length: usize| "a".repeat(length);
    let filler =
        format!("{}.{}.{}.example", label(60), label(60), label(fill - 60 - 60 - 2 - ".example".len()));
    let mut exact = own.to_vec();
    exact.push(&filler);
    vec![
        case("line-too-long", musl, long.clone()).must("resolv-conf-limits"),
        case("four-servers", of(set, Client::Glibc, Client::Go), conf_of(&[], &services, ""))
            .must("resolv-conf-limits"),
        case("line-of-254", musl, conf(set, &exact, "ndots:5"))
            .near("resolv-conf-limits", "P14: search line >254 chars; this one has 254"),
        case("one-server-three-domains", of(set, Client::Glibc, Client::Go), conf(set, &own, "ndots:5"))
            .near("resolv-conf-limits", "P14: >3 nameservers, a long line; nothing exceeds a limit"),
    ]
}

/// `ndots:1` and a name such as `service.namespace`, which musl asks as it is and then gives up.
fn short_names(set: Set) -> Vec<Scenario> {
    let case = |word: &str, client: Client, options: &str| {
        let name = format!("short-name-{word}");
        let mut names = Names::new(set, &name);
        let (service, namespace) = names.service();
        let short = format!("{service}.{namespace}");
        let whole = format!("{short}.svc.cluster.local.");
        let world = World::cluster().service(&service, &namespace, 5);
        let asker = of(set, "tools", "infra");
        let list =
            [&*format!("{asker}.svc.cluster.local"), "svc.cluster.local", "cluster.local"].map(str::to_owned);
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        // Another pod looks the service up by its whole name, so that it is known to exist.
        Scenario::new(set, name)
            .server(Server::service(of(set, Kind::Unbound, Kind::Knot), set, world))
            .pod(conf(set, &list, options))
            .lookups(client, &one(&short), 4, 1200)
            .told()
            .pod(cluster_conf(set, asker))
            .healthy()
            .lookups(Client::Glibc, &one(&whole), 3, 700)
            .tap(Tap::Any)
    };
    let why = "P16: musl client asks as-is, NX, no suffix tried";
    vec![
        case("broken-1", of(set, Client::Musl125, Client::Musl123), "ndots:1")
            .must("short-name-broken")
            .proof(Proof::failed(4)),
        case("broken-2", of(set, Client::Musl123, Client::Musl124), "ndots:1")
            .must("short-name-broken")
            .proof(Proof::failed(4)),
        case("ndots2", of(set, Client::Musl125, Client::Musl124), "ndots:2")
            .near("short-name-broken", why)
            .proof(Proof::all_resolved()),
        case("glibc", of(set, Client::Glibc, Client::Go), "ndots:1")
            .near("short-name-broken", why)
            .proof(Proof::all_resolved()),
    ]
}

/// Names of the cluster at a public resolver.
fn leaks(set: Set) -> Vec<Scenario> {
    let (public, own) = (of(set, "8.8.8.8", "1.1.1.1"), Server::service_ip(set));
    let case = |word: &str, client: Client, address: &str, inside: bool, resolv_conf: String| {
        let name = format!("public-leak-{word}");
        let mut names = Names::new(set, &name);
        let hosts = names.externals(3);
        let (service, namespace) = names.service();
        let world = World::cluster().hosts(&hosts, 5, &mut names).service(&service, &namespace, 5);
        let mut wanted = hosts;
        if inside {
            wanted.extend([format!("{service}.{namespace}.svc.cluster.local"), service]);
        }
        let kind = of(set, Kind::Unbound, Kind::Knot);
        let server =
            if address == own { Server::service(kind, set, world) } else { Server::at(kind, address, world) };
        Scenario::new(set, name).server(server).pod(resolv_conf).lookups(client, &wanted, 3, 400)
    };
    let cluster = |address: &str| {
        conf_of(&["web.svc.cluster.local", "svc.cluster.local", "cluster.local"], &[address], "ndots:5")
    };
    let leaks = Proof::seen;
    vec![
        case("policy", of(set, Client::Glibc, Client::Go), public, true, cluster(public))
            .must("public-leak")
            .proof(leaks(6, "names of the cluster", |one| one.qname.ends_with("cluster.local."))),
        case("names", of(set, Client::Musl125, Client::Glibc), public, true, conf_of(&[], &[public], ""))
            .must("public-leak")
            .proof(leaks(3, "names of the cluster", |one| one.qname.ends_with("cluster.local."))),
        case("not-inside", of(set, Client::Glibc, Client::Musl125), own, true, cluster(own))
            .near("public-leak", "P18: leaving the node to a public resolver; this one is the cluster's"),
        case(
            "not-external",
            of(set, Client::Go, Client::CAres134),
            public,
            false,
            conf_of(&[], &[public], ""),
        )
        .near("public-leak", "P18: cluster-suffixed or single-label names; these are public ones")
        .proof(Proof::all_resolved()),
    ]
}
