//! The table in which the other rooms look up who stands behind a client, a server or a socket.
//!
//! Input: [`Fact`]s with the time when they were learnt, by the clock of the frames. No I/O and no clock, so a recording
//! that holds its facts names the same workloads when it is read. Bounded, since a recording may claim anything.

mod askers;
mod numbers;

use std::collections::VecDeque;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::facts::{Eni, Fact, Instance, InstanceId, ServerRole, Whose, Workload};
use crate::capture::frame::{CgroupId, Ifindex, Timestamp};
use crate::correlate::{ClientId, Parties, Vantage};
use crate::maps::Map;

use askers::Askers;
pub use askers::Behind;
use numbers::Numbers;
pub use numbers::{HOST, NamespaceId, WorkloadId};

/// How long the packets of an instance that is gone are still taken for its own: longer than a query waits for its
/// response.
const AFTERGLOW: Duration = Duration::from_secs(60);
/// Instances that are kept at most, those in their afterglow too.
const MAX_INSTANCES: usize = 4096;
/// Servers with a role, and ENIs, that are kept at most.
const MAX_OTHERS: usize = 4096;

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// A lookup ends here by a number: names are compared when a fact comes, never for a packet.
    instances: Vec<Option<Known>>,
    free: Vec<Slot>,
    by_id: Map<InstanceId, Slot>,
    by_interface: Map<Ifindex, Slot>,
    by_cgroup: Map<CgroupId, Slot>,
    by_address: Map<IpAddr, Slot>,
    servers: Map<IpAddr, ServerRole>,
    enis: Map<Ifindex, Eni>,
    numbers: Numbers,
    /// Those that are gone, the longest ago first; one that came back is passed over.
    going: VecDeque<(Timestamp, InstanceId)>,
    askers: Askers,
    /// Some key was claimed by two: only then anybody is looked for who gets it back.
    contested: bool,
}

/// A place in [`Who::instances`].
type Slot = u32;

/// An instance with what is kept of it.
#[derive(Clone, Debug)]
pub struct Known {
    /// Who it is.
    pub instance: Arc<Instance>,
    /// Its workload in short.
    pub workload: WorkloadId,
    /// Its workload's namespace in short.
    pub namespace: NamespaceId,
    whose: Whose,
    gone: Option<Timestamp>,
}

impl Who {
    /// Takes a fact that was learnt at `now`. Gives the workload that turned out to be another one, and which: a pod is
    /// found by its processes first, and who owns it comes later.
    pub fn learn(&mut self, now: Timestamp, fact: &Fact) -> Option<(WorkloadId, WorkloadId)> {
        self.tick(now);
        match fact {
            Fact::Here { whose, instance } => return self.here(now, whose, instance),
            Fact::Gone(id) => {
                if let Some(known) = self.by_id.get(id).and_then(|slot| known_mut(&mut self.instances, *slot))
                {
                    known.gone = Some(now);
                    self.going.push_back((now, id.clone()));
                }
            }
            Fact::Server { address, role } => insert_bounded(&mut self.servers, *address, *role),
            Fact::Eni(eni) => insert_bounded(&mut self.enis, eni.interface, eni.clone()),
            Fact::Silent { .. } | Fact::Speaks(_) => {}
        }
        None
    }

    /// Lets go of those that have been gone for long.
    pub fn tick(&mut self, now: Timestamp) {
        while self.going.front().is_some_and(|(gone, _)| now.since(*gone) >= AFTERGLOW) {
            self.forget_first();
        }
    }

    /// Nobody is known.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Who a client is; `cgroup` is that of the socket that asked, where it was seen.
    pub fn client(&self, client: &ClientId, cgroup: Option<CgroupId>) -> Option<&Known> {
        if self.by_id.is_empty() {
            return None;
        }
        let by_interface = client.interface.and_then(|interface| self.by_interface.get(&interface));
        let by_cgroup = || cgroup.and_then(|cgroup| self.by_cgroup.get(&cgroup));
        if let Some(slot) = by_interface.or_else(by_cgroup) {
            return self.known(*slot);
        }
        let known = self.known(*self.by_address.get(&client.address)?)?;
        // Its packets would come by its own interface: these are of another with the same address.
        let elsewhere = client.interface.is_some() && !known.whose.interfaces.is_empty();
        (!elsewhere).then_some(known)
    }

