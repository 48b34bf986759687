//! Rates from buckets and from messages.

use super::*;
use crate::capture::counters::{AllowanceCount, LinkLocalCount, Method, RecentBucket, WatchedInterface};
use crate::correlate::Event;
use crate::engine::scene::{Say, Scene, Seen, at};

const POD: &str = "10.0.0.1:1000";
const VPC: &str = "169.254.169.253";
const A: u16 = 1;

/// Buckets of the uplink 2 (`ens5`) and the pod 4 (`eni1`): `TIME EGRESS INGRESS` each.
fn counters(uplink: &[(f64, u64, u64)], pod: &[(f64, u64, u64)]) -> CaptureCounters {
    let interface = |ifindex, name: &str, kind| WatchedInterface {
        ifindex: Ifindex(ifindex),
        name: name.into(),
        kind,
        method: Method::Tcx,
        hooks: 2,
    };
    let count = |name: &str, kind, buckets: &[(f64, u64, u64)]| LinkLocalCount {
        interface: name.into(),
        kind,
        service: "dns",
        egress: buckets.iter().map(|bucket| bucket.1).sum(),
        ingress: buckets.iter().map(|bucket| bucket.2).sum(),
        recent: buckets
            .iter()
            .map(|(begin, egress, ingress)| RecentBucket {
                begin: at(*begin),
                egress: *egress,
                ingress: *ingress,
            })
            .collect(),
    };
    CaptureCounters {
        interfaces: vec![
            interface(2, "ens5", InterfaceKind::Uplink),
            interface(4, "eni1", InterfaceKind::Pod),
        ],
        linklocal: vec![count("ens5", InterfaceKind::Uplink, uplink), count("eni1", InterfaceKind::Pod, pod)],
        linklocal_buckets: true,
        ..CaptureCounters::default()
    }
}

/// Seconds as `END PEAK`, in milliseconds.
fn seconds(rates: &mut Rates, tick: f64) -> Vec<(f64, u64)> {
    let mut seconds = Vec::new();
    rates.tick(at(tick), &mut |second| seconds.push(second));
    seconds.iter().map(|second| (second.end.since(at(0.0)).as_secs_f64() * 1e3, second.peak)).collect()
}

#[test]
fn windows_slide_by_a_tenth_of_a_second() {
    let mut rates = Rates::default();
    // 1,000 packets from 1.5 s to 2.5 s: no whole second of the clock has them all.
    let buckets: Vec<_> = (15..25).map(|slot| (f64::from(slot) * 100.0, 100, 90)).collect();
    rates.counters(at(3_050.0), &counters(&buckets, &[]));
    assert_eq!(seconds(&mut rates, 3_060.0), [(2_000.0, 500), (3_000.0, 1_000)]);
    assert_eq!(seconds(&mut rates, 9_000.0), []);
    // What is left of it reaches into the next second.
    rates.counters(at(4_050.0), &counters(&[], &[]));
    assert_eq!(seconds(&mut rates, 4_060.0), [(4_000.0, 400)]);
    rates.counters(at(5_050.0), &counters(&[], &[]));
    assert_eq!(seconds(&mut rates, 5_060.0), []);
    assert_eq!(rates.due, None);
}

#[test]
fn a_burst_of_a_tenth_of_a_second_shows() {
    let mut rates = Rates::default();
    rates.counters(at(1_000.0), &counters(&[(950.0, 1_200, 0)], &[]));
    let mut told = Vec::new();
    rates.tick(at(1_001.0), &mut |second| told.push(second));
    let [second] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((second.egress, second.peak), (Egress::Interface(Ifindex(2)), 1_200));
    assert_eq!(second.services, [(LinkLocalService::Dns, 1_200)]);
    assert!(second.by_kernel && second.spent.is_some() && second.allowance_exceeded.is_none());
}

