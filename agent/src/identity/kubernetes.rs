//! The pods of this node from the API server of Kubernetes: owner, containers, addresses, what they say of DNS, and the
//! servers of the cluster.
//!
//! Input: a list and a watch of pods with this node's name, and every few minutes the Services of the cluster's DNS.
//! Output: [`Statement`]s. The one room that knows kube and the kinds of its API. What was known stays while the server
//! does not answer.

mod cluster;
mod connect;
mod error;
mod interface_names;
mod owner;
mod pod;
pub mod resolver;
mod voice;
mod watch;

use super::facts::Source;
use super::statement::Statement;
use super::{IdentityConfig, Sources, Teller};
use connect::Way;
use error::Error;
use watch::Watch;

use rustix::thread::CapabilitySet;

use crate::capture::privileges;

/// Starts the thread that asks the API server; without one, this source says nothing unless it was asked for by name.
pub(super) fn start(config: &IdentityConfig, teller: Teller) {
    let by_name = matches!(config.sources, Sources::These(_));
    let Some(way) = Way::find(config.kubeconfig.as_deref()) else {
        if by_name {
            teller.tell(Statement::Silent(Source::Kubernetes, Error::NoWay.to_string()));
        }
        return;
    };
    // Root's own kubeconfig may be there for other machines: what fails by it is told to those only who asked.
    let meant = by_name || config.node_name.is_some() || way != Way::Home;
    let watch = Watch::new(way, config.node_name.clone(), meant, teller.clone());
    let work = move || {
        // A kubeconfig may be another user's. What cannot be given up does no harm.
        let _ = privileges::keep(CapabilitySet::DAC_READ_SEARCH);
        run(watch);
    };
    let thread = std::thread::Builder::new().name("kubernetes".into()).spawn(work);
    if let Err(error) = thread {
        teller.tell(Statement::Silent(Source::Kubernetes, Error::Thread(error).to_string()));
    }
}

fn run(watch: Watch) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(watch.follow()),
        Err(error) => watch.give_up(&Error::Thread(error)),
    }
}
