//! What replies say, or that there is none: the smaller findings of facts 3.7 and 3.8.

use serde_json::json;

use super::{conf, conf_of, of, one};
use crate::corpus::names::Names;
use crate::corpus::proof::{Proof, Transaction};
use crate::corpus::scenario::{Scenario, Set};
use crate::corpus::server::{Kind, Server};
use crate::corpus::zone::World;
use crate::lab::Client;

pub fn scenarios(set: Set) -> Vec<Scenario> {
    let mut all = vec![
        silent(set, of(set, Client::Musl123, Client::Musl125)),
        silent(set, of(set, Client::Glibc, Client::Go)),
        slow_answers(set, of(set, Client::Glibc, Client::Musl124), 1.6),
        lost_once(set, of(set, Client::Musl125, Client::CAres134)),
        servfail(set, of(set, Client::Glibc, Client::Go), of(set, Kind::Bind, Kind::Pdns)),
        servfail(set, of(set, Client::Musl123, Client::Musl125), of(set, Kind::Unbound, Kind::Knot)),
        few_servfail(set),
        small_share_of_servfail(set),
        refused(set, of(set, Client::Glibc, Client::Go), of(set, Kind::Nsd, Kind::Knot)),
        refused_without_question(set, of(set, Client::Glibc, Client::CAres118)),
        refused_once(set),
        notimp(set),
        fragmented(set, of(set, Kind::Unbound, Kind::Knot), of(set, 180, 210)),
        fragmented(set, of(set, Kind::Nsd, Kind::Pdns), of(set, 120, 150)),
        nearly_fragmented(set),
        large_over_tcp(set),
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
    ];
    all.extend(wrong_source(set));
    all.extend(ids(set));
    all
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

/// The resolver cannot reach what it forwards to, for names of several zones.
fn servfail(set: Set, client: Client, kind: Kind) -> Scenario {
    let name = format!("servfail-{}-{}", client.name(), kind.name());
    let mut names = Names::new(set, &name);
    let hosts = names.externals(5);
    let scenario = Scenario::new(set, name);
    let server = match kind {
        // Each of their zones is said to be there, and cannot be loaded.
        Kind::Bind => Server::service(kind, set, World::cluster()).extra(
            hosts
                .iter()
                .map(|host| format!("zone \"{host}\" {{ type primary; file \"missing\"; }};\n"))
                .collect::<String>(),
        ),
        Kind::Knot => Server::service(kind, set, World::cluster()).extra(
            hosts.iter().map(|host| format!("  - domain: {host}.\n    file: missing\n")).collect::<String>(),
        ),
        Kind::Unbound => Server::service(kind, set, World::cluster()).extra(
            hosts
                .iter()
                .map(|host| format!("\nforward-zone:\n name: \"{host}.\"\n forward-addr: 127.0.0.9@5999\n"))
                .collect::<String>(),
        ),
        _ => Server::service(kind, set, World::cluster()).extra("lua-dns-script={dir}/../broken.lua"),
    };
    let broken = "function preresolve(dq)\n  if dq.qname:isPartOf(newDN(\"example\")) then\n    dq.rcode = pdns.SERVFAIL\n    return true\n  end\n  return false\nend\n";
    scenario
        .file("broken.lua", broken.to_owned())
        .server(server)
        .pod(conf(set, &[], ""))
        .lookups(client, &hosts, 1, 0)
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

/// Six among more than a hundred.
fn small_share_of_servfail(set: Set) -> Scenario {
    let kind = of(set, Kind::Unbound, Kind::Knot);
    let name = "servfail-not-share";
    let mut names = Names::new(set, name);
    let hosts = names.externals(60);
    let bad = names.externals(6);
    let world = World::cluster().hosts(&hosts, 5, &mut names);
    let extra: String = match kind {
        Kind::Unbound => bad
            .iter()
            .map(|host| format!("\nforward-zone:\n name: \"{host}.\"\n forward-addr: 127.0.0.9@5999\n"))
            .collect(),
        _ => bad.iter().map(|host| format!("  - domain: {host}.\n    file: missing\n")).collect(),
    };
    let dig = of(set, "dig", "kdig");
    let scenario = Scenario::new(set, name)
        .server(Server::service(kind, set, world).extra(extra))
        .pod(conf(set, &[], ""))
        .lookups(Client::Glibc, &hosts, 1, 0);
    bad.iter()
        .fold(scenario, |scenario, host| scenario.program(&[dig, host, "A"]))
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
    let name = "refused-not-once";
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
        .near("refused", "3.0: >=2 occurrences of the same base or >=3 of one client")
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

/// A server that may send 4,096 octets over UDP.
fn roomy(kind: Kind, set: Set, world: World) -> Server {
    let server = Server::service(kind, set, world);
    match kind {
        Kind::Unbound => server.extra(" edns-buffer-size: 4096\n max-udp-size: 4096\n"),
        Kind::Knot => server.extra("server:\n    udp-max-payload: 4096\n"),
        Kind::Nsd => server.extra("server:\n ipv4-edns-size: 4096\n"),
        _ => server.extra("udp-truncation-threshold=4096\nedns-outgoing-bufsize=4096\n"),
    }
}

fn fragmented(set: Set, kind: Kind, count: usize) -> Scenario {
    let name = format!("fragmented-{}", kind.name());
    let large = Names::new(set, &name).external();
    let dig = of(set, "dig", "kdig");
    let query = [dig, "+bufsize=4096", &large, "A"];
    Scenario::new(set, name)
        .server(roomy(kind, set, World::cluster().big(&large, 5, count)))
        .pod(conf(set, &[], ""))
        .program(&query)
        .program_after(400, &query)
        .program_after(800, &query)
        .program_after(1200, &query)
        .must("fragmented")
        .near("oversize-udp", "3.1 b: the query said 4,096")
        .proof(Proof::packets(4, "ip[6:2] & 0x3fff != 0"))
}

/// As large as one packet can be.
fn nearly_fragmented(set: Set) -> Scenario {
    let name = "fragmented-not-nearly";
    let large = Names::new(set, name).external();
    let dig = of(set, "dig", "kdig");
    let query = [dig, "+bufsize=4096", &large, "A"];
    Scenario::new(set, name)
        .server(roomy(of(set, Kind::Unbound, Kind::Knot), set, World::cluster().big(&large, 5, 86)))
        .pod(conf(set, &[], ""))
        .program(&query)
        .program_after(400, &query)
        .program_after(800, &query)
        .near("fragmented", "P5: MF=1 or offset>0")
        .proof(Proof::seen(3, "large", |one| one.bytes > 1400))
        .proof(Proof::no_packet("ip[6:2] & 0x3fff != 0"))
}

/// Several segments are no fragments.
fn large_over_tcp(set: Set) -> Scenario {
    let name = "fragmented-not-tcp";
    let large = Names::new(set, name).external();
    let dig = of(set, "dig", "kdig");
    let query = [dig, "+tcp", &large, "A"];
    Scenario::new(set, name)
        .server(roomy(of(set, Kind::Nsd, Kind::Pdns), set, World::cluster().big(&large, 5, 200)))
        .pod(conf(set, &[], ""))
        .program(&query)
        .program_after(400, &query)
        .program_after(800, &query)
        .near("fragmented", "P5: fragments of IP; here a stream in segments")
        .proof(Proof::seen(3, "large over TCP", |one| one.tcp && one.bytes > 3000))
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
        .proof(Proof::seen(4, "after the retry", |one| {
            one.sends >= 2 && one.latency > 2.9 && one.latency < 4.0
        }))
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

/// Replies from another address than the one that was asked, and what looks like it.
fn wrong_source(set: Set) -> Vec<Scenario> {
    let (asked, other) = of(set, ("10.0.9.61", "10.0.9.60"), ("10.9.7.61", "10.9.7.60"));
    let positive = |client: Client| {
        let name = format!("wrong-source-{}", client.name());
        let mut names = Names::new(set, &name);
        let hosts = names.externals(3);
        let address = format!("A {}", names.address());
        let rules = vec![
            json!({"name": "probe.example"}),
            json!({"type": "A", "answer": [address], "source": other}),
            json!({"type": "AAAA", "source": other}),
        ];
        let server = Server { rules, ..Server::at(Kind::Responder, asked, World::new()) }.also_at(other);
        let scenario = Scenario::new(set, name).server(server).pod(conf_of(&[], &[asked], ""));
        hosts
            .iter()
            .fold(scenario, |scenario, name| scenario.lookups(client, &one(name), 1, 0))
            .limit(22)
            .linger(7000)
            .must("wrong-source")
            .may("unanswered", "P8: both then time out")
            .proof(Proof::failed(0))
            .proof(Proof::packets(3, &format!("udp src port 53 and src host {other}")))
    };
    let near = |word: &str, rules: Vec<serde_json::Value>, why: &'static str| {
        let name = format!("wrong-source-not-{word}");
        let mut names = Names::new(set, &name);
        let hosts = names.externals(4);
        Scenario::new(set, name)
            .server(Server::responder(set, rules))
            .pod(conf(set, &[], ""))
            .lookups(of(set, Client::Glibc, Client::Musl125), &hosts, 2, 200)
            .near("wrong-source", why)
            .proof(Proof::all_resolved())
    };
    vec![
        positive(of(set, Client::Musl123, Client::Musl124)),
        positive(of(set, Client::Glibc, Client::Go)),
        near(
            "twice",
            vec![
                json!({"type": "A", "answer": ["A 192.0.2.9"], "times": 2}),
                json!({"type": "AAAA", "times": 2}),
            ],
            "P8: each reply comes twice, from the address that was asked",
        ),
        near(
            "translated",
            vec![json!({"type": "A", "answer": ["A 192.0.2.17"]}), json!({"type": "AAAA"})],
            "P8: NAT seen at a hook before un-DNAT; every interface of the node is in the capture",
        )
        .tap(crate::corpus::scenario::Tap::Any)
        .no_stub(),
    ]
}

/// One ID and port for two open questions, and what looks like it.
fn ids(set: Set) -> Vec<Scenario> {
    let positive = |word: &'static str| {
        let name = format!("id-reuse-{word}");
        let mut names = Names::new(set, &name);
        let hosts = names.externals(6);
        let rules = vec![
            json!({"type": "A", "answer": ["A 192.0.2.33"], "delay": 0.2}),
            json!({"type": "AAAA", "delay": 0.2}),
        ];
        let server = Server::responder(set, rules);
        let address = server.address.clone();
        let mut words = vec!["python3", "{dir}/one_id.py", &address, word];
        words.extend(hosts.iter().map(String::as_str));
        Scenario::new(set, &name)
            .server(server)
            .pod(conf(set, &[], ""))
            .file("one_id.py", include_str!("../one_id.py").to_owned())
            .program(&words)
            .must("id-reuse")
            .proof(Proof::that("two open questions with one ID", |recorded| {
                let all = &recorded.transactions;
                let same = |one: &Transaction, other: &Transaction| {
                    (one.id, one.client_port) == (other.id, other.client_port)
                        && (&one.qname, &one.qtype) != (&other.qname, &other.qtype)
                        && (one.time - other.time).abs() < 0.1
                };
                Ok(all.iter().filter(|one| all.iter().any(|other| same(one, other))).count() >= 4)
            }))
    };
    let near = |client: Client, why: &'static str| {
        let name = format!("id-reuse-not-{}", client.name());
        let mut names = Names::new(set, &name);
        let hosts = names.externals(30);
        let kind = of(set, Kind::Unbound, Kind::Knot);
        let world = World::cluster().hosts(&hosts, 5, &mut names);
        Scenario::new(set, name)
            .server(Server::service(kind, set, world))
            .pod(conf(set, &[], ""))
            .lookups(client, &hosts, 1, 0)
            .near("id-reuse", why)
            .proof(Proof::all_resolved())
    };
    vec![
        positive("pair"),
        positive("names"),
        near(of(set, Client::CAres118, Client::CAres134), "P13: not c-ares' long-lived port"),
        near(
            of(set, Client::BusyBox, Client::Musl123),
            "P13: one port for both of a pair, with different IDs",
        ),
    ]
}