#[test]
fn spenders_are_told_by_their_interface_and_address() {
    let mut scene = Scene::new();
    scene.seen = Seen::Pod(4);
    for number in 0..10_u16 {
        let name = format!("n{}.test", number % 2);
        scene.ask(f64::from(number), POD, VPC, number, A, &name);
    }
    scene.seen = Seen::Node(2);
    scene.ask(20.0, "10.1.0.7:2000", VPC, 77, A, "node.test");
    let mut rates = Rates::default();
    scene.told.events.iter().for_each(|event| rates.event(event));
    rates.counters(at(1_000.0), &counters(&[(0.0, 1_100, 0)], &[(0.0, 0, 600)]));
    let mut told = Vec::new();
    rates.tick(at(1_001.0), &mut |second| told.push(second));
    let spent = told.pop().and_then(|second| second.spent).unwrap();
    let spender = |interface, address: &str, packets| Spender {
        interface,
        address: Some(address.parse().unwrap()),
        packets,
    };
    assert_eq!(spent.spenders, [spender(Some(Ifindex(4)), "10.0.0.1", 600), spender(None, "10.1.0.7", 1)]);
    let names: Vec<_> = spent.names.iter().map(|(name, count)| (name.to_string(), *count)).collect();
    assert_eq!(names, [("n0.test.".to_owned(), 5), ("n1.test.".to_owned(), 5), ("node.test.".to_owned(), 1)]);
    assert_eq!((spent.queries, spent.repeated, spent.example.len()), (11, 8, 8));
    assert_eq!(spent.server, Some(VPC.parse().unwrap()));
}

#[test]
fn what_the_node_sends_beside_dns_is_its_own() {
    let mut rates = Rates::default();
    // The pod asks for metadata 30 times; what leaves beside it, the node itself has sent.
    let mut counters = counters(&[(0.0, 700, 0)], &[(0.0, 0, 700)]);
    for (count, packets) in [(0, (42, 40)), (1, (30, 30))] {
        let mut more = counters.linklocal[count].clone();
        more.service = "imds";
        more.recent[0].egress = packets.0;
        more.recent[0].ingress = packets.1;
        counters.linklocal.push(more);
    }
    rates.counters(at(1_000.0), &counters);
    let mut told = Vec::new();
    rates.tick(at(1_001.0), &mut |second| told.push(second));
    let spent = told.pop().and_then(|second| second.spent).unwrap();
    let spenders: Vec<_> =
        spent.spenders.iter().map(|spender| (spender.interface, spender.packets)).collect();
    assert_eq!(spenders, [(Some(Ifindex(4)), 730), (None, 12)]);
}

#[test]
fn without_buckets_the_messages_count() {
    let mut scene = Scene::new();
    for number in 0..100_u16 {
        scene.asked(f64::from(number) * 10.0, (POD, VPC), (number, A, "a.test"), Say::Address(60));
        scene.asked(
            f64::from(number) * 10.0,
            (POD, "169.254.20.10"),
            (number, A, "a.test"),
            Say::Address(60),
        );
    }
    let mut rates = Rates::default();
    scene.told.events.iter().for_each(|event| rates.event(event));
    assert_eq!(seconds(&mut rates, 2_100.0), []);
    let mut told = Vec::new();
    rates.tick(at(2_300.0), &mut |second| told.push(second));
    let [second] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((second.egress, second.peak, second.received), (Egress::File, 100, 100));
    assert!(!second.by_kernel && second.spent.is_none());
}

#[test]
fn a_packet_counts_where_it_leaves_and_once() {
    let events = |seen: &[Seen]| {
        let mut scene = Scene::new();
        for seen in seen {
            scene.seen = *seen;
            scene.ask(0.0, POD, VPC, 1, A, "a.test");
        }
        let mut rates = Rates::default();
        scene.told.events.iter().for_each(|event| rates.event(event));
        let mut told = Vec::new();
        rates.finish(&mut |second| told.push((second.egress, second.peak)));
        told
    };
    assert_eq!(events(&[Seen::Pod(4), Seen::Uplink(2)]), [(Egress::Interface(Ifindex(2)), 1)]);
    assert_eq!(events(&[Seen::Node(2)]), [(Egress::Interface(Ifindex(2)), 1)]);
    assert_eq!(events(&[Seen::Pod(4)]), []);
    // The same packet again in a file is a copy, or a retransmission if it comes later.
    assert_eq!(events(&[Seen::File, Seen::File]), [(Egress::File, 1)]);
}

