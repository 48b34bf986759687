//! Replies that are missing, late, empty or at odds with each other (facts 3.7 P2, 3.8 P7, P12, P15).

use serde_json::json;

use super::{conf, conf_of, of, one};
use crate::corpus::names::Names;
use crate::corpus::proof::{Proof, Transaction};
use crate::corpus::scenario::{Scenario, Set};
use crate::corpus::server::{Kind, Server};
use crate::corpus::zone::World;
use crate::lab::Client;

/// The scenarios of this family.
pub fn scenarios(set: Set) -> Vec<Scenario> {
    vec![
        silent(set, of(set, Client::Musl123, Client::Musl125)),
        silent(set, of(set, Client::Glibc, Client::Go)),
        slow_answers(set, of(set, Client::Glibc, Client::Musl124), 1.6),
        lost_once(set, of(set, Client::Musl125, Client::Musl124)),
        late(set, of(set, Client::Musl123, Client::Musl125), 3.1),
        late(set, of(set, Client::CAres134, Client::Musl124), 3.4),
        reordered(set),
        slow_in_time(set),
        lame(set, of(set, Client::Glibc, Client::Go)),
        lame(set, of(set, Client::CAres118, Client::NodeLookup)),
        well_formed_nodata(set),
        cname_to_nodata(set),
        disagree(set, of(set, Client::Musl123, Client::Musl124)),
        disagree(set, of(set, Client::Musl125, Client::Musl123)),
        one_by_one(set),
    ]
}

/// Nobody answers.
fn silent(set: Set, client: Client) -> Scenario {
    let name = format!("unanswered-{}", client.name());
    let mut names = Names::new(set, &name);
    let hosts = names.externals(3);
    let rules = vec![json!({"name": "probe.example"}), json!({"silent": true})];
    let scenario = Scenario::new(set, name).server(Server::responder(set, rules)).pod(conf(set, &[], ""));
    hosts
        .iter()
        .fold(scenario, |scenario, name| scenario.lookups(client, &one(name), 1, 0))
        .limit(24)
        .linger(7000)
        .must("unanswered")
        .near("conntrack-race", "3.6: both unanswered")
        .proof(Proof::seen(3, "no answer", |one| one.outcome == "unanswered"))
        .proof(Proof::never("an answer", Transaction::answered))
}

/// Slow, but before anybody asks again.
fn slow_answers(set: Set, client: Client, delay: f64) -> Scenario {
    let name = format!("unanswered-not-slow-{}", client.name());
    let mut names = Names::new(set, &name);
    let hosts = names.externals(4);
    let address = format!("A {}", names.address());
    let rules = vec![
        json!({"type": "A", "answer": [address], "delay": delay}),
        json!({"type": "AAAA", "delay": delay}),
    ];
    Scenario::new(set, name)
        .server(Server::responder(set, rules))
        .pod(conf(set, &[], ""))
        .lookups(client, &hosts, 1, 0)
        .near("unanswered", "P2: no reply within 6 s; these come in time")
        .near("late-reply", "P12: after the client's retry; these come before")
        .proof(Proof::all_resolved())
}

/// The first query of each name is lost; its repetition is answered.
fn lost_once(set: Set, client: Client) -> Scenario {
    let name = format!("unanswered-not-repeated-{}", client.name());
    let mut names = Names::new(set, &name);
    let hosts = names.externals(4);
    let address = format!("A {}", names.address());
    let rules = vec![
        json!({"name": "*.example", "silent": true, "first": 1}),
        json!({"type": "A", "answer": [address]}),
        json!({"type": "AAAA"}),
    ];
    let scenario = Scenario::new(set, name).server(Server::responder(set, rules)).pod(conf(set, &[], ""));
    hosts
        .iter()
        .fold(scenario, |scenario, name| scenario.lookups(client, &one(name), 1, 0))
        .near("unanswered", "P2: within 6 s of its LAST send; the repeat is answered")
        .near("conntrack-race", "3.6: both unanswered")
        .proof(Proof::all_resolved())
        .proof(Proof::seen(4, "repeated", |one| one.sends >= 2 && one.answered()))
}

/// The reply comes when the client has asked again or has gone.
fn late(set: Set, client: Client, delay: f64) -> Scenario {
    let name = format!("late-{}", client.name());
    let mut names = Names::new(set, &name);
    let hosts = names.externals(4);
    let address = format!("A {}", names.address());
    let rules = vec![
        json!({"type": "A", "answer": [address], "delay": delay}),
        json!({"type": "AAAA", "delay": delay}),
    ];
    let scenario = Scenario::new(set, name).server(Server::responder(set, rules)).pod(conf(set, &[], ""));
    hosts
        .iter()
        .fold(scenario, |scenario, name| scenario.lookups(client, &one(name), 1, 0))
        .linger(7500)
        .must("late-reply")
        .near("conntrack-race", "3.6: server slow (reply arrives late, P12)")
        .near("unanswered", "P2: there is a reply")
        .proof(Proof::seen(4, "after the retry", |one| one.latency > 2.9 && one.latency < 4.0))
}

/// AAAA before A.
fn reordered(set: Set) -> Scenario {
    let name = "late-not-reordered";
    let mut names = Names::new(set, name);
    let hosts = names.externals(4);
    let address = format!("A {}", names.address());
    let rules = vec![json!({"type": "A", "answer": [address], "delay": 0.3}), json!({"type": "AAAA"})];
    Scenario::new(set, name)
        .server(Server::responder(set, rules))
        .pod(conf(set, &[], ""))
        .lookups(of(set, Client::Glibc, Client::Musl124), &hosts, 2, 100)
        .near("late-reply", "P12: reorder inside a pair (AAAA before A) is normal")
        .proof(Proof::all_resolved())
}

