//! Counts follow whom they are about, and none is lost or counted twice.

use super::*;
use crate::capture::frame::Ifindex;
use crate::correlate::ClientId;
use crate::identity::facts::{Fact, InstanceId};
use crate::identity::who::tests::{here, whose};
use crate::tally::TallyLimits;

const GRACE: Duration = Duration::from_secs(600);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

fn address(interface: u32) -> Subject {
    let address = "10.0.0.2".parse().unwrap();
    Subject::Address(ClientId { interface: Some(Ifindex(interface)), address })
}

fn tally() -> Tally {
    Tally::new(TallyLimits { series_grace: Some(GRACE), max_series: 3, ..TallyLimits::default() })
}

fn count(tally: &mut Tally, now: Timestamp, subject: Subject, times: u64) {
    *tally.client.late.at(tally.limits.max_series, now, subject, ()) += times;
}

fn counts(tally: &Tally) -> Vec<(Subject, u64)> {
    tally.client.late.sorted().into_iter().map(|(subject, (), count)| (subject, *count)).collect()
}

/// The workload of interface 2.
fn workload(who: &Who) -> Subject {
    Subject::Workload(who.behind_interface(Ifindex(2)).unwrap().workload)
}

#[test]
fn what_was_counted_by_address_goes_to_the_workload() {
    let (mut tally, mut who) = (tally(), Who::default());
    count(&mut tally, at(1), address(2), 5);
    count(&mut tally, at(1), address(3), 7);
    who.learn(at(2), &here("cart-1", "cart", whose(&[2], &[])));
    tally.identified(&who);
    assert_eq!(counts(&tally), [(workload(&who), 5), (address(3), 7)]);
}

#[test]
fn what_was_read_is_not_counted_again() {
    let (mut tally, mut who) = (tally(), Who::default());
    count(&mut tally, at(1), address(2), 5);
    tally.scraped();
    count(&mut tally, at(2), address(2), 2);
    who.learn(at(3), &here("cart-1", "cart", whose(&[2], &[])));
    let name = workload(&who);
    count(&mut tally, at(3), name, 1);
    tally.identified(&who);
    // Of the seven a scrape has seen five; whoever adds up all increases finds eight.
    assert_eq!(counts(&tally), [(name, 3), (address(2), 5)]);
    tally.identified(&who);
    assert_eq!(counts(&tally), [(name, 3), (address(2), 5)]);
}

#[test]
fn an_owner_that_comes_later_takes_the_counts() {
    let (mut tally, mut who) = (tally(), Who::default());
    who.learn(at(1), &here("uid", "uid", whose(&[2], &[])));
    count(&mut tally, at(1), workload(&who), 4);
    let (before, now) = who.learn(at(2), &here("uid", "cart", whose(&[2], &[]))).unwrap();
    tally.renamed(before, now);
    assert_eq!(counts(&tally), [(Subject::Workload(now), 4)]);
}

#[test]
fn a_workload_that_is_gone_leaves_once_it_was_read() {
    let (mut tally, mut who) = (tally(), Who::default());
    who.learn(at(1), &here("cart-1", "cart", whose(&[2], &[])));
    let cart = workload(&who);
    count(&mut tally, at(1), cart, 4);
    tally.scraped();
    who.learn(at(100), &Fact::Gone(InstanceId("cart-1".into())));
    // Its last increments, which nobody has read yet.
    count(&mut tally, at(110), cart, 1);
    for now in [200, 700, 5_000] {
        who.tick(at(now));
        tally.tick(at(now), &mut who);
        assert_eq!(counts(&tally), [(cart, 5)], "{now}");
    }
    tally.scraped();
    tally.tick(at(5_020), &mut who);
    assert_eq!(counts(&tally), []);
    let Subject::Workload(id) = cart else { unreachable!() };
    assert_eq!(who.workload(id), None);
}

#[test]
fn it_stays_while_it_is_here_or_was_a_moment_ago() {
    let (mut tally, mut who) = (tally(), Who::default());
    who.learn(at(1), &here("cart-1", "cart", whose(&[2], &[])));
    let cart = workload(&who);
    count(&mut tally, at(1), cart, 4);
    tally.scraped();
    tally.tick(at(90_000), &mut who);
    assert_eq!(counts(&tally), [(cart, 4)]);
    who.learn(at(90_000), &Fact::Gone(InstanceId("cart-1".into())));
    for (now, stays) in [(90_100, true), (90_599, true), (90_650, false)] {
        who.tick(at(now));
        tally.tick(at(now), &mut who);
        assert_eq!(counts(&tally).is_empty(), !stays, "{now}");
    }
}

#[test]
fn an_address_without_traffic_leaves_with_all_its_series() {
    let (mut tally, mut who) = (tally(), Who::default());
    count(&mut tally, at(1), address(2), 4);
    *tally.client.truncated.at(3, at(500), address(2), ()) += 1;
    tally.scraped();
    // Another of its series had traffic since.
    tally.tick(at(700), &mut who);
    assert_eq!(counts(&tally), [(address(2), 4)]);
    tally.tick(at(1_100), &mut who);
    assert!(counts(&tally).is_empty() && tally.client.truncated.is_empty());
}

#[test]
fn those_without_room_stay_together() {
    let (mut tally, mut who) = (tally(), Who::default());
    for interface in 2..9 {
        count(&mut tally, at(1), address(interface), 1);
    }
    assert_eq!(counts(&tally).last(), Some(&(Subject::Other, 4)));
    who.learn(at(2), &here("cart-1", "cart", whose(&[2], &[])));
    tally.identified(&who);
    assert_eq!(counts(&tally).iter().map(|(_, count)| count).sum::<u64>(), 7);
    tally.scraped();
    tally.tick(at(9_000), &mut who);
    assert_eq!(counts(&tally), [(workload(&who), 1), (Subject::Other, 4)]);
}
