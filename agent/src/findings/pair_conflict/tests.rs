//! Which pairs are conflicts, and for whom.

use super::super::bench::{Bench, musl_pairs};

const ID: &str = "pair-conflict";

/// The same lookup by client 10.0.0.`client`, so many times, 10 s apart.
fn repeated(times: u64, client: u8, rest: &str) -> Vec<String> {
    let step = |number| format!("{} {client}:{} 9 a.test {rest}", 20_000 + 10_000 * number, 50_000 + number);
    (0..times).map(step).collect()
}

/// By a musl client.
fn musl(times: u64, rest: &str) -> Bench {
    Bench::play(&[musl_pairs(0, 5), repeated(times, 5, rest)].concat())
}

/// By a client of which the IDs tell nothing.
fn unknown(times: u64, client: u8, rest: &str) -> Vec<String> {
    repeated(times, client, &format!("{rest} step=20000"))
}

#[test]
fn musl_suffers_and_grows_certain() {
    let bench = musl(3, "A=ans AAAA=nx");
    let states = ["opened pair-conflict high medium", "changed pair-conflict high high"];
    assert_eq!(bench.of(ID), states);
    let [finding] = bench.findings(ID).try_into().unwrap();
    assert_eq!(finding.count, 3);
    let subject = finding.subject;
    assert_eq!(subject.client.unwrap().address.to_string(), "10.0.0.5");
    assert_eq!(subject.server.unwrap().to_string(), "10.0.0.53");
    let details = finding.details;
    for part in ["10.0.0.53", "a.test", "A ", "AAAA", "NXDOMAIN", "10.0.0.5 (musl)"] {
        assert!(details.summary.contains(part), "{part}: {}", details.summary);
    }
    assert!(details.because.iter().any(|why| why.contains("musl-before-1.2.4")), "{:?}", details.because);
    assert_eq!(details.example.len(), 4);
    assert!(details.remedies[0].lines.contains(&"    rcode NOERROR".to_owned()));
}

/// It happens in both directions, and with every way to fail.
#[test]
fn every_way_to_disagree() {
    for pair in
        ["A=ans AAAA=nx", "A=nx AAAA=ans", "A=ans AAAA=sf", "A=ans AAAA=rf", "A=ans AAAA=to again=2500"]
    {
        let bench = musl(3, pair);
        assert_eq!(bench.findings(ID).len(), 1, "{pair}: {:?}", bench.told);
        assert_eq!(bench.findings(ID)[0].severity.as_str(), "high", "{pair}");
    }
}

/// For others it is a defect of the server: one finding, however many of them ask. What a client sees once is not counted
/// while it is open.
#[test]
fn others_do_not_suffer() {
    let bench = Bench::play(&[6, 7].map(|client| unknown(3, client, "A=ans AAAA=nx")).concat());
    let [finding] = bench.findings(ID).try_into().unwrap();
    assert_eq!((finding.severity.as_str(), finding.confidence.as_str(), finding.count), ("low", "high", 5));
    assert_eq!(
        (finding.subject.client, finding.subject.server.unwrap().to_string()),
        (None, "10.0.0.53".into())
    );
}

/// A client whose resolver becomes known has the server's finding; others add nothing to it.
#[test]
fn one_incident_is_one_finding() {
    let unknown = repeated(2, 5, "A=ans AAAA=nx");
    let shows = musl_pairs(30_000, 5);
    let known: Vec<String> = (0..2)
        .map(|number| format!("{} 5:{} 9 a.test A=ans AAAA=nx", 40_000 + 1000 * number, 51_000 + number))
        .collect();
    let other: Vec<String> = (0..3)
        .map(|number| {
            format!("{} 6:{} 9 a.test A=ans AAAA=nx step=9000", 50_000 + 1000 * number, 52_000 + number)
        })
        .collect();
    let bench = Bench::play(&[unknown, shows, known, other].concat());
    let told = [
        "opened pair-conflict low medium",
        "opened pair-conflict high high",
        "closed pair-conflict low medium",
    ];
    assert_eq!(bench.of(ID), told);
    let [finding] = bench.findings(ID).try_into().unwrap();
    assert_eq!(finding.subject.client.unwrap().address.to_string(), "10.0.0.5");
}

