//! Who asked from an address that several share: the units, processes and hostNetwork pods behind an address of the node.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::capture::frame::Timestamp;
use crate::identity::facts::Instance;
use crate::maps::Map;

/// Addresses that are kept at most; a node has a few of its own.
const MAX_ADDRESSES: usize = 256;
/// Instances that are kept of one address.
const MAX_INSTANCES: usize = 8;
/// Who has not asked for so long is not meant any more.
const LATELY: Duration = Duration::from_secs(300);

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
pub(super) struct Askers {
    by_address: Map<IpAddr, Asked>,
    /// Of the last query: older ones count from here.
    latest: Timestamp,
}

/// Who asked from one address, and when last.
#[derive(Clone, Debug, Default)]
struct Asked {
    instances: Vec<(Arc<Instance>, Timestamp)>,
    others: Option<Timestamp>,
}

impl Askers {
    /// Notes one; `None`: nothing is known of it.
    pub(super) fn note(&mut self, now: Timestamp, address: IpAddr, instance: Option<Arc<Instance>>) {
        if self.by_address.len() >= MAX_ADDRESSES && !self.by_address.contains_key(&address) {
            return;
        }
        self.latest = now;
        let asked = self.by_address.entry(address).or_default();
        let Some(instance) = instance else {
            asked.others = Some(now);
            return;
        };
        if let Some(known) = asked.instances.iter_mut().find(|(known, _)| known.id == instance.id) {
            *known = (instance, now);
            return;
        }
        if asked.instances.len() >= MAX_INSTANCES {
            asked.instances.retain(|(_, last)| now.since(*last) < LATELY);
        }
        if asked.instances.len() < MAX_INSTANCES {
            asked.instances.push((instance, now));
        } else {
            asked.others = Some(now);
        }
    }

    /// Those who asked lately: before the first look at the processes nobody is known, and who is gone asks no more.
    pub(super) fn behind(&self, address: IpAddr) -> Behind {
        let Some(asked) = self.by_address.get(&address) else { return Behind::default() };
        let lately = |last: Timestamp| self.latest.since(last) < LATELY;
        let instances = asked.instances.iter().filter(|(_, last)| lately(*last));
        Behind {
            instances: instances.map(|(instance, _)| Arc::clone(instance)).collect(),
            others: asked.others.is_some_and(lately),
        }
    }
}