/// Two seconds: slow, but musl asks again after two and a half.
fn slow_in_time(set: Set) -> Scenario {
    let name = "late-not-in-time";
    let mut names = Names::new(set, name);
    let hosts = names.externals(4);
    let address = format!("A {}", names.address());
    let rules =
        vec![json!({"type": "A", "answer": [address], "delay": 2.0}), json!({"type": "AAAA", "delay": 1.9})];
    Scenario::new(set, name)
        .server(Server::responder(set, rules))
        .pod(conf(set, &[], ""))
        .lookups(of(set, Client::Musl125, Client::Musl123), &hosts, 1, 0)
        .near("late-reply", "P12: after the client's retry; this is before it")
        .near("conntrack-race", "3.6: server slow")
        .proof(Proof::all_resolved())
        .proof(Proof::never("a repetition", |one| one.sends > 1))
}

/// dnsmasq with addresses of its own has no SOA to give.
fn lame(set: Set, client: Client) -> Scenario {
    let name = format!("lame-{}", client.name());
    let mut names = Names::new(set, &name);
    let hosts = names.externals(5);
    let lines: String =
        hosts.iter().map(|host| format!("host-record={host},{},5\n", names.address())).collect();
    let domain = format!("local=/example/\n{lines}");
    Scenario::new(set, name)
        .server(Server::service(Kind::Dnsmasq, set, World::cluster()).extra(domain))
        .pod(conf(set, &[], ""))
        .lookups(client, &hosts, 2, 200)
        .must("lame-nodata")
        .near("pair-conflict", "3.3: AAAA answered ND")
        .proof(Proof::all_resolved())
        .proof(Proof::seen(5, "NODATA", |one| one.nodata))
        .proof(Proof::packets(5, "udp src port 53 and udp[14:2] = 0 and udp[16:2] = 0"))
}

/// NODATA as it should be.
fn well_formed_nodata(set: Set) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Pdns);
    let name = "lame-not-with-soa";
    let mut names = Names::new(set, name);
    let hosts = names.externals(5);
    let world = hosts.iter().fold(World::cluster(), |world, host| world.host(host, 5, &mut names, false));
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .lookups(of(set, Client::Glibc, Client::Musl125), &hosts, 2, 200)
        .near("lame-nodata", "P7: ND without SOA/NS; these have one")
        .proof(Proof::all_resolved())
        .proof(Proof::seen(10, "NODATA", |one| one.nodata))
}

/// A CNAME and then NODATA, with the SOA of the target's zone.
fn cname_to_nodata(set: Set) -> Scenario {
    let kind = of(set, Kind::Bind, Kind::Knot);
    let name = "lame-not-behind-cname";
    let mut names = Names::new(set, name);
    let hosts = names.externals(2);
    let world = World::cluster()
        .record(&hosts[0], 5, &format!("CNAME {}.", hosts[1]))
        .host(&hosts[1], 5, &mut names, false);
    Scenario::new(set, name)
        .server(Server::service(kind, set, world))
        .pod(conf(set, &[], ""))
        .lookups(of(set, Client::Go, Client::Glibc), &one(&hosts[0]), 4, 300)
        .near("lame-nodata", "RFC 2308: NODATA at the end of a CNAME chain, with its SOA")
        .proof(Proof::all_resolved())
        .proof(Proof::seen(4, "NODATA", |one| one.nodata))
}

/// Where two servers are asked.
fn two(set: Set) -> (&'static str, &'static str) {
    of(set, ("10.0.9.53", "10.0.9.54"), ("10.9.7.2", "10.9.7.3"))
}

/// A private server knows the name; a second one says at once that it does not exist.
fn disagree(set: Set, client: Client) -> Scenario {
    let name = format!("servers-disagree-{}", client.name());
    let mut names = Names::new(set, &name);
    let host = names.external();
    let address = format!("A {}", names.address());
    let (first, second) = two(set);
    let private = Server {
        rules: vec![
            json!({"type": "A", "answer": [address], "delay": 0.05}),
            json!({"type": "AAAA", "delay": 0.05}),
        ],
        ..Server::at(Kind::Responder, first, World::new())
    };
    Scenario::new(set, name)
        .server(private)
        .server(Server::at(of(set, Kind::Unbound, Kind::Knot), second, World::cluster()))
        .pod(conf_of(&[], &[first, second], ""))
        .lookups(client, &one(&host), 4, 500)
        .must("servers-disagree")
        .may("lame-nodata", "P7: the same name gives NX and ND, though at different servers")
        .may("late-reply", "the slower server's reply meets a closed port")
        .near("pair-conflict", "3.3: replies from different servers")
        .proof(Proof::failed(4))
        .proof(Proof::seen(4, "NXDOMAIN", |one| one.rcode == "NXDOMAIN"))
        .proof(Proof::seen(4, "an address", Transaction::found))
}

/// glibc asks the second server only when the first is silent.
fn one_by_one(set: Set) -> Scenario {
    let name = "servers-disagree-not-one-by-one";
    let mut names = Names::new(set, name);
    let hosts = names.externals(4);
    let (first, second) = two(set);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    Scenario::new(set, name)
        .server(Server::at(of(set, Kind::Unbound, Kind::Pdns), first, world))
        .server(Server::at(of(set, Kind::Nsd, Kind::Knot), second, World::cluster()))
        .pod(conf_of(&[], &[first, second], ""))
        .lookups(Client::Glibc, &hosts, 2, 300)
        .near("servers-disagree", "P15: same ID to >=2 servers; glibc asks one after another")
        .proof(Proof::all_resolved())
}
