//! What each source says here, or why it would not: a look of a few seconds, for `nslookout check`.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::facts::Source;
use super::statement::Statement;
use super::{IdentityConfig, Sources, Teller, ecs, imds, start_sources};

/// An API server that takes longer is as good as none; longer than it takes to find that nobody answers.
const PATIENCE: Duration = Duration::from_secs(8);
/// What one look finds is told at once; only files come later.
const QUIET: Duration = Duration::from_millis(300);

/// A line for every source. Kubernetes and processes are really asked; of ECS and IMDS it is told whom they would ask.
pub fn outlook(config: &IdentityConfig) -> Vec<(Source, String)> {
    let asked = matches!(config.sources, Sources::These(_));
    let look = |source| match source {
        Source::Kubernetes | Source::Processes => hear(source, config),
        Source::Ecs => ecs::outlook(),
        Source::Imds => imds::outlook(asked).to_owned(),
    };
    let line = |source| {
        let here = config.sources.ask(source);
        (source, if here { look(source) } else { "left out by --identity".to_owned() })
    };
    Source::ALL.map(line).into()
}

/// Starts the source as a capture would, and listens until it has said whom it knows, or why nobody.
fn hear(source: Source, config: &IdentityConfig) -> String {
    let (sender, statements) = channel();
    let alone = IdentityConfig { sources: Sources::These(vec![source]), ..config.clone() };
    // Held for as long as somebody listens.
    let _bells = start_sources(&alone, &Teller(sender));
    let mut patience = PATIENCE;
    let mut inhabitants = BTreeMap::new();
    let mut silent = None;
    while let Ok(statement) = statements.recv_timeout(patience) {
        match statement {
            Statement::Pods(pods) => return format!("{} of this node", count(pods.len(), "pod")),
            Statement::Namespace(namespace) => {
                inhabitants.insert(namespace.inode, namespace.inhabitants.len());
                patience = QUIET;
            }
            Statement::Silent(_, why) => {
                silent = Some(why);
                patience = QUIET;
            }
            _ => {}
        }
    }
    let namespaces = count(inhabitants.len(), "network namespace");
    let known = format!("{} in {namespaces}", count(inhabitants.values().sum(), "cgroup"));
    match (inhabitants.is_empty(), silent) {
        (false, None) => known,
        (false, Some(why)) => format!("{known}; {why}"),
        (true, Some(why)) => format!("nobody: {why}"),
        (true, None) => format!("nobody: no answer within {} s", PATIENCE.as_secs()),
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
