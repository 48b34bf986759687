//! The labelled corpus: `nslookout diagnose` must find in each capture what its label says, and nothing else.
//!
//! `cargo test -p nslookout --test corpus -- --nocapture` prints, for each finding, how often it was right, missed and a
//! false alarm, in the tuned set and in the held-out set apart, and names every miss and every false alarm. The captures
//! are recorded by `cargo xtask corpus record`; docs/testing.md says how.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

#[path = "corpus/score.rs"]
mod score;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::Deserialize;

use score::{Score, judge, named, table, too_bad, wrong_fingerprint};

/// The program under test.
const NSLOOKOUT: &str = env!("CARGO_BIN_EXE_nslookout");

/// The findings for which the corpus has ten captures that must raise it, and ten that only look so.
const MAIN: [&str; 9] = [
    "truncated-no-tcp",
    "old-musl",
    "search-stopped",
    "pair-conflict",
    "linklocal-rate",
    "search-amplification",
    "conntrack-race",
    "tcp-blocked",
    "oversize-udp",
];

/// The two halves: the detectors may be adjusted to the first; the second is reported and never looked into.
const SETS: [&str; 2] = ["tuned", "held-out"];

/// What must be found in one capture.
#[derive(Deserialize)]
struct Label {
    name: String,
    set: String,
    /// The addresses of those whom the findings may be about.
    clients: BTreeSet<String>,
    must: BTreeSet<String>,
    /// How severe each of these must be at least.
    least_severity: BTreeMap<String, Severity>,
    /// What may be found, and why. All else must not be.
    may: BTreeMap<String, String>,
    /// What must not be found though it looks so, and why.
    near_miss: BTreeMap<String, String>,
    fingerprint: Option<Fingerprint>,
    /// What the agent is told of the client's configuration.
    resolv_conf: Option<String>,
}

/// How bad a finding is, the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Info,
    Low,
    Warning,
    High,
}

/// Which stub resolver a client has.
#[derive(Clone, Debug, Deserialize)]
struct Fingerprint {
    client: String,
    stub: String,
}

/// What `diagnose -o json` says, as far as it is judged here.
#[derive(Deserialize)]
struct Report {
    findings: Vec<Finding>,
    #[serde(default)]
    fingerprints: Vec<Fingerprint>,
    not_found: BTreeSet<String>,
    not_judged: Vec<NotJudged>,
}

/// A rule that could not look, or not everywhere.
#[derive(Deserialize)]
struct NotJudged {
    id: String,
}

#[derive(Deserialize)]
struct Finding {
    id: String,
    severity: Severity,
    #[serde(default)]
    subject: Subject,
}

/// Whom a finding is about.
#[derive(Default, Deserialize)]
struct Subject {
    client: Option<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn labels() -> Vec<Label> {
    serde_json::from_str(&fs::read_to_string(folder().join("labels.json")).unwrap()).unwrap()
}

impl Label {
    fn capture(&self) -> PathBuf {
        folder().join(&self.set).join(format!("{}.pcap.zst", self.name))
    }
}

/// Lets the agent read the capture; status 2 is trouble, 0 and 1 are verdicts.
fn diagnose(label: &Label, scratch: &Path) -> Report {
    let mut command = Command::new(NSLOOKOUT);
    command.args(["diagnose", "-o", "json", "-r"]).arg(label.capture());
    if let Some(text) = &label.resolv_conf {
        let file = scratch.join(format!("{}-{}.conf", label.set, label.name));
        fs::write(&file, text).unwrap();
        command.arg("--resolv-conf").arg(file);
    }
    let output = command.output().unwrap();
    let status = output.status.code();
    assert!(
        matches!(status, Some(0 | 1)),
        "{} {}: status {status:?}: {}",
        label.set,
        label.name,
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Report =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{}: {error}", label.name));
    consistent(label, &report, status);
    report
}

/// The exit status is that of the worst finding, and nothing is called absent that was found, that could not be looked
/// for, or of which a client is suspected by too few signs to be sure.
fn consistent(label: &Label, report: &Report, status: Option<i32>) {
    let whose = format!("{} {}", label.set, label.name);
    let bad = report.findings.iter().any(|finding| finding.severity >= Severity::Warning);
    assert_eq!(status, Some(i32::from(bad)), "{whose}");
    let found = report.findings.iter().map(|finding| &finding.id);
    for id in found.chain(report.not_judged.iter().map(|rule| &rule.id)) {
        assert!(!report.not_found.contains(id), "{whose}: {id} is called absent");
    }
    if report.fingerprints.iter().any(|client| client.stub == "musl-before-1.2.4") {
        assert!(!report.not_found.contains("old-musl"), "{whose}: old-musl is called absent");
    }
}

/// All captures, by two threads, each with its label.
fn diagnose_all(labels: &[Label]) -> Vec<(&Label, Report)> {
    let scratch = std::env::temp_dir().join(format!("nsltest-{}-corpus", std::process::id()));
    fs::create_dir_all(&scratch).unwrap();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(label) = labels.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((label, diagnose(label, &scratch)));
        }
        done
    };
    let mut reports = thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    fs::remove_dir_all(&scratch).unwrap();
    reports.sort_by(|one, other| (&one.0.set, &one.0.name).cmp(&(&other.0.set, &other.0.name)));
    reports
}

