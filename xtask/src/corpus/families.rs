//! The scenarios: one file per family, and one list of them.

mod amplification;
mod conntrack;
mod healthy;
mod linklocal;
mod old_musl;
mod oversize;
mod packets;
mod pair_conflict;
mod rcodes;
mod replies;
mod search_stopped;
mod tcp_blocked;
mod truncated;
mod usage;

use super::names::Names;
use super::scenario::{Scenario, Set, Tap};
use super::server::Server;
use crate::lab::Client;

/// All scenarios of a set.
pub fn scenarios(set: Set) -> Vec<Scenario> {
    [
        truncated::scenarios,
        old_musl::scenarios,
        search_stopped::scenarios,
        pair_conflict::scenarios,
        linklocal::scenarios,
        amplification::scenarios,
        conntrack::scenarios,
        tcp_blocked::scenarios,
        oversize::scenarios,
        replies::scenarios,
        rcodes::scenarios,
        packets::scenarios,
        usage::scenarios,
        healthy::scenarios,
    ]
    .iter()
    .flat_map(|family| family(set))
    .collect()
}

/// A resolv.conf with the set's DNS Service.
fn conf(set: Set, search: &[&str], options: &str) -> String {
    conf_of(search, &[Server::service_ip(set)], options)
}

/// A resolv.conf of these parts; what is empty is left out.
fn conf_of(search: &[&str], nameservers: &[&str], options: &str) -> String {
    let mut text = String::new();
    if !search.is_empty() {
        text += &format!("search {}\n", search.join(" "));
    }
    for nameserver in nameservers {
        text += &format!("nameserver {nameserver}\n");
    }
    if !options.is_empty() {
        text += &format!("options {options}\n");
    }
    text
}

/// The resolv.conf that the kubelet writes for a pod of `namespace`: three domains and `ndots:5`.
fn cluster_conf(set: Set, namespace: &str) -> String {
    let own = format!("{namespace}.svc.cluster.local");
    conf(set, &[&own, "svc.cluster.local", "cluster.local"], "ndots:5")
}

/// The same with the domain of the node's own network at the end.
fn node_conf(set: Set, namespace: &str, domain: &str, options: &str) -> String {
    let own = format!("{namespace}.svc.cluster.local");
    conf(set, &[&own, "svc.cluster.local", "cluster.local", domain], options)
}

/// The same among other pods with healthy clients, captured at every interface of the node.
fn noisy(mut scenario: Scenario) -> Scenario {
    let set = scenario.set;
    scenario.name = format!("noisy-{}", scenario.name);
    let mut names = Names::new(set, &scenario.name);
    let hosts: Vec<String> = names.externals(6).iter().map(|host| format!("{host}.")).collect();
    for server in &mut scenario.servers {
        server.world = server.world.clone().hosts(&hosts, 5, &mut names);
    }
    // The others do find addresses.
    scenario.proofs.retain(|proof| !proof.what.ends_with("an address"));
    of(set, [Client::Glibc, Client::Go], [Client::NodeLookup, Client::CAres134])
        .into_iter()
        .fold(scenario, |scenario, client| {
            scenario.pod(cluster_conf(set, "tools")).healthy().lookups(client, &hosts, 3, 900)
        })
        .tap(Tap::Any)
}

/// What the tuned set has, or what the other has.
fn of<T>(set: Set, tuned: T, held_out: T) -> T {
    match set {
        Set::Tuned => tuned,
        Set::HeldOut => held_out,
    }
}

/// As text that lives: `&[String]` from one name.
fn one(name: &str) -> Vec<String> {
    vec![name.to_owned()]
}
