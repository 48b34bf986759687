//! When the limit is near, and what is no sign of it.

use crate::capture::counters::{
    AllowanceCount, CaptureCounters, DropReason, LinkLocalCount, Method, RecentBucket, WatchedInterface,
};
use crate::capture::frame::{Ifindex, InterfaceKind};
use crate::capture::vantage::Vantage;
use crate::engine::scene::{Say, Scene, Seen, at};
use crate::findings::{Confidence, FindingId, Quantity, Severity};

const ID: FindingId = FindingId::LinkLocalRate;
const POD: &str = "10.0.0.1:1000";
const VPC: &str = "169.254.169.253";

/// Queries for 400 names that are answered, `rate` a second for `seconds`, from 0.3 s on.
fn load(scene: &mut Scene, server: &str, rate: u32, seconds: f64) {
    for number in 0..(f64::from(rate) * seconds) as u32 {
        let name = format!("h{}.test", number % 400);
        let millis = 300.0 + f64::from(number) * 1e3 / f64::from(rate);
        scene.asked(millis, (POD, server), (number as u16, 1, &name), Say::Address(5));
    }
}

/// What a live source tells at `millis`: packets of the uplink `ens5` in the second before, evenly.
fn second(millis: f64, packets: u64, exceeded: Option<u64>) -> CaptureCounters {
    let recent = (0..10)
        .map(|slot| RecentBucket {
            begin: at(millis - 1_000.0 + f64::from(slot) * 100.0),
            egress: packets / 10,
            ingress: 0,
        })
        .collect();
    let (interface, kind) = ("ens5".to_owned(), InterfaceKind::Uplink);
    let watched = |ifindex, name: &str, kind| WatchedInterface {
        ifindex: Ifindex(ifindex),
        name: name.into(),
        kind,
        method: Method::Tcx,
        hooks: 2,
    };
    CaptureCounters {
        interfaces: vec![watched(2, "ens5", kind)],
        linklocal: vec![LinkLocalCount {
            interface: interface.clone(),
            kind,
            service: "dns",
            egress: packets,
            ingress: 0,
            recent,
        }],
        linklocal_buckets: true,
        allowances: exceeded
            .map(|packets| AllowanceCount {
                interface,
                counter: "linklocal_allowance_exceeded".into(),
                packets,
            })
            .into_iter()
            .collect(),
        ..CaptureCounters::default()
    }
}

/// Plays seconds of the kernel's counts.
fn live(seconds: &[(u64, Option<u64>)]) -> Scene {
    let mut scene = Scene::new();
    for (number, (packets, exceeded)) in seconds.iter().enumerate() {
        let now = (number as f64 + 1.0) * 1_000.0;
        scene.counters(now, &second(now, *packets, *exceeded));
        scene.tick(now);
    }
    scene
}

#[test]
fn three_of_five_seconds_are_a_warning() {
    let scene = live(&[(800, None), (100, None), (800, None), (100, None), (800, None)]);
    let found = scene.expect(ID, Severity::Warning, Confidence::High);
    assert_eq!((found.subject.interface, found.subject.server), (Some(Ifindex(2)), None));
    assert_eq!(scene.told.findings, ["opened linklocal-rate if2 warning high"]);
    assert_eq!(live(&[(1_100, None), (1_100, None), (1_100, None)]).found(ID)[0].severity, Severity::High);
}

#[test]
fn less_or_shorter_is_none() {
    for seconds in [
        &[(700, None); 8][..],
        &[(900, None), (0, None), (900, None), (0, None), (0, None), (0, None), (900, None)],
        &[(0, None), (5_000, None), (0, None), (0, None)],
    ] {
        assert_eq!(live(seconds).found(ID).len(), 0, "{seconds:?}");
    }
}

