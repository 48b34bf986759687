//! Findings for people: a line per change, and all that is known of one, 80 columns wide.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::{example, whom};
use crate::capture::frame::Timestamp;
use crate::export::names::Names;
use crate::export::text::{clock, milliseconds};
use crate::findings::{Change, Finding, Measure, Quantity, Remedy, Severity, percentage};

/// Columns of a report.
pub const WIDTH: usize = 80;

/// Writes findings.
#[derive(Clone, Debug)]
pub struct FindingLines {
    /// The zone of the times.
    pub zone: TimeZone,
    /// Colour for a terminal.
    pub colour: bool,
    /// Print evidence, example and remedies below the line.
    pub verbose: bool,
}

impl FindingLines {
    /// The words above the columns.
    pub fn heading(&self) -> String {
        format!("{:<12}  {:<7}  {:<8}  {:<20} {:<27} what", "time", "state", "severity", "finding", "whom")
    }

    /// The line of a change; with [`Self::verbose`] what is known of it below.
    pub fn line(&self, change: &Change<'_>, names: &Names) -> String {
        let finding = change.finding();
        let mut text = format!(
            "{}  {:<7}  {}  {:<20} {:<27} {} (confidence {}, {})",
            self.time(finding.changed),
            change.as_str(),
            self.paint(finding.severity, &format!("{:<8}", finding.severity.as_str())),
            finding.id.as_str(),
            whom(finding, names),
            finding.details.summary.trim_end_matches('.'),
            finding.confidence.as_str(),
            times(finding.count),
        );
        if self.verbose && !matches!(change, Change::Closed(_)) {
            text.push('\n');
            text.push_str(self.evidence(finding, 4).trim_end());
        }
        text
    }

    /// Why it is believed, the numbers, one example and what to change; each line ends with a newline.
    pub fn evidence(&self, finding: &Finding, indent: usize) -> String {
        let details = &finding.details;
        let mut text = String::new();
        for why in &details.because {
            wrap(&mut text, &format!("- {}", why.trim_end_matches('.')), indent, indent + 2);
        }
        if !details.numbers.is_empty() {
            let numbers: Vec<String> = details.numbers.iter().map(number).collect();
            wrap(&mut text, &format!("In numbers: {}", numbers.join(", ")), indent, indent);
        }
        if !details.example.is_empty() {
            text.push_str(&format!("{:indent$}One example:\n", ""));
            example::write(&mut text, &details.example, &self.zone, indent + 2);
        }
        remedies(&mut text, &details.remedies, indent);
        text
    }

    /// The colour of a severity around `text`.
    pub fn paint(&self, severity: Severity, text: &str) -> String {
        let code = match severity {
            Severity::High => 31,
            Severity::Warning => 33,
            Severity::Low | Severity::Info => 2,
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn time(&self, time: Timestamp) -> String {
        clock(time, &self.zone, "%H:%M:%S.%3f")
    }
}

/// What to change, the best first, with the lines as they are to be written.
fn remedies(text: &mut String, remedies: &[Remedy], indent: usize) {
    if remedies.is_empty() {
        return;
    }
    text.push_str(&format!(
        "{:indent$}What to change{}:\n",
        "",
        if remedies.len() > 1 { ", the best first" } else { "" }
    ));
    for (place, remedy) in (1..).zip(remedies) {
        let words = format!("{place}. {} ({})", remedy.what.trim_end_matches('.'), remedy.place.as_str());
        wrap(text, &words, indent + 2, indent + 5);
        for line in &remedy.lines {
            // Lines to copy are never broken.
            let _ = writeln!(text, "{:1$}{line}", "", indent + 9);
        }
    }
}

/// `wasted queries 412`.
fn number(measure: &Measure) -> String {
    let name = measure.name.replace('_', " ");
    match &measure.value {
        Quantity::Count(count) => format!("{name} {count}"),
        Quantity::Ratio(ratio) => format!("{name} {}", percentage(*ratio, 0)),
        Quantity::Time(duration) => format!("{name} {} ms", milliseconds(*duration)),
        Quantity::Text(text) => format!("{name} {text}"),
    }
}

/// `once`, `4 times`.
pub fn times(count: u64) -> String {
    if count == 1 { "once".into() } else { format!("{count} times") }
}

/// Adds `words` in lines of [`WIDTH`] columns, the first one indented by `first`, the others by `rest`. A word that is
/// longer than a line, such as a name, is not broken: it is to be copied.
pub fn wrap(text: &mut String, words: &str, first: usize, rest: usize) {
    let mut column = first;
    text.push_str(&" ".repeat(first));
    for (place, word) in words.split(' ').enumerate() {
        let width = word.chars().count();
        if place > 0 && column + 1 + width > WIDTH {
            text.push('\n');
            text.push_str(&" ".repeat(rest));
            column = rest;
        } else if place > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.push('\n');
}
