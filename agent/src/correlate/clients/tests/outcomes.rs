//! What is not known is not called unanswered: only a time-out says that.

use super::*;

/// How many lookups ended in each way, as `OUTCOME COUNT`.
fn outcomes(bench: &Bench) -> Vec<String> {
    let mut counts = std::collections::BTreeMap::<&str, u32>::new();
    for lookup in &bench.lookups {
        *counts.entry(lookup.outcome.as_str()).or_default() += 1;
    }
    counts.into_iter().map(|(outcome, count)| format!("{outcome} {count}")).collect()
}

/// The outcomes of these steps when the capture ends then.
fn ended(steps: &[&str], millis: f64) -> Vec<String> {
    let mut bench = Bench::new();
    bench.play(steps);
    bench.tick(millis - 10.0);
    bench.finish(millis);
    outcomes(&bench)
}

#[test]
fn the_end_of_the_capture_is_no_time_out() {
    for silent in ["A=to AAAA=to", "A=to AAAA=nx", "A=nd AAAA=to"] {
        let step = format!("0 1:1000 7 a.example {silent}");
        assert_eq!(ended(&[&step], 100.0), ["waiting 1"], "{silent}");
        assert_eq!(ended(&[&step], 5_900.0), ["waiting 1"], "{silent}");
        assert_eq!(ended(&[&step], 6_200.0), ["unanswered 1"], "{silent}");
    }
    assert_eq!(ended(&["0 1:1000 7 a.example A=ans AAAA=to"], 100.0), ["answered 1"]);
    assert_eq!(ended(&["0 1:1000 7 a.example A=nx AAAA=nx"], 100.0), ["nxdomain 1"]);
    assert_eq!(ended(&["0 1:1000 7 a.example A=sf AAAA=sf"], 100.0), ["error 1"]);
}

#[test]
fn a_query_that_had_to_give_way_is_not_unanswered() {
    let mut bench = Bench::new();
    bench.correlator = Correlator::new(Limits { max_inflight: 4, ..Limits::default() });
    let steps: Vec<String> = (0..40)
        .map(|number| format!("{number} 1:{} 7 n{number}.test A=ans late=500", 1000 + number))
        .collect();
    bench.play(&steps.iter().map(String::as_str).collect::<Vec<_>>());
    for second in 1..60 {
        bench.tick(f64::from(second) * 1e3);
    }
    assert_eq!(outcomes(&bench), ["answered 4", "unseen 36"]);
    let mut asks = bench.lookups.iter().flat_map(|lookup| &lookup.candidates[0].asks);
    assert!(asks.all(|ask| matches!(ask.reply, Reply::Answered(_) | Reply::Unseen)));
    assert_eq!(bench.clients.open(), 0);
}

#[test]
fn a_lookup_that_had_to_give_way_is_not_unanswered() {
    let mut bench = Bench::new();
    let steps: Vec<String> =
        (0..70).map(|number| format!("{number} 1:{} 7 a.test A=ans late=500", 1000 + number)).collect();
    bench.play(&steps.iter().map(String::as_str).collect::<Vec<_>>());
    bench.tick(60_000.0);
    assert_eq!(outcomes(&bench), ["answered 64", "unseen 6"]);
}

#[test]
fn of_a_lookup_with_too_many_queries_not_all_is_known() {
    for (servers, outcome) in [(96, "unanswered 1"), (97, "unseen 1")] {
        let mut bench = Bench::new();
        let steps: Vec<String> =
            (1..=servers).map(|server| format!("0 1:1000 7 a.test A=to to={server}")).collect();
        bench.play(&steps.iter().map(String::as_str).collect::<Vec<_>>());
        bench.tick(60_000.0);
        assert_eq!(outcomes(&bench), [outcome], "{servers}");
        assert_eq!(bench.lookups[0].queries, servers);
    }
}
