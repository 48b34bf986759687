//! Who asked from an address that several share: the units, processes and hostNetwork pods behind an address of the node.

use std::net::IpAddr;
use std::sync::Arc;

use crate::identity::facts::Instance;
use crate::maps::Map;

/// Addresses that are kept at most; a node has a few of its own.
const MAX_ADDRESSES: usize = 256;
/// Instances that are kept of one address.
const MAX_INSTANCES: usize = 8;

/// Everyone who may stand behind a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Nobody where nothing is known; of several any may be meant.
    pub instances: Vec<Arc<Instance>>,
    /// There were others too, of whom nothing is known or for whom there was no room.
    pub others: bool,
}

impl Behind {
    /// The one that it is, where there can be no other.
    pub fn only(&self) -> Option<&Arc<Instance>> {
        match self.instances.as_slice() {
            [only] if !self.others => Some(only),
            _ => None,
        }
    }

    /// Nothing is known.
    pub fn is_nobody(&self) -> bool {
        self.instances.is_empty()
    }
}

/// Who asked, by address.
#[derive(Clone, Debug, Default)]
pub(super) struct Askers(Map<IpAddr, Behind>);

impl Askers {
    /// Notes one; `None`: nothing is known of it.
    pub(super) fn note(&mut self, address: IpAddr, instance: Option<Arc<Instance>>) {
        if self.0.len() >= MAX_ADDRESSES && !self.0.contains_key(&address) {
            return;
        }
        let behind = self.0.entry(address).or_default();
        let Some(instance) = instance else {
            behind.others = true;
            return;
        };
        if let Some(known) = behind.instances.iter_mut().find(|known| known.id == instance.id) {
            *known = instance;
        } else if behind.instances.len() < MAX_INSTANCES {
            behind.instances.push(instance);
        } else {
            behind.others = true;
        }
    }

    pub(super) fn behind(&self, address: IpAddr) -> Behind {
        self.0.get(&address).cloned().unwrap_or_default()
    }
}
