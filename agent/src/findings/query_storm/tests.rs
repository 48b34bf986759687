//! What is asked too often.

use crate::engine::scene::{Say, Scene};
use crate::findings::{Confidence, FindingId, Severity};

const ID: FindingId = FindingId::QueryStorm;
const SERVER: &str = "10.96.0.10";

/// `count` queries, one each `gap` milliseconds, for names and from clients in turn.
fn play(count: u16, gap: f64, names: usize, clients: usize, ttl: u32) -> Scene {
    let mut scene = Scene::new();
    for number in 0..count {
        let name = format!("n{}.test", usize::from(number) % names);
        let client = format!("10.0.0.{}:1000", usize::from(number) % clients + 1);
        scene.asked(f64::from(number) * gap, (&client, SERVER), (number, 1, &name), Say::Address(ttl));
    }
    scene.end(f64::from(count) * gap + 5_000.0);
    scene
}

#[test]
fn ten_a_second_is_a_storm() {
    let scene = play(300, 50.0, 1, 1, 60);
    let found = scene.expect(ID, Severity::Low, Confidence::Medium);
    assert!(found.details.summary.contains("n0.test. A"), "{}", found.details.summary);
    assert!(found.details.because[0].contains("it is good for 60 s"), "{:?}", found.details.because);
    assert_eq!(scene.told.findings, ["opened query-storm 10.0.0.1 low medium"]);
}

#[test]
fn short_lifetimes_are_meant_to_be_asked_often() {
    for ttl in [0, 1, 5] {
        assert_eq!(play(300, 50.0, 1, 1, ttl).found(ID).len(), 0, "{ttl}");
    }
}

#[test]
fn many_names_or_many_clients_are_no_storm() {
    assert_eq!(play(600, 20.0, 300, 1, 60).found(ID).len(), 0);
    // Each of 50 clients asks once every second.
    assert_eq!(play(600, 20.0, 1, 50, 60).found(ID).len(), 0);
}

#[test]
fn a_few_a_second_are_none() {
    assert_eq!(play(100, 500.0, 1, 1, 600).found(ID).len(), 0);
    assert_eq!(play(90, 1_000.0, 1, 1, 600).found(ID).len(), 0);
}

#[test]
fn retransmissions_are_one_query() {
    let mut scene = Scene::new();
    scene.asked(0.0, ("10.0.0.1:1000", SERVER), (1, 1, "a.test"), Say::Address(60));
    for number in 0..300 {
        scene.ask(100.0 + f64::from(number) * 20.0, "10.0.0.1:1000", SERVER, 2, 1, "a.test");
    }
    scene.end(20_000.0);
    assert_eq!(scene.found(ID).len(), 0);
}