/// Once may be a race with somebody who changes the zone, also once for each of two names.
#[test]
fn once_is_nothing() {
    assert_eq!(musl(1, "A=ans AAAA=nx").of(ID), Vec::<&str>::new());
    assert_eq!(Bench::play(&unknown(1, 6, "A=ans AAAA=nx")).of(ID), Vec::<&str>::new());
    let other = "31000 5:50001 9 b.test A=ans AAAA=nx".to_owned();
    let steps = [musl_pairs(0, 5), repeated(1, 5, "A=ans AAAA=nx"), vec![other]].concat();
    assert_eq!(Bench::play(&steps).of(ID), Vec::<&str>::new());
}

/// Every "must not fire" of the specification, and pairs that agree.
#[test]
fn what_is_no_conflict() {
    for pair in [
        "A=ans AAAA=ans",
        // An AAAA filter, DNS64 the other way round.
        "A=ans AAAA=nd",
        "A=nd AAAA=ans",
        "A=nx AAAA=nx",
        "A=nx AAAA=nd",
        "A=nd AAAA=nx",
        "A=sf AAAA=sf",
        "A=sf AAAA=ans@1",
        "A=to AAAA=to again=2500",
        // Created or deleted between the two answers.
        "A=ans@1 AAAA=nx@1500",
        // Lost once, and never asked again.
        "A=ans AAAA=to",
        // One type alone.
        "A=ans",
        "AAAA=nx",
    ] {
        let bench = musl(4, pair);
        assert_eq!(bench.of(ID), Vec::<&str>::new(), "{pair}");
    }
}

/// Silence wants the same name twice: a loss may hit several names.
#[test]
fn silence_may_be_loss() {
    let steps = |name: fn(u64) -> String| {
        let step = move |number| {
            format!(
                "{} 5:{} 9 {} A=ans AAAA=to again=2500",
                20_000 + 10_000 * number,
                50_000 + number,
                name(number)
            )
        };
        [musl_pairs(0, 5), (0..4).map(step).collect()].concat()
    };
    assert_eq!(Bench::play(&steps(|number| format!("a{number}.test"))).of(ID), Vec::<&str>::new());
    let told = Bench::play(&steps(|number| format!("a{}.test", number % 2)));
    assert_eq!(told.of(ID), ["opened pair-conflict high medium"]);
}

/// What the capture lost may have been the answers.
#[test]
fn silence_is_held_against_losses() {
    let played = |lost: u64| {
        let losses = ["10000 lost 0".to_owned(), format!("35000 lost {lost}")];
        Bench::play(&[musl_pairs(0, 5), repeated(4, 5, "A=ans AAAA=to again=2500"), losses.to_vec()].concat())
    };
    assert_eq!(played(0).of(ID).len(), 2);
    let held = played(100);
    assert_eq!(held.of(ID), Vec::<&str>::new());
    assert!(held.held_back().contains(&"pair-conflict 4 100".to_owned()), "{:?}", held.held_back());
    // An answer that was seen is no matter of losses.
    let losses = ["10000 lost 0", "35000 lost 100"].map(str::to_owned).to_vec();
    let bench = Bench::play(&[musl_pairs(0, 5), repeated(4, 5, "A=ans AAAA=nx"), losses].concat());
    assert_eq!(bench.of(ID).len(), 2);
}

/// A pair of which one went to another server, or was asked later.
#[test]
fn what_is_no_pair() {
    let elsewhere = |number: u64| {
        let (time, port) = (20_000 + 1000 * number, 50_000 + number);
        [format!("{time} 5:{port} 9 a.test A=ans"), format!("{time} 5:{port} 10 a.test AAAA=nx to=54")]
    };
    let later = |number: u64| {
        let (time, port) = (20_000 + 5000 * number, 50_000 + number);
        [format!("{time} 5:{port} 9 a.test A=ans"), format!("{} 5:{port} 10 a.test AAAA=nx", time + 1500)]
    };
    for steps in [(0..4).flat_map(elsewhere).collect::<Vec<_>>(), (0..4).flat_map(later).collect()] {
        let bench = Bench::play(&[musl_pairs(0, 5), steps].concat());
        assert_eq!(bench.of(ID), Vec::<&str>::new());
    }
}
