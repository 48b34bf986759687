//! What stops a search, and everything that only looks so (facts.md section 3.2).

use super::super::Quantity;
use super::super::played::{Played, play, play_with};
use super::*;

const ID: FindingId = FindingId::SearchStopped;
/// The list of the first reported incident: the node's own domain comes last.
const LIST: &str =
    "search dnscheck.svc.cluster.local svc.cluster.local cluster.local corp.example\noptions ndots:5\n";

/// `httpd.dnscheck`, every 2 s: the first three are NXDOMAIN, the fourth says `fourth`, and what `then` says follows.
fn walks(times: usize, fourth: &str, then: &str) -> Vec<String> {
    let base = "httpd.dnscheck.svc.cluster.local";
    (0..times)
        .flat_map(|time| {
            let at = 2000 * time;
            let step = |index: usize, name: &str, said: &str| {
                format!(
                    "{}.{} 1:{} {} {base}{name} {said}",
                    at + index,
                    time,
                    1000 + 10 * time + index,
                    100 * time + 7
                )
            };
            let nx = "A=nx AAAA=nx";
            let mut steps = vec![
                step(0, ".dnscheck.svc.cluster.local", nx),
                step(2, ".svc.cluster.local", nx),
                step(4, ".cluster.local", nx),
                step(6, ".corp.example", fourth),
            ];
            steps.extend((!then.is_empty()).then(|| step(8, "", then)));
            steps
        })
        .collect()
}

fn played(stub: Stub, told: bool, steps: &[String]) -> Played {
    play(stub, told.then_some(LIST), steps)
}

#[test]
fn nodata_for_both_stops_musl() {
    let steps = walks(3, "A=nd AAAA=nd", "");
    let of = |stub, told| played(stub, told, &steps).of(ID);
    assert_eq!(of(Stub::Musl, true), Some((Severity::High, Confidence::High, 3)));
    assert_eq!(of(Stub::Musl124OrNewer, false), Some((Severity::High, Confidence::Medium, 3)));
    assert_eq!(of(Stub::Unknown, true), Some((Severity::High, Confidence::Medium, 3)));
    // Once is a note.
    let once = played(Stub::Musl, true, &walks(1, "A=nd AAAA=nd", "")).of(ID);
    assert_eq!(once, Some((Severity::Low, Confidence::Low, 1)));
}

#[test]
fn it_says_what_stopped_it_and_what_was_left() {
    let played = played(Stub::Musl, true, &walks(2, "A=nd AAAA=nd", ""));
    let details = &played.finding(ID).unwrap().details;
    assert_eq!(
        details.summary,
        "10.0.0.1 finds no address of httpd.dnscheck.svc.cluster.local.: the search stopped at \
         httpd.dnscheck.svc.cluster.local.corp.example., which exists without addresses at 10.0.0.53"
    );
    assert_eq!(details.because[1], "never asked: httpd.dnscheck.svc.cluster.local.");
    assert!(details.because[0].ends_with("corp.example. NODATA"), "{}", details.because[0]);
    assert!(details.example.len() >= 8);
    assert!(details.remedies[0].what.contains("corp.example. answer NXDOMAIN"));
}

#[test]
fn nodata_for_a_alone_stops_the_oldest_musl_and_a_single_family_any() {
    let mixed = played(Stub::MuslBefore124, true, &walks(2, "A=nd AAAA=nx", ""));
    assert_eq!(mixed.of(ID), Some((Severity::High, Confidence::High, 2)));
    let single = played(Stub::Musl, true, &walks(2, "A=nd", ""));
    assert_eq!(single.of(ID), Some((Severity::High, Confidence::High, 2)));
}

#[test]
fn not_nxdomain_for_a_and_nodata_for_aaaa() {
    assert_eq!(played(Stub::Musl, true, &walks(3, "A=nx AAAA=nd", "")).of(ID), None);
}

#[test]
fn not_an_address_of_either() {
    for said in ["A=ans AAAA=nd", "A=nd AAAA=ans", "A=ans AAAA=nx"] {
        assert_eq!(played(Stub::Musl, true, &walks(3, said, "")).of(ID), None, "{said}");
    }
}

#[test]
fn not_who_goes_on() {
    for told in [true, false] {
        let steps = walks(3, "A=nd AAAA=nd", "A=ans AAAA=nd");
        assert_eq!(played(Stub::Glibc, told, &steps).of(ID), None);
        // Nor who is known to go on, and was ended.
        assert_eq!(played(Stub::Glibc, told, &walks(3, "A=nd AAAA=nd", "")).of(ID), None);
    }
}

#[test]
fn not_the_last_candidate() {
    let steps = walks(3, "A=nx AAAA=nx", "A=nd AAAA=nd");
    assert_eq!(played(Stub::Musl, true, &steps).of(ID), None);
    assert_eq!(played(Stub::Musl, false, &steps).of(ID), None);
}

