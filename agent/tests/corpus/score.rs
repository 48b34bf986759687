//! What is counted of the reports on a corpus, and the table of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Finding, Fingerprint, Label, Report};

/// At most this share of what must be found may be missed.
const LEAST_RECALL: f64 = 0.95;

/// How often one finding was right, and where it was not.
#[derive(Default)]
pub struct Score {
    /// In captures that must raise it.
    pub found: usize,
    /// Captures that must raise it and did not.
    pub missed: Vec<String>,
    /// Captures that raised it and must not have, with the reason.
    pub false_alarms: Vec<String>,
}

impl Score {
    /// Which share of the alarms were right; 1 where there were none.
    pub fn precision(&self) -> f64 {
        share(self.found, self.found + self.false_alarms.len())
    }

    /// Which share of what must be found was found.
    pub fn recall(&self) -> f64 {
        share(self.found, self.found + self.missed.len())
    }

    /// Takes another score in.
    pub fn add(&mut self, other: &Self) {
        self.found += other.found;
        self.missed.extend_from_slice(&other.missed);
        self.false_alarms.extend_from_slice(&other.false_alarms);
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// May this finding be in the capture, or must it?
fn is_known(label: &Label, id: &str) -> bool {
    label.must.contains(id) || label.may.contains_key(id)
}

/// Scores by finding; a finding that may be there counts neither way.
pub fn judge<'a>(reports: impl IntoIterator<Item = (&'a Label, &'a Report)>) -> BTreeMap<String, Score> {
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    for (label, report) in reports {
        let ids: BTreeSet<&String> = report.findings.iter().map(|finding| &finding.id).collect();
        for id in &label.must {
            let score = scores.entry(id.clone()).or_default();
            let concerns = |finding: &Finding| {
                finding.id == *id
                    && finding.subject.client.as_ref().is_none_or(|client| label.clients.contains(client))
            };
            let worst = report.findings.iter().filter(|one| concerns(one)).map(|one| one.severity).max();
            match (worst, label.least_severity.get(id)) {
                (None, _) => score.missed.push(label.name.clone()),
                (Some(worst), Some(least)) if worst < *least => {
                    score.missed.push(format!("{} (as {worst:?}, where {least:?} is the least)", label.name));
                }
                (Some(_), _) => score.found += 1,
            }
        }
        let strangers =
            report.findings.iter().filter(|finding| is_known(label, &finding.id)).filter_map(|finding| {
                let client = finding.subject.client.as_ref()?;
                (!label.clients.contains(client)).then_some((&finding.id, client))
            });
        for (id, client) in strangers {
            let alarm = format!("{} (about {client}, who is healthy)", label.name);
            scores.entry(id.clone()).or_default().false_alarms.push(alarm);
        }
        for &id in ids.iter().filter(|&&id| !is_known(label, id)) {
            let why = label.near_miss.get(id).map(|why| format!(" ({why})")).unwrap_or_default();
            scores.entry(id.clone()).or_default().false_alarms.push(label.name.clone() + &why);
        }
    }
    scores
}

/// The fingerprint that a report gives for the labelled client: right, wrong, or `unknown` where it says nothing.
pub fn wrong_fingerprint(label: &Label, report: &Report) -> Option<String> {
    let truth = label.fingerprint.as_ref()?;
    let said = report.fingerprints.iter().find(|said| said.client == truth.client)?;
    // "musl" alone is right and vague.
    let is_right = said.stub == "unknown" || truth.stub.starts_with(&said.stub);
    (!is_right).then(|| format!("{}: {} is taken for {}", label.name, truth.stub, said.stub))
}

/// Of each stub resolver: how many clients were named right, of how many.
pub fn named(reports: &[&(&Label, Report)]) -> BTreeMap<String, (usize, usize)> {
    let mut named: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (label, report) in reports {
        let Some(truth) = label.fingerprint.as_ref().filter(|truth| truth.stub != "unknown") else {
            continue;
        };
        let is_right = |said: &Fingerprint| said.client == truth.client && said.stub == truth.stub;
        let (right, of) = named.entry(truth.stub.clone()).or_default();
        *right += usize::from(report.fingerprints.iter().any(is_right));
        *of += 1;
    }
    named
}

pub fn table(set: &str, scores: &BTreeMap<String, Score>) -> String {
    let mut text = format!("{set:<22} right  missed  false   precision  recall\n");
    for (id, score) in scores {
        let (missed, wrong) = (score.missed.len(), score.false_alarms.len());
        let (precision, recall) = (score.precision(), score.recall());
        writeln!(text, "{id:<22} {:>5} {missed:>7} {wrong:>6} {precision:>11.3} {recall:>7.3}", score.found)
            .unwrap();
    }
    for (id, score) in scores {
        for name in &score.missed {
            writeln!(text, "missed       {id}: {set} {name}").unwrap();
        }
        for name in &score.false_alarms {
            writeln!(text, "false alarm  {id}: {set} {name}").unwrap();
        }
    }
    text
}

/// What is wrong with a score of the tuned set.
pub fn too_bad(id: &str, score: &Score) -> Option<String> {
    let (precision, recall) = (score.precision(), score.recall());
    (precision < 1.0 || recall < LEAST_RECALL)
        .then(|| format!("{id}: precision {precision:.3}, recall {recall:.3}"))
}
