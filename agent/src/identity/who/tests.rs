//! Who is found by which key, and what is kept of those who are gone.

use super::*;
use crate::capture::frame::{Direction, InterfaceKind, Place};
use crate::identity::facts::{Container, PodDns};
use crate::packet::Transport;

/// An instance whose name and id are the same.
pub(crate) fn pod(name: &str, workload: &str) -> Arc<Instance> {
    let text = str::to_owned;
    Arc::new(Instance {
        id: InstanceId(text(name)),
        workload: Workload { namespace: text("shop"), kind: text("Deployment"), name: text(workload) },
        name: text(name),
        containers: Vec::<Container>::new(),
        resolver: None,
        dns: None::<PodDns>,
    })
}

pub(crate) fn whose(interfaces: &[u32], addresses: &[&str]) -> Whose {
    Whose {
        interfaces: interfaces.iter().copied().map(Ifindex).collect(),
        cgroups: Vec::new(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    }
}

pub(crate) fn here(name: &str, workload: &str, whose: Whose) -> Fact {
    Fact::Here { whose, instance: pod(name, workload) }
}

fn gone(name: &str) -> Fact {
    Fact::Gone(InstanceId(name.to_owned()))
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

fn client(interface: Option<u32>, address: &str) -> ClientId {
    ClientId { interface: interface.map(Ifindex), address: address.parse().unwrap() }
}

fn who(facts: &[Fact]) -> Who {
    let mut who = Who::default();
    for fact in facts {
        who.learn(at(0), fact);
    }
    who
}

#[track_caller]
fn check(who: &Who, client: &ClientId, expected: Option<&str>) {
    assert_eq!(who.client(client, None).map(|known| known.instance.name.as_str()), expected, "{client:?}");
}

#[test]
fn the_interface_beats_the_address() {
    let who = who(&[here("a", "a", whose(&[2], &["10.0.0.2"])), here("b", "b", whose(&[3], &["10.0.0.3"]))]);
    // A virtual machine in pod b has an address of its own, or takes that of a.
    for address in ["10.0.0.3", "10.0.0.2", "192.0.2.9"] {
        check(&who, &client(Some(3), address), Some("b"));
    }
    // Where the interface is not seen the address tells.
    check(&who, &client(None, "10.0.0.2"), Some("a"));
    check(&who, &client(None, "192.0.2.9"), None);
}

#[test]
fn an_address_at_another_interface_is_another() {
    let who = who(&[here("a", "a", whose(&[2], &["10.0.0.2"])), here("b", "b", whose(&[], &["10.0.0.3"]))]);
    check(&who, &client(Some(9), "10.0.0.2"), None);
    // Of b nobody knows the interface: that may be it.
    check(&who, &client(Some(9), "10.0.0.3"), Some("b"));
}

#[test]
fn who_is_gone_is_known_for_a_while() {
    let mut who = who(&[here("a", "a", whose(&[2], &["10.0.0.2"]))]);
    who.learn(at(100), &gone("a"));
    who.tick(at(159));
    check(&who, &client(Some(2), "10.0.0.2"), Some("a"));
    who.tick(at(160));
    check(&who, &client(Some(2), "10.0.0.2"), None);
    assert!(who.is_empty());
}

#[test]
fn who_came_back_stays() {
    let mut who = who(&[here("a", "a", whose(&[2], &["10.0.0.2"]))]);
    who.learn(at(100), &gone("a"));
    who.learn(at(110), &here("a", "a", whose(&[2], &["10.0.0.2"])));
    who.tick(at(1000));
    check(&who, &client(None, "10.0.0.2"), Some("a"));
}

#[test]
fn an_address_that_is_used_again_is_the_new_ones() {
    let mut who = who(&[here("a", "a", whose(&[2], &["10.0.0.2"]))]);
    who.learn(at(5), &here("b", "b", whose(&[3], &["10.0.0.2"])));
    check(&who, &client(None, "10.0.0.2"), Some("b"));
    // That the old one is gone may come later.
    who.learn(at(6), &gone("a"));
    who.tick(at(100));
    check(&who, &client(None, "10.0.0.2"), Some("b"));
    check(&who, &client(Some(3), "10.0.0.2"), Some("b"));
}

#[test]
fn a_key_that_two_have_goes_back_to_the_one_who_stays() {
    let mut who = who(&[here("a", "a", whose(&[2], &[])), here("b", "b", whose(&[2], &[]))]);
    check(&who, &client(Some(2), "10.0.0.2"), Some("b"));
    who.learn(at(1), &gone("b"));
    who.tick(at(100));
    check(&who, &client(Some(2), "10.0.0.2"), Some("a"));
}

#[test]
fn keys_that_an_instance_no_longer_has_lead_nowhere() {
    let mut who = who(&[here("a", "a", whose(&[2], &["10.0.0.2"]))]);
    who.learn(at(1), &here("a", "a", whose(&[4], &["10.0.0.4"])));
    check(&who, &client(Some(2), "10.0.0.2"), None);
    check(&who, &client(Some(4), "10.0.0.4"), Some("a"));
}

#[test]
fn processes_of_the_node_are_known_by_their_cgroup() {
    let unit = |name, cgroup| Fact::Here {
        whose: Whose { cgroups: vec![CgroupId(cgroup)], ..Whose::default() },
        instance: pod(name, name),
    };
    let who = who(&[unit("a", 7), unit("b", 8)]);
    let node = client(None, "192.0.2.1");
    let name = |cgroup| who.client(&node, cgroup).map(|known| known.instance.name.clone());
    assert_eq!(name(Some(CgroupId(7))).as_deref(), Some("a"));
    assert_eq!(name(Some(CgroupId(8))).as_deref(), Some("b"));
    assert_eq!(name(Some(CgroupId(9))), None);
    assert_eq!(name(None), None);
}

#[test]
fn several_behind_one_address_are_never_one() {
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let mut askers = Askers::default();
    assert!(askers.behind(address).is_nobody());
    askers.note(at(1), address, Some(pod("a", "a")));
    askers.note(at(1), address, Some(pod("a", "a")));
    assert_eq!(askers.behind(address).only().map(|one| one.name.as_str()), Some("a"));
    askers.note(at(1), address, None);
    assert_eq!((askers.behind(address).only(), askers.behind(address).others), (None, true));
    for number in 0..20 {
        askers.note(at(1), address, Some(pod(&format!("p{number}"), "p")));
    }
    assert_eq!(askers.behind(address).instances.len(), 8);
    // Those who are gone are not meant any more, nor are those who asked before anybody was known.
    askers.note(at(400), address, Some(pod("new", "new")));
    assert_eq!(askers.behind(address).only().map(|one| one.name.as_str()), Some("new"));
}

#[test]
fn a_server_is_known_where_it_was_seen() {
    let who =
        who(&[here("a", "a", whose(&[2], &["10.0.0.2"])), here("dns", "dns", whose(&[3], &["10.0.0.53"]))]);
    let place = |ifindex| Place {
        ifindex: Ifindex(ifindex),
        kind: InterfaceKind::Pod,
        direction: Direction::Egress,
        local_socket: None,
        cgroup: None,
    };
    let parties = |vantage, ifindex, server: &str| Parties {
        vantage,
        place: Some(place(ifindex)),
        client: "10.0.0.2:4000".parse().unwrap(),
        server: server.parse().unwrap(),
        transport: Transport::Udp,
    };
    let names = |parties: Parties| {
        let name = |known: Option<&Known>| known.map(|known| known.instance.name.clone());
        [name(who.client_of(&parties)), name(who.server_of(&parties))]
    };
    let (a, dns) = (Some("a".to_owned()), Some("dns".to_owned()));
    assert_eq!(names(parties(Vantage::Client, 2, "10.0.0.53:53")), [a.clone(), dns.clone()]);
    // At the server's own interface: the client is not whose interface it is.
    assert_eq!(names(parties(Vantage::Server, 3, "10.0.0.53:53")), [a.clone(), dns]);
    assert_eq!(names(parties(Vantage::Client, 2, "10.96.0.10:53")), [a, None]);
}

#[test]
fn who_asked_from_the_nodes_address_is_kept_apart_and_together() {
    let unit = |name, cgroup| Fact::Here {
        whose: Whose { cgroups: vec![CgroupId(cgroup)], ..Whose::default() },
        instance: pod(name, name),
    };
    let mut who = who(&[unit("a", 7), unit("b", 8)]);
    let parties = |cgroup: u64| Parties {
        vantage: Vantage::Client,
        place: Some(Place {
            ifindex: Ifindex(2),
            kind: InterfaceKind::Uplink,
            direction: Direction::Egress,
            local_socket: Some(true),
            cgroup: Some(CgroupId(cgroup)),
        }),
        client: "192.0.2.1:4000".parse().unwrap(),
        server: "192.0.2.53:53".parse().unwrap(),
        transport: Transport::Udp,
    };
    let node = client(None, "192.0.2.1");
    for (cgroup, asks, only) in [(7, Some("a"), Some("a")), (8, Some("b"), None), (9, None, None)] {
        let parties = parties(cgroup);
        assert_eq!(who.client_of(&parties).map(|known| known.instance.name.as_str()), asks);
        who.asked(at(1), &parties);
        assert_eq!(who.behind(&node).only().map(|one| one.name.as_str()), only);
    }
    assert_eq!((who.behind(&node).instances.len(), who.behind(&node).others), (2, true));
}

#[test]
fn endless_pods_leave_nothing_behind() {
    let mut who = Who::default();
    for number in 0..50_000_u64 {
        let (name, now) = (format!("job-{number}"), at(number));
        who.learn(now, &here(&name, &name, whose(&[number as u32], &["10.0.0.2"])));
        who.learn(now, &gone(&name));
        if number % 100 == 0 {
            who.forget_workloads(|_| false);
        }
    }
    assert!(who.by_id.len() <= 61, "{}", who.by_id.len());
    assert!(who.instances.len() <= 62 && who.by_interface.len() <= 61 && who.going.len() <= 61);
    who.tick(at(60_000));
    who.forget_workloads(|_| false);
    assert!(who.is_empty() && who.by_address.is_empty());
    assert_eq!(who.workload(WorkloadId(1)), None);
    assert_eq!(who.namespace(HOST), Some("host"));
}

#[test]
fn there_is_room_for_so_many() {
    let mut who = Who::default();
    for number in 0..MAX_INSTANCES + 10 {
        who.learn(at(0), &here(&number.to_string(), "a", whose(&[number as u32], &[])));
    }
    assert_eq!(who.by_id.len(), MAX_INSTANCES);
    check(&who, &client(Some(MAX_INSTANCES as u32 + 1), "10.0.0.1"), None);
    // One that is gone gives way.
    who.learn(at(0), &gone("0"));
    who.learn(at(0), &here("new", "a", whose(&[99_999], &[])));
    check(&who, &client(Some(99_999), "10.0.0.1"), Some("new"));
    check(&who, &client(Some(0), "10.0.0.1"), None);
}

#[test]
fn a_workload_keeps_its_number_while_it_is_wanted() {
    let mut who = who(&[here("a", "shop", whose(&[2], &[]))]);
    let number =
        |who: &Who, interface| who.client(&client(Some(interface), "10.0.0.2"), None).unwrap().workload;
    let first = number(&who, 2);
    assert_eq!(who.gone_for(first, at(0)), None);
    who.learn(at(10), &gone("a"));
    who.tick(at(100));
    assert_eq!(who.gone_for(first, at(100)), Some(Duration::from_secs(90)));
    who.forget_workloads(|id| id == first);
    who.learn(at(200), &here("b", "shop", whose(&[3], &[])));
    assert_eq!((number(&who, 3), who.gone_for(first, at(200))), (first, None));
    who.learn(at(300), &gone("b"));
    who.tick(at(400));
    who.forget_workloads(|_| false);
    who.learn(at(500), &here("c", "shop", whose(&[4], &[])));
    assert_ne!(number(&who, 4), first);
}

#[test]
fn the_owner_may_come_later() {
    let mut who = who(&[here("uid", "uid", whose(&[2], &[]))]);
    let before = who.client(&client(Some(2), "10.0.0.2"), None).unwrap().workload;
    let renamed = who.learn(at(1), &here("uid", "cart", whose(&[2], &[])));
    let now = who.client(&client(Some(2), "10.0.0.2"), None).unwrap().workload;
    assert_eq!(renamed, Some((before, now)));
    assert_eq!(who.learn(at(2), &here("uid", "cart", whose(&[2], &["10.0.0.2"]))), None);
    // Another instance of the former workload is still there.
    who.learn(at(3), &here("other", "cart", whose(&[3], &[])));
    assert_eq!(who.learn(at(4), &here("uid", "basket", whose(&[2], &[]))), None);
}
