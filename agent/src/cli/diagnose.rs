//! `nslookout diagnose`: a bounded run, then a report: what is wrong, for whom, how sure, what to change.

use std::io;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;

use super::watch::{learn_fact, learn_name, learn_names, open_live, tell_attached};
use super::{DiagnoseArgs, OutputArg, print};
use crate::capture::counters::CaptureCounters;
use crate::capture::file::display_name;
use crate::capture::frame::Timestamp;
use crate::capture::{Namer, Source};
use crate::engine::{Engine, Insight, Report};
use crate::export::names::Names;
use crate::export::report::Diagnosis;
use crate::export::summary::{SourceReport, statistics};
use crate::findings::Severity;
use crate::identity::facts::Fact;
use crate::live::{Live, Screen, Shared, Signals};
use crate::tally::TallyLimits;

/// Something as bad as asked for was found.
const FOUND: u8 = 1;

pub(super) fn run(args: &DiagnoseArgs) -> Result<ExitCode> {
    let mut engine = args.matching.engine(&args.live, TallyLimits::default());
    engine.insight = Some(args.judge.config(&args.live)?);
    let patience = engine.limits.longest;
    let stop = Arc::default();
    let file = args.read.as_deref().map(|path| Source::file_until(path, &stop)).transpose()?;
    let signals = Signals::catch(stop).context("failed to catch signals")?;
    let (mut source, name) = match (file, &args.read) {
        (Some(file), Some(path)) => (file, display_name(path)),
        _ => (open_live(&args.live)?, args.live.config().selection.to_string()),
    };
    let longest = args.read.is_none().then_some(args.longest);
    let shared = Shared::new(Engine::new(engine));
    let mut identity = args.live.identity(args.read.as_deref());
    let mut listener = Listener { args, names: Names::new(args.numeric), namer: source.namer() };
    crate::live::run(&mut source, &shared, &signals, longest, &mut identity, &mut listener)
        .context("the capture ended")?;
    let live = shared.lock();
    let insight = live.engine.insight().context("nothing was judged")?;
    listener.learn(insight);
    let trouble = source.trouble();
    let counters = live.counters.as_ref();
    let diagnosis = Diagnosis {
        source: &SourceReport { name: &name, counters, trouble: &trouble },
        engine: &live.engine,
        insight,
        names: &listener.names,
        // A name that is no UTF-8 cannot be typed as it is printed.
        file: args.read.as_deref().map(|path| path.to_str().unwrap_or("-")),
        // However often a query is sent again, this long after its first send it is judged.
        enough: longest.map(|longest| longest + patience),
    };
    // Whoever reads the first lines only has what is wanted; the exit status tells the rest.
    print(&text(args, &diagnosis))?;
    let worst = diagnosis.findings().iter().map(|finding| finding.severity).max();
    Ok(code(worst, args.fail_on.severity()))
}

fn text(args: &DiagnoseArgs, diagnosis: &Diagnosis<'_>) -> String {
    match args.output {
        OutputArg::Text => diagnosis.text(&TimeZone::system(), args.color.wanted()),
        OutputArg::Json => format!("{:#}\n", diagnosis.json()),
    }
}

/// 1 where the worst finding is at least as severe as `fail_on`.
fn code(worst: Option<Severity>, fail_on: Severity) -> ExitCode {
    if worst >= Some(fail_on) { ExitCode::from(FOUND) } else { ExitCode::SUCCESS }
}

/// Prints what is listened to, and learns the names of interfaces while they are there.
struct Listener<'a> {
    args: &'a DiagnoseArgs,
    names: Names,
    namer: Namer,
}

impl Listener<'_> {
    /// The names of the interfaces of all clients.
    fn learn(&mut self, insight: &Insight) {
        for (client, _) in insight.clients().fingerprints() {
            if let Some(ifindex) = client.interface {
                learn_name(&mut self.names, &self.namer, ifindex);
            }
        }
    }
}

impl Screen for Listener<'_> {
    fn counters(&mut self, time: Timestamp, _counters: &CaptureCounters) -> io::Result<ControlFlow<()>> {
        self.names.tick(time);
        Ok(ControlFlow::Continue(()))
    }

    fn fact(&mut self, time: Timestamp, fact: &Fact) -> io::Result<()> {
        learn_fact(&mut self.names, time, fact);
        Ok(())
    }

    fn report(&mut self, report: &Report<'_>) -> io::Result<ControlFlow<()>> {
        if let Report::Finding(_) = report {
            learn_names(&mut self.names, &self.namer, report);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn notice(&mut self, line: &str) {
        tell!("{line}");
    }

    fn attached(&mut self, took: Duration, error: Option<String>, counters: &CaptureCounters) {
        tell_attached(&self.args.live, took, error, counters, &self.names);
        tell!("the report comes in {:.0} s; Ctrl-C ends it early", self.args.longest.as_secs_f64());
    }

    fn statistics(&mut self, live: &Live) {
        tell!(bare "{}", statistics(live.engine.tally(), live.counters.as_ref()));
    }
}
