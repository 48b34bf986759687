//! `nslookout serve`: the agent behind an HTTP server.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use jiff::tz::TimeZone;
use rustix::thread::CapabilitySet;
use tokio::sync::oneshot;

use super::watch::{learn_fact, learn_names, open_live, tell_attached};
use super::{LiveArgs, ServeArgs};
use crate::capture::Namer;
use crate::capture::counters::CaptureCounters;
use crate::capture::ebpf::kernel;
use crate::capture::frame::Timestamp;
use crate::capture::privileges;
use crate::engine::{Engine, Report};
use crate::export::findings::text::FindingLines;
use crate::export::http;
use crate::export::metrics::{Build, Metrics};
use crate::export::names::Names;
use crate::export::summary::{Judged, SourceReport, statistics, summary};
use crate::identity::Sources;
use crate::identity::facts::Fact;
use crate::live::{Live, Screen, Shared, Signals};
use crate::tally::TallyLimits;

pub(super) fn run(args: &ServeArgs, revision: &str) -> Result<ExitCode> {
    let signals = Signals::catch(Arc::default()).context("failed to catch signals")?;
    // First the address, which may be taken: nothing has been attached yet then.
    let listener = TcpListener::bind(args.listen)
        .with_context(|| format!("failed to listen on {} (--listen chooses another address)", args.listen))?;
    let address = listener.local_addr().context("failed to ask for the address of the listener")?;
    let tally = TallyLimits {
        max_series: args.max_series as usize,
        cluster_dns: args.cluster_dns.clone(),
        series_grace: Some(args.series_grace),
        identity: args.live.identity != Sources::These(Vec::new()),
    };
    let mut engine = args.matching.engine(&args.live, tally);
    engine.insight = Some(args.judge.config(&args.live)?);
    let shared = Shared::new(Engine::new(engine));
    let server = Server::start(listener, &shared, revision)?;
    let mut source = open_live(&args.live)?;
    let mut identity = args.live.identity(None);
    let mut agent = Agent::new(args.live.clone(), address, source.namer());
    let result = crate::live::run(&mut source, &shared, &signals, None, &mut identity, &mut agent);
    server.stop()?;
    result.context("the capture ended")?;
    let live = shared.lock();
    let name = args.live.config().selection.to_string();
    let report = SourceReport { name: &name, counters: live.counters.as_ref(), trouble: &[] };
    let judged = live.engine.insight().map(|insight| Judged { insight, names: &agent.names });
    tell!(bare "\n{}", summary(live.engine.tally(), judged.as_ref(), &report, &agent.lines.zone));
    Ok(ExitCode::SUCCESS)
}

/// The HTTP server in a thread of its own.
struct Server {
    thread: JoinHandle<io::Result<()>>,
    stop: oneshot::Sender<()>,
}

impl Server {
    fn start(listener: TcpListener, shared: &Shared, revision: &str) -> Result<Self> {
        let build = Build {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: revision.to_owned(),
            kernel: kernel(),
        };
        let metrics = Metrics::new(shared.clone(), build);
        let (stop, stopped) = oneshot::channel();
        let shared = shared.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("failed to start the HTTP server")?;
        let thread = std::thread::Builder::new()
            .name("http".into())
            .spawn(move || {
                // The listener is open: nothing of this needs any.
                if let Err(error) = privileges::keep(CapabilitySet::empty()) {
                    tell!("nslookout: the HTTP server keeps its privileges: {error}");
                }
                let shutdown = async move {
                    // A sender that is gone means the same as one that spoke.
                    let _ = stopped.await;
                };
                runtime.block_on(http::serve(listener, metrics, shared, shutdown))
            })
            .context("failed to start the HTTP server")?;
        Ok(Self { thread, stop })
    }

    fn stop(self) -> Result<()> {
        // A server that has ended already has its reason to tell.
        let _ = self.stop.send(());
        self.thread.join().map_err(|_| anyhow!("the HTTP server panicked"))?.context("the HTTP server failed")
    }
}

/// The agent prints what it listens to, findings that open, grow worse or surer, and close, and statistics when asked.
struct Agent {
    live: LiveArgs,
    address: SocketAddr,
    names: Names,
    namer: Namer,
    lines: FindingLines,
}

impl Agent {
    fn new(live: LiveArgs, address: SocketAddr, namer: Namer) -> Self {
        let lines = FindingLines { zone: TimeZone::system(), colour: false, verbose: false };
        Self { live, address, names: Names::default(), namer, lines }
    }
}

impl Screen for Agent {
    fn counters(&mut self, time: Timestamp, _counters: &CaptureCounters) -> io::Result<ControlFlow<()>> {
        self.names.tick(time);
        Ok(ControlFlow::Continue(()))
    }

    fn fact(&mut self, time: Timestamp, fact: &Fact) -> io::Result<()> {
        learn_fact(&mut self.names, time, fact);
        Ok(())
    }

    fn report(&mut self, report: &Report<'_>) -> io::Result<ControlFlow<()>> {
        if let Report::Finding(change) = report {
            learn_names(&mut self.names, &self.namer, report);
            tell!("{}", self.lines.line(change, &self.names));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn shed(&mut self, kept: &str) {
        tell!("privileges kept: {kept}");
    }

    fn notice(&mut self, line: &str) {
        tell!("{line}");
    }

    fn attached(&mut self, took: Duration, error: Option<String>, counters: &CaptureCounters) {
        tell_attached(&self.live, took, error, counters, &self.names);
        tell!("metrics on http://{}/metrics", self.address);
    }

    fn statistics(&mut self, live: &Live) {
        tell!(bare "{}", statistics(live.engine.tally(), live.counters.as_ref()));
    }
}
