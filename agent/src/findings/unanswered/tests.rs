//! Who is cut off from whom, and what is not said.

use crate::capture::counters::{CaptureCounters, DropReason};
use crate::capture::vantage::Vantage;
use crate::engine::scene::{Say, Scene, Seen};
use crate::findings::{Confidence, FindingId, Severity};

const ID: FindingId = FindingId::Unanswered;
const POD: &str = "10.0.0.1:1000";
const SERVER: &str = "10.96.0.10";
const FINE: Say = Say::Address(60);

/// musl asks in vain: a query, and again after 2.5 s.
fn in_vain(scene: &mut Scene, millis: f64, client: &str, server: &str, id: u16, name: &str) {
    scene.ask(millis, client, server, id, 1, name);
    scene.ask(millis + 2_500.0, client, server, id, 1, name);
}

#[test]
fn one_client_and_one_server_that_does_not_answer() {
    let mut scene = Scene::new();
    in_vain(&mut scene, 0.0, POD, SERVER, 1, "a.test");
    in_vain(&mut scene, 5_000.0, POD, SERVER, 2, "a.test");
    scene.tick(20_000.0);
    let found = scene.expect(ID, Severity::High, Confidence::Medium);
    assert_eq!(found.details.summary, "Client 10.0.0.1 gets no response from server 10.96.0.10");
    assert_eq!(found.details.example.len(), 2);
    let said = [
        "opened unanswered 10.0.0.1@10.96.0.10 low low",
        "changed unanswered 10.0.0.1@10.96.0.10 high medium",
    ];
    assert_eq!(scene.told.findings, said);
}

#[test]
fn both_types_of_one_lookup_are_a_note() {
    let mut scene = Scene::new();
    for qtype in [1, 28] {
        scene.ask(f64::from(qtype), POD, SERVER, qtype, qtype, "a.test");
        scene.ask(2_500.0 + f64::from(qtype), POD, SERVER, qtype, qtype, "a.test");
    }
    scene.tick(20_000.0);
    assert_eq!(scene.expect(ID, Severity::Low, Confidence::Low).count, 1);
}

#[test]
fn a_server_that_answers_nobody() {
    let mut scene = Scene::new();
    for number in 0..4_u16 {
        let client = format!("10.0.0.{}:1000", number % 2 + 1);
        in_vain(&mut scene, f64::from(number) * 3_000.0, &client, SERVER, number, &format!("n{number}.test"));
    }
    for number in 4..8_u16 {
        let client = format!("10.0.0.{}:1000", number % 2 + 1);
        in_vain(&mut scene, f64::from(number) * 3_000.0, &client, SERVER, number, &format!("n{number}.test"));
    }
    scene.tick(60_000.0);
    let found = scene.found(ID);
    let [server] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(server.subject.client, None);
    assert_eq!((server.severity, server.confidence), (Severity::High, Confidence::High));
    assert_eq!(server.details.summary, "Server 10.96.0.10 answers nobody: several clients wait in vain");
}

#[test]
fn a_client_that_nobody_answers() {
    let mut scene = Scene::new();
    for number in 0..4_u16 {
        let server = if number % 2 == 0 { SERVER } else { "10.96.0.11" };
        in_vain(&mut scene, f64::from(number) * 3_000.0, POD, server, number, "a.test");
    }
    scene.tick(60_000.0);
    let found = scene.found(ID);
    let [found] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(found.subject.server, None);
    assert_eq!((found.severity, found.confidence), (Severity::High, Confidence::High));
    assert_eq!(found.details.remedies.len(), 1);
}

#[test]
fn some_names_only() {
    let mut scene = Scene::new();
    for number in 0..10_u16 {
        scene.asked(f64::from(number) * 100.0, (POD, SERVER), (100 + number, 1, "fine.test"), FINE);
    }
    in_vain(&mut scene, 2_000.0, POD, SERVER, 1, "slow.example");
    in_vain(&mut scene, 5_000.0, POD, SERVER, 2, "slow.example");
    scene.tick(20_000.0);
    let found = scene.expect(ID, Severity::Warning, Confidence::Medium);
    assert!(found.details.summary.ends_with("for slow.example."), "{}", found.details.summary);
}

/// glibc: a query to each server in turn, 5 s later the second one answers.
fn first_is_dead(scene: &mut Scene, millis: f64, id: u16, (dead, good): (&str, &str), wait: f64) {
    scene.ask(millis, POD, dead, id, 1, "a.test");
    scene.asked(millis + wait, (POD, good), (id, 1, "a.test"), FINE);
}

#[test]
fn another_server_takes_the_place_of_the_dead_one() {
    let mut scene = Scene::new();
    for id in 0..4_u16 {
        first_is_dead(&mut scene, f64::from(id) * 8_000.0, id, ("10.9.9.9", SERVER), 5_000.0);
    }
    scene.tick(60_000.0);
    let found = scene.expect(ID, Severity::Warning, Confidence::High);
    let summary = "Server 10.9.9.9 does not answer client 10.0.0.1; another server does";
    assert_eq!(found.details.summary, summary);
    let lines = &found.details.remedies[0].lines;
    assert_eq!(*lines, ["sed -i '/^nameserver 10.9.9.9$/d' /etc/resolv.conf"]);
}

