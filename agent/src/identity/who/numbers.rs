//! Numbers for workloads and namespaces: keys of series are hashed for every packet, and names are long.

use std::sync::Arc;

use crate::capture::frame::Timestamp;
use crate::identity::facts::Workload;
use crate::maps::Map;

/// A workload in short. Never given to another workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId(pub u32);

/// A namespace in short. Never given to another namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceId(pub u32);

/// The namespace of whoever is known by address alone, and of the units and processes of the node.
pub const HOST: NamespaceId = NamespaceId(0);
/// Its name.
const HOST_NAME: &str = "host";

/// All workloads that have an instance, and those that somebody still asks for.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    ids: Map<Arc<Workload>, WorkloadId>,
    workloads: Map<WorkloadId, Counted>,
    /// With how many workloads each has.
    namespaces: Map<Arc<str>, (NamespaceId, usize)>,
    names: Map<NamespaceId, Arc<str>>,
    /// Numbers that were given away.
    given: u32,
    /// Workloads without an instance.
    empty: usize,
}

/// A workload and its instances.
#[derive(Clone, Debug)]
struct Counted {
    workload: Arc<Workload>,
    namespace: NamespaceId,
    instances: usize,
    /// When the last one went.
    left: Timestamp,
}

impl Default for Numbers {
    fn default() -> Self {
        let host: Arc<str> = HOST_NAME.into();
        Self {
            ids: Map::default(),
            workloads: Map::default(),
            // As if it always had one.
            namespaces: [(Arc::clone(&host), (HOST, 1))].into_iter().collect(),
            names: [(HOST, host)].into_iter().collect(),
            given: 0,
            empty: 0,
        }
    }
}

impl Numbers {
    /// The numbers of a workload that has one instance more.
    pub(super) fn enter(&mut self, workload: &Workload) -> (WorkloadId, NamespaceId) {
        if let Some(id) = self.ids.get(workload)
            && let Some(counted) = self.workloads.get_mut(id)
        {
            self.empty -= usize::from(counted.instances == 0);
            counted.instances += 1;
            return (*id, counted.namespace);
        }
        self.given = self.given.wrapping_add(1);
        let (id, namespace) = (WorkloadId(self.given), self.enter_namespace(&workload.namespace));
        let workload = Arc::new(workload.clone());
        self.ids.insert(Arc::clone(&workload), id);
        let left = Timestamp::default();
        self.workloads.insert(id, Counted { workload, namespace, instances: 1, left });
        (id, namespace)
    }

    fn enter_namespace(&mut self, name: &str) -> NamespaceId {
        if let Some((id, workloads)) = self.namespaces.get_mut(name) {
            *workloads += 1;
            return *id;
        }
        // Workloads and namespaces share the numbers: there are enough for one each every second of a century.
        let id = NamespaceId(self.given);
        let name: Arc<str> = name.into();
        self.names.insert(id, Arc::clone(&name));
        self.namespaces.insert(name, (id, 1));
        id
    }

    /// One instance less since `now`.
    pub(super) fn leave(&mut self, id: WorkloadId, now: Timestamp) {
        if let Some(counted) = self.workloads.get_mut(&id) {
            self.empty += usize::from(counted.instances == 1);
            counted.instances = counted.instances.saturating_sub(1);
            counted.left = counted.left.max(now);
        }
    }

    /// When the last instance went; `None`: one is here.
    pub(super) fn left(&self, id: WorkloadId) -> Option<Timestamp> {
        let counted = self.workloads.get(&id)?;
        (counted.instances == 0).then_some(counted.left)
    }

    pub(super) fn workload(&self, id: WorkloadId) -> Option<&Workload> {
        self.workloads.get(&id).map(|counted| counted.workload.as_ref())
    }

    pub(super) fn namespace(&self, id: NamespaceId) -> Option<&str> {
        self.names.get(&id).map(Arc::as_ref)
    }

    /// Lets go of what has no instance and is no longer `wanted`.
    pub(super) fn forget(&mut self, wanted: impl Fn(WorkloadId) -> bool) {
        // Nearly always there is none, and this is asked with every fact.
        if self.empty == 0 {
            return;
        }
        let Self { ids, workloads, namespaces, names, empty, .. } = self;
        workloads.retain(|id, counted| {
            let stays = counted.instances > 0 || wanted(*id);
            if !stays {
                *empty -= 1;
                ids.remove(&counted.workload);
                let name: &str = &counted.workload.namespace;
                if let Some((_, workloads)) = namespaces.get_mut(name) {
                    *workloads -= 1;
                }
            }
            stays
        });
        namespaces.retain(|_, (id, workloads)| {
            if *workloads == 0 {
                names.remove(id);
            }
            *workloads > 0
        });
    }
}
