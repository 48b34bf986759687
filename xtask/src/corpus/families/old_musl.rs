//! `old-musl`: the stub resolver is musl before 1.2.4, told from the IDs of healthy pairs (facts 1.3 and 8.1).

use std::collections::BTreeSet;

use super::{cluster_conf, conf, conf_of, noisy, of};
use crate::corpus::names::Names;
use crate::corpus::proof::{Pair, Proof, Recorded};
use crate::corpus::scenario::{Scenario, Set};
use crate::corpus::server::{Kind, Server};
use crate::corpus::zone::World;
use crate::lab::Client;

/// How the same client asks.
#[derive(Clone, Copy)]
enum Habit {
    /// Names of the world outside, no search list.
    Plain,
    /// Services by their short names.
    Services,
    /// Two nameservers, asked at once.
    TwoServers,
    /// In bursts of a few, seconds apart.
    Slowly,
}

/// The scenarios of this family.
pub fn scenarios(set: Set) -> Vec<Scenario> {
    let positives: &[(Kind, Habit)] = of(
        set,
        &[
            (Kind::Unbound, Habit::Plain),
            (Kind::Bind, Habit::Plain),
            (Kind::Nsd, Habit::Plain),
            (Kind::Dnsmasq, Habit::Plain),
            (Kind::Pdns, Habit::Plain),
            (Kind::Knot, Habit::Plain),
            (Kind::Unbound, Habit::Services),
            (Kind::Bind, Habit::Services),
            (Kind::Dnsmasq, Habit::Services),
            (Kind::Nsd, Habit::TwoServers),
            (Kind::Unbound, Habit::Slowly),
            (Kind::Bind, Habit::Slowly),
        ],
        &[
            (Kind::Knot, Habit::Plain),
            (Kind::Pdns, Habit::Plain),
            (Kind::Pdns, Habit::Services),
            (Kind::Knot, Habit::Services),
            (Kind::Knot, Habit::TwoServers),
            (Kind::Pdns, Habit::Slowly),
        ],
    );
    let others: &[(Client, Kind)] = of(
        set,
        &[
            (Client::Musl124, Kind::Unbound),
            (Client::Musl124, Kind::Bind),
            (Client::Musl125, Kind::Nsd),
            (Client::Musl125, Kind::Dnsmasq),
            (Client::Glibc, Kind::Unbound),
            (Client::Glibc, Kind::Bind),
            (Client::NodeResolve, Kind::Unbound),
            (Client::NodeLookup, Kind::Nsd),
            (Client::Go, Kind::Bind),
            (Client::CAres118, Kind::Unbound),
            (Client::CAres134, Kind::Bind),
            (Client::BusyBox, Kind::Unbound),
        ],
        &[
            (Client::Musl124, Kind::Pdns),
            (Client::Musl125, Kind::Knot),
            (Client::Glibc, Kind::Knot),
            (Client::NodeResolve, Kind::Pdns),
            (Client::Go, Kind::Knot),
            (Client::BusyBox, Kind::Knot),
        ],
    );
    let mut all: Vec<Scenario> =
        positives.iter().map(|&(kind, habit)| scenario(set, Client::Musl123, kind, habit)).collect();
    all.extend(others.iter().map(|&(client, kind)| other(set, client, kind)));
    all.push(few(set));
    all.push(only_a(set));
    let kind = of(set, Kind::Bind, Kind::Pdns);
    all.push(noisy(scenario(set, Client::Musl123, kind, Habit::Services)));
    all.push(noisy(other(set, Client::Musl125, kind)));
    all
}

/// Rule of facts 1.3, by the recording itself and for any client: 20 pairs, the last ten with small steps, one with equal
/// high bytes.
fn shows_old_musl(recorded: &Recorded) -> bool {
    let all = recorded.pairs();
    let small = |pair: &&&Pair<'_>| (1..2048).contains(&pair.step());
    let clients: BTreeSet<&String> = all.iter().map(|pair| &pair.a.client).collect();
    clients.iter().any(|&client| {
        let pairs: Vec<&Pair<'_>> = all.iter().filter(|pair| pair.a.client == *client).collect();
        pairs.len() >= 20
            && pairs.iter().rev().take(10).filter(small).count() == 10
            && pairs.iter().filter(small).any(|pair| pair.equal_high_bytes())
    })
}

