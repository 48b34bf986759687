//! `conntrack-race`: one of the pair is lost on its way, and its repetition 2.5 s or 5 s later is answered (facts 3.6).
//!
//! The race itself cannot be won on demand. The node drops what the kernel would drop: the first packet of one of the
//! pair, behind the capture.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::{conf, conf_of, noisy, of, one};
use crate::corpus::names::Names;
use crate::corpus::proof::{Proof, Recorded, Transaction};
use crate::corpus::scenario::{Scenario, Set};
use crate::corpus::server::{Kind, Server};
use crate::corpus::zone::World;
use crate::lab::Client;

/// The number of the type A (RFC 1035 section 3.2.2).
const A: u16 = 1;
/// And of AAAA (RFC 3596 section 2.1).
const AAAA: u16 = 28;

/// The scenarios of this family.
pub fn scenarios(set: Set) -> Vec<Scenario> {
    let positives: &[(Client, Kind, u16, usize)] = of(
        set,
        &[
            (Client::Musl123, Kind::Unbound, AAAA, 4),
            (Client::Musl123, Kind::Bind, A, 4),
            (Client::Musl124, Kind::Nsd, AAAA, 4),
            (Client::Musl124, Kind::Dnsmasq, A, 4),
            (Client::Musl125, Kind::Unbound, AAAA, 5),
            (Client::Musl125, Kind::Bind, AAAA, 4),
            (Client::Glibc, Kind::Unbound, AAAA, 4),
            (Client::Glibc, Kind::Bind, AAAA, 4),
            (Client::Glibc, Kind::Nsd, AAAA, 5),
            (Client::Glibc, Kind::Dnsmasq, AAAA, 4),
            (Client::NodeLookup, Kind::Unbound, AAAA, 4),
            (Client::Glibc, Kind::Pdns, A, 4),
        ],
        &[
            (Client::Musl123, Kind::Knot, AAAA, 4),
            (Client::Musl124, Kind::Pdns, AAAA, 4),
            (Client::Musl125, Kind::Knot, A, 4),
            (Client::Glibc, Kind::Knot, AAAA, 4),
            (Client::Glibc, Kind::Pdns, AAAA, 4),
            (Client::NodeLookup, Kind::Knot, AAAA, 4),
        ],
    );
    let mut all: Vec<Scenario> = positives
        .iter()
        .map(|&(client, kind, lost, events)| positive(set, client, kind, lost, events))
        .collect();
    all.push(both_lost(set, of(set, Client::Musl125, Client::Musl123)));
    all.push(both_lost(set, of(set, Client::Glibc, Client::NodeLookup)));
    all.push(lost_for_good(set, of(set, Client::Musl123, Client::Musl124)));
    all.push(slow(set, of(set, Client::Musl125, Client::Musl124), 2.8));
    all.push(slow(set, of(set, Client::Glibc, Client::NodeLookup), 5.4));
    all.push(other_stub(set, of(set, Client::Go, Client::Go), "3.6: Go/c-ares separate ports"));
    all.push(other_stub(set, of(set, Client::CAres118, Client::CAres134), "3.6: Go/c-ares separate ports"));
    all.push(one_after_the_other(set));
    let local: &[(&str, &str, Client)] = of(
        set,
        &[
            ("nodelocal", "169.254.20.10", Client::Musl125),
            ("vpc", "169.254.169.253", Client::Musl123),
            ("vpc-glibc", "169.254.169.253", Client::Glibc),
        ],
        &[("nodelocal", "169.254.20.10", Client::Glibc), ("vpc", "169.254.169.253", Client::Musl124)],
    );
    all.extend(local.iter().map(|&(word, address, client)| without_translation(set, word, address, client)));
    all.push(twice(set));
    let (client, kind) = of(set, (Client::Musl124, Kind::Nsd), (Client::Musl123, Kind::Knot));
    all.push(noisy(positive(set, client, kind, AAAA, 4)));
    all.push(noisy(both_lost(set, client)));
    // A slow server's second reply comes as late as its first: only a capture that goes on shows that there is none.
    for scenario in &mut all {
        scenario.linger = scenario.linger.max(Duration::from_millis(7500));
    }
    all
}

/// Rules that drop the first packet of this type from each port; the names must end with a dot.
fn drop_first(names: &[String], qtype: u16) -> String {
    rules(names, qtype, |set| {
        format!(
            "ip saddr . udp sport != @{set} add @{set} {{ ip saddr . udp sport timeout 30s }} counter drop"
        )
    })
}

/// Rules that drop every packet of this type.
fn drop_all(names: &[String], qtype: u16) -> String {
    rules(names, qtype, |_| "counter drop".to_owned())
}