#[test]
fn not_the_name_itself() {
    // Enough dots: asked as it is, and nothing else by musl.
    let steps: Vec<String> = (0..3)
        .map(|time| format!("{} 1:{} 7 a.b.c.d.e.corp.example A=nd AAAA=nd", 2000 * time, 1000 + time))
        .collect();
    assert_eq!(play(Stub::Musl, Some(LIST), &steps).of(ID), None);
    assert_eq!(play(Stub::Musl, None, &steps).of(ID), None);
}

#[test]
fn not_a_service_without_endpoints() {
    let list = "search shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";
    let own: Vec<String> = (0..3)
        .map(|time| format!("{} 1:{} 7 db.shop.svc.cluster.local A=nd AAAA=nd", 2000 * time, 1000 + time))
        .collect();
    assert_eq!(play(Stub::Musl, Some(list), &own).of(ID), None);
    let other: Vec<String> = (0..3)
        .flat_map(|time| {
            let (at, port) = (2000 * time, 1000 + 2 * time);
            [
                format!("{at} 1:{port} 7 db.bank.shop.svc.cluster.local A=nx AAAA=nx"),
                format!("{} 1:{} 9 db.bank.svc.cluster.local A=nd AAAA=nd", at + 2, port + 1),
            ]
        })
        .collect();
    assert_eq!(play(Stub::Musl, Some(list), &other).of(ID), None);
    assert_eq!(play(Stub::Musl, None, &other).of(ID), None);
}

#[test]
fn not_a_server_that_walks_the_list_itself() {
    let steps: Vec<String> = (0..3)
        .map(|time| {
            let (at, port) = (2000 * time, 1000 + time);
            let target = "cname:api.stripe.example";
            format!("{at} 1:{port} 7 api.stripe.example.dnscheck.svc.cluster.local A={target} AAAA={target}")
        })
        .collect();
    assert_eq!(play(Stub::Musl, Some(LIST), &steps).of(ID), None);
}

#[test]
fn not_a_tool() {
    let steps = walks(3, "A=nd AAAA=nd", "");
    let with_ad = |lookup: &mut Lookup| {
        lookup.candidates.iter_mut().flat_map(|candidate| &mut candidate.asks).for_each(|ask| {
            ask.authentic_data = true;
        });
    };
    assert_eq!(play_with(Stub::Unknown, Some(LIST), &steps, &[], with_ad).of(ID), None);
    let with_edns = |lookup: &mut Lookup| {
        lookup.candidates.iter_mut().flat_map(|candidate| &mut candidate.asks).for_each(|ask| {
            ask.edns = Some(1232);
        });
    };
    assert_eq!(play_with(Stub::Unknown, Some(LIST), &steps, &[], with_edns).of(ID), None);
    // c-ares before 1.18 stops and sends one.
    let old = play_with(Stub::CAres, Some(LIST), &steps, &[], with_edns).of(ID);
    assert_eq!(old, Some((Severity::High, Confidence::Medium, 3)));
}

#[test]
fn not_where_packets_were_lost() {
    let steps = walks(3, "A=nd AAAA=nd", "");
    let played = play_with(Stub::Musl, Some(LIST), &steps, &[(0, 0), (10_000, 50)], |_| {});
    assert_eq!(played.of(ID), None);
    assert_eq!(played.held_back(ID), Some((3, 50)));
    // What was lost before is of no matter.
    let before = play_with(Stub::Musl, Some(LIST), &steps, &[(0, 50), (10_000, 50)], |_| {});
    assert_eq!(before.of(ID), Some((Severity::High, Confidence::High, 3)));
}

#[test]
fn what_is_lost_weighs_against_all_that_was_seen() {
    let walks = |times| walks(times, "A=nd AAAA=nd", "");
    let with = |times, lost| play_with(Stub::Musl, Some(LIST), &walks(times), &[(0, 0), (500, lost)], |_| {});
    // The first may have been a lost query.
    assert_eq!((with(1, 1).of(ID), with(1, 1).held_back(ID)), (None, Some((1, 1))));
    assert_eq!(with(2, 1).of(ID), Some((Severity::Low, Confidence::Low, 1)));
    assert_eq!(with(3, 1).of(ID), Some((Severity::High, Confidence::High, 2)));
    assert_eq!(with(30, 2).of(ID), Some((Severity::High, Confidence::High, 28)));
    assert_eq!(with(3, 3).held_back(ID), Some((3, 3)));
}

#[test]
fn the_lines_of_the_pod_are_its_own() {
    let steps = walks(3, "A=nd AAAA=nd", "");
    let finding = play_with(Stub::Musl, Some(LIST), &steps, &[], |_| {}).finding(ID).unwrap();
    let lines = finding.details.remedies[1].lines.join("\n");
    assert!(lines.contains("nameservers: [10.0.0.53]"), "{lines}");
    let stopped = finding.details.numbers.iter().find(|number| number.name == "stopping_domain").unwrap();
    let Quantity::Text(stopped) = &stopped.value else { panic!("{stopped:?}") };
    let searches = lines.lines().find(|line| line.contains("searches")).unwrap();
    assert!(
        searches.contains("svc.cluster.local") && !searches.contains(stopped.trim_end_matches('.')),
        "{lines}"
    );
}