    /// Who has this address alone.
    pub fn at(&self, address: IpAddr) -> Option<&Known> {
        self.client(&ClientId { interface: None, address }, None)
    }

    /// Whose interface it is.
    pub fn behind_interface(&self, interface: Ifindex) -> Option<&Known> {
        self.known(*self.by_interface.get(&interface)?)
    }

    /// Who asked. By its interface only where it was seen there.
    pub fn client_of(&self, parties: &Parties) -> Option<&Known> {
        match parties.vantage {
            Vantage::Client | Vantage::Unknown => {
                self.client(&parties.client_id(), parties.place.and_then(|place| place.cgroup))
            }
            Vantage::Server | Vantage::Uplink => self.at(parties.client.ip()),
        }
    }

    /// Who was asked. By its interface only where it was seen there.
    pub fn server_of(&self, parties: &Parties) -> Option<&Known> {
        match parties.vantage {
            Vantage::Server => self.client(&ClientId::at(parties.place.as_ref(), parties.server.ip()), None),
            Vantage::Client | Vantage::Unknown | Vantage::Uplink => self.at(parties.server.ip()),
        }
    }

    /// Notes that a socket of this cgroup asked from an address that several share.
    pub fn asked(&mut self, now: Timestamp, parties: &Parties) {
        let Some(cgroup) = parties.place.and_then(|place| place.cgroup) else { return };
        let by_cgroup = self.by_cgroup.get(&cgroup).and_then(|slot| self.known(*slot));
        let instance = by_cgroup.map(|known| Arc::clone(&known.instance));
        self.askers.note(now, parties.client.ip(), instance);
    }

    /// Everyone who may stand behind a client: one, or of the node's own addresses those who asked from them.
    pub fn behind(&self, client: &ClientId) -> Behind {
        match self.client(client, None) {
            Some(known) => Behind { instances: vec![Arc::clone(&known.instance)], others: false },
            None if client.interface.is_none() => self.askers.behind(client.address),
            None => Behind::default(),
        }
    }

    /// The kind of a server, where it was told.
    pub fn role(&self, server: IpAddr) -> Option<ServerRole> {
        if self.servers.is_empty() { None } else { self.servers.get(&server).copied() }
    }

    /// The ENI behind an interface.
    pub fn eni(&self, interface: Ifindex) -> Option<&Eni> {
        self.enis.get(&interface)
    }

    /// Is any ENI known?
    pub fn has_eni(&self) -> bool {
        !self.enis.is_empty()
    }

    /// A workload by its number, as long as it is kept.
    pub fn workload(&self, id: WorkloadId) -> Option<&Workload> {
        self.numbers.workload(id)
    }

    /// A namespace by its number, as long as it is kept.
    pub fn namespace(&self, id: NamespaceId) -> Option<&str> {
        self.numbers.namespace(id)
    }

    /// How long the last instance of a workload has been gone; `None`: one is here, or was until a moment ago.
    pub fn gone_for(&self, workload: WorkloadId, now: Timestamp) -> Option<Duration> {
        self.numbers.left(workload).map(|left| now.since(left))
    }

    /// Lets go of the workloads that have no instance and are no longer `wanted`.
    pub fn forget_workloads(&mut self, wanted: impl Fn(WorkloadId) -> bool) {
        self.numbers.forget(wanted);
    }

    fn known(&self, slot: Slot) -> Option<&Known> {
        self.instances.get(slot as usize)?.as_ref()
    }

