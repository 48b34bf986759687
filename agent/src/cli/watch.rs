//! `nslookout watch`: one line per transaction, then a summary.

use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write as _};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::tz::TimeZone;
use rustix::thread::CapabilitySet;

use super::{LiveArgs, OutputArg, SummaryArg, WatchArgs, WhatArgs};
use crate::capture::counters::{CaptureCounters, Method};
use crate::capture::file::display_name;
use crate::capture::frame::{Frame, Ifindex, Timestamp};
use crate::capture::{Namer, Source};
use crate::correlate::Event;
use crate::engine::{Engine, Report};
use crate::export::capture_file::{RecordError, Recording};
use crate::export::findings::text::FindingLines;
use crate::export::json;
use crate::export::lookups::LookupLines;
use crate::export::names::Names;
use crate::export::summary::{Judged, SourceReport, statistics, summary};
use crate::export::text::{Lines, Style};
use crate::export::{findings, lookups};
use crate::identity::facts::{self, Fact};
use crate::live::{Live, Screen, Shared, Signals, Taken};
use crate::tally::TallyLimits;

pub(super) fn run(args: &WatchArgs) -> Result<ExitCode> {
    // A pipe may let its opening wait for long, and then Ctrl-C has nothing to sum up; a live source must be let go of.
    let stop = Arc::default();
    let file = args.read.as_deref().map(|path| Source::file_until(path, &stop)).transpose()?;
    let signals = Signals::catch(stop).context("failed to catch signals")?;
    let (mut source, name) = match (file, &args.read) {
        (Some(file), Some(path)) => (file, display_name(path)),
        _ => (open_live(&args.live)?, args.live.config().selection.to_string()),
    };
    if args.summary == SummaryArg::Only && args.count.is_some() && !args.record.is_wanted() {
        bail!("-c counts lines, and --summary=only prints none; give --for a time, or leave one of them out");
    }
    if args.summary == SummaryArg::Only && args.record.print {
        bail!("--print asks for lines, and --summary=only for none; leave one of them out");
    }
    if let (true, false, Some(flag)) = (args.record.is_wanted(), args.record.print, args.what.lines()) {
        bail!("{flag} asks for lines, and -w alone prints none; add --print, or leave one of them out");
    }
    let mut engine = args.matching.engine(&args.live, TallyLimits::default());
    engine.messages = args.what.messages;
    engine.insight = if args.what.no_findings { None } else { Some(args.judge.config(&args.live)?) };
    let shared = Shared::new(Engine::new(engine));
    let recording = args.record.create(args, &source)?;
    let mut terminal = Terminal::new(args, source.namer(), recording);
    let mut identity = args.live.identity(args.read.as_deref());
    let result = terminal
        .begin()
        .and_then(|()| {
            crate::live::run(&mut source, &shared, &signals, args.longest, &mut identity, &mut terminal)
        })
        .and_then(|()| terminal.finish());
    match result {
        // Whoever read our lines or packets has seen enough (`| head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        // It names its file itself.
        Err(error) if matches!(error.get_ref(), Some(inner) if inner.is::<RecordError>()) => {
            return Err(error.into());
        }
        other => other.context("failed to write to standard output")?,
    }
    let live = shared.lock();
    let trouble = source.trouble();
    let report = SourceReport { name: &name, counters: live.counters.as_ref(), trouble: &trouble };
    let judged = live.engine.insight().map(|insight| Judged { insight, names: &terminal.names });
    tell!(bare "\n{}", summary(live.engine.tally(), judged.as_ref(), &report, &terminal.zone));
    Ok(ExitCode::SUCCESS)
}

/// Opens the live source; a note tells why it is not the one preferred.
pub(super) fn open_live(args: &LiveArgs) -> Result<Source> {
    let (source, note) = Source::live(&args.config())?;
    if let Some(note) = note {
        tell!("nslookout: {note}");
    }
    Ok(source)
}

/// Tells on standard error what is listened to, once everything there at the start is attached.
pub(super) fn tell_attached(
    args: &LiveArgs,
    took: Duration,
    error: Option<String>,
    counters: &CaptureCounters,
    names: &Names,
) {
    if let Some(error) = error {
        tell!("nslookout: {error}");
    }
    let selection = args.config().selection;
    if counters.interfaces.is_empty() {
        tell!("nslookout: `{selection}` matches no interface yet; one that appears will be watched");
    }
    let hooks: u32 = counters.interfaces.iter().map(|interface| interface.hooks).sum();
    let how = match counters.interfaces.first().map(|interface| interface.method) {
        Some(Method::PacketSocket) => ", packet socket".to_owned(),
        Some(method) => {
            format!(", {hooks} hooks attached by {} in {:.2} s", method.as_str(), took.as_secs_f64())
        }
        None => String::new(),
    };
    tell!(
        "listening on {selection} ({} interface{}{how}), {}, {}",
        counters.interfaces.len(),
        if counters.interfaces.len() == 1 { "" } else { "s" },
        args.ports_text(),
        names_from(names)
    );
    if !counters.vpc_resolvers.is_empty() {
        let resolvers: Vec<String> = counters.vpc_resolvers.iter().map(ToString::to_string).collect();
        tell!("packets to the VPC resolver {} count as link-local", resolvers.join(", "));
    }
}