#[test]
fn nothing_waits_where_all_servers_are_asked_at_once() {
    let mut scene = Scene::new();
    for id in 0..4_u16 {
        first_is_dead(&mut scene, f64::from(id) * 8_000.0, id, ("10.9.9.9", SERVER), 1.0);
    }
    scene.tick(60_000.0);
    scene.expect(ID, Severity::Low, Confidence::Medium);
}

#[test]
fn a_forwarder_with_many_upstreams_is_not_cut_off() {
    let mut scene = Scene::new();
    for id in 0..8_u16 {
        let good = format!("10.9.8.{}", id % 4);
        first_is_dead(&mut scene, f64::from(id) * 8_000.0, id, ("10.9.9.9", &good), 5_000.0);
    }
    scene.tick(90_000.0);
    let found = scene.found(ID);
    let [found] = found.as_slice() else { panic!("{found:#?}") };
    assert!(found.severity < Severity::High && found.subject.server.is_some());
    assert!(scene.told.findings.iter().all(|line| !line.contains(" high ")), "{:?}", scene.told.findings);
}

#[test]
fn one_lost_query_among_many_is_a_note() {
    let mut scene = Scene::new();
    for number in 0..300_u16 {
        let name = format!("n{}.test", number % 7);
        scene.asked(f64::from(number) * 100.0, (POD, SERVER), (number, 1, &name), FINE);
        if number % 100 == 50 {
            in_vain(&mut scene, f64::from(number) * 100.0 + 10.0, POD, SERVER, 1000 + number, &name);
        }
    }
    scene.tick(60_000.0);
    scene.expect(ID, Severity::Low, Confidence::Low);
}

#[test]
fn a_pod_that_was_shut_down_waits_for_nothing() {
    let mut scene = Scene::new();
    for id in 0..4 {
        scene.ask(f64::from(id), POD, SERVER, id, 1, "a.test");
    }
    scene.tick(20_000.0);
    assert_eq!(scene.found(ID).len(), 0);
}

#[test]
fn a_repetition_that_is_answered_is_no_loss() {
    let mut scene = Scene::new();
    for id in 0..4_u16 {
        let begin = f64::from(id) * 4_000.0;
        in_vain(&mut scene, begin, POD, SERVER, id, "a.test");
        scene.answer(begin + 2_510.0, (POD, SERVER), (id, 1, "a.test"), FINE);
    }
    scene.tick(40_000.0);
    assert_eq!(scene.found(ID).len(), 0);
}

#[test]
fn a_reply_that_another_interface_saw_is_one() {
    let mut scene = Scene::new();
    for id in 0..3_u16 {
        let begin = f64::from(id) * 4_000.0;
        scene.seen = Seen::Pod(4);
        in_vain(&mut scene, begin, POD, SERVER, id, "a.test");
        scene.seen = Seen::Pod(5);
        scene.answer(begin + 2_600.0, (POD, SERVER), (id, 1, "a.test"), FINE);
    }
    scene.tick(40_000.0);
    assert_eq!(scene.found(ID).len(), 0);
}

#[test]
fn what_may_have_been_lost_on_its_way_to_us_is_held_back() {
    let mut scene = Scene::new();
    let lost = |packets| CaptureCounters {
        drops: [((Vantage::Client, DropReason::RingFull), packets)].into(),
        ..CaptureCounters::default()
    };
    scene.counters(0.0, &lost(0));
    in_vain(&mut scene, 10.0, POD, SERVER, 1, "a.test");
    in_vain(&mut scene, 5_000.0, POD, SERVER, 2, "a.test");
    scene.counters(9_000.0, &lost(50));
    scene.tick(20_000.0);
    assert_eq!(scene.found(ID).len(), 0);
    let held_back: Vec<_> = scene
        .engine
        .insight()
        .unwrap()
        .findings()
        .ledger()
        .held_back()
        .map(|note| (note.id, note.lost))
        .collect();
    assert_eq!(held_back, [(ID, 50)]);
}

#[test]
fn answers_that_come_late_are_not_missing() {
    let mut scene = Scene::new();
    for id in 0..6_u16 {
        let (begin, name) = (f64::from(id) * 9_000.0, format!("n{id}.test"));
        scene.ask(begin, POD, SERVER, id, 1, &name);
        scene.answer(begin + 7_000.0, (POD, SERVER), (id, 1, &name), FINE);
    }
    scene.tick(90_000.0);
    assert!(scene.found(ID).iter().all(|found| found.severity == Severity::Low), "{:?}", scene.told.findings);
    assert_eq!(scene.found(FindingId::LateReply).len(), 1);
}
