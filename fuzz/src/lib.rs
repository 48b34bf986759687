//! What the targets share: frames, an engine with narrow bounds, and a screen that refuses what a terminal may not see.

use jiff::tz::TimeZone;
use nslookout::capture::frame::{Frame, LinkType, Timestamp};
use nslookout::correlate::Limits;
use nslookout::engine::{Engine, EngineConfig, Report};
use nslookout::export::json::{self, InterfaceNames};
use nslookout::export::summary::{SourceReport, summary};
use nslookout::export::text::{Lines, Style};

/// Open queries that the engine of a target keeps: few, so that a short input reaches the bound.
pub const MAX_INFLIGHT: usize = 8;

/// A whole frame from nowhere in particular.
pub fn frame(link_type: LinkType, time: Timestamp, bytes: &[u8]) -> Frame<'_> {
    Frame { time, place: None, link_type, original_length: bytes.len() as u32, vlan: None, bytes }
}

/// An engine that listens to port 53 and tells of every message.
pub fn engine() -> Engine {
    Engine::new(EngineConfig {
        ports: [53].into_iter().collect(),
        limits: Limits { max_inflight: MAX_INFLIGHT, ..Limits::default() },
        messages: true,
        ..EngineConfig::default()
    })
}

/// Panics where `text` holds anything but printable ASCII and the sign for what was left out, which is our own.
pub fn assert_printable(text: &str) {
    assert!(text.chars().all(|character| matches!(character, ' '..='~' | '…')), "not printable: {text:?}");
}

/// Writes every report in every form and looks at what came out.
pub struct Screen {
    lines: Lines,
    names: InterfaceNames,
}

impl Default for Screen {
    fn default() -> Self {
        let style = Style { verbose: true, colour: false, name_width: 40, zone: TimeZone::UTC };
        Self { lines: Lines::new(style, false), names: InterfaceNames::new() }
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
            Report::Malformed { .. } => None,
        };
        if let Some(object) = object {
            assert_printable(&object.to_string());
        }
    }

    /// Shows the summary that ends a run.
    pub fn end(&self, engine: &Engine) {
        let source = SourceReport { name: "input", counters: None, trouble: &[] };
        for line in summary(engine.tally(), &source, &TimeZone::UTC).lines() {
            assert_printable(line);
        }
    }
}
