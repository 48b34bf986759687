//! The report of `nslookout diagnose`: what is wrong, for whom, how sure, what to change, what was not found.

pub mod json;

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::findings::text::{FindingLines, times, wrap};
use super::findings::{subject_now, whom};
use super::names::Names;
use super::summary::{SourceReport, grouped};
use super::text::{clock, milliseconds};
use crate::capture::counters::CaptureCounters;
use crate::capture::file::is_obeyed;
use crate::capture::frame::Timestamp;
use crate::correlate::fingerprint::Stub;
use crate::engine::{Engine, Insight};
use crate::findings::{Blind, Finding, FindingId, Open, Severity, counted, percentage};

/// Clients that are named of one stub resolver.
const MOST_CLIENTS: usize = 4;
/// Findings of one rule that are told in full: a node with hundreds of pods may have it hundreds of times.
const MOST_IN_FULL: usize = 3;

/// Everything that a report is made of.
pub struct Diagnosis<'a> {
    /// Where it was looked at.
    pub source: &'a SourceReport<'a>,
    /// The rooms with their counts.
    pub engine: &'a Engine,
    /// The judging ones among them.
    pub insight: &'a Insight,
    /// Names of interfaces.
    pub names: &'a Names,
    /// What was read is a file of this name, as it is typed.
    pub file: Option<&'a str>,
    /// The capture was live, and one that is this long would have seen how everything ended that was still open.
    pub enough: Option<Duration>,
}

