//! How deep is deep.

use super::super::bench::Bench;

const ID: &str = "deep-cname";

fn played(result: &str) -> Bench {
    let step = |number| format!("{} 5:{} 9 a.test A={result}", 1000 * number, 50_000 + number);
    Bench::play(&(0..2).map(step).collect::<Vec<_>>())
}

#[test]
fn six_aliases_are_many() {
    let bench = played("cname:6");
    assert_eq!(bench.of(ID), ["opened deep-cname low low", "changed deep-cname low high"]);
    let [finding] = bench.findings(ID).try_into().unwrap();
    assert_eq!((finding.count, finding.subject.server.unwrap().to_string()), (2, "10.0.0.53".into()));
    assert!(
        finding.details.summary.contains("a.test. is an alias 6 times over"),
        "{}",
        finding.details.summary
    );
    assert_eq!(finding.details.remedies[0].lines, ["a.test.  IN  CNAME  c5.test."]);
    assert_eq!(played("cname:5").of(ID), Vec::<&str>::new());
    assert_eq!(played("ans").of(ID), Vec::<&str>::new());
}

#[test]
fn both_types_of_one_lookup_are_a_note() {
    let bench = Bench::play(&["1000 5:50000 9 a.test A=cname:6 AAAA=cname:6"]);
    assert_eq!(bench.of(ID), ["opened deep-cname low low"]);
}

#[test]
fn a_circle_is_worse() {
    let bench = played("loop");
    assert_eq!(bench.of(ID), ["opened deep-cname low low", "changed deep-cname warning high"]);
    let [finding] = bench.findings(ID).try_into().unwrap();
    assert!(finding.details.summary.contains("in a circle at a.test."), "{}", finding.details.summary);
}
