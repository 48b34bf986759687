//! The facts that hold now: each file of a recording begins with them, so that it reads alone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::capture::frame::Ifindex;
use crate::identity::facts::{Eni, Fact, Instance, InstanceId, ServerRole, Source, Whose};

/// Entries of each kind that are kept at most; a recording that is copied may claim any number.
const MOST: usize = 16_384;

/// What was said and not taken back.
#[derive(Default)]
pub(super) struct Facts {
    instances: BTreeMap<InstanceId, (Whose, Arc<Instance>)>,
    servers: BTreeMap<IpAddr, ServerRole>,
    enis: BTreeMap<Ifindex, Eni>,
    silent: BTreeMap<Source, String>,
}

impl Facts {
    pub(super) fn learn(&mut self, fact: &Fact) {
        match fact {
            Fact::Here { whose, instance } => {
                let entry = (whose.clone(), Arc::clone(instance));
                insert(&mut self.instances, instance.id.clone(), entry);
            }
            Fact::Gone(id) => drop(self.instances.remove(id)),
            Fact::Server { address, role } => insert(&mut self.servers, *address, *role),
            Fact::Eni(eni) => insert(&mut self.enis, eni.interface, eni.clone()),
            Fact::Silent { source, why } => insert(&mut self.silent, *source, why.clone()),
            Fact::Speaks(source) => drop(self.silent.remove(source)),
        }
    }

    /// Each as a fact.
    pub(super) fn all(&self) -> Vec<Fact> {
        let instances = self.instances.values().cloned();
        let servers = self.servers.iter();
        let silent = self.silent.iter();
        instances
            .map(|(whose, instance)| Fact::Here { whose, instance })
            .chain(servers.map(|(address, role)| Fact::Server { address: *address, role: *role }))
            .chain(self.enis.values().cloned().map(Fact::Eni))
            .chain(silent.map(|(source, why)| Fact::Silent { source: *source, why: why.clone() }))
            .collect()
    }
}

fn insert<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V) {
    if map.len() < MOST || map.contains_key(&key) {
        map.insert(key, value);
    }
}