/// Rules that drop the first `count` packets of this type, from whatever port.
fn drop_some(names: &[String], qtype: u16, count: usize) -> String {
    rules(names, qtype, |_| format!("numgen inc mod 100000 < {count} counter drop"))
}

/// QTYPE follows the name, so that its place depends on the name's length: 8 octets of UDP header, 12 of DNS header, the
/// name on the wire, which is one longer than its text with the final dot.
fn rules(names: &[String], qtype: u16, verdict: impl Fn(&str) -> String) -> String {
    let lengths: BTreeSet<usize> = names.iter().map(|name| name.trim_end_matches('.').len() + 2).collect();
    let set = if qtype == A { "first_a" } else { "first_aaaa" };
    let rule = |length: &usize| {
        let place = (8 + 12 + length) * 8;
        let size = 8 + 12 + length + 4;
        // An OPT record adds 11 octets, and a cookie in it 12.
        let (opt, cookie) = (size + 11, size + 23);
        format!(
            "udp dport 53 udp length {{ {size}, {opt}, {cookie} }} @th,{place},16 {qtype} {}",
            verdict(set)
        )
    };
    lengths.iter().map(rule).collect::<Vec<_>>().join("\n")
}

/// Each name in a process of its own, all at once: glibc keeps to one query at a time after the first loss.
fn in_processes(scenario: Scenario, client: Client, names: &[String]) -> Scenario {
    names.iter().fold(scenario, |scenario, name| scenario.lookups(client, &one(name), 1, 0))
}

/// Pairs sent within a millisecond of which one was answered at once, and the other after its repetition.
fn events(recorded: &Recorded) -> usize {
    let at_once = |one: &Transaction| one.answered() && one.latency < 1.0;
    let later = |one: &Transaction| {
        one.answered() && one.sends >= 2 && (2.3..2.9).contains(&one.latency)
            || one.answered() && one.sends >= 2 && (4.8..5.6).contains(&one.latency)
    };
    let is_event =
        |one: &Transaction, other: &Transaction| at_once(one) && later(other) || later(one) && at_once(other);
    let together = |one: &Transaction, other: &Transaction| (one.time - other.time).abs() < 0.0009;
    let pairs = recorded.pairs();
    pairs.iter().filter(|pair| together(pair.a, pair.aaaa) && is_event(pair.a, pair.aaaa)).count()
}

/// One of each pair is lost once.
fn positive(set: Set, client: Client, kind: Kind, lost: u16, count: usize) -> Scenario {
    let word = if lost == A { "a" } else { "aaaa" };
    let name = format!("conntrack-{word}-lost-{}-{}", client.name(), kind.name());
    let mut names = Names::new(set, &name);
    let hosts = names.absolute(count);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .fault(drop_first(&hosts, lost));
    let scenario = if client.fingerprint() == "glibc" || count == 5 {
        in_processes(scenario, client, &hosts)
    } else {
        scenario.lookups(client, &hosts, 1, 0)
    };
    scenario
        .must("conntrack-race")
        .near("unanswered", "3.6: the repeat IS answered")
        .near("pair-conflict", "3.3: in the end both of the pair are answered")
        .near("late-reply", "the reply belongs to the repetition")
        .proof(Proof::all_resolved())
        .proof(Proof::that("3 events", |recorded| Ok(events(recorded) >= 3)))
}

/// Both of each pair are lost once.
fn both_lost(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Knot);
    let name = format!("conntrack-not-both-lost-{}", client.name());
    let mut names = Names::new(set, &name);
    let hosts = names.absolute(4);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .fault(drop_first(&hosts, A))
        .fault(drop_first(&hosts, AAAA));
    in_processes(scenario, client, &hosts)
        .near("conntrack-race", "3.6: both unanswered")
        .near("unanswered", "P2: the repeats are answered")
        .proof(Proof::all_resolved())
        .proof(Proof::that("no event", |recorded| Ok(events(recorded) == 0)))
        .proof(Proof::seen(6, "repeated", |one| one.sends >= 2 && one.latency > 2.0))
}

/// Each AAAA is lost, and each repetition.
fn lost_for_good(set: Set, client: Client) -> Scenario {
    let kind = of(set, Kind::Bind, Kind::Pdns);
    let name = "conntrack-not-lost-for-good";
    let mut names = Names::new(set, name);
    let hosts = names.absolute(4);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .fault(drop_all(&hosts, AAAA));
    in_processes(scenario, client, &hosts)
        .near("conntrack-race", "3.6: repeat unanswered too (P2)")
        .must("unanswered")
        .may("pair-conflict", "3.3: A=ANS and AAAA=TO")
        .linger(8000)
        .proof(Proof::seen(4, "no answer", |one| one.outcome == "unanswered" && one.sends >= 2))
}

