//! AAAA that is never there.

use crate::engine::scene::{Say, Scene};
use crate::findings::{FindingId, Severity};

const A: u16 = 1;
const AAAA: u16 = 28;

/// What is found of lookups over `seconds`, two a second; `aaaa` tells what is said to each; `None`: it is not asked.
fn found(client: &str, seconds: u32, aaaa: impl Fn(u32) -> Option<Say>) -> Vec<Severity> {
    let server = if client.contains(':') { "[fd00::53]:53" } else { "10.96.0.10:53" };
    let mut scene = Scene::new();
    for number in 0..seconds * 2 {
        let (millis, id) = (f64::from(number) * 500.0, number as u16);
        let client = if client.contains(':') { format!("[{client}]:1000") } else { format!("{client}:1000") };
        scene.ask(millis, &client, server, id, A, "www.example");
        let say = aaaa(number);
        if say.is_some() {
            scene.ask(millis + 0.1, &client, server, id ^ 0x8000, AAAA, "www.example");
        }
        scene.answer(millis + 1.0, (&client, server), (id, A, "www.example"), Say::Address(3));
        if let Some(say) = say {
            scene.answer(millis + 1.2, (&client, server), (id ^ 0x8000, AAAA, "www.example"), say);
        }
    }
    scene.end(f64::from(seconds) * 1e3 + 9e3);
    scene.found(FindingId::UnusedAaaa).iter().map(|finding| finding.severity).collect()
}

#[test]
fn ten_minutes_without_one_are_told() {
    assert_eq!(found("10.0.0.1", 603, |_| Some(Say::NoData(3))), [Severity::Info]);
    assert_eq!(found("fd00::1", 603, |_| Some(Say::NxDomain(3))), [Severity::Info]);
}

#[test]
fn less_is_not() {
    // Not long enough; a dual-stack network; a client with a global address; hardly any AAAA; no responses.
    assert_eq!(found("10.0.0.1", 590, |_| Some(Say::NoData(3))), []);
    let some = |number| Some(if number % 50 == 0 { Say::Address(3) } else { Say::NoData(3) });
    assert_eq!(found("10.0.0.1", 603, some), []);
    assert_eq!(found("2001:db8::1", 603, |_| Some(Say::NoData(3))), []);
    assert_eq!(found("10.0.0.1", 603, |number| (number % 4 == 0).then_some(Say::NoData(3))), []);
    assert_eq!(found("10.0.0.1", 603, |_| Some(Say::Code(2))), []);
}
