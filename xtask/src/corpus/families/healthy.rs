//! Healthy traffic: every client against every server, alone, mixed and with noise. Nothing must be found.

use super::{cluster_conf, conf, node_conf, of};
use crate::corpus::names::Names;
use crate::corpus::proof::{Proof, Transaction};
use crate::corpus::scenario::{Scenario, Set, Tap};
use crate::corpus::server::{Kind, Server};
use crate::corpus::zone::World;
use crate::lab::Client;

/// The scenarios of this family.
pub fn scenarios(set: Set) -> Vec<Scenario> {
    let servers = [Kind::Unbound, Kind::Bind, Kind::Knot, Kind::Nsd, Kind::Dnsmasq, Kind::Pdns];
    let clients: &[Client] = Client::ALL;
    let mut all = Vec::new();
    for (n, &client) in clients.iter().enumerate() {
        // Two servers for each client, and other ones in the other set; together all pairs come close to being there.
        for step in of(set, [0, 2], [1, 4]) {
            all.push(pair(set, client, servers[(n + step) % servers.len()]));
        }
    }
    all.push(mixed(set, &[Client::Musl125, Client::Glibc, Client::Go, Client::CAres134]));
    all.push(mixed(set, &[Client::Musl123, Client::NodeLookup, Client::CAres118]));
    all.push(noise(set));
    all
}

/// Names inside and outside, some of them missing, in the ways that programs ask for them.
fn wanted(set: Set, names: &mut Names, searches: bool) -> (World, Vec<String>, String) {
    let hosts = names.externals(8);
    let (service, namespace) = names.service();
    let mut world = World::cluster().hosts(&hosts, 5, names).service(&service, &namespace, 5);
    let alias = names.external();
    world = world.record(&alias, 5, &format!("CNAME {}.", hosts[1]));
    let mut all: Vec<String> = hosts.iter().map(|host| format!("{host}.")).collect();
    all.push(format!("{alias}."));
    let whole = format!("{service}.{namespace}.svc.cluster.local");
    if searches {
        all.extend([service, format!("{}.", names.external()), whole.clone() + ".", hosts[0].clone()]);
    } else {
        all.push(whole + ".");
    }
    let resolv_conf = of(
        set,
        cluster_conf(set, &namespace),
        node_conf(set, &namespace, "eu-north-1.compute.internal", "ndots:5"),
    );
    (world, all, resolv_conf)
}

/// One client and one server.
fn pair(set: Set, client: Client, kind: Kind) -> Scenario {
    let name = format!("healthy-{}-{}", client.name(), kind.name());
    let mut names = Names::new(set, &name);
    // These do not use the search list, or in a way of their own.
    let searches = !matches!(client, Client::NodeResolve | Client::BusyBox | Client::Dig | Client::Kdig);
    let (world, wanted, resolv_conf) = wanted(set, &mut names, searches);
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(resolv_conf)
        .lookups(client, &wanted, 2, 1500)
        .proof(Proof::seen(20, "answered", Transaction::answered))
        .proof(Proof::never("no answer", |one| one.outcome != "answered"));
    if matches!(client, Client::Dig | Client::Kdig) { scenario.no_stub() } else { scenario }
}

/// Several pods at once, at every interface.
fn mixed(set: Set, clients: &[Client]) -> Scenario {
    let words: Vec<&str> = clients.iter().map(|client| client.name()).collect();
    let name = format!("healthy-mixed-{}", words.join("-"));
    let mut names = Names::new(set, &name);
    let (world, wanted, resolv_conf) = wanted(set, &mut names, true);
    let kind = of(set, Kind::Unbound, Kind::Knot);
    let scenario = Scenario::new(set, name).server(Server::service(kind, set, world)).tap(Tap::Any);
    clients
        .iter()
        .fold(scenario, |scenario, &client| {
            scenario.pod(resolv_conf.clone()).lookups(client, &wanted, 2, 900)
        })
        .proof(Proof::never("no answer", |one| one.outcome != "answered"))
}

/// Lookups, and beside them what else a pod sends: web pages, pings, other ports.
fn noise(set: Set) -> Scenario {
    let name = "healthy-noise";
    let mut names = Names::new(set, name);
    let hosts = names.externals(8);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    let web = of(set, "10.0.9.80", "10.9.7.80");
    let server = Server::service(of(set, Kind::Bind, Kind::Pdns), set, world).with_web(web);
    let url = format!("http://{web}/");
    let closed = format!("http://{web}:5353/");
    Scenario::new(set, name)
        .server(server)
        .pod(conf(set, &[], ""))
        .lookups(of(set, Client::Glibc, Client::Musl125), &hosts, 4, 600)
        .program(&["curl", "-s", "-m", "3", &url])
        .program(&["curl", "-s", "-m", "3", &closed])
        .program_after(700, &["curl", "-s", "-m", "3", &url])
        .program(&["ping", "-c", "4", "-i", "0.4", web])
        .proof(Proof::never("no answer", |one| one.outcome != "answered"))
        .proof(Proof::packets(10, "not port 53"))
}