impl Diagnosis<'_> {
    /// What was found, ordered by harm.
    pub fn findings(&self) -> Vec<Finding> {
        self.insight.findings().ledger().all()
    }

    /// What was looked for, everywhere, and neither found nor held back.
    fn not_found(&self, findings: &[Finding], blind: &[Blind]) -> Vec<FindingId> {
        let ledger = self.insight.findings().ledger();
        let told: Vec<FindingId> = findings
            .iter()
            .map(|finding| finding.id)
            .chain(ledger.held_back().map(|note| note.id))
            .chain(blind.iter().map(|blind| blind.id))
            .collect();
        self.insight.findings().ids().filter(|id| !told.contains(id)).collect()
    }

    /// What could not be looked for, or not everywhere.
    fn blind(&self) -> Vec<Blind> {
        self.insight.blind(self.queries())
    }

    /// First and last packet.
    fn span(&self) -> Option<(Timestamp, Timestamp)> {
        self.engine.tally().summary.span
    }

    fn queries(&self) -> u64 {
        self.engine.tally().summary.queries()
    }

    fn lost(&self) -> u64 {
        self.source.counters.map_or(0, CaptureCounters::total_drops)
    }

    /// The report, 80 columns wide but for names and lines to copy; ends with a newline.
    pub fn text(&self, zone: &TimeZone, colour: bool) -> String {
        let lines = FindingLines { zone: zone.clone(), colour, verbose: true };
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text, &lines);
        text
    }

    fn write(&self, out: &mut String, lines: &FindingLines) -> fmt::Result {
        let findings = self.findings();
        self.head(out, &findings, &lines.zone);
        self.unfinished(out);
        let mut shown: BTreeMap<FindingId, Vec<&Finding>> = BTreeMap::new();
        for (number, finding) in (1..).zip(&findings) {
            let of_rule = shown.entry(finding.id).or_default();
            of_rule.push(finding);
            if of_rule.len() <= MOST_IN_FULL {
                out.push('\n');
                self.finding(out, number, finding, lines)?;
            }
        }
        out.push('\n');
        self.others(out, &shown);
        self.rest(out, &findings);
        self.configuration(out);
        Ok(())
    }

    /// How many findings, of what, and whether it can be relied upon.
    fn head(&self, out: &mut String, findings: &[Finding], zone: &TimeZone) {
        let mut words = match findings.len() {
            0 if self.insight.findings().unfinished().is_empty() => "Nothing wrong was found".to_owned(),
            0 => "Nothing wrong was found, as far as can be told,".to_owned(),
            count => {
                let severities = Severity::ALL.iter().rev().filter_map(|severity| {
                    let count = findings.iter().filter(|finding| finding.severity == *severity).count();
                    (count > 0).then(|| format!("{count} {}", severity.as_str()))
                });
                let severities = severities.collect::<Vec<_>>().join(", ");
                format!("{count} finding{} ({severities})", if count == 1 { "" } else { "s" })
            }
        };
        let lookups = self.insight.lookups().total();
        words +=
            &format!(" in {} quer{}", grouped(self.queries()), if self.queries() == 1 { "y" } else { "ies" });
        words += &format!(" ({} lookup{})", grouped(lookups), if lookups == 1 { "" } else { "s" });
        words += &match self.span() {
            Some((first, last)) => format!(
                " from {} to {}, {}.",
                clock(first, zone, "%H:%M:%S"),
                clock(last, zone, "%H:%M:%S"),
                self.source.name
            ),
            None => format!(", {}: no DNS packet came.", self.source.name),
        };
        words += &match self.lost() {
            0 => String::new(),
            1 => {
                " 1 packet was lost: what rests on missing packets is told only where there are more of them."
                    .to_owned()
            }
            lost => format!(
                " {} packets were lost: what rests on missing packets is told only where there are more of them.",
                grouped(lost)
            ),
        };
        wrap(out, &words, 0, 0);
        for line in self.source.trouble {
            wrap(out, &format!("{}: {line}", self.source.name), 0, 0);
        }
    }

    /// What was open when the capture ended: whether it is well nobody knows.
    fn unfinished(&self, out: &mut String) {
        let unfinished = self.insight.findings().unfinished();
        let waiting = match unfinished.waiting.count {
            1 => "1 query still waited for an answer when the capture ended".to_owned(),
            count => format!("{} queries still waited for an answer when the capture ended", grouped(count)),
        };
        let truncated = match unfinished.truncated.count {
            1 => "What followed 1 truncated answer was not seen".to_owned(),
            count => format!("What followed {} truncated answers was not seen", grouped(count)),
        };
        self.open(out, &unfinished.waiting, &waiting, FindingId::Unanswered);
        self.open(out, &unfinished.truncated, &truncated, FindingId::TruncatedNoTcp);
        if let Some(enough) = self.enough.filter(|_| !unfinished.is_empty()) {
            let words = format!("--for {}s would tell how these end.", enough.as_secs_f64().ceil());
            wrap(out, &words, 0, 0);
        }
    }

    /// What is open of one kind, with the worst.
    fn open(&self, out: &mut String, open: &Open, words: &str, id: FindingId) {
        let Some(worst) = &open.worst else { return };
        let mut client = self.names.client(&worst.client);
        if let Some(interface) = worst.client.interface.and_then(|ifindex| self.names.get(&ifindex)) {
            client += &format!(" ({interface})");
        }
        let asked = match &worst.question {
            Some(question) => format!(" for {} of {}", question.qtype, question.qname),
            None => ".".to_owned(),
        };
        let words = format!(
            "{words}. The oldest was {} old: {client} had asked {}{asked} So {} cannot be judged for {}.",
            span(worst.waited),
            worst.server.ip(),
            id.as_str(),
            if open.count == 1 { "it" } else { "them" }
        );
        wrap(out, &words, 0, 0);
    }

    fn finding(
        &self,
        out: &mut String,
        number: usize,
        finding: &Finding,
        lines: &FindingLines,
    ) -> fmt::Result {
        let severity = lines.paint(finding.severity, &finding.severity.as_str().to_uppercase());
        writeln!(out, "{number}. {severity} {}: {}", finding.id.as_str(), whom(finding, self.names))?;
        wrap(out, &format!("{}.", finding.details.summary.trim_end_matches('.')), 3, 3);
        let (first, last) = (finding.first_seen, finding.last_seen);
        let clock = |time| clock(time, &lines.zone, "%H:%M:%S");
        let mut when = match clock(first) == clock(last) {
            true => format!("Seen {} at {}", times(finding.count), clock(first)),
            false => format!("Seen {} from {} to {}", times(finding.count), clock(first), clock(last)),
        };
        if let Some(closed) = finding.closed {
            when += &format!(", over since then (closed {})", clock(closed));
        }
        wrap(out, &format!("{when}. Confidence {}.", finding.confidence.as_str()), 3, 3);
        out.push_str(&lines.evidence(finding, 3));
        writeln!(out, "   More: nslookout explain {}", finding.id.as_str())?;
        writeln!(out, "         {}", self.watch_command(finding))
    }

    /// Those of which enough others of the same rule are told in full, by name.
    fn others(&self, out: &mut String, findings: &BTreeMap<FindingId, Vec<&Finding>>) {
        let mut any = false;
        for (id, findings) in findings {
            let Some(rest) = findings.get(MOST_IN_FULL..).filter(|rest| !rest.is_empty()) else { continue };
            let subjects: Vec<String> = rest.iter().map(|finding| whom(finding, self.names)).collect();
            wrap(out, &format!("And {}.", some_of(&format!("more {}", id.as_str()), &subjects)), 0, 2);
            any = true;
        }
        if any {
            wrap(out, "-o json has all of them in full.", 0, 2);
            out.push('\n');
        }
    }

    /// The command that shows the packets or lookups of a finding.
    fn watch_command(&self, finding: &Finding) -> String {
        let form = match finding.id {
            FindingId::SearchStopped
            | FindingId::SearchAmplification
            | FindingId::PairConflict
            | FindingId::ShortNameBroken => "--lookups -v",
            _ => "-v",
        };
        let subject = &finding.subject;
        let interface = subject.interface.or(subject.client.and_then(|client| client.interface));
        match (self.file, interface.and_then(|ifindex| self.names.get(&ifindex))) {
            (Some("-"), _) => format!("nslookout -r FILE {form}"),
            (Some(file), _) => format!("nslookout -r {} {form}", quoted(file)),
            (None, Some(interface)) => format!("nslookout -i {} {form}", quoted(interface)),
            (None, None) => format!("nslookout {form}"),
        }
    }

    /// What could not be looked for, and why; what was found all the same needs no excuse.
    fn not_judged(&self, out: &mut String, findings: &[Finding], blind: &[Blind]) {
        let is_found = |blind: &Blind| findings.iter().any(|finding| finding.id == blind.id);
        let blind: Vec<&Blind> = blind.iter().filter(|blind| !is_found(blind)).collect();
        let Some(first) = blind.first() else { return };
        if blind.len() == self.insight.findings().ids().count()
            && blind.iter().all(|blind| blind.reason == first.reason)
        {
            return wrap(out, &format!("Could not look for anything: {}.", first.reason), 0, 2);
        }
        out.push_str("Could not look for, or not everywhere:\n");
        for blind in blind {
            wrap(out, &format!("{}: {}.", blind.id.as_str(), blind.reason), 2, 4);
        }
    }

    /// What was looked for and not found, and what was held back.
    fn rest(&self, out: &mut String, findings: &[Finding]) {
        let blind = self.blind();
        let not_found: Vec<&str> =
            self.not_found(findings, &blind).into_iter().map(FindingId::as_str).collect();
        self.not_judged(out, findings, &blind);
        if !not_found.is_empty() {
            wrap(out, &format!("Looked for and not found: {}.", not_found.join(", ")), 0, 2);
        }
        let ledger = self.insight.findings().ledger();
        for note in ledger.held_back() {
            let words = format!(
                "Held back: {} for {}. It seemed so {}, but {} lost there meanwhile.",
                note.id.as_str(),
                subject_now(&note.subject, self.names),
                times(note.evidence),
                counted(note.lost, "packet was", "packets were")
            );
            wrap(out, &words, 0, 2);
        }
        if ledger.crowded_out() > 0 {
            let words = format!(
                "{} sightings of further findings found no room: what is listed is not all.",
                grouped(ledger.crowded_out())
            );
            wrap(out, &words, 0, 2);
        }
    }

    /// The clients' stub resolvers, and what another configuration would have cost.
    fn configuration(&self, out: &mut String) {
        let mut stubs: BTreeMap<Stub, Vec<String>> = BTreeMap::new();
        for (client, fingerprint) in self.insight.clients().fingerprints() {
            stubs.entry(fingerprint.stub).or_default().push(self.names.client(&client));
        }
        if stubs.keys().any(|stub| *stub != Stub::Unknown) {
            let list = stubs.iter().map(|(stub, clients)| some_of(stub.as_str(), clients));
            wrap(out, &format!("Stub resolvers: {}.", list.collect::<Vec<_>>().join("; ")), 0, 2);
        }
        let what_if = self.insight.what_if();
        let cases = [
            ("ndots:2", what_if.ndots_2, what_if.broken_by_2),
            ("ndots:1", what_if.ndots_1, what_if.broken_by_1),
            ("trailing dots", what_if.trailing_dot, 0),
        ];
        let savings = cases.into_iter().filter(|(_, queries, _)| *queries < what_if.queries);
        let savings: Vec<String> = savings
            .map(|(what, queries, broken)| match broken {
                0 => format!("{} with {what}", grouped(queries)),
                broken => {
                    format!(
                        "{} with {what} (which would break {} lookup{})",
                        grouped(queries),
                        grouped(broken),
                        if broken == 1 { "" } else { "s" }
                    )
                }
            })
            .collect();
        if !savings.is_empty() {
            let sent = grouped(what_if.queries);
            wrap(out, &format!("Of {sent} queries these would be left: {}.", savings.join(", ")), 0, 2);
        }
        let cache = self.insight.cache().savings();
        if cache.hits > 0 {
            let share = percentage(cache.hits as f64 / cache.queries.max(1) as f64, 0);
            let mut words = format!(
                "A node-local cache would have answered {} of {} queries ({share}).",
                grouped(cache.hits),
                grouped(cache.queries)
            );
            if cache.linklocal_peak > 0 {
                words += &format!(
                    " In the busiest second {} of {} queries to link-local resolvers would be left.",
                    grouped(cache.linklocal_peak_left),
                    grouped(cache.linklocal_peak)
                );
            }
            wrap(out, &words, 0, 2);
        }
    }
}

/// `0.4 ms`, `5.5 s`.
fn span(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", milliseconds(duration))
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

/// `2 musl (10.1.0.5, 10.1.0.6)`.
fn some_of(what: &str, clients: &[String]) -> String {
    let some = clients.iter().take(MOST_CLIENTS).cloned().collect::<Vec<_>>().join(", ");
    let more = if clients.len() > MOST_CLIENTS { ", …" } else { "" };
    format!("{} {what} ({some}{more})", clients.len())
}

/// A word as a shell takes it, on one line and without what a terminal obeys (`$'\n'`, POSIX.1-2024 section 2.2.4).
fn quoted(word: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "._/-+:@%".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    if !word.chars().any(is_obeyed) {
        return format!("'{}'", word.replace('\'', "'\\''"));
    }
    let mut text = "$'".to_owned();
    for character in word.chars() {
        if is_obeyed(character) {
            let mut octets = [0; 4];
            let octets = character.encode_utf8(&mut octets).bytes();
            // Octal always has three digits, so that a digit may follow.
            octets.for_each(|octet| text.push_str(&format!("\\{octet:03o}")));
        } else {
            if matches!(character, '\'' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests;