#[test]
fn the_driver_s_counter_is_the_surest_sign() {
    let scene = live(&[(300, Some(0)), (300, Some(0)), (300, Some(12)), (300, Some(12))]);
    let found = scene.expect(ID, Severity::High, Confidence::High);
    let dropped = found.details.numbers.iter().find(|measure| measure.name == "linklocal_allowance_exceeded");
    assert_eq!(dropped.unwrap().value, Quantity::Count(12));
    assert_eq!(live(&[(300, Some(0)); 5]).found(ID).len(), 0);
}

#[test]
fn a_file_tells_too_and_says_who_and_what() {
    let mut scene = Scene::new();
    load(&mut scene, VPC, 850, 5.0);
    scene.end(7_000.0);
    let found = scene.expect(ID, Severity::Warning, Confidence::Medium);
    assert_eq!(found.subject.server, Some(VPC.parse().unwrap()));
    let text = |name| match &found.details.numbers.iter().find(|measure| measure.name == name).unwrap().value
    {
        Quantity::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    assert!(text("spenders").starts_with("10.0.0.1 "), "{}", text("spenders"));
    assert!(text("names").starts_with("h"), "{}", text("names"));
    assert_eq!(found.details.example.len(), 8);
    assert!(
        found.details.remedies[0].lines.iter().any(|line| line.ends_with("forward-addr: 169.254.169.253"))
    );
}

#[test]
fn one_second_over_the_limit_counts_with_responses_missing() {
    let burst = |missing: u32, lost: u64| {
        let mut scene = Scene::new();
        let counters = |packets| CaptureCounters {
            drops: [((Vantage::Client, DropReason::RingFull), packets)].into(),
            ..CaptureCounters::default()
        };
        scene.counters(0.0, &counters(0));
        for number in 0..1_100_u32 {
            let millis = 300.0 + f64::from(number) * 0.8;
            let (id, name) = (number as u16, format!("h{number}.test"));
            if number < missing {
                scene.ask(millis, POD, VPC, id, 1, &name);
            } else {
                scene.asked(millis, (POD, VPC), (id, 1, &name), Say::Address(60));
            }
        }
        scene.counters(3_000.0, &counters(lost));
        for millis in (1..=14).map(|second| f64::from(second) * 1_000.0 + 1_500.0) {
            scene.tick(millis);
        }
        scene
    };
    let scene = burst(60, 0);
    let found = scene.expect(ID, Severity::High, Confidence::High);
    assert!(found.details.because[0].starts_with("60 of 1100 queries to 169.254.169.253"), "{found:#?}");
    assert_eq!(burst(0, 0).found(ID).len(), 0);
    assert_eq!(burst(4, 0).found(ID).len(), 0);
    // Then the resolver is down.
    assert_eq!(burst(1_100, 0).found(ID).len(), 0);
    let lossy = burst(60, 500);
    assert_eq!(lossy.found(ID).len(), 0);
    let held = lossy.engine.insight().unwrap().findings().ledger().held_back().any(|note| note.id == ID);
    assert!(held);
}

#[test]
fn other_addresses_and_responses_do_not_count() {
    for server in
        ["169.254.20.10", "169.254.170.2", "169.254.170.23", "169.254.172.1", "127.0.0.1", "169.254.7.7"]
    {
        let mut scene = Scene::new();
        load(&mut scene, server, 1_250, 4.0);
        scene.end(7_000.0);
        assert_eq!(scene.found(ID).len(), 0, "{server}");
    }
    let mut scene = Scene::new();
    load(&mut scene, VPC, 600, 5.0);
    scene.end(7_000.0);
    assert_eq!(scene.found(ID).len(), 0);
}

#[test]
fn a_packet_at_the_pod_and_at_the_uplink_is_one() {
    let mut scene = Scene::new();
    for number in 0..3_000_u32 {
        let (millis, name) = (f64::from(number) * 2.0, format!("h{}.test", number % 400));
        for seen in [Seen::Pod(4), Seen::Uplink(2)] {
            scene.seen = seen;
            scene.ask(millis, POD, VPC, number as u16, 1, &name);
        }
    }
    scene.end(20_000.0);
    assert_eq!(scene.found(ID).len(), 0);
}
