//! What is refused, and to whom.

use crate::engine::scene::{Say, Scene};
use crate::findings::{Confidence, FindingId, Severity};

const ID: FindingId = FindingId::Refused;
const POD: &str = "10.0.0.1:1000";
const OTHER: &str = "10.0.0.2:1000";
const SERVER: &str = "10.96.0.10";
const REFUSED: Say = Say::Code(5);

fn play(steps: &[(&str, &str, Say)]) -> Scene {
    let mut scene = Scene::new();
    for (number, (client, name, say)) in steps.iter().enumerate() {
        scene.asked(number as f64 * 1_000.0, (client, SERVER), (number as u16, 1, name), *say);
    }
    scene.end(20_000.0);
    scene
}

#[test]
fn once_is_a_note_also_for_both_types() {
    let mut scene = Scene::new();
    for qtype in [1, 28] {
        scene.asked(f64::from(qtype), (POD, SERVER), (qtype, qtype, "a.test"), REFUSED);
    }
    scene.end(20_000.0);
    scene.expect(ID, Severity::Low, Confidence::Low);
    play(&[(POD, "a.test", REFUSED)]).expect(ID, Severity::Low, Confidence::Low);
}

#[test]
fn a_client_that_is_not_allowed_is_told_which_line_helps() {
    let scene = play(&[(POD, "a.test", REFUSED), (POD, "a.test", REFUSED)]);
    let found = scene.expect(ID, Severity::Warning, Confidence::High);
    assert_eq!(found.details.remedies[0].lines, ["access-control: 10.0.0.1/32 allow"]);
    assert_eq!(scene.told.findings.len(), 2, "{:?}", scene.told.findings);
}

#[test]
fn a_server_that_refuses_some_may_have_too_many() {
    let mut steps = vec![(POD, "a.test", Say::Address(60)); 5];
    steps.extend([(POD, "a.test", REFUSED), (POD, "a.test", REFUSED)]);
    let scene = play(&steps);
    let found = scene.expect(ID, Severity::Warning, Confidence::High);
    assert!(found.details.remedies[0].lines.concat().contains("max_concurrent"));
    assert_eq!(
        found.details.summary,
        "Server 10.96.0.10 refuses 29 % of the queries of 10.0.0.1, e.g. for a.test."
    );
}

#[test]
fn of_several_clients_it_is_about_the_server() {
    let scene = play(&[(POD, "a.test", REFUSED), (OTHER, "b.test", REFUSED), (OTHER, "b.test", REFUSED)]);
    let found = scene.found(ID);
    let [server] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((server.subject.client, server.severity, server.count), (None, Severity::Warning, 3));
    let said = [
        "opened refused 10.0.0.1@10.96.0.10 low low",
        "opened refused 10.96.0.10 low low",
        "closed refused 10.0.0.1@10.96.0.10 low low",
        "changed refused 10.96.0.10 warning high",
    ];
    assert_eq!(scene.told.findings, said);
}

#[test]
fn other_codes_are_not_refused() {
    for code in [0, 2, 3, 4] {
        let scene = play(&[(POD, "a.test", Say::Code(code)), (POD, "a.test", Say::Code(code))]);
        assert_eq!(scene.found(ID).len(), 0, "{code}");
    }
}