/// Where names come from, as far as anybody spoke by now.
fn names_from(names: &Names) -> String {
    let heard: Vec<&str> = names.heard().map(facts::Source::as_str).collect();
    if heard.is_empty() || names.is_numeric() {
        return "addresses only".to_owned();
    }
    format!("names from {}", heard.join(", "))
}

/// Takes a fact, and tells on standard error when a source cannot speak, or can again.
pub(super) fn learn_fact(names: &mut Names, time: Timestamp, fact: &Fact) {
    names.learn(time, fact);
    match fact {
        Fact::Silent { source, why } => {
            tell!("names: {} does not answer: {why}; addresses stand in their place", source.as_str());
        }
        Fact::Speaks(source) => tell!("names: {} answers again", source.as_str()),
        Fact::Here { .. } | Fact::Gone(_) | Fact::Server { .. } | Fact::Eni(_) => {}
    }
}

/// Standard output, and the recording.
struct Terminal {
    out: BufWriter<Stdout>,
    /// `None`: JSON.
    text: Option<Text>,
    zone: TimeZone,
    names: Names,
    namer: Namer,
    recording: Option<Recording>,
    /// No lines: the summary alone, or packets go into a file and lines were not asked for.
    silent: bool,
    /// Lines that may still be printed, or packets that may be written where no lines are printed.
    left: Option<u64>,
    what: What,
    live: LiveArgs,
    verbose: bool,
}

/// What a line is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Transactions,
    Messages,
    Lookups,
    Findings,
}

/// Lines for people.
struct Text {
    transactions: Lines,
    lookups: LookupLines,
    findings: FindingLines,
}

impl Text {
    fn new(args: &WatchArgs, style: Style, on_terminal: bool) -> Self {
        let (verbose, colour, zone) = (args.verbose, style.colour, style.zone.clone());
        let lookups =
            LookupLines { zone: zone.clone(), name_width: style.name_width, shorten: on_terminal, verbose };
        Self {
            transactions: Lines::new(style, on_terminal),
            lookups,
            findings: FindingLines { zone, colour, verbose },
        }
    }

    /// The words above the columns, where there are columns.
    fn heading(&self, what: What) -> Option<String> {
        match what {
            What::Transactions => Some(self.transactions.heading()),
            What::Messages => None,
            What::Lookups => Some(self.lookups.heading()),
            What::Findings => Some(self.findings.heading()),
        }
    }

    fn line(&self, report: &Report<'_>, names: &Names) -> Option<String> {
        match report {
            Report::Lookup(lookup) => Some(self.lookups.line(lookup, names)),
            Report::Finding(change) => Some(self.findings.line(change, names)),
            Report::Event(_) | Report::Message(_) | Report::Malformed { .. } => {
                self.transactions.line(report, names)
            }
        }
    }
}

impl WhatArgs {
    /// The flag that asks for another kind of line.
    fn lines(self) -> Option<&'static str> {
        match self {
            Self { messages: true, .. } => Some("--messages"),
            Self { lookups: true, .. } => Some("--lookups"),
            Self { findings: true, .. } => Some("--findings"),
            _ => None,
        }
    }
}

impl What {
    fn of(args: WhatArgs) -> Self {
        match args {
            WhatArgs { messages: true, .. } => Self::Messages,
            WhatArgs { lookups: true, .. } => Self::Lookups,
            WhatArgs { findings: true, .. } => Self::Findings,
            _ => Self::Transactions,
        }
    }

    /// Has this report a line, if any?
    fn wants(self, report: &Report<'_>) -> bool {
        match report {
            Report::Event(_) => self == Self::Transactions,
            Report::Message(_) => self == Self::Messages,
            Report::Lookup(_) => self == Self::Lookups,
            Report::Finding(_) => self == Self::Findings,
            Report::Malformed { .. } => matches!(self, Self::Transactions | Self::Messages),
        }
    }
}