/// At least 20 pairs.
fn scenario(set: Set, client: Client, kind: Kind, habit: Habit) -> Scenario {
    let word = match habit {
        Habit::Plain => "plain",
        Habit::Services => "services",
        Habit::TwoServers => "two-servers",
        Habit::Slowly => "slowly",
    };
    let name = format!("old-musl-{word}-{}", kind.name());
    let mut names = Names::new(set, &name);
    let (_, namespace) = names.service();
    let hosts = names.externals(of(set, 30, 26));
    let mut world = World::cluster().hosts(&hosts, 5, &mut names);
    let services: Vec<String> = (0..of(set, 28, 24)).map(|n| format!("{}-{n}", names.service().0)).collect();
    for service in &services {
        world = world.service(service, &namespace, 5);
    }
    let (first, second) = of(set, ("10.0.9.53", "10.0.9.54"), ("10.9.7.2", "10.9.7.3"));
    let scenario = Scenario::new(set, name);
    let scenario =
        match habit {
            Habit::Plain => scenario
                .server(Server::service(kind, set, world))
                .pod(conf(set, &[], ""))
                .lookups(client, &hosts, 1, 0),
            Habit::Services => scenario
                .server(Server::service(kind, set, world))
                .pod(cluster_conf(set, &namespace))
                .lookups(client, &services, 1, 0),
            Habit::TwoServers => scenario
                .server(Server::at(kind, first, world.clone()))
                .server(Server::at(kind, second, world))
                .pod(conf_of(&[], &[first, second], ""))
                .lookups(client, &hosts, 1, 0)
                .near("servers-disagree", "P15: both servers say the same")
                .near("late-reply", "8.6: the slower of two servers meets ICMP though it is not late"),
            Habit::Slowly => scenario
                .server(Server::service(kind, set, world))
                .pod(conf(set, &[], ""))
                .lookups(client, &hosts[..4], 7, 900),
        };
    scenario
        .must("old-musl")
        .proof(Proof::that("20 pairs of musl before 1.2.4", |recorded| Ok(shows_old_musl(recorded))))
        .proof(Proof::all_resolved())
}

/// As many pairs of another stub resolver.
fn other(set: Set, client: Client, kind: Kind) -> Scenario {
    let name = format!("old-musl-not-{}-{}", client.name(), kind.name());
    let mut names = Names::new(set, &name);
    let hosts = names.externals(30);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .lookups(client, &hosts, 1, 0);
    let why = match client {
        Client::Musl124 | Client::Musl125 => "1.3: 1.2.4 adds 256 to the second ID when the high bytes match",
        Client::NodeResolve => "8.1: 10 of 60 Node pairs fell into 1..2047 by chance",
        _ => "1.3: random IDs fall into 1..2047 in 3 % of pairs",
    };
    scenario.near("old-musl", why).proof(Proof::seen(
        60,
        "answered",
        crate::corpus::proof::Transaction::answered,
    ))
}

/// Two pairs cannot tell.
fn few(set: Set) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Pdns);
    let name = "old-musl-few-pairs";
    let mut names = Names::new(set, name);
    let hosts = names.externals(2);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    let mut scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .lookups(Client::Musl123, &hosts, 1, 0)
        .near("old-musl", "1.3: at least 3 pairs")
        .proof(Proof::that("two pairs", |recorded| Ok(recorded.pairs().len() == 2)));
    scenario.label.may.clear();
    scenario
}

/// Without AAAA there are no pairs.
fn only_a(set: Set) -> Scenario {
    let kind = of(set, Kind::Bind, Kind::Knot);
    let name = "old-musl-only-a";
    let mut names = Names::new(set, name);
    let hosts = names.externals(30);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .lookups_of_a(Client::Musl123, &hosts, 1, 0)
        .near("old-musl", "1.3: AF_INET-only programs give no pairs")
        .proof(Proof::that("no pair", |recorded| Ok(recorded.pairs().is_empty())))
        .proof(Proof::all_resolved())
}
