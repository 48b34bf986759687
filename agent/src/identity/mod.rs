//! Says who stands behind an address, an interface or a socket: workload, resolv.conf, C library, ENI. The side room: it
//! asks the machine, not the packets.
//!
//! Input: the API server of Kubernetes, the agent of ECS, `/proc`, the instance metadata service; each is a source with a
//! thread of its own that makes [`Statement`]s. The [`Directory`] puts them together. Output: [`Fact`]s, which the loop
//! takes between frames, and [`Who`], the table that the other rooms look them up in. Deliberately absent: DNS messages.
//!
//! Everything is optional: a source that cannot speak says why in one line, and addresses stand in place of names.

pub mod directory;
mod ecs;
pub mod facts;
<<<<<<< HEAD
mod http;
mod imds;
=======
pub mod kubernetes;
>>>>>>> kubernetes
pub mod statement;
pub mod who;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};

use directory::Directory;
use facts::{Fact, Source};
use statement::Statement;

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
        Self { statements: channel().1, directory: Directory::default() }
    }

    /// Starts a thread for each source that is asked.
    pub fn start(config: &IdentityConfig) -> Self {
        let (sender, statements) = channel();
        let teller = Teller(sender);
        let sources = &config.sources;
        let asked = matches!(sources, Sources::These(_));
        if sources.ask(Source::Ecs) {
            start(Source::Ecs, &teller, move |teller| {
                ecs::run(teller, asked, || std::thread::sleep(ecs::EVERY));
            });
        }
        if sources.ask(Source::Imds) && (asked || imds::is_here()) {
            start(Source::Imds, &teller, imds::run);
        }
        if sources.ask(Source::Kubernetes) {
            kubernetes::start(config, teller);
        }
        Self { statements, directory: Directory::default() }
    }

    /// What became known since the last call; never waits.
    pub fn take(&mut self) -> Vec<Fact> {
        let news: Vec<Statement> = self.statements.try_iter().collect();
        if news.is_empty() { Vec::new() } else { self.directory.take(news) }
    }
}

/// What ECS and IMDS would say here, or why they would not, in one line; nothing of it that costs is tried.
pub fn outlook(sources: &Sources) -> Vec<(Source, String)> {
    let asked = matches!(sources, Sources::These(_));
    let line = |source: Source, here: &dyn Fn() -> String| {
        (source, if sources.ask(source) { here() } else { "left out by --identity".to_owned() })
    };
    vec![line(Source::Ecs, &ecs::outlook), line(Source::Imds, &|| imds::outlook(asked).to_owned())]
}

/// Starts the thread of a source; one that cannot be started says so.
fn start(source: Source, teller: &Teller, run: impl FnOnce(&Teller) + Send + 'static) {
    let own = teller.clone();
    let thread = std::thread::Builder::new().name(source.as_str().into());
    if let Err(error) = thread.spawn(move || run(&own)) {
        let why = format!("failed to start a thread: {error}; --identity leaves {} out", source.as_str());
        teller.tell(Statement::Silent(source, why));
    }
}
