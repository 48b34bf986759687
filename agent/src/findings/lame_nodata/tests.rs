//! Which negative answers are wrong.

use super::super::bench::Bench;

const ID: &str = "lame-nodata";

fn played(pair: &str) -> Bench {
    let step = |number| format!("{} 5:{} 9 host.corp.test {pair}", 3000 * number, 50_000 + number);
    Bench::play(&(0..2).map(step).collect::<Vec<_>>())
}

#[test]
fn nodata_needs_its_soa() {
    let bench = played("A=bare AAAA=bare");
    assert_eq!(bench.of(ID), ["opened lame-nodata low low", "changed lame-nodata low high"]);
    let [finding] = bench.findings(ID).try_into().unwrap();
    assert_eq!((finding.count, finding.subject.server.unwrap().to_string()), (2, "10.0.0.53".into()));
    assert!(
        finding.details.summary.contains("A of host.corp.test. with NODATA"),
        "{}",
        finding.details.summary
    );
    assert_eq!(finding.details.remedies[0].lines, ["server=/corp.test/ADDRESS-OF-THAT-SERVER"]);
}

#[test]
fn a_name_exists_or_not() {
    for pair in ["A=nd AAAA=nx", "A=nx AAAA=nd", "A=bare AAAA=nx"] {
        let bench = played(pair);
        let [finding] = bench.findings(ID).try_into().unwrap();
        assert!(
            finding.details.summary.contains("does not exist when asked for"),
            "{}",
            finding.details.summary
        );
        assert_eq!(finding.details.example.len(), 4, "{pair}");
    }
}

#[test]
fn what_is_right() {
    for pair in [
        "A=ans AAAA=nd",
        "A=nd AAAA=nd",
        "A=nx AAAA=nx",
        "A=referral AAAA=referral",
        "A=ans AAAA=nx",
        "A=ans",
    ] {
        assert_eq!(played(pair).of(ID), Vec::<&str>::new(), "{pair}");
    }
}

#[test]
fn a_public_zone_is_not_cut_off_from_its_servers() {
    let bench = Bench::play(&["0 5:1000 7 api.stripe.com A=bare AAAA=bare"]);
    let [finding] = bench.findings(ID).try_into().unwrap();
    assert_eq!(finding.details.remedies[0].lines, Vec::<String>::new());
}
