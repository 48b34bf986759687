//! Says who stands behind an address, an interface or a socket: workload, resolv.conf, C library, ENI. The side room: it
//! asks the machine, not the packets.
//!
//! Input: the API server of Kubernetes, the agent of ECS, `/proc`, the instance metadata service; each is a source with a
//! thread of its own that makes [`Statement`]s. The [`Directory`] puts them together. Output: [`Fact`]s, which the loop
//! takes between frames, and [`Who`], the table that the other rooms look them up in. Deliberately absent: DNS messages.
//!
//! Everything is optional: a source that cannot speak says why in one line, and addresses stand in place of names.

pub mod bell;
mod bounds;
pub mod directory;
mod ecs;
pub mod facts;
mod http;
mod imds;
pub mod kubernetes;
mod outlook;
mod process;
pub mod statement;
pub mod who;

pub use outlook::outlook;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustix::thread::CapabilitySet;

use bell::Bell;
use directory::Directory;
use facts::{Fact, Source};
use statement::Statement;

use crate::capture::privileges;

/// Where a source puts what it has to say.
#[derive(Clone)]
pub struct Teller(Sender<Statement>);

impl Teller {
    /// Says one thing; `false` once nobody listens any more: the source may end.
    pub fn tell(&self, statement: Statement) -> bool {
        self.0.send(statement).is_ok()
    }
}

/// All sources and the directory, as the loop holds them.
pub struct Identity {
    statements: Receiver<Statement>,
    directory: Directory,
    /// One for each source that can look sooner than it would.
    bells: Vec<Bell>,
    privileges: CapabilitySet,
    enters_tasks: bool,
}

/// Which sources are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// All that are here: a source that is not says nothing.
    Auto,
    /// These; one that is not here says so.
    These(Vec<Source>),
}

impl Sources {
    /// Is this one asked?
    pub fn ask(&self, source: Source) -> bool {
        match self {
            Self::Auto => true,
            Self::These(these) => these.contains(&source),
        }
    }
}

/// What the sources are told.
#[derive(Clone, Debug)]
pub struct IdentityConfig {
    /// Which are asked.
    pub sources: Sources,
    /// Name of this node in Kubernetes; `None`: the host name.
    pub node_name: Option<String>,
    /// How to reach the API server; `None`: as a pod of it, else what kubectl would take.
    pub kubeconfig: Option<PathBuf>,
}

impl Identity {
    /// Asks nobody.
    pub fn none() -> Self {
        Self {
            statements: channel().1,
            directory: Directory::default(),
            bells: Vec::new(),
            privileges: CapabilitySet::empty(),
            enters_tasks: false,
        }
    }

    /// Starts a thread for each source that is asked.
    pub fn start(config: &IdentityConfig) -> Self {
        let (sender, statements) = channel();
        let (bells, enters_tasks) = start_sources(config, &Teller(sender));
        let privileges = privileges_of(&config.sources);
        Self { statements, directory: Directory::default(), bells, privileges, enters_tasks }
    }

    /// What the sources keep of the capabilities that the agent was given, as long as they run.
    pub fn privileges(&self) -> CapabilitySet {
        self.privileges
    }

    /// Can there be tasks whose interface is inside their network namespace only?
    pub fn enters_tasks(&self) -> bool {
        self.enters_tasks
    }

    /// These tasks, as they are now: ARN, id as it may be shown, a process to enter its namespace by, and the inode of that.
    pub fn to_enter(&self) -> impl Iterator<Item = (&str, String, (u32, u64))> {
        let tasks = self.directory.to_enter();
        tasks.map(|(task, place)| (task.arn.as_str(), http::shown(task.id()), (place.pid, place.inode)))
    }

    /// Somebody asked whom nobody knows: the sources look soon. Costs next to nothing, however often it is called: each
    /// source limits by itself how often it really looks.
    pub fn look_again(&self) {
        self.bells.iter().for_each(Bell::ring);
    }

    /// What became known since the last call; never waits.
    pub fn take(&mut self) -> Vec<Fact> {
        let news: Vec<Statement> = self.statements.try_iter().collect();
        if news.is_empty() {
            return Vec::new();
        }
        self.directory.take(news).into_iter().map(Fact::bounded).collect()
    }
}

/// What these sources keep.
fn privileges_of(sources: &Sources) -> CapabilitySet {
    let mut kept = CapabilitySet::empty();
    if sources.ask(Source::Processes) {
        kept |= privileges::FOR_PROCESSES;
    }
    if sources.ask(Source::Kubernetes) {
        kept |= CapabilitySet::DAC_READ_SEARCH;
    }
    kept
}

/// Starts the sources; gives the bells that make them look soon, and whether there can be tasks to enter. They end when
/// nobody holds their bell or hears them.
fn start_sources(config: &IdentityConfig, teller: &Teller) -> (Vec<Bell>, bool) {
    let mut bells = Vec::new();
    let sources = &config.sources;
    let asked = matches!(sources, Sources::These(_));
    if sources.ask(Source::Processes) {
        bells.extend(start_processes(teller));
    }
    let mut enters_tasks = false;
    if sources.ask(Source::Ecs)
        && let Some(place) = ecs::find(teller, asked)
    {
        // By a process of theirs.
        enters_tasks = place.is_instance() && sources.ask(Source::Processes);
        let bell = Bell::new().ok();
        bells.extend(bell.clone());
        start(Source::Ecs, teller, move |teller| place.run(teller, || ecs_pause(bell.as_ref())));
    }
    if sources.ask(Source::Imds) && (asked || imds::is_here()) {
        start(Source::Imds, teller, imds::run);
    }
    if sources.ask(Source::Kubernetes) {
        kubernetes::start(config, teller.clone());
    }
    (bells, enters_tasks)
}

/// Starts the thread of a source; one that cannot be started says so.
fn start(source: Source, teller: &Teller, run: impl FnOnce(&Teller) + Send + 'static) {
    let own = teller.clone();
    let thread = std::thread::Builder::new().name(source.as_str().into());
    let work = move || {
        // It asks over HTTP alone. What cannot be given up does no harm.
        let _ = privileges::keep(CapabilitySet::empty());
        run(&own);
    };
    if let Err(error) = thread.spawn(work) {
        let why = format!("failed to start a thread: {error}; --identity leaves {} out", source.as_str());
        teller.tell(Statement::Silent(source, why));
    }
}

/// Until ECS is looked at again: sooner where somebody unknown asked, but never twice in a second.
fn ecs_pause(bell: Option<&Bell>) {
    const LEAST: Duration = Duration::from_secs(1);
    std::thread::sleep(LEAST);
    let rest = ecs::EVERY.saturating_sub(LEAST);
    match bell {
        Some(bell) => {
            bell.wait(rest);
        }
        None => std::thread::sleep(rest),
    }
}

/// Begins to look at processes; gives the bell that makes it look soon.
fn start_processes(teller: &Teller) -> Option<Bell> {
    let started = Bell::new().map_err(process::ProcessError::Start).and_then(|bell| {
        process::start(teller.clone(), bell.clone())?;
        Ok(bell)
    });
    started
        .map_err(|error| {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let why = format!("{error}{cause}: names come from the API server or addresses only");
            teller.tell(Statement::Silent(Source::Processes, why))
        })
        .ok()
}