/// The server takes its time for AAAA: the reply to the first copy comes after the second was sent.
fn slow(set: Set, client: Client, delay: f64) -> Scenario {
    let name = format!("conntrack-not-slow-{}", client.name());
    let mut names = Names::new(set, &name);
    let hosts = names.absolute(4);
    let address = format!("A {}", names.address());
    let rules = vec![json!({"type": "A", "answer": [address]}), json!({"type": "AAAA", "delay": delay})];
    let scenario = Scenario::new(set, name).server(Server::responder(set, rules)).pod(conf(set, &[], ""));
    in_processes(scenario, client, &hosts)
        .near("conntrack-race", "3.6: server slow (reply arrives late, P12)")
        .may("late-reply", "P12: reply after the client's retry")
        .linger(7000)
        .proof(Proof::seen(4, "slow and repeated", |one| one.latency > 2.5))
}

/// Stub resolvers with other habits.
fn other_stub(set: Set, client: Client, why: &'static str) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Knot);
    let name = format!("conntrack-not-{}", client.name());
    let mut names = Names::new(set, &name);
    let hosts = names.absolute(4);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .fault(drop_first(&hosts, AAAA));
    in_processes(scenario, client, &hosts)
        .near("conntrack-race", why)
        .may("unanswered", "they ask anew from another port: the lost query itself has no reply")
        .may(
            "pair-conflict",
            "3.3: A=ANS and AAAA=TO, if the repetition from another port is not taken for one",
        )
        .may("late-reply", "c-ares takes the reply to its repetition")
        .linger(7500)
        .proof(Proof::all_resolved())
        .proof(Proof::that("no event", move |recorded| {
            Ok(client == Client::CAres118 || events(recorded) == 0)
        }))
}

/// glibc with single-request sends the second query when the first is answered.
fn one_after_the_other(set: Set) -> Scenario {
    let kind = of(set, Kind::Nsd, Kind::Knot);
    let name = "conntrack-not-sequential";
    let mut names = Names::new(set, name);
    let hosts = names.absolute(4);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], "single-request"))
        .fault(drop_some(&hosts, AAAA, 4));
    in_processes(scenario, of(set, Client::Glibc, Client::NodeLookup), &hosts)
        .near("conntrack-race", "3.6: sequential clients")
        .proof(Proof::all_resolved())
        .may("unanswered", "glibc repeats from another port in this mode; the lost query itself has no reply")
        .may(
            "pair-conflict",
            "3.3: A=ANS and AAAA=TO, if the repetition from another port is not taken for one",
        )
        .proof(Proof::seen(3, "lost", |one| one.outcome != "answered"))
}

/// The same loss towards a server that is asked without translation.
fn without_translation(set: Set, word: &str, address: &str, client: Client) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Pdns);
    let name = format!("conntrack-not-{word}");
    let mut names = Names::new(set, &name);
    let hosts = names.absolute(4);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    let scenario = Scenario::new(set, name)
        .server(Server::at(kind, address, world))
        .pod(conf_of(&[], &[address], ""))
        .fault(drop_first(&hosts, AAAA));
    in_processes(scenario, client, &hosts)
        .near(
            "conntrack-race",
            "3.6: host has no DNAT for DNS (NodeLocal with NOTRACK, hostNetwork to VPC resolver)",
        )
        .proof(Proof::all_resolved())
        .proof(Proof::that("the same shape", |recorded| Ok(events(recorded) >= 3)))
}

/// Two events are too few to tell by their shape.
fn twice(set: Set) -> Scenario {
    let kind = of(set, Kind::Dnsmasq, Kind::Knot);
    let name = "conntrack-not-twice";
    let mut names = Names::new(set, name);
    let hosts = names.absolute(6);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    // Two names of another length than the other four.
    let lost: Vec<String> = hosts[..2].iter().map(|host| format!("zone-a.{host}")).collect();
    let world = world.hosts(&lost, 5, &mut names);
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .fault(drop_first(&lost, AAAA));
    let scenario = in_processes(scenario, of(set, Client::Musl125, Client::Glibc), &lost);
    in_processes(scenario, of(set, Client::Musl125, Client::Glibc), &hosts[2..])
        .near("conntrack-race", "3.6: by shape alone with >=3 events")
        .proof(Proof::all_resolved())
        .proof(Proof::that("2 events", |recorded| Ok(events(recorded) == 2)))
}