    fn here(
        &mut self,
        now: Timestamp,
        whose: &Whose,
        instance: &Arc<Instance>,
    ) -> Option<(WorkloadId, WorkloadId)> {
        let id = &instance.id;
        let known = self.by_id.get(id).copied();
        let slot = match known {
            Some(slot) => slot,
            None => self.room()?,
        };
        self.unlink(slot);
        let (workload, namespace) = self.numbers.enter(&instance.workload);
        let (instance, gone) = (Arc::clone(instance), None);
        self.by_id.insert(id.clone(), slot);
        self.contested |= claim(&mut self.by_interface, &whose.interfaces, slot)
            | claim(&mut self.by_cgroup, &whose.cgroups, slot)
            | claim(&mut self.by_address, &whose.addresses, slot);
        let known = Known { instance, workload, namespace, whose: whose.clone(), gone };
        let before = self.instances.get_mut(slot as usize)?.replace(known)?.workload;
        self.numbers.leave(before, now);
        (before != workload && self.numbers.left(before).is_some()).then_some((before, workload))
    }

    /// A free place; where there is none, that of the instance which has been gone for longest.
    fn room(&mut self) -> Option<Slot> {
        while self.by_id.len() >= MAX_INSTANCES && !self.going.is_empty() {
            self.forget_first();
        }
        if self.by_id.len() >= MAX_INSTANCES {
            return None;
        }
        self.free.pop().or_else(|| {
            self.instances.push(None);
            Slot::try_from(self.instances.len() - 1).ok()
        })
    }

    /// Lets go of the one that has been gone for longest, unless it came back.
    fn forget_first(&mut self) {
        let Some((gone, id)) = self.going.pop_front() else { return };
        let Some(slot) = self.by_id.get(&id).copied() else { return };
        if self.known(slot).is_none_or(|known| known.gone != Some(gone)) {
            return;
        }
        self.unlink(slot);
        self.by_id.remove(&id);
        if let Some(known) = self.instances.get_mut(slot as usize).and_then(Option::take) {
            self.numbers.leave(known.workload, gone);
        }
        self.free.push(slot);
    }

    /// Takes away the keys that still lead to this instance. Where another has the same it gets them back.
    fn unlink(&mut self, slot: Slot) {
        let Some(known) = self.known(slot) else { return };
        let whose = known.whose.clone();
        let Self { instances, by_interface, by_cgroup, by_address, contested, .. } = self;
        let others = Others { instances: if *contested { instances } else { &[] }, slot };
        others.unlink(by_interface, &whose.interfaces, |whose| &whose.interfaces);
        others.unlink(by_cgroup, &whose.cgroups, |whose| &whose.cgroups);
        others.unlink(by_address, &whose.addresses, |whose| &whose.addresses);
    }
}

/// All instances but one.
struct Others<'a> {
    instances: &'a [Option<Known>],
    slot: Slot,
}

impl Others<'_> {
    fn unlink<K: Copy + Eq + Hash>(&self, map: &mut Map<K, Slot>, keys: &[K], of: impl Fn(&Whose) -> &[K]) {
        for key in keys {
            if map.get(key) != Some(&self.slot) {
                continue;
            }
            match self.find(|whose| of(whose).contains(key)) {
                Some(other) => drop(map.insert(*key, other)),
                None => drop(map.remove(key)),
            }
        }
    }

    /// One that is here before one that is gone.
    fn find(&self, has: impl Fn(&Whose) -> bool) -> Option<Slot> {
        let all = (0..).zip(self.instances).filter(|(slot, _)| *slot != self.slot);
        let all = all.filter_map(|(slot, known)| Some((slot, known.as_ref()?)));
        let having = all.filter(|(_, known)| has(&known.whose));
        having.min_by_key(|(_, known)| known.gone.is_some()).map(|(slot, _)| slot)
    }
}

/// Makes keys lead to a place; `true`: one led to another.
fn claim<K: Copy + Eq + Hash>(map: &mut Map<K, Slot>, keys: &[K], slot: Slot) -> bool {
    let mut contested = false;
    for key in keys {
        contested |= map.insert(*key, slot).is_some_and(|before| before != slot);
    }
    contested
}

fn known_mut(instances: &mut [Option<Known>], slot: Slot) -> Option<&mut Known> {
    instances.get_mut(slot as usize)?.as_mut()
}

fn insert_bounded<K: Eq + Hash, V>(map: &mut Map<K, V>, key: K, value: V) {
    if map.len() < MAX_OTHERS || map.contains_key(&key) {
        map.insert(key, value);
    }
}

#[cfg(test)]
pub(crate) mod tests;