impl Terminal {
    fn new(args: &WatchArgs, namer: Namer, recording: Option<Recording>) -> Self {
        let stdout = io::stdout();
        let columns = stdout.is_terminal().then(|| {
            rustix::termios::tcgetwinsize(&stdout).map_or(80, |size| usize::from(size.ws_col).max(80))
        });
        let style = Style::new(columns, args.verbose, args.color.wanted());
        let zone = style.zone.clone();
        let text = (args.output == OutputArg::Text).then(|| Text::new(args, style, columns.is_some()));
        Self {
            out: BufWriter::with_capacity(64 * 1024, stdout),
            text,
            zone,
            names: Names::new(args.numeric),
            namer,
            silent: args.summary == SummaryArg::Only || recording.is_some() && !args.record.print,
            recording,
            left: args.count,
            what: What::of(args.what),
            live: args.live.clone(),
            verbose: args.verbose,
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        if let Some(heading) = self.text.as_ref().and_then(|text| text.heading(self.what))
            && !self.silent
        {
            writeln!(self.out, "{heading}")?;
        }
        self.out.flush()
    }

    /// Ends the recording in order.
    fn finish(&mut self) -> io::Result<()> {
        match &mut self.recording {
            Some(recording) => Ok(recording.finish()?),
            None => Ok(()),
        }
    }

    /// The line of a report, if it has one.
    fn line(&self, report: &Report<'_>) -> Option<String> {
        match (&self.text, report) {
            (Some(text), _) => text.line(report, &self.names),
            (None, Report::Event(event)) => json::object(event, &self.names).map(|object| object.to_string()),
            (None, Report::Message(observation)) => Some(json::message(observation, &self.names).to_string()),
            (None, Report::Lookup(lookup)) => Some(lookups::object(lookup, &self.names).to_string()),
            (None, Report::Finding(change)) => Some(findings::json::change(change, &self.names).to_string()),
            (None, Report::Malformed { .. }) => None,
        }
    }
}

impl Screen for Terminal {
    fn frame(&mut self, frame: &Frame<'_>) -> io::Result<Taken> {
        let Some(recording) = &mut self.recording else { return Ok(Taken::More) };
        if self.left == Some(0) {
            return Ok(Taken::No);
        }
        let before = recording.packets();
        let taken = recording.frame(frame)?;
        if let Some(left) = &mut self.left
            && self.silent
        {
            *left -= recording.packets() - before;
            if *left == 0 {
                return Ok(Taken::Last);
            }
        }
        Ok(taken)
    }

    fn counters(&mut self, time: Timestamp, counters: &CaptureCounters) -> io::Result<ControlFlow<()>> {
        self.names.tick(time);
        match &mut self.recording {
            Some(recording) => Ok(recording.counters(time, counters)?),
            None => Ok(ControlFlow::Continue(())),
        }
    }

    fn fact(&mut self, time: Timestamp, fact: &Fact) -> io::Result<()> {
        learn_fact(&mut self.names, time, fact);
        match &mut self.recording {
            Some(recording) => Ok(recording.fact(time, fact)?),
            None => Ok(()),
        }
    }

    fn report(&mut self, report: &Report<'_>) -> io::Result<ControlFlow<()>> {
        // The summary names those of whom something was found.
        if self.what.wants(report) || matches!(report, Report::Finding(_)) {
            learn_names(&mut self.names, &self.namer, report);
        }
        if self.silent || !self.what.wants(report) {
            return Ok(ControlFlow::Continue(()));
        }
        let Some(line) = self.line(report) else { return Ok(ControlFlow::Continue(())) };
        if self.left == Some(0) {
            return Ok(ControlFlow::Break(()));
        }
        writeln!(self.out, "{line}")?;
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(recording) = &mut self.recording {
            recording.flush()?;
        }
        self.out.flush()
    }

    fn privileges(&self) -> CapabilitySet {
        // The next file of a recording may lie in a folder of somebody else.
        if self.recording.is_some() { CapabilitySet::DAC_OVERRIDE } else { CapabilitySet::empty() }
    }

    fn shed(&mut self, kept: &str) {
        if self.verbose {
            tell!("privileges kept: {kept}");
        }
    }

    fn notice(&mut self, line: &str) {
        tell!("{line}");
    }

    fn attached(&mut self, took: Duration, error: Option<String>, counters: &CaptureCounters) {
        tell_attached(&self.live, took, error, counters, &self.names);
    }

    fn statistics(&mut self, live: &Live) {
        tell!(bare "{}", statistics(live.engine.tally(), live.counters.as_ref()));
    }
}

/// Asks for the name of an interface when it is first needed.
pub(super) fn learn_names(names: &mut Names, namer: &Namer, report: &Report<'_>) {
    let ifindex = match report {
        Report::Event(Event::Closed(transaction)) => transaction.parties.place.map(|place| place.ifindex),
        Report::Event(Event::Late { stray, .. }) => stray.parties.place.map(|place| place.ifindex),
        Report::Message(observation) => observation.place.map(|place| place.ifindex),
        Report::Lookup(lookup) => lookup.client.interface,
        Report::Finding(change) => {
            let subject = &change.finding().subject;
            subject.interface.or(subject.client.and_then(|client| client.interface))
        }
        Report::Event(_) | Report::Malformed { .. } => None,
    };
    if let Some(ifindex) = ifindex {
        learn_name(names, namer, ifindex);
    }
}

/// Asks for the name of an interface, unless it is known.
pub(super) fn learn_name(names: &mut Names, namer: &Namer, ifindex: Ifindex) {
    if !names.contains_key(&ifindex)
        && let Some(name) = namer.name_of(ifindex)
    {
        names.insert(ifindex, name);
    }
}
