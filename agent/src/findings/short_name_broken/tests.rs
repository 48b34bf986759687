//! When a short name is not found because of `ndots` (facts.md section 3.8 P16).

use super::super::played::play;
use super::*;

const ID: FindingId = FindingId::ShortNameBroken;
const LIST: &str = "search tools.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:1\n";
/// Another pod finds the Service by its whole name.
const WHOLE: &str = "0 2:1000 7 db.bank.svc.cluster.local A=ans AAAA=nd";

fn asked(name: &str) -> Vec<String> {
    (1..=3)
        .map(|time| format!("{} 1:{} {} {name} A=nx AAAA=nx", 2000 * time, 1000 + time, 100 * time))
        .chain([WHOLE.to_owned()])
        .collect()
}

#[test]
fn musl_does_not_look_below_the_list() {
    let found = |confidence| Some((Severity::High, confidence, 3));
    assert_eq!(play(Stub::Musl, Some(LIST), &asked("db.bank")).of(ID), found(Confidence::High));
    assert_eq!(play(Stub::Musl, None, &asked("db.bank")).of(ID), found(Confidence::Medium));
    assert_eq!(play(Stub::Musl, Some(LIST), &asked("db.bank.svc")).of(ID), found(Confidence::High));
    let finding = play(Stub::Musl, Some(LIST), &asked("db.bank.svc")).finding(ID).unwrap();
    assert!(finding.details.summary.contains("db.bank.svc.cluster.local. exists"));
    assert_eq!(finding.details.remedies[0].lines[1], "  options: [{name: ndots, value: \"3\"}]");
}

#[test]
fn not_a_name_that_no_service_has() {
    for name in ["db.shop", "stripe.example", "a.b.c", "db"] {
        assert_eq!(play(Stub::Musl, Some(LIST), &asked(name)).of(ID), None, "{name}");
    }
}

#[test]
fn not_who_goes_through_the_list_after_it() {
    let mut steps = asked("db.bank");
    for time in 1..=3 {
        steps.push(format!("{} 1:1100 9 db.bank.tools.svc.cluster.local A=nx AAAA=nx", 2000 * time + 2));
        steps.push(format!("{} 1:1101 11 db.bank.svc.cluster.local A=ans AAAA=nd", 2000 * time + 4));
    }
    assert_eq!(play(Stub::Glibc, Some(LIST), &steps).of(ID), None);
    // Nor glibc without a search list.
    assert_eq!(play(Stub::Glibc, None, &asked("db.bank")).of(ID), None);
    assert_eq!(play(Stub::Unknown, None, &asked("db.bank")).of(ID), None);
}

#[test]
fn not_with_enough_ndots() {
    let list = LIST.replace("ndots:1", "ndots:2");
    let steps = [
        WHOLE,
        "1000 1:1000 7 db.bank.tools.svc.cluster.local A=nx AAAA=nx",
        "1002 1:1001 9 db.bank.svc.cluster.local A=ans AAAA=nd",
    ];
    assert_eq!(play(Stub::Musl, Some(&list), &steps).of(ID), None);
}
