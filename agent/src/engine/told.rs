//! Tells the room of the clients how their resolvers are configured, as far as the machine says it.

use crate::correlate::clients::{Clients, Owner};
use crate::correlate::resolv_conf::{ResolvConf, SearchSource};
use crate::identity::facts::{Fact, InstanceId, Resolver, ResolverSource, Whose};
use crate::maps::Map;

/// Instances that are kept at most.
const MAX_INSTANCES: usize = 16_384;

/// The numbers by which the clients' room knows instances.
#[derive(Debug, Default)]
pub(super) struct Told {
    numbers: Map<InstanceId, u64>,
    given: u64,
}

impl Told {
    /// Takes a fact.
    pub(super) fn learn(&mut self, fact: &Fact, clients: &mut Clients) {
        match fact {
            Fact::Here { whose, instance } => {
                let Some(number) = self.number(&instance.id) else { return };
                let Whose { interfaces, addresses, .. } = whose;
                let owner = Owner { interfaces: interfaces.clone(), addresses: addresses.clone() };
                clients.configure_owner(number, owner, instance.resolver.as_ref().map(read));
            }
            Fact::Gone(id) => {
                if let Some(number) = self.numbers.remove(id) {
                    clients.configure_owner(number, Owner::default(), None);
                }
            }
            Fact::Server { .. } | Fact::Eni(_) | Fact::Silent { .. } | Fact::Speaks(_) => {}
        }
    }

    fn number(&mut self, id: &InstanceId) -> Option<u64> {
        if let Some(number) = self.numbers.get(id) {
            return Some(*number);
        }
        if self.numbers.len() >= MAX_INSTANCES {
            return None;
        }
        self.given += 1;
        self.numbers.insert(id.clone(), self.given);
        Some(self.given)
    }
}

fn read(resolver: &Resolver) -> (ResolvConf, SearchSource) {
    let source = match resolver.source {
        ResolverSource::ResolvConf => SearchSource::ResolvConf,
        ResolverSource::PodSpec => SearchSource::PodSpec,
    };
    (ResolvConf::parse(resolver.resolv_conf.as_bytes()), source)
}
