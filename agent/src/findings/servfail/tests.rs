//! When SERVFAIL is a burst, and whose fault it is.

use crate::engine::scene::{Say, Scene};
use crate::findings::{Confidence, FindingId, Severity};

const ID: FindingId = FindingId::ServFail;
const POD: &str = "10.0.0.1:1000";
const OTHER: &str = "10.0.0.2:1000";
const SERVER: &str = "10.96.0.10";
const SF: Say = Say::Code(2);
const FINE: Say = Say::Address(60);

/// Plays `CLIENT NAME` every 100 ms.
fn play(steps: &[(&str, &str, Say)]) -> Scene {
    let mut scene = Scene::new();
    for (number, (client, name, say)) in steps.iter().enumerate() {
        scene.asked(number as f64 * 100.0, (client, SERVER), (number as u16, 1, name), *say);
    }
    scene.end(20_000.0);
    scene
}

#[test]
fn a_server_that_fails_is_found() {
    let scene = play(&[
        (POD, "a.test", SF),
        (POD, "b.example", SF),
        (POD, "c.org", SF),
        (POD, "d.net", SF),
        (POD, "e.com", SF),
    ]);
    let found = scene.expect(ID, Severity::High, Confidence::High);
    assert_eq!(found.details.summary, "Server 10.96.0.10 answers SERVFAIL to 100 % of its queries");
    assert_eq!(found.details.example.len(), 2);
    assert!(found.subject.client.is_some() && found.subject.server.is_some());
}

#[test]
fn of_several_clients_it_is_about_the_server() {
    let mut steps = vec![(POD, "a.test", SF), (OTHER, "b.example", SF), (POD, "c.org", SF)];
    steps.extend([(OTHER, "d.net", SF), (POD, "e.com", SF), (OTHER, "f.com", SF)]);
    let scene = play(&steps);
    assert_eq!(scene.expect(ID, Severity::High, Confidence::High).subject.client, None);
    // And it does not change back and forth.
    assert_eq!(scene.told.findings, ["opened servfail 10.96.0.10 high high"]);
}

#[test]
fn a_zone_that_is_broken_is_named() {
    let names = ["a", "b", "c", "d", "e", "f"].map(|host| format!("{host}.broken.example"));
    let failing = names.iter().map(|name| (POD, name.as_str(), SF));
    let alone = play(&failing.clone().collect::<Vec<_>>());
    let found = alone.expect(ID, Severity::Warning, Confidence::Low);
    assert!(found.details.summary.ends_with("for all names in broken.example."), "{}", found.details.summary);
    let others = play(&failing.flat_map(|step| [step, (POD, "www.fine.test", FINE)]).collect::<Vec<_>>());
    let found = others.expect(ID, Severity::Low, Confidence::Medium);
    assert!(found.details.summary.contains("broken.example.: that zone is broken"));
    assert!(found.details.remedies[0].lines[0].contains("broken.example"));
}

#[test]
fn few_or_seldom_is_no_burst() {
    let four = [(POD, "a.test", SF), (POD, "b.org", SF), (POD, "c.com", SF), (POD, "d.net", SF)];
    assert_eq!(play(&four).told.findings, [""; 0]);
    // Five of 30 are 17 %.
    let mut rare = vec![(POD, "a.test", FINE); 25];
    rare.extend(four);
    rare.push((POD, "e.example", SF));
    assert_eq!(play(&rare).told.findings, [""; 0]);
    // Five, but not within 10 s.
    let mut scene = Scene::new();
    for (number, name) in ["a.test", "b.org", "c.com", "d.net", "e.example"].into_iter().enumerate() {
        scene.asked(number as f64 * 3_000.0, (POD, SERVER), (number as u16, 1, name), SF);
    }
    assert_eq!(scene.found(ID).len(), 0);
}

#[test]
fn musl_repeating_one_query_is_no_burst() {
    // Up to four sends of each of a pair within 2.5 s (facts.md section 1.1).
    let mut scene = Scene::new();
    for number in 0..8 {
        let qtype = if number % 2 == 0 { 1 } else { 28 };
        scene.asked(f64::from(number) * 3.0, (POD, SERVER), (7 + qtype, qtype, "a.test"), SF);
    }
    assert_eq!(scene.found(ID).len(), 0);
}

#[test]
fn musl_failing_for_several_names_is_one() {
    let mut scene = Scene::new();
    for lookup in 0..3_u16 {
        for number in 0..12_u16 {
            let (qtype, name) = (if number % 2 == 0 { 1 } else { 28 }, format!("n{lookup}.test"));
            let millis =
                f64::from(lookup) * 5_010.0 + f64::from(number % 6) + f64::from(number / 6) * 2_503.0;
            scene.asked(millis, (POD, SERVER), (lookup * 100 + qtype, qtype, &name), SF);
        }
    }
    assert_eq!(scene.found(ID).len(), 1);
}

#[test]
fn systemd_resolved_fails_single_labels_by_design() {
    let mut scene = Scene::new();
    for (number, name) in ["a", "b", "c", "d", "e", "f"].into_iter().enumerate() {
        scene.asked(number as f64 * 10.0, (POD, "127.0.0.53"), (number as u16, 1, name), SF);
    }
    assert_eq!(scene.found(ID).len(), 0);
}