#[test]
fn every_capture_shows_its_label_and_nothing_else() {
    let labels = labels();
    let reports = diagnose_all(&labels);
    let mut failures = Vec::new();
    for set in SETS {
        let of_set: Vec<&(&Label, Report)> = reports.iter().filter(|(label, _)| label.set == set).collect();
        let mut scores = judge(of_set.iter().map(|(label, report)| (*label, report)));
        let mut all = Score::default();
        scores.values().for_each(|score| all.add(score));
        print!("{}", table(set, &scores));
        println!(
            "{set}: {} captures; precision {:.3}, recall {:.3}; clients named by their stub resolver:",
            of_set.len(),
            all.precision(),
            all.recall()
        );
        named(&of_set).iter().for_each(|(stub, (right, of))| println!("{stub:<22} {right:>5} of {of}"));
        let wrong: Vec<String> =
            of_set.iter().filter_map(|(label, report)| wrong_fingerprint(label, report)).collect();
        wrong.iter().for_each(|wrong| println!("wrong stub   {set} {wrong}"));
        if set == "tuned" {
            failures.extend(wrong);
            scores.insert("all findings".to_owned(), all);
            let judged = MAIN.iter().copied().chain(["all findings"]);
            failures.extend(judged.filter_map(|id| too_bad(id, scores.get(id)?)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn there_are_enough_captures_of_each_kind() {
    let labels = labels();
    for label in &labels {
        assert!(label.capture().exists(), "{} {} was never recorded", label.set, label.name);
        let clash = label.near_miss.keys().find(|id| label.must.contains(*id) || label.may.contains_key(*id));
        assert_eq!(clash, None, "{}", label.name);
        assert!(label.must.iter().eq(label.least_severity.keys()), "{}", label.name);
    }
    for set in SETS {
        let files = fs::read_dir(folder().join(set)).unwrap().count();
        assert_eq!(files, labels.iter().filter(|label| label.set == set).count(), "captures without a label");
    }
    for id in MAIN {
        let count = |set: &str, is: fn(&Label, &str) -> bool| {
            labels.iter().filter(|label| label.set == set && is(label, id)).count()
        };
        for is in [is_positive, is_near_miss] {
            let (tuned, held_out) = (count("tuned", is), count("held-out", is));
            assert!(tuned >= 10 && held_out * 2 >= tuned.min(10), "{id}: {tuned} and {held_out}");
        }
    }
}

fn is_positive(label: &Label, id: &str) -> bool {
    label.must.contains(id)
}

fn is_near_miss(label: &Label, id: &str) -> bool {
    label.near_miss.contains_key(id)
}

#[test]
fn a_verdict_counts_what_is_right_missed_and_wrong() {
    let label: Label = serde_json::from_str(
        r#"{"name": "one", "set": "tuned", "clients": ["10.1.0.5"], "must": ["servfail", "refused", "unused-aaaa"],
            "least_severity": {"servfail": "warning", "refused": "warning", "unused-aaaa": "low"}, "may": {"old-musl": "few pairs"},
            "near_miss": {"unanswered": "the repeat is answered"},
            "fingerprint": {"client": "10.1.0.5", "stub": "glibc"}}"#,
    )
    .unwrap();
    let report: Report = serde_json::from_str(
        r#"{"findings": [{"id": "servfail", "severity": "warning"}, {"id": "old-musl", "severity": "info"},
             {"id": "unanswered", "severity": "high"}, {"id": "unused-aaaa", "severity": "info"},
             {"id": "refused", "severity": "warning", "subject": {"client": "10.1.0.6", "server": "10.96.0.10"}}],
            "fingerprints": [{"client": "10.1.0.5", "stub": "go", "confidence": "low"}],
            "not_found": [], "not_judged": []}"#,
    )
    .unwrap();
    let scores = judge([(&label, &report)]);
    let counts = |id: &str| {
        let score = &scores[id];
        (score.found, score.missed.len(), score.false_alarms.len())
    };
    assert_eq!((counts("servfail"), counts("refused")), ((1, 0, 0), (0, 1, 1)));
    assert_eq!(scores["unused-aaaa"].missed, ["one (as Info, where Low is the least)"]);
    assert_eq!(scores["refused"].false_alarms, ["one (about 10.1.0.6, who is healthy)"]);
    assert_eq!(scores["unanswered"].false_alarms, ["one (the repeat is answered)"]);
    assert!(!scores.contains_key("old-musl"));
    assert_eq!(wrong_fingerprint(&label, &report).unwrap(), "one: glibc is taken for go");
    assert_eq!(
        too_bad("unanswered", &scores["unanswered"]).unwrap(),
        "unanswered: precision 0.000, recall 1.000"
    );
    assert_eq!(too_bad("servfail", &scores["servfail"]), None);
}
