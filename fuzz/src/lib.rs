//! What the targets share: frames, an engine with narrow bounds, and a screen that refuses what a terminal may not see.

use jiff::tz::TimeZone;
use nslookout::capture::frame::{Frame, LinkType, Timestamp};
use nslookout::correlate::Limits;
use nslookout::engine::{Engine, EngineConfig, InsightConfig, Report};
use nslookout::export::findings::text::FindingLines;
use nslookout::export::json;
use nslookout::export::lookups::LookupLines;
use nslookout::export::names::Names;
use nslookout::export::report::Diagnosis;
use nslookout::export::summary::{Judged, SourceReport, summary};
use nslookout::export::text::{Lines, Style};
use nslookout::export::{findings, lookups};

/// Open queries that the engine of a target keeps: few, so that a short input reaches the bound.
pub const MAX_INFLIGHT: usize = 8;

/// A whole frame from nowhere in particular.
pub fn frame(link_type: LinkType, time: Timestamp, bytes: &[u8]) -> Frame<'_> {
    Frame { time, place: None, link_type, original_length: bytes.len() as u32, vlan: None, bytes }
}

/// An engine that listens to port 53, tells of every message and judges.
pub fn engine() -> Engine {
    Engine::new(EngineConfig {
        ports: [53].into_iter().collect(),
        limits: Limits { max_inflight: MAX_INFLIGHT, ..Limits::default() },
        messages: true,
        insight: Some(InsightConfig::default()),
        ..EngineConfig::default()
    })
}

/// Panics where `text` holds anything but printable ASCII and our own signs: what was left out, and between findings.
pub fn assert_printable(text: &str) {
    assert!(
        text.chars().all(|character| matches!(character, ' '..='~' | '…' | '·')),
        "not printable: {text:?}"
    );
}

/// The same of each line.
fn assert_lines_printable(text: &str) {
    text.lines().for_each(assert_printable);
}

/// Writes every report in every form and looks at what came out.
pub struct Screen {
    lines: Lines,
    lookups: LookupLines,
    findings: FindingLines,
    names: Names,
}

impl Default for Screen {
    fn default() -> Self {
        let style = Style { verbose: true, colour: false, name_width: 40, zone: TimeZone::UTC };
        let zone = TimeZone::UTC;
        Self {
            lines: Lines::new(style, false),
            lookups: LookupLines { zone: zone.clone(), name_width: 40, shorten: true, verbose: true },
            findings: FindingLines { zone, colour: false, verbose: true },
            names: Names::default(),
        }
    }
}

impl Screen {
    /// Shows one report.
    pub fn show(&self, report: &Report<'_>) {
        if let Some(line) = self.lines.line(report, &self.names) {
            assert_printable(&line);
        }
        let object = match report {
            Report::Event(event) => json::object(event, &self.names),
            Report::Message(observation) => Some(json::message(observation, &self.names)),
            Report::Lookup(lookup) => {
                assert_lines_printable(&self.lookups.line(lookup, &self.names));
                Some(lookups::object(lookup, &self.names))
            }
            Report::Finding(change) => {
                assert_lines_printable(&self.findings.line(change, &self.names));
                Some(findings::json::change(change, &self.names))
            }
            Report::Malformed { .. } => None,
        };
        if let Some(object) = object {
            assert_printable(&object.to_string());
        }
    }

    /// Shows the summary and the report that end a run.
    pub fn end(&self, engine: &Engine, source: &SourceReport<'_>) {
        let Some(insight) = engine.insight() else { return };
        let judged = Judged { insight, names: &self.names };
        assert_lines_printable(&summary(engine.tally(), Some(&judged), source, &TimeZone::UTC));
        let report = Diagnosis { source, engine, insight, names: &self.names, file: None, enough: None };
        assert_lines_printable(&report.text(&TimeZone::UTC, false));
        assert_printable(&report.json().to_string());
    }
}
