//! What lines and objects call interfaces and workloads.
//!
//! Input: names of interfaces, and facts as they are learnt. Deliberately absent: asking anybody.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::capture::frame::{Ifindex, Timestamp};
use crate::correlate::{ClientId, Parties};
use crate::identity::facts::{Fact, Instance, ResolverSource, Source};
use crate::identity::who::{Behind, Who};

/// Names of interfaces by number, and of workloads.
#[derive(Clone, Debug, Default)]
pub struct Names {
    interfaces: HashMap<Ifindex, String>,
    who: Who,
    numeric: bool,
    heard: BTreeSet<Source>,
}

impl<const N: usize> From<[(Ifindex, String); N]> for Names {
    fn from(interfaces: [(Ifindex, String); N]) -> Self {
        Self { interfaces: interfaces.into(), ..Self::default() }
    }
}

impl Names {
    /// With nothing known; `numeric`: lines have addresses all the same, as tcpdump's do with `-n`.
    pub fn new(numeric: bool) -> Self {
        Self { numeric, ..Self::default() }
    }

    /// Takes a fact that was learnt at `time`.
    pub fn learn(&mut self, time: Timestamp, fact: &Fact) {
        self.who.learn(time, fact);
        self.who.forget_workloads(|_| false);
        match fact {
            Fact::Here { instance, .. } => {
                if instance.dns.is_some() {
                    self.heard.insert(Source::Kubernetes);
                }
                if instance.workload.namespace == Source::Ecs.as_str() {
                    self.heard.insert(Source::Ecs);
                }
                let resolver = instance.resolver.as_ref();
                if resolver.is_some_and(|resolver| resolver.source == ResolverSource::ResolvConf) {
                    self.heard.insert(Source::Processes);
                }
            }
            Fact::Eni(_) => drop(self.heard.insert(Source::Imds)),
            Fact::Gone(_) | Fact::Server { .. } | Fact::Silent { .. } | Fact::Speaks(_) => {}
        }
    }

    /// Tells that everything before `time` was seen: who is gone for long is forgotten.
    pub fn tick(&mut self, time: Timestamp) {
        self.who.tick(time);
    }

    /// Who has said something by now.
    pub fn heard(&self) -> impl Iterator<Item = Source> {
        self.heard.iter().copied()
    }

    /// Addresses are wanted in place of names.
    pub fn is_numeric(&self) -> bool {
        self.numeric
    }

    /// The name of an interface.
    pub fn get(&self, ifindex: &Ifindex) -> Option<&String> {
        self.interfaces.get(ifindex)
    }

    /// Is the name of an interface known?
    pub fn contains_key(&self, ifindex: &Ifindex) -> bool {
        self.interfaces.contains_key(ifindex)
    }

    /// Takes the name of an interface.
    pub fn insert(&mut self, ifindex: Ifindex, name: String) {
        self.interfaces.insert(ifindex, name);
    }

    /// The client of a message, as a line has it.
    pub fn client_of(&self, parties: &Parties) -> String {
        let known = self.who.client_of(parties).map(|known| &known.instance);
        self.label(known).unwrap_or_else(|| parties.client.ip().to_string())
    }

    /// The server of a message, as a line has it: with its port where that is not the ordinary one.
    pub fn server_of(&self, parties: &Parties) -> String {
        let known = self.who.server_of(parties).map(|known| &known.instance);
        match self.label(known) {
            Some(name) if parties.server.port() == 53 => name,
            Some(name) => format!("{name}:{}", parties.server.port()),
            None => super::text::server(parties.server),
        }
    }

    /// A client, as a line has it.
    pub fn client(&self, client: &ClientId) -> String {
        let known = self.who.client(client, None).map(|known| &known.instance);
        self.label(known).unwrap_or_else(|| client.address.to_string())
    }

    /// One end of a message, as a line has it: `shop/cart-7d9f:40112`.
    pub fn end(&self, end: SocketAddr, interface: Option<Ifindex>) -> String {
        let known = self.who.client(&ClientId { interface, address: end.ip() }, None);
        match self.label(known.map(|known| &known.instance)) {
            Some(name) => format!("{name}:{}", end.port()),
            None => end.to_string(),
        }
    }

    /// Everyone who may stand behind a client by now.
    pub fn behind(&self, client: &ClientId) -> Behind {
        self.who.behind(client)
    }

    /// Who has an address alone, as lines have it.
    pub fn at(&self, address: std::net::IpAddr) -> Option<String> {
        self.label(self.who.at(address).map(|known| &known.instance))
    }

    fn label(&self, instance: Option<&Arc<Instance>>) -> Option<String> {
        instance.filter(|_| !self.numeric).map(|instance| instance.label())
    }

    /// The objects of client and server, null where they are not known.
    pub fn objects(&self, parties: &Parties) -> [Value; 2] {
        [self.who.client_of(parties), self.who.server_of(parties)]
            .map(|known| known.map(|known| workload(&known.instance)).into())
    }

    /// The object of who stands behind an address at an interface.
    pub fn object(&self, client: &ClientId) -> Value {
        self.who.client(client, None).map(|known| workload(&known.instance)).into()
    }
}

/// The object of an instance. The schema stands in docs/json.md.
pub fn workload(instance: &Instance) -> Value {
    let workload = &instance.workload;
    json!({
        "namespace": workload.namespace,
        "kind": workload.kind,
        "name": workload.name,
        "instance": instance.name,
    })
}
