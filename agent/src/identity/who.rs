//! The table in which the other rooms look up who stands behind a client, a server or a socket.
//!
//! Input: [`Fact`]s with the time when they were learnt, by the clock of the frames. No I/O and no clock, so a recording
//! that holds its facts names the same workloads when it is read.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::facts::{Eni, Fact, Instance, InstanceId, ServerRole, Whose, Workload};
use crate::capture::frame::{CgroupId, Ifindex, Timestamp};
use crate::correlate::ClientId;
use crate::maps::Map;

/// How long the packets of an instance that is gone are still taken for its own: longer than a query waits for its
/// response.
const AFTERGLOW: Duration = Duration::from_secs(60);

/// A workload in short: a number for the keys of series. Never given to another workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId(pub u32);

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct Who {
    instances: Map<InstanceId, Known>,
    by_interface: Map<Ifindex, InstanceId>,
    by_cgroup: Map<CgroupId, InstanceId>,
    by_address: Map<IpAddr, InstanceId>,
    servers: Map<IpAddr, ServerRole>,
    enis: Map<Ifindex, Eni>,
    workloads: Map<Arc<Workload>, WorkloadId>,
    names: Vec<Arc<Workload>>,
}

/// An instance with what is kept of it.
#[derive(Clone, Debug)]
pub struct Known {
    /// Who it is.
    pub instance: Arc<Instance>,
    /// Its workload in short.
    pub workload: WorkloadId,
    whose: Whose,
    gone: Option<Timestamp>,
}

impl Who {
    /// Takes a fact that was learnt at `now`.
    pub fn learn(&mut self, now: Timestamp, fact: &Fact) {
        self.forget(now);
        match fact {
            Fact::Here { whose, instance } => self.here(whose, instance),
            Fact::Gone(id) => {
                if let Some(known) = self.instances.get_mut(id) {
                    known.gone = Some(now);
                }
            }
            Fact::Server { address, role } => drop(self.servers.insert(*address, *role)),
            Fact::Eni(eni) => drop(self.enis.insert(eni.interface, eni.clone())),
            Fact::Silent { .. } | Fact::Speaks(_) => {}
        }
    }

    /// Who a client is; `cgroup` is that of the socket that asked, where it was seen.
    pub fn client(&self, client: &ClientId, cgroup: Option<CgroupId>) -> Option<&Known> {
        let by_interface = client.interface.and_then(|interface| self.by_interface.get(&interface));
        let by_cgroup = || cgroup.and_then(|cgroup| self.by_cgroup.get(&cgroup));
        if let Some(id) = by_interface.or_else(by_cgroup) {
            return self.instances.get(id);
        }
        let known = self.instances.get(self.by_address.get(&client.address)?)?;
        // Its packets would come by its own interface: these are of another with the same address.
        let elsewhere = client.interface.is_some() && !known.whose.interfaces.is_empty();
        (!elsewhere).then_some(known)
    }

    /// The kind of a server, where it was told.
    pub fn role(&self, server: IpAddr) -> Option<ServerRole> {
        self.servers.get(&server).copied()
    }

    /// The ENI behind an interface.
    pub fn eni(&self, interface: Ifindex) -> Option<&Eni> {
        self.enis.get(&interface)
    }

    /// A workload by its number.
    pub fn workload(&self, id: WorkloadId) -> Option<&Workload> {
        self.names.get(id.0 as usize).map(Arc::as_ref)
    }

    /// Is an instance of it here, or was until a moment ago?
    pub fn is_here(&self, workload: WorkloadId) -> bool {
        self.instances.values().any(|known| known.workload == workload)
    }

    fn here(&mut self, whose: &Whose, instance: &Arc<Instance>) {
        let id = &instance.id;
        if let Some(before) = self.instances.remove(id) {
            self.unlink(id, &before.whose);
        }
        whose.interfaces.iter().for_each(|key| drop(self.by_interface.insert(*key, id.clone())));
        whose.cgroups.iter().for_each(|key| drop(self.by_cgroup.insert(*key, id.clone())));
        whose.addresses.iter().for_each(|key| drop(self.by_address.insert(*key, id.clone())));
        let workload = self.number(&instance.workload);
        let known = Known { instance: Arc::clone(instance), workload, whose: whose.clone(), gone: None };
        self.instances.insert(id.clone(), known);
    }

    fn number(&mut self, workload: &Workload) -> WorkloadId {
        if let Some(id) = self.workloads.get(workload) {
            return *id;
        }
        let id = WorkloadId(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        let workload = Arc::new(workload.clone());
        self.names.push(Arc::clone(&workload));
        self.workloads.insert(workload, id);
        id
    }

    /// Lets go of those that have been gone for long.
    fn forget(&mut self, now: Timestamp) {
        let over = |known: &Known| known.gone.is_some_and(|gone| now.since(gone) >= AFTERGLOW);
        let ids: Vec<InstanceId> =
            self.instances.iter().filter(|(_, known)| over(known)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            if let Some(known) = self.instances.remove(&id) {
                self.unlink(&id, &known.whose);
            }
        }
    }

    /// Takes away the keys that still lead to this instance.
    fn unlink(&mut self, id: &InstanceId, whose: &Whose) {
        fn remove<K: std::hash::Hash + Eq>(map: &mut Map<K, InstanceId>, keys: &[K], id: &InstanceId) {
            for key in keys {
                if map.get(key) == Some(id) {
                    map.remove(key);
                }
            }
        }
        remove(&mut self.by_interface, &whose.interfaces, id);
        remove(&mut self.by_cgroup, &whose.cgroups, id);
        remove(&mut self.by_address, &whose.addresses, id);
    }
}