#[test]
fn a_query_that_is_sent_again_is_another_packet() {
    let mut scene = Scene::new();
    scene.ask(0.0, POD, VPC, 1, A, "a.test");
    scene.ask(100.0, POD, VPC, 1, A, "a.test");
    // After its answer it is opened anew and repeated in one event: one packet.
    scene.answer(110.0, (POD, VPC), (1, A, "a.test"), Say::Address(60));
    scene.ask(200.0, POD, VPC, 1, A, "a.test");
    assert!(scene.told.events.iter().any(|event| matches!(event, Event::Retransmitted(_))));
    let mut rates = Rates::default();
    scene.told.events.iter().for_each(|event| rates.event(event));
    let mut told = Vec::new();
    rates.finish(&mut |second| told.push((second.peak, second.received)));
    // The second after it begins with windows that reach back.
    assert_eq!(told, [(3, 1), (2, 1)]);
}

#[test]
fn buckets_take_the_place_of_messages() {
    let mut scene = Scene::new();
    scene.seen = Seen::Node(2);
    scene.ask(0.0, POD, VPC, 1, A, "a.test");
    let mut rates = Rates::default();
    scene.told.events.iter().for_each(|event| rates.event(event));
    rates.counters(at(1_010.0), &counters(&[(0.0, 1, 1)], &[]));
    scene.told.events.iter().for_each(|event| rates.event(event));
    assert_eq!(seconds(&mut rates, 1_020.0), [(1_000.0, 1)]);
}

#[test]
fn what_the_driver_dropped_is_told_even_without_a_packet_of_ours() {
    let exceeded = |packets| CaptureCounters {
        allowances: vec![
            AllowanceCount { interface: "ens5".into(), counter: LIMIT_COUNTER.into(), packets },
            AllowanceCount {
                interface: "ens5".into(),
                counter: "pps_allowance_exceeded".into(),
                packets: 99,
            },
        ],
        ..counters(&[], &[])
    };
    let mut rates = Rates::default();
    let told = |rates: &mut Rates, now: f64| {
        let mut told = Vec::new();
        rates.tick(at(now), &mut |second| told.push((second.peak, second.allowance_exceeded)));
        told
    };
    rates.counters(at(1_000.0), &exceeded(0));
    assert_eq!(told(&mut rates, 1_001.0), []);
    rates.counters(at(2_000.0), &exceeded(7));
    assert_eq!(told(&mut rates, 2_001.0), [(0, Some(7))]);
    rates.counters(at(3_000.0), &CaptureCounters { ..exceeded(7) });
    assert_eq!(told(&mut rates, 3_001.0), []);
    let busy = CaptureCounters { linklocal: counters(&[(3_500.0, 900, 1)], &[]).linklocal, ..exceeded(10) };
    rates.counters(at(4_000.0), &busy);
    assert_eq!(told(&mut rates, 4_001.0), [(900, Some(3))]);
}

#[test]
fn memory_is_bounded_and_silence_costs_nothing() {
    let mut rates = Rates::default();
    for ifindex in 0..1_000 {
        rates.count(Egress::Interface(Ifindex(ifindex)), at(f64::from(ifindex)), Some(LinkLocalService::Dns));
    }
    assert_eq!(rates.egresses.len(), MAX_EGRESSES);
    // A year later.
    let later = at(0.0) + Duration::from_secs(31_536_000);
    rates.count(Egress::File, later, Some(LinkLocalService::Dns));
    let mut told = 0;
    rates.tick(later + Duration::from_secs(3), &mut |_| told += 1);
    assert!(told < 200, "{told}");
    assert_eq!(rates.due, None);
    // The end of time does no harm.
    rates.count(Egress::File, Timestamp::from_nanos(u64::MAX), Some(LinkLocalService::Dns));
    rates.tick(Timestamp::from_nanos(u64::MAX), &mut |_| {});
    rates.finish(&mut |_| {});
}
