//! Which queries a cache would have answered.

use super::*;
use crate::capture::frame::Timestamp;
use crate::engine::scene::{Say, Scene, Seen, at};

const POD: &str = "10.0.0.1:1000";
const OTHER: &str = "10.0.0.2:1000";
const COREDNS: &str = "10.96.0.10";
const VPC: &str = "169.254.169.253";
const A: u16 = 1;
const AAAA: u16 = 28;

fn savings(scene: &Scene) -> (u64, u64) {
    let CacheSavings { queries, hits, .. } = scene.engine.insight().unwrap().cache().savings();
    (queries, hits)
}

/// Plays questions `TIME CLIENT NAME` with what is said to each, and gives queries and hits.
#[track_caller]
fn check(steps: &[(f64, &str, &str, Say)], expected: (u64, u64)) {
    let mut scene = Scene::new();
    for (number, (millis, client, name, say)) in steps.iter().enumerate() {
        scene.asked(*millis, (client, COREDNS), (number as u16, A, name), *say);
    }
    assert_eq!(savings(&scene), expected);
}

#[test]
fn an_answer_is_kept_for_its_lifetime_in_whole_seconds() {
    let ttl = Say::Address(30);
    check(&[(500.0, POD, "a.test", ttl), (30_400.0, POD, "a.test", ttl)], (2, 1));
    check(&[(500.0, POD, "a.test", ttl), (31_100.0, POD, "a.test", ttl)], (2, 0));
    // It is for all clients, and an answer out of the cache does not renew it.
    let again =
        [(500.0, POD, "a.test", ttl), (20_000.0, OTHER, "A.TEST", ttl), (40_000.0, OTHER, "a.test", ttl)];
    check(&again, (3, 1));
}

#[test]
fn negative_answers_are_kept_if_they_say_how_long() {
    check(&[(0.0, POD, "a.test", Say::NxDomain(30)), (20e3, POD, "a.test", Say::NxDomain(30))], (2, 1));
    check(&[(0.0, POD, "a.test", Say::NoData(30)), (20e3, POD, "a.test", Say::NoData(30))], (2, 1));
    for never in [Say::Code(0), Say::Code(3), Say::Code(2), Say::Code(5), Say::Truncated, Say::Address(0)] {
        check(&[(0.0, POD, "a.test", never), (100.0, POD, "a.test", never)], (2, 0));
    }
    // An hour at most, and a day.
    check(&[(0.0, POD, "a.test", Say::NxDomain(90_000)), (3_602e3, POD, "a.test", Say::NxDomain(9))], (2, 0));
    check(&[(0.0, POD, "a.test", Say::Address(90_000)), (86_402e3, POD, "a.test", Say::Address(9))], (2, 0));
}

#[test]
fn types_are_kept_apart() {
    let mut scene = Scene::new();
    scene.asked(0.0, (POD, COREDNS), (1, A, "a.test"), Say::Address(30));
    scene.asked(10.0, (POD, COREDNS), (2, AAAA, "a.test"), Say::NoData(30));
    scene.asked(20.0, (POD, COREDNS), (3, AAAA, "a.test"), Say::NoData(30));
    assert_eq!(savings(&scene), (3, 1));
}

#[test]
fn queries_that_wait_together_are_one() {
    let mut scene = Scene::new();
    scene.ask(0.0, POD, COREDNS, 1, A, "a.test");
    scene.ask(1.0, OTHER, COREDNS, 2, A, "a.test");
    // The later is answered first.
    scene.answer(5.0, (OTHER, COREDNS), (2, A, "a.test"), Say::Address(30));
    scene.answer(6.0, (POD, COREDNS), (1, A, "a.test"), Say::Address(30));
    assert_eq!(savings(&scene), (2, 1));
}

#[test]
fn an_unanswered_query_may_be_a_hit_and_fills_nothing() {
    let mut scene = Scene::new();
    scene.ask(0.0, POD, COREDNS, 1, A, "a.test");
    scene.asked(10_000.0, (POD, COREDNS), (2, A, "a.test"), Say::Address(30));
    scene.ask(11_000.0, POD, COREDNS, 3, A, "a.test");
    scene.tick(20_000.0);
    assert_eq!(savings(&scene), (3, 1));
}

#[test]
fn only_the_client_s_side_counts() {
    let mut scene = Scene::new();
    for seen in [Seen::Pod(4), Seen::Uplink(2)] {
        scene.seen = seen;
        scene.ask(0.0, POD, VPC, 1, A, "a.test");
    }
    for seen in [Seen::Uplink(2), Seen::Pod(4)] {
        scene.seen = seen;
        scene.answer(5.0, (POD, VPC), (1, A, "a.test"), Say::Address(30));
    }
    assert_eq!(savings(&scene), (1, 0));
}

#[test]
fn what_coredns_asks_for_a_pod_is_no_hit() {
    let mut scene = Scene::new();
    scene.ask(0.0, POD, COREDNS, 1, A, "a.test");
    scene.asked(1.0, (OTHER, VPC), (2, A, "a.test"), Say::Address(30));
    scene.answer(4.0, (POD, COREDNS), (1, A, "a.test"), Say::Address(30));
    assert_eq!(savings(&scene), (2, 0));
}

#[test]
fn the_busiest_second_of_the_vpc_resolver_is_told_with_and_without() {
    let mut scene = Scene::new();
    // 200 names, each asked five times within a second.
    for number in 0..1000_u16 {
        let name = format!("n{}.test", number % 200);
        scene.asked(f64::from(number), (POD, VPC), (number, A, &name), Say::Address(30));
    }
    scene.asked(5_000.0, (POD, COREDNS), (1, A, "a.test"), Say::Address(30));
    let savings = scene.engine.insight().unwrap().cache().savings();
    let expected = CacheSavings { queries: 1001, hits: 800, linklocal_peak: 1000, linklocal_peak_left: 200 };
    assert_eq!(savings, expected);
}

#[test]
fn a_client_that_repeats_itself_is_noted() {
    let repeats = |ttl: u32, clients: &[&str], gap: f64| {
        let (mut cache, mut scene) = (ShadowCache::default(), Scene::new());
        for number in 0..35_u16 {
            let client = clients[usize::from(number) % clients.len()];
            scene.asked(f64::from(number) * gap, (client, COREDNS), (number, A, "a.test"), Say::Address(ttl));
        }
        let mut noted = Vec::new();
        for event in &scene.told.events {
            cache.event(event);
            noted.extend(cache.take_repeats());
        }
        noted
    };
    let noted = repeats(60, &[POD], 100.0);
    let expected = Repeat {
        client: ClientId { interface: None, address: "10.0.0.1".parse().unwrap() },
        question: noted[0].question.clone(),
        server: COREDNS.parse().unwrap(),
        ttl: 60,
        times: REPEATS,
        at: at(1_000.0),
    };
    assert_eq!((noted.len(), &noted[0]), (3, &expected));
    // A short TTL is meant to be asked again; now and then is no storm.
    assert_eq!(repeats(5, &[POD], 100.0), []);
    assert_eq!(repeats(60_000, &[POD], 11_000.0), []);
    // Of two the first is followed.
    assert_eq!(repeats(60, &[POD, OTHER], 100.0).len(), 1);
}

#[test]
fn the_table_does_not_grow() {
    let mut table = Table::default();
    let time = Timestamp::from_nanos(1_700_000_000_000_000_000);
    for key in 0..1_000_000_u64 {
        let key = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        table.entry(key, time).keep(time, 30, true, 1);
        assert!(table.entry(key, time).lives(time));
    }
    assert_eq!(table.bytes(), 1 << 20);
}
